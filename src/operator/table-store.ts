/**
 * The store that a table's node writes its result to: key-value or versioned, cached or not. `write` puts the new value
 * and hands the change on; `current` is what is there before.
 */
import { assert } from '../base/assert.ts'
import type { Headers } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Entry, KeyValueStore, VersionedStore } from '../store/contract.ts'
import type { Node } from '../topology/node.ts'
import { nowhere } from './call.ts'
import type { Run, TaskContext } from './run.ts'
import { type Snapshot, snapshotBy } from './snapshot.ts'
import { flushKeyValue, update } from './stores.ts'

export type TableStore = {
  /**
   * `old`: what goes along as the old value where it isn't the store's; undefined: the store's own, if anybody asked.
   */
  write(key: unknown, value: unknown, timestamp: number, headers: Headers, old: unknown): void | Promise<void>
}

/** `aliased`: the values may be accumulators that are changed in place later, so the store gets copies. */
export function tableStore(
  node: Node,
  name: string,
  next: Run,
  context: TaskContext,
  sendOld: boolean,
  aliased: boolean,
): TableStore {
  const store = context.store(name)
  if (store.kind === 'versioned') return versionedTableStore(node, store, next, context, sendOld, aliased)
  assert(store.kind === 'key-value', `${node.name}: a table can't be kept in ${name}, a ${store.kind}`)
  return keyValueTableStore(store, next, context, sendOld, aliased)
}

function keyValueTableStore(
  store: KeyValueStore,
  next: Run,
  context: TaskContext,
  sendOld: boolean,
  aliased: boolean,
): TableStore {
  const keep: Snapshot | null = aliased ? snapshotBy(store.spec.valueSerde, store) : null
  const silent = store.cached || next === nowhere
  if (store.cached) store.onFlush(flushKeyValue(next, context), { keepOld: sendOld })

  const apply = (
    entry: Entry,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
    old: unknown,
  ): void | Promise<void> => {
    const before = sendOld ? (old === undefined ? entry.value : old) : null
    store.set(entry, keep === null ? value : keep(value), timestamp, headers)
    if (!silent) return next(key, update(value, before), timestamp, headers)
  }

  return {
    write(key, value, timestamp, headers, old) {
      const entry = store.entry(key)
      if (isPromise(entry))
        return entry.then((there) => apply(there as Entry, key, value, timestamp, headers, old))
      return apply(entry, key, value, timestamp, headers, old)
    },
  }
}

function versionedTableStore(
  node: Node,
  store: VersionedStore,
  next: Run,
  context: TaskContext,
  sendOld: boolean,
  aliased: boolean,
): TableStore {
  const keep: Snapshot | null = aliased ? snapshotBy(store.spec.valueSerde, store) : null

  const put = (
    before: unknown,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const written = store.put(key, keep === null ? value : keep(value), timestamp, headers)
    if (isPromise(written)) {
      return (written as Promise<Written>).then((result) =>
        forward(result, before, key, value, timestamp, headers),
      )
    }
    return forward(written, before, key, value, timestamp, headers)
  }

  const forward = (
    written: Written,
    before: unknown,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    if (written === false) return context.drop('out-of-retention', node.name)
    return next(key, { value, old: before, latest: written.latest }, timestamp, headers)
  }

  return {
    write(key, value, timestamp, headers, old) {
      if (!sendOld) return put(null, key, value, timestamp, headers)
      if (old !== undefined) return put(old, key, value, timestamp, headers)
      const newest = store.get(key)
      if (isPromise(newest))
        return newest.then((there) => put(there?.value ?? null, key, value, timestamp, headers))
      return put(newest?.value ?? null, key, value, timestamp, headers)
    },
  }
}

type Written = { readonly latest: boolean; readonly validTo: number | null } | false

/** The value of a key before an update, for nodes that must know it before they write. */
export function currentOf(context: TaskContext, name: string, key: unknown): MaybePromise<unknown> {
  const store = context.store(name)
  if (store.kind === 'versioned') {
    const version = store.get(key)
    return isPromise(version) ? version.then((there) => there?.value ?? null) : (version?.value ?? null)
  }
  assert(store.kind === 'key-value', `${name} is a ${store.kind}`)
  return store.get(key)
}
