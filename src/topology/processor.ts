/**
 * Processors: the user's own operators, and what they see of their task. A processor is made once per task by its
 * function, gets records one after another, and may be asynchronous: the next record of the task waits for it.
 */
import type { Duration } from '../base/duration.ts'
import type { Headers } from '../base/headers.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Windowed } from '../serde/windowed.ts'

/** A record on its way through the topology. To forward a changed one, spread it: `{ ...record, value }`. */
export type StreamRecord<K = unknown, V = unknown> = {
  readonly key: K
  readonly value: V
  readonly timestamp: number
  readonly headers: Headers
}

/** What a processor forwards: timestamp and headers are those of the record in hand where they are left out. */
export type ForwardedRecord<K = unknown, V = unknown> = {
  readonly key: K
  readonly value: V
  readonly timestamp?: number
  readonly headers?: Headers
}

export type RecordMetadata = { readonly topic: string; readonly partition: number; readonly offset: number }

/** Stream time goes on with the records, the wall clock by itself. */
export type PunctuationType = 'stream-time' | 'wall-clock'

export type Punctuator = (timestamp: number) => MaybePromise<void>

export type Cancellable = { cancel(): void }

export type StateContext = {
  readonly applicationId: string
  /** `<subtopology>_<partition>` */
  readonly taskId: string
  readonly partition: number
  /** The application's options, read only. */
  readonly configs: Readonly<Record<string, unknown>>
  /** Where the record in hand came from; null in a punctuator. */
  recordMetadata(): RecordMetadata | null
  /** The task's stream time: the highest timestamp of the records taken so far, -1 before any. */
  streamTime(): number
  /** Milliseconds since the epoch by the task's clock: in tests it is moved by hand. */
  wallClock(): number
  /** A store connected to this processor. An unconnected or unknown name is an error. */
  store<S = KeyValueStore>(name: string): S
  /**
   * Calls `run` at each interval. Stream time: aligned to multiples of the interval since 0, or to `startMs`; wall
   * clock: first after one interval. Intervals missed collapse into one call.
   */
  schedule(
    interval: Duration,
    type: PunctuationType,
    run: Punctuator,
    options?: { readonly startMs?: number },
  ): Cancellable
  /** Asks for a commit as soon as the record in hand is done. */
  commit(): void
}

export type ProcessorContext<KOut = unknown, VOut = unknown> = StateContext & {
  /**
   * Sends a record to all children, or to the one of that name. It need not be awaited: records arrive in order, and
   * the next input record waits until they have.
   */
  forward(record: ForwardedRecord<KOut, VOut>, child?: string): MaybePromise<void>
}

export type Processor<KIn = unknown, VIn = unknown, KOut = unknown, VOut = unknown> = {
  init?(context: ProcessorContext<KOut, VOut>): MaybePromise<void>
  process(record: StreamRecord<KIn, VIn>): MaybePromise<void>
  close?(): MaybePromise<void>
}

/** As a ProcessorContext, but what is forwarded must have the key of the record in hand: another one is an error. */
export type FixedKeyProcessorContext<K = unknown, VOut = unknown> = StateContext & {
  forward(record: ForwardedRecord<K, VOut>, child?: string): MaybePromise<void>
}

/** A processor that can't change the key, so that nothing after it must be repartitioned. */
export type FixedKeyProcessor<K = unknown, VIn = unknown, VOut = unknown> = {
  init?(context: FixedKeyProcessorContext<K, VOut>): MaybePromise<void>
  process(record: StreamRecord<K, VIn>): MaybePromise<void>
  close?(): MaybePromise<void>
}

/** Maps a table's values with the help of stores (`KTable.transformValues`). */
export type ValueTransformer<K = unknown, V = unknown, VOut = unknown> = {
  init?(context: StateContext): MaybePromise<void>
  /** `value` is null for a key that is gone. */
  transform(value: V | null, key: K): MaybePromise<VOut | null>
  close?(): MaybePromise<void>
}

// ------------------------------------------------------------------------------- stores, as a processor sees them

export type Order = 'forward' | 'backward'

