/**
 * The brokers of one Kafka, as one user of the client sees them: connections by broker, who leads which partition,
 * who coordinates which group or transactional id. Each user (membership, input fetch, restore, producer, admin) has
 * a cluster of its own, because a broker answers each connection in order: nobody waits behind another's long poll.
 *
 * What is looked up is kept until someone who met an error says that it is stale. No topic is ever created by asking.
 */
import type { Clock } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { metadata } from '../wire/03-metadata.ts'
import { findCoordinator } from '../wire/10-find-coordinator.ts'
import type { AnyApi, RequestInOf, ResponseOf } from '../wire/api.ts'
import { kafkaErrorClass, kafkaErrors } from '../wire/error-codes.ts'
import { retrying } from './backoff.ts'
import type { TopicPartition } from './client.ts'
import { Connection } from './connection.ts'
import type { Reach } from './reach.ts'
import { refusal, refusalClass } from './refusal.ts'

export type ClusterOptions = {
  readonly brokers: readonly string[]
  readonly clientId: string
  readonly clock: Clock
  readonly logger: Logger
  readonly kafka: Readonly<Record<string, unknown>>
  /** How long a call waits where no broker can be reached. */
  readonly unreachableTimeoutMs: number
  readonly reach: Reach
}

export type Leader = { readonly nodeId: number; readonly epoch: number }

export type Topic = {
  readonly name: string
  readonly id: string
  readonly internal: boolean
  readonly errorCode: number
  readonly partitions: readonly {
    readonly partition: number
    readonly leader: number
    readonly epoch: number
    readonly replicas: readonly number[]
  }[]
}

export type CoordinatorType = 'group' | 'transaction'

/** A broker answers each lane in order, and lanes independently. */
export type Lane = 'main' | 'second' | 'spare'

type Address = { readonly host: string; readonly port: number }

// How long a request is tried again when the brokers are there but not ready.
const patienceMs = 30_000

export class Cluster {
  readonly clock: Clock
  readonly #options: ClusterOptions
  readonly #addresses = new Map<number, Address>()
  readonly #topics = new Map<string, Topic>()
  readonly #coordinators = new Map<string, number>()
  readonly #finding = new Map<string, Promise<number>>()
  readonly #connections = new Map<string, Promise<Connection>>()
  readonly #open = new Set<Connection>()
  #controllerId = -1
  #clusterId: string | null = null
  #bootstrap: Connection | null = null
  #bootstrapping: Promise<Connection> | null = null
  #rotation = 0
  #refreshing: Promise<void> | null = null
  #refreshNext: { readonly topics: Set<string>; readonly done: Promise<void> } | null = null
  #closed = false

  constructor(options: ClusterOptions) {
    this.clock = options.clock
    this.#options = options
  }

  get clusterId(): string | null {
    return this.#clusterId
  }

