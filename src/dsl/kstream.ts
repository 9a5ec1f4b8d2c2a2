/** A stream of records: each is a fact of its own. Functions get `(value, key)`. */
import { type Duration, durationMs } from '../base/duration.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import { type GraphBuilder, invalid } from '../topology/graph-builder.ts'
import type { RecordInfo } from '../topology/node.ts'
import type { FixedKeyProcessor, Processor } from '../topology/processor.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { segmentIntervalFor } from '../topology/stores.ts'
import type { JoinWindowsSpec } from '../topology/windows.ts'
import { BranchedKStream } from './branched-kstream.ts'
import {
  any,
  attach,
  callable,
  coPartition,
  core,
  keepsVersions,
  keySerdeFor,
  repartition,
  repartitionForJoin,
  type StreamCore,
  storeBase,
  storeNameFor,
  storesOf,
  streamCore,
  tableStore,
  toPartitioner,
  valueSerdeFor,
} from './core.ts'
import { GlobalKTable } from './global-ktable.ts'
import { LogicalNode, named, repartitionNode } from './graph.ts'
import { KGroupedStream } from './kgrouped-stream.ts'
import { KTable, sourceTable } from './ktable.ts'
import type {
  Action,
  AnySerde,
  Gap,
  Given,
  Joiner,
  KeySelector,
  Logging,
  Mapper,
  NameOption,
  Needs,
  OtherNeeds,
  Partitioner,
  Predicate,
  ProcessOptions,
  TableOptions,
  TopicExtractor,
} from './types.ts'
import { type JoinWindowOptions, joinWindows } from './windows.ts'

export type ToOptions<K, V> = NameOption & {
  readonly keySerde?: Serde<K>
  readonly valueSerde?: Serde<V>
  readonly partitioner?: Partitioner<K, V>
}

export type RepartitionedOptions<K, V> = ToOptions<K, V> & {
  /** Default: as many as the topics before have. */
  readonly partitions?: number
}

export type GroupedOptions<K, V> = {
  /** Names the repartition topic: `<name>-repartition`. */
  readonly name?: string
  readonly keySerde?: Serde<K>
  readonly valueSerde?: Serde<V>
}

export type StreamJoinOptions<K, V, VO> = NameOption &
  JoinWindowOptions & {
    /** Names the stores. */
    readonly as?: string
    readonly keySerde?: Serde<K>
    readonly valueSerde?: Serde<V>
    readonly otherValueSerde?: Serde<VO>
    readonly engine?: 'persistent' | 'memory'
    readonly logging?: Logging
  }

export type StreamTableJoinOptions<K, V> = NameOption & {
  readonly keySerde?: Serde<K>
  readonly valueSerde?: Serde<V>
  /** Waits so long for the table to catch up; the table must keep versions for at least as long. */
  readonly grace?: Duration
}

export type PrintOptions<K, V> = NameOption & {
  /** Starts each line; default is the stream's name. */
  readonly label?: string
  readonly format?: (value: V, key: K) => string
  /** Default: standard output. */
  readonly write?: (line: string) => MaybePromise<void>
}

/** A processor's function, or that together with the stores it needs, which are then added by themselves. */
export type ProcessorSource<P> = (() => P) | { make(): P; readonly stores?: readonly StoreSpec[] }

type Missing<G extends Gap> = Exclude<G, 'moved'>

export class KStream<K, V, G extends Gap = never> {
  readonly [core]: StreamCore

  constructor(insides: StreamCore) {
    this[core] = insides
  }

  /** Keeps the records for which `test` holds. */
  filter(test: Predicate<K, V>, options: NameOption = {}): KStream<K, V, G> {
    return this.#filter(test, false, options)
  }

  /** Keeps the records for which `test` doesn't hold. */
  filterNot(test: Predicate<K, V>, options: NameOption = {}): KStream<K, V, G> {
    return this.#filter(test, true, options)
  }

