/**
 * Values by key: key-value stores, and what is built like them. The index holds what was used lately, and all there is
 * where nothing was persisted before and nothing was evicted (`#complete`): then a miss needs no look at the engine.
 * From then on a filter knows which keys it never had.
 *
 * changelog: the key's bytes, the value's bytes, the record's timestamp is the value's.
 * engine: store number (2), the key's bytes -> timestamp (8), the value's bytes.
 */
import type { ByteWriter } from '../base/bytes.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { int64At } from '../wire/record-batch.ts'
import type { ChangelogRecord, Entry, Order } from './contract.ts'
import type { EngineBatch, Row } from './engine.ts'
import type { Change } from './generation.ts'
import { KeyCodec, orderOf } from './key-codec.ts'
import { StoredKeys } from './key-filter.ts'
import { collect, mergeKeys, openKeys } from './key-scan.ts'
import { LayeredStore } from './layered-store.ts'
import { flag, known, LiveEntry } from './slot.ts'
import { SortedEntries } from './sorted-entries.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'
import { WantedKeys } from './wanted-keys.ts'

const prefixBytes = 2
const timestampBytes = 8
// Each time a filter grows, looking into it takes longer.
const restoredKeysGuess = 32_768

export abstract class KeyedStore extends LayeredStore<LiveEntry> {
  readonly #codec: KeyCodec
  readonly #primitive: boolean
  readonly #entriesMax: number
  readonly #entries = new Map<unknown, LiveEntry>()
  readonly #sorted = new SortedEntries<LiveEntry>((entry) => this.#orderOf(entry))
  /** Entries to be read. */
  readonly #wanted = new WantedKeys<LiveEntry>()
  /** Resolves once everything is there that is being read now; nothing rejects it. */
  #reading: Promise<void> | null = null
  #complete: boolean
  /** Of every row that the engine has of this store. */
  readonly #stored: StoredKeys
  #sweep: MapIterator<LiveEntry> | null = null

  constructor(
    spec: StoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
    keySerde: Serde<unknown>,
    valueSerde: Serde<unknown>,
    entriesMax = Number.POSITIVE_INFINITY,
  ) {
    super(spec, services, number, notes, offset, valueSerde)
    this.#codec = new KeyCodec(keySerde, this.topic)
    this.#primitive = this.#codec.primitive
    this.#entriesMax = entriesMax
    this.#complete = this.pinned || offset === null
    this.#stored = new StoredKeys(services.tally)
  }

