/** A table: the last value of each key. Its changes flow on, null deletes a row. Functions get `(value, key)`. */
import type { Serde } from '../serde/serde.ts'
import { type GraphBuilder, invalid, validName } from '../topology/graph-builder.ts'
import type { ValueTransformer } from '../topology/processor.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { changelogFor, changelogOf } from '../topology/stores.ts'
import type { InternalTopic } from '../topology/topology.ts'
import {
  any,
  attach,
  callable,
  coPartition,
  core,
  keepsVersions,
  keySerdeFor,
  saysHow,
  sendOld,
  storeNameFor,
  storesOf,
  streamCore,
  type TableCore,
  type TableView,
  tableStore,
  type toPartitioner,
  valueSerdeFor,
} from './core.ts'
import { LogicalNode, type Names, named, type Planned, sourceOf } from './graph.ts'
import { KGroupedTable } from './kgrouped-table.ts'
import { type GroupedOptions, KStream, type ProcessorSource } from './kstream.ts'
import type { Suppression } from './suppressed.ts'
import type {
  AnySerde,
  Gap,
  Given,
  KeySelector,
  Logging,
  Mapper,
  NameOption,
  Needs,
  OtherNeeds,
  Partitioner,
  Predicate,
  ProcessOptions,
  SerdeMissing,
  TableOptions,
} from './types.ts'

export type ForeignKeyJoinOptions<K, V, KO> = TableOptions<K, V> & {
  /** How keys of this table are partitioned, where it isn't by the default. One partition only. */
  readonly partitioner?: Partitioner<K, null>
  /** How keys of the other table are partitioned. */
  readonly otherPartitioner?: Partitioner<KO, null>
}

export type TableJoiner<L, R, O> = (left: L, right: R, key: unknown) => O

/** A named store must be written to, so its serdes must be known. */
type StoreNeeds<K, V, G, O> = TableOptions<K, V> &
  (O extends { readonly as: string } ? Given<K, V, G> : unknown)

export class KTable<K, V, G extends Gap = never> {
  readonly [core]: TableCore

  constructor(insides: TableCore) {
    this[core] = insides
  }

  /** The name under which its store can be asked for; null: it has none of its own. */
  get queryableStoreName(): string | null {
    return this[core].storeName
  }

  /** Keeps the rows for which `test` holds; a row that no longer does is deleted. */
  filter<O extends TableOptions<K, V>>(
    test: Predicate<K, V>,
    options?: O & StoreNeeds<K, V, G, O>,
  ): KTable<K, V, G>
  filter(test: Predicate<K, V>, options: TableOptions<unknown, unknown> = {}): unknown {
    return this.#filter(test, false, options)
  }

  /** Keeps the rows for which `test` doesn't hold. */
  filterNot<O extends TableOptions<K, V>>(
    test: Predicate<K, V>,
    options?: O & StoreNeeds<K, V, G, O>,
  ): KTable<K, V, G>
  filterNot(test: Predicate<K, V>, options: TableOptions<unknown, unknown> = {}): unknown {
    return this.#filter(test, true, options)
  }

