/**
 * An application of Kafka Streams continued here under its id, and one of ours continued there: counts, windows,
 * sessions, a joined table and a store that keeps headers go on from where the other stopped. Both at once is an error that says so.
 */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Header } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { session, tumbling } from '../../src/dsl/windows.ts'
import { connect, type KafkaClient } from '../../src/kafka/index.ts'
import { Millrace } from '../../src/runtime/application.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type {
  Processor,
  ProcessorContext,
  TimestampedKeyValueStoreWithHeaders,
} from '../../src/topology/processor.ts'
import { stores } from '../../src/topology/stores.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'
import { type JavaProcess, startJava } from './java.ts'

const brokers = (process.env['KAFKA_BROKERS'] as string).split(',')
const text = serdes.string()

/** The same as Takeover.java. */
function takeover(events: string, table: string, output: string) {
  const builder = new StreamsBuilder()
  const to = { keySerde: text, valueSerde: text }
  const input = builder.stream(events, to)
  input
    .groupBy((value) => value.slice(0, 1), { keySerde: text, valueSerde: text, name: 'letter' })
    .count({ as: 'totals' })
    .toStream((_value, key) => `total:${key}`, { keySerde: text })
    .mapValues(String)
    .to(output, to)
  input
    .groupByKey()
    .windowedBy(tumbling('10s', { grace: '1d' }))
    .count({ as: 'windows' })
    .toStream((_value, key) => `window:${key.key}@${key.start}`, { keySerde: text })
    .mapValues(String)
    .to(output, to)
  input
    .groupByKey()
    .windowedBy(session('5s', { grace: '1d' }))
    .count({ as: 'sessions' })
    .toStream((_value, key) => `session:${key.key}@${key.start}`, { keySerde: text })
    .filter((value) => value !== null)
    .mapValues(String)
    .to(output, to)
  input
    .join(builder.table(table, { ...to, as: 'names' }), (value, name) => `${name}:${value}`)
    .map((value, key) => [`join:${key}`, value] as const, to)
    .to(output, to)
  builder.addStateStore(stores.timestampedKeyValue('headed', { ...to, headers: true }))
  input.process(previousHeaders, { stores: ['headed'] }).to(output, to)
  return builder.build()
}

/** What the record before had in its header. */
const previousHeaders = (): Processor<string, string, string, string> => {
  let context: ProcessorContext<string, string>
  return {
    init(given) {
      context = given
    },
    async process({ key, value, timestamp, headers }) {
      const headed = context.store<TimestampedKeyValueStoreWithHeaders<string, string>>('headed')
      const before = await headed.get(key)
      await headed.put(key, { value, timestamp, headers })
      if (before === null) return
      const { key: name, value: number } = before.headers[0] as Header
      context.forward({ key: `headed:${key}:${before.value}`, value: `${name} ${number}` })
    },
  }
}

/**
 * A window's start, and lately: the changelogs of windows expire by the broker's clock, so what happened long ago
 * would be deleted from them within seconds, and nothing left to continue from.
 */
const begin = Math.floor(Date.now() / 10_000) * 10_000

class World {
  readonly id = `takeover-${randomUUID().slice(0, 8)}`
  readonly events = `${this.id}-events`
  readonly table = `${this.id}-names`
  readonly output = `${this.id}-output`
  readonly client: KafkaClient
  readonly folder: string
  /** The last value of each key, as it must be in the end. */
  readonly expected = new Map<string, string>()
  readonly #sessions = new Map<string, { start: number; end: number; count: number }>()
  readonly #last = new Map<number, string>()
  #written = 0

  private constructor(client: KafkaClient, folder: string) {
    this.client = client
    this.folder = folder
  }

  static async open(): Promise<World> {
    const client = connect({ brokers, clientId: 'takeover', logger: silentLogger })
    const world = new World(client, await mkdtemp(join(tmpdir(), 'millrace-takeover-')))
    await client.admin.createTopics(
      [world.events, world.table, world.output].map((name) => ({
        name,
        partitions: 2,
        replicationFactor: 1,
        configs: {},
      })),
    )
    await world.write(
      world.table,
      [0, 1, 2, 3].map((key) => [key, `name${key}`, begin] as const),
    )
    return world
  }

  async write(topic: string, records: readonly (readonly [number, string, number])[]): Promise<void> {
    const producer = this.client.producer({ deliveryTimeoutMs: 10_000, compression: 'none' })
    await producer.init()
    const builders = [new BatchBuilder(), new BatchBuilder()]
    for (const [key, value, time] of records) {
      const bytes = Buffer.from(`k${key}${value}`)
      const headers = [{ key: 'value was', value: Buffer.from(value) }]
      builders[key % 2]?.append(time, bytes, 0, 2, bytes, 2, bytes.length, headers)
    }
    await producer.produce(
      builders.flatMap((builder, partition) => (builder.count === 0 ? [] : [{ topic, partition, builder }])),
    )
    await producer.close()
  }

