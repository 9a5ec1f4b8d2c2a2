/** Values by key, with or without a timestamp, and Kafka Streams' lruMap: `keyed-store.ts` has nearly all of it. */
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { KeyValueStoreSpec } from '../topology/store-spec.ts'
import type { Entry, KeyValueStore } from './contract.ts'
import { KeyedStore } from './keyed-store.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'

export class KeyValueEntries extends KeyedStore implements KeyValueStore {
  readonly kind = 'key-value'

  constructor(
    spec: KeyValueStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    super(spec, services, number, notes, offset, spec.keySerde, spec.valueSerde, spec.entriesMax)
  }

  get(key: unknown): MaybePromise<unknown> {
    const entry = this.entry(key)
    return isPromise(entry) ? entry.then(valueIn) : entry.value
  }

  put(key: unknown, value: unknown, timestamp: number, headers: Headers = noHeaders): MaybePromise<void> {
    const entry = this.entry(key)
    if (isPromise(entry)) return entry.then((found) => this.set(found, value, timestamp, headers))
    return this.set(entry, value, timestamp, headers)
  }
}

function valueIn(entry: Entry): unknown {
  return entry.value
}
