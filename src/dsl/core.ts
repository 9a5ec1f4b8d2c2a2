/** What streams, tables and groups are made of behind their typed fronts, and how one operator is put after another. */
import { durationMs } from '../base/duration.ts'
import type { StreamsError } from '../base/errors.ts'
import { long } from '../serde/primitives.ts'
import type { Serde } from '../serde/serde.ts'
import { invalid, type NewNode, validName } from '../topology/graph-builder.ts'
import type { Aggregation, StreamPartitioner } from '../topology/node.ts'
import type { StoreSpec, StoreSpecBase } from '../topology/store-spec.ts'
import { changelogFor, stores } from '../topology/stores.ts'
import {
  type LogicalGraph,
  LogicalNode,
  named,
  type Repartition,
  repartitionNames,
  repartitionNode,
  type Traits,
} from './graph.ts'
import type {
  Aggregator,
  AnySerde,
  Merger,
  Partitioner,
  Reducer,
  StoreOptions,
  TableOptions,
} from './types.ts'

export type BuilderCore = {
  readonly graph: LogicalGraph
  /** For keys and values of which no serde is known. */
  readonly keySerde: AnySerde
  readonly valueSerde: AnySerde
  readonly engine: StoreSpecBase['engine']
}

export type StreamCore = {
  readonly builder: BuilderCore
  readonly name: string
  readonly node: LogicalNode
  readonly keySerde: AnySerde
  readonly valueSerde: AnySerde
  /** The source nodes whose partitions its records lie in. */
  readonly sources: ReadonlySet<string>
  /** The key has changed: records may lie in another partition than their key says. */
  readonly moved: boolean
  /** The repartition that joins of this stream share. */
  joinRepartition: LogicalNode | null
}

/** How others look into a table. */
export type TableView = {
  /** Names of the stores that a look into the table needs; from then on the table has one if it could do without. */
  stores(): readonly string[]
  /** Old values are wanted in its changes. False: it would need a store for that, and `force` was not said. */
  sendOld(force: boolean): boolean
}

export type TableCore = {
  readonly builder: BuilderCore
  readonly name: string
  readonly node: LogicalNode
  readonly keySerde: AnySerde
  readonly valueSerde: AnySerde
  readonly sources: ReadonlySet<string>
  /** Under this name its store can be asked for; null: it has none, or one without a name of its own. */
  readonly storeName: string | null
  readonly view: TableView
  sendsOld: boolean
}

/** The way to the insides of a stream, table or group, for the others of this folder. */
export const core: unique symbol = Symbol('core')

export function streamCore(
  from: Pick<StreamCore, 'builder' | 'sources' | 'moved'>,
  node: LogicalNode,
  keySerde: AnySerde,
  valueSerde: AnySerde,
): StreamCore {
  const { builder, sources, moved } = from
  return { builder, name: node.name, node, keySerde, valueSerde, sources, moved, joinRepartition: null }
}

/** One operator after another. */
export function attach(
  builder: BuilderCore,
  parents: LogicalNode | readonly LogicalNode[],
  prefix: string,
  name: string | undefined,
  node: (name: string, from: readonly string[]) => NewNode,
  traits: Omit<Traits, 'write'> = {},
): LogicalNode {
  const chosen = named(builder.graph.names, name, prefix)
  return builder.graph.add(
    parents,
    new LogicalNode(chosen, { ...traits, write: (to, at) => to.add(node(chosen, at.from)) }),
  )
}

export function callable(value: unknown, operator: string, what: string): void {
  if (typeof value !== 'function') throw invalid(`${operator}: ${what} must be a function`, operator)
}

/** The stores that a processor's source brings with it. */
export function storesOf(source: unknown, operator: string): readonly StoreSpec[] {
  const given = typeof source === 'function' ? undefined : (source as { stores?: unknown }).stores
  if (given === undefined) return []
  const isStore = (one: unknown) => typeof (one as StoreSpec | null)?.kind === 'string'
  if (Array.isArray(given) && given.every(isStore)) return given
  throw invalid(
    `${operator}: the stores beside make must be a list of what stores.keyValue(…) and its like return; names of stores that are there already go into the options: { stores: ['name'] }`,
    operator,
  )
}

