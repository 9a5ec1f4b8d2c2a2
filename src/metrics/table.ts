/**
 * Every metric there is, declared once: docs/metrics.md, the alert rules and the dashboard are checked against it.
 * All carry the label `application`; times are seconds and sizes bytes, as Prometheus has it. `debug` metrics have a
 * series per node, per store or per task and bucket, and exist at `metricsLevel: 'debug'` only.
 */
import type { rocksFigures } from '../store/level-engine.ts'

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
  millrace_input_held_records: {
    kind: 'gauge',
    labels: ['task', 'topic', 'partition'],
    help: 'Offsets between the last stable offset and the high watermark: an open transaction of whoever writes the topic holds them back. 0 without exactly_once.',
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

  // ------------------------------------------------------------------------------------------ RocksDB
  millrace_rocksdb_errors: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Errors of its background work.',
  },
  millrace_rocksdb_block_cache_capacity_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Most that its block cache may hold.',
  },
  millrace_rocksdb_block_cache_pinned_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Blocks in the cache that are in use.',
  },
  millrace_rocksdb_block_cache_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: What its block cache holds.',
  },
  millrace_rocksdb_compaction_pending: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: 1: a compaction waits.',
  },
  millrace_rocksdb_active_memtable_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: The memtable that is written to.',
  },
  millrace_rocksdb_memtables_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Memtables that are not flushed.',
  },
  millrace_rocksdb_keys: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Entries, estimated.',
  },
  millrace_rocksdb_pending_compaction_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: What compactions must rewrite, estimated.',
  },
  millrace_rocksdb_table_readers_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Indexes and filters outside the block cache, estimated.',
  },
  millrace_rocksdb_live_files_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Files of the latest version.',
  },
  millrace_rocksdb_flush_pending: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: 1: a flush waits.',
  },
  millrace_rocksdb_active_memtable_deletes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Deletions in the memtable that is written to.',
  },
  millrace_rocksdb_immutable_memtable_deletes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Deletions in memtables that wait for a flush.',
  },
  millrace_rocksdb_active_memtable_entries: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Entries in the memtable that is written to.',
  },
  millrace_rocksdb_immutable_memtable_entries: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Entries in memtables that wait for a flush.',
  },
  millrace_rocksdb_immutable_memtables: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Memtables that wait for a flush.',
  },
  millrace_rocksdb_live_versions: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Versions of the files that something still reads.',
  },
  millrace_rocksdb_running_compactions: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Compactions under way.',
  },
  millrace_rocksdb_running_flushes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: Flushes under way.',
  },
  millrace_rocksdb_all_memtables_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: All memtables, those pinned by scans included.',
  },
  millrace_rocksdb_files_bytes: {
    kind: 'gauge',
    labels: ['task'],
    level: 'debug',
    help: 'RocksDB: All files, those of older versions included.',
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
    help: 'Changelog records still to be read back, of all partitions; no series when done.',
  },
  millrace_restore_duration_seconds: {
    kind: 'histogram',
    labels: [],
    buckets: slowSeconds,
    help: 'How long the restore of a store took.',
  },
} as const satisfies { readonly [name: string]: MetricSpec }

export type MetricName = keyof typeof metricTable

/** Where each property of RocksDB goes. */
export const rocksMetrics: { readonly [figure in (typeof rocksFigures)[number]]: MetricName } = {
  'background-errors': 'millrace_rocksdb_errors',
  'block-cache-capacity': 'millrace_rocksdb_block_cache_capacity_bytes',
  'block-cache-pinned-usage': 'millrace_rocksdb_block_cache_pinned_bytes',
  'block-cache-usage': 'millrace_rocksdb_block_cache_bytes',
  'compaction-pending': 'millrace_rocksdb_compaction_pending',
  'cur-size-active-mem-table': 'millrace_rocksdb_active_memtable_bytes',
  'cur-size-all-mem-tables': 'millrace_rocksdb_memtables_bytes',
  'estimate-num-keys': 'millrace_rocksdb_keys',
  'estimate-pending-compaction-bytes': 'millrace_rocksdb_pending_compaction_bytes',
  'estimate-table-readers-mem': 'millrace_rocksdb_table_readers_bytes',
  'live-sst-files-size': 'millrace_rocksdb_live_files_bytes',
  'mem-table-flush-pending': 'millrace_rocksdb_flush_pending',
  'num-deletes-active-mem-table': 'millrace_rocksdb_active_memtable_deletes',
  'num-deletes-imm-mem-tables': 'millrace_rocksdb_immutable_memtable_deletes',
  'num-entries-active-mem-table': 'millrace_rocksdb_active_memtable_entries',
  'num-entries-imm-mem-tables': 'millrace_rocksdb_immutable_memtable_entries',
  'num-immutable-mem-table': 'millrace_rocksdb_immutable_memtables',
  'num-live-versions': 'millrace_rocksdb_live_versions',
  'num-running-compactions': 'millrace_rocksdb_running_compactions',
  'num-running-flushes': 'millrace_rocksdb_running_flushes',
  'size-all-mem-tables': 'millrace_rocksdb_all_memtables_bytes',
  'total-sst-files-size': 'millrace_rocksdb_files_bytes',
}
