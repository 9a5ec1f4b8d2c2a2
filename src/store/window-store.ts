/**
 * Values by key and window. Several values by key and time are in duplicates-store.ts.
 * changelog: the key's bytes, start (8), number of the duplicate (4): 0.
 */

import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { windowEnd } from '../serde/windowed.ts'
import type { WindowStoreSpec } from '../topology/store-spec.ts'
import type { Entry, Order, WindowStore } from './contract.ts'
import { LiveEntry } from './slot.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'
import { TimedStore } from './timed-store.ts'

export class WindowEntries extends TimedStore implements WindowStore {
  readonly kind = 'window'
  declare readonly spec: WindowStoreSpec
  protected readonly discriminatorBytes = 4
  readonly #sizeMs: number

  constructor(
    spec: WindowStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    super(spec, services, number, notes, offset)
    this.#sizeMs = spec.windowSizeMs
  }

  protected timeOf(entry: LiveEntry): number {
    return entry.start
  }

  protected discriminatorOf(entry: LiveEntry): number {
    return entry.sequence
  }

  protected make(key: unknown, id: unknown, time: number, discriminator: number): LiveEntry {
    return new LiveEntry(key, id, time, windowEnd(time, this.#sizeMs), discriminator)
  }

  entry(key: unknown, start: number): MaybePromise<LiveEntry> {
    if (this.primitive) return this.handle(key, key, start, 0)
    const id = this.codec.id(key)
    return isPromise(id)
      ? id.then((text) => this.handle(key, text, start, 0))
      : this.handle(key, id, start, 0)
  }

  set(entry: Entry, value: unknown, timestamp: number, headers: Headers): boolean {
    return this.write(entry, value, timestamp, headers)
  }

  append(): boolean {
    throw new TypeError(`${this.name}: a store without duplicates has one value a window; set it`)
  }

  fetch(key: unknown, from: number, to: number, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    return this.fetchKey(key, from, to, order, null)
  }

  fetchAll(from: number, to: number, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    return this.fetchTimes(Math.max(from, this.visibleFrom), to, order, null, byStartAndKey)
  }

  async *fetchRange(
    fromKey: unknown,
    toKey: unknown,
    from: number,
    to: number,
    order: Order = 'forward',
  ): AsyncGenerator<Entry> {
    const passes = await this.keysWithin(fromKey, toKey)
    for (const entry of await this.fetchTimes(
      Math.max(from, this.visibleFrom),
      to,
      order,
      passes,
      byStartAndKey,
    )) {
      if (entry.value !== null) yield entry
    }
  }

  /** For stores of others' making: a put without a look at what is there. */
  put(
    key: unknown,
    start: number,
    value: unknown,
    timestamp: number,
    headers: Headers = noHeaders,
  ): MaybePromise<boolean> {
    const entry = this.entry(key, start)
    return isPromise(entry)
      ? entry.then((found) => this.set(found, value, timestamp, headers))
      : this.set(entry, value, timestamp, headers)
  }

  get(key: unknown, start: number): MaybePromise<unknown> {
    const entry = this.entry(key, start)
    return isPromise(entry) ? entry.then((found) => found.value) : entry.value
  }
}

function byStartAndKey(one: LiveEntry, other: LiveEntry): number {
  if (one.start !== other.start) return one.start - other.start
  const left = one.order as string
  const right = other.order as string
  return left < right ? -1 : left > right ? 1 : one.sequence - other.sequence
}
