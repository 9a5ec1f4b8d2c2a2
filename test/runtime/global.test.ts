/** Global stores over the embedded Kafka: what they keep on disk, and when they read their topic anew. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { StreamsError } from '../../src/base/errors.ts'
import { noHeaders } from '../../src/base/headers.ts'
import { type Logger, silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { connect } from '../../src/kafka/index.ts'
import { createGlobals } from '../../src/runtime/engine.ts'
import { type GlobalOptions, GlobalStores } from '../../src/runtime/global.ts'
import { resolveConfig } from '../../src/runtime/options.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type { KeyValueStore, StoreContext, TaskState } from '../../src/store/contract.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { openDiskState, openTaskState } from '../../src/store/task-state.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import type { Processor, ProcessorContext } from '../../src/topology/processor.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import { stores } from '../../src/topology/stores.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'

const text = serdes.string()
const ends: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

function table(engine: 'persistent' | 'memory' = 'persistent'): Topology {
  const builder = new StreamsBuilder()
  builder.globalTable('names', { keySerde: text, valueSerde: text, as: 'names', engine })
  return builder.build()
}

type OpenState = GlobalOptions['openState']
type Read = {
  readonly partition: number
  readonly from: number
  readonly to: number
  readonly records: number
}

const spread = 2

class Names {
  readonly kafka: EmbeddedKafka
  readonly stateDir: string
  readonly client: ReturnType<typeof connect>
  readonly #produce: (partition: number, builder: BatchBuilder) => Promise<unknown>

  private constructor(
    kafka: EmbeddedKafka,
    stateDir: string,
    client: ReturnType<typeof connect>,
    produce: (partition: number, builder: BatchBuilder) => Promise<unknown>,
  ) {
    this.kafka = kafka
    this.stateDir = stateDir
    this.client = client
    this.#produce = produce
  }

  static async open(): Promise<Names> {
    const kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
    ends.push(() => kafka.stop())
    kafka.createTopic('names', spread, { 'cleanup.policy': 'compact,delete' })
    const stateDir = await mkdtemp(join(tmpdir(), 'millrace-'))
    ends.push(() => rm(stateDir, { recursive: true, force: true }))
    const client = connect({ brokers: [kafka.address], clientId: 'names', logger: silentLogger })
    ends.push(() => client.close())
    const producer = client.producer({ deliveryTimeoutMs: 10_000, compression: 'none' })
    await producer.init()
    return new Names(kafka, stateDir, client, (partition, builder) =>
      producer.produce([{ topic: 'names', partition, builder }]),
    )
  }

  /** Numbers `from` to `to - 1` as keys, in turn over the partitions. */
  async write(from: number, to: number, value: (number: number) => string | null): Promise<void> {
    for (let at = from; at < to; at += 500) {
      const builders = Array.from({ length: spread }, () => new BatchBuilder())
      for (let number = at; number < Math.min(to, at + 500); number++) {
        const key = Buffer.from(keyOf(number))
        const written = value(number)
        const bytes = written === null ? null : Buffer.from(written)
        builders[number % spread]?.append(number, key, 0, key.length, bytes, 0, bytes?.length ?? 0, noHeaders)
      }
      await Promise.all(
        builders.flatMap((builder, partition) =>
          builder.count === 0 ? [] : [this.#produce(partition, builder)],
        ),
      )
    }
  }

  engine(engine: 'rocksdb' | 'classic-level'): OpenState {
    return (specs, topicIds) =>
      openTaskState({
        application: 'app',
        taskId: 'global',
        stateDir: this.stateDir,
        engine,
        ...stateOptions(specs, topicIds),
      })
  }

  globals(openState: OpenState, options: Partial<GlobalOptions> = {}, topology = table()): Globals {
    return new Globals(this, topology, openState, options)
  }
}

const keyOf = (number: number) => `k${String(number).padStart(6, '0')}`

const stateOptions = (specs: readonly StoreSpec[], topicIds: ReadonlyMap<string, string>) => ({
  stores: specs,
  cacheBytesMax: 0,
  context: {
    changelogTopic: () => 'names',
    changelogTopicId: (store: string) => topicIds.get(store) ?? null,
    drop: () => {},
  } satisfies StoreContext,
})

const onDisk =
  (disk: MemoryDisk, clock: Clock = systemClock): OpenState =>
  (specs, topicIds) =>
    openDiskState({ ...stateOptions(specs, topicIds), clock }, disk)