  #filter(test: Predicate<K, V>, negate: boolean, options: TableOptions<unknown, unknown>): unknown {
    const operator = options.name ?? (negate ? 'filterNot' : 'filter')
    callable(test, operator, 'the test')
    const parent = this[core]
    const derived = this.#derive(operator, 'KTABLE-FILTER-', options, parent.valueSerde)
    const { name, store, view, sendsOld } = derived
    // With old values at hand, rows that never passed need no tombstone.
    const sends = sendOld(parent, false)
    return this.#table(
      derived,
      (to, at) => {
        to.add({
          kind: 'table-filter',
          name,
          from: at.from,
          test: test as Predicate<unknown, unknown>,
          negate,
          versioned: [...at.parents].some((above) => above.versioned),
          store: store?.name ?? null,
          sendOld: sends || sendsOld(),
        })
        if (store !== null) to.addStore(store, name)
      },
      view,
    )
  }

  /** A new value for each row. */
  mapValues<VO>(
    map: Mapper<K, V, VO>,
    options: TableOptions<K, VO> & { readonly valueSerde: Serde<VO> },
  ): KTable<K, VO, Exclude<G, 'value'>>
  mapValues<VO>(
    map: Mapper<K, V, VO>,
    options?: TableOptions<K, VO> & { readonly as?: never },
  ): KTable<K, VO, G | 'value'>
  mapValues<VO>(
    this: SerdeMissing<'mapValues needs the serde of its result for its store: give it { valueSerde }'>,
    map: Mapper<K, V, VO>,
    options: TableOptions<K, VO>,
  ): KTable<K, VO, G>
  mapValues(
    this: unknown,
    map: Mapper<K, V, unknown>,
    options: TableOptions<unknown, unknown> = {},
  ): unknown {
    const self = this as KTable<K, V, G>
    const operator = options.name ?? 'mapValues'
    callable(map, operator, 'the mapper')
    const derived = self.#derive(operator, 'KTABLE-MAPVALUES-', options, null)
    const { name, store, view, sendsOld } = derived
    return self.#table(
      derived,
      (to, at) => {
        to.add({
          kind: 'table-map-values',
          name,
          from: at.from,
          map: map as Mapper<unknown, unknown, unknown>,
          store: store?.name ?? null,
          sendOld: sendsOld(),
        })
        if (store !== null) to.addStore(store, name)
      },
      view,
    )
  }

  /** A new value for each row, with the help of stores. */
  transformValues<VO>(
    source: ProcessorSource<ValueTransformer<K, V, VO>>,
    options: TableOptions<K, VO> & ProcessOptions & { readonly valueSerde: Serde<VO> },
  ): KTable<K, VO, Exclude<G, 'value'>>
  transformValues<VO>(
    source: ProcessorSource<ValueTransformer<K, V, VO>>,
    options?: TableOptions<K, VO> & ProcessOptions & { readonly as?: never },
  ): KTable<K, VO, G | 'value'>
  transformValues<VO>(
    this: SerdeMissing<'transformValues needs the serde of its result for its store: give it { valueSerde }'>,
    source: ProcessorSource<ValueTransformer<K, V, VO>>,
    options: TableOptions<K, VO> & ProcessOptions,
  ): KTable<K, VO, G>
  transformValues(
    this: unknown,
    source: ProcessorSource<ValueTransformer<K, V, unknown>>,
    options: TableOptions<unknown, unknown> & ProcessOptions = {},
  ): unknown {
    const self = this as KTable<K, V, G>
    const operator = options.name ?? 'transformValues'
    const make = typeof source === 'function' ? source : source?.make?.bind(source)
    callable(make, operator, 'a transformer')
    const added = storesOf(source, operator)
    const derived = self.#derive(operator, 'KTABLE-TRANSFORMVALUES-', options, null, false)
    const { name, store, view, sendsOld } = derived
    return self.#table(
      derived,
      (to, at) => {
        to.add({
          kind: 'table-transform-values',
          name,
          from: at.from,
          make,
          store: store?.name ?? null,
          sendOld: sendsOld(),
        })
        if (store !== null) to.addStore(store, name)
        for (const spec of added) to.addStore(spec, name)
        to.connect(name, options.stores ?? [])
      },
      view,
    )
  }

  /** The table's changes as records, null for a row that is gone. `select` gives them another key. */
  toStream<KO>(
    select: KeySelector<K, V | null, KO>,
    options: NameOption & { readonly keySerde: Serde<KO> },
  ): KStream<KO, V, Exclude<G, 'key'> | 'moved'>
  toStream<KO>(
    select: KeySelector<K, V | null, KO>,
    options?: NameOption,
  ): KStream<KO, V, G | 'key' | 'moved'>
  // Functions have a `name`, too, so options alone come last.
  toStream(options?: NameOption): KStream<K, V, G>
  toStream(first?: unknown, second?: NameOption): unknown {
    const options = (typeof first === 'function' ? second : (first as NameOption | undefined)) ?? {}
    const { builder, node, keySerde, valueSerde, sources } = this[core]
    const made = attach(builder, node, 'KTABLE-TOSTREAM-', options.name, (name, from) => ({
      kind: 'table-to-stream',
      name,
      from,
    }))
    const stream = new KStream<K, V, G>(
      streamCore({ builder, sources, moved: false }, made, keySerde, valueSerde),
    )
    if (typeof first !== 'function') return stream
    const { keySerde: keys } = options as { readonly keySerde?: Serde<unknown> }
    const select = first as KeySelector<K, V, unknown>
    return keys === undefined ? stream.selectKey(select) : stream.selectKey(select, { keySerde: keys })
  }

  /** Holds changes back: `untilWindowCloses()` or `untilTimeLimit('1m')`. */
  suppress(
    this: KTable<K, V, G> & Needs<'suppress', G>,
    until: Suppression,
    options?: NameOption & { readonly logging?: Logging },
  ): KTable<K, V, G>
  suppress(until: Suppression, options: NameOption & { readonly logging?: Logging } = {}): unknown {
    const parent = this[core]
    const { builder, keySerde, valueSerde } = parent
    const { names } = builder.graph
    if (parent.node.traits.versioned === true) {
      throw invalid(
        `${options.name ?? 'suppress'}: suppress works on tables without versions only; ` +
          'materialise its parent in a store without historyRetention',
        options.name ?? 'suppress',
      )
    }
    const name = options.name ?? names.next('KTABLE-SUPPRESS-')
    const graceMs = until.until.kind === 'window-closes' ? windowGrace(parent.node, name) : 0
    const storeName =
      options.name === undefined ? names.nextStore('KTABLE-SUPPRESS-') : `${options.name}-store`
    // The buffer knows the value that downstream saw last.
    sendOld(parent, true)
    if (options.name === undefined && options.logging !== false) {
      builder.graph.generatedNames.push({
        what: 'store',
        name: storeName,
        remedy: 'give { name } to suppress',
      })
    }
    const store: StoreSpec = {
      kind: 'suppress-buffer',
      name: storeName,
      engine: 'memory',
      keySerde: keySerdeFor(builder, name, keySerde),
      valueSerde: valueSerdeFor(builder, name, valueSerde),
      changelog: changelogFor(options.logging),
      cached: false,
    }
    let looked: readonly string[] | null = null
    const view: TableView = {
      stores: () => {
        looked ??= parent.view.stores()
        return [storeName, ...looked]
      },
      sendOld: (force) => sendOld(parent, force),
    }
    const made = builder.graph.add(
      parent.node,
      new LogicalNode(name, {
        role: { kind: 'suppress' },
        versioned: false,
        write: (to, at) => {
          to.add({
            kind: 'suppress',
            name,
            from: at.from,
            store: storeName,
            until: until.until.kind === 'window-closes' ? { kind: 'window-closes', graceMs } : until.until,
            recordsMax: until.recordsMax,
            bytesMax: until.bytesMax,
            whenFull: until.whenFull,
            parent: parent.name,
          })
          to.addStore(store, name)
        },
      }),
    )
    return new KTable({ ...parent, name, node: made, storeName: null, view, sendsOld: false })
  }

  /** Groups rows by another key; the table of groups is kept as rows come, change and go. */
  groupBy<KO, VO>(
    select: (value: V, key: K) => readonly [KO | null, VO | null],
    options: GroupedOptions<KO, VO> & { readonly keySerde: Serde<KO>; readonly valueSerde: Serde<VO> },
  ): KGroupedTable<KO, VO>
  groupBy<KO, VO>(
    this: SerdeMissing<'groupBy needs the serdes of the new key and value: give it { keySerde, valueSerde }'>,
    select: (value: V, key: K) => readonly [KO | null, VO | null],
    options?: GroupedOptions<KO, VO>,
  ): KGroupedTable<KO, VO>
  groupBy(
    this: unknown,
    select: (value: V, key: K) => readonly [unknown, unknown],
    options: GroupedOptions<unknown, unknown> = {},
  ): unknown {
    const parent = (this as KTable<K, V, G>)[core]
    const { builder, sources } = parent
    callable(select, options.name ?? 'groupBy', 'the selector')
    const made = attach(builder, parent.node, 'KTABLE-SELECT-', options.name, (name, from) => ({
      kind: 'table-group',
      name,
      from,
      map: select as (value: unknown, key: unknown) => readonly [unknown, unknown],
    }))
    sendOld(parent, true)
    return new KGroupedTable({
      builder,
      name: made.name,
      node: made,
      keySerde: keySerdeFor(builder, options.name ?? 'groupBy', any(options.keySerde)),
      valueSerde: valueSerdeFor(builder, options.name ?? 'groupBy', any(options.valueSerde)),
      sources,
      repartitionName: options.name ?? null,
      repartition: null,
    })
  }

  // ------------------------------------------------------------------------------------------------------- joins

  /** Rows with the same key in both tables. */
  join<VO, GO extends Gap, R>(
    other: KTable<K, VO, GO>,
    joiner: TableJoiner<V, VO, R>,
    options: TableOptions<K, R> & { readonly valueSerde: Serde<R> },
  ): KTable<K, R, Exclude<G, 'value'>>
  join<VO, GO extends Gap, R>(
    other: KTable<K, VO, GO>,
    joiner: TableJoiner<V, VO, R>,
    options?: NameOption & { readonly as?: never },
  ): KTable<K, R, G | 'value'>
  join<VO, GO extends Gap, R>(
    this: SerdeMissing<'join needs the serde of its result for its store: give it { valueSerde }'>,
    other: KTable<K, VO, GO>,
    joiner: TableJoiner<V, VO, R>,
    options: TableOptions<K, R>,
  ): KTable<K, R, G>
  join(
    this: unknown,
    other: unknown,
    joiner: unknown,
    options: TableOptions<unknown, unknown> = {},
  ): unknown {
    return joinTables(insidesOf(this), insidesOf(other), 'inner', joiner, options)
  }

  /** All rows of this table; null in place of a missing row of the other. */
  leftJoin<VO, GO extends Gap, R>(
    other: KTable<K, VO, GO>,
    joiner: TableJoiner<V, VO | null, R>,
    options: TableOptions<K, R> & { readonly valueSerde: Serde<R> },
  ): KTable<K, R, Exclude<G, 'value'>>
  leftJoin<VO, GO extends Gap, R>(
    other: KTable<K, VO, GO>,
    joiner: TableJoiner<V, VO | null, R>,
    options?: NameOption & { readonly as?: never },
  ): KTable<K, R, G | 'value'>
  leftJoin<VO, GO extends Gap, R>(
    this: SerdeMissing<'leftJoin needs the serde of its result for its store: give it { valueSerde }'>,
    other: KTable<K, VO, GO>,
    joiner: TableJoiner<V, VO | null, R>,
    options: TableOptions<K, R>,
  ): KTable<K, R, G>
  leftJoin(
    this: unknown,
    other: unknown,
    joiner: unknown,
    options: TableOptions<unknown, unknown> = {},
  ): unknown {
    return joinTables(insidesOf(this), insidesOf(other), 'left', joiner, options)
  }

  /** All rows of both tables; null in place of a missing row. */
  outerJoin<VO, GO extends Gap, R>(
    other: KTable<K, VO, GO>,
    joiner: TableJoiner<V | null, VO | null, R>,
    options: TableOptions<K, R> & { readonly valueSerde: Serde<R> },
  ): KTable<K, R, Exclude<G, 'value'>>
  outerJoin<VO, GO extends Gap, R>(
    other: KTable<K, VO, GO>,
    joiner: TableJoiner<V | null, VO | null, R>,
    options?: NameOption & { readonly as?: never },
  ): KTable<K, R, G | 'value'>
  outerJoin<VO, GO extends Gap, R>(
    this: SerdeMissing<'outerJoin needs the serde of its result for its store: give it { valueSerde }'>,
    other: KTable<K, VO, GO>,
    joiner: TableJoiner<V | null, VO | null, R>,
    options: TableOptions<K, R>,
  ): KTable<K, R, G>
  outerJoin(
    this: unknown,
    other: unknown,
    joiner: unknown,
    options: TableOptions<unknown, unknown> = {},
  ): unknown {
    return joinTables(insidesOf(this), insidesOf(other), 'outer', joiner, options)
  }

  /** Each row with the row of another table whose key `foreignKey` picks. */
  joinOnForeignKey<KO, VO, GO extends Gap, R>(
    this: KTable<K, V, G> & Needs<'joinOnForeignKey', G>,
    other: KTable<KO, VO, GO> & OtherNeeds<'joinOnForeignKey', GO>,
    foreignKey: (value: V, key: K) => KO | null,
    joiner: TableJoiner<V, VO, R>,
    options: ForeignKeyJoinOptions<K, R, KO> & { readonly valueSerde: Serde<R> },
  ): KTable<K, R>
  joinOnForeignKey<KO, VO, GO extends Gap, R>(
    this: SerdeMissing<'joinOnForeignKey needs the serde of its result: give it { valueSerde }'>,
    other: KTable<KO, VO, GO>,
    foreignKey: (value: V, key: K) => KO | null,
    joiner: TableJoiner<V, VO, R>,
    options?: ForeignKeyJoinOptions<K, R, KO>,
  ): KTable<K, R>
  joinOnForeignKey(
    this: unknown,
    other: unknown,
    foreignKey: unknown,
    joiner: unknown,
    options: object = {},
  ): unknown {
    return joinForeign(insidesOf(this), insidesOf(other), 'inner', foreignKey, joiner, options)
  }

  /** As `joinOnForeignKey`, and each row comes out, without a partner with null in its place. */
  leftJoinOnForeignKey<KO, VO, GO extends Gap, R>(
    this: KTable<K, V, G> & Needs<'leftJoinOnForeignKey', G>,
    other: KTable<KO, VO, GO> & OtherNeeds<'leftJoinOnForeignKey', GO>,
    foreignKey: (value: V, key: K) => KO | null,
    joiner: TableJoiner<V, VO | null, R>,
    options: ForeignKeyJoinOptions<K, R, KO> & { readonly valueSerde: Serde<R> },
  ): KTable<K, R>
  leftJoinOnForeignKey<KO, VO, GO extends Gap, R>(
    this: SerdeMissing<'leftJoinOnForeignKey needs the serde of its result: give it { valueSerde }'>,
    other: KTable<KO, VO, GO>,
    foreignKey: (value: V, key: K) => KO | null,
    joiner: TableJoiner<V, VO | null, R>,
    options?: ForeignKeyJoinOptions<K, R, KO>,
  ): KTable<K, R>
  leftJoinOnForeignKey(
    this: unknown,
    other: unknown,
    foreignKey: unknown,
    joiner: unknown,
    options: object = {},
  ): unknown {
    return joinForeign(insidesOf(this), insidesOf(other), 'left', foreignKey, joiner, options)
  }

  // ----------------------------------------------------------------------------------------------------- insides

  /** A table made row by row from this one: it has a store only if that is named. */
  #derive(
    operator: string,
    prefix: string,
    options: TableOptions<unknown, unknown>,
    valueSerde: AnySerde,
    counts = true,
  ): Derived {
    const parent = this[core]
    const { builder } = parent
    const { names } = builder.graph
    if (counts && saysHow(options) && options.as === undefined) names.nextStore(prefix)
    const name = named(names, options.name, prefix)
    const keys = any(options.keySerde) ?? parent.keySerde
    const values = any(options.valueSerde) ?? valueSerde
    const versioned = keepsVersions(options, name)
    const store =
      options.as === undefined
        ? null
        : tableStore(
            builder,
            validName(options.as, 'store'),
            options,
            keySerdeFor(builder, name, keys),
            valueSerdeFor(builder, name, values),
          )
    let sends = false
    let looked: readonly string[] | null = null
    return {
      name,
      operator,
      store,
      keySerde: keys,
      valueSerde: values,
      versioned: saysHow(options) ? versioned : null,
      sendsOld: () => sends,
      view: {
        stores: () => {
          if (store !== null) return [store.name]
          looked ??= parent.view.stores()
          return looked
        },
        sendOld: (force) => {
          if (store !== null || sendOld(parent, force)) sends = true
          return sends
        },
      },
    }
  }

  #table(derived: Derived, write: (to: GraphBuilder, at: Planned) => void, view: TableView): unknown {
    const parent = this[core]
    const { name, keySerde, valueSerde, versioned, store } = derived
    const node = parent.builder.graph.add(
      parent.node,
      new LogicalNode(name, { ...(versioned === null ? {} : { versioned }), write }),
    )
    return new KTable({
      builder: parent.builder,
      name,
      node,
      keySerde,
      valueSerde,
      sources: parent.sources,
      storeName: store?.name ?? null,
      view,
      sendsOld: false,
    })
  }
}

