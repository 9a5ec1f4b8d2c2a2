/**
 * Values by key and window in rows, where the windows' starts mostly are multiples of one advance, so that those of a key
 * are found by asking for each. Rows are in groups of like time, which expire as one; a row is given back only with its
 * group, so that no group names a row of another time.
 *
 * What memory knows: everything from the store's floor on. So a miss at or above the floor needs no look at the engine.
 *
 * changelog and engine: as in window-store.ts and timed-store.ts, byte for byte.
 */
import { assert } from '../base/assert.ts'
import type { ByteWriter } from '../base/bytes.ts'
import type { Headers } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { windowEnd } from '../serde/windowed.ts'
import type { WindowStoreSpec } from '../topology/store-spec.ts'
import { int64At } from '../wire/record-batch.ts'
import type { ChangelogRecord, Entry, Order, WindowStore } from './contract.ts'
import type { EngineBatch, Row, Scan } from './engine.ts'
import type { Change } from './generation.ts'
import { orderOf } from './key-codec.ts'
import { successor } from './key-scan.ts'
import { storePrefix } from './layered-store.ts'
import { isInRows, RowEntry, RowStore } from './row-store.ts'
import { rowFlag } from './row-table.ts'
import { Segments } from './segments.ts'
import { changed, known } from './slot.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'
import { isInStrips } from './strip-store.ts'
import { drain, groupSpanMs, keyAt, none } from './timed-store.ts'

/** Number and segment before, start and number of the duplicate behind the key's bytes. */
const keyOffset = 10
const keySuffix = 12
/** More windows of a key than these are looked for among all. */
const askedMax = 4096

export function isOfRowWindows(spec: WindowStoreSpec, number: number): boolean {
  return (
    isInRows(spec, number) &&
    spec.advanceMs !== undefined &&
    !spec.emitOnClose &&
    !spec.retainDuplicates &&
    !isInStrips(spec)
  )
}

/** What memory or the engine has of a window; `order`: text that sorts as the key's bytes. */
type Found = { readonly entry: RowEntry; readonly order: string }

export class RowWindows extends RowStore implements WindowStore {
  readonly kind = 'window'
  readonly takesUnread = true
  declare readonly spec: WindowStoreSpec
  readonly #segments: Segments
  readonly #sizeMs: number
  readonly #advanceMs: number
  readonly #spanMs: number
  readonly #groups = new Map<number, number[]>()
  /** Sorted. Times mostly grow, so that a new one goes to the end. */
  readonly #groupIds: number[] = []
  #lastGroup: number[] = []
  #lastGroupId = Number.NaN
  readonly #lent = new RowEntry(null, 0, 0)
  #floor: number
  /** What is before it has expired. */
  #liveFrom: number
  /** Somebody put a window that starts in between. */
  #hasStrays = false

  constructor(
    spec: WindowStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    super(spec, services, number, notes, offset, true)
    assert(spec.advanceMs !== undefined, `${spec.name}: its windows are as far apart as is said`)
    this.#sizeMs = spec.windowSizeMs
    this.#advanceMs = spec.advanceMs
    this.#spanMs = groupSpanMs(spec)
    this.#segments = new Segments(spec, this.number)
    this.#floor = offset === null ? Number.NEGATIVE_INFINITY : notes.observedTime + 1
    this.#liveFrom = this.#segments.liveFrom(notes.observedTime)
  }

  get observedTime(): number {
    return this.notes.observedTime
  }

  // ---------------------------------------------------------------------------------------------- reads and writes

  entry(key: unknown, start: number): MaybePromise<RowEntry> {
    return this.#entry(key, start, null)
  }

  lend(key: unknown, start: number): MaybePromise<RowEntry> {
    return this.#entry(key, start, this.#lent)
  }