/** Global stores with what they said and did. */
class Globals {
  readonly stores: GlobalStores
  readonly warnings: string[] = []
  readonly failures: StreamsError[] = []
  /** What was read at the start, by partition. */
  readonly reads: Read[] = []
  state: TaskState | null = null

  constructor(names: Names, topology: Topology, openState: OpenState, options: Partial<GlobalOptions>) {
    const logger: Logger = { ...silentLogger, warn: (message) => this.warnings.push(message) }
    const settings = resolveConfig({ applicationId: 'app', brokers: [names.kafka.address] })
    this.stores = new GlobalStores({
      client: names.client,
      graph: topology.graph,
      settings: {
        applicationId: 'app',
        maxTaskIdleMs: 0,
        emitIntervalMs: 0,
        batchBytesMax: 1_000_000,
        handlers: { deserialization: 'fail', processing: 'fail', production: 'fail', deadLetterTopic: null },
        configs: settings,
        topicName: (name) => name,
      },
      fetchBufferBytes: 1_000_000,
      partitionFetchBytes: 100_000,
      cacheBytesMax: 50_000_000,
      pendingBytesMax: 50_000_000,
      persistIntervalMs: 100,
      failed: (error) => this.failures.push(error),
      clock: systemClock,
      logger,
      ...options,
      hooks: {
        ...options.hooks,
        restore: ({ phase, partition, startOffset, offset, records }) => {
          if (phase === 'end') this.reads.push({ partition, from: startOffset, to: offset, records })
        },
      },
      openState: async (specs, topicIds) => {
        this.state = await openState(specs, topicIds)
        return this.state
      },
    })
    ends.push(() => this.stores.close())
  }

  async start(): Promise<this> {
    await this.stores.start()
    this.reads.sort((one, other) => one.partition - other.partition)
    return this
  }

  get names(): KeyValueStore<string, string> {
    return this.stores.store('names') as KeyValueStore<string, string>
  }

  async rows(from: string | null = null, to: string | null = null): Promise<[string, string | null][]> {
    const rows: [string, string | null][] = []
    for await (const { key, value } of this.names.range(from, to)) rows.push([key, value])
    return rows
  }
}

for (const engine of ['rocksdb', 'classic-level'] as const) {
  test(`global table, ${engine}: a restart reads only what came since`, async () => {
    const names = await Names.open()
    await names.write(0, 1_000, (number) => `v${number}`)
    const first = await names.globals(names.engine(engine)).start()
    expect(first.reads).toEqual([
      { partition: 0, from: 0, to: 500, records: 500 },
      { partition: 1, from: 0, to: 500, records: 500 },
    ])
    await first.stores.close()
    // Ten change, two go, one is new: thirteen records, seven of them of even keys.
    await names.write(0, 10, (number) => `w${number}`)
    await names.write(10, 12, () => null)
    await names.write(1_000, 1_001, (number) => `v${number}`)
    const second = await names.globals(names.engine(engine)).start()
    expect(second.reads).toEqual([
      { partition: 0, from: 500, to: 507, records: 7 },
      { partition: 1, from: 500, to: 506, records: 6 },
    ])
    const rows = await second.rows()
    expect(rows.length).toBe(999)
    expect(rows[0]).toEqual([keyOf(0), 'w0'])
    expect(rows.slice(9, 12)).toEqual([
      [keyOf(9), 'w9'],
      [keyOf(12), 'v12'],
      [keyOf(13), 'v13'],
    ])
    expect(await second.names.get(keyOf(11))).toBe(null)
    expect(second.warnings).toEqual([])
    await second.stores.close()
    // Nothing came since: nothing is read.
    const third = await names.globals(names.engine(engine)).start()
    expect(third.reads).toEqual([])
    expect(await third.names.get(keyOf(1_000))).toBe('v1000')
  })
}

