/**
 * Values by key and window where a record falls into many windows: 32 neighbouring windows of a key are one strip, which
 * is one entry of the index, one slot of a generation and one row of the engine. The changelog has a record for each
 * window, as any window store has.
 *
 * A strip begins at a multiple of its span. Windows that start elsewhere than at a multiple of the advance, as those of
 * another topology before or of a processor do, are in strips of their own, shifted by as much.
 *
 * The time of a strip is the start of its last window, so that it expires with that one; what retention hides of its
 * other windows is hidden here.
 *
 * changelog: the key's bytes, start (8), 0 (4).
 * engine: as in timed-store.ts -> the first window's timestamp (8), which of the 32 there are (4), and for each of them
 * twice the value's length, and 1 where its timestamp isn't that of the one before (unsigned varint); that timestamp (8);
 * the value's bytes.
 */
import { assert } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { windowEnd } from '../serde/windowed.ts'
import type { WindowStoreSpec } from '../topology/store-spec.ts'
import { overlapMuch } from '../topology/windows.ts'
import { type BatchBuilder, writeInt64 } from '../wire/batch-builder.ts'
import { ByteReader } from '../wire/byte-reader.ts'
import { int64At } from '../wire/record-batch.ts'
import type { ChangelogRecord, ChangelogWriter, Entry, Order, WindowRun, WindowStore } from './contract.ts'
import type { EngineBatch } from './engine.ts'
import type { Generation } from './generation.ts'
import { flag, LiveEntry } from './slot.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'
import { TimedStore } from './timed-store.ts'

const stripShift = 5
const windowsPerStrip = 1 << stripShift
const timestampBytes = 8
/** Start and number of the duplicate, behind the key's bytes in the changelog. */
const keySuffix = 12
/** Of a window in the changelog, before its size is known. */
const windowGuess = 64
/** Strips that a restore remembers from one chunk of the changelog to the next. */
const restoringMax = 4_000

// Copied, they are arrays of the kind that they stay.
const noValues: readonly unknown[] = new Array<unknown>(windowsPerStrip).fill(null)
const noTimes: readonly number[] = new Array<number>(windowsPerStrip).fill(-1.5).fill(-1)

export function isInStrips(spec: WindowStoreSpec): boolean {
  const { advanceMs, windowSizeMs, retainDuplicates, keepsHeaders } = spec
  if (advanceMs === undefined || retainDuplicates || keepsHeaders === true) return false
  return overlapMuch(windowSizeMs, advanceMs)
}

/** `value` is `values` where there is any, else null: to the index it is an entry like others. */
class Strip extends LiveEntry {
  readonly first: number
  readonly values: unknown[] = noValues.slice()
  readonly times: number[] = noTimes.slice()
  // A bit for each window.
  present = 0
  /** Good while the strip is dirty. */
  changed = 0
  /** The changelog may hold a value, so that its removal needs a tombstone. */
  logged = 0
  /** Of a cached store: what its listener is told of. */
  panes: (LiveEntry | undefined)[] | null = null

  constructor(key: unknown, id: unknown, first: number, last: number) {
    super(key, id, last, last, 0)
    this.first = first
  }
}

/** One window. What its strip has now is what it shows. */
class StripEntry implements Entry {
  readonly key: unknown
  readonly start: number
  readonly end: number
  strip: Strip
  readonly index: number
  /** Out of retention, nothing is seen of what was written before. */
  isHidden: boolean

  constructor(strip: Strip, index: number, start: number, end: number, isHidden: boolean) {
    this.key = strip.key
    this.start = start
    this.end = end
    this.strip = strip
    this.index = index
    this.isHidden = isHidden
  }

  get value(): unknown {
    return this.isHidden ? null : this.strip.values[this.index]
  }

  get timestamp(): number {
    return this.value === null ? -1 : (this.strip.times[this.index] as number)
  }
}

/** A strip as a restore has it: bytes that nobody has read. */
type Restoring = {
  readonly rowKey: Buffer
  readonly times: number[]
  readonly values: (Buffer | null)[]
  isChanged: boolean
}

