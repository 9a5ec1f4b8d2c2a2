/**
 * One contract for every store: what operators, processors and queries see of state, and what the task does with it at
 * a commit. Engines (memory, RocksDB, classic-level) are behind it.
 *
 * Layers, from the top: live entries (objects, the current generation, changed in place), the generation in flight,
 * what is committed but not yet persisted (both as ranges of the changelog batches they were encoded into), the engine.
 * Nothing uncommitted ever reaches the engine.
 *
 * Answers are given at once where they are in memory, and as a promise only where the engine must be asked.
 */
import type { ByteWriter } from '../base/bytes.ts'
import type { DropReason } from '../base/drop.ts'
import type { Headers } from '../base/headers.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type { BatchBuilder } from '../wire/batch-builder.ts'

/**
 * One key (and window) of a store, live. `value === null`: absent. Only its store writes to it. Whoever keeps a value
 * past the call it got it in keeps bytes or a copy: an aggregator may change its accumulator in place.
 */
export type Entry<K = unknown, V = unknown> = {
  readonly key: K
  /** Window or session start; 0 in a key-value store. */
  readonly start: number
  /** Window (exclusive) or session (inclusive) end; 0 in a key-value store. */
  readonly end: number
  readonly value: V | null
  /** The value's timestamp; -1 while absent. */
  readonly timestamp: number
}

/** One entry changed since the last flush of a cached store: what goes downstream, once. */
export type Flushed<K, V> = {
  readonly entry: Entry<K, V>
  /** Its value at the flush before, `null` if none; kept only when `keepOld` was asked for. */
  readonly old: V | null
  /** As the last `set` gave it, also of a tombstone. */
  readonly timestamp: number
  /** Of the record that changed it last. */
  readonly headers: Headers
  readonly origin: Origin
}

/** Where the record came from that a held back change is due to. */
export type Origin = { readonly topic: string | null; readonly partition: number; readonly offset: number }

export type FlushListener<K = unknown, V = unknown> = (flushed: Flushed<K, V>) => MaybePromise<void>

export type Order = 'forward' | 'backward'

type StoreBase<K, V> = {
  readonly name: string
  /** Of its changelog: what its serdes are told. */
  readonly topic: string
  readonly spec: StoreSpec
  /** Changes go downstream at flush instead of at each update. False where the application's cache is off. */
  readonly cached: boolean
  /**
   * Who is told of changed entries at flush, in the order in which they last changed. An entry that was absent at the
   * flush before and is absent again is not told of.
   */
  onFlush(listener: FlushListener<K, V>, options: { readonly keepOld: boolean }): void
}

/** `null` bounds are open; both ends inclusive. Order is that of the serialised keys' bytes. */
export type KeyValueStore<K = unknown, V = unknown> = StoreBase<K, V> & {
  readonly kind: 'key-value'
  /** The handle that an operator works with: one look-up for a read and a write. */
  entry(key: K): MaybePromise<Entry<K, V>>
  /** `value === null` deletes. */
  set(entry: Entry<K, V>, value: V | null, timestamp: number, headers: Headers): void
  get(key: K): MaybePromise<V | null>
  put(key: K, value: V | null, timestamp: number, headers?: Headers): MaybePromise<void>
  range(from: K | null, to: K | null, order?: Order): AsyncIterable<Entry<K, V>>
  prefix(prefix: Uint8Array): AsyncIterable<Entry<K, V>>
  /** As `range`, all at once: for operators that need it within a record. */
  list(from: K | null, to: K | null, order?: Order): MaybePromise<readonly Entry<K, V>[]>
  approximateCount(): number
  /** Notes a key that will be asked for soon; `TaskState.load` then reads all of them with one request. */
  want(key: K): void
  /** `entry` and `want` also take a key that nobody has read yet, as an `Unread`. */
  readonly takesUnread?: boolean
}

/**
 * Windows by key and start. Observed time is the largest start put; what starts before observed - retention + 1 is
 * hidden from reads, also from `entry`, which then gives an absent one (7 in the conformance format).
 */
