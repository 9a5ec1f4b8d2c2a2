/**
 * A whole topology as data: what `StreamsBuilder.build()` and the Processor API give, and all that the runtime, the
 * test driver and `describe` read. Immutable once built.
 */
import type { Node } from './node.ts'
import type { StoreSpec } from './store-spec.ts'

export type InternalTopic = {
  /** Without the application's prefix. */
  readonly name: string
  readonly kind: 'repartition' | 'foreign-key'
  /** What its user asked for; null: the most partitions of what flows into it. */
  readonly partitions: number | null
}

/** Topics that must have equally many partitions, and the node that needs it (for messages). */
export type CoPartition = { readonly node: string; readonly sources: readonly string[] }

/** A global table or store: every instance holds all of it. */
export type GlobalStore = {
  readonly store: string
  readonly source: string
  readonly processor: string
  readonly topic: string
}

/** Nodes connected with each other, directly or through a store. Task ids are `<index>_<partition>`. */
export type Subtopology = {
  readonly index: number
  /** In the order in which they were added. */
  readonly nodes: readonly Node[]
  readonly stores: readonly StoreSpec[]
  /** Names of its source nodes. */
  readonly sources: readonly string[]
}

export type TopologyGraph = {
  readonly nodes: ReadonlyMap<string, Node>
  readonly stores: ReadonlyMap<string, StoreSpec>
  readonly internalTopics: ReadonlyMap<string, InternalTopic>
  readonly coPartitions: readonly CoPartition[]
  readonly globals: readonly GlobalStore[]
  readonly subtopologies: readonly Subtopology[]
  /** Children of each node, in the order in which they were connected. */
  readonly children: ReadonlyMap<string, readonly string[]>
}
