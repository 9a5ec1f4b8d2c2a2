/**
 * Values by key in rows. They are what was used lately, and all there is where nothing was persisted before and nothing
 * was evicted (`#complete`): then a miss needs no look at the engine. From then on a filter knows which keys it never had.
 *
 * changelog and engine: as in keyed-store.ts, byte for byte.
 */
import type { ByteWriter } from '../base/bytes.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { KeyValueStoreSpec } from '../topology/store-spec.ts'
import { int64At } from '../wire/record-batch.ts'
import type { ChangelogRecord, Entry, KeyValueStore, Order } from './contract.ts'
import type { EngineBatch, Row } from './engine.ts'
import { orderOf } from './key-codec.ts'
import { StoredKeys } from './key-filter.ts'
import { collect, type Held, mergeKeys, openKeys } from './key-scan.ts'
import { RowEntry, RowStore } from './row-store.ts'
import { rowFlag } from './row-table.ts'
import { SortedEntries } from './sorted-entries.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'

const prefixBytes = 2
// Each time a filter grows, looking into it takes longer.
const restoredKeysGuess = 32_768

export class RowKeyValues extends RowStore implements KeyValueStore {
  readonly kind = 'key-value'
  readonly takesUnread = true
  declare readonly spec: KeyValueStoreSpec
  readonly #sorted = new SortedEntries<number>((row) => this.#orderOf(row))
  #complete: boolean
  /** Of every row that the engine has of this store. */
  readonly #stored: StoredKeys
  /** Where the search for rows to let go has come to. */
  #sweep = 0

  constructor(
    spec: KeyValueStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    super(spec, services, number, notes, offset, false)
    this.#complete = offset === null
    this.#stored = new StoredKeys(services.tally)
  }

