/**
 * What stores in rows share, which are those of a plain kind whose serdes never wait (`isInRows`). They keep a row
 * (row-table.ts) where layered-store.ts keeps an object for each entry, and do with rows what that does with slots:
 * generations of changes are encoded, settled and given to the engine as there. An entry is made when somebody asks for
 * it, and dies young.
 */
import { assert } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { Unread } from '../base/unread.ts'
import { knowing } from '../serde/known-text.ts'
import type { Serde } from '../serde/serde.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type { BatchBuilder } from '../wire/batch-builder.ts'
import { int64At } from '../wire/record-batch.ts'
import type { ChangelogWriter, Entry, FlushListener } from './contract.ts'
import type { EngineBatch } from './engine.ts'
import { Change, Generation } from './generation.ts'
import { KeyCodec } from './key-codec.ts'
import { keyOrder } from './key-order.ts'
import { hashOf, RowTable, rowFlag } from './row-table.ts'
import { changed, known, Touch } from './slot.ts'
import { StateStore, type StoreNotes, type StoreServices } from './state-store.ts'
import { WantedKeys } from './wanted-keys.ts'

/** Of a record in the changelog, besides its value, before it is encoded. */
const recordGuess = 64
/** Besides its key and value. */
const recordCost = 40
/** Heap bytes of a value that is no number, for each of its bytes. */
const valueCost = 5
/** Of a key that was read, beside its row. */
const keyCost = 40
const timestampBytes = 8

/** Whether a store is kept in rows; what it writes is the same either way. `number`: 0 where it lives in memory only. */
export function isInRows(spec: StoreSpec, number: number): boolean {
  const { keySerde, valueSerde, changelog, keepsHeaders } = spec
  return (
    number > 0 &&
    valueSerde.immediate === true &&
    keySerde.primitive === true &&
    keepsHeaders !== true &&
    changelog !== null &&
    changelog.sourceTopic === null
  )
}

/** A key (and window) as it was when it was asked for. */
export class RowEntry implements Entry {
  key: unknown
  start: number
  end: number
  value: unknown = null
  timestamp = -1
  /** -1: it had none. */
  row = -1
  /** As long as no row was given back since, the row is that of this key. */
  era = 0
  /** Out of retention when it was asked for. */
  isHidden = false

  constructor(key: unknown, start: number, end: number) {
    this.key = key
    this.start = start
    this.end = end
  }
}

export abstract class RowStore extends StateStore {
  protected readonly codec: KeyCodec
  protected readonly rows: RowTable
  readonly #ofNumbers: boolean
  /** Of memory, in the task's tally. */
  #accounted = 0
  /** Of values in memory that are no numbers. */
  #valueBytes = 0
  readonly #keySerde: Serde<unknown>
  /** Keys that were read, by row. */
  #keys: unknown[] = []
  #keysRead = 0
  /** Grows whenever a row leaves the index. */
  #era = 0
  #dirty: number[] = []
  #dirtyBytes = 0
  #flying: Generation<number> | null = null
  #pending: Generation<number>[] = []
  #writing: Generation<number>[] = []
  /** Numbers of generations: the last one cut, and given to the engine. */
  #cutNumber = 0
  #persistedNumber = 0
  readonly #change = new Change()
  /** Rows that are given back once the engine has what was committed of them. */
  #leaving: number[] = []
  /** Rows to be read. */
  readonly #wanted = new WantedKeys<number>()
  /** Of the next request: a row knows by which it is read. */
  #readNumber = 1
  /** Resolves once everything is there that is being read now; nothing rejects it. */
  #reading: Promise<void> | null = null

  #listener: FlushListener | null = null
  #keepsOld = false
  #touched: number[] = []
  readonly #touches = new Map<number, Touch>()
  /** By row, the bytes of an object as downstream knows of it: an aggregator may change it in place. */
  readonly #olds: (Buffer | undefined)[] = []
  #touchClock = 0

