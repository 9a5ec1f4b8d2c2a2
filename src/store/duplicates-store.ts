/**
 * Several values per key and time, as the stores of stream-stream joins keep them. Such an entry is written once and
 * never changed, so it is kept as its bytes, in the order of arrival (entry-log.ts), and read when a partner asks for
 * it. Four marks in that order are all that a commit knows of entries: those before them are persisted, being written
 * to the engine, settled, in flight.
 *
 * What retention hides is not read again: it leaves memory at the next settle, and is not written to the engine if it
 * has not been by then. A join of seconds at a high rate hardly ever writes.
 *
 * What memory knows: a key's list holds everything of it from its `floor` on; a key without a list has nothing from the
 * store's floor on.
 *
 * changelog: the key's bytes, time (8), number of the duplicate (4).
 * engine: store number (2), segment (8), the changelog's key -> timestamp (8), the value's bytes.
 */
import { assert } from '../base/assert.ts'
import type { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { windowEnd } from '../serde/windowed.ts'
import type { WindowStoreSpec } from '../topology/store-spec.ts'
import type { BatchBuilder } from '../wire/batch-builder.ts'
import { int64At } from '../wire/record-batch.ts'
import type { ChangelogRecord, ChangelogWriter, Entry, Order, WindowStore } from './contract.ts'
import type { EngineBatch, Row } from './engine.ts'
import { EntryLog, idAfter, isBefore } from './entry-log.ts'
import { KeyCodec, orderOf } from './key-codec.ts'
import { successor } from './key-scan.ts'
import { storePrefix } from './layered-store.ts'
import { Segments } from './segments.ts'
import { StateStore, type StoreNotes, type StoreServices } from './state-store.ts'
import { drain } from './timed-store.ts'

/** Number and segment before, time and number of the duplicate behind the key's bytes. */
const localKeyStart = 10
const keySuffix = 12
const timestampBytes = 8
/** Of an entry in memory, besides its bytes. */
const entryCost = 56
const listCost = 250
/** Of an entry in the changelog, besides its bytes. */
const recordCost = 40
// From here on the changelog is asked for each record whether it takes one so large.
const largeBytes = 1024
const emptyListsMax = 10_000

/** The entries of one key. */
class KeyList {
  readonly key: unknown
  readonly id: unknown
  /** By time, then number of the duplicate, from `head` on. */
  ids: number[] = []
  head = 0
  floor: number
  /** Text whose order is that of the key's bytes, once a scan needed it. */
  order: string | null = null

  constructor(key: unknown, id: unknown, floor: number) {
    this.key = key
    this.id = id
    this.floor = floor
  }

  get isEmpty(): boolean {
    return this.head === this.ids.length
  }
}

/** What an engine's row holds, while all rows of a scan are gathered. */
type Found = { readonly key: unknown; readonly id: unknown; readonly row: Row }

export class DuplicateEntries extends StateStore implements WindowStore {
  readonly kind = 'window'
  declare readonly spec: WindowStoreSpec
  readonly #codec: KeyCodec
  readonly #segments: Segments
  readonly #log = new EntryLog<KeyList>()
  readonly #lists = new Map<unknown, KeyList>()
  #emptyLists = 0
  /** What is before it was refused. */
  #liveFrom: number
  #floor: number
  /** Entries that were let go though they can be read: what was read of the engine meanwhile may lack them. */
  #evictions = 0
  /** Readings that were begun again after such an eviction: until they are through, nothing is let go. */
  #repeated = 0

  // Marks in the log, each at or after the one before.
  #persistedEnd = 0
  #writingEnd = 0
  #settledEnd = 0
  #flyingEnd = 0
  #writingBytes = 0
  #pendingBytes = 0
  #flyingBytes = 0
  #dirtyBytes = 0

  constructor(
    spec: WindowStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    super(spec, services, number, notes, offset)
    this.#codec = new KeyCodec(spec.keySerde, this.topic)
    this.#segments = new Segments(spec, this.number)
    this.#floor = this.pinned || offset === null ? Number.NEGATIVE_INFINITY : notes.observedTime + 1
    this.#liveFrom = this.#segments.liveFrom(notes.observedTime)
  }

  get observedTime(): number {
    return this.notes.observedTime
  }

  // ------------------------------------------------------------------------------------------------------- writes

  append(key: unknown, start: number, value: unknown, _headers: Headers): MaybePromise<boolean> {
    const id = this.#codec.id(key)
    return isPromise(id)
      ? id.then((text) => this.#append(key, text, start, value))
      : this.#append(key, id, start, value)
  }

  #append(key: unknown, id: unknown, start: number, value: unknown): MaybePromise<boolean> {
    this.#observe(start)
    if (start < this.#liveFrom) return false
    const { writer } = this.#log
    const sequence = (this.notes.sequence + 1) & 0x7fffffff
    const keyStart = writer.position
    let valueStart = keyStart
    try {
      this.#codec.write(id, writer)
      writer.int64(start)
      writer.int32(sequence)
      valueStart = writer.position
      const waiting = this.valueSerde.write(value, writer, this.topic, noHeaders)
      if (isPromise(waiting)) {
        writer.position = keyStart
        return waiting.then(() => this.#append(key, id, start, value))
      }
    } catch (error) {
      writer.position = keyStart
      if (error instanceof StreamsError) throw error
      throw new StreamsError(
        'SERDE_FAILED',
        `store ${this.name}: a value can't be written: ${error instanceof Error ? error.message : String(error)}`,
        { store: this.name, cause: error, verdict: 'stop' },
      )
    }
    this.notes.sequence = sequence
    this.#dirty(this.#add(key, id, start, sequence, keyStart, valueStart))
    return true
  }

  /** Puts what was written to the log's writer at its end, and into the list of its key. */
  #add(
    key: unknown,
    id: unknown,
    start: number,
    sequence: number,
    keyStart: number,
    valueStart: number,
  ): number {
    const list = this.#listOf(key, id)
    const entry = this.#log.append(list, start, sequence, keyStart, valueStart)
    this.#insert(list, entry, start, sequence)
    return entry
  }

  #dirty(entry: number): void {
    const bytes = this.#log.bytes(entry) + recordCost
    this.#dirtyBytes += bytes
    this.services.tally.dirty += bytes
  }

  #observe(time: number): void {
    if (time <= this.notes.observedTime) return
    this.notes.observedTime = time
    this.#liveFrom = this.#segments.liveFrom(time)
  }

  /** There is no value that could be set: each is added. */
  set(entry: Entry, value: unknown, _timestamp: number, headers: Headers): boolean {
    if (value === null) return true
    const taken = this.append(entry.key, entry.start, value, headers)
    assert(!isPromise(taken), `${this.name}: values of a store with duplicates are appended`)
    return taken
  }

  // -------------------------------------------------------------------------------------------------------- lists

  #listOf(key: unknown, id: unknown): KeyList {
    const there = this.#lists.get(id)
    if (there !== undefined) {
      if (there.isEmpty) this.#emptyLists--
      return there
    }
    const list = new KeyList(key, id, this.#floor)
    this.#lists.set(id, list)
    this.services.tally.cached += listCost
    return list
  }

  #insert(list: KeyList, entry: number, time: number, sequence: number): void {
    const { ids, head } = list
    if (head === ids.length) {
      // A list of one has room for one; an empty one would make room for many at the first push.
      if (ids.length === 0) list.ids = [entry]
      else ids[0] = entry
      if (ids.length > 1) ids.length = 1
      list.head = 0
    } else if (this.#isAfterLast(ids, time, sequence)) ids.push(entry)
    else ids.splice(this.#position(list, time, sequence), 0, entry)
    this.services.tally.cached += this.#log.bytes(entry) + entryCost
  }

  #isAfterLast(ids: readonly number[], time: number, sequence: number): boolean {
    const { times, sequences, mask } = this.#log
    const slot = (ids[ids.length - 1] as number) & mask
    const last = times[slot] as number
    return last < time || (last === time && (sequences[slot] as number) < sequence)
  }

  /** Index of the first entry that is not before. */
  #position({ ids, head }: KeyList, time: number, sequence: number): number {
    const { times, sequences, mask } = this.#log
    let low = head
    let high = ids.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const slot = (ids[middle] as number) & mask
      const order = (times[slot] as number) - time || (sequences[slot] as number) - sequence
      if (order < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #seek(list: KeyList, time: number, sequence: number): number | null {
    const { times, sequences, mask } = this.#log
    const id = list.ids[this.#position(list, time, sequence)]
    if (id === undefined) return null
    return times[id & mask] === time && sequences[id & mask] === sequence ? id : null
  }

  /** The oldest by arrival leaves memory. */
  #shift(): void {
    const log = this.#log
    const { tally } = this.services
    const id = log.first
    const slot = id & log.mask
    const list = log.owners[slot] as KeyList
    const { ids, head } = list
    tally.cached -= log.bytes(id) + entryCost
    if (ids[head] === id) {
      list.head = head + 1
      if (list.head > 32 && list.head * 2 > ids.length) {
        ids.splice(0, list.head)
        list.head = 0
      }
    } else {
      const index = this.#position(list, log.times[slot] as number, log.sequences[slot] as number)
      assert(ids[index] === id, `${this.name}: an entry is in the list of its key`)
      ids.splice(index, 1)
    }
    if (list.isEmpty) this.#emptyLists++
    if (!isBefore(id, this.#persistedEnd)) {
      const bytes = log.bytes(id) + recordCost
      tally.pending -= bytes
      if (isBefore(id, this.#writingEnd)) this.#writingBytes -= bytes
      else this.#pendingBytes -= bytes
      this.#persistedEnd = idAfter(id)
      if (isBefore(this.#writingEnd, this.#persistedEnd)) this.#writingEnd = this.#persistedEnd
    }
    log.shift()
  }

  /** What is settled and hidden leaves, and lists that only say that their key has nothing, where they are many. */
  #release(): void {
    const log = this.#log
    const visibleFrom = this.#segments.visibleFrom(this.settledNotes.observedTime)
    while (log.first !== this.#settledEnd && (log.times[log.first & log.mask] as number) < visibleFrom)
      this.#shift()
    log.shrink()
    if (this.#emptyLists > emptyListsMax && this.#emptyLists * 2 > this.#lists.size) this.#dropEmptyLists()
  }

  #dropEmptyLists(): void {
    for (const list of this.#lists.values()) {
      if (!list.isEmpty) continue
      this.#lists.delete(list.id)
      this.services.tally.cached -= listCost
    }
    this.#emptyLists = 0
  }

  override trim(bytes: number): void {
    if (this.pinned || this.#repeated > 0) return
    const { tally } = this.services
    const until = tally.cached - bytes
    this.#dropEmptyLists()
    const log = this.#log
    while (tally.cached > until && log.first !== this.#persistedEnd) {
      const slot = log.first & log.mask
      const floor = (log.times[slot] as number) + 1
      const list = log.owners[slot] as KeyList
      if (list.floor < floor) list.floor = floor
      if (this.#floor < floor) this.#floor = floor
      this.#evictions++
      this.#shift()
    }
  }

  // -------------------------------------------------------------------------------------------------------- reads

  /** Values are told apart by their numbers only, which nobody knows: there is none of a key and time alone. */
  entry(key: unknown, start: number): Entry {
    return { key, start, end: this.#endOf(start), value: null, timestamp: -1 }
  }

  fetch(key: unknown, from: number, to: number, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    const low = Math.max(from, this.#segments.visibleFrom(this.notes.observedTime))
    if (low > to) return none
    const id = this.#codec.id(key)
    return isPromise(id)
      ? id.then((text) => this.#fetch(key, text, low, to, order))
      : this.#fetch(key, id, low, to, order)
  }

  #fetch(
    key: unknown,
    id: unknown,
    from: number,
    to: number,
    order: Order,
    isAgain = false,
  ): MaybePromise<readonly Entry[]> {
    const list = this.#lists.get(id)
    if (from < (list === undefined ? this.#floor : list.floor)) {
      const load = () =>
        chain(this.#loadKey(key, id, from), () => this.#fetch(key, id, from, to, order, true))
      return isAgain ? this.#repeat(load) : load()
    }
    if (list === undefined || list.isEmpty) return none
    const { times, mask } = this.#log
    const { ids } = list
    let found: MaybePromise<Entry>[] | null = null
    let waits = false
    for (let at = this.#position(list, from, -1); at < ids.length; at++) {
      const entry = ids[at] as number
      if ((times[entry & mask] as number) > to) break
      const read = this.#read(list, entry)
      if (isPromise(read)) waits = true
      if (found === null) found = [read]
      else found.push(read)
    }
    if (found === null) return none
    if (order === 'backward') found.reverse()
    return waits ? Promise.all(found) : (found as Entry[])
  }

  /**
   * What was read may leave memory before it is used, or make the reading void. Once: the second time nothing leaves. Not
   * the first time, too, or a task that reads for each record would never make room.
   */
  #repeat<T>(read: () => MaybePromise<T>): MaybePromise<T> {
    this.#repeated++
    const done = () => {
      this.#repeated--
    }
    let result: MaybePromise<T>
    try {
      result = read()
    } catch (error) {
      done()
      throw error
    }
    if (isPromise(result)) return result.finally(done)
    done()
    return result
  }

  #read(list: KeyList, id: number): MaybePromise<Entry> {
    const log = this.#log
    const slot = id & log.mask
    const value = this.valueSerde.read(
      log.buffer(id),
      log.valueStarts[slot] as number,
      log.valueEnds[slot] as number,
      this.topic,
      noHeaders,
    )
    const start = log.times[slot] as number
    if (isPromise(value)) return value.then((settled) => this.#entryOf(list.key, start, settled))
    return this.#entryOf(list.key, start, value)
  }

  #entryOf(key: unknown, start: number, value: unknown): Entry {
    return { key, start, end: this.#endOf(start), value, timestamp: start }
  }

  #endOf(start: number): number {
    return windowEnd(start, this.spec.windowSizeMs)
  }

  fetchAll(from: number, to: number, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    return this.#fetchLists(null, null, from, to, order)
  }

  async *fetchRange(
    fromKey: unknown,
    toKey: unknown,
    from: number,
    to: number,
    order: Order = 'forward',
  ): AsyncGenerator<Entry> {
    const low = fromKey === null ? null : await orderOf(this.#codec, fromKey)
    const high = toKey === null ? null : await orderOf(this.#codec, toKey)
    yield* await this.#fetchLists(low, high, from, to, order)
  }

  /** Of all keys whose bytes are within, sorted by time, the key's bytes, and arrival. */
  #fetchLists(
    lowKey: string | null,
    highKey: string | null,
    from: number,
    to: number,
    order: Order,
    isAgain = false,
  ): MaybePromise<readonly Entry[]> {
    const low = Math.max(from, this.#segments.visibleFrom(this.notes.observedTime))
    if (low > to) return none
    if (low < this.#floor) {
      const load = () =>
        chain(this.#loadTimes(low), () => this.#fetchLists(lowKey, highKey, from, to, order, true))
      return isAgain ? this.#repeat(load) : load()
    }
    const { times, sequences, mask } = this.#log
    const found: { readonly list: KeyList; readonly id: number }[] = []
    for (const list of this.#lists.values()) {
      if (list.isEmpty) continue
      const text = (list.order ??= this.#codec.order(list.id))
      if ((lowKey !== null && text < lowKey) || (highKey !== null && text > highKey)) continue
      const { ids } = list
      for (let at = this.#position(list, low, -1); at < ids.length; at++) {
        const id = ids[at] as number
        if ((times[id & mask] as number) > to) break
        found.push({ list, id })
      }
    }
    found.sort((one, other) => {
      const a = one.id & mask
      const b = other.id & mask
      const byTime = (times[a] as number) - (times[b] as number)
      if (byTime !== 0) return byTime
      const left = one.list.order as string
      const right = other.list.order as string
      if (left !== right) return left < right ? -1 : 1
      return (sequences[a] as number) - (sequences[b] as number)
    })
    if (order === 'backward') found.reverse()
    const entries = found.map(({ list, id }) => this.#read(list, id))
    return entries.some(isPromise) ? Promise.all(entries) : (entries as Entry[])
  }

  want(): void {}

  // ------------------------------------------------------------------------------------------------------- engine

  /** Everything of the key from `from` on. */
  #loadKey(key: unknown, id: unknown, from: number): MaybePromise<void> {
    const { scratch } = this.services
    const floor = this.#lists.get(id)?.floor ?? this.#floor
    const first = this.#segments.of(Math.max(from, this.#liveFrom))
    const last = this.#segments.of(Math.min(floor - 1, this.settledNotes.observedTime))
    scratch.reset()
    this.#codec.write(id, scratch)
    const keyBytes = scratch.copy()
    const low = Buffer.alloc(timestampBytes)
    low.writeBigInt64BE(BigInt(Math.max(0, Math.trunc(Math.min(from, Number.MAX_SAFE_INTEGER)))))
    const found: Found[] = []
    const readFrom = (segment: number): MaybePromise<void> => {
      for (let at = segment; at <= last; at++) {
        const prefix = Buffer.concat([this.#segments.key(at), keyBytes])
        const scan = this.services.engine.scan(Buffer.concat([prefix, low]), successor(prefix))
        const waiting = drain(scan.next.bind(scan), scan.close.bind(scan), (row) => {
          // Longer keys that begin with this one lie in between.
          if (row.key.length === prefix.length + keySuffix) found.push({ key, id, row })
          return undefined
        })
        if (isPromise(waiting)) return waiting.then(() => readFrom(at + 1))
      }
      return undefined
    }
    return this.#enterAll(readFrom(first), found, () => {
      const there = this.#lists.get(id)
      const list = there ?? this.#listOf(key, id)
      if (there === undefined) this.#emptyLists++
      if (from < list.floor) list.floor = from
    })
  }

  /** Everything of all keys from `from` on. */
  #loadTimes(from: number): MaybePromise<void> {
    const first = this.#segments.of(Math.max(from, this.#liveFrom))
    const end = successor(storePrefix(this.number))
    const scan = this.services.engine.scan(this.#segments.key(first), end)
    const found: Found[] = []
    const reading = drain(scan.next.bind(scan), scan.close.bind(scan), (row) => {
      const keyEnd = row.key.length - keySuffix
      if (int64At(row.key, keyEnd) < from) return undefined
      return chain(this.#codec.read(row.key, localKeyStart, keyEnd), (key) => {
        found.push({ key, id: this.#codec.idAt(key, row.key, localKeyStart, keyEnd), row })
      })
    })
    return this.#enterAll(reading, found, () => {
      if (from < this.#floor) this.#floor = from
      for (const list of this.#lists.values()) if (from < list.floor) list.floor = from
    })
  }

  /**
   * Puts rows that were read where they are not yet, then says so. Where room was made meanwhile, what left may be
   * neither in memory nor among the rows: then nothing is said, and whoever asked reads again, see `#repeat`.
   */
  #enterAll(reading: MaybePromise<void>, found: Found[], know: () => void): MaybePromise<void> {
    const evictions = this.#evictions
    return chain(reading, () => {
      if (evictions !== this.#evictions) return
      // The oldest goes first to the front.
      found.sort((one, other) => timeOf(other.row) - timeOf(one.row))
      for (const { key, id, row } of found) this.#enter(key, id, row)
      know()
    })
  }

  #enter(key: unknown, id: unknown, { key: keyBytes, value }: Row): void {
    const log = this.#log
    const keyEnd = keyBytes.length - keySuffix
    const time = int64At(keyBytes, keyEnd)
    const sequence = keyBytes.readInt32BE(keyEnd + 8)
    const there = this.#lists.get(id)
    if (there !== undefined && this.#seek(there, time, sequence) !== null) return
    const { writer } = log
    const keyStart = writer.position
    writer.range(keyBytes, localKeyStart, keyBytes.length)
    const valueStart = writer.position
    writer.range(value, timestampBytes, value.length)
    const list = this.#listOf(key, id)
    const entry = log.prepend(list, time, sequence, keyStart, valueStart)
    this.#insert(list, entry, time, sequence)
  }

  // -------------------------------------------------------------------------------------------------- generations

  override get hasDirty(): boolean {
    return this.#flyingEnd !== this.#log.end
  }

  override get hasPending(): boolean {
    return super.hasPending || this.#persistedEnd !== this.#settledEnd
  }

  override cut(changelog: ChangelogWriter): MaybePromise<void> {
    super.cut(changelog)
    assert(this.#settledEnd === this.#flyingEnd, `${this.name}: one generation in flight`)
    const { end } = this.#log
    if (this.isLogged) this.#writeChangelog(this.#flyingEnd, end, changelog)
    this.#flyingEnd = end
    const { tally } = this.services
    tally.dirty -= this.#dirtyBytes
    tally.flying += this.#dirtyBytes
    this.#flyingBytes = this.#dirtyBytes
    this.#dirtyBytes = 0
    return undefined
  }

  #writeChangelog(from: number, to: number, changelog: ChangelogWriter): void {
    const log = this.#log
    const { mask, times, keyStarts, valueStarts, valueEnds } = log
    let builder: BatchBuilder | null = null
    for (let id = from; id !== to; id = idAfter(id)) {
      const slot = id & mask
      const buffer = log.buffer(id)
      const time = times[slot] as number
      const keyStart = keyStarts[slot] as number
      const valueStart = valueStarts[slot] as number
      const valueEnd = valueEnds[slot] as number
      const bytes = valueEnd - keyStart
      if (
        builder === null ||
        bytes > largeBytes ||
        !builder.append(time, buffer, keyStart, valueStart, buffer, valueStart, valueEnd, noHeaders)
      ) {
        builder = changelog.builder(this.name, bytes)
        const taken = builder.append(
          time,
          buffer,
          keyStart,
          valueStart,
          buffer,
          valueStart,
          valueEnd,
          noHeaders,
        )
        assert(taken, `${this.name}: the changelog's batch has room for a record of ${bytes} bytes`)
      }
    }
  }

  override settle(offset: number | undefined): void {
    super.settle(offset)
    const { tally } = this.services
    tally.flying -= this.#flyingBytes
    this.#settledEnd = this.#flyingEnd
    if (this.pinned) {
      this.#persistedEnd = this.#writingEnd = this.#settledEnd
    } else {
      tally.pending += this.#flyingBytes
      this.#pendingBytes += this.#flyingBytes
    }
    this.#flyingBytes = 0
    this.#release()
  }

  override persistInto(batch: EngineBatch, to: ByteWriter): void {
    super.persistInto(batch, to)
    assert(this.#writingBytes === 0, `${this.name}: one write to the engine at a time`)
    this.overlayInto(batch, to)
    this.#writingEnd = this.#settledEnd
    this.#writingBytes = this.#pendingBytes
    this.#pendingBytes = 0
  }

  override overlayInto(batch: EngineBatch, to: ByteWriter): void {
    const log = this.#log
    const { times, mask } = log
    const visibleFrom = this.#segments.visibleFrom(this.settledNotes.observedTime)
    for (let id = this.#persistedEnd; id !== this.#settledEnd; id = idAfter(id)) {
      const slot = id & mask
      const time = times[slot] as number
      if (time < visibleFrom) continue
      const buffer = log.buffer(id)
      to.reset()
      to.int16(this.number)
      to.int64(this.#segments.of(time))
      to.range(buffer, log.keyStarts[slot] as number, log.valueStarts[slot] as number)
      const keyEnd = to.position
      to.int64(time)
      to.range(buffer, log.valueStarts[slot] as number, log.valueEnds[slot] as number)
      batch.put(to.buffer, 0, keyEnd, keyEnd, to.position)
    }
  }

  override persisted(): void {
    super.persisted()
    this.services.tally.pending -= this.#writingBytes
    this.#writingBytes = 0
    this.#persistedEnd = this.#writingEnd
  }

  override notPersisted(): void {
    super.notPersisted()
    this.#pendingBytes += this.#writingBytes
    this.#writingBytes = 0
    this.#writingEnd = this.#persistedEnd
  }

  override expire(settled: StoreNotes): MaybePromise<void> {
    if (this.pinned) return undefined
    return this.#segments.expireIn(this.services.engine, settled.observedTime)
  }

  // ------------------------------------------------------------------------------------------------------ restore

  override beginRestore(): void {
    if (this.pinned) return
    this.#empty()
    this.#floor = Number.POSITIVE_INFINITY
  }

  override restored(nextOffset: number): void {
    super.restored(nextOffset)
    if (this.pinned) this.#release()
    else this.#floor = this.notes.observedTime + 1
  }

  override restoreRecord(
    { key, value, timestamp }: ChangelogRecord,
    batch: EngineBatch | null,
  ): MaybePromise<void> {
    const keyEnd = key.length - keySuffix
    const time = int64At(key, keyEnd)
    const sequence = key.readInt32BE(keyEnd + 8)
    if (sequence > this.notes.sequence) this.notes.sequence = sequence
    this.#observe(time)
    if (time < this.#liveFrom || value === null) return undefined
    if (batch === null) return this.#restoreLive(key, keyEnd, time, sequence, value)
    const { scratch } = this.services
    scratch.reset()
    scratch.int16(this.number)
    scratch.int64(this.#segments.of(time))
    scratch.bytes(key)
    const localEnd = scratch.position
    scratch.int64(timestamp)
    scratch.bytes(value)
    batch.put(scratch.buffer, 0, localEnd, localEnd, scratch.position)
    return undefined
  }

  #restoreLive(
    keyBytes: Buffer,
    keyEnd: number,
    time: number,
    sequence: number,
    value: Buffer,
  ): MaybePromise<void> {
    return chain(this.#codec.read(keyBytes, 0, keyEnd), (key) => {
      const { writer } = this.#log
      const keyStart = writer.position
      writer.bytes(keyBytes)
      const valueStart = writer.position
      writer.bytes(value)
      const id = this.#codec.idAt(key, keyBytes, 0, keyEnd)
      const list = this.#lists.get(id)
      const there = list === undefined ? null : this.#seek(list, time, sequence)
      // Numbers of duplicates begin anew where Kafka Streams is started again.
      if (there !== null) this.#replace(there, keyStart, valueStart)
      else this.#add(key, id, time, sequence, keyStart, valueStart)
      this.#markClean()
    })
  }

  #replace(entry: number, keyStart: number, valueStart: number): void {
    const { tally } = this.services
    tally.cached -= this.#log.bytes(entry)
    this.#log.replace(entry, keyStart, valueStart)
    tally.cached += this.#log.bytes(entry)
  }

  /** All there is, is persisted. */
  #markClean(): void {
    this.#persistedEnd = this.#writingEnd = this.#settledEnd = this.#flyingEnd = this.#log.end
  }

  override reset(): void {
    const { tally } = this.services
    tally.dirty -= this.#dirtyBytes
    tally.flying -= this.#flyingBytes
    tally.pending -= this.#pendingBytes + this.#writingBytes
    this.#dirtyBytes = this.#flyingBytes = this.#pendingBytes = this.#writingBytes = 0
    super.reset()
  }

  protected override clear(): void {
    this.#empty()
    this.#floor = Number.NEGATIVE_INFINITY
    this.#liveFrom = Number.NEGATIVE_INFINITY
    this.#segments.startOver()
  }

  #empty(): void {
    const log = this.#log
    const { tally } = this.services
    for (let id = log.first; id !== log.end; id = idAfter(id)) tally.cached -= log.bytes(id) + entryCost
    tally.cached -= listCost * this.#lists.size
    log.clear()
    this.#lists.clear()
    this.#emptyLists = 0
    this.#evictions++
    this.#markClean()
  }
}

const none: readonly Entry[] = Object.freeze([])

function timeOf({ key }: Row): number {
  return int64At(key, key.length - keySuffix)
}
