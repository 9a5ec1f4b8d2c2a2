/**
 * A Kafka that needs no install: one broker inside this process, speaking the real protocol on a TCP port of
 * 127.0.0.1. In memory, or in a folder that survives restarts and a kill -9.
 *
 *   await using kafka = await EmbeddedKafka.start({ topics: { orders: 4 } })
 *   const client = new Kafka({ brokers: [kafka.address] })
 */
import { type Clock, systemClock } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { Broker } from '../broker/broker.ts'
import type { ApiName, Interception, Interceptor } from '../broker/faults.ts'
import { Server } from '../broker/server.ts'
import { BatchCursor } from '../wire/record-batch.ts'

export type EmbeddedKafkaOptions = {
  /** 0, the default, takes any free port. */
  readonly port?: number
  /** Where its data is kept. Left out, it lives in memory and is gone after `stop`. */
  readonly dir?: string
  /** Topics to create at start where they are missing, with their number of partitions. */
  readonly topics?: Readonly<Record<string, number>>
  /** Whether asking for a missing topic creates it; clients may forbid it on their side. True by default. */
  readonly autoCreateTopics?: boolean
  /** Partitions of a topic that is created without a number. 1 by default. */
  readonly defaultPartitions?: number
  /** With users, clients must log in by SASL PLAIN. */
  readonly users?: Readonly<Record<string, string>>
  /** How long the first members of a group wait for more. 0 by default. */
  readonly initialRebalanceDelayMs?: number
  /** Shortest session time-out that a member may ask for. 100 ms by default, so that tests are quick. */
  readonly sessionTimeoutMinMs?: number
  /**
   * How long after the answer to EndTxn the transaction becomes visible. 0 by default; a real cluster takes some
   * milliseconds, in which its clients meet CONCURRENT_TRANSACTIONS and unstable offsets.
   */
  readonly transactionMarkerDelayMs?: number
  readonly housekeepingIntervalMs?: number
  readonly nodeId?: number
  readonly clusterId?: string
  readonly clock?: Clock
  readonly logger?: Logger
}

/** A record as a test looks at it. */
export type KafkaRecord = {
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Headers
}

const host = '127.0.0.1'

export class EmbeddedKafka {
  readonly #broker: Broker
  readonly #server: Server

  private constructor(broker: Broker, server: Server) {
    this.#broker = broker
    this.#server = server
  }

  static async start(options: EmbeddedKafkaOptions = {}): Promise<EmbeddedKafka> {
    const broker = new Broker({
      clock: options.clock ?? systemClock,
      logger: options.logger ?? silentLogger,
      dir: options.dir ?? null,
      nodeId: options.nodeId ?? 1,
      clusterId: options.clusterId ?? null,
      autoCreateTopics: options.autoCreateTopics ?? true,
      defaultPartitions: options.defaultPartitions ?? 1,
      initialRebalanceDelayMs: options.initialRebalanceDelayMs ?? 0,
      sessionTimeoutMinMs: options.sessionTimeoutMinMs ?? 100,
      sessionTimeoutMaxMs: 1_800_000,
      transactionMarkerDelayMs: options.transactionMarkerDelayMs ?? 0,
      housekeepingIntervalMs: options.housekeepingIntervalMs ?? 15_000,
      users: options.users ?? {},
    })
    const server = new Server(broker, host, options.port ?? 0)
    try {
      for (const [name, partitions] of Object.entries(options.topics ?? {})) {
        if (broker.topics.get(name) === undefined) broker.topics.create(name, partitions, {})
      }
      await server.listen()
    } catch (error) {
      broker.close()
      throw error
    }
    return new EmbeddedKafka(broker, server)
  }

  /** Host and port, for `brokers` of a client. */
  get address(): string {
    return `${host}:${this.#server.port}`
  }

  get port(): number {
    return this.#server.port
  }

  get clusterId(): string {
    return this.#broker.clusterId
  }

  async stop(): Promise<void> {
    await this.#server.close()
    this.#broker.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  createTopic(name: string, partitions = 1, configs: Readonly<Record<string, string>> = {}): void {
    this.#broker.topics.create(name, partitions, configs)
  }

  /** Names and partition counts. */
  topics(): Record<string, number> {
    return Object.fromEntries(this.#broker.topics.all().map(({ name, logs }) => [name, logs.length]))
  }

  /** What a read_committed consumer would find in a topic, partition after partition. */
  records(topic: string, isolation: 'committed' | 'uncommitted' = 'committed'): KafkaRecord[] {
    const found = this.#broker.topics.get(topic)
    if (found === undefined) throw new StreamsError('CONFIG_INVALID', `there is no topic ${topic}`, { topic })
    const records: KafkaRecord[] = []
    for (const log of found.logs) {
      const upTo = isolation === 'committed' ? log.stableOffset : log.endOffset
      for (let from = log.startOffset; from < upTo; ) {
        const slice = log.locate(from, upTo, Number.MAX_SAFE_INTEGER, true)
        if (slice === null) break
        const buffer = slice.segment.bytes.read(slice.start, slice.end)
        const aborted = isolation === 'committed' ? log.aborted(from, slice.endOffset) : null
        const { partition } = log
        const cursor = new BatchCursor({
          topic,
          partition,
          buffer,
          start: 0,
          end: buffer.length,
          fromOffset: from,
          aborted,
        })
        while (cursor.next()) {
          const { offset, timestamp, keyStart, keyEnd, valueStart, valueEnd } = cursor
          records.push({
            partition,
            offset,
            timestamp,
            key: keyStart < 0 ? null : Buffer.from(cursor.buffer.subarray(keyStart, keyEnd)),
            value: valueStart < 0 ? null : Buffer.from(cursor.buffer.subarray(valueStart, valueEnd)),
            headers: cursor.headerCount === 0 ? noHeaders : cursor.headers(),
          })
        }
        from = slice.endOffset
      }
    }
    return records
  }

  /** A group's committed position; null where it has none. */
  committedOffset(group: string, topic: string, partition: number): number | null {
    return this.#broker.groups.get(group)?.offsets.get(topic, partition)?.offset ?? null
  }

  /**
   * Every request of this API goes through `interceptor` first, which may answer it, lose its answer, delay or drop
   * it. Undefined lets it through.
   */
  intercept<N extends ApiName>(api: N, interceptor: Interceptor<N>): Interception {
    return this.#broker.faults.intercept(api, interceptor)
  }

  /** The same for the next request only. Resolves when it came. */
  once<N extends ApiName>(api: N, interceptor: Interceptor<N>): Promise<void> {
    return new Promise((resolve) => {
      const interception = this.intercept(api, (request) => {
        interception.remove()
        resolve()
        return interceptor(request)
      })
    })
  }

  /** Adds this much to the time of every request, from now on. */
  delay(delayMs: number): void {
    this.#broker.faults.delayMs = delayMs
  }

  /** Closes all connections, in the middle of what they do. */
  dropConnections(): void {
    this.#server.dropConnections()
  }

  /** No new connection is accepted until `acceptConnections`. */
  async refuseConnections(): Promise<void> {
    await this.#server.refuseConnections()
  }

  async acceptConnections(): Promise<void> {
    await this.#server.listen()
  }

  /** Aborts an open transaction and fences its producer, as when its time is over. False where none is open. */
  expireTransaction(transactionalId: string): boolean {
    return this.#broker.transactions.expire(transactionalId)
  }

  /** Retention and compaction at once, without waiting for their time. */
  keepHouse(): void {
    this.#broker.keepHouse()
  }
}