  async input(count: number): Promise<void> {
    const records: (readonly [number, string, number])[] = []
    for (let index = 0; index < count; index++) {
      const number = this.#written++
      const key = number % 4
      const time = begin + number * 400
      const value = `${'abc'[number % 3]}${number}`
      records.push([key, value, time])
      this.#count(`total:${value[0]}`)
      this.#count(`window:k${key}@${Math.floor(time / 10_000) * 10_000}`)
      const known = this.#sessions.get(`${key}`)
      const next =
        known !== undefined && time - known.end <= 5_000
          ? { ...known, end: time, count: known.count + 1 }
          : { start: time, end: time, count: 1 }
      this.#sessions.set(`${key}`, next)
      this.expected.set(`session:k${key}@${next.start}`, String(next.count))
      this.expected.set(`join:k${key}`, `name${key}:${value}`)
      const before = this.#last.get(key)
      if (before !== undefined) this.expected.set(`headed:k${key}:${before}`, `value was ${before}`)
      this.#last.set(key, value)
    }
    await this.write(this.events, records)
  }

  #count(key: string): void {
    this.expected.set(key, String(Number(this.expected.get(key) ?? 0) + 1))
  }

  /** Waits until the committed output says what it must, and never more. */
  async settled(what: string, watch: () => void = () => {}): Promise<void> {
    const seen = new Map<string, string>()
    let wake = () => {}
    const fetcher = this.client.fetcher({
      purpose: 'input',
      isolation: 'read_committed',
      bufferBytesMax: 16_777_216,
      partitionBytesMax: 1_048_576,
      waitMs: 100,
      offsetReset: () => 'earliest',
      onChunk: (chunk) => {
        const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
        while (cursor.next()) {
          const key = cursor.buffer.toString('utf8', cursor.keyStart, cursor.keyEnd)
          seen.set(key, cursor.buffer.toString('utf8', cursor.valueStart, cursor.valueEnd))
        }
        chunk.release()
        wake()
      },
      onEnds: () => {},
      onReset: () => {},
      onError: () => {},
    })
    for (const partition of [0, 1]) fetcher.add({ topic: this.output, partition }, 0)
    const deadline = Date.now() + 60_000
    try {
      for (;;) {
        const wrong = [...this.expected].filter(([key, value]) => seen.get(key) !== value)
        if (wrong.length === 0) return
        watch()
        if (Date.now() > deadline)
          throw new Error(
            `${what}: ${wrong
              .slice(0, 6)
              .map(([key, value]) => `${key} is ${seen.get(key)}, not ${value}`)
              .join('; ')}`,
          )
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, 500)
          wake = () => {
            clearTimeout(timer)
            resolve()
          }
        })
      }
    } finally {
      await fetcher.close()
    }
  }

  async java(): Promise<JavaProcess> {
    const args = [
      brokers[0] as string,
      this.id,
      join(this.folder, 'java'),
      this.events,
      this.table,
      this.output,
    ]
    const java = await startJava('Takeover', args)
    return java
  }

  app(): Millrace {
    return new Millrace(takeover(this.events, this.table, this.output), {
      applicationId: this.id,
      brokers,
      stateDir: join(this.folder, randomUUID()),
      cacheMaxBytes: 0,
      logger: silentLogger,
    })
  }

  /** Kafka Streams does not leave its group when it is closed: its session must run out. */
  async left(): Promise<void> {
    const deadline = Date.now() + 20_000
    while ((await this.client.admin.describeGroup(this.id)).members.length > 0) {
      if (Date.now() > deadline) throw new Error('the group still has members')
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const topics = (await this.client.admin.topics())
      .map(({ name }) => name)
      .filter((name) => name.startsWith(this.id))
    await this.client.admin.deleteTopics(topics)
    await this.client.close()
    await rm(this.folder, { recursive: true, force: true })
  }
}

test('takeover: what Kafka Streams began goes on here, and what went on here goes on there', async () => {
  await using world = await World.open()
  const java = await world.java()
  try {
    await java.said('state RUNNING')
    await world.input(90)
    await world.settled('begun by Kafka Streams', () => {
      if (!java.running) throw new Error(java.tail)
    })
  } finally {
    await java.end('SIGTERM')
  }
  await world.left()
  const app = world.app()
  await app.start()
  try {
    await world.input(90)
    await world.settled('continued here', () => {
      if (app.error !== null) throw app.error
    })
  } finally {
    await app.close()
  }
  const again = await world.java()
  try {
    await world.input(90)
    await world.settled('continued by Kafka Streams', () => {
      if (!again.running) throw new Error(again.tail)
    })
  } finally {
    await again.end('SIGTERM')
  }
})

test('takeover: a member of Kafka Streams that still runs under the id gives a clear error', async () => {
  await using world = await World.open()
  const java = await world.java()
  try {
    await java.said('state RUNNING')
    const app = world.app()
    await expect(app.start()).rejects.toMatchObject({
      name: 'StreamsError',
      about: { kafkaCode: 23 },
      message: expect.stringMatching(/Kafka Streams, stop it first.*session\.timeout\.ms/),
    })
    console.log(`refused: ${app.error?.message}`)
    await app.close()
  } finally {
    await java.end('SIGKILL')
  }
})
