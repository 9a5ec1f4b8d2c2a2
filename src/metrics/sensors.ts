/**
 * Kafka Streams' sensors, each with the metrics that tell the same here, or with the reason why there is none. A rate
 * is `rate()` over a counter, an average or a maximum a quantile over a histogram, so those are no metrics of their own.
 */
import { type MetricName, rocksMetrics } from './table.ts'

export type SensorMapping = {
  readonly group: string
  readonly sensors: readonly string[]
  readonly metrics: readonly MetricName[]
  /** Where there is no metric, why; else what differs. */
  readonly note?: string
}

const jmxOnly = 'An average or a ratio over a sliding window, which a Prometheus query computes.'
const rocksdb = 'The binding gives no statistics.'

export const sensorMappings: readonly SensorMapping[] = [
  // stream-metrics
  {
    group: 'stream-metrics',
    sensors: ['version', 'commit-id', 'recording-level'],
    metrics: ['millrace_info'],
    note: 'Without the commit id: a package has a version.',
  },
  {
    group: 'stream-metrics',
    sensors: ['application-id'],
    metrics: ['millrace_info'],
    note: 'The label `application` of every metric.',
  },
  {
    group: 'stream-metrics',
    sensors: ['topology-description'],
    metrics: [],
    note: 'Text is no metric: GET /topology has it.',
  },
  {
    group: 'stream-metrics',
    sensors: ['state', 'client-state'],
    metrics: ['millrace_state', 'millrace_ready'],
  },
  { group: 'stream-metrics', sensors: ['alive-stream-threads'], metrics: ['millrace_threads'] },
  { group: 'stream-metrics', sensors: ['failed-stream-threads'], metrics: ['millrace_threads_failed_total'] },
  // stream-thread-metrics
  {
    group: 'stream-thread-metrics',
    sensors: ['commit-latency-avg', 'commit-latency-max', 'commit-rate', 'commit-total'],
    metrics: ['millrace_commit_duration_seconds', 'millrace_commits_total'],
  },
  {
    group: 'stream-thread-metrics',
    sensors: ['commit-ratio'],
    metrics: ['millrace_commit_cut_seconds'],
    note: 'Only the cut stops processing; the rest of a commit overlaps it.',
  },
  {
    group: 'stream-thread-metrics',
    sensors: [
      'poll-latency-avg',
      'poll-latency-max',
      'poll-rate',
      'poll-total',
      'poll-ratio',
      'poll-records-avg',
      'poll-records-max',
    ],
    metrics: [],
    note: 'There is no poll: fetches are under way all the time. Whether input is short shows in millrace_lag_records.',
  },
  {
    group: 'stream-thread-metrics',
    sensors: [
      'process-latency-avg',
      'process-latency-max',
      'process-rate',
      'process-total',
      'process-ratio',
      'process-records-avg',
      'process-records-max',
    ],
    metrics: [
      'millrace_process_batch_duration_seconds',
      'millrace_process_batches_total',
      'millrace_process_seconds_total',
      'millrace_records_processed_total',
    ],
  },
  {
    group: 'stream-thread-metrics',
    sensors: [
      'punctuate-latency-avg',
      'punctuate-latency-max',
      'punctuate-rate',
      'punctuate-total',
      'punctuate-ratio',
    ],
    metrics: ['millrace_punctuations_total', 'millrace_punctuate_seconds_total'],
  },
  {
    group: 'stream-thread-metrics',
    sensors: ['task-created-rate', 'task-created-total', 'task-closed-rate', 'task-closed-total'],
    metrics: ['millrace_tasks_created_total', 'millrace_tasks_closed_total'],
  },
  {
    group: 'stream-thread-metrics',
    sensors: ['blocked-time-ns-total'],
    metrics: ['millrace_process_seconds_total'],
    note: 'A thread never blocks on Kafka; the time it does not spend processing is idle.',
  },
  {
    group: 'stream-thread-metrics',
    sensors: ['thread-start-time'],
    metrics: ['millrace_start_time_seconds'],
  },
  { group: 'stream-thread-metrics', sensors: ['state', 'thread-state'], metrics: ['millrace_threads'] },
  {
    group: 'stream-thread-metrics',
    sensors: [
      'tasks-revoked-latency-avg',
      'tasks-revoked-latency-max',
      'tasks-assigned-latency-avg',
      'tasks-assigned-latency-max',
      'tasks-lost-latency-avg',
      'tasks-lost-latency-max',
    ],
    metrics: ['millrace_rebalances_total', 'millrace_rebalance_duration_seconds'],
    note: 'One figure for the whole rebalance.',
  },
  // stream-state-updater-metrics
  {
    group: 'stream-state-updater-metrics',
    sensors: [
      'active-restoring-tasks',
      'standby-updating-tasks',
      'active-paused-tasks',
      'standby-paused-tasks',
    ],
    metrics: ['millrace_restoring_tasks', 'millrace_tasks', 'millrace_paused'],
  },
  {
    group: 'stream-state-updater-metrics',
    sensors: ['idle-ratio', 'active-restore-ratio', 'standby-update-ratio', 'checkpoint-ratio'],
    metrics: [],
    note: 'There is no updater thread whose time could be divided.',
  },
  {
    group: 'stream-state-updater-metrics',
    sensors: ['restore-records-rate', 'restore-call-rate'],
    metrics: ['millrace_restore_records_total'],
  },
  // stream-task-metrics
  {
    group: 'stream-task-metrics',
    sensors: ['process-latency-avg', 'process-latency-max', 'process-rate', 'process-total'],
    metrics: [
      'millrace_records_processed_total',
      'millrace_process_seconds_total',
      'millrace_process_batches_total',
    ],
  },
  {
    group: 'stream-task-metrics',
    sensors: ['punctuate-latency-avg', 'punctuate-latency-max', 'punctuate-rate', 'punctuate-total'],
    metrics: ['millrace_node_punctuations_total'],
    note: 'At metricsLevel debug.',
  },
  {
    group: 'stream-task-metrics',
    sensors: ['record-lateness-avg', 'record-lateness-max'],
    metrics: ['millrace_records_dropped_total', 'millrace_stream_time_seconds'],
    note: 'Lateness per record would cost a comparison and a sample each; what matters of it, late records that were dropped, is counted by reason.',
  },
  {
    group: 'stream-task-metrics',
    sensors: ['enforced-processing-rate', 'enforced-processing-total'],
    metrics: [],
    note: 'The choice to go on without an empty input is made per record and not reported.',
  },
  {
    group: 'stream-task-metrics',
    sensors: ['dropped-records-rate', 'dropped-records-total'],
    metrics: ['millrace_records_dropped_total', 'millrace_node_records_dropped_total'],
    note: 'By reason; Kafka Streams’ figure is the sum of the reasons that docs/metrics.md marks as counted there.',
  },
  {
    group: 'stream-task-metrics',
    sensors: ['active-process-ratio'],
    metrics: ['millrace_process_seconds_total'],
    note: jmxOnly,
  },
  {
    group: 'stream-task-metrics',
    sensors: ['active-buffer-count'],
    metrics: ['millrace_lag_records'],
    note: 'Buffered batches are not taken apart before their turn, so their records are not counted; the lag contains them.',
  },
  { group: 'stream-task-metrics', sensors: ['cache-size-bytes-total'], metrics: ['millrace_cache_bytes'] },
  {
    group: 'stream-task-metrics',
    sensors: ['restore-rate', 'restore-total', 'restore-remaining-records-total'],
    metrics: [
      'millrace_restore_records_total',
      'millrace_restore_remaining_records',
      'millrace_restore_duration_seconds',
      'millrace_restores_total',
    ],
  },
  {
    group: 'stream-task-metrics',
    sensors: ['update-rate', 'update-total'],
    metrics: ['millrace_restore_records_total'],
    note: 'Standbys follow their changelog by the same restore.',
  },
  // stream-processor-node-metrics
  {
    group: 'stream-processor-node-metrics',
    sensors: ['process-rate', 'process-total'],
    metrics: ['millrace_records_processed_total'],
    note: 'Per task only: a count per node would cost an increment per record and node.',
  },
  {
    group: 'stream-processor-node-metrics',
    sensors: ['record-e2e-latency-avg', 'record-e2e-latency-min', 'record-e2e-latency-max'],
    metrics: ['millrace_record_latency_seconds', 'millrace_task_record_latency_seconds'],
    note: 'Sampled at the end of each batch.',
  },
  {
    group: 'stream-processor-node-metrics',
    sensors: ['suppression-emit-rate', 'suppression-emit-total'],
    metrics: ['millrace_records_written_total'],
    note: 'What suppress lets through reaches a topic and is counted there.',
  },
  {
    group: 'stream-processor-node-metrics',
    sensors: [
      'window-aggregate-final-emit-rate',
      'window-aggregate-final-emit-total',
      'window-aggregate-final-emit-latency-avg',
      'window-aggregate-final-emit-latency-max',
    ],
    metrics: ['millrace_records_written_total', 'millrace_process_seconds_total'],
    note: 'Not told apart from other output.',
  },
  // stream-topic-metrics
  {
    group: 'stream-topic-metrics',
    sensors: ['bytes-consumed-total', 'records-consumed-total'],
    metrics: [
      'millrace_bytes_processed_total',
      'millrace_records_processed_total',
      'millrace_input_position',
    ],
    note: 'The position tells the records of each topic and partition.',
  },
  {
    group: 'stream-topic-metrics',
    sensors: ['bytes-produced-total', 'records-produced-total'],
    metrics: ['millrace_bytes_written_total', 'millrace_records_written_total'],
    note: 'By kind, not by topic. Committed records only.',
  },
  // stream-state-metrics
  {
    group: 'stream-state-metrics',
    sensors: [
      'put-*',
      'put-if-absent-*',
      'put-all-*',
      'get-*',
      'delete-*',
      'remove-*',
      'fetch-*',
      'all-*',
      'range-*',
      'prefix-scan-*',
    ],
    metrics: [],
    note: 'A rate and a latency per operation and store would cost more than the operation, a look-up in memory.',
  },
  {
    group: 'stream-state-metrics',
    sensors: ['flush-*', 'commit-*'],
    metrics: [
      'millrace_persists_total',
      'millrace_persisted_bytes_total',
      'millrace_persist_duration_seconds',
    ],
  },
  {
    group: 'stream-state-metrics',
    sensors: ['restore-*'],
    metrics: ['millrace_restore_records_total', 'millrace_restore_duration_seconds', 'millrace_store_offset'],
  },
  {
    group: 'stream-state-metrics',
    sensors: ['record-e2e-latency-*'],
    metrics: ['millrace_record_latency_seconds'],
    note: 'Measured where records leave, not at each store.',
  },
  {
    group: 'stream-state-metrics',
    sensors: [
      'num-open-iterators',
      'iterator-duration-avg',
      'iterator-duration-max',
      'oldest-iterator-open-since-ms',
    ],
    metrics: [],
    note: 'Scans are closed by the loop that reads them; one can not be forgotten.',
  },
  {
    group: 'stream-state-metrics',
    sensors: ['num-keys'],
    metrics: ['millrace_cache_bytes'],
    note: 'By bytes, not by keys.',
  },
  {
    group: 'stream-state-metrics',
    sensors: [
      'suppression-buffer-count-avg',
      'suppression-buffer-count-max',
      'suppression-buffer-size-avg',
      'suppression-buffer-size-max',
    ],
    metrics: ['millrace_cache_bytes'],
    note: 'The buffer is a store; its bytes are among those of its task.',
  },
  {
    group: 'stream-state-metrics',
    sensors: ['bytes-*', 'memtable-*', 'block-cache-*-hit-ratio', 'compaction-*', 'write-stall-*'],
    metrics: [],
    note: rocksdb,
  },
  {
    group: 'stream-state-metrics',
    sensors: Object.keys(rocksMetrics),
    metrics: Object.values(rocksMetrics),
    note: 'Per task: its stores share one RocksDB. Read after each write. Not with classic-level or stores in memory.',
  },
  // stream-record-cache-metrics
  {
    group: 'stream-record-cache-metrics',
    sensors: ['hit-ratio-avg', 'hit-ratio-min', 'hit-ratio-max'],
    metrics: [],
    note: 'A look-up in the cache costs about as much as counting it would. What the cache holds is in millrace_cache_bytes.',
  },
]

/** What there is beyond Kafka Streams' sensors. */
export const ownMetrics: Readonly<Partial<Record<MetricName, string>>> = {
  millrace_rebalances_total: 'How often the group moved.',
  millrace_generation: 'The generation of the group.',
  millrace_lag_seconds: 'Lag as a time, not only as records.',
  millrace_input_committed_position: 'Committed offsets.',
  millrace_input_end_offset: 'Ends of the input.',
  millrace_input_held_records: 'What an open transaction of somebody else holds back.',
  millrace_commit_failures_total: 'What was rolled back, by cause.',
  millrace_commit_last_time_seconds: 'How long ago the last commit was.',
  millrace_records_committed_total: 'Input that is done for good.',
}
