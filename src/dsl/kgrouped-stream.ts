/** A stream grouped by key: what can be counted, reduced and aggregated, over all time or in windows. */
import type { Serde } from '../serde/serde.ts'
import { sessionWindowed, timeWindowed } from '../serde/windowed.ts'
import { invalid, type NewNode } from '../topology/graph-builder.ts'
import type { Aggregation, Emission } from '../topology/node.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type {
  FixedWindowsSpec,
  SessionWindowsSpec,
  SlidingWindowsSpec,
  WindowsSpec,
} from '../topology/windows.ts'
import { CogroupedKStream } from './cogrouped-kstream.ts'
import {
  aggregating,
  any,
  type BuilderCore,
  callable,
  core,
  counting,
  countSerde,
  keepsVersions,
  keySerdeFor,
  reducing,
  repartition,
  saysHow,
  storeNameFor,
  type TableView,
  tableStore,
  valueSerdeFor,
} from './core.ts'
import { LogicalNode, named, repartitionNode } from './graph.ts'
import { KTable } from './ktable.ts'
import type {
  Aggregator,
  AnySerde,
  Gap,
  GroupedNeeds,
  MissingForKeys,
  Reducer,
  SerdeMissing,
  TableOptions,
} from './types.ts'
import { windowStore } from './window-store.ts'
import { SessionWindowedKStream, TimeWindowedKStream } from './windowed-kstream.ts'
import { windowSizeMs } from './windows.ts'

export type GroupedCore = {
  readonly builder: BuilderCore
  readonly name: string
  readonly node: LogicalNode
  readonly keySerde: AnySerde
  readonly valueSerde: AnySerde
  readonly sources: ReadonlySet<string>
  readonly moved: boolean
  readonly repartitionName: string | null
  /** A named repartition topic serves all aggregations of the group. */
  repartition: LogicalNode | null
}

export class KGroupedStream<K, V, G extends Gap = never> {
  readonly [core]: GroupedCore

  constructor(insides: GroupedCore) {
    this[core] = insides
  }

  /** How many records each key has. */
  count(
    this: KGroupedStream<K, V, G> & GroupedNeeds<'count', MissingForKeys<G>>,
    options?: TableOptions<K, number>,
  ): KTable<K, number>
  count(options: TableOptions<unknown, unknown> = {}): unknown {
    if (saysHow(options) && options.as === undefined)
      this[core].builder.graph.names.nextStore('KSTREAM-AGGREGATE-')
    return aggregateTable(this[core], {
      prefix: 'KSTREAM-AGGREGATE-',
      operator: 'count',
      aggregation: counting,
      valueSerde: countSerde,
      options,
    })
  }

  /** Puts the values of each key together, two by two; the first is taken as it is. */
  reduce(
    this: KGroupedStream<K, V, G> & GroupedNeeds<'reduce', MissingForKeys<G>>,
    reducer: Reducer<V>,
    options: TableOptions<K, V> & { readonly valueSerde: Serde<V> },
  ): KTable<K, V>
  reduce(
    this: KGroupedStream<K, V, G> & GroupedNeeds<'reduce', Exclude<G, 'moved'>>,
    reducer: Reducer<V>,
    options?: TableOptions<K, V>,
  ): KTable<K, V>
  reduce(reducer: Reducer<V>, options: TableOptions<unknown, unknown> = {}): unknown {
    callable(reducer, options.name ?? 'reduce', 'the reducer')
    return aggregateTable(this[core], {
      prefix: 'KSTREAM-REDUCE-',
      operator: 'reduce',
      aggregation: reducing(reducer),
      valueSerde: this[core].valueSerde,
      options,
    })
  }

  /** Takes each value into an aggregate of its key, which begins with what `initialise` gives. */
  aggregate<A>(
    this: KGroupedStream<K, V, G> & GroupedNeeds<'aggregate', MissingForKeys<G>>,
    initialise: () => A | null,
    add: Aggregator<K, V, A>,
    options: TableOptions<K, A> & { readonly valueSerde: Serde<A> },
  ): KTable<K, A>
  aggregate<A>(
    this: SerdeMissing<'aggregate needs the serde of its result: give it { valueSerde }'>,
    initialise: () => A | null,
    add: Aggregator<K, V, A>,
    options?: TableOptions<K, A>,
  ): KTable<K, A>
  aggregate(
    this: unknown,
    initialise: () => unknown,
    add: Aggregator<K, V, unknown>,
    options: TableOptions<unknown, unknown> = {},
  ): unknown {
    callable(initialise, options.name ?? 'aggregate', 'the initialiser')
    callable(add, options.name ?? 'aggregate', 'the aggregator')
    return aggregateTable((this as KGroupedStream<K, V, G>)[core], {
      prefix: 'KSTREAM-AGGREGATE-',
      operator: 'aggregate',
      aggregation: aggregating(initialise, add),
      valueSerde: null,
      options,
    })
  }

  /** In windows: `tumbling`, `hopping`, `sliding`, `session`, `unlimited`, or of your own. */
  windowedBy(windows: SessionWindowsSpec): SessionWindowedKStream<K, V, G>
  windowedBy(windows: FixedWindowsSpec | SlidingWindowsSpec): TimeWindowedKStream<K, V, G>
  windowedBy(windows: WindowsSpec): unknown {
    return windows.kind === 'session'
      ? new SessionWindowedKStream(this[core], windows, 'on-update')
      : new TimeWindowedKStream(this[core], windows, 'on-update')
  }

  /** Together with other groups into one aggregate. */
  cogroup<A>(add: Aggregator<K, V, A>): CogroupedKStream<K, A, MissingForKeys<G>> {
    return CogroupedKStream.of(this, add)
  }
}

