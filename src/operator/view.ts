/** The current value of a table's key: from the store that holds it, or computed from the tables before it. */
import { assert } from '../base/assert.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { Windowed } from '../serde/windowed.ts'
import type { Entry, Store, SuppressBuffer, Version } from '../store/contract.ts'
import type { TableView, ValueAndTimestamp } from './run.ts'
import type { Snapshot } from './snapshot.ts'

/** `show` is how a value leaves the store: as it is, or as a copy. */
export function storeView(store: Store, show: Snapshot): TableView {
  const shown = (entry: Entry): ValueAndTimestamp | null =>
    entry.value === null ? null : { value: show(entry.value), timestamp: entry.timestamp }
  const look = (entry: MaybePromise<Entry>): MaybePromise<ValueAndTimestamp | null> =>
    isPromise(entry) ? (entry as Promise<Entry>).then(shown) : shown(entry)
  switch (store.kind) {
    case 'key-value':
      return { get: (key) => look(store.entry(key)), getAsOf: null }
    case 'window':
      return {
        get(key) {
          assert(key instanceof Windowed, `${store.name}: its keys are windowed`)
          return look(store.entry(key.key, key.start))
        },
        getAsOf: null,
      }
    case 'session':
      return {
        get(key) {
          assert(key instanceof Windowed, `${store.name}: its keys are sessions`)
          return chain(store.entry(key.key, key.start, key.end), (entry) =>
            entry.value === null ? null : { value: show(entry.value), timestamp: entry.end },
          )
        },
        getAsOf: null,
      }
    case 'versioned': {
      const version = (found: Version<unknown> | null): ValueAndTimestamp | null =>
        found === null ? null : { value: show(found.value), timestamp: found.timestamp }
      return {
        get: (key) => chain(store.get(key), version),
        getAsOf: (key, timestamp) => chain(store.getAsOf(key, timestamp), version),
      }
    }
    default:
      throw new Error(`${store.name}: a ${store.kind} is no table`)
  }
}

/** Through a function of the table's own: a filter, a mapper. */
export function computedView(
  parent: TableView,
  compute: (key: unknown, value: unknown) => MaybePromise<unknown>,
): TableView {
  const through = (row: ValueAndTimestamp | null, key: unknown): MaybePromise<ValueAndTimestamp | null> => {
    if (row === null) return null
    return chain(compute(key, row.value), (value) =>
      value === null ? null : { value, timestamp: row.timestamp },
    )
  }
  const { getAsOf } = parent
  return {
    get(key) {
      const row = parent.get(key)
      return isPromise(row) ? row.then((there) => through(there, key)) : through(row, key)
    },
    getAsOf:
      getAsOf === null
        ? null
        : (key, timestamp) => chain(getAsOf(key, timestamp), (row) => through(row, key)),
  }
}

/** What is held back has not changed yet, as far as downstream knows. */
export function suppressedView(buffer: SuppressBuffer, parent: TableView): TableView {
  return {
    get: (key) =>
      chain(buffer.oldOf(key), (old) => {
        if (old === undefined) return parent.get(key)
        return old === null ? null : { value: old, timestamp: -1 }
      }),
    getAsOf: null,
  }
}
