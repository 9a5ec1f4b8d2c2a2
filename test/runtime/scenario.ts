/** A small world for tests of whole applications: an embedded Kafka, input, and what is committed in the end. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { noHeaders } from '../../src/base/headers.ts'
import { type Logger, silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { hopping, tumbling } from '../../src/dsl/windows.ts'
import { connect, type KafkaClient, type OutgoingBatch, type Producer } from '../../src/kafka/index.ts'
import { Millrace } from '../../src/runtime/application.ts'
import type { Hooks } from '../../src/runtime/hooks.ts'
import type { Config } from '../../src/runtime/options.ts'
import { Restorer } from '../../src/runtime/restore.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'

export const applicationId = 'app'

/** Counts per key and ten seconds, written as `key@start -> count`. */
export function countTopology(): Topology {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .windowedBy(tumbling('10s', { grace: '1d' }))
    .count({ as: 'counts' })
    .toStream((_count, windowed) => `${windowed.key}@${windowed.start}`, { keySerde: text })
    .to('counts', { valueSerde: serdes.long() })
  return builder.build()
}

/** The same, by windows that overlap much, of which every twentieth is written. */
export function overlappingTopology(): Topology {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .windowedBy(hopping('10s', { advance: '500ms', grace: '1d' }))
    .count({ as: 'counts' })
    .toStream()
    .filter((_count, { start }) => start % 10_000 === 0)
    .selectKey((_count, windowed) => `${windowed.key}@${windowed.start}`, { keySerde: text })
    .to('counts', { valueSerde: serdes.long() })
  return builder.build()
}

/** Counts per key, without windows. */
export function tallyTopology(): Topology {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .count({ as: 'counts' })
    .toStream()
    .to('counts', { valueSerde: serdes.long() })
  return builder.build()
}

/** The same, over a repartition topic: by the first letter of the value. */
export function repartitionedTopology(): Topology {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupBy((value) => value.slice(0, 1), { keySerde: text, valueSerde: text, name: 'by-letter' })
    .count({ as: 'counts' })
    .toStream()
    .to('counts', { valueSerde: serdes.long() })
  return builder.build()
}

/** Fails at its first record. */
export function throwingTopology(): Topology {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .mapValues((): string => {
      throw new Error('never')
    })
    .to('counts', { valueSerde: text })
  return builder.build()
}

/** What is counted: per key and window, per key, or per first letter of the value. */
export type Kind = 'windows' | 'keys' | 'letters'

export class World {
  readonly kafka: EmbeddedKafka
  readonly stateDir: string
  readonly #client: KafkaClient
  readonly #producer: Producer
  readonly #apps: Millrace[] = []
  /** Pieces of input written so far, by key and window, key, and letter. */
  readonly expected = new Map<string, number>()
  #records = 0

  private constructor(kafka: EmbeddedKafka, stateDir: string, client: KafkaClient, producer: Producer) {
    this.kafka = kafka
    this.stateDir = stateDir
    this.#client = client
    this.#producer = producer
  }

  static async open(topics: Readonly<Record<string, number>> = { events: 2, counts: 2 }): Promise<World> {
    const kafka = await EmbeddedKafka.start({ topics, autoCreateTopics: false })
    const client = connect({ brokers: [kafka.address], clientId: 'input', logger: silentLogger })
    const producer = client.producer({ deliveryTimeoutMs: 10_000, compression: 'none' })
    await producer.init()
    return new World(kafka, await mkdtemp(join(tmpdir(), 'millrace-')), client, producer)
  }

  app(topology: Topology, config: Partial<Config> = {}, hooks: Hooks = {}): Millrace {
    const app = new Millrace(topology, {
      applicationId,
      brokers: [this.kafka.address],
      stateDir: this.stateDir,
      logger: testLogger,
      heartbeatIntervalMs: 100,
      sessionTimeoutMs: 2_000,
      fetchWaitMs: 50,
      hooks,
      ...config,
    })
    this.#apps.push(app)
    return app
  }

  get client(): KafkaClient {
    return this.#client
  }

  restorer(isolation: 'read_committed' | 'read_uncommitted'): Restorer {
    return new Restorer({
      client: this.#client,
      purpose: 'restore',
      isolation,
      bufferBytesMax: 1 << 20,
      partitionBytesMax: 1 << 20,
      batchBytesMax: 1 << 20,
      clock: systemClock,
      logger: silentLogger,
      hooks: {},
    })
  }