type Derived = {
  readonly name: string
  readonly operator: string
  readonly store: StoreSpec | null
  readonly keySerde: AnySerde
  readonly valueSerde: AnySerde
  readonly versioned: boolean | null
  readonly view: TableView
  sendsOld(): boolean
}

type AnyJoiner = (left: unknown, right: unknown, key: unknown) => unknown

/** How long after the end of a window its results can change: the longest of what is above. */
function windowGrace(start: LogicalNode, suppress: string): number {
  const chain: string[] = []
  const visit = (node: LogicalNode): number => {
    if (node.traits.graceMs !== undefined) return node.traits.graceMs
    chain.unshift(node.name)
    const parents = [...node.parents].filter(
      (parent) => parent.parents.size > 0 || parent.traits.graceMs !== undefined,
    )
    const graces = parents.map(visit)
    if (graces.length === 0) {
      throw invalid(
        `${suppress}: untilWindowCloses needs a windowed table, but ${chain.join(' -> ')} has no windows; ` +
          'use windowedBy before, or untilTimeLimit',
        suppress,
      )
    }
    const longest = Math.max(...graces)
    chain.shift()
    return longest
  }
  return visit(start)
}

/** A table read from its parent's records. It has a store as soon as that is named or somebody looks into the table. */
export function sourceTable(
  name: string,
  store: StoreSpec,
  storeNamed: boolean,
): {
  readonly view: TableView
  write(to: GraphBuilder, from: readonly string[], sourceTopic?: string): void
} {
  let materialised = storeNamed
  let sends = false
  return {
    view: {
      stores: () => {
        materialised = true
        return [store.name]
      },
      sendOld: (force) => {
        if (!force && !materialised) return false
        materialised = true
        sends = true
        return true
      },
    },
    write: (to, from, sourceTopic) => {
      to.add({ kind: 'table-source', name, from, store: materialised ? store.name : null, sendOld: sends })
      if (!materialised) return
      to.addStore(sourceTopic === undefined ? store : { ...store, changelog: changelogOf(sourceTopic) }, name)
    },
  }
}

