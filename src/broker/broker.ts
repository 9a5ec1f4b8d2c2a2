/**
 * The embedded Kafka: one node that holds topics, groups and transactions, in memory or in a folder. It does no
 * networking; server.ts brings requests to the handlers. All state is changed synchronously, on one event loop, and
 * what must survive is in the journal and the logs before the answer goes out.
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import { compact, isDirty } from './compaction.ts'
import { Faults } from './faults.ts'
import { Groups } from './groups.ts'
import { Journal, type JournalEvent } from './journal.ts'
import { type Topic, Topics, uuid } from './topics.ts'
import { Transactions } from './transactions.ts'

export type BrokerOptions = {
  readonly clock: Clock
  readonly logger: Logger
  /** Null keeps all in memory. */
  readonly dir: string | null
  readonly nodeId: number
  readonly clusterId: string | null
  readonly autoCreateTopics: boolean
  readonly defaultPartitions: number
  readonly initialRebalanceDelayMs: number
  readonly sessionTimeoutMinMs: number
  readonly sessionTimeoutMaxMs: number
  readonly transactionMarkerDelayMs: number
  /** How often retention and compaction look around. */
  readonly housekeepingIntervalMs: number
  /** Passwords by user name: with any, SASL PLAIN is required. */
  readonly users: Readonly<Record<string, string>>
}

export class Broker {
  readonly options: BrokerOptions
  readonly topics: Topics
  readonly groups: Groups
  readonly transactions: Transactions
  readonly faults = new Faults()
  clusterId: string
  /** What clients are told to connect to. */
  host = ''
  port = 0
  readonly #journal: Journal | null
  #isReplaying = true
  #housekeeping: Timer | null = null
  #isClosed = false

  constructor(options: BrokerOptions) {
    this.options = options
    const { clock, dir } = options
    const record = (event: JournalEvent) => this.#record(event)
    this.#journal = dir === null ? null : new Journal(dir)
    this.topics = new Topics(clock, dir, record)
    this.groups = new Groups({ clock, record, initialRebalanceDelayMs: options.initialRebalanceDelayMs })
    this.transactions = new Transactions(
      clock,
      this.topics,
      this.groups,
      record,
      options.transactionMarkerDelayMs,
    )
    this.clusterId = options.clusterId ?? uuid()
    try {
      for (const event of this.#journal?.read() ?? []) {
        if (event.kind === 'cluster') this.clusterId = event.clusterId
        this.topics.restore(event)
        this.groups.restore(event)
        this.transactions.restore(event)
      }
      this.#isReplaying = false
      this.#journal?.rewrite(this.#events())
    } catch (error) {
      this.close()
      throw error
    }
    this.transactions.resume()
    this.#scheduleHousekeeping()
  }

  /** An existing topic, or a new one where a client may cause that. */
  topicFor(name: string, mayCreate: boolean): Topic | undefined {
    const topic = this.topics.get(name)
    if (topic !== undefined || !mayCreate || !this.options.autoCreateTopics) return topic
    return this.topics.create(name, this.options.defaultPartitions, {})
  }

  deleteTopic(topic: Topic): void {
    this.topics.delete(topic)
    this.groups.topicDeleted(topic.name)
  }

  /** Deletes what is too old and compacts what is dirty. */
  keepHouse(): void {
    const nowMs = this.options.clock.now()
    for (const topic of this.topics.all()) {
      for (const log of topic.logs) {
        const start = log.enforceRetention()
        if (start !== null)
          this.#record({ kind: 'logStart', topic: topic.name, partition: log.partition, offset: start })
        if (isDirty(log, nowMs)) compact(log, nowMs)
      }
    }
  }

  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#housekeeping?.cancel()
    this.groups.close()
    this.transactions.close()
    this.topics.close()
    this.#journal?.close()
  }

  #scheduleHousekeeping(): void {
    const { clock, logger, housekeepingIntervalMs } = this.options
    this.#housekeeping = clock.after(housekeepingIntervalMs, () => {
      try {
        this.keepHouse()
      } catch (error) {
        logger.error(`embedded Kafka: retention or compaction failed: ${String(error)}`)
      }
      this.#scheduleHousekeeping()
    })
  }

  #record(event: JournalEvent): void {
    if (this.#journal === null || this.#isReplaying || this.#isClosed) return
    // Before the event: some are recorded before they are applied, and would be missing from what is written anew.
    if (this.#journal.isLong) this.#journal.rewrite(this.#events())
    this.#journal.append(event)
  }

  *#events(): Generator<JournalEvent> {
    yield { kind: 'cluster', clusterId: this.clusterId }
    yield* this.topics.events()
    yield* this.groups.events()
    yield* this.transactions.events()
  }
}