/** Where an encoding stands, which a serde may make wait at any window. */
type Encoding = {
  readonly generation: Generation<LiveEntry>
  readonly changelog: ChangelogWriter
  /** What the engine gets of this generation. */
  readonly images: ByteWriter
  builder: BatchBuilder | null
  index: number
  window: number
  keyStart: number
  imageStart: number
  /** Of the first window in the image, and of the last so far. */
  firstTime: number
  lastTime: number
}

export class StripEntries extends TimedStore implements WindowStore {
  readonly kind = 'window'
  declare readonly spec: WindowStoreSpec
  protected readonly discriminatorBytes = 4
  readonly #sizeMs: number
  readonly #advanceMs: number
  readonly #spanMs: number
  readonly #run: StripRun
  /** Windows were seen that don't start at a multiple of the advance. */
  #isMixed = false
  #touchedStrips: Strip[] = []
  #restoring = new Map<string, Restoring>()
  /** What isn't among them isn't in the engine either. */
  #knowsAll = false
  #restoreBatch: EngineBatch | null = null

  constructor(
    spec: WindowStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    const { advanceMs } = spec
    assert(advanceMs !== undefined, `${spec.name}: its windows are as far apart as is said`)
    super(spec, services, number, notes, offset, (windowsPerStrip - 1) * advanceMs)
    this.#sizeMs = spec.windowSizeMs
    this.#advanceMs = advanceMs
    this.#spanMs = windowsPerStrip * advanceMs
    this.#run = new StripRun(this, advanceMs, this.#spanMs, this.#sizeMs)
  }

  // -------------------------------------------------------------------------------------------------------- strips

  protected timeOf(strip: LiveEntry): number {
    return strip.start
  }

  protected discriminatorOf(): number {
    return 0
  }

  protected make(key: unknown, id: unknown, time: number): Strip {
    const first = time - this.#spanMs + this.#advanceMs
    if (first % this.#advanceMs !== 0) this.#isMixed = true
    return new Strip(key, id, first, time)
  }

  protected override countOf(strip: LiveEntry): number {
    let count = 0
    for (let bits = (strip as Strip).present; bits !== 0; bits &= bits - 1) count++
    return count
  }

  protected override get slotCost(): number {
    return 1_000
  }

  /** Nearly all of a number's bytes are in what the strip costs. */
  protected override get valueCost(): number {
    return this.valueSerde.primitive === true ? 1 : 5
  }

  /** The time of the strip that the window is in. */
  timeAt(start: number): number {
    const advanceMs = this.#advanceMs
    const shift = start - Math.floor(start / advanceMs) * advanceMs
    const spanMs = this.#spanMs
    return Math.floor((start - shift) / spanMs) * spanMs + shift + spanMs - advanceMs
  }

  #indexAt(strip: Strip, start: number): number {
    return (start - strip.first) / this.#advanceMs
  }

  isHidden(start: number): boolean {
    return start < this.visibleFrom
  }

  // --------------------------------------------------------------------------------------------------------- reads

  entry(key: unknown, start: number): MaybePromise<StripEntry> {
    const id = this.idOf(key)
    return isPromise(id) ? id.then((text) => this.#entry(key, text, start)) : this.#entry(key, id, start)
  }

  #entry(key: unknown, id: unknown, start: number): MaybePromise<StripEntry> {
    return chain(this.handle(key, id, this.timeAt(start), 0), (found) => {
      const strip = found as Strip
      return this.#show(strip, this.#indexAt(strip, start), start)
    })
  }

  #show(strip: Strip, index: number, start: number): StripEntry {
    const end = windowEnd(start, this.#sizeMs)
    return new StripEntry(strip, index, start, end, start < this.visibleFrom)
  }

  override want(key: unknown, start: number): void {
    super.want(key, this.timeAt(start))
  }