function insidesOf(table: unknown): TableCore {
  if (!(table instanceof KTable)) throw invalid('join: the other side must be a KTable')
  return table[core]
}

function joinTables(
  left: TableCore,
  right: TableCore,
  join: 'inner' | 'left' | 'outer',
  given: unknown,
  options: TableOptions<unknown, unknown>,
): unknown {
  const { builder } = left
  const { names } = builder.graph
  const operator = options.name ?? (join === 'inner' ? 'join' : `${join}Join`)
  callable(given, operator, 'the joiner')
  const joiner = given as AnyJoiner
  // Said how, though not named: it gets a store under a generated name.
  const storeName = saysHow(options) ? storeNameFor(builder, options.as, 'KTABLE-MERGE-', operator) : null
  const mergeName = named(names, options.name, 'KTABLE-MERGE-')
  const sources = coPartition(builder, mergeName, left.sources, right.sources)
  if (join !== 'inner') sendOld(left, true)
  if (join === 'outer') sendOld(right, true)
  const keys = any(options.keySerde) ?? left.keySerde ?? right.keySerde
  const values = any(options.valueSerde)
  const store =
    storeName === null
      ? null
      : tableStore(
          builder,
          storeName,
          options,
          keySerdeFor(builder, operator, keys),
          valueSerdeFor(builder, operator, values),
        )
  const leftStores = left.view.stores()
  const rightStores = right.view.stores()
  const leftName = named(names, options.name, 'KTABLE-JOINTHIS-', '-join-this')
  const rightName = named(names, options.name, 'KTABLE-JOINOTHER-', '-join-other')
  const versioned = keepsVersions(options, mergeName)
  let sends = false
  const view: TableView = {
    stores: () => (store === null ? [...new Set([...leftStores, ...rightStores])] : [store.name]),
    sendOld: () => {
      sendOld(left, true)
      sendOld(right, true)
      sends = true
      return true
    },
  }
  const made = builder.graph.add(
    [left.node, right.node],
    new LogicalNode(mergeName, {
      versioned,
      write: (to) => {
        const common = { join, joiner, sendOld: sends } as const
        to.add({
          kind: 'table-join',
          name: leftName,
          from: [left.name],
          side: 'left',
          other: right.name,
          ...common,
        })
        to.add({
          kind: 'table-join',
          name: rightName,
          from: [right.name],
          side: 'right',
          other: left.name,
          ...common,
        })
        to.add({
          kind: 'table-merge',
          name: mergeName,
          from: [leftName, rightName],
          store: store?.name ?? null,
          sendOld: sends,
        })
        if (store !== null) to.addStore(store, mergeName)
        to.connect(leftName, rightStores)
        to.connect(rightName, leftStores)
      },
    }),
  )
  return new KTable({
    builder,
    name: mergeName,
    node: made,
    keySerde: keys,
    valueSerde: values,
    sources,
    storeName: store?.name ?? null,
    view,
    sendsOld: false,
  })
}