export type WindowStore<K = unknown, V = unknown> = StoreBase<K, V> & {
  readonly kind: 'window'
  readonly observedTime: number
  entry(key: K, start: number): MaybePromise<Entry<K, V>>
  /** As `entry`, for whoever is done with it before anybody asks for another: it may be one object for all of them. */
  lend?(key: K, start: number): MaybePromise<Entry<K, V>>
  /** The key of an entry, which may have been asked for with one that nobody had read. */
  readKey?(entry: Entry<K, V>): K
  /** False: out of retention, nothing was written; the caller drops the record with 'out-of-retention'. */
  set(entry: Entry<K, V>, value: V | null, timestamp: number, headers: Headers): boolean
  /** Stores with duplicates: one more value of this key and start. False: out of retention. */
  append(key: K, start: number, value: V, headers: Headers): MaybePromise<boolean>
  /** Start in [from, to], in order of start, duplicates in order of insertion. */
  fetch(key: K, from: number, to: number, order?: Order): MaybePromise<readonly Entry<K, V>[]>
  /** All keys, by start, then bytes of the key. */
  fetchAll(from: number, to: number, order?: Order): MaybePromise<readonly Entry<K, V>[]>
  fetchRange(
    fromKey: K | null,
    toKey: K | null,
    from: number,
    to: number,
    order?: Order,
  ): AsyncIterable<Entry<K, V>>
  /** As in a key-value store, for `entry(key, start)`. */
  want(key: K, start: number): void
  /** `entry`, `lend` and `want` also take a key that nobody has read yet, as an `Unread`; then there is `readKey`. */
  readonly takesUnread?: boolean
  /**
   * Where a record falls into many windows: those of a key from one start to another, as far apart as the store's
   * windows are. It is the store's own: done with when the next is asked for.
   */
  run?(key: K, from: number, to: number): MaybePromise<WindowRun<K, V>>
}

/** Windows of one key, side by side, without an entry each: it is that of the window that it was moved to. */
export type WindowRun<K = unknown, V = unknown> = Entry<K, V> & {
  /** Moves to the window that starts there. */
  seek(start: number): Entry<K, V>
}

export type SessionStore<K = unknown, V = unknown> = StoreBase<K, V> & {
  readonly kind: 'session'
  readonly observedTime: number
  /** Sessions of the key with end >= earliestEnd and start <= latestStart, by end, then start. */
  find(key: K, earliestEnd: number, latestStart: number, order?: Order): MaybePromise<readonly Entry<K, V>[]>
  /** Sessions of any key with end in [fromEnd, toEnd], by end, start, bytes of the key: not limited by retention. */
  findEnding(fromEnd: number, toEnd: number): MaybePromise<readonly Entry<K, V>[]>
  entry(key: K, start: number, end: number): MaybePromise<Entry<K, V>>
  /** `value === null` removes. False: out of retention. */
  set(entry: Entry<K, V>, value: V | null, headers: Headers): boolean
  fetchRange(fromKey: K | null, toKey: K | null, order?: Order): AsyncIterable<Entry<K, V>>
}

export type Version<V> = { readonly value: V; readonly timestamp: number; readonly validTo: number | null }

export type VersionedStore<K = unknown, V = unknown> = StoreBase<K, V> & {
  readonly kind: 'versioned'
  /**
   * `latest`: it is the newest version. `validTo`: when an out-of-order version ends. `false`: older than the history,
   * nothing was written; the caller drops it with 'out-of-retention'.
   */
  put(
    key: K,
    value: V | null,
    timestamp: number,
    headers: Headers,
  ): MaybePromise<{ readonly latest: boolean; readonly validTo: number | null } | false>
  get(key: K): MaybePromise<Version<V> | null>
  /** As of a time; null also where that is before the history. */
  getAsOf(key: K, timestamp: number): MaybePromise<Version<V> | null>
  /** Versions valid within [from, to], newest first unless `forward`. */
  history(key: K, from: number, to: number, order?: Order): MaybePromise<readonly Version<V>[]>
}

/** A record held back, with the context in which it came. Values are kept as bytes. */
export type Held<K, V> = {
  readonly key: K
  readonly value: V | null
  /** That of the last change held, as Kafka Streams has it; `oldOf` knows what downstream saw last. */
  readonly old: V | null
  /** What it is ordered by. */
  readonly time: number
  readonly timestamp: number
  readonly headers: Headers
  readonly origin: Origin
}

