/** What the types know of a stream or table beside its keys and values, and how they say what is missing. */
import type { Duration } from '../base/duration.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { RecordInfo } from '../topology/node.ts'
import type { Partitions } from '../topology/topology.ts'

/**
 * `key`, `value`: the serde isn't known, because a function made the key or value. `moved`: the key has changed, so
 * records must go to another partition before they are grouped or joined.
 */
export type Gap = 'key' | 'value' | 'moved'

/** A serde whose type the graph doesn't know; null: none was given. */
export type AnySerde = Serde<unknown> | null

declare const serdeMissing: unique symbol

/** Nothing has this type. It stands where a serde can't be inferred, and its text is what the compiler says. */
export type SerdeMissing<Message extends string> = { readonly [serdeMissing]: Message }

type Options<Missing> = [Missing] extends ['key']
  ? '{ keySerde }'
  : [Missing] extends ['value']
    ? '{ valueSerde }'
    : '{ keySerde, valueSerde }'

/** Passes (as `unknown`) where nothing is missing. */
export type Needs<Operator extends string, Missing> = [Missing] extends [never]
  ? unknown
  : SerdeMissing<`${Operator} needs a serde that can't be inferred: give it ${Options<Missing>}`>

/** As `Needs`, for operators whose input was grouped: the serdes are given there. */
export type GroupedNeeds<Operator extends string, Missing> = [Missing] extends [never]
  ? unknown
  : SerdeMissing<`${Operator} needs a serde that can't be inferred: give groupByKey or groupBy ${Options<Missing>}`>

/** As `Needs`, for the other stream or table of a join. */
export type OtherNeeds<Operator extends string, Missing> = [Missing] extends [never]
  ? unknown
  : SerdeMissing<`${Operator} needs a serde of the other side that can't be inferred: give it ${Options<Missing>} there`>

export type Key = 'key'
export type Value = 'value'

/** Missing for an operator that has a store of keys, and a repartition topic if the key has changed. */
export type MissingForKeys<G extends Gap> = 'moved' extends G
  ? Exclude<G, 'moved'>
  : Exclude<G, 'moved' | 'value'>

/** The options that give what is missing. */
export type Given<K, V, Missing> = (Key extends Missing ? { readonly keySerde: Serde<K> } : unknown) &
  (Value extends Missing ? { readonly valueSerde: Serde<V> } : unknown)

/** Maps; the result is awaited before the next record. */
export type Mapper<K, V, R> = (value: V, key: K) => MaybePromise<R>
export type Predicate<K, V> = (value: V, key: K) => MaybePromise<boolean>
export type Action<K, V> = (value: V, key: K) => MaybePromise<void>
/** Synchronous. */
export type KeySelector<K, V, KO> = (value: V, key: K) => KO
/** Synchronous. `right` is null where a left or outer join found nothing. */
export type Joiner<K, L, R, O> = (left: L, right: R, key: K) => O
/** Synchronous; null ends the aggregate. It may change the aggregate it gets, and return it. */
export type Aggregator<K, V, A> = (aggregate: A, value: V, key: K) => A | null
export type Reducer<V> = (aggregate: V, value: V) => V | null
/** Joins the aggregates of two sessions that have become one. */
export type Merger<K, A> = (older: A, newer: A, key: K) => A | null
export type TopicExtractor<K, V> = (value: V, key: K, record: RecordInfo) => string
/** The partitions that get a record: one, several, none (`[]`: dropped), or `null` for the default. */
export type Partitioner<K, V> = (key: K, value: V, partitions: number, topic: string) => Partitions

export type NameOption = {
  /** The operator's name, in place of a generated one. */
  readonly name?: string
}

export type Logging = boolean | Readonly<Record<string, string>>

/** How a table's state is kept. `as` names the store, so that later changes of the topology can't rename it. */
export type StoreOptions<K, V> = {
  readonly as?: string
  readonly keySerde?: Serde<K>
  readonly valueSerde?: Serde<V>
  /** 'persistent' (default) is on disk, 'memory' lives in memory; both are restored from the changelog. */
  readonly engine?: 'persistent' | 'memory'
  /** false: no changelog, the state is lost with its task. An object: settings of the changelog topic. */
  readonly logging?: Logging
  /** false: each update goes on at once, also where the application has a cache. */
  readonly caching?: boolean
  /** The name that the store had in the version deployed before: it keeps that one's changelog, and so its state. */
  readonly movedFrom?: string
}

export type TableOptions<K, V> = NameOption &
  StoreOptions<K, V> & {
    /** The store keeps versions for so long: reads can ask for a time. Needs `as`. */
    readonly historyRetention?: Duration
    readonly segmentInterval?: Duration
  }

export type WindowedOptions<K, V> = NameOption &
  StoreOptions<K, V> & {
    /** How long windows are kept; at least (and by default) size and grace. */
    readonly retention?: Duration
  }

export type ProcessOptions = NameOption & {
  /** Names of the stores it works with. */
  readonly stores?: readonly string[]
}