test('global table: a crash after any write to the disk reads on from there, and ends with the same rows', async () => {
  const names = await Names.open()
  await names.write(0, 2_400, (number) => `v${number}`)
  await names.write(0, 2_400, (number) => (number % 3 === 0 ? null : `w${number}`))
  const disk = new MemoryDisk()
  const crashed: MemoryDisk[] = []
  const first = names.globals(onDisk(disk), {
    partitionFetchBytes: 10_000,
    fetchBufferBytes: 30_000,
    pendingBytesMax: 1,
    hooks: {
      persisted: () => {
        const copy = new MemoryDisk()
        for (const [key, row] of disk.rows) copy.rows.set(key, row)
        crashed.push(copy)
      },
    },
  })
  await first.start()
  const wanted = await first.rows()
  expect(wanted.length).toBe(1_600)
  expect(crashed.length).toBeGreaterThan(3)
  const step = Math.ceil(crashed.length / 6)
  let readBefore = Number.POSITIVE_INFINITY
  for (const copy of crashed.filter((_, index) => index % step === 0)) {
    const again = await names.globals(onDisk(copy)).start()
    const read = again.reads.reduce((sum, { from, to, records }) => {
      expect(records).toBe(to - from)
      return sum + records
    }, 0)
    expect(read).toBeLessThan(readBefore)
    readBefore = read
    expect(await again.rows()).toEqual(wanted)
    await again.stores.close()
  }
  expect(readBefore).toBeLessThan(4_800)
})

