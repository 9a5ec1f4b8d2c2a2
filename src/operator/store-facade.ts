/**
 * Stores as processors see them: values with or without their timestamps, windows as keys, ranges to iterate. A put
 * carries the time and headers of the record in hand.
 */

import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { Windowed } from '../serde/windowed.ts'
import type {
  Entry,
  KeyValueStore as EntryStore,
  SessionStore as SessionEntries,
  Store,
  Version,
  VersionedStore,
  WindowStore as WindowEntries,
} from '../store/contract.ts'
import { HeadedValue } from '../store/kept-headers.ts'
import type {
  KeyValueStore,
  SessionStore,
  ValueAndTimestamp,
  ValueTimestampHeaders,
  VersionedKeyValueStore,
  VersionedRecord,
  WindowStore,
} from '../topology/processor.ts'

/** The record in hand, or a punctuation. */
export type InHand = { timestamp: number; headers: Headers }

/** `handOver` sees each value that goes in or out: the test driver makes it unchangeable. */
export function storeFacade(store: Store, inHand: InHand, handOver: (value: unknown) => void): unknown {
  switch (store.kind) {
    case 'key-value':
      return keyValueFacade(store, inHand, handOver)
    case 'window':
      return windowFacade(store, inHand, handOver)
    case 'session':
      return sessionFacade(store, inHand, handOver)
    case 'versioned':
      return versionedFacade(store, inHand, handOver)
    default:
      return store
  }
}

/** What `open` made of each store's entries, and the records in hand of those who asked for it. */
const opened = new WeakMap<Store, { readonly made: unknown; readonly users: InHand[] }>()

/** As `storeFacade`; a store of the user's own is one object for all processors of the task. */
export function storeFor(store: Store, inHand: InHand, handOver: (value: unknown) => void): unknown {
  if (store.kind !== 'key-value') return storeFacade(store, inHand, handOver)
  const { spec } = store
  if (spec.kind !== 'key-value' || spec.open === undefined) return storeFacade(store, inHand, handOver)
  const known = opened.get(store)
  if (known !== undefined) {
    if (!known.users.includes(inHand)) known.users.push(inHand)
    return known.made
  }
  const users = [inHand]
  const entries = keyValueFacade(store, whoever(users), handOver)
  const made: unknown = spec.open(entries)
  if (made === undefined || made === null || isPromise(made)) {
    throw new StreamsError(
      'TOPOLOGY_INVALID',
      `store ${store.name}: open returned ${isPromise(made) ? 'a promise' : String(made)}; it must return the store itself, which may read its entries when it is first used`,
      { store: store.name },
    )
  }
  opened.set(store, { made, users })
  return made
}

/** The record in hand of the innermost processor at work. */
function whoever(users: readonly (InHand & { readonly active?: boolean })[]): InHand {
  const now = (): InHand => users.findLast(({ active }) => active === true) ?? (users.at(-1) as InHand)
  return {
    get timestamp() {
      return now().timestamp
    },
    get headers() {
      return now().headers
    },
  }
}

function timestampedOf(store: Store): boolean {
  const { spec } = store
  return (spec.kind === 'key-value' || spec.kind === 'window') && spec.timestamped
}

/** What a user gives to a timestamped store has the time of its own. */
function unpack(
  given: unknown,
  timestamped: boolean,
  timestamp: number,
): { value: unknown; timestamp: number } {
  if (!timestamped || given === null) return { value: given, timestamp }
  const { value, timestamp: own } = given as ValueAndTimestamp
  return { value, timestamp: own }
}

/** Of a store that keeps headers: those given with the value become part of it. */
function withHeaders(store: Store, given: unknown, value: unknown): unknown {
  if (store.spec.keepsHeaders !== true || value === null) return value
  const headers: unknown = (given as Partial<ValueTimestampHeaders>).headers ?? noHeaders
  if (value !== undefined && Array.isArray(headers)) return new HeadedValue(value, headers)
  throw new TypeError(
    `${store.name} keeps headers: put { value, timestamp, headers }, headers a list of { key, value }; null deletes`,
  )
}

/** An entry's value as processors see it. */
function shown(
  { value, timestamp }: Entry,
  timestamped: boolean,
  handOver: (value: unknown) => void,
): unknown {
  if (value === null) return null
  if (value instanceof HeadedValue) {
    handOver(value.value)
    return timestamped
      ? { value: value.value, timestamp, headers: value.headers }
      : { value: value.value, headers: value.headers }
  }
  handOver(value)
  return timestamped ? { value, timestamp } : value
}

