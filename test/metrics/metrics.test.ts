import { Registry } from 'prom-client'
import { describe, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { Metrics } from '../../src/metrics/metrics.ts'
import { ownMetrics, sensorMappings } from '../../src/metrics/sensors.ts'
import { type MetricName, metricTable } from '../../src/metrics/table.ts'
import type { ApplicationStatus } from '../../src/runtime/status.ts'

const clock: Clock & { at: number } = { at: 100_000, now: () => clock.at, after: () => ({ cancel() {} }) }

const make = (
  applicationId: string,
  registry: Registry | null = new Registry(),
  level: 'info' | 'debug' = 'info',
) => new Metrics({ applicationId, guarantee: 'exactly_once', level, registry, clock })

/** Each prefix with each suffix. */
const all = (prefixes: readonly string[], suffixes: readonly string[]): string[] =>
  prefixes.flatMap((prefix) => suffixes.map((suffix) => `${prefix}-${suffix}`))

const timed = ['latency-avg', 'latency-max', 'rate']

/** As Kafka Streams 4.3 registers them; several hundred of RocksDB's statistics by their families. */
const kafkaStreamsSensors: readonly (readonly [string, readonly string[]])[] = [
  [
    'stream-metrics',
    [
      ...['version', 'commit-id', 'application-id', 'topology-description', 'state', 'client-state'],
      ...['alive-stream-threads', 'failed-stream-threads', 'recording-level'],
    ],
  ],
  [
    'stream-thread-metrics',
    [
      ...all(['commit', 'poll', 'process', 'punctuate'], [...timed, 'total', 'ratio']),
      ...all(['poll-records', 'process-records'], ['avg', 'max']),
      ...all(['task-created', 'task-closed'], ['rate', 'total']),
      ...['blocked-time-ns-total', 'thread-start-time', 'state', 'thread-state'],
      ...all(['tasks-revoked', 'tasks-assigned', 'tasks-lost'], ['latency-avg', 'latency-max']),
    ],
  ],
  [
    'stream-state-updater-metrics',
    [
      ...['active-restoring-tasks', 'standby-updating-tasks', 'active-paused-tasks', 'standby-paused-tasks'],
      ...['idle-ratio', 'active-restore-ratio', 'standby-update-ratio', 'checkpoint-ratio'],
      ...['restore-records-rate', 'restore-call-rate'],
    ],
  ],
  [
    'stream-task-metrics',
    [
      ...all(['process', 'punctuate'], [...timed, 'total']),
      ...all(['record-lateness'], ['avg', 'max']),
      ...all(['enforced-processing', 'dropped-records', 'restore', 'update'], ['rate', 'total']),
      ...['active-process-ratio', 'active-buffer-count', 'cache-size-bytes-total'],
      'restore-remaining-records-total',
    ],
  ],
  [
    'stream-processor-node-metrics',
    [
      ...all(['process', 'suppression-emit', 'window-aggregate-final-emit'], ['rate', 'total']),
      ...all(['record-e2e-latency'], ['avg', 'min', 'max']),
      ...all(['window-aggregate-final-emit'], ['latency-avg', 'latency-max']),
    ],
  ],
  [
    'stream-topic-metrics',
    all(['bytes-consumed', 'records-consumed', 'bytes-produced', 'records-produced'], ['total']),
  ],
  [
    'stream-state-metrics',
    [
      ...all(['put', 'put-if-absent', 'put-all', 'get', 'delete', 'remove', 'fetch', 'all'], timed),
      ...all(['range', 'prefix-scan', 'flush', 'commit', 'restore'], timed),
      ...['record-e2e-latency-*', 'num-keys', 'num-open-iterators', 'oldest-iterator-open-since-ms'],
      ...all(['iterator-duration', 'suppression-buffer-count', 'suppression-buffer-size'], ['avg', 'max']),
      ...['bytes-*', 'memtable-*', 'block-cache-*-hit-ratio', 'compaction-*', 'write-stall-*'],
      ...['background-errors', 'block-cache-capacity', 'block-cache-pinned-usage', 'block-cache-usage'],
      ...['compaction-pending', 'cur-size-active-mem-table', 'cur-size-all-mem-tables', 'estimate-num-keys'],
      ...['estimate-pending-compaction-bytes', 'estimate-table-readers-mem', 'live-sst-files-size'],
      ...['mem-table-flush-pending', 'num-deletes-active-mem-table', 'num-deletes-imm-mem-tables'],
      ...['num-entries-active-mem-table', 'num-entries-imm-mem-tables', 'num-immutable-mem-table'],
      ...['num-live-versions', 'num-running-compactions', 'num-running-flushes', 'size-all-mem-tables'],
      'total-sst-files-size',
    ],
  ],
  ['stream-record-cache-metrics', all(['hit-ratio'], ['avg', 'min', 'max'])],
]

// What the metrics read of it.
const running = {
  applicationId: 'app',
  state: 'running',
  ready: true,
  paused: false,
  member: { memberId: 'm', generation: 3 },
  threads: [
    {
      thread: 'thread-1',
      state: 'running',
      tasks: [
        {
          task: '0_0',
          role: 'active',
          state: 'running',
          streamTime: 5,
          lag: 1,
          inputs: [{ topic: 'in', partition: 0, position: 9, committed: 7, endOffset: 10 }],
          stores: [{ store: 'counts', offset: 4, endOffset: 6 }],
        },
        { task: '0_1', role: 'active', state: 'restoring', streamTime: -1, lag: 0, inputs: [], stores: [] },
        { task: '0_2', role: 'standby', state: 'running', streamTime: -1, lag: 0, inputs: [], stores: [] },
      ],
    },
  ],
} as unknown as ApplicationStatus

describe('metrics: from events', () => {
  test('metrics: batches, counters and stream time per task', async () => {
    const metrics = make('app')
    const batch = {
      task: '0_0',
      records: 10,
      bytes: 1000,
      durationMs: 4,
      streamTime: 42_000,
      recordTimestamp: 42_000,
    }
    metrics.hooks.batch?.(batch)
    metrics.hooks.batch?.(batch)
    const text = await metrics.text()
    expect(text).toContain('millrace_records_processed_total{application="app",task="0_0"} 20')
    expect(text).toContain('millrace_bytes_processed_total{application="app",task="0_0"} 2000')
    expect(text).toContain('millrace_process_seconds_total{application="app",task="0_0"} 0.008')
    expect(text).toContain('millrace_stream_time_seconds{application="app",task="0_0"} 42')
    expect(text).toContain('millrace_process_batch_duration_seconds_count{application="app"} 2')
  })

  test('metrics: lag, records per partition, and as a time only while there are more', async () => {
    const metrics = make('app')
    metrics.hooks.batch?.({
      task: '0_0',
      records: 1,
      bytes: 1,
      durationMs: 1,
      streamTime: 1,
      recordTimestamp: 90_000,
    })
    metrics.hooks.lag?.({ task: '0_0', topic: 'in', partition: 2, records: 7, position: 3, endOffset: 10 })
    expect(await metrics.text()).toContain(
      'millrace_lag_records{application="app",task="0_0",topic="in",partition="2"} 7',
    )
    expect(await metrics.text()).toContain('millrace_lag_seconds{application="app",task="0_0"} 10')
    metrics.hooks.lag?.({ task: '0_0', topic: 'in', partition: 2, records: 0, position: 10, endOffset: 10 })
    expect(await metrics.text()).toContain('millrace_lag_seconds{application="app",task="0_0"} 0')
  })

  test('metrics: what an open transaction holds back, per partition, gone with its task', async () => {
    const metrics = make('app')
    const line = 'millrace_input_held_records{application="app",task="0_0",topic="in",partition="2"}'
    metrics.hooks.held?.({ task: '0_0', topic: 'in', partition: 2, records: 12 })
    expect(await metrics.text()).toContain(`${line} 12`)
    metrics.hooks.held?.({ task: '0_0', topic: 'in', partition: 2, records: 0 })
    expect(await metrics.text()).toContain(`${line} 0`)
    metrics.hooks.taskClosed?.('thread-1', '0_0', 'clean')
    expect(await metrics.text()).not.toContain(line)
  })

  test('metrics: a commit, a failed one and a persist', async () => {
    const metrics = make('app')
    metrics.hooks.committed?.({
      thread: 'thread-1',
      tasks: 2,
      inputRecords: 100,
      outputRecords: 30,
      changelogRecords: 40,
      bytes: 5_000,
      durationMs: 8,
      cutMs: 0.4,
      reason: 'drained',
    })
    metrics.hooks.commitFailed?.('thread-1', 'KAFKA_TRANSACTION_LOST')
    metrics.hooks.persisted?.('0_0', 900, 3)
    metrics.hooks.cache?.('0_0', 4_096)
    const text = await metrics.text()
    for (const line of [
      'millrace_commits_total{application="app",thread="thread-1",reason="drained"} 1',
      'millrace_commit_duration_seconds_sum{application="app",thread="thread-1"} 0.008',
      'millrace_records_written_total{application="app",thread="thread-1",kind="output"} 30',
      'millrace_records_written_total{application="app",thread="thread-1",kind="changelog"} 40',
      'millrace_records_committed_total{application="app",thread="thread-1"} 100',
      'millrace_commit_failures_total{application="app",thread="thread-1",code="KAFKA_TRANSACTION_LOST"} 1',
      'millrace_persists_total{application="app",task="0_0"} 1',
      'millrace_persisted_bytes_total{application="app",task="0_0"} 900',
      'millrace_persist_duration_seconds_sum{application="app"} 0.003',
      'millrace_cache_bytes{application="app",task="0_0"} 4096',
      'millrace_commit_last_time_seconds{application="app",thread="thread-1"} 100',
    ]) {
      expect(text).toContain(line)
    }
  })

  test('metrics: drops, by reason; by node at debug only', async () => {
    const dropped = {
      reason: 'null-key',
      task: '0_0',
      node: 'COUNT',
      topic: 'in',
      partition: 0,
      offset: 5,
    } as const
    const info = make('app')
    info.hooks.dropped?.(dropped)
    expect(await info.text()).toContain(
      'millrace_records_dropped_total{application="app",reason="null-key"} 1',
    )
    expect(await info.text()).not.toContain('COUNT')
    const debug = make('app', new Registry(), 'debug')
    debug.hooks.dropped?.(dropped)
    expect(await debug.text()).toContain(
      'millrace_node_records_dropped_total{application="app",task="0_0",node="COUNT",reason="null-key"} 1',
    )
  })

  test('metrics: a restore, remaining falls and is gone at the end', async () => {
    const metrics = make('app')
    const restore = { task: '0_0', store: 's', topic: 'c', partition: 0, startOffset: 0, endOffset: 100 }
    metrics.hooks.restore?.({ ...restore, phase: 'start', offset: 0, records: 0 })
    metrics.hooks.restore?.({ ...restore, phase: 'batch', offset: 60, records: 55 })
    expect(await metrics.text()).toContain(
      'millrace_restore_remaining_records{application="app",task="0_0",store="s"} 40',
    )
    clock.at += 2_000
    metrics.hooks.restore?.({ ...restore, phase: 'batch', offset: 100, records: 90 })
    metrics.hooks.restore?.({ ...restore, phase: 'end', offset: 100, records: 90 })
    const text = await metrics.text()
    expect(text).toContain('millrace_restore_records_total{application="app",task="0_0"} 90')
    expect(text).not.toContain('millrace_restore_remaining_records{')
    expect(text).toContain('millrace_restore_duration_seconds_sum{application="app"} 2')
    expect(text).toContain('millrace_restores_total{application="app",how="ended"} 1')
  })

  test('metrics: a restore of several partitions, what remains is their sum until the last one ends', async () => {
    const metrics = make('app')
    const base = { task: 'global', store: 's', topic: 'c', startOffset: 0, endOffset: 100 }
    const report = (partition: number, phase: 'start' | 'batch' | 'end', offset: number) =>
      metrics.hooks.restore?.({ ...base, partition, phase, offset, records: offset })
    const remaining = async () => /restore_remaining_records\{.*\} (\d+)/.exec(await metrics.text())?.[1]
    report(0, 'start', 0)
    report(1, 'start', 0)
    expect(await remaining()).toBe('200')
    report(0, 'batch', 60)
    expect(await remaining()).toBe('140')
    report(0, 'end', 100)
    expect(await remaining()).toBe('100')
    report(1, 'batch', 70)
    expect(await remaining()).toBe('30')
    report(1, 'end', 100)
    expect(await remaining()).toBeUndefined()
  })

  test('metrics: a thread that dies while the application runs counts as failed, one that is closed does not', async () => {
    const metrics = make('app')
    metrics.hooks.threadState?.('thread-1', 'dead', 'running')
    metrics.hooks.state?.('pending-shutdown', 'running')
    metrics.hooks.threadState?.('thread-2', 'dead', 'running')
    expect(await metrics.text()).toContain('millrace_threads_failed_total{application="app"} 1')
  })

  test('metrics: a task that is closed, its gauges go, its counters stay', async () => {
    const metrics = make('app')
    for (const task of ['0_0', '0_1']) {
      metrics.hooks.batch?.({
        task,
        records: 1,
        bytes: 1,
        durationMs: 1,
        streamTime: 1_000,
        recordTimestamp: 1,
      })
      metrics.hooks.lag?.({ task, topic: 'in', partition: 0, records: 7, position: 3, endOffset: 10 })
    }
    metrics.hooks.taskClosed?.('thread-1', '0_0', 'clean')
    const text = await metrics.text()
    expect(text).not.toMatch(/millrace_(lag_records|stream_time_seconds|lag_seconds)\{[^}]*task="0_0"/)
    expect(text).toMatch(/millrace_lag_records\{[^}]*task="0_1"/)
    expect(text).toContain('millrace_records_processed_total{application="app",task="0_0"} 1')
  })
})

describe('metrics: from the status', () => {
  test('metrics: a scrape, states, threads and tasks are those of the moment', async () => {
    const metrics = make('app', new Registry(), 'debug')
    let status: ApplicationStatus = running
    metrics.watch(() => status)
    const text = await metrics.text()
    for (const line of [
      'millrace_state{application="app",state="running"} 1',
      'millrace_state{application="app",state="error"} 0',
      'millrace_ready{application="app"} 1',
      'millrace_generation{application="app"} 3',
      'millrace_threads{application="app",state="running"} 1',
      'millrace_tasks{application="app",role="active",state="restoring"} 1',
      'millrace_restoring_tasks{application="app"} 1',
      'millrace_input_committed_position{application="app",task="0_0",topic="in",partition="0"} 7',
      'millrace_store_offset{application="app",task="0_0",store="counts"} 4',
    ]) {
      expect(text).toContain(line)
    }
    status = { ...running, state: 'rebalancing', threads: [] }
    const later = await metrics.text()
    expect(later).toContain('millrace_state{application="app",state="running"} 0')
    expect(later).not.toMatch(/millrace_tasks\{/)
    expect(later).toContain('millrace_restoring_tasks{application="app"} 0')
  })
})

describe('metrics: registries', () => {
  test('metrics: two applications in one registry, both speak, one that closes takes its series out', async () => {
    const registry = new Registry()
    const one = make('one', registry)
    const two = make('two', registry)
    one.watch(() => ({ ...running, applicationId: 'one' }))
    two.watch(() => ({ ...running, applicationId: 'two' }))
    const both = await registry.metrics()
    expect(both).toContain('millrace_ready{application="one"} 1')
    expect(both).toContain('millrace_ready{application="two"} 1')
    one.close()
    const left = await registry.metrics()
    expect(left).not.toContain('application="one"')
    expect(left).toContain('millrace_ready{application="two"} 1')
  })

  test("metrics: a registry of its own, the process's metrics are in it; in a service's, they are the service's affair", async () => {
    expect(await make('app', null).text()).toContain('process_cpu_seconds_total')
    expect(await make('app').text()).not.toContain('process_cpu_seconds_total')
  })
})

describe('metrics: the table', () => {
  test('metrics: level info, no series per node or store', async () => {
    const text = await make('app').text()
    for (const [name, spec] of Object.entries(metricTable)) {
      expect(text.includes(`# HELP ${name} `), name).toBe(!('level' in spec))
    }
  })

  test('metrics: every metric stands for a sensor or is said to be beyond them, and every sensor is answered', () => {
    const mapped = new Set<MetricName>(sensorMappings.flatMap(({ metrics }) => metrics))
    for (const name of Object.keys(metricTable) as MetricName[]) {
      expect(mapped.has(name) || name in ownMetrics, name).toBe(true)
    }
    for (const { metrics, note, sensors } of sensorMappings) {
      expect(metrics.length > 0 || (note ?? '').length > 0, sensors.join()).toBe(true)
    }
  })

  test("metrics: each of Kafka Streams 4.3's sensors has its line", () => {
    const known = new Map<string, Set<string>>()
    for (const { group, sensors } of sensorMappings) {
      const names = known.get(group) ?? new Set()
      known.set(group, names)
      for (const sensor of sensors) names.add(sensor)
    }
    const missing = kafkaStreamsSensors.flatMap(([group, names]) =>
      names.flatMap((name) => {
        const family = name.replace(/-(rate|latency-avg|latency-max)$/, '-*')
        const has = known.get(group)
        return has?.has(name) || has?.has(family) ? [] : [`${group}: ${name}`]
      }),
    )
    expect(missing).toEqual([])
  })
})
