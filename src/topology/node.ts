/**
 * The nodes of a topology, as data. The DSL writes them, `describe` prints them, an operator binds each into a closure.
 * One member per processor that Kafka Streams would have, so that names, order and `describe` agree.
 *
 * Edges: what flows out of a table's nodes is a `Change` (operator/run.ts), out of all others a plain value.
 * A user's function gets `(value, key)` in that order: most need the value only.
 */
import type { Headers } from '../base/headers.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { FixedWindowsSpec, JoinWindowsSpec, SessionWindowsSpec, SlidingWindowsSpec } from './windows.ts'

/** What extractors and partitioners are told of a record. */
export type RecordInfo = {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly headers: Headers
}

export type TimestampExtractor = (
  value: unknown,
  key: unknown,
  record: RecordInfo,
  /** The highest timestamp seen of the partition, -1 at first. */
  partitionTime: number,
  /** Milliseconds since the epoch by the task's clock. */
  wallClock: number,
) => number

/** The topic's partitions that get the record: one, several, none (`[]`: dropped and counted), or `null` for the default. */
export type StreamPartitioner<K = unknown, V = unknown> = (
  topic: string,
  key: K,
  value: V,
  partitions: number,
) => number | readonly number[] | null

export type TopicExtractor<K = unknown, V = unknown> = (key: K, value: V, record: RecordInfo) => string

/** How the state of an aggregation moves on. All three are synchronous. */
export type Aggregation = {
  /** null: a reduce, whose first value is taken as it is. */
  readonly initialise: (() => unknown) | null
  readonly add: (key: unknown, value: unknown, aggregate: unknown) => unknown
  /** Grouped tables: takes an old value out again. */
  readonly subtract: ((key: unknown, value: unknown, aggregate: unknown) => unknown) | null
  /** Session windows: joins two aggregates, the older first. */
  readonly merge: ((key: unknown, older: unknown, newer: unknown) => unknown) | null
  /** `add` looks at neither key nor value (count): they need not be read. */
  readonly blind: boolean
}

export type Emission = 'on-update' | 'on-close'

type Common = {
  readonly name: string
  /** Parents, in the order in which they were connected. */
  readonly from: readonly string[]
  /** Stores connected to it, in the order in which `describe` prints them. */
  readonly stores: readonly string[]
}

/**
 * What a topic of ours carries as its value: plain values; Changes of a grouped table (`valueSerde` is that of the
 * value); what the left side of a foreign-key join sends (`valueSerde` is that of the primary key); its answers
 * (`valueSerde` is that of the right value; without a partitioner they go to the partition they name).
 */
export type Content = 'value' | 'change' | 'subscription' | 'answer'

export type SourceNode = Common & {
  readonly kind: 'source'
  readonly topics: readonly string[]
  /** Instead of `topics`: whatever matches, also what appears later. */
  readonly pattern: RegExp | null
  readonly keySerde: Serde<unknown> | null
  readonly valueSerde: Serde<unknown> | null
  readonly timestampExtractor: TimestampExtractor | null
  readonly offsetReset: 'earliest' | 'latest' | 'none' | { readonly byDurationMs: number } | null
  /** It reads a repartition or foreign-key topic of ours (the names in `topics` lack the application's prefix). */
  readonly internal: boolean
  readonly content: Content
}

export type SinkNode = Common & {
  readonly kind: 'sink'
  readonly topic: string | TopicExtractor
  readonly keySerde: Serde<unknown> | null
  readonly valueSerde: Serde<unknown> | null
  readonly partitioner: StreamPartitioner | null
  readonly internal: boolean
  readonly content: Content
}

export type FilterNode = Common & {
  readonly kind: 'filter'
  readonly test: (value: unknown, key: unknown) => MaybePromise<boolean>
  readonly negate: boolean
  /** Made by the DSL before a repartition topic: takes null keys out. */
  readonly repartition: boolean
}

export type MapNode = Common & {
  readonly kind: 'map'
  readonly map: (value: unknown, key: unknown) => MaybePromise<readonly [unknown, unknown]>
}

export type MapValuesNode = Common & {
  readonly kind: 'map-values'
  readonly map: (value: unknown, key: unknown) => MaybePromise<unknown>
}

export type FlatMapNode = Common & {
  readonly kind: 'flat-map'
  readonly map: (value: unknown, key: unknown) => MaybePromise<Iterable<readonly [unknown, unknown]>>
}

