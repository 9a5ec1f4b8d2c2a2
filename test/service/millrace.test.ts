/** The application as people run it: what its metrics and its HTTP service say of work that is known. */
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import { connect } from '../../src/kafka/index.ts'
import { metricTable, rocksMetrics } from '../../src/metrics/table.ts'
import type { Config } from '../../src/runtime/options.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { Millrace } from '../../src/service/millrace.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { applicationId, countTopology, throwingTopology, World } from '../runtime/scenario.ts'

function serve(world: World, topology: Topology, config: Partial<Config> = {}): Millrace {
  const app = new Millrace(topology, {
    applicationId,
    brokers: [world.kafka.address],
    stateDir: world.stateDir,
    logger: silentLogger,
    heartbeatIntervalMs: 100,
    sessionTimeoutMs: 2_000,
    fetchWaitMs: 50,
    cacheMaxBytes: 0,
    persistIntervalMs: 10,
    http: { port: 0 },
    ...config,
  })
  world.adopt(app)
  return app
}

/** Metrics of which any of these tests has seen a series. */
const told = new Set<string>()

/** The series of the last scrape; a metric with several is their sum. */
class Scrape {
  readonly #series: { readonly name: string; readonly labels: string; readonly value: number }[] = []

  constructor(text: string) {
    for (const line of text.split('\n')) {
      const match = /^(millrace_\w+)(?:\{(.*)\})? (\S+)$/.exec(line)
      if (match === null) continue
      this.#series.push({ name: match[1] ?? '', labels: match[2] ?? '', value: Number(match[3]) })
      told.add((match[1] ?? '').replace(/_(bucket|sum|count)$/, ''))
    }
  }

  /** null: there is no such series. */
  value(name: string, ...labels: readonly string[]): number | null {
    const found = this.#series.filter(
      (each) => each.name === name && labels.every((label) => each.labels.includes(label)),
    )
    return found.length === 0 ? null : found.reduce((sum, { value }) => sum + value, 0)
  }
}

const get = (app: Millrace, path: string): Promise<Response> => fetch(`${app.httpAddress}${path}`)
const scrape = async (app: Millrace): Promise<Scrape> => new Scrape(await (await get(app, '/metrics')).text())