export function sendOld(table: TableCore, force: boolean): boolean {
  if (!table.sendsOld) {
    if (!table.view.sendOld(force)) return false
    table.sendsOld = true
  }
  return true
}

// ------------------------------------------------------------------------------------------------------- serdes

function missing(operator: string, part: 'key' | 'value'): StreamsError {
  return invalid(
    `${operator}: it must write ${part}s, but their serde is not known, since a function made them; ` +
      `give { ${part}Serde } to it or to the operator before`,
    operator,
  )
}

export function keySerdeFor(
  builder: BuilderCore,
  operator: string,
  ...known: readonly AnySerde[]
): Serde<unknown> {
  const serde = known.find((candidate) => candidate != null) ?? builder.keySerde
  if (serde === null) throw missing(operator, 'key')
  return serde
}

export function valueSerdeFor(
  builder: BuilderCore,
  operator: string,
  ...known: readonly AnySerde[]
): Serde<unknown> {
  const serde = known.find((candidate) => candidate != null) ?? builder.valueSerde
  if (serde === null) throw missing(operator, 'value')
  return serde
}

export function any<T>(serde: Serde<T> | undefined): AnySerde {
  return (serde ?? null) as AnySerde
}

// ------------------------------------------------------------------------------------------------------- stores

const materialisedBy: readonly (keyof TableOptions<unknown, unknown> | 'retention')[] = [
  'as',
  'keySerde',
  'valueSerde',
  'engine',
  'logging',
  'caching',
  'historyRetention',
  'segmentInterval',
  'retention',
]

/** Something about the state was said, be it without a name: it counts one more generated name (as in Java). */
export function saysHow(options: object): boolean {
  return materialisedBy.some((key) => (options as Readonly<Record<string, unknown>>)[key] !== undefined)
}

/** The store's name: its owner's, or the next generated one. */
export function storeNameFor(
  builder: BuilderCore,
  as: string | undefined,
  prefix: string,
  operator: string,
): string {
  if (as !== undefined) return validName(as, 'store')
  const name = builder.graph.names.nextStore(prefix)
  builder.graph.generatedNames.push({ what: 'store', name, remedy: `give { as } to ${operator}` })
  return name
}

export function storeBase(
  builder: BuilderCore,
  name: string,
  options: StoreOptions<unknown, unknown>,
  keySerde: Serde<unknown>,
  valueSerde: Serde<unknown>,
): StoreSpecBase {
  return {
    name,
    engine: options.engine ?? builder.engine,
    keySerde,
    valueSerde,
    changelog: changelogFor(options.logging),
    cached: options.caching ?? true,
    ...(options.movedFrom === undefined ? {} : { movedFrom: validName(options.movedFrom, 'store') }),
  }
}

/** The store of a table: timestamped, or with versions. */
export function tableStore(
  builder: BuilderCore,
  name: string,
  options: TableOptions<unknown, unknown>,
  keySerde: Serde<unknown>,
  valueSerde: Serde<unknown>,
): StoreSpec {
  const base = storeBase(builder, name, options, keySerde, valueSerde)
  const { historyRetention, segmentInterval } = options
  if (historyRetention === undefined) return { kind: 'key-value', timestamped: true, ...base }
  return stores.versioned(name, {
    ...base,
    logging: options.logging ?? true,
    ...(options.movedFrom === undefined ? {} : { movedFrom: options.movedFrom }),
    historyRetention: durationMs(historyRetention, `store ${name}: historyRetention`),
    ...(segmentInterval === undefined ? {} : { segmentInterval }),
  })
}

export function keepsVersions(options: TableOptions<unknown, unknown>, operator: string): boolean {
  if (options.historyRetention === undefined) return false
  if (options.as === undefined) {
    throw invalid(`${operator}: historyRetention needs a store with a name; give { as }`, operator)
  }
  return true
}

// -------------------------------------------------------------------------------------------------- repartitions