  entry(key: unknown): MaybePromise<RowEntry> {
    const hash = this.locate(key, 0)
    const row = this.findLocated(hash, 0)
    if (row >= 0) {
      const { rows } = this
      const flags = rows.flags(row)
      if ((flags & rowFlag.loading) !== 0) return this.awaited(() => this.entry(key))
      if ((flags & rowFlag.used) === 0) rows.setFlags(row, flags | rowFlag.used)
      return this.entryAt(row, key)
    }
    if (this.#complete || !this.#mayBeStored()) return this.entryOf(key)
    return chain(this.readOne(this.#insert(hash)), () => this.entry(key))
  }

  set(entry: Entry, value: unknown, timestamp: number, headers: Headers): void {
    const row = this.rowFor(entry)
    this.write(row, value, timestamp, headers)
    if (!(entry instanceof RowEntry)) return
    entry.value = value
    entry.timestamp = value === null ? -1 : timestamp
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

  get mayMiss(): boolean {
    return !this.#complete
  }

  /** From here on the key has a row: without a value where the filter knows so, else one that is to be read. */
  want(key: unknown): void {
    if (this.#complete) return
    const hash = this.locate(key, 0)
    let row = this.findLocated(hash, 0)
    if (row < 0) {
      const mayBeStored = this.#mayBeStored()
      row = this.#insert(hash)
      if (mayBeStored) this.wish(row)
    }
    this.rows.setWantedBy(row, this.services.lookAheads.current)
  }

  approximateCount(): number {
    return Math.max(0, this.notes.count)
  }

  // -------------------------------------------------------------------------------------------------------- ranges

  async *range(from: unknown, to: unknown, order: Order = 'forward'): AsyncGenerator<Entry> {
    const low = from === null ? null : await orderOf(this.codec, from)
    const high = to === null ? null : await orderOf(this.codec, to)
    yield* this.#scan(low, high, null, order)
  }

  async *prefix(prefix: Uint8Array): AsyncGenerator<Entry> {
    const text = Buffer.from(prefix).toString('latin1')
    yield* this.#scan(text, null, text, 'forward')
  }

  list(from: unknown, to: unknown, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    const low = from === null ? null : this.codec.order(from)
    const high = to === null ? null : this.codec.order(to)
    if (this.#complete) return this.#held(low, high, null, order).filter(({ value }) => value !== null)
    return collect(this.#scan(low, high, null, order))
  }

  async *#scan(
    low: string | null,
    high: string | null,
    prefix: string | null,
    order: Order,
  ): AsyncGenerator<Entry> {
    const held = this.#held(low, high, prefix, order)
    if (this.#complete) {
      for (const entry of held) if (entry.value !== null) yield entry
      return
    }
    const scan = openKeys(this.services.engine, this.number, low, high, prefix, order)
    yield* mergeKeys(held, scan, order, (row) => this.#entryIn(row))
  }

  /** What memory has of a range, as it is now, absent keys too. Of what is being read it knows nothing. */
  #held(low: string | null, high: string | null, prefix: string | null, order: Order): Held[] {
    const held: Held[] = []
    for (const row of this.#sorted.slice(this.#indexed(), low, high, prefix)) {
      if ((this.rows.flags(row) & rowFlag.loading) !== 0) continue
      const { key, value, timestamp } = this.entryAt(row, this.keyOf(row))
      held.push({ key, start: 0, end: 0, value, timestamp, order: this.#orderOf(row) })
    }
    return order === 'forward' ? held : held.reverse()
  }

  *#indexed(): Generator<number> {
    const { rows } = this
    for (let row = 0; row < rows.size; row++)
      if ((rows.flags(row) & (rowFlag.free | rowFlag.detached)) === 0) yield row
  }

  #orderOf(row: number): string {
    const bytes = this.rows.key(row)
    return bytes.toString('latin1', this.rows.keyStart, this.rows.keyEnd)
  }

  #entryIn({ key, value }: Row): Entry {
    const entry = this.entryOf(this.codec.read(key, prefixBytes, key.length))
    entry.value = this.valueIn(value)
    entry.timestamp = int64At(value, 0)
    return entry
  }

  // ---------------------------------------------------------------------------------------------------------- rows

  protected override entryOf(key: unknown): RowEntry {
    return new RowEntry(key, 0, 0)
  }

  protected override writeKeyEnd(): void {}

  protected override writeRowStart(_time: number, to: ByteWriter): void {
    to.int16(this.number)
  }

  protected override isHidden(): boolean {
    return false
  }

  #insert(hash: number): number {
    return this.insertLocated(hash, 0)
  }

  protected override insertLocated(hash: number, time: number): number {
    const row = super.insertLocated(hash, time)
    this.#sorted.add(row)
    return row
  }

  protected override forget(row: number): void {
    this.#sorted.remove(row)
    super.forget(row)
  }

  protected override releaseAbsent(row: number): void {
    this.forget(row)
  }

  override trim(bytes: number): void {
    const { tally } = this.services
    const { rows } = this
    const until = tally.cached - bytes
    let left = rows.size * 2
    while (tally.cached > until && left-- > 0) {
      if (this.#sweep >= rows.size) this.#sweep = 0
      const row = this.#sweep++
      const flags = rows.flags(row)
      if (!this.canGo(row, flags)) continue
      if ((flags & rowFlag.used) !== 0) {
        rows.setFlags(row, flags & ~rowFlag.used)
        continue
      }
      this.#becomeIncomplete()
      this.forget(row)
    }
  }

  // -------------------------------------------------------------------------------------------------------- filter

  /** As long as memory has everything, its keys are those of the engine, or more. */
  #becomeIncomplete(keysExpected = 0): void {
    if (!this.#complete) return
    this.#complete = false
    const { rows } = this
    this.#stored.begin(Math.max(keysExpected, rows.indexed * 2))
    for (const row of this.#indexed()) {
      const bytes = rows.key(row)
      this.#stored.note(bytes, rows.keyStart, rows.keyEnd, false)
    }
  }

  /** Of the key that was located last. */
  #mayBeStored(): boolean {
    return this.#stored.mayHold(this.keyBytes, this.keyStart, this.keyEnd)
  }

  override dropFilter(): void {
    this.#stored.drop()
  }

  protected override noteStored(buffer: Buffer, keyEnd: number): void {
    this.#stored.note(buffer, 0, keyEnd, true)
  }

  // ------------------------------------------------------------------------------------------------------- restore

  override beginRestore(): void {
    this.#becomeIncomplete(restoredKeysGuess)
    this.empty()
    this.#sorted.clear()
  }

  protected override clear(): void {
    this.empty()
    this.#sorted.clear()
    this.dropFilter()
    this.#complete = true
  }

  override restoreRecord(record: ChangelogRecord, batch: EngineBatch): void {
    const { scratch } = this.services
    scratch.reset()
    scratch.int16(this.number)
    record.writeKey(scratch)
    const keyEnd = scratch.position
    if (record.isTombstone) {
      this.notes.count--
      batch.remove(scratch.buffer, 0, keyEnd)
      return
    }
    this.notes.count++
    this.#stored.note(scratch.buffer, prefixBytes, keyEnd, false)
    scratch.int64(record.timestamp)
    record.writeValue(scratch)
    batch.put(scratch.buffer, 0, keyEnd, keyEnd, scratch.position)
  }
}

function valueIn(entry: RowEntry): unknown {
  return entry.value
}
