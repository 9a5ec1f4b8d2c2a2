/** Several grouped streams that are taken into one aggregate. */
import type { Serde } from '../serde/serde.ts'
import type { Windowed } from '../serde/windowed.ts'
import type { NewNode } from '../topology/graph-builder.ts'
import type { Aggregation } from '../topology/node.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type {
  FixedWindowsSpec,
  SessionWindowsSpec,
  SlidingWindowsSpec,
  WindowsSpec,
} from '../topology/windows.ts'
import {
  aggregating,
  any,
  callable,
  coPartition,
  core,
  keepsVersions,
  keySerdeFor,
  repartition,
  storeNameFor,
  tableStore,
  valueSerdeFor,
} from './core.ts'
import { LogicalNode, named, repartitionNode } from './graph.ts'
import {
  aggregateView,
  closesAfterMs,
  type GroupedCore,
  type KGroupedStream,
  windowedSerde,
  windowNode,
} from './kgrouped-stream.ts'
import { KTable } from './ktable.ts'
import type {
  Aggregator,
  Gap,
  GroupedNeeds,
  Merger,
  MissingForKeys,
  SerdeMissing,
  TableOptions,
  WindowedOptions,
} from './types.ts'
import { windowStore } from './window-store.ts'

type AnyAggregator = Aggregator<unknown, unknown, unknown>

export type CogroupCore = {
  readonly groups: ReadonlyMap<GroupedCore, AnyAggregator>
  /** The repartition of each group, which all aggregations of it share. */
  readonly repartitions: Map<GroupedCore, LogicalNode>
}

const prefix = 'COGROUPKSTREAM-AGGREGATE-'

export class CogroupedKStream<K, A, G extends Gap = never> {
  readonly [core]: CogroupCore

  constructor(insides: CogroupCore) {
    this[core] = insides
  }

  static of<K, V, A, G extends Gap>(
    group: KGroupedStream<K, V, G>,
    add: Aggregator<K, V, A>,
  ): CogroupedKStream<K, A, MissingForKeys<G>> {
    callable(add, 'cogroup', 'the aggregator')
    return new CogroupedKStream({
      groups: new Map([[group[core], add as AnyAggregator]]),
      repartitions: new Map(),
    })
  }

  /** One group more. */
  cogroup<V, GO extends Gap>(
    group: KGroupedStream<K, V, GO>,
    add: Aggregator<K, V, A>,
  ): CogroupedKStream<K, A, G | MissingForKeys<GO>> {
    callable(add, 'cogroup', 'the aggregator')
    const { groups, repartitions } = this[core]
    return new CogroupedKStream({
      groups: new Map([...groups, [group[core], add as AnyAggregator]]),
      repartitions,
    })
  }

  /** Takes each value of each group into the aggregate of its key. */
  aggregate(
    this: CogroupedKStream<K, A, G> & GroupedNeeds<'aggregate', G>,
    initialise: () => A | null,
    options: TableOptions<K, A> & { readonly valueSerde: Serde<A> },
  ): KTable<K, A>
  aggregate(
    this: SerdeMissing<'aggregate needs the serde of its result: give it { valueSerde }'>,
    initialise: () => A | null,
    options?: TableOptions<K, A>,
  ): KTable<K, A>
  aggregate(this: unknown, initialise: () => unknown, options: TableOptions<unknown, unknown> = {}): unknown {
    const insides = (this as CogroupedKStream<K, A, G>)[core]
    const { builder } = first(insides)
    const operator = options.name ?? 'aggregate'
    callable(initialise, operator, 'the initialiser')
    const storeName = storeNameFor(builder, options.as, prefix, operator)
    const keys = keySerdeFor(builder, operator, any(options.keySerde), ...keySerdes(insides))
    const values = valueSerdeFor(builder, operator, any(options.valueSerde))
    const versioned = keepsVersions(options, operator)
    return cogrouped(insides, {
      store: tableStore(builder, storeName, options, keys, values),
      options,
      initialise,
      keySerde: keys,
      traits: { versioned },
      node: (name, from, aggregation, sendsOld) => ({
        kind: 'aggregate',
        name,
        from,
        aggregation,
        sendOld: sendsOld,
      }),
    })
  }