type Aggregated = {
  readonly prefix: string
  readonly operator: string
  readonly aggregation: Aggregation
  /** Of the result, where the options don't say. */
  readonly valueSerde: AnySerde
  readonly options: TableOptions<unknown, unknown> & { readonly retention?: never }
}

function aggregateTable(
  group: GroupedCore,
  { prefix, operator, aggregation, valueSerde, options }: Aggregated,
): unknown {
  const { builder } = group
  const storeName = storeNameFor(builder, options.as, prefix, options.name ?? operator)
  const name = named(builder.graph.names, options.name, prefix)
  const keys = keySerdeFor(builder, name, any(options.keySerde), group.keySerde)
  const values = valueSerdeFor(builder, name, any(options.valueSerde), valueSerde)
  const store = tableStore(builder, storeName, options, keys, values)
  return aggregated(group, {
    name,
    store,
    storeGiven: options.as !== undefined,
    keySerde: keys,
    versioned: keepsVersions(options, name),
    node: (from, sendsOld) => ({ kind: 'aggregate', name, from, aggregation, sendOld: sendsOld }),
  })
}

export type WindowAggregated = {
  readonly prefix: string
  readonly operator: string
  readonly aggregation: Aggregation
  readonly valueSerde: AnySerde
  readonly windows: WindowsSpec
  readonly emission: Emission
  readonly options: Parameters<typeof windowStore>[2] & { readonly name?: string }
}

/** A table whose keys are Windowed. */
export function aggregateWindows(group: GroupedCore, what: WindowAggregated): unknown {
  const { prefix, operator, aggregation, windows, emission, options } = what
  const { builder } = group
  const storeName = storeNameFor(builder, options.as, prefix, options.name ?? operator)
  const name = named(builder.graph.names, options.name, prefix)
  const keys = keySerdeFor(builder, name, any(options.keySerde), group.keySerde)
  const values = valueSerdeFor(builder, name, any(options.valueSerde), what.valueSerde)
  const store = windowStore(builder, storeName, options, keys, values, windows, emission)
  return aggregated(group, {
    name,
    store,
    storeGiven: options.as !== undefined,
    keySerde: windowedSerde(keys, windows),
    versioned: false,
    graceMs: closesAfterMs(windows),
    node: (from, sendsOld) => windowNode(name, from, windows, aggregation, emission, sendsOld),
  })
}

export function windowedSerde(inner: Serde<unknown>, windows: WindowsSpec): Serde<unknown> {
  const serde =
    windows.kind === 'session' ? sessionWindowed(inner) : timeWindowed(inner, windowSizeMs(windows))
  return serde as Serde<unknown>
}

/** A window's results are final so long after its end. */
export function closesAfterMs(windows: WindowsSpec): number {
  switch (windows.kind) {
    case 'session':
      return windows.gapMs + windows.graceMs
    case 'unlimited':
      return 0
    default:
      return windows.graceMs
  }
}

export function windowNode(
  name: string,
  from: readonly string[],
  windows: WindowsSpec,
  aggregation: Aggregation,
  emission: Emission,
  sendsOld: boolean,
): NewNode {
  const common = { name, from, aggregation, emission, sendOld: sendsOld }
  switch (windows.kind) {
    case 'session':
      return { kind: 'session-aggregate', windows, ...common }
    case 'sliding':
      return { kind: 'sliding-aggregate', windows, ...common }
    default:
      return { kind: 'window-aggregate', windows, ...common }
  }
}

type AggregatedNode = {
  readonly name: string
  readonly store: StoreSpec
  readonly storeGiven: boolean
  readonly keySerde: Serde<unknown>
  readonly versioned: boolean
  readonly graceMs?: number
  readonly node: (from: readonly string[], sendsOld: boolean) => NewNode
}

function aggregated(group: GroupedCore, made: AggregatedNode): unknown {
  const { builder } = group
  const { name, store, storeGiven, keySerde, versioned, graceMs, node } = made
  let parent = group.node
  let { sources } = group
  if (group.moved) {
    const topic = repartition(builder, group.keySerde, group.valueSerde, {
      prefix: group.repartitionName ?? store.name,
      given: group.repartitionName !== null || storeGiven,
      operator: name,
    })
    if (group.repartition === null || group.repartitionName === null)
      group.repartition = repartitionNode(topic)
    parent = builder.graph.add(parent, group.repartition)
    sources = new Set([parent.name])
  }
  const { view, sendsOld } = aggregateView(store.name)
  const added = builder.graph.add(
    parent,
    new LogicalNode(name, {
      versioned,
      ...(graceMs === undefined ? {} : { graceMs }),
      write: (to, at) => {
        to.add(node(at.from, sendsOld()))
        to.addStore(store, name)
      },
    }),
  )
  return new KTable({
    builder,
    name,
    node: added,
    keySerde,
    valueSerde: store.valueSerde,
    sources,
    storeName: storeGiven ? store.name : null,
    view,
    sendsOld: false,
  })
}

/** Aggregates always have a store. */
export function aggregateView(store: string): { readonly view: TableView; sendsOld(): boolean } {
  let sends = false
  return {
    view: {
      stores: () => [store],
      sendOld: () => {
        sends = true
        return true
      },
    },
    sendsOld: () => sends,
  }
}

export function checkEmission(windows: WindowsSpec, emission: Emission): Emission {
  if (emission !== 'on-update' && emission !== 'on-close') {
    throw invalid(`emitStrategy: ${JSON.stringify(emission)} is none; there are 'on-update' and 'on-close'`)
  }
  if (emission === 'on-close' && (windows.kind === 'unlimited' || windows.kind === 'custom')) {
    throw invalid(
      `emitStrategy: ${windows.kind} windows can't be sent on close; use tumbling, hopping, sliding or session`,
    )
  }
  return emission
}