export type FlatMapValuesNode = Common & {
  readonly kind: 'flat-map-values'
  readonly map: (value: unknown, key: unknown) => MaybePromise<Iterable<unknown>>
}

export type SelectKeyNode = Common & {
  readonly kind: 'select-key'
  /** Synchronous. */
  readonly select: (value: unknown, key: unknown) => unknown
}

export type PeekNode = Common & {
  readonly kind: 'peek'
  readonly call: (value: unknown, key: unknown) => MaybePromise<void>
  /** foreach ends here. */
  readonly forwards: boolean
}

/** Each record goes to the first child whose test holds, or to the default child, or nowhere. */
export type BranchNode = Common & {
  readonly kind: 'branch'
  readonly branches: readonly {
    readonly child: string
    readonly test: (value: unknown, key: unknown) => MaybePromise<boolean>
  }[]
  readonly otherwise: string | null
}

/** Hands on what it gets: merge, the ends of a split, markers in the graph. */
export type PassNode = Common & { readonly kind: 'pass' }

/** The Processor API. `make` gives a new processor for each task; its type is in dsl/processor.ts. */
export type ProcessNode = Common & {
  readonly kind: 'process'
  readonly make: () => unknown
  readonly fixedKey: boolean
}

// ------------------------------------------------------------------------------------------------ aggregations

export type AggregateNode = Common & {
  readonly kind: 'aggregate'
  readonly aggregation: Aggregation
  readonly sendOld: boolean
}

export type WindowAggregateNode = Common & {
  readonly kind: 'window-aggregate'
  readonly windows: FixedWindowsSpec
  readonly aggregation: Aggregation
  readonly emission: Emission
  readonly sendOld: boolean
}

export type SlidingAggregateNode = Common & {
  readonly kind: 'sliding-aggregate'
  readonly windows: SlidingWindowsSpec
  readonly aggregation: Aggregation
  readonly emission: Emission
  readonly sendOld: boolean
}

export type SessionAggregateNode = Common & {
  readonly kind: 'session-aggregate'
  readonly windows: SessionWindowsSpec
  readonly aggregation: Aggregation
  readonly emission: Emission
  readonly sendOld: boolean
}

// ------------------------------------------------------------------------------------------------ stream joins

/** Keeps one side's records of a stream-stream join in its window store, then hands them on. */
export type JoinWindowNode = Common & { readonly kind: 'join-window' }

/** One side of a stream-stream join: looks into the other side's store. */
export type StreamJoinNode = Common & {
  readonly kind: 'stream-join'
  readonly side: 'left' | 'right'
  readonly join: 'inner' | 'left' | 'outer'
  readonly windows: JoinWindowsSpec
  readonly otherStore: string
  /** The unmatched of both sides; null for an inner join. */
  readonly sharedStore: string | null
  /** Both sides of the join share this object at run time: it names their common stream time. */
  readonly pair: string
  readonly joiner: (key: unknown, left: unknown, right: unknown) => unknown
}

/** Optimised self-join: one store serves both sides. */
export type SelfJoinNode = Common & {
  readonly kind: 'self-join'
  readonly windows: JoinWindowsSpec
  readonly store: string
  readonly joiner: (key: unknown, left: unknown, right: unknown) => unknown
}

export type StreamTableJoinNode = Common & {
  readonly kind: 'stream-table-join'
  readonly join: 'inner' | 'left'
  /** The table node that is looked into. */
  readonly table: string
  readonly joiner: (key: unknown, left: unknown, right: unknown) => unknown
  /** With grace: records wait in `buffer` until the table's time has caught up. */
  readonly graceMs: number | null
  readonly buffer: string | null
}

export type StreamGlobalJoinNode = Common & {
  readonly kind: 'stream-global-join'
  readonly join: 'inner' | 'left'
  readonly globalStore: string
  readonly select: (value: unknown, key: unknown) => unknown
  readonly joiner: (key: unknown, left: unknown, right: unknown) => unknown
}

// ------------------------------------------------------------------------------------------------ tables

/**
 * A table's nodes have a view: the current value of a key, from `store` where the node has one, else computed from the
 * parents' views. `sendOld`: somebody downstream needs the old value in each Change.
 */
type TableCommon = Common & { readonly store: string | null; readonly sendOld: boolean }

export type TableSourceNode = TableCommon & { readonly kind: 'table-source' }