test('global table: larger than memory, memory stays bounded, and reads merge it with the disk', async () => {
  const names = await Names.open()
  const cacheBytesMax = 200_000
  const wide = 'x'.repeat(200)
  await names.write(0, 10_000, (number) => `v${number} ${wide}`)
  const globals = await names
    .globals(names.engine('rocksdb'), { cacheBytesMax, pendingBytesMax: 200_000 })
    .start()
  const { state } = globals
  const bounded = async () => {
    const deadline = Date.now() + 5_000
    while ((state as TaskState).cachedBytes > cacheBytesMax) {
      if (Date.now() > deadline) throw new Error(`${state?.cachedBytes} bytes are cached`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
  // All of it would be 10,000 times about 1,200 bytes.
  await bounded()
  for (let number = 0; number < 10_000; number += 7) {
    expect((await globals.names.get(keyOf(number)))?.startsWith(`v${number} `)).toBe(true)
  }
  await bounded()
  await names.write(5_000, 5_010, (number) => (number % 2 === 0 ? null : `w${number}`))
  while (
    (await globals.names.get(keyOf(5_009))) !== 'w5009' ||
    (await globals.names.get(keyOf(5_008))) !== null
  )
    await new Promise((resolve) => setTimeout(resolve, 10))
  const around = (await globals.rows(keyOf(4_998), keyOf(5_011))).map(([, value]) => value?.split(' ')[0])
  expect(around).toEqual(['v4998', 'v4999', 'w5001', 'w5003', 'w5005', 'w5007', 'w5009', 'v5010', 'v5011'])
  const prefixed: string[] = []
  for await (const { key } of globals.names.prefix(Buffer.from('k00500'))) prefixed.push(key)
  expect(prefixed).toEqual([1, 3, 5, 7, 9].map((number) => keyOf(5_000 + number)))
  expect((await globals.rows()).length).toBe(9_995)
})

test('global table: local state before the log’s start, of another topic or too old is read anew', async () => {
  const names = await Names.open()
  let aheadMs = 0
  const clock: Clock = { now: () => Date.now() + aheadMs, after: systemClock.after }
  const disk = new MemoryDisk()
  const started = () => names.globals(onDisk(disk, clock), { clock }).start()
  await names.write(0, 100, (number) => `v${number}`)
  await (await started()).stores.close()

  await names.write(100, 200, (number) => `v${number}`)
  await names.client.admin.deleteRecords([
    { topic: 'names', partition: 0, offset: 60 },
    { topic: 'names', partition: 1, offset: 40 },
  ])
  const behind = await started()
  expect(behind.warnings).toEqual([
    expect.stringContaining('it stands at offset 50 of partition 0, which has 60 to 100'),
  ])
  expect((await behind.rows()).length).toBe(100)
  await behind.stores.close()

  aheadMs = 3 * 86_400_000
  const idle = await started()
  // Nothing was written since, so nothing can have been missed.
  expect(idle.warnings).toEqual([])
  await idle.stores.close()
  aheadMs = 6 * 86_400_000
  await names.write(200, 202, (number) => `v${number}`)
  const old = await started()
  expect(old.warnings).toEqual([expect.stringContaining('keeps tombstones for 86400 s')])
  expect((await old.rows()).length).toBe(102)
  await old.stores.close()

  await names.client.admin.deleteTopics(['names'])
  names.kafka.createTopic('names', spread)
  await names.write(300, 450, (number) => `v${number}`)
  const anew = await started()
  expect(anew.warnings).toEqual([expect.stringContaining('the topic was deleted and made anew')])
  expect((await anew.rows()).length).toBe(150)
})

test('global table: records that go before they are read end the application, and the next start reads all', async () => {
  const names = await Names.open()
  const disk = new MemoryDisk()
  await names.write(0, 100, (number) => `v${number}`)
  await (await names.globals(onDisk(disk)).start()).stores.close()
  await names.write(100, 200, (number) => `v${number}`)
  // The offsets asked for at the start are those of before; the log moves between that and the first fetch.
  const { client } = names
  const late = {
    ...client,
    fetcher: client.fetcher.bind(client),
    admin: {
      ...client.admin,
      topics: client.admin.topics.bind(client.admin),
      offsets: async (...args: Parameters<typeof client.admin.offsets>) => {
        const offsets = await client.admin.offsets(...args)
        if (args[1] === 'latest') {
          const gone = [0, 1].map((partition) => ({ topic: 'names', partition, offset: 70 }))
          await client.admin.deleteRecords(gone)
        }
        return offsets
      },
    },
  } as unknown as typeof client
  const second = names.globals(onDisk(disk), { client: late })
  await expect(second.start()).rejects.toMatchObject({ code: 'RESTORE_FAILED', verdict: 'stop' })
  expect(second.failures[0]?.message).toMatch(/start the application again, and it reads the topic anew/)
  await second.stores.close()
  const third = await names.globals(onDisk(disk)).start()
  expect((await third.rows()).map(([key]) => key)).toEqual(
    Array.from({ length: 60 }, (_, index) => keyOf(140 + index)),
  )
})

test('global store: a record that its processor fails on is not passed over by the next start', async () => {
  const names = await Names.open()
  await names.write(0, 100, (number) => `v${number}`)
  let broken = true
  const topology = () => {
    const builder = new StreamsBuilder()
    const make = (): Processor<string, string> => {
      let context: ProcessorContext
      return {
        init(given) {
          context = given as ProcessorContext
        },
        process({ key, value, timestamp }) {
          if (broken && key === keyOf(60)) throw new Error('not this one')
          return context.store<KeyValueStore>('names').put(key, `${value}!`, timestamp)
        },
      } as Processor<string, string>
    }
    const spec = stores.keyValue('names', { keySerde: text, valueSerde: text })
    builder.addGlobalStore(spec, 'names', { keySerde: text, valueSerde: text }, make as never)
    return builder.build()
  }
  const disk = new MemoryDisk()
  const first = names.globals(onDisk(disk), {}, topology())
  await expect(first.start()).rejects.toThrow(/not this one/)
  await first.stores.close()
  broken = false
  const second = await names.globals(onDisk(disk), {}, topology()).start()
  const rows = await second.rows()
  expect(rows.length).toBe(100)
  expect(rows[60]).toEqual([keyOf(60), 'v60!'])
})

test('global table: in memory it is read whole at each start', async () => {
  const names = await Names.open()
  await names.write(0, 100, (number) => `v${number}`)
  const disk = new MemoryDisk()
  for (let start = 0; start < 2; start++) {
    const globals = await names.globals(onDisk(disk), {}, table('memory')).start()
    expect(globals.reads.map(({ from, to }) => to - from)).toEqual([50, 50])
    expect((await globals.rows()).length).toBe(100)
    await globals.stores.close()
  }
})

test('global table: copies on one state folder have a folder each, and find it again', async () => {
  const names = await Names.open()
  await names.write(0, 100, (number) => `v${number}`)
  const settings = resolveConfig({
    applicationId: 'app',
    brokers: [names.kafka.address],
    stateDir: names.stateDir,
  })
  const copies = async () => {
    const reads: number[] = []
    const made = [0, 1].map(() =>
      createGlobals(
        {
          client: names.client,
          graph: table().graph,
          settings,
          clock: systemClock,
          logger: silentLogger,
          hooks: {
            restore: ({ phase, startOffset, offset }) => {
              if (phase === 'end') reads.push(offset - startOffset)
            },
          },
        },
        (error) => {
          throw error
        },
      ),
    )
    for (const one of made) ends.push(() => one.close())
    for (const one of made) await one.start()
    for (const one of made) expect((one.store('names') as KeyValueStore).approximateCount()).toBe(100)
    for (const one of made) await one.close()
    return reads
  }
  expect(await copies()).toEqual([50, 50, 50, 50])
  expect((await readdir(join(names.stateDir, 'app'))).sort()).toEqual(['global', 'global-2'])
  expect(await copies()).toEqual([])
})
