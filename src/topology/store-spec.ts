/** What a store is, as data: the DSL writes it, the task opens it. */
import type { Serde } from '../serde/serde.ts'
import type { KeyValueStore } from './processor.ts'

export type StoreSpecBase = {
  readonly name: string
  /** `persistent` is the state folder's engine (RocksDB), `memory` lives in memory and in its changelog only. */
  readonly engine: 'persistent' | 'memory'
  readonly keySerde: Serde<unknown>
  readonly valueSerde: Serde<unknown>
  /** null: not logged, and lost with its task. */
  readonly changelog: {
    /** A source topic that serves as changelog (optimisation, read-only stores): never written. null: `<app>-<store>-changelog`. */
    readonly sourceTopic: string | null
    readonly configs: Readonly<Record<string, string>>
  } | null
  /** Results go on once per commit where the application's cache is on; else at each update. */
  readonly cached: boolean
  /** Values keep the headers that they were put with. */
  readonly keepsHeaders?: boolean
  /** The name that the store had in the topology that ran before: it keeps that one's changelog, and so its state. */
  readonly movedFrom?: string
}

export type KeyValueStoreSpec = StoreSpecBase & {
  readonly kind: 'key-value'
  /** Values carry a timestamp: a table's store. Plain ones are stores of processors. */
  readonly timestamped: boolean
  /** Most entries, evicting the least recently used for good (Kafka Streams' lruMap). */
  readonly entriesMax?: number
  /** Of the user's own making: what processors see of the entries. Once per task, when the first of them asks. */
  readonly open?: (entries: KeyValueStore<unknown, unknown>) => unknown
}

export type WindowStoreSpec = StoreSpecBase & {
  readonly kind: 'window'
  readonly timestamped: boolean
  readonly windowSizeMs: number
  readonly retentionMs: number
  readonly segmentIntervalMs: number
  /** Several values per key and start, as the stores of stream-stream joins keep. */
  readonly retainDuplicates: boolean
  /** Read also by the start of all keys: emit on close scans by time. */
  readonly emitOnClose: boolean
  /** Windows mostly start at multiples of it. */
  readonly advanceMs?: number
}

export type SessionStoreSpec = StoreSpecBase & {
  readonly kind: 'session'
  readonly retentionMs: number
  readonly segmentIntervalMs: number
  readonly emitOnClose: boolean
}

export type VersionedStoreSpec = StoreSpecBase & {
  readonly kind: 'versioned'
  readonly historyRetentionMs: number
  readonly segmentIntervalMs: number
}

/** Changes of a table held back by time (suppress). */
export type SuppressBufferSpec = StoreSpecBase & { readonly kind: 'suppress-buffer' }

/** Stream records that wait for a versioned table (stream-table join with grace). */
export type JoinBufferSpec = StoreSpecBase & {
  readonly kind: 'join-buffer'
  readonly graceMs: number
  readonly retentionMs: number
}

/** Unmatched records of a left or outer stream-stream join, both sides in one, in order of time. */
export type OuterJoinStoreSpec = StoreSpecBase & {
  readonly kind: 'outer-join'
  /** `valueSerde` is the left side's. */
  readonly rightValueSerde: Serde<unknown>
  readonly retentionMs: number
}

/** Foreign-key subscriptions: foreign key and primary key together to what the left side sent. */
export type SubscriptionStoreSpec = StoreSpecBase & {
  readonly kind: 'subscription'
  readonly primaryKeySerde: Serde<unknown>
}

export type StoreSpec =
  | KeyValueStoreSpec
  | WindowStoreSpec
  | SessionStoreSpec
  | VersionedStoreSpec
  | SuppressBufferSpec
  | JoinBufferSpec
  | OuterJoinStoreSpec
  | SubscriptionStoreSpec