  /** A producer of somebody else's; transactional where it has an id. */
  async stranger(transactionalId?: string): Promise<Producer> {
    const producer = this.#client.producer({
      ...(transactionalId === undefined ? {} : { transactionalId, transactionTimeoutMs: 60_000 }),
      deliveryTimeoutMs: 10_000,
      compression: 'none',
    })
    await producer.init()
    return producer
  }

  /** Written so far. */
  get records(): number {
    return this.#records
  }

  /** One made elsewhere, closed with the rest. */
  adopt(app: Millrace): void {
    this.#apps.push(app)
  }

  /** One record of this value. */
  async one(key: string, value: string): Promise<void> {
    const timestamp = 1_000_000 + this.#records++ * 500
    this.#count(`${key}@${Math.floor(timestamp / 10_000) * 10_000}`)
    this.#count(key)
    const bytes = Buffer.from(key + value)
    const builder = new BatchBuilder()
    builder.append(timestamp, bytes, 0, key.length, bytes, key.length, bytes.length, noHeaders)
    await this.#producer.produce([{ topic: 'events', partition: 0, builder }])
  }

  /** Writes `count` records, keys and values from a small set, half a second of event time apart. */
  async input(count: number, topic = 'events', partitions = 2): Promise<void> {
    const builders = Array.from({ length: partitions }, () => new BatchBuilder())
    for (let index = 0; index < count; index++) {
      const number = this.#records++
      const key = `k${number % 7}`
      const timestamp = 1_000_000 + number * 500
      const value = `${String.fromCharCode(97 + (number % 5))}${number}`
      const start = Math.floor(timestamp / 10_000) * 10_000
      this.#count(`${key}@${start}`)
      this.#count(value.slice(0, 1))
      this.#count(key)
      const bytes = Buffer.from(key + value)
      builders[(number % 7) % partitions]?.append(
        timestamp,
        bytes,
        0,
        key.length,
        bytes,
        key.length,
        bytes.length,
        noHeaders,
      )
    }
    const batches = builders
      .map((builder, partition) => ({ topic, partition, builder }))
      .filter(({ builder }) => builder.count > 0)
    await this.#producer.produce(batches)
  }

  /** The last committed value of each key, as the output topic has it. */
  counts(topic = 'counts'): Map<string, number> {
    const counts = new Map<string, number>()
    for (const { key, value } of this.kafka.records(topic)) {
      if (key !== null && value !== null) counts.set(key.toString(), Number(value.readBigInt64BE(0)))
    }
    return counts
  }

  /** What the counts must be in the end. */
  wanted(kind: Kind): Map<string, number> {
    const kindOf = (key: string): Kind =>
      key.includes('@') ? 'windows' : key.length > 1 ? 'keys' : 'letters'
    return new Map([...this.expected].filter(([key]) => kindOf(key) === kind))
  }

  /** Resolves when the output says what the input holds; fails with the difference after a while. */
  async settled(kind: Kind = 'windows', timeoutMs = 10_000): Promise<void> {
    const deadline = Date.now() + timeoutMs
    const wanted = this.wanted(kind)
    while (true) {
      const counts = this.counts()
      const wrong = [...wanted].filter(([key, count]) => counts.get(key) !== count)
      if (wrong.length === 0) return
      for (const [key, count] of counts) {
        const most = wanted.get(key) ?? 0
        if (count > most) throw new Error(`${key} counts ${count}, there were only ${most}`)
      }
      for (const app of this.#apps) if (app.state === 'error') throw app.error
      if (Date.now() > deadline) {
        throw new Error(
          `not settled: ${wrong
            .slice(0, 5)
            .map(([key, count]) => `${key} is ${counts.get(key)}, not ${count}`)
            .join('; ')}`,
        )
      }
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#apps.map((app) => app.close({ timeoutMs: 3_000 })))
    await this.#client.close()
    await this.kafka.stop()
    await rm(this.stateDir, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #count(key: string): void {
    this.expected.set(key, (this.expected.get(key) ?? 0) + 1)
  }
}

/** A batch of these records, for a partition of a topic. */
export function outgoing(
  topic: string,
  partition: number,
  records: readonly (readonly [key: string, value: string | Buffer, timestamp?: number])[],
): OutgoingBatch {
  const builder = new BatchBuilder()
  for (const [key, value, timestamp] of records) {
    const bytes = Buffer.concat([Buffer.from(key), Buffer.from(value)])
    const keyEnd = Buffer.byteLength(key)
    builder.append(timestamp ?? 1_000_000, bytes, 0, keyEnd, bytes, keyEnd, bytes.length, noHeaders)
  }
  return { topic, partition, builder }
}

/** Resolves when it is so; fails with the question after a while. */
export async function until(what: () => boolean, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!what()) {
    if (Date.now() > deadline) throw new Error(`never came: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** `LOG=1` shows what the application says. */
const testLogger: Logger =
  process.env['LOG'] === undefined
    ? silentLogger
    : {
        debug: (message) => (process.env['LOG'] === 'debug' ? console.log('debug', message) : undefined),
        info: (message) => console.log('info', message),
        warn: (message) => console.log('warn', message),
        error: (message) => console.log('error', message),
        child: () => testLogger,
      }

export type Line = { readonly level: string; readonly message: string }

/** A logger that keeps what it is told. */
export function recorder(): { readonly lines: Line[]; readonly logger: Logger } {
  const lines: Line[] = []
  const at = (level: string) => (message: string) => void lines.push({ level, message })
  const logger: Logger = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => logger,
  }
  return { lines, logger }
}

/** Holds requests of an API back, of these clients, until `release`, which drops them or lets them pass. */
export function hold(
  world: World,
  api: 'endTxn' | 'heartbeat',
  clientId: string,
  released: 'drop' | 'pass' = 'drop',
) {
  let release: () => void = () => undefined
  const decided = new Promise<void>((resolve) => {
    release = resolve
  })
  let held = 0
  const interception = world.kafka.intercept(api, async (request) => {
    if (request.clientId !== clientId) return undefined
    held++
    await decided
    return released === 'drop' ? released : undefined
  })
  return {
    get held() {
      return held
    },
    release() {
      interception.remove()
      release()
    },
    [Symbol.dispose]() {
      this.release()
    },
  }
}