export type TableFilterNode = TableCommon & {
  readonly kind: 'table-filter'
  readonly test: (value: unknown, key: unknown) => MaybePromise<boolean>
  readonly negate: boolean
  /** Its parent keeps versions: changes from nothing to nothing go on, too. */
  readonly versioned: boolean
}

export type TableMapValuesNode = TableCommon & {
  readonly kind: 'table-map-values'
  readonly map: (value: unknown, key: unknown) => MaybePromise<unknown>
}

export type TableTransformValuesNode = TableCommon & {
  readonly kind: 'table-transform-values'
  readonly make: () => unknown
}

/** Changes become plain records; the key may be mapped. */
export type TableToStreamNode = Common & { readonly kind: 'table-to-stream' }

/** Table groupBy: sends the old and the new pair towards the repartition topic. */
export type TableGroupNode = Common & {
  readonly kind: 'table-group'
  readonly map: (value: unknown, key: unknown) => readonly [unknown, unknown]
}

export type TableAggregateNode = Common & {
  readonly kind: 'table-aggregate'
  readonly aggregation: Aggregation
  readonly sendOld: boolean
}

export type TableJoinNode = Common & {
  readonly kind: 'table-join'
  readonly side: 'left' | 'right'
  readonly join: 'inner' | 'left' | 'outer'
  /** The table node of the other side. */
  readonly other: string
  readonly joiner: (left: unknown, right: unknown, key: unknown) => unknown
  readonly sendOld: boolean
}

export type TableMergeNode = TableCommon & { readonly kind: 'table-merge' }

export type SuppressNode = Common & {
  readonly kind: 'suppress'
  readonly store: string
  readonly until:
    | { readonly kind: 'window-closes'; readonly graceMs: number }
    | { readonly kind: 'time-limit'; readonly ms: number }
  readonly recordsMax: number | null
  readonly bytesMax: number | null
  readonly whenFull: 'emit-early' | 'shut-down'
  readonly parent: string
}

// ------------------------------------------------------------------------------------------------ foreign-key joins

export type ForeignKeySendNode = Common & {
  readonly kind: 'fk-send'
  readonly join: 'inner' | 'left'
  readonly foreignKey: (value: unknown, key: unknown) => unknown
  readonly primaryKeySerde: Serde<unknown> | null
  readonly foreignKeySerde: Serde<unknown> | null
  /** For the hash of the left value. */
  readonly valueSerde: Serde<unknown> | null
}

/** Keeps the subscriptions of each foreign key. */
export type ForeignKeyReceiveNode = Common & { readonly kind: 'fk-receive'; readonly store: string }

/** Answers a subscription with the right value of the moment. */
export type ForeignKeyAnswerNode = Common & { readonly kind: 'fk-answer'; readonly table: string }

/** The right table changed: answers every subscription of the key. */
export type ForeignKeyUpdateNode = Common & { readonly kind: 'fk-update'; readonly store: string }

/** Back at the primary key's partition: joins, unless the left value has changed meanwhile. */
export type ForeignKeyResolveNode = Common & {
  readonly kind: 'fk-resolve'
  readonly join: 'inner' | 'left'
  /** The left table node. */
  readonly table: string
  readonly valueSerde: Serde<unknown> | null
  readonly joiner: (left: unknown, right: unknown, key: unknown) => unknown
}

export type Node =
  | SourceNode
  | SinkNode
  | FilterNode
  | MapNode
  | MapValuesNode
  | FlatMapNode
  | FlatMapValuesNode
  | SelectKeyNode
  | PeekNode
  | BranchNode
  | PassNode
  | ProcessNode
  | AggregateNode
  | WindowAggregateNode
  | SlidingAggregateNode
  | SessionAggregateNode
  | JoinWindowNode
  | StreamJoinNode
  | SelfJoinNode
  | StreamTableJoinNode
  | StreamGlobalJoinNode
  | TableSourceNode
  | TableFilterNode
  | TableMapValuesNode
  | TableTransformValuesNode
  | TableToStreamNode
  | TableGroupNode
  | TableAggregateNode
  | TableJoinNode
  | TableMergeNode
  | SuppressNode
  | ForeignKeySendNode
  | ForeignKeyReceiveNode
  | ForeignKeyAnswerNode
  | ForeignKeyUpdateNode
  | ForeignKeyResolveNode

export type NodeKind = Node['kind']