  /** `lent`: what a window that is there is told by; null: an entry of its own. */
  #entry(key: unknown, start: number, lent: RowEntry | null): MaybePromise<RowEntry> {
    if (start < this.#visibleFrom) {
      const entry = this.entryOf(key, start)
      entry.isHidden = true
      return entry
    }
    const hash = this.locate(key, start)
    const row = this.findLocated(hash, start)
    if (row >= 0) {
      const { rows } = this
      const flags = rows.flags(row)
      if ((flags & rowFlag.loading) !== 0) return this.awaited(() => this.entry(key, start))
      if ((flags & rowFlag.used) === 0) rows.setFlags(row, flags | rowFlag.used)
      if (lent === null) return this.entryAt(row, key)
      lent.key = key
      lent.start = start
      lent.end = windowEnd(start, this.#sizeMs)
      return this.fill(lent, row)
    }
    if (start >= this.#floor) return this.entryOf(key, start)
    return chain(this.readOne(this.insertLocated(hash, start)), () => this.entry(key, start))
  }

  set(entry: Entry, value: unknown, timestamp: number, headers: Headers): boolean {
    const { start } = entry
    const advances = start > this.notes.observedTime
    this.#observe(start)
    if (start < this.#liveFrom) return false
    const { rows } = this
    const isHidden = entry instanceof RowEntry && entry.isHidden
    const before = rows.indexed
    const row = this.rowFor(entry)
    // Even a removal is logged then, so that whoever restores knows of the time.
    if (advances) rows.setFlags(row, rows.flags(row) | rowFlag.logged)
    // Nobody here remembers what the changelog and the engine have of it.
    if (isHidden && rows.indexed > before) rows.setFlags(row, rows.flags(row) | known)
    this.write(row, value, timestamp, headers)
    // Nor does anybody downstream.
    if (isHidden) this.startOver(row)
    if (entry instanceof RowEntry) {
      entry.value = value
      entry.timestamp = value === null ? -1 : timestamp
    }
    return true
  }

  append(): boolean {
    throw new TypeError(`${this.name}: a store without duplicates has one value a window; set it`)
  }

  get mayMiss(): boolean {
    return this.#floor > this.notes.observedTime
  }

  want(key: unknown, start: number): void {
    if (start >= this.#floor || start < this.#visibleFrom) return
    const hash = this.locate(key, start)
    let row = this.findLocated(hash, start)
    if (row < 0) {
      row = this.insertLocated(hash, start)
      this.wish(row)
    }
    this.rows.setWantedBy(row, this.services.lookAheads.current)
  }

  // -------------------------------------------------------------------------------------------------------- ranges

  fetch(key: unknown, from: number, to: number, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    const low = Math.max(from, this.#visibleFrom)
    if (low > to) return none
    const text = this.codec.order(key)
    const held = this.#heldOf(key, text, low, to)
    if (low >= this.#floor) return listed(held, order)
    const keyBytes = Buffer.from(text, 'latin1')
    const scans: Scan[] = []
    const last = this.#segments.of(Math.min(to, this.#floor - 1, this.settledNotes.observedTime))
    for (let segment = this.#segments.of(Math.max(low, this.#liveFrom)); segment <= last; segment++) {
      const prefix = Buffer.concat([this.#segments.key(segment), keyBytes])
      scans.push(this.services.engine.scan(keyAt(prefix, low), keyAt(prefix, to + 1)))
    }
    const length = keyOffset + keyBytes.length + keySuffix
    // Longer keys that begin with this one lie in between.
    const read = (row: Row): Found | null =>
      row.key.length === length ? { entry: this.#entryIn(row, key), order: text } : null
    return chain(laidOver(held, scans, read), (found) => listed(found, order))
  }

  fetchAll(from: number, to: number, order: Order = 'forward'): MaybePromise<readonly Entry[]> {
    return this.#fetchTimes(from, to, order, null, null)
  }

  async *fetchRange(
    fromKey: unknown,
    toKey: unknown,
    from: number,
    to: number,
    order: Order = 'forward',
  ): AsyncGenerator<Entry> {
    const low = fromKey === null ? null : await orderOf(this.codec, fromKey)
    const high = toKey === null ? null : await orderOf(this.codec, toKey)
    yield* await this.#fetchTimes(from, to, order, low, high)
  }

  #fetchTimes(
    from: number,
    to: number,
    order: Order,
    lowKey: string | null,
    highKey: string | null,
  ): MaybePromise<readonly Entry[]> {
    const low = Math.max(from, this.#visibleFrom)
    if (low > to) return none
    const passes = (text: string): boolean =>
      (lowKey === null || text >= lowKey) && (highKey === null || text <= highKey)
    const held: Found[] = []
    this.#visit(low, to, (row) => {
      const text = this.#orderOf(row)
      if (passes(text)) held.push({ entry: this.entryAt(row, this.keyOf(row)), order: text })
    })
    if (low >= this.#floor) return listed(held, order)
    const first = this.#segments.key(this.#segments.of(Math.max(low, this.#liveFrom)))
    const scan = this.services.engine.scan(first, successor(storePrefix(this.number)))
    const read = (row: Row): Found | null => {
      const keyEnd = row.key.length - keySuffix
      const start = int64At(row.key, keyEnd)
      if (start < low || start > to) return null
      const text = row.key.toString('latin1', keyOffset, keyEnd)
      if (!passes(text)) return null
      return { entry: this.#entryIn(row, this.codec.read(row.key, keyOffset, keyEnd)), order: text }
    }
    return chain(laidOver(held, [scan], read), (found) => listed(found, order))
  }

  /** What memory has of a key, absent windows too: they hide what the engine has. */
  #heldOf(key: unknown, order: string, low: number, to: number): Found[] {
    const { rows } = this
    const held: Found[] = []
    const advanceMs = this.#advanceMs
    const first = Math.ceil(low / advanceMs) * advanceMs
    const last = Math.min(to, this.notes.observedTime)
    if (this.#hasStrays || (last - first) / advanceMs > askedMax) {
      this.#visit(low, to, (row) => {
        if (this.#orderOf(row) === order) held.push({ entry: this.entryAt(row, key), order })
      })
      return held
    }
    for (let start = first; start <= last; start += advanceMs) {
      const row = this.findLocated(this.locate(key, start), start)
      if (row < 0 || (rows.flags(row) & rowFlag.loading) !== 0) continue
      rows.setFlags(row, rows.flags(row) | rowFlag.used)
      held.push({ entry: this.entryAt(row, key), order })
    }
    return held
  }

  /** Rows with a start in [low, to] that anything is known of. */
  #visit(low: number, to: number, visit: (row: number) => void): void {
    const { rows } = this
    const last = Math.floor(to / this.#spanMs)
    for (let at = this.#groupAt(Math.floor(low / this.#spanMs)); at < this.#groupIds.length; at++) {
      const id = this.#groupIds[at] as number
      if (id > last) return
      for (const row of this.#groups.get(id) as number[]) {
        if ((rows.flags(row) & (rowFlag.detached | rowFlag.loading)) !== 0) continue
        const time = rows.time(row)
        if (time >= low && time <= to) visit(row)
      }
    }
  }

  #entryIn({ key, value }: Row, userKey: unknown): RowEntry {
    const entry = this.entryOf(userKey, int64At(key, key.length - keySuffix))
    entry.value = this.valueIn(value)
    entry.timestamp = int64At(value, 0)
    return entry
  }

  #orderOf(row: number): string {
    const bytes = this.rows.key(row)
    return bytes.toString('latin1', this.rows.keyStart, this.rows.keyEnd)
  }

  // ----------------------------------------------------------------------------------------------------- retention

  /** What is before it is not read. */
  get #visibleFrom(): number {
    return this.#segments.visibleFrom(this.notes.observedTime)
  }

  #observe(time: number): void {
    if (time <= this.notes.observedTime) return
    this.notes.observedTime = time
    const liveFrom = this.#segments.liveFrom(time)
    if (liveFrom <= this.#liveFrom) return
    this.#liveFrom = liveFrom
    const { rows } = this
    this.#pass(liveFrom, (row) => {
      if ((rows.flags(row) & rowFlag.absent) === 0) this.notes.count--
      // Of what was changed and has expired nobody need be told.
      rows.setFlags(row, rows.flags(row) | rowFlag.hidden)
      return false
    })
  }

  /**
   * What retention hides is not read again: it leaves memory as soon as it is settled, and what the engine was not told
   * of by then need not come there any more.
   */
  override settle(offset: number | undefined): void {
    super.settle(offset)
    const { rows } = this
    const before = this.#segments.visibleFrom(this.settledNotes.observedTime)
    this.#pass(before, (row) => (rows.flags(row) & (changed | rowFlag.loading)) !== 0, true)
  }

  override expire(settled: StoreNotes): MaybePromise<void> {
    return this.#segments.expireIn(this.services.engine, settled.observedTime)
  }

  override trim(bytes: number): void {
    const { tally } = this.services
    const { rows } = this
    const until = tally.cached - bytes
    // Twice over, oldest first: rows that were used since the last sweep stay the first time.
    for (let round = 0; round < 2 && tally.cached > until; round++) {
      for (const id of [...this.#groupIds]) {
        if (tally.cached <= until) return
        this.#passGroup(id, (row) => {
          if (tally.cached <= until) return true
          const flags = rows.flags(row)
          if (!this.canGo(row, flags)) return true
          if ((flags & rowFlag.used) !== 0) {
            rows.setFlags(row, flags & ~rowFlag.used)
            return true
          }
          const time = rows.time(row)
          if (this.#floor <= time) this.#floor = time + 1
          return false
        })
      }
    }
  }

  // -------------------------------------------------------------------------------------------------------- groups

  protected override insertLocated(hash: number, start: number): number {
    const row = super.insertLocated(hash, start)
    const { rows } = this
    rows.setFlags(row, rows.flags(row) | rowFlag.listed)
    if (start % this.#advanceMs !== 0) this.#hasStrays = true
    const id = Math.floor(start / this.#spanMs)
    if (id !== this.#lastGroupId) {
      let group = this.#groups.get(id)
      if (group === undefined) {
        group = []
        this.#groups.set(id, group)
        this.#groupIds.splice(this.#groupAt(id), 0, id)
      }
      this.#lastGroup = group
      this.#lastGroupId = id
    }
    this.#lastGroup.push(row)
    return row
  }

  /** Lets go those that `stays` says no of, in groups that lie wholly before a time. `isOver`: as of `forget`. */
  #pass(before: number, stays: (row: number) => boolean, isOver = false): void {
    const ids = this.#groupIds
    let at = 0
    while (at < ids.length && ((ids[at] as number) + 1) * this.#spanMs <= before)
      if (this.#passGroup(ids[at] as number, stays, isOver)) at++
  }

  /** False: nothing of the group is left, nor the group. */
  #passGroup(id: number, stays: (row: number) => boolean, isOver = false): boolean {
    const { rows } = this
    const group = this.#groups.get(id) as number[]
    let left = 0
    for (let at = 0; at < group.length; at++) {
      const row = group[at] as number
      const isThere = (rows.flags(row) & rowFlag.detached) === 0
      if (isThere && stays(row)) {
        group[left++] = row
        continue
      }
      rows.setFlags(row, rows.flags(row) & ~rowFlag.listed)
      if (isThere) this.forget(row, isOver)
      else this.releaseDetached(row)
    }
    group.length = left
    if (left > 0) return true
    this.#groups.delete(id)
    this.#groupIds.splice(this.#groupAt(id), 1)
    this.#lastGroupId = Number.NaN
    return false
  }

  #groupAt(id: number): number {
    const ids = this.#groupIds
    let low = 0
    let high = ids.length
    if (high > 0 && (ids[high - 1] as number) < id) return high
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((ids[middle] as number) < id) low = middle + 1
      else high = middle
    }
    return low
  }

  /** It stays until its group goes. */
  protected override releaseAbsent(): void {}

  // ---------------------------------------------------------------------------------------------------------- rows

  protected override entryOf(key: unknown, start: number): RowEntry {
    return new RowEntry(key, start, windowEnd(start, this.#sizeMs))
  }

  protected override writeKeyEnd(start: number, to: ByteWriter): void {
    to.int64(start)
    to.int32(0)
  }

  protected override writeRowStart(start: number, to: ByteWriter): void {
    to.int16(this.number)
    to.int64(this.#segments.of(start))
  }

  protected override timeIn({ buffer, keyEnd }: Change): number {
    return int64At(buffer, keyEnd - keySuffix)
  }

  /** What is hidden by the time that is persisted with it is never read again: its segment takes along what was there. */
  protected override isHidden(change: Change): boolean {
    return this.timeIn(change) < this.#segments.visibleFrom(this.settledNotes.observedTime)
  }

  // ------------------------------------------------------------------------------------------------------- restore

  protected override empty(): void {
    super.empty()
    this.#groups.clear()
    this.#groupIds.length = 0
    this.#lastGroupId = Number.NaN
  }

  override beginRestore(): void {
    this.empty()
    this.#floor = Number.POSITIVE_INFINITY
  }

  override restored(nextOffset: number): void {
    super.restored(nextOffset)
    this.#floor = this.notes.observedTime + 1
  }

  protected override clear(): void {
    this.empty()
    this.#floor = Number.NEGATIVE_INFINITY
    this.#liveFrom = Number.NEGATIVE_INFINITY
    this.#segments.startOver()
  }

  override restoreRecord(record: ChangelogRecord, batch: EngineBatch): void {
    const { key } = record
    const start = int64At(key, key.length - keySuffix)
    this.#observe(start)
    if (start < this.#liveFrom) return
    const { scratch } = this.services
    scratch.reset()
    this.writeRowStart(start, scratch)
    scratch.bytes(key)
    const keyEnd = scratch.position
    if (record.isTombstone) {
      batch.remove(scratch.buffer, 0, keyEnd)
      return
    }
    scratch.int64(record.timestamp)
    record.writeValue(scratch)
    batch.put(scratch.buffer, 0, keyEnd, keyEnd, scratch.position)
  }
}

/** Those with a value, by start, then by key. */
function listed(found: readonly Found[], order: Order): readonly Entry[] {
  const there = found.filter(({ entry }) => entry.value !== null)
  if (there.length === 0) return none
  there.sort((one, other) => {
    const { start } = one.entry
    if (start !== other.entry.start) return start - other.entry.start
    return one.order < other.order ? -1 : one.order > other.order ? 1 : 0
  })
  const entries = there.map(({ entry }) => entry)
  return order === 'forward' ? entries : entries.reverse()
}

/**
 * What scans have, with what memory had when they were opened laid over it: what leaves memory later is in what they
 * show, or was never written.
 */
function laidOver(
  held: readonly Found[],
  scans: readonly Scan[],
  read: (row: Row) => Found | null,
): MaybePromise<readonly Found[]> {
  const nameOf = ({ entry, order }: Found): string => `${entry.start} ${order}`
  const hidden = new Set(held.map(nameOf))
  const found = [...held]
  const take = (row: Row): undefined => {
    const one = read(row)
    if (one !== null && !hidden.has(nameOf(one))) found.push(one)
  }
  const closeFrom = (index: number, error: unknown): never => {
    for (const scan of scans.slice(index)) void scan.close()
    throw error
  }
  const from = (index: number): MaybePromise<readonly Found[]> => {
    for (let at = index; at < scans.length; at++) {
      const scan = scans[at] as Scan
      const waiting = drain(scan.next.bind(scan), scan.close.bind(scan), take)
      if (isPromise(waiting))
        return waiting.then(
          () => from(at + 1),
          (error) => closeFrom(at + 1, error),
        )
    }
    return found
  }
  return from(0)
}