function foreignTopic(
  names: Names,
  given: string | undefined,
  prefix: string,
  suffix: string,
): InternalTopic {
  return { name: `${named(names, given, prefix, suffix)}-topic`, kind: 'foreign-key', partitions: null }
}

function joinForeign(
  left: TableCore,
  right: TableCore,
  join: 'inner' | 'left',
  foreignKey: unknown,
  joiner: unknown,
  options: ForeignKeyJoinOptions<unknown, unknown, unknown>,
): unknown {
  const { builder } = left
  const { graph } = builder
  const { names } = graph
  const given = options.name
  const operator = given ?? (join === 'inner' ? 'joinOnForeignKey' : 'leftJoinOnForeignKey')
  callable(foreignKey, operator, 'the foreign key')
  callable(joiner, operator, 'the joiner')
  sendOld(right, true)
  sendOld(left, true)
  const primaryKeySerde = keySerdeFor(builder, operator, left.keySerde)
  const leftSerde = valueSerdeFor(builder, operator, left.valueSerde)
  const foreignKeySerde = keySerdeFor(builder, operator, right.keySerde)
  const rightSerde = valueSerdeFor(builder, operator, right.valueSerde)

  const requests = foreignTopic(
    names,
    given,
    'KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-',
    '-subscription-registration',
  )
  const sendName = named(
    names,
    given,
    'KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-',
    '-subscription-registration-processor',
  )
  const send = graph.add(
    left.node,
    new LogicalNode(sendName, {
      write: (to, at) =>
        to.add({
          kind: 'fk-send',
          name: sendName,
          from: at.from,
          join,
          foreignKey: foreignKey as (value: unknown, key: unknown) => unknown,
          primaryKeySerde,
          foreignKeySerde,
          valueSerde: leftSerde,
        }),
    }),
  )
  const requestSinkName = named(names, given, 'KTABLE-SINK-', '-subscription-registration-sink')
  const requestSink = graph.add(
    send,
    new LogicalNode(requestSinkName, {
      write: (to, at) => {
        to.addInternalTopic(requests)
        to.add({
          kind: 'sink',
          name: requestSinkName,
          from: at.from,
          topic: requests.name,
          keySerde: foreignKeySerde,
          valueSerde: primaryKeySerde,
          partitioner: keyPartitioner(options.otherPartitioner),
          internal: true,
          content: 'subscription',
        })
      },
    }),
  )
  const requestSourceName = named(names, given, 'KTABLE-SOURCE-', '-subscription-registration-source')
  const requestSource = graph.add(
    requestSink,
    new LogicalNode(requestSourceName, {
      write: (to) =>
        to.add(
          sourceOf(requestSourceName, [requests.name], foreignKeySerde, primaryKeySerde, 'subscription'),
        ),
    }),
  )
  coPartition(builder, operator, right.sources, new Set([requestSourceName]))

  const subscriptionsName = named(
    names,
    given,
    'KTABLE-FK-JOIN-SUBSCRIPTION-STATE-STORE-',
    '-subscription-store',
  )
  if (given === undefined) {
    graph.generatedNames.push({
      what: 'store',
      name: subscriptionsName,
      remedy: 'give { name } to joinOnForeignKey',
    })
  }
  const subscriptions: StoreSpec = {
    kind: 'subscription',
    name: subscriptionsName,
    engine: options.engine ?? builder.engine,
    keySerde: foreignKeySerde,
    valueSerde: primaryKeySerde,
    primaryKeySerde,
    changelog: changelogFor(options.logging),
    cached: false,
  }
  const receiveName = named(names, given, 'KTABLE-FK-JOIN-SUBSCRIPTION-PROCESSOR-', '-subscription-receive')
  const receive = graph.add(
    requestSource,
    new LogicalNode(receiveName, {
      write: (to, at) => {
        to.add({ kind: 'fk-receive', name: receiveName, from: at.from, store: subscriptionsName })
        to.addStore(subscriptions, receiveName)
      },
    }),
  )
  const rightStores = right.view.stores()
  const answerName = named(
    names,
    given,
    'KTABLE-FK-JOIN-SUBSCRIPTION-PROCESSOR-',
    '-subscription-join-foreign',
  )
  const answer = graph.add(
    receive,
    new LogicalNode(answerName, {
      write: (to, at) => {
        to.add({ kind: 'fk-answer', name: answerName, from: at.from, table: right.name })
        to.connect(answerName, rightStores)
      },
    }),
  )
  const updateName = named(
    names,
    given,
    'KTABLE-FK-JOIN-SUBSCRIPTION-PROCESSOR-',
    '-foreign-join-subscription',
  )
  const update = graph.add(
    right.node,
    new LogicalNode(updateName, {
      write: (to, at) => {
        to.add({ kind: 'fk-update', name: updateName, from: at.from, store: subscriptionsName })
        to.addStore(subscriptions, updateName)
      },
    }),
  )

  const answers = foreignTopic(
    names,
    given,
    'KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-',
    '-subscription-response',
  )
  const answerSinkName = named(names, given, 'KTABLE-SINK-', '-subscription-response-sink')
  const answerSink = graph.add(
    [answer, update],
    new LogicalNode(answerSinkName, {
      write: (to, at) => {
        to.addInternalTopic(answers)
        to.add({
          kind: 'sink',
          name: answerSinkName,
          from: at.from,
          topic: answers.name,
          keySerde: primaryKeySerde,
          valueSerde: rightSerde,
          partitioner: keyPartitioner(options.partitioner),
          internal: true,
          content: 'answer',
        })
      },
    }),
  )
  const answerSourceName = named(names, given, 'KTABLE-SOURCE-', '-subscription-response-source')
  const answerSource = graph.add(
    answerSink,
    new LogicalNode(answerSourceName, {
      write: (to) =>
        to.add(sourceOf(answerSourceName, [answers.name], primaryKeySerde, rightSerde, 'answer')),
    }),
  )
  const sources = coPartition(builder, operator, left.sources, new Set([answerSourceName]))
  const leftStores = left.view.stores()
  const resolveName = named(
    names,
    given,
    'KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-RESOLVER-PROCESSOR-',
    '-subscription-response-resolver',
  )
  const resolve = graph.add(
    answerSource,
    new LogicalNode(resolveName, {
      write: (to, at) => {
        to.add({
          kind: 'fk-resolve',
          name: resolveName,
          from: at.from,
          join,
          table: left.name,
          valueSerde: leftSerde,
          joiner: joiner as AnyJoiner,
        })
        to.connect(resolveName, leftStores)
      },
    }),
  )
  const resultName = named(names, given, 'KTABLE-FK-JOIN-OUTPUT-', '-result')
  const storeName = storeNameFor(builder, options.as, 'KTABLE-FK-JOIN-OUTPUT-', operator)
  const keys = any(options.keySerde) ?? primaryKeySerde
  const values = valueSerdeFor(builder, operator, any(options.valueSerde))
  const store = tableStore(builder, storeName, options, keys, values)
  const { view, write } = sourceTable(resultName, store, options.as !== undefined)
  const versioned = keepsVersions(options, operator)
  const result = graph.add(
    resolve,
    new LogicalNode(resultName, { versioned, write: (to, at) => write(to, at.from) }),
  )
  for (const topic of [requests, answers]) {
    if (given === undefined) {
      graph.generatedNames.push({
        what: 'repartition topic',
        name: topic.name,
        remedy: 'give { name } to joinOnForeignKey',
      })
    }
  }
  return new KTable({
    builder,
    name: resultName,
    node: result,
    keySerde: keys,
    valueSerde: values,
    sources,
    storeName: options.as ?? null,
    view,
    sendsOld: false,
  })
}

/** What the foreign-key topics carry isn't the user's value, so partitioners see the key only. */
function keyPartitioner(partitioner: Partitioner<never, null> | undefined): ReturnType<typeof toPartitioner> {
  if (partitioner === undefined) return null
  return (topic, key, _value, partitions) => {
    const chosen = partitioner(key as never, null, partitions, topic)
    if (Array.isArray(chosen) && chosen.length !== 1) {
      throw invalid(`joinOnForeignKey: a partitioner must give one partition, but gave ${chosen.length}`)
    }
    return chosen
  }
}