  /** In windows: `tumbling`, `hopping`, `sliding`, `session`, `unlimited`, or of your own. */
  windowedBy(windows: SessionWindowsSpec): SessionWindowedCogroupedKStream<K, A, G>
  windowedBy(windows: FixedWindowsSpec | SlidingWindowsSpec): TimeWindowedCogroupedKStream<K, A, G>
  windowedBy(windows: WindowsSpec): unknown {
    return windows.kind === 'session'
      ? new SessionWindowedCogroupedKStream(this[core], windows)
      : new TimeWindowedCogroupedKStream(this[core], windows)
  }
}

export class TimeWindowedCogroupedKStream<K, A, G extends Gap = never> {
  readonly [core]: CogroupCore
  readonly #windows: FixedWindowsSpec | SlidingWindowsSpec

  constructor(insides: CogroupCore, windows: FixedWindowsSpec | SlidingWindowsSpec) {
    this[core] = insides
    this.#windows = windows
  }

  /** Takes each value of each group into the aggregate of its key and window. */
  aggregate(
    this: TimeWindowedCogroupedKStream<K, A, G> & GroupedNeeds<'aggregate', G>,
    initialise: () => A | null,
    options: WindowedOptions<K, A> & { readonly valueSerde: Serde<A> },
  ): KTable<Windowed<K>, A>
  aggregate(
    this: SerdeMissing<'aggregate needs the serde of its result: give it { valueSerde }'>,
    initialise: () => A | null,
    options?: WindowedOptions<K, A>,
  ): KTable<Windowed<K>, A>
  aggregate(
    this: unknown,
    initialise: () => unknown,
    options: WindowedOptions<unknown, unknown> = {},
  ): unknown {
    const self = this as TimeWindowedCogroupedKStream<K, A, G>
    return cogroupedWindows(self[core], self.#windows, initialise, undefined, options)
  }
}

export class SessionWindowedCogroupedKStream<K, A, G extends Gap = never> {
  readonly [core]: CogroupCore
  readonly #windows: SessionWindowsSpec

  constructor(insides: CogroupCore, windows: SessionWindowsSpec) {
    this[core] = insides
    this.#windows = windows
  }

