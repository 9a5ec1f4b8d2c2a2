/**
 * A whole topology as data: what `StreamsBuilder.build()` and the Processor API give, and all that the runtime, the
 * test driver and `describe` read. The graph is immutable; a Topology under construction gives a new one after a change.
 */
import { createHash } from 'node:crypto'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import { describe, fingerprintText, type JsonTopology, toJson, toMermaid } from './describe.ts'
import { GraphBuilder, invalid, type NewNode } from './graph-builder.ts'
import type { Node, NodeKind, RecordInfo, SourceNode, TimestampExtractor } from './node.ts'
import type { FixedKeyProcessor, Processor, StreamRecord } from './processor.ts'
import type { StoreSpec } from './store-spec.ts'
import { changelogOf } from './stores.ts'

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
  readonly wrap?: Wrap
}

/** Gives, for an operator, the function that goes around it; null: none does. Asked once per task. */
export type Wrap = (operator: {
  readonly name: string
  readonly kind: NodeKind
  readonly stores: readonly string[]
}) => Around | null

/**
 * Around an operator, for tracing, timing and debugging: `process` hands the record to it and on. Call it once, and
 * return what it gives. Where tables' changes flow `value` is a change: its value and, if somebody needs it, the old.
 */
export type Around = (record: StreamRecord, process: () => MaybePromise<void>) => MaybePromise<void>

export type SourceOptions = {
  readonly keySerde: Serde<unknown>
  readonly valueSerde: Serde<unknown>
  readonly timestampExtractor?: TimestampExtractor
  readonly offsetReset?: NonNullable<SourceNode['offsetReset']>
}

export type SinkOptions = {
  readonly keySerde: Serde<unknown>
  readonly valueSerde: Serde<unknown>
  /** The partitions that get a record: one, several, none (`[]`: dropped), or `null` for the default. */
  readonly partitioner?: (key: unknown, value: unknown, partitions: number, topic: string) => Partitions
}

export type Partitions = number | readonly number[] | null

/** Which topic a record goes to. */
export type TopicOf = (value: unknown, key: unknown, record: RecordInfo) => string

/** A function that makes a processor, once per task. */
export type MakeProcessor = () => Processor

export type GlobalStoreOptions = SourceOptions & {
  readonly topic: string
  /** Names of the two nodes. */
  readonly source: string
  readonly processor: string
}

/**
 * A topology: what a StreamsBuilder built, or, put together node by node, the Processor API. Parents come before their
 * children, so a cycle can't be made.
 */
export class Topology {
  /** Built with optimisations. */
  readonly optimized: boolean
  readonly #builder: GraphBuilder
  #graph: TopologyGraph | null = null
  #version = -1

  constructor(builder: GraphBuilder = new GraphBuilder(), optimized = false) {
    this.#builder = builder
    this.optimized = optimized
  }

  /** Puts a function around each operator. */
  wrapProcessors(wrap: Wrap): this {
    this.#builder.wrap(wrap)
    return this
  }

  /** Reads topics, or all that match a pattern. */
  addSource(name: string, topics: string | readonly string[] | RegExp, options: SourceOptions): this {
    this.#builder.add(sourceNode(name, topics, options))
    return this
  }

  /** `stores` are added and connected; those already there are connected with `connectProcessorAndStateStores`. */
  addProcessor(
    name: string,
    make: MakeProcessor,
    parents: string | readonly string[],
    ...stores: readonly StoreSpec[]
  ): this {
    return this.#addProcess(name, make, false, parents, stores)
  }

  /** A processor that can't change keys. */
  addFixedKeyProcessor(
    name: string,
    make: () => FixedKeyProcessor,
    parents: string | readonly string[],
    ...stores: readonly StoreSpec[]
  ): this {
    return this.#addProcess(name, make, true, parents, stores)
  }

  addSink(
    name: string,
    topic: string | TopicOf,
    parents: string | readonly string[],
    options: SinkOptions,
  ): this {
    const { partitioner } = options
    this.#builder.add({
      kind: 'sink',
      name,
      from: listed(parents),
      topic: typeof topic === 'string' ? topic : (key, value, record) => topic(value, key, record),
      keySerde: options.keySerde,
      valueSerde: options.valueSerde,
      partitioner:
        partitioner === undefined
          ? null
          : (to, key, value, partitions) => partitioner(key, value, partitions, to),
      internal: false,
      content: 'value',
    })
    return this
  }

  addStateStore(store: StoreSpec, ...processors: readonly string[]): this {
    this.#builder.addStore(store, ...processors)
    return this
  }

  connectProcessorAndStateStores(processor: string, ...stores: readonly string[]): this {
    if (stores.length === 0) throw invalid(`${processor}: name at least one store to connect`, processor)
    this.#builder.connect(processor, stores)
    return this
  }

  /** A store whose changelog is a topic that others write: `make` gives the processor that puts its records there. */
  addReadOnlyStateStore(store: StoreSpec, options: GlobalStoreOptions, make: MakeProcessor): this {
    const { topic, source, processor } = options
    this.#builder.add(sourceNode(source, topic, options))
    this.#builder.add({ kind: 'process', name: processor, from: [source], make, fixedKey: false })
    this.#builder.addStore({ ...store, changelog: changelogOf(topic) }, processor)
    return this
  }

  /** A store that every instance holds all of, kept by the processor that `make` gives. */
  addGlobalStore(store: StoreSpec, options: GlobalStoreOptions, make: MakeProcessor): this {
    const { topic, source, processor } = options
    this.#builder.addGlobal(
      sourceNode(source, topic, options),
      { kind: 'process', name: processor, from: [source], make, fixedKey: false },
      { ...store, changelog: changelogOf(topic), cached: false },
      topic,
    )
    return this
  }

  get graph(): TopologyGraph {
    if (this.#graph === null || this.#version !== this.#builder.version) {
      this.#graph = this.#builder.finish()
      this.#version = this.#builder.version
    }
    return this.#graph
  }

  /** Kafka Streams' text, byte for byte. */
  describe(): string {
    return describe(this.graph)
  }

  /** For tools. */
  toJSON(): JsonTopology {
    return toJson(this.graph)
  }

  /** A flow chart for people. */
  toMermaid(): string {
    return toMermaid(this.graph)
  }

  /** Equal for topologies with the same nodes, stores and topics: workers compare it before they share tasks. */
  fingerprint(): string {
    return createHash('sha256').update(fingerprintText(this.graph)).digest('hex')
  }

  #addProcess(
    name: string,
    make: () => unknown,
    fixedKey: boolean,
    parents: string | readonly string[],
    stores: readonly StoreSpec[],
  ): this {
    if (typeof make !== 'function') {
      throw invalid(`${name}: give a function that makes a processor, so that each task gets its own`, name)
    }
    this.#builder.add({ kind: 'process', name, from: listed(parents), make, fixedKey })
    for (const store of stores) this.#builder.addStore(store, name)
    return this
  }
}

function listed(names: string | readonly string[]): readonly string[] {
  return typeof names === 'string' ? [names] : [...new Set(names)]
}

function sourceNode(
  name: string,
  topics: string | readonly string[] | RegExp,
  options: SourceOptions,
): NewNode {
  return {
    kind: 'source',
    name,
    from: [],
    topics: topics instanceof RegExp ? [] : listed(topics),
    pattern: topics instanceof RegExp ? topics : null,
    keySerde: options.keySerde,
    valueSerde: options.valueSerde,
    timestampExtractor: options.timestampExtractor ?? null,
    offsetReset: options.offsetReset ?? null,
    internal: false,
    content: 'value',
  }
}