/** Keys are in order of their bytes, bounds are inclusive, null is no bound. Null as a value deletes. */
export type KeyValueStore<K = unknown, V = unknown> = {
  readonly name: string
  get(key: K): MaybePromise<V | null>
  put(key: K, value: V | null): MaybePromise<void>
  /** The value that is there already, or null after the new one was put. */
  putIfAbsent(key: K, value: V): MaybePromise<V | null>
  putAll(entries: Iterable<readonly [K, V | null]>): MaybePromise<void>
  /** The value that was there. */
  delete(key: K): MaybePromise<V | null>
  range(from: K | null, to: K | null, order?: Order): AsyncIterable<readonly [K, V]>
  all(order?: Order): AsyncIterable<readonly [K, V]>
  /** Keys whose bytes start with these. */
  prefix(prefix: Uint8Array | string): AsyncIterable<readonly [K, V]>
  approximateCount(): number
}

export type ValueAndTimestamp<V = unknown> = { readonly value: V; readonly timestamp: number }

/** The store of a table, and what `stores.timestampedKeyValue` makes: each value has a timestamp. */
export type TimestampedKeyValueStore<K = unknown, V = unknown> = KeyValueStore<K, ValueAndTimestamp<V>>

/** What a store made with `headers: true` gives; to be put, headers may be left out and are none then. */
export type ValueTimestampHeaders<V = unknown> = ValueAndTimestamp<V> & { readonly headers: Headers }

/** `stores.timestampedKeyValue(name, { …, headers: true })` */
export type TimestampedKeyValueStoreWithHeaders<K = unknown, V = unknown> = KeyValueStore<
  K,
  ValueTimestampHeaders<V>
>

/** Values by key and start of their window. Times are inclusive. */
export type WindowStore<K = unknown, V = unknown> = {
  readonly name: string
  put(key: K, value: V | null, start: number): MaybePromise<void>
  get(key: K, start: number): MaybePromise<V | null>
  fetch(key: K, from: number, to: number, order?: Order): AsyncIterable<readonly [Windowed<K>, V]>
  fetchRange(
    fromKey: K | null,
    toKey: K | null,
    from: number,
    to: number,
    order?: Order,
  ): AsyncIterable<readonly [Windowed<K>, V]>
  fetchAll(from: number, to: number, order?: Order): AsyncIterable<readonly [Windowed<K>, V]>
  all(order?: Order): AsyncIterable<readonly [Windowed<K>, V]>
}

export type TimestampedWindowStore<K = unknown, V = unknown> = WindowStore<K, ValueAndTimestamp<V>>

/** `stores.timestampedWindow(name, { …, headers: true })` */
export type TimestampedWindowStoreWithHeaders<K = unknown, V = unknown> = WindowStore<
  K,
  ValueTimestampHeaders<V>
>

export type SessionStore<K = unknown, V = unknown> = {
  readonly name: string
  put(session: Windowed<K>, value: V | null): MaybePromise<void>
  remove(session: Windowed<K>): MaybePromise<void>
  get(key: K, start: number, end: number): MaybePromise<V | null>
  /** Sessions of the key with end >= earliestEnd and start <= latestStart. */
  find(
    key: K,
    earliestEnd: number,
    latestStart: number,
    order?: Order,
  ): AsyncIterable<readonly [Windowed<K>, V]>
  fetch(key: K, order?: Order): AsyncIterable<readonly [Windowed<K>, V]>
  fetchRange(fromKey: K | null, toKey: K | null, order?: Order): AsyncIterable<readonly [Windowed<K>, V]>
}

/** `stores.session(name, { …, headers: true })` */
export type SessionStoreWithHeaders<K = unknown, V = unknown> = SessionStore<
  K,
  { readonly value: V; readonly headers: Headers }
>

/** A value of a versioned store; `validTo` is exclusive, null while it is the newest. */
export type VersionedRecord<V = unknown> = {
  readonly value: V
  readonly timestamp: number
  readonly validTo: number | null
}

export type VersionedKeyValueStore<K = unknown, V = unknown> = {
  readonly name: string
  /** False: older than the history, nothing was put. */
  put(key: K, value: V | null, timestamp: number): MaybePromise<boolean>
  delete(key: K, timestamp: number): MaybePromise<VersionedRecord<V> | null>
  /** The newest version, or the one valid at a time. */
  get(key: K, asOf?: number): MaybePromise<VersionedRecord<V> | null>
}