  run(key: unknown, from: number, to: number): MaybePromise<WindowRun> {
    const id = this.idOf(key)
    return isPromise(id) ? id.then((text) => this.#open(key, text, from, to)) : this.#open(key, id, from, to)
  }

  #open(key: unknown, id: unknown, from: number, to: number): MaybePromise<WindowRun> {
    const loading = this.loadFrom(key, id, Math.max(from, this.visibleFrom))
    return isPromise(loading)
      ? loading.then(() => this.#run.open(key, id, from, to))
      : this.#run.open(key, id, from, to)
  }

  /** What memory has of a strip: all there is, once it was loaded; else a new one. */
  stripAt(key: unknown, id: unknown, time: number): Strip {
    const strip = this.entryAt(id, time, 0)
    if (strip !== undefined) {
      strip.flags |= flag.used
      return strip as Strip
    }
    const fresh = this.make(key, id, time)
    fresh.flags = flag.detached
    return fresh
  }

  fetch(key: unknown, from: number, to: number, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    const low = Math.max(from, this.visibleFrom)
    if (low > to) return []
    return chain(this.fetchKey(key, low, this.#reach(to), 'forward', null), (strips) => {
      const found = this.#windowsOf(strips, low, to)
      if (this.#isMixed) found.sort((one, other) => one.start - other.start)
      return order === 'forward' ? found : found.reverse()
    })
  }

  fetchAll(from: number, to: number, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    return this.#fetchTimes(from, to, order, null)
  }

  async *fetchRange(
    fromKey: unknown,
    toKey: unknown,
    from: number,
    to: number,
    order: Order = 'forward',
  ): AsyncGenerator<Entry> {
    const passes = await this.keysWithin(fromKey, toKey)
    for (const entry of await this.#fetchTimes(from, to, order, passes)) if (entry.value !== null) yield entry
  }

  #fetchTimes(
    from: number,
    to: number,
    order: Order,
    passes: ((strip: LiveEntry) => boolean) | null,
  ): MaybePromise<readonly Entry[]> {
    const low = Math.max(from, this.visibleFrom)
    if (low > to) return []
    return chain(this.fetchTimes(low, this.#reach(to), 'forward', passes, byOrder), (strips) => {
      // Strips are in the order of their keys, and the sorting leaves that as it is where the starts are the same.
      const found = this.#windowsOf(strips, low, to).sort((one, other) => one.start - other.start)
      return order === 'forward' ? found : found.reverse()
    })
  }

  /** The latest time of a strip that has a window which starts by `to`. */
  #reach(to: number): number {
    return Math.min(to + this.#spanMs - this.#advanceMs, Number.MAX_SAFE_INTEGER)
  }

  #windowsOf(strips: readonly Entry[], from: number, to: number): StripEntry[] {
    const found: StripEntry[] = []
    for (const each of strips) {
      const strip = each as Strip
      let start = strip.first
      for (let index = 0; index < windowsPerStrip; index++, start += this.#advanceMs) {
        if (start > to) break
        if (start >= from && (strip.present & (1 << index)) !== 0) found.push(this.#show(strip, index, start))
      }
    }
    return found
  }

  // -------------------------------------------------------------------------------------------------------- writes

  set(entry: Entry, value: unknown, timestamp: number, headers: Headers): boolean {
    if (entry === this.#run) return this.#run.set(value, timestamp, headers)
    const handle = entry as StripEntry
    const strip = this.change(handle.strip, handle.index, handle.start, value, timestamp, headers)
    if (strip === null) return false
    handle.strip = strip
    handle.isHidden = false
    return true
  }

  append(): boolean {
    throw new TypeError(`${this.name}: a store without duplicates has one value a window; set it`)
  }

  /** The strip that has the value then; null: out of retention. */
  change(
    handle: Strip,
    index: number,
    start: number,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): Strip | null {
    let strip = handle
    const { notes } = this
    const isHidden = start < this.visibleFrom
    const advances = start > notes.observedTime
    if (advances) this.observe(start)
    if (!this.isLive(start)) return null
    if ((strip.flags & flag.detached) !== 0) {
      const adopted = this.adopt(strip)
      if (adopted === null) return null
      strip = adopted as Strip
    }
    const bit = 1 << index
    if (this.cached) this.#touch(strip, index, isHidden, value, timestamp, headers)
    strip.values[index] = value
    strip.times[index] = timestamp
    if (value === null) {
      if ((strip.present & bit) !== 0) {
        notes.count--
        strip.present &= ~bit
        if (strip.present === 0) strip.value = null
      }
    } else if ((strip.present & bit) === 0) {
      notes.count++
      strip.present |= bit
      strip.value = strip.values
    }
    // Even a removal is logged then, so that whoever restores knows of the time.
    if (advances) strip.logged |= bit
    if ((strip.flags & flag.dirty) === 0) {
      strip.changed = bit
      this.markDirty(strip)
    } else if ((strip.changed & bit) === 0) {
      strip.changed |= bit
      this.weigh(windowGuess)
    }
    return strip
  }

  // --------------------------------------------------------------------------------------------------------- bytes

  protected override writeValue(pane: LiveEntry, to: ByteWriter): void | Promise<void> {
    return this.valueSerde.write(pane.value, to, this.topic, noHeaders)
  }

  protected override encodeChanges(
    generation: Generation<LiveEntry>,
    changelog: ChangelogWriter,
  ): MaybePromise<void> {
    return this.#encode({
      generation,
      changelog,
      images: new ByteWriter(this.pinned ? 16 : 16_384),
      builder: null,
      index: 0,
      window: -1,
      keyStart: 0,
      imageStart: 0,
      firstTime: 0,
      lastTime: 0,
    })
  }

  #encode(encoding: Encoding): MaybePromise<void> {
    const { slots } = encoding.generation
    try {
      for (; encoding.index < slots.length; encoding.index++) {
        const strip = slots[encoding.index] as Strip
        if ((strip.flags & flag.hidden) !== 0) {
          strip.flags &= ~flag.dirty
          this.releaseIfClean(strip)
          continue
        }
        const waiting = this.#encodeStrip(strip, encoding)
        if (waiting !== undefined) return waiting.then(() => this.#encode(encoding))
        encoding.window = -1
      }
    } catch (error) {
      throw this.unwritable(error)
    }
    encoding.generation.seal()
    return undefined
  }

  /** A promise: come again after it. */
  #encodeStrip(strip: Strip, encoding: Encoding): undefined | Promise<void> {
    const { scratch } = this.services
    const { images } = encoding
    const { pinned, isLogged, valueSerde, topic } = this
    const { times, values, present } = strip
    if (encoding.window < 0) {
      encoding.window = 0
      encoding.firstTime = -1
      encoding.keyStart = images.position
      if (!pinned) {
        this.writeKey(strip, images)
        encoding.imageStart = images.position
        images.int32(present)
      }
    }
    scratch.reset()
    this.codec.write(strip.id, scratch)
    const startAt = scratch.position
    scratch.int64(0)
    scratch.int32(0)
    const keyEnd = scratch.position
    const all = present | strip.changed
    for (; encoding.window < windowsPerStrip; encoding.window++) {
      const index = encoding.window
      const bit = 1 << index
      if ((all & bit) === 0) continue
      const timestamp = times[index] as number
      const isPresent = (present & bit) !== 0
      scratch.position = keyEnd
      if (isPresent) {
        const waiting = valueSerde.write(values[index], scratch, topic, noHeaders)
        if (isPromise(waiting)) return waiting as Promise<void>
      }
      const valueEnd = scratch.position
      const { buffer } = scratch
      if ((strip.changed & bit) !== 0 && isLogged && (isPresent || (strip.logged & bit) !== 0)) {
        const start = strip.first + index * this.#advanceMs
        if (this.isLive(start)) {
          writeInt64(buffer, startAt, start)
          const value = isPresent ? buffer : null
          const { builder, changelog } = encoding
          encoding.builder = this.log(
            changelog,
            builder,
            timestamp,
            buffer,
            keyEnd,
            value,
            valueEnd,
            noHeaders,
          )
          if (isPresent) strip.logged |= bit
          else strip.logged &= ~bit
        }
      }
      if (!isPresent || pinned) continue
      if (encoding.firstTime === -1) encoding.firstTime = encoding.lastTime = timestamp
      const isSame = timestamp === encoding.lastTime
      images.uvarint((valueEnd - keyEnd) * 2 + (isSame ? 0 : 1))
      if (!isSame) images.int64(timestamp)
      encoding.lastTime = timestamp
      images.range(buffer, keyEnd, valueEnd)
    }
    const { generation, keyStart, imageStart, firstTime } = encoding
    const end = images.position
    const isAbsent = present === 0
    if (!pinned) {
      generation.add(strip, images, keyStart, imageStart, isAbsent ? -1 : imageStart, end, firstTime)
      this.fly(generation, end - keyStart)
    }
    this.noteCut(generation, strip, isAbsent, pinned ? 0 : end - imageStart)
    return undefined
  }