  #filter(test: Predicate<K, V>, negate: boolean, options: NameOption): KStream<K, V, G> {
    const { builder, node, keySerde, valueSerde } = this[core]
    callable(test, options.name ?? (negate ? 'filterNot' : 'filter'), 'the test')
    const made = attach(builder, node, 'KSTREAM-FILTER-', options.name, (name, from) => ({
      kind: 'filter',
      name,
      from,
      test: test as Predicate<unknown, unknown>,
      negate,
      repartition: false,
    }))
    return new KStream(streamCore(this[core], made, keySerde, valueSerde))
  }

  /** A new key and value for each record. */
  map<KO, VO>(
    map: Mapper<K, V, readonly [KO, VO]>,
    options: NameOption & { readonly keySerde: Serde<KO>; readonly valueSerde: Serde<VO> },
  ): KStream<KO, VO, 'moved'>
  map<KO, VO>(map: Mapper<K, V, readonly [KO, VO]>, options?: NameOption): KStream<KO, VO, Gap>
  map(map: Mapper<K, V, readonly [unknown, unknown]>, options: ToOptions<unknown, unknown> = {}): unknown {
    const { builder, node } = this[core]
    callable(map, options.name ?? 'map', 'the mapper')
    const made = attach(
      builder,
      node,
      'KSTREAM-MAP-',
      options.name,
      (name, from) => ({
        kind: 'map',
        name,
        from,
        map: map as Mapper<unknown, unknown, readonly [unknown, unknown]>,
      }),
      { keyChanging: true },
    )
    return this.#moved(made, any(options.keySerde), any(options.valueSerde))
  }

  /** A new value for each record; the key stays. */
  mapValues<VO>(
    map: Mapper<K, V, VO>,
    options: NameOption & { readonly valueSerde: Serde<VO> },
  ): KStream<K, VO, Exclude<G, 'value'>>
  mapValues<VO>(map: Mapper<K, V, VO>, options?: NameOption): KStream<K, VO, G | 'value'>
  mapValues(map: Mapper<K, V, unknown>, options: ToOptions<unknown, unknown> = {}): unknown {
    const { builder, node, keySerde } = this[core]
    callable(map, options.name ?? 'mapValues', 'the mapper')
    const made = attach(
      builder,
      node,
      'KSTREAM-MAPVALUES-',
      options.name,
      (name, from) => ({ kind: 'map-values', name, from, map: map as Mapper<unknown, unknown, unknown> }),
      { valueChanging: true },
    )
    return new KStream(streamCore(this[core], made, keySerde, any(options.valueSerde)))
  }

  /** Any number of records for each. */
  flatMap<KO, VO>(
    map: Mapper<K, V, Iterable<readonly [KO, VO]>>,
    options: NameOption & { readonly keySerde: Serde<KO>; readonly valueSerde: Serde<VO> },
  ): KStream<KO, VO, 'moved'>
  flatMap<KO, VO>(map: Mapper<K, V, Iterable<readonly [KO, VO]>>, options?: NameOption): KStream<KO, VO, Gap>
  flatMap(
    map: Mapper<K, V, Iterable<readonly [unknown, unknown]>>,
    options: ToOptions<unknown, unknown> = {},
  ): unknown {
    const { builder, node } = this[core]
    callable(map, options.name ?? 'flatMap', 'the mapper')
    const made = attach(
      builder,
      node,
      'KSTREAM-FLATMAP-',
      options.name,
      (name, from) => ({
        kind: 'flat-map',
        name,
        from,
        map: map as Mapper<unknown, unknown, Iterable<readonly [unknown, unknown]>>,
      }),
      { keyChanging: true },
    )
    return this.#moved(made, any(options.keySerde), any(options.valueSerde))
  }

  /** Any number of values for each record; the key stays. */
  flatMapValues<VO>(
    map: Mapper<K, V, Iterable<VO>>,
    options: NameOption & { readonly valueSerde: Serde<VO> },
  ): KStream<K, VO, Exclude<G, 'value'>>
  flatMapValues<VO>(map: Mapper<K, V, Iterable<VO>>, options?: NameOption): KStream<K, VO, G | 'value'>
  flatMapValues(map: Mapper<K, V, Iterable<unknown>>, options: ToOptions<unknown, unknown> = {}): unknown {
    const { builder, node, keySerde } = this[core]
    callable(map, options.name ?? 'flatMapValues', 'the mapper')
    const made = attach(
      builder,
      node,
      'KSTREAM-FLATMAPVALUES-',
      options.name,
      (name, from) => ({
        kind: 'flat-map-values',
        name,
        from,
        map: map as Mapper<unknown, unknown, Iterable<unknown>>,
      }),
      { valueChanging: true },
    )
    return new KStream(streamCore(this[core], made, keySerde, any(options.valueSerde)))
  }

  /** A new key for each record; the value stays. */
  selectKey<KO>(
    select: KeySelector<K, V, KO>,
    options: NameOption & { readonly keySerde: Serde<KO> },
  ): KStream<KO, V, Exclude<G, 'key'> | 'moved'>
  selectKey<KO>(select: KeySelector<K, V, KO>, options?: NameOption): KStream<KO, V, G | 'key' | 'moved'>
  selectKey(select: KeySelector<K, V, unknown>, options: ToOptions<unknown, unknown> = {}): unknown {
    const made = this.#selectKey(select, options.name, 'selectKey')
    return this.#moved(made, any(options.keySerde), this[core].valueSerde)
  }

  #selectKey(select: KeySelector<K, V, unknown>, given: string | undefined, operator: string): LogicalNode {
    const { builder, node } = this[core]
    callable(select, given ?? operator, 'the key selector')
    return attach(
      builder,
      node,
      'KSTREAM-KEY-SELECT-',
      given,
      (name, from) => ({
        kind: 'select-key',
        name,
        from,
        select: select as KeySelector<unknown, unknown, unknown>,
      }),
      { keyChanging: true },
    )
  }

  #moved(made: LogicalNode, keySerde: AnySerde, valueSerde: AnySerde): unknown {
    const { builder, sources } = this[core]
    return new KStream(streamCore({ builder, sources, moved: true }, made, keySerde, valueSerde))
  }

  /** Looks at each record on its way. */
  peek(call: Action<K, V>, options: NameOption = {}): KStream<K, V, G> {
    const { builder, node, keySerde, valueSerde } = this[core]
    callable(call, options.name ?? 'peek', 'the action')
    const made = attach(builder, node, 'KSTREAM-PEEK-', options.name, (name, from) => ({
      kind: 'peek',
      name,
      from,
      call: call as Action<unknown, unknown>,
      forwards: true,
    }))
    return new KStream(streamCore(this[core], made, keySerde, valueSerde))
  }

  /** Does something with each record, and ends there. */
  foreach(call: Action<K, V>, options: NameOption = {}): void {
    this.#end(call, 'KSTREAM-FOREACH-', options, 'foreach')
  }

  /** Writes a line for each record, and ends there. */
  print(options: PrintOptions<K, V> = {}): void {
    const label = options.label ?? this[core].name
    const format = options.format ?? ((value, key) => `${shown(key)}, ${shown(value)}`)
    const write = options.write ?? ((line) => void process.stdout.write(`${line}\n`))
    this.#end(
      (value, key) => write(`[${label}]: ${format(value, key)}`),
      'KSTREAM-PRINTER-',
      options,
      'print',
    )
  }

  #end(call: Action<K, V>, prefix: string, options: NameOption, operator: string): void {
    const { builder, node } = this[core]
    callable(call, options.name ?? operator, 'the action')
    attach(builder, node, prefix, options.name, (name, from) => ({
      kind: 'peek',
      name,
      from,
      call: call as Action<unknown, unknown>,
      forwards: false,
    }))
  }

  /** Sends each record down the first branch whose test holds. */
  split(options: NameOption = {}): BranchedKStream<K, V, G> {
    return new BranchedKStream<K, V, G>(this, options)
  }

  /** The records of both streams, in the order of their arrival. */
  merge<VO, GO extends Gap>(
    other: KStream<K, VO, GO>,
    options: NameOption = {},
  ): KStream<K, V | VO, G | Extract<GO, 'moved'> | ([VO] extends [V] ? never : 'value')> {
    const a = this[core]
    const b = other[core]
    const made = attach(
      a.builder,
      [a.node, b.node],
      'KSTREAM-MERGE-',
      options.name,
      (name, from) => ({ kind: 'pass', name, from }),
      { merge: true },
    )
    const sources = new Set([...a.sources, ...b.sources])
    const from = { builder: a.builder, sources, moved: a.moved || b.moved }
    return new KStream(streamCore(from, made, a.keySerde, a.valueSerde))
  }

  /** Through a topic of its own: each record comes to the partition of its key. */
  repartition(options: RepartitionedOptions<K, V> & Given<K, V, Missing<G>>): KStream<K, V>
  repartition(
    this: KStream<K, V, G> & Needs<'repartition', Missing<G>>,
    options?: RepartitionedOptions<K, V>,
  ): KStream<K, V>
  repartition(options: RepartitionedOptions<K, V> = {}): unknown {
    const { builder, node, keySerde, valueSerde } = this[core]
    const { partitions = null } = options
    const prefix = options.name ?? builder.graph.names.next('KSTREAM-REPARTITION-')
    if (partitions !== null && (!Number.isSafeInteger(partitions) || partitions < 1)) {
      throw invalid(
        `${prefix}: partitions must be a whole number of at least 1, but is ${partitions}`,
        prefix,
      )
    }
    const made = repartition(
      builder,
      any(options.keySerde) ?? keySerde,
      any(options.valueSerde) ?? valueSerde,
      {
        prefix,
        given: options.name !== undefined,
        operator: options.name ?? 'repartition',
        partitions,
        partitioner: toPartitioner(options.partitioner),
        explicit: true,
      },
    )
    const added = builder.graph.add(node, repartitionNode(made))
    const from = { builder, sources: new Set([added.name]), moved: false }
    return new KStream(streamCore(from, added, made.keySerde, made.valueSerde))
  }

  /** Writes to a topic, or to the one that a function names for each record. */
  to(topic: string | TopicExtractor<K, V>, options: ToOptions<K, V> & Given<K, V, Missing<G>>): void
  to(
    this: KStream<K, V, G> & Needs<'to', Missing<G>>,
    topic: string | TopicExtractor<K, V>,
    options?: ToOptions<K, V>,
  ): void
  to(topic: string | TopicExtractor<K, V>, options: ToOptions<K, V> = {}): void {
    const { builder, node, keySerde, valueSerde } = this[core]
    const operator = options.name ?? `to(${typeof topic === 'string' ? topic : 'by record'})`
    if (typeof topic !== 'string') callable(topic, operator, 'the topic, if not text,')
    else if (topic === '') throw invalid(`${operator}: the name of the topic is empty`, operator)
    const keys = keySerdeFor(builder, operator, any(options.keySerde), keySerde)
    const values = valueSerdeFor(builder, operator, any(options.valueSerde), valueSerde)
    attach(builder, node, 'KSTREAM-SINK-', options.name, (name, from) => ({
      kind: 'sink',
      name,
      from,
      topic: typeof topic === 'string' ? topic : extractor(topic),
      keySerde: keys,
      valueSerde: values,
      partitioner: toPartitioner(options.partitioner),
      internal: false,
      content: 'value',
    }))
  }

  /** The stream as a table: the last value of each key, null deletes. */
  toTable(options: TableOptions<K, V> & Given<K, V, Missing<G>>): KTable<K, V>
  toTable(this: KStream<K, V, G> & Needs<'toTable', Missing<G>>, options?: TableOptions<K, V>): KTable<K, V>
  toTable(options: TableOptions<unknown, unknown> = {}): unknown {
    const { builder, sources, moved, node } = this[core]
    const operator = options.name ?? 'toTable'
    const name = named(builder.graph.names, options.name, 'KSTREAM-TOTABLE-')
    const storeName = storeNameFor(builder, options.as, 'KSTREAM-TOTABLE-', operator)
    const keySerde = keySerdeFor(builder, operator, any(options.keySerde), this[core].keySerde)
    const valueSerde = valueSerdeFor(builder, operator, any(options.valueSerde), this[core].valueSerde)
    let parent = node
    let from = sources
    if (moved) {
      const made = repartition(builder, keySerde, valueSerde, {
        prefix: name,
        given: options.name !== undefined,
        operator,
      })
      parent = builder.graph.add(node, repartitionNode(made))
      from = new Set([made.sourceName])
    }
    const store = tableStore(builder, storeName, options, keySerde, valueSerde)
    const { view, write } = sourceTable(name, store, options.as !== undefined)
    const versioned = keepsVersions(options, operator)
    const made = builder.graph.add(
      parent,
      new LogicalNode(name, { versioned, write: (to, at) => write(to, at.from) }),
    )
    return new KTable({
      builder,
      name,
      node: made,
      keySerde,
      valueSerde,
      sources: from,
      storeName: options.as ?? null,
      view,
      sendsOld: false,
    })
  }

  /** Groups by the key it has. */
  groupByKey(
    options: GroupedOptions<K, V> & { readonly keySerde: Serde<K>; readonly valueSerde: Serde<V> },
  ): KGroupedStream<K, V, Exclude<G, 'key' | 'value'>>
  groupByKey(
    options: GroupedOptions<K, V> & { readonly keySerde: Serde<K> },
  ): KGroupedStream<K, V, Exclude<G, 'key'>>
  groupByKey(
    options: GroupedOptions<K, V> & { readonly valueSerde: Serde<V> },
  ): KGroupedStream<K, V, Exclude<G, 'value'>>
  groupByKey(options?: { readonly name?: string }): KGroupedStream<K, V, G>
  groupByKey(options: GroupedOptions<unknown, unknown> = {}): unknown {
    const { builder, name, node, sources, moved } = this[core]
    return new KGroupedStream({
      builder,
      name,
      node,
      keySerde: any(options.keySerde) ?? this[core].keySerde,
      valueSerde: any(options.valueSerde) ?? this[core].valueSerde,
      sources,
      moved,
      repartitionName: options.name ?? null,
      repartition: null,
    })
  }

  /** Groups by another key. */
  groupBy<KO>(
    select: KeySelector<K, V, KO>,
    options: GroupedOptions<KO, V> & { readonly keySerde: Serde<KO>; readonly valueSerde: Serde<V> },
  ): KGroupedStream<KO, V, 'moved'>
  groupBy<KO>(
    select: KeySelector<K, V, KO>,
    options: GroupedOptions<KO, V> & { readonly keySerde: Serde<KO> },
  ): KGroupedStream<KO, V, Exclude<G, 'key'> | 'moved'>
  groupBy<KO>(
    select: KeySelector<K, V, KO>,
    options?: { readonly name?: string },
  ): KGroupedStream<KO, V, G | 'key' | 'moved'>
  groupBy(select: KeySelector<K, V, unknown>, options: GroupedOptions<unknown, unknown> = {}): unknown {
    const made = this.#selectKey(select, options.name, 'groupBy')
    const { builder, sources, valueSerde } = this[core]
    return new KGroupedStream({
      builder,
      name: made.name,
      node: made,
      keySerde: any(options.keySerde),
      valueSerde: any(options.valueSerde) ?? valueSerde,
      sources,
      moved: true,
      repartitionName: options.name ?? null,
      repartition: null,
    })
  }

  // ------------------------------------------------------------------------------------------------------- joins

  /**
   * With another stream: pairs of records of the same key not farther apart than `within`. With a table: the row of
   * the record's key. With a global table: the row of the key that a function picks.
   */
  join<VO, GO extends Gap, R>(
    other: KStream<K, VO, GO>,
    joiner: Joiner<K, V, VO, R>,
    options: StreamJoinOptions<K, V, VO> & Given<K, V, Missing<G>> & OtherGiven<VO, GO>,
  ): KStream<K, R, 'value'>
  join<VO, GO extends Gap, R>(
    table: KTable<K, VO, GO>,
    joiner: Joiner<K, V, VO, R>,
    options: StreamTableJoinOptions<K, V> & Given<K, V, 'moved' extends G ? Missing<G> : never>,
  ): KStream<K, R, Exclude<G, 'moved'> | 'value'>
  join<VO, GO extends Gap, R>(
    this: KStream<K, V, G> & Needs<'join', 'moved' extends G ? Missing<G> : never>,
    table: KTable<K, VO, GO>,
    joiner: Joiner<K, V, VO, R>,
    options?: StreamTableJoinOptions<K, V>,
  ): KStream<K, R, Exclude<G, 'moved'> | 'value'>
  join<KG, VG, R>(
    table: GlobalKTable<KG, VG>,
    select: KeySelector<K, V, KG>,
    joiner: Joiner<K, V, VG, R>,
    options?: NameOption,
  ): KStream<K, R, G | 'value'>
  join<VO, GO extends Gap, R>(
    this: KStream<K, V, G> & Needs<'join', Missing<G>>,
    other: KStream<K, VO, GO> & OtherNeeds<'join', Missing<GO>>,
    joiner: Joiner<K, V, VO, R>,
    options: StreamJoinOptions<K, V, VO>,
  ): KStream<K, R, 'value'>
  join(this: unknown, other: unknown, ...rest: readonly unknown[]): unknown {
    return (this as KStream<K, V, G>).#join(other as JoinPartner, 'inner', rest)
  }

  /** As `join`, and each record of this stream comes out, without a partner with null in its place. */
  leftJoin<VO, GO extends Gap, R>(
    other: KStream<K, VO, GO>,
    joiner: Joiner<K, V, VO | null, R>,
    options: StreamJoinOptions<K, V, VO> & Given<K, V, Missing<G>> & OtherGiven<VO, GO>,
  ): KStream<K, R, 'value'>
  leftJoin<VO, GO extends Gap, R>(
    table: KTable<K, VO, GO>,
    joiner: Joiner<K, V, VO | null, R>,
    options: StreamTableJoinOptions<K, V> & Given<K, V, 'moved' extends G ? Missing<G> : never>,
  ): KStream<K, R, Exclude<G, 'moved'> | 'value'>
  leftJoin<VO, GO extends Gap, R>(
    this: KStream<K, V, G> & Needs<'leftJoin', 'moved' extends G ? Missing<G> : never>,
    table: KTable<K, VO, GO>,
    joiner: Joiner<K, V, VO | null, R>,
    options?: StreamTableJoinOptions<K, V>,
  ): KStream<K, R, Exclude<G, 'moved'> | 'value'>
  leftJoin<KG, VG, R>(
    table: GlobalKTable<KG, VG>,
    select: KeySelector<K, V, KG | null>,
    joiner: Joiner<K, V, VG | null, R>,
    options?: NameOption,
  ): KStream<K, R, G | 'value'>
  leftJoin<VO, GO extends Gap, R>(
    this: KStream<K, V, G> & Needs<'leftJoin', Missing<G>>,
    other: KStream<K, VO, GO> & OtherNeeds<'leftJoin', Missing<GO>>,
    joiner: Joiner<K, V, VO | null, R>,
    options: StreamJoinOptions<K, V, VO>,
  ): KStream<K, R, 'value'>
  leftJoin(this: unknown, other: unknown, ...rest: readonly unknown[]): unknown {
    return (this as KStream<K, V, G>).#join(other as JoinPartner, 'left', rest)
  }

  /** As `join`, and each record of both streams comes out, without a partner with null in its place. */
  outerJoin<VO, GO extends Gap, R>(
    other: KStream<K, VO, GO>,
    joiner: Joiner<K, V | null, VO | null, R>,
    options: StreamJoinOptions<K, V, VO> & Given<K, V, Missing<G>> & OtherGiven<VO, GO>,
  ): KStream<K, R, 'value'>
  outerJoin<VO, GO extends Gap, R>(
    this: KStream<K, V, G> & Needs<'outerJoin', Missing<G>>,
    other: KStream<K, VO, GO> & OtherNeeds<'outerJoin', Missing<GO>>,
    joiner: Joiner<K, V | null, VO | null, R>,
    options: StreamJoinOptions<K, V, VO>,
  ): KStream<K, R, 'value'>
  outerJoin(this: unknown, other: unknown, ...rest: readonly unknown[]): unknown {
    return (this as KStream<K, V, G>).#join(other as JoinPartner, 'outer', rest)
  }

  #join(other: JoinPartner, kind: 'inner' | 'left' | 'outer', rest: readonly unknown[]): unknown {
    const operator = kind === 'inner' ? 'join' : `${kind}Join`
    if (other instanceof GlobalKTable) {
      const [select, joiner, options] = rest as [
        KeySelector<unknown, unknown, unknown>,
        Joiner<unknown, unknown, unknown, unknown>,
        NameOption?,
      ]
      return this.#joinGlobal(other, kind, select, joiner, options ?? {}, operator)
    }
    const [joiner, options] = rest as [Joiner<unknown, unknown, unknown, unknown>, object?]
    callable(joiner, (options as NameOption | undefined)?.name ?? operator, 'the joiner')
    if (other instanceof KTable) {
      if (kind === 'outer')
        throw invalid('outerJoin: a stream joins a table with join or leftJoin only', operator)
      return this.#joinTable(
        other,
        kind,
        joiner,
        (options ?? {}) as StreamTableJoinOptions<unknown, unknown>,
        operator,
      )
    }
    if (!(other instanceof KStream)) {
      throw invalid(`${operator}: the other side must be a KStream, KTable or GlobalKTable`, operator)
    }
    return this.#joinStream(
      other,
      kind,
      joiner,
      (options ?? {}) as StreamJoinOptions<unknown, unknown, unknown>,
      operator,
    )
  }

  #joinGlobal(
    table: GlobalKTable<unknown, unknown>,
    kind: 'inner' | 'left' | 'outer',
    select: KeySelector<unknown, unknown, unknown>,
    joiner: Joiner<unknown, unknown, unknown, unknown>,
    options: NameOption,
    operator: string,
  ): unknown {
    if (kind === 'outer')
      throw invalid('outerJoin: a stream joins a global table with join or leftJoin only', operator)
    callable(select, options.name ?? operator, 'the key selector')
    callable(joiner, options.name ?? operator, 'the joiner')
    const { builder, node, keySerde } = this[core]
    const made = attach(
      builder,
      node,
      'KSTREAM-LEFTJOIN-',
      options.name,
      (name, from) => ({
        kind: 'stream-global-join',
        name,
        from,
        join: kind,
        globalStore: table[core].store,
        select,
        joiner: (key, left, right) => joiner(left, right, key),
      }),
      { keepsNullKeys: kind === 'left' },
    )
    return new KStream(streamCore(this[core], made, keySerde, null))
  }

  #joinTable(
    table: KTable<unknown, unknown, Gap>,
    kind: 'inner' | 'left',
    joiner: Joiner<unknown, unknown, unknown, unknown>,
    options: StreamTableJoinOptions<unknown, unknown>,
    operator: string,
  ): unknown {
    const { builder } = this[core]
    const right = table[core]
    const keys = any(options.keySerde)
    const values = any(options.valueSerde)
    const left = this[core].moved
      ? repartitionForJoin(this[core], options.name, keys, values, operator)
      : this[core]
    const name = named(
      builder.graph.names,
      options.name,
      kind === 'left' ? 'KSTREAM-LEFTJOIN-' : 'KSTREAM-JOIN-',
    )
    const sources = coPartition(builder, name, left.sources, right.sources)
    const graceMs = options.grace === undefined ? null : durationMs(options.grace, `${name}: grace`)
    if (graceMs !== null && graceMs < 0)
      throw invalid(`${name}: grace must not be negative, but is ${graceMs} ms`, name)
    let buffer: StoreSpec | null = null
    if (graceMs !== null) {
      const bufferName = `${name}-Buffer`
      if (options.name === undefined) {
        builder.graph.generatedNames.push({
          what: 'store',
          name: bufferName,
          remedy: `give { name } to ${operator}`,
        })
      }
      buffer = {
        kind: 'join-buffer',
        graceMs,
        retentionMs: graceMs,
        ...storeBase(
          builder,
          bufferName,
          { caching: false },
          keySerdeFor(builder, operator, keys, left.keySerde),
          valueSerdeFor(builder, operator, values, left.valueSerde),
        ),
      }
    }
    const looked = right.view.stores()
    const made = builder.graph.add(
      left.node,
      new LogicalNode(name, {
        keepsNullKeys: kind === 'left',
        write: (to, at) => {
          to.add({
            kind: 'stream-table-join',
            name,
            from: at.from,
            join: kind,
            table: right.name,
            joiner: (key, value, row) => joiner(value, row, key),
            graceMs,
            buffer: buffer?.name ?? null,
          })
          if (buffer !== null) to.addStore(buffer, name)
          to.connect(name, looked)
          if (graceMs !== null) checkGrace(to, name, looked, graceMs)
        },
      }),
    )
    const from = { builder, sources, moved: false }
    return new KStream(streamCore(from, made, keys ?? left.keySerde, null))
  }

  #joinStream(
    other: KStream<unknown, unknown, Gap>,
    kind: 'inner' | 'left' | 'outer',
    joiner: Joiner<unknown, unknown, unknown, unknown>,
    options: StreamJoinOptions<unknown, unknown, unknown>,
    operator: string,
  ): unknown {
    const { builder } = this[core]
    const { names } = builder.graph
    const { name } = options
    const windows = joinWindows(options, name ?? operator)
    const keys = any(options.keySerde)
    const values = any(options.valueSerde)
    const otherValues = any(options.otherValueSerde)
    const suffixed = (suffix: string) => (name === undefined ? undefined : `${name}${suffix}`)
    const left = this[core].moved
      ? repartitionForJoin(this[core], suffixed('-left'), keys, values, operator)
      : this[core]
    const right = other[core].moved
      ? repartitionForJoin(other[core], suffixed('-right'), keys, otherValues, operator)
      : other[core]

    const leftOuter = kind !== 'inner'
    const rightOuter = kind === 'outer'
    const thisSuffix = rightOuter ? '-outer-this-join' : '-this-join'
    const otherSuffix = leftOuter ? '-outer-other-join' : '-other-join'
    const leftWindow = named(names, name, 'KSTREAM-WINDOWED-', '-this-windowed')
    const rightWindow = named(names, name, 'KSTREAM-WINDOWED-', '-other-windowed')
    const thisGenerated = names.next(rightOuter ? 'KSTREAM-OUTERTHIS-' : 'KSTREAM-JOINTHIS-')
    const otherGenerated = names.next(leftOuter ? 'KSTREAM-OUTEROTHER-' : 'KSTREAM-JOINOTHER-')
    const thisName = suffixed(thisSuffix) ?? thisGenerated
    const otherName = suffixed(otherSuffix) ?? otherGenerated
    const mergeName = named(names, name, 'KSTREAM-MERGE-', '-merge')

    const keySerde = keySerdeFor(builder, operator, keys, left.keySerde, right.keySerde)
    const leftSerde = valueSerdeFor(builder, operator, values, left.valueSerde)
    const rightSerde = valueSerdeFor(builder, operator, otherValues, right.valueSerde)
    const base = (store: string, valueSerde: Serde<unknown>) => {
      if (options.as === undefined) {
        builder.graph.generatedNames.push({
          what: 'store',
          name: store,
          remedy: `give { as } to ${operator}`,
        })
      }
      return storeBase(
        builder,
        store,
        {
          caching: false,
          ...(options.engine === undefined ? {} : { engine: options.engine }),
          ...(options.logging === undefined ? {} : { logging: options.logging }),
        },
        keySerde,
        valueSerde,
      )
    }
    const { as } = options
    const leftStore = joinStore(
      base(as === undefined ? `${thisGenerated}-store` : `${as}${thisSuffix}-store`, leftSerde),
      windows,
    )
    const rightStore = joinStore(
      base(as === undefined ? `${otherGenerated}-store` : `${as}${otherSuffix}-store`, rightSerde),
      windows,
    )
    const number = thisGenerated.slice(thisGenerated.lastIndexOf('-') + 1)
    const sharedName =
      as === undefined
        ? `KSTREAM-OUTERSHARED-${number}`
        : `${as}${rightOuter ? '-outer' : '-left'}-shared-join`
    const sharedStore: StoreSpec | null =
      leftOuter && !windows.eager
        ? {
            kind: 'outer-join',
            rightValueSerde: rightSerde,
            retentionMs: joinRetentionMs(windows),
            ...base(`${sharedName}-store`, leftSerde),
          }
        : null

    const window = (parent: LogicalNode, processor: string, store: StoreSpec): void => {
      builder.graph.add(
        parent,
        new LogicalNode(store.name, {
          role: { kind: 'join-window', processor },
          write: (to, at) => {
            to.add({ kind: 'join-window', name: processor, from: at.from })
            to.addStore(store, processor)
          },
        }),
      )
    }
    window(left.node, leftWindow, leftStore)
    window(right.node, rightWindow, rightStore)

    const held = (key: unknown, value: unknown, row: unknown): unknown => joiner(value, row, key)
    const side = (to: GraphBuilder, which: 'left' | 'right'): void => {
      const mine = which === 'left' ? thisName : otherName
      const others = which === 'left' ? rightStore : leftStore
      to.add({
        kind: 'stream-join',
        name: mine,
        from: [which === 'left' ? leftWindow : rightWindow],
        side: which,
        join: kind,
        windows,
        otherStore: others.name,
        sharedStore: sharedStore?.name ?? null,
        pair: mergeName,
        joiner: held,
      })
      to.addStore(others, mine)
      if (sharedStore !== null) to.addStore(sharedStore, mine)
    }
    const made = builder.graph.add(
      [left.node, right.node],
      new LogicalNode(mergeName, {
        role: { kind: 'stream-join', left: leftWindow, right: rightWindow },
        keepsNullKeys: leftOuter,
        write: (to, at) => {
          if (at.selfJoin) {
            to.add({
              kind: 'self-join',
              name: mergeName,
              from: [leftWindow],
              windows,
              store: leftStore.name,
              joiner: held,
            })
            to.addStore(leftStore, mergeName)
            return
          }
          side(to, 'left')
          side(to, 'right')
          to.add({ kind: 'pass', name: mergeName, from: [thisName, otherName] })
        },
      }),
    )
    const sources = coPartition(builder, mergeName, left.sources, right.sources)
    return new KStream(streamCore({ builder, sources, moved: false }, made, keySerde, null))
  }

  // --------------------------------------------------------------------------------------------------- processors

  /** Through a processor of your own, which may change keys. */
  process<KO, VO>(
    source: ProcessorSource<Processor<K, V, KO, VO>>,
    options: ProcessOptions & { readonly keySerde: Serde<KO>; readonly valueSerde: Serde<VO> },
  ): KStream<KO, VO, 'moved'>
  process<KO, VO>(
    source: ProcessorSource<Processor<K, V, KO, VO>>,
    options?: ProcessOptions,
  ): KStream<KO, VO, Gap>
  process(
    source: ProcessorSource<unknown>,
    options: ProcessOptions & ToOptions<unknown, unknown> = {},
  ): unknown {
    const made = this.#process(source, false, options)
    return this.#moved(made, any(options.keySerde), any(options.valueSerde))
  }

  /** Through a processor of your own that keeps keys: nothing after it must be repartitioned. */
  processValues<VO>(
    source: ProcessorSource<FixedKeyProcessor<K, V, VO>>,
    options: ProcessOptions & { readonly valueSerde: Serde<VO> },
  ): KStream<K, VO, Exclude<G, 'value'>>
  processValues<VO>(
    source: ProcessorSource<FixedKeyProcessor<K, V, VO>>,
    options?: ProcessOptions,
  ): KStream<K, VO, G | 'value'>
  processValues(
    source: ProcessorSource<FixedKeyProcessor<K, V, unknown>>,
    options: ProcessOptions & { readonly valueSerde?: Serde<unknown> } = {},
  ): unknown {
    const made = this.#process(source, true, options)
    return new KStream(streamCore(this[core], made, this[core].keySerde, any(options.valueSerde)))
  }

  #process(source: ProcessorSource<unknown>, fixedKey: boolean, options: ProcessOptions): LogicalNode {
    const { builder, node } = this[core]
    const operator = options.name ?? (fixedKey ? 'processValues' : 'process')
    const make = typeof source === 'function' ? source : source?.make?.bind(source)
    callable(make, operator, 'a processor')
    const added = storesOf(source, operator)
    // Unlike elsewhere, a given name counts nothing: so it is in Kafka Streams.
    const name =
      options.name ?? builder.graph.names.next(fixedKey ? 'KSTREAM-PROCESSVALUES-' : 'KSTREAM-PROCESSOR-')
    return builder.graph.add(
      node,
      new LogicalNode(name, {
        write: (to, at) => {
          to.add({ kind: 'process', name, from: at.from, make, fixedKey })
          for (const store of added) to.addStore(store, name)
          to.connect(name, options.stores ?? [])
        },
      }),
    )
  }
}