/** suppress: one entry per key, in order of (time, bytes of the key). */
export type SuppressBuffer<K = unknown, V = unknown> = StoreBase<K, V> & {
  readonly kind: 'suppress-buffer'
  readonly size: number
  readonly bytes: number
  readonly minTime: number
  /** A later value of a held key replaces value and headers, keeps time and the first old value. */
  hold(
    key: K,
    value: V | null,
    old: V | null,
    time: number,
    timestamp: number,
    headers: Headers,
    origin: Origin,
  ): MaybePromise<void>
  /** The first, which stays held (and visible to `oldOf`) until `shift`. */
  first(): MaybePromise<Held<K, V>>
  /** Takes out the first. */
  shift(): MaybePromise<Held<K, V>>
  /** The old value that downstream last saw of a held key; undefined where it isn't held. */
  oldOf(key: K): MaybePromise<V | null | undefined>
}

/** Stream records that wait for a versioned table: in order of (time, bytes of the key, arrival). */
export type JoinBuffer<K = unknown, V = unknown> = StoreBase<K, V> & {
  readonly kind: 'join-buffer'
  readonly minTime: number
  /** The largest time held so far; -1 before any. */
  readonly observedTime: number
  readonly size: number
  /** False: older than the observed time (before this record) - grace, too old to wait. */
  hold(key: K, value: V, time: number, headers: Headers, origin: Origin): MaybePromise<boolean>
  shift(): MaybePromise<Held<K, V>>
}

export type Unmatched = {
  readonly side: 'left' | 'right'
  readonly key: unknown
  readonly value: unknown
  readonly time: number
}

/** Both sides' unmatched records, in order of (time, right before left, bytes of the key, arrival). */
export type OuterJoinStore = StoreBase<unknown, unknown> & {
  readonly kind: 'outer-join'
  readonly size: number
  put(side: 'left' | 'right', key: unknown, time: number, value: unknown): MaybePromise<void>
  /** Everything unmatched of this side, key and time. */
  remove(side: 'left' | 'right', key: unknown, time: number): MaybePromise<void>
  /** From the oldest on, until `visit` says stop; those for which it says remove go. */
  visit(visit: (unmatched: Unmatched) => MaybePromise<'remove' | 'keep' | 'stop'>): MaybePromise<void>
}

export type Subscription = {
  readonly foreignKey: unknown
  readonly primaryKey: unknown
  /** What the left side sent: hash, instruction, version, partition of the primary key. */
  readonly wrapper: {
    readonly hash: Buffer | null
    readonly instruction: number
    readonly version: number
    readonly primaryPartition: number | null
  }
  readonly timestamp: number
}

export type SubscriptionStore = StoreBase<unknown, unknown> & {
  readonly kind: 'subscription'
  get(foreignKey: unknown, primaryKey: unknown): MaybePromise<Subscription | null>
  put(subscription: Subscription): MaybePromise<void>
  remove(foreignKey: unknown, primaryKey: unknown): MaybePromise<void>
  /** In order of the primary keys' bytes. */
  of(foreignKey: unknown): MaybePromise<readonly Subscription[]>
}

export type Store =
  | KeyValueStore
  | WindowStore
  | SessionStore
  | VersionedStore
  | SuppressBuffer
  | JoinBuffer
  | OuterJoinStore
  | SubscriptionStore

// ---------------------------------------------------------------------------------------------------- the task's side

/** What stores need of their task. */
export type StoreContext = {
  /** `<app>-<store>-changelog`, or the source topic that serves as one. */
  changelogTopic(store: string): string
  /** The topic's id where it is known: it is kept beside the offset, so that a topic made anew is noticed. */
  changelogTopicId?(store: string): string | null
  /** Where the record in hand came from: cached stores keep it with their changes. One object, changed in place. */
  readonly record?: Origin
  drop(reason: DropReason, store: string): void
}

/** Where a commit's changelog records go: the open batch of the store's changelog partition. */
export type ChangelogWriter = {
  /**
   * The batch that the next record of this store, of about `bytes`, may be appended to. Asked once per store and cut,
   * again where `append` said that the batch is full, and for every record over a kilobyte: it throws where one is over
   * the limit. After `append` its `keyStart … valueEnd` are the record's
   * ranges in `builder.buffer`: the state reads them until they are persisted, so a builder that was given out here is
   * never `reset`, it is left to the collector.
   */
  builder(store: string, bytes: number): BatchBuilder
}