function keyValueFacade(
  store: EntryStore,
  inHand: InHand,
  handOver: (value: unknown) => void,
): KeyValueStore {
  const timestamped = timestampedOf(store)
  const show = (entry: Entry): unknown => shown(entry, timestamped, handOver)
  const get = (key: unknown): MaybePromise<unknown> => {
    const entry = store.entry(key)
    return isPromise(entry) ? entry.then((there) => show(there as Entry)) : show(entry)
  }
  const put = (key: unknown, given: unknown): MaybePromise<void> => {
    if (given === undefined) throw new TypeError(`${store.name}: put of undefined; null deletes`)
    const { value, timestamp } = unpack(given, timestamped, inHand.timestamp)
    handOver(value)
    return store.put(key, withHeaders(store, given, value), timestamp, inHand.headers)
  }
  const iterate = async function* (
    entries: AsyncIterable<Entry>,
  ): AsyncIterable<readonly [unknown, unknown]> {
    for await (const entry of entries) yield [entry.key, show(entry)]
  }
  return {
    name: store.name,
    get,
    put,
    putIfAbsent: (key, value) =>
      chain(get(key), (there) => (there === null ? chain(put(key, value), () => null) : there)),
    async putAll(entries) {
      for (const [key, value] of entries) await put(key, value)
    },
    delete: (key) => chain(get(key), (there) => chain(put(key, null), () => there)),
    range: (from, to, order) => iterate(store.range(from, to, order)),
    all: (order) => iterate(store.range(null, null, order)),
    prefix: (prefix) => iterate(store.prefix(typeof prefix === 'string' ? Buffer.from(prefix) : prefix)),
    approximateCount: () => store.approximateCount(),
  }
}

async function* windows(
  entries: MaybePromise<readonly Entry[]> | AsyncIterable<Entry>,
  show: (entry: Entry) => unknown,
): AsyncIterable<readonly [Windowed<unknown>, unknown]> {
  const list = await entries
  if (Symbol.asyncIterator in list) {
    for await (const entry of list) yield [new Windowed(entry.key, entry.start, entry.end), show(entry)]
    return
  }
  for (const entry of list) yield [new Windowed(entry.key, entry.start, entry.end), show(entry)]
}

function windowFacade(store: WindowEntries, inHand: InHand, handOver: (value: unknown) => void): WindowStore {
  const timestamped = timestampedOf(store)
  const duplicates = store.spec.kind === 'window' && store.spec.retainDuplicates
  const show = (entry: Entry): unknown => shown(entry, timestamped, handOver)
  return {
    name: store.name,
    put(key, given, start): MaybePromise<void> {
      if (given === undefined) throw new TypeError(`${store.name}: put of undefined; null deletes`)
      const { value, timestamp } = unpack(given, timestamped, inHand.timestamp)
      handOver(value)
      if (duplicates) {
        if (value === null) return
        return chain(store.append(key, start, value, inHand.headers), () => undefined)
      }
      return chain(store.entry(key, start), (entry) => {
        store.set(entry, withHeaders(store, given, value), timestamp, inHand.headers)
      })
    },
    get: (key, start) => chain(store.entry(key, start), (entry) => show(entry)),
    fetch: (key, from, to, order) => windows(store.fetch(key, from, to, order), show),
    fetchRange: (fromKey, toKey, from, to, order) =>
      windows(store.fetchRange(fromKey, toKey, from, to, order), show),
    fetchAll: (from, to, order) => windows(store.fetchAll(from, to, order), show),
    all: (order) => windows(store.fetchAll(0, Number.MAX_SAFE_INTEGER, order), show),
  }
}

function sessionFacade(
  store: SessionEntries,
  inHand: InHand,
  handOver: (value: unknown) => void,
): SessionStore {
  const { keepsHeaders } = store.spec
  const show = (entry: Entry): unknown => shown(entry, false, handOver)
  const put = (session: Windowed<unknown>, given: unknown): MaybePromise<void> => {
    if (given === undefined) throw new TypeError(`${store.name}: put of undefined; null removes`)
    const value = keepsHeaders === true && given !== null ? (given as { value: unknown }).value : given
    handOver(value)
    return chain(store.entry(session.key, session.start, session.end), (entry) => {
      store.set(entry, withHeaders(store, given, value), inHand.headers)
    })
  }
  return {
    name: store.name,
    put,
    remove: (session) => put(session, null),
    get: (key, start, end) => chain(store.entry(key, start, end), (entry) => show(entry)),
    find: (key, earliestEnd, latestStart, order) =>
      windows(store.find(key, earliestEnd, latestStart, order), show),
    fetch: (key, order) => windows(store.find(key, 0, Number.MAX_SAFE_INTEGER, order), show),
    fetchRange: (fromKey, toKey, order) => windows(store.fetchRange(fromKey, toKey, order), show),
  }
}

function versionedFacade(
  store: VersionedStore,
  inHand: InHand,
  handOver: (value: unknown) => void,
): VersionedKeyValueStore {
  const show = (version: Version<unknown> | null): VersionedRecord | null => {
    if (version !== null) handOver(version.value)
    return version
  }
  const put = (key: unknown, value: unknown, timestamp: number): MaybePromise<boolean> => {
    if (value === undefined) throw new TypeError(`${store.name}: put of undefined; null deletes`)
    handOver(value)
    return chain(store.put(key, value, timestamp, inHand.headers), (put) => put !== false)
  }
  const get = (key: unknown, asOf?: number): MaybePromise<VersionedRecord | null> =>
    chain(asOf === undefined ? store.get(key) : store.getAsOf(key, asOf), show)
  return {
    name: store.name,
    put,
    get,
    delete: (key, timestamp) =>
      chain(get(key, timestamp), (there) => chain(put(key, null, timestamp), () => there)),
  }
}