  /** Takes each value of each group into the aggregate of its session; `merge` joins those of sessions that become one. */
  aggregate(
    this: SessionWindowedCogroupedKStream<K, A, G> & GroupedNeeds<'aggregate', G>,
    initialise: () => A | null,
    merge: Merger<K, A>,
    options: WindowedOptions<K, A> & { readonly valueSerde: Serde<A> },
  ): KTable<Windowed<K>, A>
  aggregate(
    this: SerdeMissing<'aggregate needs the serde of its result: give it { valueSerde }'>,
    initialise: () => A | null,
    merge: Merger<K, A>,
    options?: WindowedOptions<K, A>,
  ): KTable<Windowed<K>, A>
  aggregate(
    this: unknown,
    initialise: () => unknown,
    merge: unknown,
    options: WindowedOptions<unknown, unknown> = {},
  ): unknown {
    const self = this as SessionWindowedCogroupedKStream<K, A, G>
    callable(merge, options.name ?? 'aggregate', 'the merger')
    return cogroupedWindows(self[core], self.#windows, initialise, merge as Merger<unknown, unknown>, options)
  }
}

function first(insides: CogroupCore): GroupedCore {
  const [group] = insides.groups.keys()
  return group as GroupedCore
}

function keySerdes(insides: CogroupCore): readonly GroupedCore['keySerde'][] {
  return [...insides.groups.keys()].map((group) => group.keySerde)
}

function cogroupedWindows(
  insides: CogroupCore,
  windows: WindowsSpec,
  initialise: () => unknown,
  merge: Merger<unknown, unknown> | undefined,
  options: WindowedOptions<unknown, unknown>,
): unknown {
  const { builder } = first(insides)
  const operator = options.name ?? 'aggregate'
  callable(initialise, operator, 'the initialiser')
  const storeName = storeNameFor(builder, options.as, prefix, operator)
  const keys = keySerdeFor(builder, operator, any(options.keySerde), ...keySerdes(insides))
  const values = valueSerdeFor(builder, operator, any(options.valueSerde))
  return cogrouped(insides, {
    store: windowStore(builder, storeName, options, keys, values, windows, 'on-update'),
    options,
    initialise,
    merge,
    keySerde: windowedSerde(keys, windows),
    traits: { graceMs: closesAfterMs(windows) },
    node: (name, from, aggregation, sendsOld) =>
      windowNode(name, from, windows, aggregation, 'on-update', sendsOld),
  })
}

type Cogrouped = {
  readonly store: StoreSpec
  readonly options: { readonly name?: string; readonly as?: string }
  readonly initialise: () => unknown
  readonly merge?: Merger<unknown, unknown> | undefined
  readonly keySerde: Serde<unknown>
  readonly traits: { readonly versioned?: boolean; readonly graceMs?: number }
  readonly node: (
    name: string,
    from: readonly string[],
    aggregation: Aggregation,
    sendsOld: boolean,
  ) => NewNode
}

function cogrouped(insides: CogroupCore, what: Cogrouped): unknown {
  const { store, options, initialise, merge, keySerde, traits, node } = what
  const { builder } = first(insides)
  const { names } = builder.graph
  const parents = parentsOf(insides, store.name, options)
  const { view, sendsOld } = aggregateView(store.name)
  let index = 0
  const processors: LogicalNode[] = []
  for (const [group, add] of insides.groups) {
    const name = named(names, options.name, prefix, `-cogroup-agg-${index++}`)
    const aggregation = aggregating(initialise, add, undefined, merge)
    processors.push(
      builder.graph.add(
        parents.get(group) as LogicalNode,
        new LogicalNode(name, {
          ...traits,
          write: (to, at) => {
            to.add(node(name, at.from, aggregation, sendsOld()))
            to.addStore(store, name)
          },
        }),
      ),
    )
  }
  const mergeName = named(names, options.name, 'COGROUPKSTREAM-MERGE-', '-cogroup-merge')
  const merged = builder.graph.add(
    processors,
    new LogicalNode(mergeName, {
      write: (to, at) => to.add({ kind: 'pass', name: mergeName, from: at.from }),
    }),
  )
  const sources = coPartition(
    builder,
    mergeName,
    ...[...insides.groups.keys()].map((group) => {
      const repartitioned = insides.repartitions.get(group)
      return repartitioned === undefined ? group.sources : new Set([repartitioned.name])
    }),
  )
  return new KTable({
    builder,
    name: mergeName,
    node: merged,
    keySerde,
    valueSerde: store.valueSerde,
    sources,
    storeName: options.as ?? null,
    view,
    sendsOld: false,
  })
}

function parentsOf(
  insides: CogroupCore,
  storeName: string,
  options: { readonly name?: string; readonly as?: string },
): ReadonlyMap<GroupedCore, LogicalNode> {
  const parents = new Map<GroupedCore, LogicalNode>()
  for (const group of insides.groups.keys()) {
    if (!group.moved) {
      parents.set(group, group.node)
      continue
    }
    const { builder } = group
    const made = repartition(builder, group.keySerde, group.valueSerde, {
      prefix: group.repartitionName ?? storeName,
      given: group.repartitionName !== null || options.as !== undefined,
      operator: options.name ?? 'aggregate',
    })
    let node = insides.repartitions.get(group)
    if (node === undefined) {
      node = builder.graph.add(group.node, repartitionNode(made))
      insides.repartitions.set(group, node)
    }
    parents.set(group, node)
  }
  return parents
}