/** Scrapes until it is so. */
async function until(app: Millrace, holds: (seen: Scrape) => boolean, what: string): Promise<Scrape> {
  const deadline = Date.now() + 10_000
  while (true) {
    const seen = await scrape(app)
    if (holds(seen)) return seen
    if (Date.now() > deadline) throw new Error(`not seen within 10 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Records without a key, which an aggregation drops. */
async function keyless(world: World, count: number): Promise<void> {
  const client = connect({ brokers: [world.kafka.address], clientId: 'keyless', logger: silentLogger })
  const producer = client.producer({ deliveryTimeoutMs: 10_000, compression: 'none' })
  await producer.init()
  const builder = new BatchBuilder()
  const value = Buffer.from('x')
  for (let index = 0; index < count; index++)
    builder.append(1_000_000, null, 0, 0, value, 0, value.length, noHeaders)
  await producer.produce([{ topic: 'events', partition: 1, builder }])
  await client.close()
}

test('service: a count of 400 records, of which the metrics have the right numbers', async () => {
  await using world = await World.open()
  await world.input(400)
  await keyless(world, 3)
  const app = serve(world, countTopology())
  await app.start()
  await world.settled()
  const seen = await until(
    app,
    (now) =>
      now.value('millrace_records_committed_total') === 403 &&
      (now.value('millrace_persisted_bytes_total') ?? 0) > 0 &&
      now.value('millrace_input_committed_position') === 403,
    'everything committed and written to disk',
  )
  expect(seen.value('millrace_records_processed_total')).toBe(403)
  expect(seen.value('millrace_records_processed_total', 'task="0_0"')).toBe(229)
  expect(seen.value('millrace_bytes_processed_total')).toBeGreaterThan(400 * 5)
  expect(seen.value('millrace_records_dropped_total')).toBe(3)
  expect(seen.value('millrace_records_dropped_total', 'reason="null-key"')).toBe(3)
  // Every update is forwarded; the changelog gets each window once per commit.
  expect(seen.value('millrace_records_written_total', 'kind="output"')).toBe(400)
  expect(world.kafka.records('counts')).toHaveLength(400)
  expect(seen.value('millrace_records_written_total', 'kind="changelog"')).toBe(
    world.kafka.records('app-counts-changelog').length,
  )
  expect(seen.value('millrace_bytes_written_total')).toBeGreaterThan(0)
  const commits = seen.value('millrace_commits_total') ?? 0
  expect(commits).toBeGreaterThan(0)
  expect(seen.value('millrace_commit_duration_seconds_count')).toBe(commits)
  expect(seen.value('millrace_commit_cut_seconds_count')).toBe(commits)
  expect(seen.value('millrace_commit_failures_total')).toBeNull()
  expect(seen.value('millrace_lag_records')).toBe(0)
  expect(seen.value('millrace_lag_seconds')).toBe(0)
  expect(seen.value('millrace_input_position')).toBe(403)
  const batches = seen.value('millrace_process_batches_total') ?? 0
  expect(batches).toBeGreaterThan(0)
  expect(seen.value('millrace_record_latency_seconds_count')).toBe(batches)
  // Their event times are of 1970.
  expect((seen.value('millrace_record_latency_seconds_sum') ?? 0) / batches).toBeGreaterThan(1e9)
  expect(seen.value('millrace_process_batch_duration_seconds_count')).toBe(batches)
  expect(seen.value('millrace_stream_time_seconds', 'task="0_0"')).toBe((1_000_000 + 399 * 500) / 1000)
  expect(seen.value('millrace_cache_bytes')).toBeGreaterThan(0)
  expect(seen.value('millrace_persist_duration_seconds_count')).toBe(seen.value('millrace_persists_total'))
  expect(seen.value('millrace_tasks_created_total')).toBe(2)
  expect(seen.value('millrace_tasks', 'role="active"', 'state="running"')).toBe(2)
  expect(seen.value('millrace_threads', 'state="running"')).toBe(1)
  expect(seen.value('millrace_rebalances_total')).toBeGreaterThan(0)
  expect(seen.value('millrace_rebalance_duration_seconds_count')).toBe(
    seen.value('millrace_rebalances_total'),
  )
  expect(seen.value('millrace_ready')).toBe(1)
  expect(seen.value('millrace_state', 'state="running"')).toBe(1)
})

test('service: state in memory, the restore is counted', async () => {
  await using world = await World.open()
  await world.input(200)
  const first = serve(world, countTopology(), { defaultStore: 'memory' })
  await first.start()
  await world.settled()
  await first.close()
  const logged = world.kafka.records('app-counts-changelog').length
  const early: Promise<string>[] = []
  const second: Millrace = serve(world, countTopology(), {
    defaultStore: 'memory',
    hooks: {
      restore: ({ phase }) => (phase === 'start' ? early.push(second.registry.metrics()) : undefined),
    },
  })
  await second.start()
  const remaining = (await Promise.all(early)).map((text) =>
    new Scrape(text).value('millrace_restore_remaining_records'),
  )
  // The one that is told of last sees both, or its own if the first has ended.
  expect(remaining.at(-1)).toBeGreaterThan(0)
  const seen = await scrape(second)
  expect(seen.value('millrace_restore_records_total')).toBe(logged)
  expect(seen.value('millrace_restores_total', 'how="ended"')).toBe(2)
  expect(seen.value('millrace_restore_duration_seconds_count')).toBe(2)
  expect(seen.value('millrace_restore_remaining_records')).toBeNull()
  expect(seen.value('millrace_restoring_tasks')).toBe(0)
  expect(seen.value('millrace_records_processed_total')).toBeNull()
})

test('service: at level debug, series per node, store and task', async () => {
  await using world = await World.open()
  await world.input(50)
  await keyless(world, 2)
  const app = serve(world, countTopology(), { metricsLevel: 'debug' })
  await app.start()
  await world.settled()
  const seen = await until(
    app,
    (now) =>
      (now.value('millrace_store_offset', 'store="counts"') ?? 0) > 0 &&
      (now.value('millrace_rocksdb_keys', 'task="0_0"') ?? 0) > 0,
    'the offset of the store, and what RocksDB says of itself',
  )
  for (const name of Object.values(rocksMetrics)) expect([name, seen.value(name)]).not.toEqual([name, null])
  expect(seen.value('millrace_rocksdb_memtables_bytes')).toBeGreaterThan(0)
  expect(seen.value('millrace_rocksdb_errors')).toBe(0)
  expect(seen.value('millrace_node_records_dropped_total', 'task="0_1"', 'reason="null-key"')).toBe(2)
  expect(seen.value('millrace_task_record_latency_seconds_count')).toBe(
    seen.value('millrace_record_latency_seconds_count'),
  )
})

test('service: punctuations of both kinds are counted, at level debug by node', async () => {
  await using world = await World.open({ events: 1, counts: 1 })
  await world.input(50, 'events', 1)
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .processValues<string>(
      () => ({
        init(context) {
          context.schedule('10s', 'stream-time', () => {})
          context.schedule('20ms', 'wall-clock', () => {})
        },
        process() {},
      }),
      { name: 'tick', valueSerde: text },
    )
    .to('counts')
  const app = serve(world, builder.build(), { metricsLevel: 'debug' })
  await app.start()
  const seen = await until(
    app,
    (now) =>
      now.value('millrace_records_processed_total') === 50 &&
      (now.value('millrace_punctuations_total', 'type="wall-clock"') ?? 0) > 1,
    'the second tick of the wall clock',
  )
  // 25 s of event time, the first at the first record.
  expect(seen.value('millrace_punctuations_total', 'type="stream-time"')).toBe(3)
  expect(seen.value('millrace_node_punctuations_total', 'node="tick"', 'type="stream-time"')).toBe(3)
  expect(seen.value('millrace_punctuate_seconds_total')).toBeGreaterThan(0)
})

test('service: a function that throws, what was rolled back is counted by its code', async () => {
  await using world = await World.open()
  await world.input(10)
  const app = serve(world, throwingTopology())
  const failed = new Promise<void>((resolve) => {
    app.onState((state) => (state === 'error' ? resolve() : undefined))
  })
  // It may fail before it has started.
  await app.start().catch(() => undefined)
  await failed
  const seen = await scrape(app)
  expect(seen.value('millrace_commit_failures_total', 'code="PROCESSING_FAILED"')).toBe(1)
  expect(seen.value('millrace_records_processed_total')).toBeNull()
  expect(seen.value('millrace_threads_failed_total')).toBe(1)
  expect(seen.value('millrace_tasks_closed_total', 'how="dirty"')).toBe(2)
  expect(seen.value('millrace_state', 'state="error"')).toBe(1)
  expect((await get(app, '/live')).status).toBe(503)
})

test('service: /live, /ready, /metrics, /status and /topology answer, and fall silent after close', async () => {
  await using world = await World.open()
  const app = serve(world, countTopology())
  await app.start()
  for (const path of ['/live', '/ready', '/metrics', '/status', '/topology', '/'])
    expect([path, (await get(app, path)).status]).toEqual([path, 200])
  expect((await get(app, '/metrics')).headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
  expect(await (await get(app, '/topology')).text()).toBe(countTopology().describe())
  const address = app.httpAddress
  await app.close()
  await expect(fetch(`${address}/live`)).rejects.toThrow()
})

test('service: the summary, one line per interval with what was done in it', async () => {
  await using world = await World.open()
  await world.input(100)
  const lines: string[] = []
  let heard: (line: string) => void = () => {}
  const summed = new Promise<string>((resolve) => {
    heard = (line) => (/ 100 records processed/.test(line) ? resolve(line) : undefined)
  })
  const logger = {
    ...silentLogger,
    child: () => logger,
    info: (message: string) => {
      lines.push(message)
      heard(message)
    },
  }
  const app = serve(world, countTopology(), { logger, logSummaryIntervalMs: 1_500 })
  await app.start()
  expect(await summed).toMatch(
    /^app running, 2 tasks; in the last \d+ s: 100 records processed \(\d+\/s\), 0 dropped, \d+ commits; lag 0 records$/,
  )
})

test('service: requireNames, a topology with generated names is refused and they are named', async () => {
  await using world = await World.open()
  await expect(serve(world, windowedWithoutAName(), { requireNames: true }).start()).rejects.toThrow(
    /requireNames: .*KSTREAM-AGGREGATE-STATE-STORE-0000000001/,
  )
  await serve(world, countTopology(), { requireNames: true }).start()
})

test('service: state folders of tasks that moved away long ago go, its own and fresh ones stay', async () => {
  await using world = await World.open()
  const folder = (task: string) => join(world.stateDir, applicationId, task)
  for (const task of ['0_0', '0_8', '0_9']) {
    await mkdir(folder(task), { recursive: true })
    const manifest = { format: 1, application: applicationId, engine: 'rocksdb' }
    await writeFile(join(folder(task), 'state.json'), JSON.stringify(manifest))
    if (task === '0_9') continue
    for (const path of [join(folder(task), 'state.json'), folder(task)]) await utimes(path, 1_000, 1_000)
  }
  let heard: () => void = () => {}
  const deleted = new Promise<void>((resolve) => {
    heard = resolve
  })
  const logger = {
    ...silentLogger,
    child: () => logger,
    info: (message: string) => (/deleted the state folder of task 0_8/.test(message) ? heard() : undefined),
  }
  await serve(world, countTopology(), { logger, stateCleanupDelayMs: 60_000 }).start()
  await deleted
  expect(
    (await readdir(join(world.stateDir, applicationId))).filter((name) => name.includes('_')).sort(),
  ).toEqual(['0_0', '0_1', '0_9'])
})

function windowedWithoutAName(): Topology {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .windowedBy(tumbling('10s'))
    .count()
    .toStream((_count, windowed) => windowed.key, { keySerde: text })
    .to('counts', { valueSerde: serdes.long() })
  return builder.build()
}

test('service: every metric there is has been seen in the tests above', () => {
  expect(Object.keys(metricTable).filter((name) => !told.has(name))).toEqual([])
})
