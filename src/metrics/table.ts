/**
 * Every metric there is, declared once: docs/metrics.md, the alert rules and the dashboard are checked against it.
 * All carry the label `application`; times are seconds and sizes bytes, as Prometheus has it. `debug` metrics have a
 * series per node, per store or per task and bucket, and exist at `metricsLevel: 'debug'` only.
 */
export type MetricSpec = {
  readonly kind: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
  readonly level?: 'debug'
  readonly buckets?: readonly number[]
}

const fastSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
const slowSeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600]

export const metricTable = {
  // ------------------------------------------------------------------------------------------ application
  millrace_info: {
    kind: 'gauge',
    labels: ['version', 'guarantee', 'level'],
    help: 'Always 1; its labels say what runs.',
  },
  millrace_state: {
    kind: 'gauge',
    labels: ['state'],
    help: '1 for the state the application is in, 0 for the others.',
  },
  millrace_ready: {
    kind: 'gauge',
    labels: [],
    help: '1: a member of the group and no active task restoring.',
  },
  millrace_paused: { kind: 'gauge', labels: [], help: '1: paused by its owner.' },
  millrace_start_time_seconds: {
    kind: 'gauge',
    labels: [],
    help: 'When the application was made, Unix time.',
  },
  millrace_generation: { kind: 'gauge', labels: [], help: 'Generation of the consumer group.' },
  millrace_threads: { kind: 'gauge', labels: ['state'], help: 'Stream threads by state.' },
  millrace_threads_failed_total: {
    kind: 'counter',
    labels: [],
    help: 'Stream threads that ended while the application ran.',
  },
  millrace_tasks: {
    kind: 'gauge',
    labels: ['role', 'state'],
    help: 'Tasks by role (active, standby) and state.',
  },
  millrace_tasks_created_total: { kind: 'counter', labels: ['thread'], help: 'Tasks opened.' },
  millrace_tasks_closed_total: {
    kind: 'counter',
    labels: ['thread', 'how'],
    help: 'Tasks closed: clean after a commit, dirty after an abort.',
  },
  millrace_rebalances_total: {
    kind: 'counter',
    labels: [],
    help: 'Rebalances of the group that this member took part in.',
  },
  millrace_rebalance_duration_seconds: {
    kind: 'histogram',
    labels: [],
    buckets: slowSeconds,
    help: 'From the call to rebalance to the new assignment.',
  },

  // ------------------------------------------------------------------------------------------ processing
  millrace_records_processed_total: { kind: 'counter', labels: ['task'], help: 'Input records processed.' },
  millrace_bytes_processed_total: { kind: 'counter', labels: ['task'], help: 'Bytes of input processed.' },
  millrace_process_batches_total: {
    kind: 'counter',
    labels: ['task'],
    help: 'Turns in which a task processed records.',
  },
  millrace_process_seconds_total: {
    kind: 'counter',
    labels: ['task'],
    help: 'Time spent processing. Its rate is the share of a thread that the task uses.',
  },
  millrace_process_batch_duration_seconds: {
    kind: 'histogram',
    labels: [],
    buckets: fastSeconds,
    help: 'How long one turn of a task took.',
  },
  millrace_records_dropped_total: {
    kind: 'counter',
    labels: ['reason'],
    help: 'Records that ended before a result, by reason.',
  },
  millrace_node_records_dropped_total: {
    kind: 'counter',
    labels: ['task', 'node', 'reason'],
    level: 'debug',
    help: 'Records that ended before a result, by node and reason.',
  },
  millrace_record_latency_seconds: {
    kind: 'histogram',
    labels: [],
    buckets: slowSeconds,
    help: 'End-to-end: wall clock minus record timestamp, sampled at the end of each batch.',
  },
  millrace_task_record_latency_seconds: {
    kind: 'histogram',
    labels: ['task'],
    level: 'debug',
    buckets: slowSeconds,
    help: 'End-to-end latency by task, sampled at the end of each batch.',
  },
  millrace_stream_time_seconds: {
    kind: 'gauge',
    labels: ['task'],
    help: 'Stream time of the task, Unix time.',
  },
  millrace_punctuations_total: { kind: 'counter', labels: ['type'], help: 'Punctuations fired.' },
  millrace_punctuate_seconds_total: {
    kind: 'counter',
    labels: ['type'],
    help: 'Time spent in punctuations.',
  },
  millrace_node_punctuations_total: {
    kind: 'counter',
    labels: ['task', 'node', 'type'],
    level: 'debug',
    help: 'Punctuations fired, by node.',
  },

  // ------------------------------------------------------------------------------------------ input
  millrace_lag_records: {
    kind: 'gauge',
    labels: ['task', 'topic', 'partition'],
    help: 'Records up to the last stable offset that are not processed.',
  },
  millrace_lag_seconds: {
    kind: 'gauge',
    labels: ['task'],
    help: 'Age of the last processed record while there are more; 0 when caught up.',
  },
  millrace_input_position: {
    kind: 'gauge',
    labels: ['task', 'topic', 'partition'],
    help: 'Next offset to be processed.',
  },
  millrace_input_committed_position: {
    kind: 'gauge',
    labels: ['task', 'topic', 'partition'],
    help: 'Committed offset.',
  },
  millrace_input_end_offset: {
    kind: 'gauge',
    labels: ['task', 'topic', 'partition'],
    help: 'Last stable offset.',
  },

  // ------------------------------------------------------------------------------------------ commit
  millrace_commits_total: {
    kind: 'counter',
    labels: ['thread', 'reason'],
    help: 'Commits by what caused them.',
  },
  millrace_commit_failures_total: {
    kind: 'counter',
    labels: ['thread', 'code'],
    help: 'Times that a thread went back to its last commit, or ended, by error code.',
  },
  millrace_commit_duration_seconds: {
    kind: 'histogram',
    labels: ['thread'],
    buckets: fastSeconds,
    help: 'From the cut to the decision; processing goes on meanwhile.',
  },
  millrace_commit_cut_seconds: {
    kind: 'histogram',
    labels: ['thread'],
    buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1],
    help: 'The part of a commit that stops processing.',
  },
  millrace_commit_last_time_seconds: {
    kind: 'gauge',
    labels: ['thread'],
    help: 'When the last commit was decided, Unix time.',
  },
  millrace_records_committed_total: {
    kind: 'counter',
    labels: ['thread'],
    help: 'Input records whose results are committed.',
  },
  millrace_records_written_total: {
    kind: 'counter',
    labels: ['thread', 'kind'],
    help: 'Records committed to output (and repartition) topics, and to changelogs.',
  },
  millrace_bytes_written_total: {
    kind: 'counter',
    labels: ['thread'],
    help: 'Bytes committed to all topics.',
  },

  // ------------------------------------------------------------------------------------------ state
  millrace_persists_total: {
    kind: 'counter',
    labels: ['task'],
    help: 'Batches of committed changes written to disk.',
  },
  millrace_persisted_bytes_total: { kind: 'counter', labels: ['task'], help: 'Bytes written to disk.' },
  millrace_persist_duration_seconds: {
    kind: 'histogram',
    labels: [],
    buckets: fastSeconds,
    help: 'How long a write to disk took; processing goes on meanwhile.',
  },
  millrace_cache_bytes: { kind: 'gauge', labels: ['task'], help: 'Deserialised state held in memory.' },
  millrace_store_offset: {
    kind: 'gauge',
    labels: ['task', 'store'],
    level: 'debug',
    help: 'Changelog offset that the store stands for.',
  },

  // ------------------------------------------------------------------------------------------ restore
  millrace_restoring_tasks: {
    kind: 'gauge',
    labels: [],
    help: 'Active tasks whose state is being restored.',
  },
  millrace_restores_total: {
    kind: 'counter',
    labels: ['how'],
    help: 'Restores of a store that ended or were suspended.',
  },
  millrace_restore_records_total: { kind: 'counter', labels: ['task'], help: 'Changelog records read back.' },
  millrace_restore_remaining_records: {
    kind: 'gauge',
    labels: ['task', 'store'],
    help: 'Changelog records still to be read back; no series when done.',
  },
  millrace_restore_duration_seconds: {
    kind: 'histogram',
    labels: [],
    buckets: slowSeconds,
    help: 'How long the restore of a store took.',
  },
} as const satisfies { readonly [name: string]: MetricSpec }

export type MetricName = keyof typeof metricTable