type JoinPartner =
  | KStream<unknown, unknown, Gap>
  | KTable<unknown, unknown, Gap>
  | GlobalKTable<unknown, unknown>

/** The option that gives the other stream's missing serde. */
export type OtherGiven<VO, GO> = 'value' extends GO ? { readonly otherValueSerde: Serde<VO> } : unknown

function shown(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value))
}

function extractor<K, V>(
  topic: TopicExtractor<K, V>,
): (key: unknown, value: unknown, record: RecordInfo) => string {
  return (key, value, record) => topic(value as V, key as K, record)
}

function joinRetentionMs(windows: JoinWindowsSpec): number {
  return windows.beforeMs + windows.afterMs + windows.graceMs
}

function joinStore(base: ReturnType<typeof storeBase>, windows: JoinWindowsSpec): StoreSpec {
  const retentionMs = joinRetentionMs(windows)
  const { changelog } = base
  return {
    kind: 'window',
    ...base,
    // Each record is there for itself: compaction would lose all but the last of a key and time.
    changelog:
      changelog === null
        ? null
        : { ...changelog, configs: { ...changelog.configs, 'cleanup.policy': 'delete' } },
    timestamped: false,
    windowSizeMs: windows.beforeMs + windows.afterMs,
    retentionMs,
    segmentIntervalMs: segmentIntervalFor(retentionMs),
    retainDuplicates: true,
    emitOnClose: false,
  }
}

function checkGrace(to: GraphBuilder, operator: string, looked: readonly string[], graceMs: number): void {
  for (const name of looked) {
    const store = to.store(name)
    if (store?.kind !== 'versioned') {
      throw invalid(
        `${operator}: a join with grace needs a table that keeps versions; materialise it with { as, historyRetention }`,
        operator,
      )
    }
    if (store.historyRetentionMs < graceMs) {
      throw invalid(
        `${operator}: its grace (${graceMs} ms) is longer than the historyRetention of the table ` +
          `(${store.historyRetentionMs} ms); make that at least as long`,
        operator,
      )
    }
  }
}
