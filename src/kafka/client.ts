/**
 * The port between the engine and Kafka: all that the runtime asks of a cluster, in types only. `connect` in index.ts
 * gives the implementation over kafkajs connections; another client could stand behind the same types.
 *
 * Every promise settles within a bounded time; every rejection is a StreamsError whose verdict says what to do.
 */
import type { Clock } from '../base/clock.ts'
import type { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { BatchBuilder } from '../wire/batch-builder.ts'

export type TopicPartition = { readonly topic: string; readonly partition: number }

export type ClientOptions = {
  readonly brokers: readonly string[]
  readonly clientId: string
  readonly logger: Logger
  readonly clock?: Clock
  /** kafkajs' own options, as its users know them: ssl, sasl, connectionTimeout, requestTimeout, retry, socketFactory. */
  readonly kafka?: Readonly<Record<string, unknown>>
  /** How long a call waits where no broker can be reached. kafkajs' `retry` overrides it, and is the default. */
  readonly unreachableTimeoutMs?: number
}

export type KafkaClient = {
  readonly admin: Admin
  /** Resolves when a broker has answered; waits for one as long as any call would. */
  reach(): Promise<void>
  fetcher(options: FetcherOptions): Fetcher
  producer(options: ProducerOptions): Producer
  member(options: MemberOptions): GroupMember
  /** Group offsets read with requireStable: waits (bounded) until no transaction is pending on them. */
  committed(groupId: string, partitions: readonly TopicPartition[]): Promise<readonly CommittedOffset[]>
  close(): Promise<void>
}

export type CommittedOffset = TopicPartition & {
  /** null where the group has none. */
  readonly offset: number | null
  readonly metadata: string
}

// ---------------------------------------------------------------------------------------------------- fetching

export type Isolation = 'read_committed' | 'read_uncommitted'

export type AbortedTransaction = { readonly producerId: number; readonly firstOffset: number }

/**
 * What one Fetch response holds of one partition: whole record batches as they came, for a BatchCursor to walk.
 * The bytes count against `bufferBytesMax` until `release` is called, exactly once; after it nothing may touch them.
 */
export type FetchedChunk = TopicPartition & {
  readonly buffer: Buffer
  readonly start: number
  readonly end: number
  /** Records before it, in a batch that began earlier, were not asked for. */
  readonly fetchOffset: number
  /** Where the fetch goes on: the last offset of the last whole batch + 1, whether or not any of it is data. */
  readonly nextOffset: number
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly logStartOffset: number
  /** null under read_uncommitted. */
  readonly aborted: readonly AbortedTransaction[] | null
  /** Its bytes no longer count as buffered. `walked`: nobody reads them any more, so they may be written over. */
  release(walked?: boolean): void
}

export type OffsetReset = 'earliest' | 'latest' | 'none' | { readonly byDurationMs: number }

export type FetcherOptions = {
  /** Its own connections: a fetch with data must not wait behind another's idle long poll. */
  readonly purpose: 'input' | 'restore' | 'global'
  readonly isolation: Isolation
  /** Unreleased bytes. A quarter below it no more is asked for; a response, and what was said to be starved, may exceed it. */
  readonly bufferBytesMax: number
  /** Most bytes of one partition in one response. */
  readonly partitionBytesMax: number
  readonly waitMs: number
  /** What an offset out of range becomes; 'none' gives the error to `onError`. */
  offsetReset(partition: TopicPartition): OffsetReset
  /** In order per partition. Never called for a partition after `remove` or `seek` of it with what came before. */
  onChunk(chunk: FetchedChunk): void
  /** The partition's ends, at each response, also an empty one: what lag and "drained" are computed from. */
  onEnds(
    partition: TopicPartition,
    highWatermark: number,
    lastStableOffset: number,
    logStartOffset: number,
  ): void
  /** The position moved by itself: offset out of range, reset by policy. */
  onReset(partition: TopicPartition, from: number, to: number): void
  /** Not retriable, of one partition or (null) of all. The fetcher has stopped fetching what it names. */
  onError(error: StreamsError, partition: TopicPartition | null): void
}

export type Fetcher = {
  /** Fetching of it begins at this offset. */
  add(partition: TopicPartition, offset: number): void
  remove(partition: TopicPartition): void
  seek(partition: TopicPartition, offset: number): void
  pause(partition: TopicPartition): void
  resume(partition: TopicPartition): void
  /**
   * The reader can go on with nothing that it has: partitions of which nothing is buffered are asked for even where the
   * buffer is full, once each time this is said.
   */
  starved(): void
  readonly bufferedBytes: number
  close(): Promise<void>
}

// ---------------------------------------------------------------------------------------------------- producing

export type ProducerOptions = {
  /** Given: transactional. Else idempotent. */
  readonly transactionalId?: string
  readonly transactionTimeoutMs?: number
  readonly deliveryTimeoutMs: number
  readonly compression: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
  /** Most bytes of one Produce request (8 MB: a request costs a copy). */
  readonly requestBytesMax?: number
}

/** An open batch on its way. Epoch, sequence and CRC are written when it is sent. */
export type OutgoingBatch = TopicPartition & { readonly builder: BatchBuilder }

export type ProducedBatch = TopicPartition & { readonly baseOffset: number }

/** Who commits offsets: checked by the broker in TxnOffsetCommit and OffsetCommit. */
export type GroupIdentity = {
  readonly groupId: string
  readonly generation: number
  readonly memberId: string
  readonly instanceId: string | null
}

export type OffsetToCommit = TopicPartition & { readonly offset: number; readonly metadata: string }

/**
 * Writes for one stream thread. With a transactional id a transaction is: produce (any number of times), commitOffsets,
 * end. Partitions are added to it as they are written to; it begins with the first of these calls.
 */
export type Producer = {
  /** InitProducerId, with the id and epoch it has where it has them. Must be awaited before anything else, and after an abort. */
  init(): Promise<void>
  /** Fences another, dead, producer: InitProducerId on its transactional id. */
  fence(transactionalId: string): Promise<void>
  /** In order per partition, each batch once. Resolves when all are acknowledged, in the order given. */
  produce(batches: readonly OutgoingBatch[]): Promise<readonly ProducedBatch[]>
  /**
   * Tells the coordinator now what the next transaction will write, positions of this group and these partitions: two
   * answers that it then need not wait for. From here on the transaction is open, and its time runs. Returns at once;
   * what goes wrong fails the transaction. Nothing without a transactional id.
   */
  announce(groupId: string, partitions: Iterable<TopicPartition>): void
  /** In the transaction, or, without a transactional id, by OffsetCommit. `identity` is asked again at each resend. */
  commitOffsets(identity: () => GroupIdentity, offsets: readonly OffsetToCommit[]): Promise<void>
  /** The decision. Resent until answered; only then does it resolve. */
  end(decision: 'commit' | 'abort'): Promise<void>
  close(): Promise<void>
}

// ---------------------------------------------------------------------------------------------------- membership

export type MemberSubscription = {
  readonly memberId: string
  readonly instanceId: string | null
  readonly topics: readonly string[]
  readonly owned: readonly TopicPartition[]
  readonly userData: Buffer
}

export type MemberAssignment = { readonly partitions: readonly TopicPartition[]; readonly userData: Buffer }

export type MemberOptions = {
  readonly groupId: string
  readonly instanceId?: string
  /** Our own name, so that a Kafka Streams member under the same id gives INCONSISTENT_GROUP_PROTOCOL. */
  readonly protocolName: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly heartbeatIntervalMs: number
  /** The group has given it an id, and counts with it from the join on that follows. */
  onNamed?(memberId: string): void
  /** Asked before each join. */
  subscription(): {
    readonly topics: readonly string[]
    readonly owned: readonly TopicPartition[]
    readonly userData: Buffer
  }
  /** On the leader: who gets what. */
  assign(members: readonly MemberSubscription[]): Promise<ReadonlyMap<string, MemberAssignment>>
  /** The group wants to rebalance: resolves when this member may join (its commit in flight is done). */
  onRebalance(): Promise<void>
  /** The new assignment, of this generation. The member heartbeats meanwhile. */
  onAssigned(assignment: MemberAssignment, identity: GroupIdentity): Promise<void>
  /** The member is no longer one: session expired, fenced by a twin of its instance id, unknown to the broker. It rejoins by itself where that can help. */
  onLost(error: StreamsError): Promise<void>
  /** Nothing more will happen: not authorised, an inconsistent protocol, fenced for good. */
  onFatal(error: StreamsError): void
}

export type GroupMember = {
  readonly identity: GroupIdentity
  /** The group has heard of this member so lately that nothing of it can be another's. */
  readonly isCurrent: boolean
  start(): void
  /** Join again: the subscription or the owned partitions changed. */
  rejoin(reason: string): void
  /** Resolves when the group knows. A static member that should keep its place uses `close` only. */
  leave(): Promise<void>
  close(): Promise<void>
}

// ---------------------------------------------------------------------------------------------------- admin

export type TopicDescription = {
  readonly name: string
  /** Kafka's topic id as text; differs when a topic was deleted and made anew. */
  readonly id: string
  readonly internal: boolean
  readonly partitions: readonly {
    readonly partition: number
    readonly leader: number
    readonly replicas: readonly number[]
  }[]
}

export type NewTopic = {
  readonly name: string
  readonly partitions: number
  /** -1: the broker's default. */
  readonly replicationFactor: number
  readonly configs: Readonly<Record<string, string>>
}

export type OffsetSpec = 'earliest' | 'latest' | { readonly timestamp: number }

export type Admin = {
  /** Those that exist, of these, or all. Never creates one. */
  topics(names?: readonly string[]): Promise<readonly TopicDescription[]>
  /** One that exists already is no error: `created` says which are new. Waits until they have leaders. */
  createTopics(topics: readonly NewTopic[]): Promise<{ readonly created: readonly string[] }>
  createPartitions(topic: string, count: number): Promise<void>
  deleteTopics(names: readonly string[]): Promise<void>
  configs(topic: string): Promise<Readonly<Record<string, string>>>
  alterConfigs(topic: string, configs: Readonly<Record<string, string | null>>): Promise<void>
  /** `null` where no record is that young. */
  offsets(
    partitions: readonly TopicPartition[],
    spec: OffsetSpec,
    isolation: Isolation,
  ): Promise<readonly (TopicPartition & { readonly offset: number | null; readonly timestamp: number })[]>
  deleteRecords(before: readonly (TopicPartition & { readonly offset: number })[]): Promise<void>
  groupOffsets(groupId: string): Promise<readonly CommittedOffset[]>
  alterGroupOffsets(groupId: string, offsets: readonly OffsetToCommit[]): Promise<void>
  deleteGroupOffsets(groupId: string, partitions: readonly TopicPartition[]): Promise<void>
  groups(): Promise<
    readonly { readonly groupId: string; readonly protocolType: string; readonly state: string }[]
  >
  describeGroup(groupId: string): Promise<{
    readonly state: string
    readonly protocol: string
    readonly members: readonly {
      readonly memberId: string
      readonly clientId: string
      readonly host: string
      readonly assignment: Buffer
    }[]
  }>
  deleteGroup(groupId: string): Promise<void>
  /** Takes a member that is known to be dead out of its group, which otherwise waits for its session to time out. One that is no member is no error. */
  removeMember(groupId: string, memberId: string): Promise<void>
}