export type RepartitionOptions = {
  readonly prefix: string
  /** The prefix is a name that somebody gave. */
  readonly given: boolean
  readonly operator: string
  readonly partitions?: number | null
  readonly partitioner?: StreamPartitioner | null
  readonly explicit?: boolean
}

export function repartition(
  builder: BuilderCore,
  keySerde: AnySerde,
  valueSerde: AnySerde,
  options: RepartitionOptions,
): Repartition {
  const { prefix, given, operator } = options
  const { topic, ...names } = repartitionNames(builder.graph.names, validName(prefix, operator))
  if (!given) {
    const remedy = `give { name } to ${operator}, or to the groupBy before it`
    builder.graph.generatedNames.push({ what: 'repartition topic', name: topic, remedy })
  }
  return {
    ...names,
    topic: { name: topic, kind: 'repartition', partitions: options.partitions ?? null },
    keySerde: keySerdeFor(builder, operator, keySerde),
    valueSerde: valueSerdeFor(builder, operator, valueSerde),
    partitioner: options.partitioner ?? null,
    explicit: options.explicit ?? false,
  }
}

/** The stream as it is behind the repartition topic of a join, which joins of the same stream share. */
export function repartitionForJoin(
  stream: StreamCore,
  name: string | undefined,
  keySerde: AnySerde,
  valueSerde: AnySerde,
  operator: string,
): StreamCore {
  const { builder } = stream
  const prefix = name ?? stream.name
  const made = repartition(builder, keySerde ?? stream.keySerde, valueSerde ?? stream.valueSerde, {
    prefix,
    given: name !== undefined,
    operator,
  })
  let node = stream.joinRepartition
  if (node === null || prefix !== stream.name) {
    node = builder.graph.add(stream.node, repartitionNode(made))
    stream.joinRepartition = node
  }
  return {
    builder,
    name: node.name,
    node,
    keySerde: made.keySerde,
    valueSerde: made.valueSerde,
    sources: new Set([node.name]),
    moved: false,
    joinRepartition: null,
  }
}

export function coPartition(
  builder: BuilderCore,
  operator: string,
  ...groups: readonly ReadonlySet<string>[]
): ReadonlySet<string> {
  const sources = new Set(groups.flatMap((group) => [...group]))
  builder.graph.coPartitions.push({ node: operator, sources: [...sources] })
  return sources
}

// ------------------------------------------------------------------------------------ functions, as a node holds them

export function toPartitioner<K, V>(partitioner: Partitioner<K, V> | undefined): StreamPartitioner | null {
  if (partitioner === undefined) return null
  return (topic, key, value, partitions) => partitioner(key as K, value as V, partitions, topic)
}

/** Counts are 64-bit integers, as in Kafka Streams. */
export const countSerde = long() as Serde<unknown>

export const counting: Aggregation = {
  initialise: () => 0,
  add: (_key, _value, aggregate) => (aggregate as number) + 1,
  subtract: (_key, _value, aggregate) => (aggregate as number) - 1,
  merge: (_key, older, newer) => (older as number) + (newer as number),
  blind: true,
}

export function reducing<V>(reducer: Reducer<V>, subtractor?: Reducer<V>): Aggregation {
  return {
    initialise: null,
    add: (_key, value, aggregate) => reducer(aggregate as V, value as V),
    subtract:
      subtractor === undefined ? null : (_key, value, aggregate) => subtractor(aggregate as V, value as V),
    merge: (_key, older, newer) => reducer(older as V, newer as V),
    blind: false,
  }
}

export function aggregating<K, V, A>(
  initialise: () => A | null,
  add: Aggregator<K, V, A>,
  subtract?: Aggregator<K, V, A>,
  merge?: Merger<K, A>,
): Aggregation {
  return {
    initialise,
    add: (key, value, aggregate) => add(aggregate as A, value as V, key as K),
    subtract:
      subtract === undefined
        ? null
        : (key, value, aggregate) => subtract(aggregate as A, value as V, key as K),
    merge: merge === undefined ? null : (key, older, newer) => merge(older as A, newer as A, key as K),
    blind: false,
  }
}