  // Where the bytes of the key are that was located last.
  protected keyBytes: Buffer = Buffer.alloc(0)
  protected keyStart = 0
  protected keyEnd = 0
  readonly #keyScratch = new ByteWriter(256)

  constructor(
    spec: StoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
    isTimed: boolean,
  ) {
    super(spec, services, number, notes, offset)
    assert(!this.pinned && this.isLogged, `${spec.name}: stores in rows have an engine and a changelog`)
    this.codec = new KeyCodec(spec.keySerde, this.topic)
    this.#keySerde = knowing(spec.keySerde)
    this.#ofNumbers = spec.valueSerde.numeric === true
    this.rows = new RowTable(isTimed, this.#ofNumbers)
  }

  // ------------------------------------------------------------------------------------------ what kinds differ in

  /** What the changelog's key has behind the key's bytes. */
  protected abstract writeKeyEnd(time: number, to: ByteWriter): void
  /** What the engine's key has before the changelog's. */
  protected abstract writeRowStart(time: number, to: ByteWriter): void
  protected abstract entryOf(key: unknown, time: number): RowEntry
  /** The change is of no use to anybody: the engine need not be told. */
  protected abstract isHidden(change: Change): boolean
  /** The engine will get a row that it did not have; the changelog's key is what comes before `keyEnd`. */
  protected noteStored(_buffer: Buffer, _keyEnd: number): void {}
  /** The row has neither a value nor anything that is still to be said of it. */
  protected abstract releaseAbsent(row: number): void
  /** Some key may be in the engine only. */
  abstract get mayMiss(): boolean

  // --------------------------------------------------------------------------------------------------------- keys

  /** Finds the bytes of a key, and returns their hash. */
  protected locate(key: unknown, time: number): number {
    if (key instanceof Unread) {
      this.keyBytes = key.buffer
      this.keyStart = key.start
      this.keyEnd = key.end
    } else {
      const scratch = this.#keyScratch
      scratch.reset()
      this.codec.write(key, scratch)
      this.keyBytes = scratch.buffer
      this.keyStart = 0
      this.keyEnd = scratch.position
    }
    return hashOf(this.keyBytes, this.keyStart, this.keyEnd, time)
  }

  protected findLocated(hash: number, time: number): number {
    return this.rows.find(hash, this.keyBytes, this.keyStart, this.keyEnd, time)
  }

  protected insertLocated(hash: number, time: number): number {
    const row = this.rows.insert(hash, this.keyBytes, this.keyStart, this.keyEnd, time)
    this.#account()
    return row
  }

  #account(): void {
    const bytes = this.rows.memoryBytes + this.#valueBytes * valueCost + this.#keysRead * keyCost
    this.services.tally.cached += bytes - this.#accounted
    this.#accounted = bytes
  }

  /** The value of an indexed row takes so many bytes. */
  #resize(row: number, size: number): void {
    if (this.#ofNumbers) return
    const { rows } = this
    this.#valueBytes += size - rows.sizeOf(row)
    rows.setSize(row, size)
    this.#account()
  }

  protected keyOf(row: number): unknown {
    const bytes = this.rows.key(row)
    const { keyStart, keyEnd } = this.rows
    const key = this.codec.read(bytes, keyStart, keyEnd)
    assert(!isPromise(key), `${this.name}: primitive keys are read at once`)
    return key
  }

  protected entryAt(row: number, key: unknown): RowEntry {
    return this.fill(this.entryOf(key, this.rows.time(row)), row)
  }

  /** Sets what the row says. */
  protected fill(entry: RowEntry, row: number): RowEntry {
    const { rows } = this
    const isAbsent = (rows.flags(row) & rowFlag.absent) !== 0
    entry.row = row
    entry.era = this.#era
    entry.value = isAbsent ? null : rows.value(row)
    entry.timestamp = isAbsent ? -1 : rows.timestamp(row)
    return entry
  }