  /** The brokers that are known so far. */
  nodeIds(): readonly number[] {
    return [...this.#addresses.keys()]
  }

  /** Tries again what may work later. Where no broker can be reached it has a patience of its own. */
  retrying<T>(attempt: () => Promise<T>, waitMs?: number): Promise<T> {
    const start = this.clock.now()
    const { unreachableTimeoutMs } = this.#options
    const unreachableMs = Math.min(waitMs ?? unreachableTimeoutMs, unreachableTimeoutMs)
    return retrying(
      {
        clock: this.clock,
        deadline: ({ code }) =>
          start + (code === 'KAFKA_UNREACHABLE' ? unreachableMs : (waitMs ?? patienceMs)),
        onRetry: () => {
          if (this.#closed) throw this.#closedError()
        },
      },
      attempt,
    )
  }

  /** A broker that answers: one already connected, else the known ones, else those given at the start. */
  async any(): Promise<Connection> {
    if (this.#closed) throw this.#closedError()
    // Not one that is waiting: a long poll or a JoinGroup may hold up what comes behind it for long.
    for (const connection of this.#open) if (connection.isOpen && connection.isIdle) return connection
    const failures: string[] = []
    for (const nodeId of this.#addresses.keys()) {
      try {
        return await this.node(nodeId, this.#isBusy(nodeId) ? 'spare' : 'main')
      } catch (error) {
        failures.push(this.#orThrow(error))
      }
    }
    this.#bootstrapping ??= this.#connectFirst(failures).finally(() => {
      this.#bootstrapping = null
    })
    return this.#bootstrapping
  }

  /** Once for all who ask meanwhile, the brokers given at the start in turn. */
  async #connectFirst(failures: string[]): Promise<Connection> {
    const { brokers } = this.#options
    for (let tried = 0; tried < brokers.length; tried++) {
      const broker = brokers[this.#rotation++ % brokers.length] as string
      try {
        this.#bootstrap = await this.#connect(parseAddress(broker))
        return this.#bootstrap
      } catch (error) {
        failures.push(this.#orThrow(error))
      }
    }
    const text = `no Kafka broker can be reached: ${[...new Set(failures)].join('; ')}; check the setting brokers, and that Kafka runs`
    if (!this.#closed) this.#options.reach.lost(text)
    throw new StreamsError('KAFKA_UNREACHABLE', text, { broker: brokers.join(',') })
  }

  #isBusy(nodeId: number): boolean {
    const broker = this.#addresses.get(nodeId)
    for (const connection of this.#open) {
      if (connection.isOpen && connection.broker === `${broker?.host}:${broker?.port}`) return true
    }
    return false
  }

  /** The connection to a broker, opened once for all who ask. */
  node(nodeId: number, lane: Lane = 'main'): Promise<Connection> {
    const key = `${nodeId}/${lane}`
    const known = this.#connections.get(key)
    if (known !== undefined)
      return known.then((connection) => (connection.isOpen ? connection : this.#reopen(nodeId, lane, known)))
    const address = this.#addresses.get(nodeId)
    if (address === undefined) {
      const unknown = new StreamsError(
        'KAFKA_UNREACHABLE',
        `broker ${nodeId} is not in the cluster's metadata`,
        {
          broker: String(nodeId),
        },
      )
      return Promise.reject(unknown)
    }
    const opening = this.#connect(address)
    this.#connections.set(key, opening)
    opening.catch(() => {
      if (this.#connections.get(key) === opening) this.#connections.delete(key)
    })
    return opening
  }

  /** One request to any broker, tried again while that can help. */
  async ask<A extends AnyApi>(api: A, request: RequestInOf<A>): Promise<ResponseOf<A>> {
    return this.retrying(async () => (await this.any()).send(api, request))
  }

  async controller(): Promise<Connection> {
    if (this.#controllerId < 0) await this.refresh([])
    if (this.#controllerId < 0) return this.any()
    return this.node(this.#controllerId)
  }

  forgetController(): void {
    this.#controllerId = -1
  }

  // -------------------------------------------------------------------------------------------------- topics

  topic(name: string): Topic | undefined {
    return this.#topics.get(name)
  }

  leader({ topic, partition }: TopicPartition): Leader | undefined {
    const found = this.#topics.get(topic)?.partitions[partition]
    return found === undefined || found.leader < 0 ? undefined : { nodeId: found.leader, epoch: found.epoch }
  }

  /** Learns brokers, controller and these topics anew. Calls that overlap share one request. */
  refresh(topics: Iterable<string>): Promise<void> {
    if (this.#refreshing === null) {
      this.#refreshing = this.#refresh(new Set(topics)).finally(() => {
        this.#refreshing = null
      })
      return this.#refreshing
    }
    if (this.#refreshNext === null) {
      const wanted = new Set<string>()
      const done = this.#refreshing
        .catch(() => {})
        .then(() => {
          this.#refreshNext = null
          return this.refresh(wanted)
        })
      this.#refreshNext = { topics: wanted, done }
    }
    for (const topic of topics) this.#refreshNext.topics.add(topic)
    return this.#refreshNext.done
  }

  /** All topics of the cluster. */
  async allTopics(): Promise<readonly Topic[]> {
    await this.retrying(() => this.#refresh(null))
    return [...this.#topics.values()].filter((topic) => topic.errorCode === 0)
  }

  /**
   * Splits partitions by the broker that leads them. A topic that is not there and a partition without a leader are
   * errors that may pass.
   */
  async byLeader<P extends TopicPartition>(
    partitions: readonly P[],
  ): Promise<ReadonlyMap<number, readonly P[]>> {
    const unknown = new Set<string>()
    for (const partition of partitions) if (this.leader(partition) === undefined) unknown.add(partition.topic)
    if (unknown.size > 0) await this.refresh(unknown)
    const split = new Map<number, P[]>()
    for (const partition of partitions) {
      const leader = this.leader(partition)
      if (leader === undefined) throw this.noLeader(partition)
      const others = split.get(leader.nodeId)
      if (others === undefined) split.set(leader.nodeId, [partition])
      else others.push(partition)
    }
    return split
  }

  /** Why a partition has no leader, as an error. */
  noLeader({ topic, partition }: TopicPartition): StreamsError {
    const found = this.#topics.get(topic)
    const about = { topic, partition }
    if (found !== undefined && found.errorCode !== 0) {
      if (found.errorCode === kafkaErrors.UNKNOWN_TOPIC_OR_PARTITION.code) {
        return missingTopic(`topic ${topic} does not exist; create it`, about)
      }
      return refusal(found.errorCode, `look up topic ${topic}`, about)
    }
    if (found !== undefined && partition >= found.partitions.length) {
      return missingTopic(
        `topic ${topic} has ${found.partitions.length} partitions, there is no ${partition}`,
        about,
      )
    }
    return refusal(
      kafkaErrors.LEADER_NOT_AVAILABLE.code,
      `look up the leader of ${topic}-${partition}`,
      about,
    )
  }

  forgetTopic(topic: string): void {
    this.#topics.delete(topic)
  }

  // -------------------------------------------------------------------------------------------- coordinators

  async coordinator(type: CoordinatorType, key: string, lane: Lane = 'main'): Promise<Connection> {
    const known = `${type}:${key}`
    return this.node(this.#coordinators.get(known) ?? (await this.#foundCoordinator(known, type, key)), lane)
  }

  /** Looked up once for all who ask meanwhile. */
  #foundCoordinator(known: string, type: CoordinatorType, key: string): Promise<number> {
    let finding = this.#finding.get(known)
    if (finding === undefined) {
      finding = this.#findCoordinator(type, key)
        .then((nodeId) => {
          this.#coordinators.set(known, nodeId)
          return nodeId
        })
        .finally(() => this.#finding.delete(known))
      this.#finding.set(known, finding)
    }
    return finding
  }

  /** As far as it is known. */
  coordinatorNode(type: CoordinatorType, key: string): number | undefined {
    return this.#coordinators.get(`${type}:${key}`)
  }

  forgetCoordinator(type: CoordinatorType, key: string): void {
    this.#coordinators.delete(`${type}:${key}`)
  }

  /**
   * Runs `attempt` on the coordinator until it succeeds or fails for good. The coordinator is looked up again where
   * the answer, or a broken connection, says that it moved.
   */
  atCoordinator<T>(
    type: CoordinatorType,
    key: string,
    attempt: (connection: Connection) => Promise<T>,
    { waitMs, lane }: { readonly waitMs?: number | undefined; readonly lane?: Lane } = {},
  ): Promise<T> {
    return this.retrying(async () => {
      try {
        return await attempt(await this.coordinator(type, key, lane))
      } catch (error) {
        this.coordinatorFailed(type, key, error)
        throw error
      }
    }, waitMs)
  }

  coordinatorFailed(type: CoordinatorType, key: string, error: unknown): void {
    if (!(error instanceof StreamsError)) return
    const isStale = refusalClass(error) === 'coordinator'
    if (isStale || error.code === 'KAFKA_UNREACHABLE' || error.code === 'KAFKA_TIMEOUT')
      this.forgetCoordinator(type, key)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const connection of this.#open) connection.close()
    await Promise.allSettled(this.#connections.values())
    this.#open.clear()
  }

  // ------------------------------------------------------------------------------------------------ internal

  async #connect({ host, port }: Address): Promise<Connection> {
    if (this.#closed) throw this.#closedError()
    for (const other of this.#open) if (other.isClosed) this.#open.delete(other)
    const connection = new Connection(host, port, this.#options)
    this.#open.add(connection)
    await connection.open()
    this.#options.reach.found(connection.broker)
    return connection
  }

  #reopen(nodeId: number, lane: Lane, stale: Promise<Connection>): Promise<Connection> {
    const key = `${nodeId}/${lane}`
    if (this.#connections.get(key) === stale) this.#connections.delete(key)
    return this.node(nodeId, lane)
  }

  async #refresh(topics: ReadonlySet<string> | null): Promise<void> {
    const connection = await this.any()
    const response = await connection.send(
      metadata,
      {
        topics: topics === null ? null : Array.from(topics, (name) => ({ name })),
        allowAutoTopicCreation: false,
      },
      { least: 1 },
    )
    this.#controllerId = response.controllerId
    this.#clusterId = response.clusterId
    if (response.brokers.length > 0) this.#learnBrokers(response.brokers)
    if (topics === null) this.#topics.clear()
    for (const topic of response.topics) {
      if (topic.name !== null) this.#learnTopic(topic.name, topic)
    }
  }

  #learnBrokers(brokers: ResponseOf<typeof metadata>['brokers']): void {
    const gone = new Set(this.#addresses.keys())
    for (const { nodeId, host, port } of brokers) {
      gone.delete(nodeId)
      const known = this.#addresses.get(nodeId)
      if (known?.host === host && known.port === port) continue
      this.#disconnect(nodeId)
      this.#addresses.set(nodeId, { host, port })
      const bootstrap = this.#bootstrap
      if (bootstrap?.isOpen && bootstrap.broker === `${host}:${port}`) {
        this.#connections.set(`${nodeId}/main`, Promise.resolve(bootstrap))
        this.#bootstrap = null
      }
    }
    for (const nodeId of gone) {
      this.#disconnect(nodeId)
      this.#addresses.delete(nodeId)
    }
  }

  #disconnect(nodeId: number): void {
    for (const lane of ['main', 'second', 'spare'] as const) {
      const key = `${nodeId}/${lane}`
      this.#connections.get(key)?.then(
        (connection) => connection.close(),
        () => {},
      )
      this.#connections.delete(key)
    }
  }

  /** A broker that lags behind may tell of a leader before the known one: its epoch is lower, it is not believed. */
  #learnTopic(name: string, found: ResponseOf<typeof metadata>['topics'][number]): void {
    const before = this.#topics.get(name)
    const partitions: Topic['partitions'][number][] = []
    for (const { partition, leaderId, leaderEpoch, replicaNodes } of found.partitions) {
      const known = before?.id === found.topicId ? before.partitions[partition] : undefined
      partitions[partition] =
        known !== undefined && known.leader >= 0 && known.epoch > leaderEpoch
          ? known
          : { partition, leader: leaderId, epoch: leaderEpoch, replicas: replicaNodes }
    }
    this.#topics.set(name, {
      name,
      id: found.topicId,
      internal: found.isInternal,
      errorCode: found.errorCode,
      partitions: Array.from(
        partitions,
        (known, partition) => known ?? { partition, leader: -1, epoch: -1, replicas: [] },
      ),
    })
  }

  async #findCoordinator(type: CoordinatorType, key: string): Promise<number> {
    const connection = await this.any()
    const keyType = type === 'group' ? 0 : 1
    const batched = connection.version(findCoordinator) >= 4
    const response = await connection.send(
      findCoordinator,
      batched ? { keyType, coordinatorKeys: [key] } : { keyType, key },
      { least: 1 },
    )
    const found = batched ? response.coordinators[0] : response
    const code = found?.errorCode ?? kafkaErrors.COORDINATOR_NOT_AVAILABLE.code
    if (found === undefined || code !== 0) {
      throw refusal(code, `find the coordinator of ${type} ${key}`, { text: found?.errorMessage ?? null })
    }
    if (!this.#addresses.has(found.nodeId)) {
      this.#addresses.set(found.nodeId, { host: found.host, port: found.port })
    }
    return found.nodeId
  }

  /** What can't be mended by asking another broker is thrown. */
  #orThrow(error: unknown): string {
    if (!(error instanceof StreamsError) || error.verdict !== 'retry') throw error
    return error.message
  }

  #closedError(): StreamsError {
    return new StreamsError('KAFKA_CLOSED', 'the Kafka client is closed')
  }
}

function missingTopic(message: string, about: TopicPartition): StreamsError {
  return new StreamsError('KAFKA_TOPIC_MISSING', message, {
    ...about,
    kafkaCode: kafkaErrors.UNKNOWN_TOPIC_OR_PARTITION.code,
    verdict: 'retry',
  })
}

/** An error that may have passed once the metadata is read again. */
export function isStaleLeader(error: unknown): boolean {
  if (!(error instanceof StreamsError)) return false
  if (error.code === 'KAFKA_UNREACHABLE' || error.code === 'KAFKA_TIMEOUT') return true
  return error.about.kafkaCode !== undefined && kafkaErrorClass(error.about.kafkaCode) === 'metadata'
}

function parseAddress(broker: string): Address {
  const colon = broker.lastIndexOf(':')
  const port = Number(broker.slice(colon + 1))
  if (colon <= 0 || !Number.isInteger(port) || port < 1 || port > 65535) {
    throw new StreamsError('CONFIG_INVALID', `brokers: ${JSON.stringify(broker)} is not host:port`)
  }
  return { host: broker.slice(0, colon).replace(/^\[|\]$/g, ''), port }
}

/** As long as kafkajs would go on trying with these retry options. */
export function connectPatienceMs(retry: unknown): number {
  const {
    retries = 5,
    initialRetryTime = 300,
    maxRetryTime = 30_000,
    multiplier = 2,
  } = (retry ?? {}) as { readonly [option: string]: number | undefined }
  let patience = 0
  for (let attempt = 0, wait = initialRetryTime; attempt < retries; attempt++, wait *= multiplier) {
    patience += Math.min(wait, maxRetryTime)
  }
  return patience
}