/**
 * Where a store's changelog stands: the next offset to read; null: nothing is there. The topic's id and the wall clock
 * are those of the last persist: where the id is not the topic's, or the age is past the topic's
 * `delete.retention.ms`, the state is of another topic or time; `wipe` it.
 */
export type StorePosition = {
  readonly store: string
  readonly offset: number | null
  readonly topicId: string | null
  readonly persistedAt: number | null
  /** As `setInputs` gave them before the last persist. */
  readonly inputs?: readonly number[]
}

/** All state of one task: its stores, one engine, their generations. Stores never commit by themselves. */
export type TaskState = {
  store(name: string): Store
  readonly stores: readonly Store[]
  /** Sends what cached stores hold back to their listeners, parents before children, until nothing is left. */
  flush(): MaybePromise<void>
  /**
   * Between records: flushes stores whose unsent changes have outgrown the cache's budget, as Kafka Streams does where
   * an eviction meets a dirty entry. Costs a comparison where nothing is to be done.
   */
  relieve(): MaybePromise<void>
  /** Some store would have to ask its engine for a key that isn't in memory: looking ahead pays. */
  readonly mayMiss: boolean
  /** Reads what stores were told to `want`: one request to the engine per store. Not awaited, it still helps. */
  load(): MaybePromise<void>
  /** What was wanted since the last `hold` stays in memory until the result is called, once its records are through. */
  hold(): () => void
  /** Bytes that a crash would lose: when over the bound, commit now. */
  readonly uncommittedBytes: number
  /** Bytes committed but not yet in the engine. */
  readonly pendingBytes: number
  readonly cachedBytes: number
  /** What the engine says of itself, by its own names; empty where it says nothing. */
  figures(): Readonly<Record<string, number>>
  /**
   * Stores to read from, as they were at the last commit: for queries. Good until the next `settle`; ask again then.
   * Stores that live in memory only have no bytes of the past: they answer as they are.
   */
  committed(): MaybePromise<CommittedState>
  /**
   * Encodes each change of the current generation once, and moves the generation in flight. At most one is. A promise
   * only where a serde must wait; nothing may be processed until then.
   */
  cut(changelog: ChangelogWriter): MaybePromise<void>
  /** The transaction of the generation in flight is committed; `offsets`: where each changelog goes on. */
  settle(offsets: ReadonlyMap<string, number>): void
  /** Of a global store, after `settle`: where the partitions of its topic go on. Persisted with what is settled. */
  setInputs(store: string, positions: readonly number[]): void
  /** Writes what is settled to the engine: one atomic batch with its positions. Overlapping calls are one. */
  persist(): Promise<void>
  positions(): readonly StorePosition[]
  /** Where the store's changelog goes on after its last commit or restore; null: nothing was. */
  settledOffset(store: string): number | null
  /** Applies changelog records straight to the engine, below everything live. Not while processing. */
  restore(store: string, records: Iterable<ChangelogRecord>, nextOffset: number): MaybePromise<void>
  /**
   * Nobody else has written the changelogs: what is settled is all of them, as of now. Persisted next, it makes state
   * that was not changed for long as young as it is good.
   */
  confirm(): void
  /** Makes room in the cache, by letting clean entries go. */
  trim(bytesMax: number): void
  /** Dirty: nothing but what is persisted survives. Clean: settled state is persisted first. */
  close(how: 'clean' | 'dirty'): Promise<void>
  /** Deletes all local state of the task, or of one store; the rest goes on. Not while processing. */
  wipe(store?: string): Promise<void>
}

export type CommittedState = {
  store(name: string): Store
}

/** It and its bytes are good until it was applied: who keeps any copies them. */
export type ChangelogRecord = {
  readonly isTombstone: boolean
  /** Made when it is asked for. */
  readonly key: Buffer
  /** Made when it is asked for; null: a tombstone. */
  readonly value: Buffer | null
  readonly timestamp: number
  readonly headers: Headers
  /** What most stores do with them, without a buffer of each. */
  writeKey(to: ByteWriter): void
  writeValue(to: ByteWriter): void
}