  /**
   * The key of an entry. Where it was asked for with one that nobody had read, it is read, and remembered by its row: who
   * comes back to a window neither hashes nor compares its text again.
   */
  readKey(entry: Entry): unknown {
    const { key, row, era } = entry as RowEntry
    if (!(key instanceof Unread)) return key
    const isThere = row >= 0 && era === this.#era
    const before = isThere ? this.#keys[row] : undefined
    if (before !== undefined) return before
    const read = this.#keySerde.read(key.buffer, key.start, key.end, this.topic, noHeaders)
    if (isThere) {
      setAt(this.#keys, row, read)
      this.#keysRead++
    }
    return read
  }

  /** The row that an entry is written to: its own, the one that its key has by now, or a new one. */
  protected rowFor(entry: Entry): number {
    const { row, era } = entry as Partial<RowEntry>
    if (row !== undefined && row >= 0 && era === this.#era) return row
    const time = entry.start
    const hash = this.locate(entry.key, time)
    const there = this.findLocated(hash, time)
    if (there < 0) return this.insertLocated(hash, time)
    const flags = this.rows.flags(there)
    if ((flags & rowFlag.loading) !== 0) {
      // What is being read of it is older than what is about to be written.
      this.rows.setFlags(there, (flags & ~rowFlag.loading) | known)
      this.rows.setSize(there, 0)
    }
    return there
  }

  /**
   * Takes a row out of the index; it is given back once nothing is to be said of it any more. `isOver`: what was
   * committed of it is of no use to anybody.
   */
  protected forget(row: number, isOver = false): void {
    const { rows } = this
    rows.unlink(row)
    if (!this.#ofNumbers && (rows.flags(row) & rowFlag.loading) === 0) this.#valueBytes -= rows.sizeOf(row)
    if (row < this.#olds.length) this.#olds[row] = undefined
    if (this.#keys[row] !== undefined) {
      this.#keys[row] = undefined
      this.#keysRead--
    }
    this.#account()
    this.#era++
    rows.setFlags(row, (rows.flags(row) | rowFlag.detached) & ~rowFlag.loading)
    this.releaseDetached(row, isOver)
  }

  /** Gives back a row that nobody finds, now or when that becomes possible. */
  protected releaseDetached(row: number, isOver = false): void {
    const { rows } = this
    const flags = rows.flags(row)
    if ((flags & (changed | rowFlag.listed | rowFlag.leaving)) !== 0) return
    if (isOver || rows.cutIn(row) <= this.#persistedNumber) {
      rows.release(row)
      return
    }
    rows.setFlags(row, flags | rowFlag.leaving)
    this.#leaving.push(row)
  }

  /** It can go without anybody missing it. `flags` are its own. */
  protected canGo(row: number, flags: number): boolean {
    if ((flags & (changed | rowFlag.free | rowFlag.detached | rowFlag.loading)) !== 0) return false
    if (this.rows.cutIn(row) > this.#persistedNumber) return false
    const wantedBy = this.rows.wantedBy(row)
    return wantedBy === 0 || !this.services.lookAheads.holds(wantedBy)
  }

  // ------------------------------------------------------------------------------------------------------- writes

  /** A new value of a row. */
  protected write(row: number, value: unknown, timestamp: number, headers: Headers): void {
    const { rows } = this
    if (this.cached) this.#touch(row, headers)
    const flags = rows.flags(row)
    let now = flags | rowFlag.dirty
    if (value === null) {
      now |= rowFlag.absent
      rows.setValue(row, this.#ofNumbers ? 0 : null, timestamp)
    } else {
      now &= ~rowFlag.absent
      if (this.#ofNumbers && typeof value !== 'number') this.#refuse(value)
      rows.setValue(row, value, timestamp)
    }
    if ((flags & rowFlag.absent) !== (now & rowFlag.absent)) this.notes.count += value === null ? -1 : 1
    rows.setFlags(row, now)
    if ((flags & rowFlag.dirty) !== 0) return
    this.#dirty.push(row)
    const bytes = recordGuess + rows.sizeOf(row)
    this.#dirtyBytes += bytes
    this.services.tally.dirty += bytes
  }

  /** Says of what is no number what its serde says. */
  #refuse(value: unknown): never {
    const { scratch } = this.services
    try {
      scratch.reset()
      this.valueSerde.write(value, scratch, this.topic, noHeaders)
    } catch (error) {
      throw this.unwritable(error)
    }
    throw this.unwritable(new TypeError(`${this.valueSerde.name}: ${String(value)} is not a number`))
  }

  // ------------------------------------------------------------------------------------------------- generations

  override get hasDirty(): boolean {
    return this.#dirty.length > 0
  }

  override get hasPending(): boolean {
    return this.#pending.length > 0 || super.hasPending
  }

  override cut(changelog: ChangelogWriter): MaybePromise<void> {
    super.cut(changelog)
    assert(this.#flying === null, `${this.name}: one generation in flight`)
    const dirty = this.#dirty
    if (dirty.length === 0) return undefined
    this.#dirty = []
    this.services.tally.dirty -= this.#dirtyBytes
    this.#dirtyBytes = 0
    const { rows, valueSerde } = this
    const { scratch, tally } = this.services
    const generation = new Generation<number>(++this.#cutNumber, dirty, true, false)
    this.#flying = generation
    let builder: BatchBuilder | null = null
    let bytes = 0
    try {
      for (let index = 0; index < dirty.length; index++) {
        const row = dirty[index] as number
        const flags = rows.flags(row)
        const isAbsent = (flags & rowFlag.absent) !== 0
        // Nothing to take back, or out of retention by now.
        if ((isAbsent && (flags & rowFlag.logged) === 0) || (flags & rowFlag.hidden) !== 0) {
          rows.setFlags(row, flags & ~rowFlag.dirty)
          this.#releaseIfIdle(row)
          continue
        }
        scratch.reset()
        const key = rows.key(row)
        scratch.range(key, rows.keyStart, rows.keyEnd)
        this.writeKeyEnd(rows.time(row), scratch)
        const keyEnd = scratch.position
        // Its serde never waits.
        if (!isAbsent) void valueSerde.write(rows.value(row), scratch, this.topic, noHeaders)
        const valueEnd = scratch.position
        const { buffer } = scratch
        const timestamp = rows.timestamp(row)
        const value = isAbsent ? null : buffer
        builder = this.log(changelog, builder, timestamp, buffer, keyEnd, value, valueEnd, noHeaders)
        const { keyStart, valueStart } = builder
        generation.add(row, builder, keyStart, builder.keyEnd, valueStart, builder.valueEnd, timestamp)
        if (isAbsent) {
          generation.removed.push(row)
          rows.setFlags(row, flags & ~(rowFlag.dirty | rowFlag.logged))
        } else {
          if ((flags & rowFlag.stored) === 0) this.noteStored(buffer, keyEnd)
          rows.setFlags(row, (flags & ~rowFlag.dirty) | known)
        }
        rows.setCutIn(row, generation.number)
        if ((flags & rowFlag.detached) === 0) this.#resize(row, valueEnd - keyEnd)
        bytes += valueEnd + recordCost
      }
    } catch (error) {
      throw this.unwritable(error)
    }
    generation.seal()
    generation.bytes += bytes
    tally.flying += bytes
    return undefined
  }

  override settle(offset: number | undefined): void {
    super.settle(offset)
    const generation = this.#flying
    if (generation === null) return
    const { tally } = this.services
    this.#flying = null
    tally.flying -= generation.bytes
    tally.pending += generation.bytes
    this.#pending.push(generation)
  }

  override persistInto(batch: EngineBatch, to: ByteWriter): void {
    super.persistInto(batch, to)
    assert(this.#writing.length === 0, `${this.name}: one write to the engine at a time`)
    this.#writing = this.#pending
    this.#pending = []
    this.#writeInto(this.#writing, batch, to)
  }

  override overlayInto(batch: EngineBatch, to: ByteWriter): void {
    this.#writeInto([...this.#writing, ...this.#pending], batch, to)
  }

  /**
   * The last change of each row, in the order of keys. A look at a row would be a wait for memory: which one is the last
   * is told by a bit for each, from the newest generation on.
   */
  #writeInto(generations: readonly Generation<number>[], batch: EngineBatch, to: ByteWriter): void {
    let cut = 0
    for (const { count } of generations) cut += count
    const generationOf = new Int32Array(cut)
    const indexOf = new Int32Array(cut)
    const seen = new Int32Array((this.rows.size >>> 5) + 1)
    let count = 0
    for (let at = generations.length - 1; at >= 0; at--) {
      const { slots } = generations[at] as Generation<number>
      for (let index = 0; index < slots.length; index++) {
        const row = slots[index] as number
        const bits = seen[row >>> 5] as number
        const bit = 1 << (row & 31)
        if ((bits & bit) !== 0) continue
        seen[row >>> 5] = bits | bit
        generationOf[count] = at
        indexOf[count] = index
        count++
      }
    }
    const change = this.#change
    const read = (place: number): Change => {
      const generation = generations[generationOf[place] as number] as Generation<number>
      generation.read(indexOf[place] as number, change)
      return change
    }
    const order = keyOrder(count, read)
    for (let at = 0; at < count; at++) {
      this.#persist(read(order === null ? at : (order[at] as number)), batch, to)
    }
  }

  #persist(change: Change, batch: EngineBatch, to: ByteWriter): void {
    if (this.isHidden(change)) return
    const { buffer, keyStart, keyEnd, valueStart, valueEnd, timestamp } = change
    to.reset()
    this.writeRowStart(this.timeIn(change), to)
    to.range(buffer, keyStart, keyEnd)
    const rowKeyEnd = to.position
    if (valueStart < 0) {
      batch.remove(to.buffer, 0, rowKeyEnd)
      return
    }
    to.int64(timestamp)
    to.range(buffer, valueStart, valueEnd)
    batch.put(to.buffer, 0, rowKeyEnd, rowKeyEnd, to.position)
  }

  /** The time in a changelog's key. */
  protected timeIn(_change: Change): number {
    return 0
  }

  override persisted(): void {
    super.persisted()
    const generations = this.#writing
    this.#writing = []
    for (const { number, bytes, removed } of generations) {
      this.services.tally.pending -= bytes
      this.#persistedNumber = number
      for (const row of removed) if (this.rows.cutIn(row) === number) this.#releaseIfIdle(row)
    }
    const leaving = this.#leaving
    this.#leaving = []
    for (const row of leaving) {
      this.rows.setFlags(row, this.rows.flags(row) & ~rowFlag.leaving)
      this.releaseDetached(row)
    }
  }

  override notPersisted(): void {
    super.notPersisted()
    this.#pending = [...this.#writing, ...this.#pending]
    this.#writing = []
  }

  /** Of a row that was taken out of the index, or has no value: it may be that nothing is to be said of it any more. */
  #releaseIfIdle(row: number): void {
    const flags = this.rows.flags(row)
    if ((flags & (changed | rowFlag.free)) !== 0) return
    if ((flags & rowFlag.detached) !== 0) {
      this.releaseDetached(row)
      return
    }
    if ((flags & rowFlag.absent) === 0 || (flags & rowFlag.loading) !== 0) return
    if (this.rows.cutIn(row) <= this.#persistedNumber) this.releaseAbsent(row)
  }

  override reset(): void {
    const { tally } = this.services
    tally.dirty -= this.#dirtyBytes
    this.#dirtyBytes = 0
    tally.flying -= this.#flying?.bytes ?? 0
    for (const { bytes } of this.#pending) tally.pending -= bytes
    for (const { bytes } of this.#writing) tally.pending -= bytes
    this.#dirty = []
    this.#flying = null
    this.#pending = []
    this.#writing = []
    this.#persistedNumber = this.#cutNumber
    super.reset()
  }

  /** Memory has nothing any more. What is being read comes to nothing. */
  protected empty(): void {
    this.rows.clear()
    this.#era++
    this.#leaving = []
    this.#touched = []
    this.#touches.clear()
    this.#olds.length = 0
    this.#keys = []
    this.#keysRead = 0
    this.#valueBytes = 0
    this.#wanted.clear()
    this.#readNumber++
    this.#account()
  }

  // ------------------------------------------------------------------------------------------------------- reading

  /** Puts a row that was just made on the list of those to be read. */
  protected wish(row: number): void {
    const { rows } = this
    const { writer } = this.#wanted
    const time = rows.time(row)
    this.writeRowStart(time, writer)
    const bytes = rows.key(row)
    writer.range(bytes, rows.keyStart, rows.keyEnd)
    this.writeKeyEnd(time, writer)
    rows.setFlags(row, rows.flags(row) | rowFlag.loading)
    rows.setSize(row, this.#readNumber)
    this.#wanted.add(row)
  }

  /** Reads everything wanted with one request. */
  load(): MaybePromise<void> {
    const wanted = this.#wanted.take()
    return wanted === null ? undefined : this.#read(wanted.items, wanted.keys, this.#readNumber++)
  }

  /** Until the row is there that was found being read, or is to be read. */
  protected awaited<T>(again: () => MaybePromise<T>): MaybePromise<T> {
    const waiting = this.load()
    // A failure is met by who asks for the key alone.
    if (isPromise(waiting)) waiting.catch(() => {})
    return this.#reading === null ? again() : this.#reading.then(again)
  }

  /** Reads a row that was just made, alone: its failure is met by whoever asks. */
  protected readOne(row: number): MaybePromise<void> {
    const others = this.load()
    if (isPromise(others)) others.catch(() => {})
    this.wish(row)
    return this.load()
  }

  #read(wanted: readonly number[], keys: readonly Buffer[], number: number): MaybePromise<void> {
    let arriving: MaybePromise<void>
    try {
      const rows = this.services.engine.getMany(keys)
      arriving = isPromise(rows)
        ? rows.then((found) => this.#arrive(wanted, found, number))
        : this.#arrive(wanted, rows, number)
    } catch (error) {
      this.#giveUp(wanted, number)
      throw error
    }
    if (!isPromise(arriving)) return undefined
    const over = arriving.finally(() => this.#giveUp(wanted, number))
    const settled = over.catch(() => {})
    const reading = (this.#reading === null ? settled : Promise.all([this.#reading, settled])).then(() => {
      if (this.#reading === reading) this.#reading = null
    })
    this.#reading = reading
    return over
  }

  /** It was not written, forgotten or given to another key since. */
  #isReadBy(row: number, number: number): boolean {
    const { rows } = this
    return row < rows.size && (rows.flags(row) & rowFlag.loading) !== 0 && rows.sizeOf(row) === number
  }

  /** Of what failed to be read memory knows nothing: whoever asks for it tries again. */
  #giveUp(wanted: readonly number[], number: number): void {
    for (const row of wanted) if (this.#isReadBy(row, number)) this.forget(row)
  }

  #arrive(wanted: readonly number[], found: readonly (Buffer | undefined)[], number: number): void {
    const { rows } = this
    for (let index = 0; index < found.length; index++) {
      const row = wanted[index] as number
      if (!this.#isReadBy(row, number)) continue
      const bytes = found[index]
      const value = bytes === undefined ? null : this.valueIn(bytes)
      rows.setFlags(row, rows.flags(row) & ~rowFlag.loading)
      rows.setSize(row, 0)
      if (bytes === undefined) continue
      rows.setValue(row, value, int64At(bytes, 0))
      rows.setFlags(row, (rows.flags(row) & ~rowFlag.absent) | known)
      this.#resize(row, bytes.length - timestampBytes)
      if (this.#keepsOld) this.#keep(row)
    }
  }

  /** The value in a row of the engine. */
  protected valueIn(row: Buffer): unknown {
    return this.valueSerde.read(row, timestampBytes, row.length, this.topic, noHeaders)
  }

  // --------------------------------------------------------------------------------------------------------- flush

  override onFlush(listener: FlushListener<never, never>, options: { readonly keepOld: boolean }): void {
    this.#listener = listener as unknown as FlushListener
    this.#keepsOld = options.keepOld
  }

  override get hasTouched(): boolean {
    return this.#touched.length > 0
  }

  /** Of a cached store, before the row changes: it goes downstream at the next flush. */
  #touch(row: number, headers: Headers): void {
    if (this.#listener === null) return
    let touch = this.#touches.get(row)
    if (touch === undefined) {
      const { rows } = this
      const flags = rows.flags(row)
      touch = new Touch(headers)
      this.#touches.set(row, touch)
      this.#touched.push(row)
      const isThere = (flags & (rowFlag.absent | rowFlag.hidden)) === 0
      if (isThere) touch.old = this.#olds[row] ?? rows.value(row)
      rows.setFlags(
        row,
        isThere ? flags | rowFlag.touched | rowFlag.existed : (flags | rowFlag.touched) & ~rowFlag.existed,
      )
      this.services.tally.touched += recordGuess + rows.sizeOf(row)
    }
    touch.note(++this.#touchClock, headers, this.services.context.record)
  }

  /** Nobody downstream knows of what was there: retention hid it. */
  protected startOver(row: number): void {
    const touch = this.#touches.get(row)
    if (touch === undefined) return
    touch.old = null
    this.rows.setFlags(row, this.rows.flags(row) & ~rowFlag.existed)
  }

  override flush(): MaybePromise<void> {
    if (this.#touched.length === 0) return undefined
    const touched = this.#touched
    this.#touched = []
    const touches = this.#touches
    const at = (row: number): number => (touches.get(row) as Touch).at
    touched.sort((one, other) => at(one) - at(other))
    return this.#flushFrom(touched, 0)
  }

  #flushFrom(touched: readonly number[], from: number): MaybePromise<void> {
    for (let index = from; index < touched.length; index++) {
      const waiting = this.#flushRow(touched[index] as number)
      if (isPromise(waiting)) return waiting.then(() => this.#flushFrom(touched, index + 1))
    }
    return undefined
  }

  #flushRow(row: number): MaybePromise<void> {
    const { rows } = this
    const touch = this.#touches.get(row) as Touch
    this.#touches.delete(row)
    const flags = rows.flags(row)
    const existed = (flags & rowFlag.existed) !== 0
    const { tally } = this.services
    tally.touched = Math.max(0, tally.touched - recordGuess - rows.sizeOf(row))
    rows.setFlags(row, flags & ~(rowFlag.touched | rowFlag.existed))
    if ((flags & rowFlag.absent) !== 0 && !existed) {
      this.#releaseIfIdle(row)
      return undefined
    }
    const entry = this.entryAt(row, this.keyOf(row))
    const timestamp = rows.timestamp(row)
    const { headers, topic, partition, offset } = touch
    const old = this.#keepsOld && existed ? this.#recall(touch.old) : null
    if (this.#keepsOld) this.#keep(row)
    if ((flags & rowFlag.detached) !== 0) this.#releaseIfIdle(row)
    return (this.#listener as FlushListener)({
      entry,
      old,
      timestamp,
      headers,
      origin: { topic, partition, offset },
    })
  }

  /** Remembers the value as what downstream knows of. */
  #keep(row: number): void {
    const { rows } = this
    const value = rows.value(row)
    if (typeof value !== 'object' || value === null || (rows.flags(row) & rowFlag.detached) !== 0) {
      if (row < this.#olds.length) this.#olds[row] = undefined
      return
    }
    const { scratch } = this.services
    scratch.reset()
    void this.valueSerde.write(value, scratch, this.topic, noHeaders)
    setAt(this.#olds, row, scratch.copy())
  }

  #recall(old: unknown): unknown {
    return Buffer.isBuffer(old) ? this.valueSerde.read(old, 0, old.length, this.topic, noHeaders) : old
  }
}

/** Of a list by row, without a hole: those before it that have nothing are undefined. */
function setAt<T>(list: (T | undefined)[], row: number, value: T): void {
  while (list.length < row) list.push(undefined)
  list[row] = value
}