  entry(key: unknown): MaybePromise<LiveEntry> {
    if (this.#primitive) return this.#find(key, key)
    const id = this.#codec.id(key)
    return isPromise(id) ? id.then((text) => this.#find(key, text)) : this.#find(key, id)
  }

  set(entry: Entry, value: unknown, timestamp: number, headers: Headers): void {
    const handle = entry as LiveEntry
    let live = handle
    if ((handle.flags & flag.detached) !== 0) live = this.#adopt(handle)
    if ((live.value === null) !== (value === null)) this.notes.count += value === null ? -1 : 1
    live.value = value
    live.changedAt = timestamp
    if (live !== handle) {
      handle.value = value
      handle.changedAt = timestamp
    }
    if ((live.flags & flag.dirty) === 0) this.markDirty(live)
    if (this.cached) this.touch(live, headers)
    if (this.notes.count > this.#entriesMax) this.#evictEldest(timestamp, headers)
  }

  get mayMiss(): boolean {
    return !this.#complete
  }

  /** From here on the key has an entry in the index: absent where the filter knows so, else one that is to be read. */
  want(key: unknown): void {
    if (this.#complete) return
    const id = this.#codec.id(key)
    // A key whose bytes need a promise is looked up when it is due.
    if (isPromise(id)) return
    let entry = this.#entries.get(id)
    if (entry === undefined) {
      entry = new LiveEntry(key, id, 0, 0, 0)
      this.#insert(entry)
      this.#wish(entry)
    }
    entry.wantedBy = this.services.lookAheads.current
  }

  /** Reads everything wanted with one request. */
  load(): MaybePromise<void> {
    const wanted = this.#wanted.take()
    return wanted === null ? undefined : this.#read(wanted.items, wanted.keys)
  }

  async *range(from: unknown, to: unknown, order: Order = 'forward'): AsyncGenerator<Entry> {
    const low = from === null ? null : await orderOf(this.#codec, from)
    const high = to === null ? null : await orderOf(this.#codec, to)
    yield* this.#scan(low, high, null, order)
  }

  async *prefix(prefix: Uint8Array): AsyncGenerator<Entry> {
    const text = Buffer.from(prefix).toString('latin1')
    yield* this.#scan(text, null, text, 'forward')
  }

  list(from: unknown, to: unknown, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    const low = from === null ? null : orderOf(this.#codec, from)
    return chain(low, (low) =>
      chain(to === null ? null : orderOf(this.#codec, to), (high) => {
        if (!this.#complete) return collect(this.#scan(low, high, null, order))
        return this.#live(low, high, null, order).filter(isPresent)
      }),
    )
  }

  /** As `prefix`, all at once. */
  protected listPrefix(prefix: string): MaybePromise<readonly Entry[]> {
    if (!this.#complete) return collect(this.#scan(prefix, null, prefix, 'forward'))
    return this.#live(prefix, null, prefix, 'forward').filter(isPresent)
  }

  approximateCount(): number {
    return Math.max(0, this.notes.count)
  }

  // ------------------------------------------------------------------------------------------------------- index

  #find(key: unknown, id: unknown): MaybePromise<LiveEntry> {
    const entry = this.#entries.get(id)
    if (entry === undefined) return this.#miss(key, id)
    if ((entry.flags & flag.loading) !== 0) return this.#awaited(key, id)
    entry.flags |= flag.used
    if (this.#entriesMax !== Number.POSITIVE_INFINITY) {
      this.#entries.delete(id)
      this.#entries.set(id, entry)
    }
    return entry
  }

  #miss(key: unknown, id: unknown): MaybePromise<LiveEntry> {
    if (this.#complete || !this.#mayBeStored(id)) return detached(key, id)
    const entry = new LiveEntry(key, id, 0, 0, 0)
    this.#insert(entry)
    entry.flags |= flag.loading | flag.used
    const { scratch } = this.services
    scratch.reset()
    this.writeLocalKey(entry, scratch)
    return chain(this.#read([entry], [scratch.copy()]), () => entry)
  }

  /** An entry that is being read, or that nobody has asked the engine for yet. */
  #awaited(key: unknown, id: unknown): MaybePromise<LiveEntry> {
    const waiting = this.load()
    // A failure is met by who asks for the key alone.
    if (isPromise(waiting)) waiting.catch(() => {})
    return this.#reading === null ? this.#find(key, id) : this.#reading.then(() => this.#find(key, id))
  }

  /** Puts an entry that is not in the index there, or finds the one that is there by now. */
  #adopt(handle: LiveEntry): LiveEntry {
    const there = this.#entries.get(handle.id)
    if (there === undefined) {
      this.#insert(handle)
      return handle
    }
    // What is being read of it is older than what is about to be written.
    if ((there.flags & flag.loading) !== 0) there.flags = (there.flags & ~flag.loading) | known
    return there
  }

  #insert(entry: LiveEntry): void {
    entry.flags &= ~flag.detached
    this.#entries.set(entry.id, entry)
    this.#sorted.add(entry)
    this.track(entry)
  }

  protected override forget(entry: LiveEntry): void {
    this.#entries.delete(entry.id)
    this.#sorted.remove(entry)
    this.untrack(entry)
    entry.flags = flag.detached | known
  }

  override trim(bytes: number): void {
    if (this.pinned) return
    const { tally, lookAheads } = this.services
    const until = tally.cached - bytes
    let left = this.#entries.size * 2
    while (tally.cached > until && left-- > 0) {
      this.#sweep ??= this.#entries.values()
      const next = this.#sweep.next()
      if (next.done === true) {
        this.#sweep = null
        if (this.#entries.size === 0) return
        continue
      }
      const entry = next.value
      if ((entry.flags & flag.loading) !== 0 || this.isUnsettled(entry)) continue
      if (entry.wantedBy !== 0 && lookAheads.holds(entry.wantedBy)) continue
      if ((entry.flags & flag.used) !== 0) {
        entry.flags &= ~flag.used
        continue
      }
      this.#becomeIncomplete()
      this.forget(entry)
    }
  }

  // ------------------------------------------------------------------------------------------------------ filter

  /** As long as memory has everything, its keys are those of the engine, or more. */
  #becomeIncomplete(keysExpected = 0): void {
    if (!this.#complete) return
    this.#complete = false
    this.#stored.begin(Math.max(keysExpected, this.#entries.size * 2))
    const { scratch } = this.services
    for (const { id } of this.#entries.values()) {
      scratch.reset()
      this.#codec.write(id, scratch)
      this.#stored.note(scratch.buffer, 0, scratch.position, false)
    }
  }

  #mayBeStored(id: unknown): boolean {
    const { scratch } = this.services
    scratch.reset()
    this.#codec.write(id, scratch)
    return this.#stored.mayHold(scratch.buffer, 0, scratch.position)
  }

  /** Puts an entry on the list of those to be read, unless the filter knows that there is nothing. */
  #wish(entry: LiveEntry): void {
    const { writer } = this.#wanted
    const start = writer.position
    this.writeLocalKey(entry, writer)
    if (!this.#stored.mayHold(writer.buffer, start + prefixBytes, writer.position)) {
      writer.position = start
      return
    }
    entry.flags |= flag.loading
    this.#wanted.add(entry)
  }

  override dropFilter(): void {
    this.#stored.drop()
  }

  protected override noteNewRow(buffer: Buffer, keyEnd: number): void {
    this.#stored.note(buffer, prefixBytes, keyEnd, true)
  }

  #evictEldest(timestamp: number, headers: Headers): void {
    for (const eldest of this.#entries.values()) {
      if (eldest.value === null) continue
      this.set(eldest, null, timestamp, headers)
      return
    }
  }

  // ------------------------------------------------------------------------------------------------------- bytes

  protected override writeKey(entry: LiveEntry, to: ByteWriter): void {
    this.#codec.write(entry.id, to)
  }

  protected override writeValue(entry: LiveEntry, to: ByteWriter): void | Promise<void> {
    return this.valueSerde.write(entry.value, to, this.topic, noHeaders)
  }

  protected override isAbsent(entry: LiveEntry): boolean {
    return entry.value === null
  }

  protected override timestampOf(entry: LiveEntry): number {
    return entry.changedAt
  }

  protected override writeLocalKey(entry: LiveEntry, to: ByteWriter): void {
    to.int16(this.number)
    this.#codec.write(entry.id, to)
  }

  protected override writeRowKey(_entry: LiveEntry, change: Change, to: ByteWriter): void {
    to.int16(this.number)
    to.range(change.buffer, change.keyStart, change.keyEnd)
  }

  #orderOf(entry: LiveEntry): string {
    return (entry.order ??= this.#codec.order(entry.id))
  }

  // ------------------------------------------------------------------------------------------------------- engine

  #read(entries: readonly LiveEntry[], keys: readonly Buffer[]): MaybePromise<void> {
    let arriving: MaybePromise<void>
    try {
      arriving = chain(this.services.engine.getMany(keys), (rows) => this.#arrive(entries, rows, 0))
    } catch (error) {
      this.#giveUp(entries)
      throw error
    }
    if (!isPromise(arriving)) return undefined
    const over = arriving.finally(() => this.#giveUp(entries))
    const settled = over.catch(() => {})
    const reading = (this.#reading === null ? settled : Promise.all([this.#reading, settled])).then(() => {
      if (this.#reading === reading) this.#reading = null
    })
    this.#reading = reading
    return over
  }

  /** Of what failed to be read memory knows nothing: whoever asks for it tries again. */
  #giveUp(entries: readonly LiveEntry[]): void {
    for (const entry of entries) if ((entry.flags & flag.loading) !== 0) this.forget(entry)
  }

  #arrive(
    entries: readonly LiveEntry[],
    rows: readonly (Buffer | undefined)[],
    from: number,
  ): MaybePromise<void> {
    for (let index = from; index < rows.length; index++) {
      const entry = entries[index] as LiveEntry
      const row = rows[index]
      if (row === undefined) {
        entry.flags &= ~flag.loading
        continue
      }
      const waiting = this.#arriveOne(entry, row)
      if (isPromise(waiting)) return waiting.then(() => this.#arrive(entries, rows, index + 1))
    }
    return undefined
  }

  #arriveOne(entry: LiveEntry, row: Buffer): MaybePromise<void> {
    if (!this.keepsOld) {
      const value = this.valueSerde.read(row, timestampBytes, row.length, this.topic, noHeaders)
      if (isPromise(value)) return value.then((read) => this.#arriveWith(entry, row, read))
      return this.#arriveWith(entry, row, value)
    }
    const read = detached(entry.key, entry.id)
    return chain(this.#fill(read, row), () => {
      if ((entry.flags & flag.loading) !== 0) entry.touch = read.touch
      this.#arriveWith(entry, row, read.value)
    })
  }

  #arriveWith(entry: LiveEntry, row: Buffer, value: unknown): void {
    // It was written or forgotten since: what was read of it is of no use.
    if ((entry.flags & flag.loading) === 0) return
    entry.value = value
    entry.changedAt = int64At(row, 0)
    entry.flags = (entry.flags & ~flag.loading) | known | flag.existed
    this.resize(entry, row.length - timestampBytes)
  }

  /** Gives a detached entry what the engine has of it. */
  #fill(entry: LiveEntry, row: Buffer): MaybePromise<void> {
    const value = this.valueSerde.read(row, timestampBytes, row.length, this.topic, noHeaders)
    if (isPromise(value)) return value.then((read) => this.#fillWith(entry, row, read))
    return this.#fillWith(entry, row, value)
  }

  #fillWith(entry: LiveEntry, row: Buffer, value: unknown): MaybePromise<void> {
    entry.value = value
    entry.changedAt = int64At(row, 0)
    entry.size = row.length - timestampBytes
    entry.flags |= known | flag.existed
    return this.keepsOld ? this.keep(entry) : undefined
  }

  // ------------------------------------------------------------------------------------------------------- scans

  /** Entries in memory whose keys are in the range, in its order: absent ones too, for they hide what the engine has. */
  #live(low: string | null, high: string | null, prefix: string | null, order: Order): LiveEntry[] {
    const live = this.#sorted
      .slice(this.#entries.values(), low, high, prefix)
      // Of what is being read memory knows nothing.
      .filter((entry) => (entry.flags & flag.loading) === 0)
    return order === 'forward' ? live : live.reverse()
  }

  /** Memory's entries and the engine's rows as of now, merged: where both have a key, memory's counts. */
  async *#scan(
    low: string | null,
    high: string | null,
    prefix: string | null,
    order: Order,
  ): AsyncGenerator<Entry> {
    const live = this.#live(low, high, prefix, order)
    if (this.#complete) {
      for (const entry of live) if (entry.value !== null) yield entry
      return
    }
    const scan = openKeys(this.services.engine, this.number, low, high, prefix, order)
    yield* mergeKeys(live, scan, order, (row, text) => this.#entryOf(row, text))
  }

  async #entryOf(row: Row, text: string): Promise<LiveEntry> {
    const key = await this.#codec.read(row.key, prefixBytes, row.key.length)
    const entry = detached(key, this.#primitive ? key : text)
    await this.#fill(entry, row.value)
    return entry
  }

  // ------------------------------------------------------------------------------------------------------ restore

  override beginRestore(): void {
    if (this.pinned) return
    this.#becomeIncomplete(restoredKeysGuess)
    for (const entry of [...this.#entries.values()]) this.forget(entry)
    this.#sorted.clear()
  }

  protected override clear(): void {
    for (const entry of [...this.#entries.values()]) this.forget(entry)
    this.#sorted.clear()
    this.dropFilter()
    this.#complete = true
  }

  override restoreRecord(record: ChangelogRecord, batch: EngineBatch | null): MaybePromise<void> {
    if (batch === null) return this.#restoreLive(record)
    const { scratch } = this.services
    scratch.reset()
    scratch.int16(this.number)
    record.writeKey(scratch)
    const keyEnd = scratch.position
    if (record.isTombstone) {
      this.notes.count--
      batch.remove(scratch.buffer, 0, keyEnd)
      return undefined
    }
    this.notes.count++
    this.#stored.note(scratch.buffer, prefixBytes, keyEnd, false)
    this.writeRow(record, scratch)
    batch.put(scratch.buffer, 0, keyEnd, keyEnd, scratch.position)
    return undefined
  }

  #restoreLive(record: ChangelogRecord): MaybePromise<void> {
    const { key: bytes } = record
    return chain(this.#codec.read(bytes, 0, bytes.length), (key) => {
      const id = this.#codec.idAt(key, bytes, 0, bytes.length)
      const there = this.#entries.get(id)
      if (there !== undefined) {
        this.notes.count--
        this.forget(there)
      }
      if (record.isTombstone) return undefined
      const entry = detached(key, id)
      return chain(this.#fill(entry, this.rowOf(record)), () => {
        this.#insert(entry)
        this.notes.count++
      })
    })
  }
}

function detached(key: unknown, id: unknown): LiveEntry {
  const entry = new LiveEntry(key, id, 0, 0, 0)
  entry.flags = flag.detached
  return entry
}

function isPresent(entry: Entry): boolean {
  return entry.value !== null
}