  protected override fill(entry: LiveEntry, row: Buffer): MaybePromise<void> {
    const strip = entry as Strip
    strip.size = row.length - timestampBytes
    const from = new ByteReader(row, timestampBytes)
    const present = from.int32()
    return chain(this.#fillFrom(strip, row, from, present, 0, int64At(row, 0)), () => {
      strip.present = strip.logged = present
      strip.value = strip.values
      strip.flags |= flag.stored
      return this.keepsOld ? this.#keepFrom(strip, 0) : undefined
    })
  }

  #fillFrom(
    strip: Strip,
    row: Buffer,
    from: ByteReader,
    present: number,
    window: number,
    timeBefore: number,
  ): MaybePromise<void> {
    let time = timeBefore
    for (let index = window; index < windowsPerStrip; index++) {
      if ((present & (1 << index)) === 0) continue
      const head = from.uvarint()
      if ((head & 1) !== 0) time = from.int64()
      strip.times[index] = time
      const at = from.take(head >>> 1)
      const value = this.valueSerde.read(row, at, from.position, this.topic, noHeaders)
      if (isPromise(value)) {
        return value.then((read) => {
          strip.values[index] = read
          return this.#fillFrom(strip, row, from, present, index + 1, time)
        })
      }
      strip.values[index] = value
    }
    return undefined
  }

  // --------------------------------------------------------------------------------------------------------- flush

  /** The listener is told of windows: each that changed has an entry of its own until the flush. */
  #touch(
    strip: Strip,
    index: number,
    isHidden: boolean,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void {
    strip.panes ??= []
    let pane = strip.panes[index]
    if (pane === undefined) {
      pane = this.#pane(strip, index)
      if (!isHidden && (strip.present & (1 << index)) !== 0) pane.flags |= flag.existed
    } else if (isHidden) {
      // It starts over: nobody downstream knows of what was there.
      pane.flags &= ~flag.existed
      if (pane.touch !== null) pane.touch.old = null
    }
    pane.value = value
    pane.changedAt = timestamp
    this.touch(pane, headers)
    if ((pane.flags & strip.flags & flag.touched) !== 0 || (pane.flags & flag.touched) === 0) return
    strip.flags |= flag.touched
    this.#touchedStrips.push(strip)
  }

  #pane(strip: Strip, index: number): LiveEntry {
    const start = strip.first + index * this.#advanceMs
    const pane = new LiveEntry(strip.key, strip.id, start, windowEnd(start, this.#sizeMs), 0)
    // In no index.
    pane.flags = flag.detached
    ;(strip.panes ??= [])[index] = pane
    return pane
  }

  #keepFrom(strip: Strip, window: number): MaybePromise<void> {
    for (let index = window; index < windowsPerStrip; index++) {
      if ((strip.present & (1 << index)) === 0) continue
      const pane = this.#pane(strip, index)
      pane.value = strip.values[index]
      pane.changedAt = strip.times[index] as number
      pane.flags |= flag.existed
      const waiting = this.keep(pane)
      if (isPromise(waiting)) return waiting.then(() => this.#keepFrom(strip, index + 1))
    }
    return undefined
  }

  override flush(): MaybePromise<void> {
    return chain(super.flush(), () => {
      const strips = this.#touchedStrips
      this.#touchedStrips = []
      for (const strip of strips) {
        // What downstream did may have changed it again.
        if (strip.panes?.some((pane) => pane !== undefined && (pane.flags & flag.touched) !== 0)) {
          this.#touchedStrips.push(strip)
          continue
        }
        strip.flags &= ~flag.touched
        if (!this.keepsOld) strip.panes = null
        this.releaseIfClean(strip)
      }
    })
  }

  // ------------------------------------------------------------------------------------------------------- restore

  override beginRestore(): void {
    super.beginRestore()
    if (this.#restoreBatch !== null || this.#restoring.size > restoringMax) this.#forgetRestored()
    if (this.settledOffset === null && this.#restoring.size === 0) this.#knowsAll = true
  }

  #forgetRestored(): void {
    this.#restoring = new Map()
    this.#knowsAll = false
    this.#restoreBatch = null
  }

  override persistInto(batch: EngineBatch, to: ByteWriter): void {
    if (this.#restoring.size > 0 || this.#knowsAll) this.#forgetRestored()
    super.persistInto(batch, to)
  }

  protected override clear(): void {
    super.clear()
    this.#forgetRestored()
    this.#touchedStrips = []
    this.#isMixed = false
  }

  override restoreRecord(record: ChangelogRecord, batch: EngineBatch | null): MaybePromise<void> {
    const { key } = record
    const keyEnd = key.length - keySuffix
    const start = int64At(key, keyEnd)
    this.observe(start)
    if (!this.isLive(start)) return undefined
    if (batch === null) return this.#restoreLive(record, keyEnd, start)
    this.#restoreBatch = batch
    const time = this.timeAt(start)
    const index = (start - time) / this.#advanceMs + windowsPerStrip - 1
    const { scratch } = this.services
    scratch.reset()
    this.writeSegment(time, scratch)
    scratch.range(key, 0, keyEnd)
    scratch.int64(time)
    scratch.int32(0)
    const name = scratch.buffer.toString('latin1', 0, scratch.position)
    const known = this.#restoring.get(name)
    if (known !== undefined) return lay(known, index, record)
    const rowKey = scratch.copy()
    const fresh: Restoring = {
      rowKey,
      times: noTimes.slice(),
      values: new Array<Buffer | null>(windowsPerStrip).fill(null),
      isChanged: false,
    }
    this.#restoring.set(name, fresh)
    if (this.#knowsAll) return lay(fresh, index, record)
    return chain(this.services.engine.getMany([rowKey]), ([row]) => {
      if (row !== undefined) readImage(row, fresh)
      lay(fresh, index, record)
    })
  }

  #restoreLive(record: ChangelogRecord, keyEnd: number, start: number): MaybePromise<void> {
    const { key: bytes, value, timestamp } = record
    return chain(this.codec.read(bytes, 0, keyEnd), (key) => {
      const id = this.codec.idAt(key, bytes, 0, keyEnd)
      const time = this.timeAt(start)
      const there = this.entryAt(id, time, 0) as Strip | undefined
      if (there === undefined && value === null) return undefined
      const strip = there ?? this.make(key, id, time)
      const index = this.#indexAt(strip, start)
      const bit = 1 << index
      const read = value === null ? null : this.valueSerde.read(value, 0, value.length, this.topic, noHeaders)
      return chain(read, (live) => {
        this.notes.count -= this.countOf(strip)
        strip.values[index] = live
        strip.times[index] = timestamp
        if (live === null) strip.present &= ~bit
        else strip.present |= bit
        if (live === null) strip.logged &= ~bit
        else strip.logged |= bit
        this.notes.count += this.countOf(strip)
        strip.value = strip.present === 0 ? null : strip.values
        if (there === undefined) this.insert(strip)
        else if (strip.present === 0) this.forget(strip)
        return this.keepsOld && strip.present !== 0 ? this.#keepFrom(strip, 0) : undefined
      })
    })
  }

  override restored(nextOffset: number): void {
    const batch = this.#restoreBatch
    if (batch !== null) {
      const { scratch } = this.services
      for (const strip of this.#restoring.values()) {
        if (!strip.isChanged) continue
        strip.isChanged = false
        scratch.reset()
        scratch.bytes(strip.rowKey)
        const keyEnd = scratch.position
        if (writeImage(strip, scratch)) batch.put(scratch.buffer, 0, keyEnd, keyEnd, scratch.position)
        else batch.remove(scratch.buffer, 0, keyEnd)
      }
      this.#restoreBatch = null
    }
    super.restored(nextOffset)
  }
}

/** The walk of an operator over windows of a key that lie side by side. */
class StripRun implements WindowRun {
  readonly #store: StripEntries
  readonly #advanceMs: number
  readonly #spanMs: number
  readonly #sizeMs: number
  key: unknown = null
  start = 0
  value: unknown = null
  timestamp = -1
  /** Held: room that is made while a record waits doesn't take them from it. */
  #strips: Strip[] = []
  #first = 0
  #at = 0

  constructor(store: StripEntries, advanceMs: number, spanMs: number, sizeMs: number) {
    this.#store = store
    this.#advanceMs = advanceMs
    this.#spanMs = spanMs
    this.#sizeMs = sizeMs
  }

  get end(): number {
    return windowEnd(this.start, this.#sizeMs)
  }

  open(key: unknown, id: unknown, from: number, to: number): this {
    this.key = key
    const strips: Strip[] = []
    let time = this.#store.timeAt(from)
    this.#first = time - this.#spanMs + this.#advanceMs
    do {
      strips.push(this.#store.stripAt(key, id, time))
      time += this.#spanMs
    } while (time < to + this.#spanMs)
    this.#strips = strips
    return this
  }

  seek(start: number): this {
    const at = (start - this.#first) / this.#advanceMs
    this.#at = at
    this.start = start
    const strip = this.#strips[at >>> stripShift] as Strip
    const index = at & (windowsPerStrip - 1)
    const value = this.#store.isHidden(start) ? null : strip.values[index]
    this.value = value
    this.timestamp = value === null ? -1 : (strip.times[index] as number)
    return this
  }

  set(value: unknown, timestamp: number, headers: Headers): boolean {
    const at = this.#at
    const number = at >>> stripShift
    const strip = this.#strips[number] as Strip
    const index = at & (windowsPerStrip - 1)
    const changed = this.#store.change(strip, index, this.start, value, timestamp, headers)
    if (changed === null) return false
    if (changed !== strip) this.#strips[number] = changed
    return true
  }
}

function byOrder(one: LiveEntry, other: LiveEntry): number {
  const left = one.order as string
  const right = other.order as string
  return left < right ? -1 : left > right ? 1 : one.start - other.start
}

function lay(strip: Restoring, index: number, { value, timestamp }: ChangelogRecord): void {
  strip.values[index] = value === null ? null : Buffer.from(value)
  strip.times[index] = timestamp
  strip.isChanged = true
}

function readImage(row: Buffer, to: Restoring): void {
  const from = new ByteReader(row, timestampBytes)
  const present = from.int32()
  let time = int64At(row, 0)
  for (let index = 0; index < windowsPerStrip; index++) {
    if ((present & (1 << index)) === 0) continue
    const head = from.uvarint()
    if ((head & 1) !== 0) time = from.int64()
    const at = from.take(head >>> 1)
    to.times[index] = time
    to.values[index] = row.subarray(at, from.position)
  }
}

/** False: it has no windows. */
function writeImage({ times, values }: Restoring, to: ByteWriter): boolean {
  let present = 0
  let firstTime = -1
  for (let index = windowsPerStrip - 1; index >= 0; index--) {
    if (values[index] === null) continue
    present |= 1 << index
    firstTime = times[index] as number
  }
  if (present === 0) return false
  to.int64(firstTime)
  to.int32(present)
  let lastTime = firstTime
  for (let index = 0; index < windowsPerStrip; index++) {
    const value = values[index]
    if (value === null || value === undefined) continue
    const time = times[index] as number
    to.uvarint(value.length * 2 + (time === lastTime ? 0 : 1))
    if (time !== lastTime) to.int64(time)
    lastTime = time
    to.bytes(value)
  }
  return true
}
