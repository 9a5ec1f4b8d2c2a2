/**
 * What window and session stores share: entries by key and time, in a bucket per key sorted by time, and in groups of
 * like time that expire as one. The time of a window is its start, of a session its end.
 *
 * What memory knows: a bucket holds everything of its key from its `floor` on; a key without a bucket has nothing from
 * the store's floor on. So a miss at or above the floor needs no look at the engine.
 *
 * Retention is in segments.ts.
 *
 * engine: store number (2), segment (8), the key's bytes, time (8), discriminator -> timestamp (8), the value's bytes.
 */
import { assert } from '../base/assert.ts'
import type { ByteWriter } from '../base/bytes.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { SessionStoreSpec, WindowStoreSpec } from '../topology/store-spec.ts'
import { int64At } from '../wire/record-batch.ts'
import type { ChangelogRecord, Entry, Order } from './contract.ts'
import type { EngineBatch, Row } from './engine.ts'
import type { Change } from './generation.ts'
import { KeyCodec, orderOf } from './key-codec.ts'
import { successor } from './key-scan.ts'
import { LayeredStore, storePrefix } from './layered-store.ts'
import { Segments } from './segments.ts'
import { changed, flag, known, type LiveEntry } from './slot.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'
import { TimeGroups } from './time-groups.ts'

const keyOffset = 10
const timestampBytes = 8
const hollowMax = 10_000

type Bucket = {
  /** Sorted by time, then discriminator. */
  readonly entries: LiveEntry[]
  /** The last of them: the one that is asked for most, without a way through the list. */
  latest: LiveEntry | undefined
  floor: number
}

/** A part of the retention, and a whole part of a segment, so that a segment's entries are whole groups. */
export function groupSpanMs({ retentionMs, segmentIntervalMs }: WindowStoreSpec | SessionStoreSpec): number {
  const parts = [60, 30, 20, 12, 10, 6, 5, 4, 3, 2].find(
    (count) => segmentIntervalMs % count === 0 && segmentIntervalMs / count >= retentionMs / 4,
  )
  return segmentIntervalMs / (parts ?? 1)
}

export abstract class TimedStore extends LayeredStore<LiveEntry> {
  declare readonly spec: WindowStoreSpec | SessionStoreSpec
  protected readonly codec: KeyCodec
  protected readonly primitive: boolean
  protected readonly groups: TimeGroups
  readonly #buckets = new Map<unknown, Bucket>()
  readonly #loading = new Map<unknown, Promise<unknown>>()
  #hollow: unknown[] = []
  readonly #segments: Segments
  #floor: number
  /** What is before it has expired. */
  #liveFrom = Number.NEGATIVE_INFINITY
  /** Readings of all keys under way, and the earliest time that one of them began at. */
  #readings = 0
  #readFrom = Number.POSITIVE_INFINITY
  #wanted: { key: unknown; id: unknown; time: number; discriminator: number }[] = []
  /** How far behind the observed time an entry's time may be, for it holds more than what it is named by. */
  readonly #reachMs: number

  constructor(
    spec: WindowStoreSpec | SessionStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
    reachMs = 0,
  ) {
    super(spec, services, number, notes, offset)
    this.#reachMs = reachMs
    this.codec = new KeyCodec(spec.keySerde, this.topic)
    this.primitive = this.codec.primitive
    this.#segments = new Segments(spec, this.number)
    this.groups = new TimeGroups(spec.emitOnClose ? 1 : groupSpanMs(spec))
    this.#floor = this.pinned || offset === null ? Number.NEGATIVE_INFINITY : notes.observedTime + reachMs + 1
    this.#liveFrom = this.#segments.liveFrom(notes.observedTime)
  }

  // ------------------------------------------------------------------------------------------ what kinds differ in

  protected abstract timeOf(entry: LiveEntry): number
  /** What tells entries of one key and time apart: the number of a duplicate, the start of a session. */
  protected abstract discriminatorOf(entry: LiveEntry): number
  protected abstract readonly discriminatorBytes: 4 | 8
  protected abstract make(key: unknown, id: unknown, time: number, discriminator: number): LiveEntry

  /** What it counts for. */
  protected countOf(entry: LiveEntry): number {
    return entry.value === null ? 0 : 1
  }

  /** With its share of a bucket and a group. */
  protected override get slotCost(): number {
    return 320
  }

  get observedTime(): number {
    return this.notes.observedTime
  }

  // ---------------------------------------------------------------------------------------------------- retention

  /** What is before it is not read. */
  protected get visibleFrom(): number {
    return this.#segments.visibleFrom(this.notes.observedTime)
  }

  protected observe(time: number): void {
    if (time <= this.notes.observedTime) return
    this.notes.observedTime = time
    const liveFrom = this.#segments.liveFrom(time)
    if (liveFrom <= this.#liveFrom) return
    this.#liveFrom = liveFrom
    for (const entry of this.groups.takeBefore(liveFrom)) this.#expireEntry(entry, liveFrom)
  }

  protected isLive(time: number): boolean {
    return time >= this.#liveFrom
  }

  #expireEntry(entry: LiveEntry, liveFrom: number): void {
    if ((entry.flags & flag.detached) !== 0) return
    const bucket = this.#buckets.get(entry.id)
    if (bucket !== undefined) {
      const { entries } = bucket
      let gone = 0
      while (gone < entries.length && this.timeOf(entries[gone] as LiveEntry) < liveFrom) {
        const expired = entries[gone++] as LiveEntry
        this.untrack(expired)
        this.notes.count -= this.countOf(expired)
        expired.flags |= flag.detached | flag.hidden
      }
      if (gone === entries.length) this.#buckets.delete(entry.id)
      else entries.splice(0, gone)
    }
  }

  override expire(settled: StoreNotes): MaybePromise<void> {
    if (this.pinned) return undefined
    return this.#segments.expireIn(this.services.engine, settled.observedTime)
  }

  // ------------------------------------------------------------------------------------------------------- index

  /** The id of a key, at once for nearly all serdes. */
  protected idOf(key: unknown): unknown {
    return this.primitive ? key : this.codec.id(key)
  }

  /** An entry for reading and writing. One that is in no index yet is put there by its first write. */
  protected handle(key: unknown, id: unknown, time: number, discriminator: number): MaybePromise<LiveEntry> {
    if (time < this.visibleFrom) {
      const entry = this.make(key, id, time, discriminator)
      entry.flags = flag.detached | flag.hidden | known
      return entry
    }
    const bucket = this.#buckets.get(id)
    if (bucket !== undefined) {
      const entry = this.#seek(bucket, time, discriminator)
      if (entry !== undefined) {
        entry.flags |= flag.used
        return entry
      }
    }
    const floor = bucket === undefined ? this.#floor : bucket.floor
    if (time >= floor) {
      const entry = this.make(key, id, time, discriminator)
      entry.flags = flag.detached
      return entry
    }
    return this.#loadOne(key, id, time, discriminator)
  }

  /** Puts a handle where its write belongs. null: out of retention. */
  protected adopt(handle: LiveEntry): LiveEntry | null {
    const time = this.timeOf(handle)
    if (!this.isLive(time)) return null
    const bucket = this.#buckets.get(handle.id)
    const there = bucket && this.#seek(bucket, time, this.discriminatorOf(handle))
    if (there !== undefined) {
      // A hidden entry starts over: nobody downstream knows of what was there.
      if ((handle.flags & flag.hidden) !== 0) {
        there.flags &= ~flag.existed
        if (there.touch !== null) there.touch.old = null
      }
      return there
    }
    this.insert(handle)
    return handle
  }

  protected insert(entry: LiveEntry): void {
    entry.flags &= ~(flag.detached | flag.hidden)
    const bucket = this.#buckets.get(entry.id)
    if (bucket === undefined) {
      // A list of one has room for one; an empty one would make room for many at the first push.
      this.#buckets.set(entry.id, { entries: [entry], latest: entry, floor: this.#floor })
    } else {
      const { entries, latest } = bucket
      if (latest === undefined || this.#compare(latest, entry) < 0) {
        entries.push(entry)
        bucket.latest = entry
      } else
        entries.splice(this.#position(entries, this.timeOf(entry), this.discriminatorOf(entry)), 0, entry)
    }
    this.groups.add(this.timeOf(entry), entry)
    this.track(entry)
  }

  protected override forget(entry: LiveEntry): void {
    const bucket = this.#buckets.get(entry.id)
    if (bucket !== undefined) {
      const { entries } = bucket
      const index = this.#position(entries, this.timeOf(entry), this.discriminatorOf(entry))
      assert(entries[index] === entry, `${this.name}: an attached entry is in its bucket`)
      // The oldest goes first, mostly, and of many: `splice` would move the rest.
      if (index === 0) entries.shift()
      else entries.splice(index, 1)
      if (bucket.latest === entry) bucket.latest = entries[entries.length - 1]
      // What an empty one knows can be read again.
      if (entries.length === 0) this.#buckets.delete(entry.id)
    }
    this.groups.drop(this.timeOf(entry))
    this.untrack(entry)
    entry.flags = flag.detached | known
  }

  override trim(bytes: number): void {
    if (this.pinned) return
    this.#dropHollow()
    const { tally, lookAheads } = this.services
    const until = tally.cached - bytes
    // Twice over, oldest first: entries that were used since the last sweep stay the first time.
    for (let round = 0; round < 2 && tally.cached > until; round++) {
      for (const group of this.groups.oldestFirst()) {
        if (tally.cached <= until) break
        for (const entry of group) {
          if (tally.cached <= until) break
          if ((entry.flags & flag.detached) !== 0 || this.isUnsettled(entry) || this.isBeingRead(entry))
            continue
          if (entry.wantedBy !== 0 && lookAheads.holds(entry.wantedBy)) continue
          if ((entry.flags & flag.used) !== 0) {
            entry.flags &= ~flag.used
            continue
          }
          this.#evict(entry)
        }
      }
    }
  }

  /** Buckets that only say that their key has nothing. */
  #dropHollow(): void {
    for (const id of this.#hollow) if (this.#buckets.get(id)?.entries.length === 0) this.#buckets.delete(id)
    this.#hollow = []
  }

  /**
   * What retention hides is not read again. A segment is a minute at least, which for a join of two seconds is thirty
   * times what it looks at: so what is hidden leaves memory as soon as it is settled, not when its segment goes.
   */
  override settle(offset: number | undefined): void {
    super.settle(offset)
    // Emit on close reads what is hidden.
    if (this.pinned || this.spec.emitOnClose) return
    for (const group of this.groups.oldestFirst(this.#settledFrom)) {
      for (const entry of group.slice()) {
        // What the engine was not told of need not come there any more.
        if ((entry.flags & (changed | flag.detached)) !== 0 || this.isBeingRead(entry)) continue
        this.#evict(entry)
      }
    }
  }

  /** What is before it is hidden by the time that is persisted next, too. */
  get #settledFrom(): number {
    return this.#segments.visibleFrom(this.settledNotes.observedTime)
  }

  /** What is hidden by the time that is persisted with it is never read again: its segment takes along what was there. */
  protected override persistSlot(entry: LiveEntry, change: Change, batch: EngineBatch, to: ByteWriter): void {
    if (!this.spec.emitOnClose && this.#timeIn(change) < this.#settledFrom) return
    super.persistSlot(entry, change, batch, to)
  }

  /** What was read before the entry was persisted, and is entered after it left, would be taken for the newest. */
  protected override isBeingRead(entry: LiveEntry): boolean {
    return this.#loading.has(entry.id) || this.timeOf(entry) >= this.#readFrom
  }

  #evict(entry: LiveEntry): void {
    const floor = this.timeOf(entry) + 1
    const bucket = this.#buckets.get(entry.id) as Bucket
    if (bucket.floor < floor) bucket.floor = floor
    if (this.#floor < floor) this.#floor = floor
    this.forget(entry)
  }

  #compare(one: LiveEntry, other: LiveEntry): number {
    return this.timeOf(one) - this.timeOf(other) || this.discriminatorOf(one) - this.discriminatorOf(other)
  }

  /** Index of the first entry that is not before. */
  #position(entries: readonly LiveEntry[], time: number, discriminator: number): number {
    let low = 0
    let high = entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const entry = entries[middle] as LiveEntry
      const order = this.timeOf(entry) - time || this.discriminatorOf(entry) - discriminator
      if (order < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #seek({ entries, latest }: Bucket, time: number, discriminator: number): LiveEntry | undefined {
    if (latest === undefined) return undefined
    const order = this.timeOf(latest) - time || this.discriminatorOf(latest) - discriminator
    if (order === 0) return latest
    if (order < 0) return undefined
    const entry = entries[this.#position(entries, time, discriminator)]
    return entry !== undefined && this.timeOf(entry) === time && this.discriminatorOf(entry) === discriminator
      ? entry
      : undefined
  }

  /** Whether the key of an entry lies between two others by its bytes, both inclusive; null is no bound. */
  protected async keysWithin(fromKey: unknown, toKey: unknown): Promise<(entry: LiveEntry) => boolean> {
    const low = fromKey === null ? null : await orderOf(this.codec, fromKey)
    const high = toKey === null ? null : await orderOf(this.codec, toKey)
    return (entry) => {
      const text = this.orderOf(entry)
      return (low === null || text >= low) && (high === null || text <= high)
    }
  }

  protected orderOf(entry: LiveEntry): string {
    return (entry.order ??= this.codec.order(entry.id))
  }

  // ------------------------------------------------------------------------------------------------------- reads

  /** Entries of a key with time in [from, to] that pass, in order of time. */
  protected fetchKey(
    key: unknown,
    from: number,
    to: number,
    order: Order,
    passes: ((entry: LiveEntry) => boolean) | null,
  ): MaybePromise<readonly Entry[]> {
    const low = Math.max(from, this.visibleFrom)
    if (low > to) return none
    const id = this.idOf(key)
    if (isPromise(id)) return id.then((text) => this.#fetchId(key, text, low, to, order, passes))
    return this.#fetchId(key, id, low, to, order, passes)
  }

  /** Everything of a key with a time from `from` on is in memory then. */
  protected loadFrom(key: unknown, id: unknown, from: number): MaybePromise<void> {
    const bucket = this.#buckets.get(id)
    return from < (bucket === undefined ? this.#floor : bucket.floor)
      ? this.#loadKey(key, id, from)
      : undefined
  }

  /** What is in memory of a key, at a time. */
  protected entryAt(id: unknown, time: number, discriminator: number): LiveEntry | undefined {
    const bucket = this.#buckets.get(id)
    return bucket && this.#seek(bucket, time, discriminator)
  }

  #fetchId(
    key: unknown,
    id: unknown,
    from: number,
    to: number,
    order: Order,
    passes: ((entry: LiveEntry) => boolean) | null,
  ): MaybePromise<readonly Entry[]> {
    const bucket = this.#buckets.get(id)
    if (from < (bucket === undefined ? this.#floor : bucket.floor)) {
      return chain(this.#loadKey(key, id, from), () =>
        this.#pick(this.#buckets.get(id), from, to, order, passes),
      )
    }
    return this.#pick(bucket, from, to, order, passes)
  }

  #pick(
    bucket: Bucket | undefined,
    from: number,
    to: number,
    order: Order,
    passes: ((entry: LiveEntry) => boolean) | null,
  ): readonly Entry[] {
    if (bucket === undefined) return none
    const { entries } = bucket
    let found: LiveEntry[] | null = null
    for (let at = this.#position(entries, from, Number.NEGATIVE_INFINITY); at < entries.length; at++) {
      const entry = entries[at] as LiveEntry
      if (this.timeOf(entry) > to) break
      if (entry.value === null || (passes !== null && !passes(entry))) continue
      entry.flags |= flag.used
      if (found === null) found = [entry]
      else found.push(entry)
    }
    if (found === null) return none
    return order === 'forward' ? found : found.reverse()
  }

  /** Entries of all keys with time in [from, to], sorted by time, the discriminator of sessions, the key's bytes. */
  protected fetchTimes(
    from: number,
    to: number,
    order: Order,
    passes: ((entry: LiveEntry) => boolean) | null,
    compare: (one: LiveEntry, other: LiveEntry) => number,
  ): MaybePromise<readonly Entry[]> {
    if (from > to) return none
    const pick = (): readonly Entry[] => {
      const found: LiveEntry[] = []
      this.groups.visit(from, to, (entry) => {
        const time = this.timeOf(entry)
        if (entry.value !== null && time >= from && time <= to && (passes === null || passes(entry)))
          found.push(entry)
      })
      if (found.length > 1) {
        for (const entry of found) this.orderOf(entry)
        found.sort(compare)
      }
      return order === 'forward' ? found : found.reverse()
    }
    if (from >= this.#floor) return pick()
    return chain(this.#loadTimes(from), pick)
  }

  // ------------------------------------------------------------------------------------------------------- bytes

  protected override writeKey(entry: LiveEntry, to: ByteWriter): void {
    this.codec.write(entry.id, to)
    to.int64(this.timeOf(entry))
    this.writeDiscriminator(this.discriminatorOf(entry), to)
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

  protected writeDiscriminator(discriminator: number, to: ByteWriter): void {
    if (this.discriminatorBytes === 4) to.int32(discriminator)
    else to.int64(discriminator)
  }

  protected override writeLocalKey(entry: LiveEntry, to: ByteWriter): void {
    this.#writeLocal(entry.id, this.timeOf(entry), this.discriminatorOf(entry), to)
  }

  /** Its start or end, as it stands in the changelog's key. */
  #timeIn({ buffer, keyEnd }: Change): number {
    return int64At(buffer, keyEnd - 8 - this.discriminatorBytes)
  }

  protected override writeRowKey(_entry: LiveEntry, change: Change, to: ByteWriter): void {
    this.writeSegment(this.#timeIn(change), to)
    to.range(change.buffer, change.keyStart, change.keyEnd)
  }

  /** What comes before the key's bytes in a row's key. */
  protected writeSegment(time: number, to: ByteWriter): void {
    to.int16(this.number)
    to.int64(this.#segments.of(time))
  }

  #writeLocal(id: unknown, time: number, discriminator: number, to: ByteWriter): void {
    this.writeSegment(time, to)
    this.codec.write(id, to)
    to.int64(time)
    this.writeDiscriminator(discriminator, to)
  }

  // ------------------------------------------------------------------------------------------------------- engine

  /** What comes in the order of time is above the floor soon after a restart, and after an eviction of old entries. */
  get mayMiss(): boolean {
    return this.#floor > this.notes.observedTime
  }

  want(key: unknown, time: number): void {
    if (time >= this.#floor || time < this.visibleFrom) return
    const id = this.idOf(key)
    if (isPromise(id)) return
    const bucket = this.#buckets.get(id)
    if (bucket !== undefined) {
      const entry = this.#seek(bucket, time, 0)
      if (entry !== undefined) entry.wantedBy = this.services.lookAheads.current
      if (entry !== undefined || time >= bucket.floor) return
    }
    this.#wanted.push({ key, id, time, discriminator: 0 })
  }

  load(): MaybePromise<void> {
    const wanted = this.#wanted
    if (wanted.length === 0) return undefined
    this.#wanted = []
    return chain(this.#read(wanted, this.services.lookAheads.current), () => {})
  }

  #loadOne(key: unknown, id: unknown, time: number, discriminator: number): MaybePromise<LiveEntry> {
    const loading = this.#loading.get(id)
    if (loading !== undefined) return loading.then(() => this.handle(key, id, time, discriminator))
    return chain(this.#read([{ key, id, time, discriminator }], 0), (entries) => entries[0] as LiveEntry)
  }

  #read(
    wanted: readonly { key: unknown; id: unknown; time: number; discriminator: number }[],
    wantedBy: number,
  ): MaybePromise<LiveEntry[]> {
    const keys = wanted.map(({ id, time, discriminator }) => {
      const { scratch } = this.services
      scratch.reset()
      this.#writeLocal(id, time, discriminator, scratch)
      return scratch.copy()
    })
    const rows = this.services.engine.getMany(keys)
    const enter = (found: readonly (Buffer | undefined)[]): MaybePromise<LiveEntry[]> => {
      const entries: LiveEntry[] = []
      const step = (from: number): MaybePromise<LiveEntry[]> => {
        for (let index = from; index < wanted.length; index++) {
          const want = wanted[index] as (typeof wanted)[number]
          const row = found[index]
          const entry = this.make(want.key, want.id, want.time, want.discriminator)
          entry.wantedBy = wantedBy
          const filled = row === undefined ? undefined : this.fill(entry, row)
          if (isPromise(filled)) {
            return filled.then(() => {
              entries.push(this.#enter(entry))
              return step(index + 1)
            })
          }
          entries.push(this.#enter(entry))
        }
        return entries
      }
      return step(0)
    }
    if (!isPromise(rows)) return enter(rows)
    return this.#register(
      wanted.map(({ id }) => id),
      rows.then(enter),
    )
  }

  /** Whoever asks for a key that is being read waits for it, and for what was asked of it before. */
  #register<T>(ids: readonly unknown[], reading: Promise<T>): Promise<T> {
    const before = ids.flatMap((id) => this.#loading.get(id) ?? [])
    const all = before.length === 0 ? reading : Promise.allSettled([reading, ...before])
    for (const id of ids) this.#loading.set(id, all)
    const done = () => {
      for (const id of ids) if (this.#loading.get(id) === all) this.#loading.delete(id)
    }
    all.then(done, done)
    return reading
  }

  /** What was read goes into the index, unless something newer is there. An absent one too: it need not be read again. */
  #enter(entry: LiveEntry): LiveEntry {
    const time = this.timeOf(entry)
    const bucket = this.#buckets.get(entry.id)
    const there = bucket && this.#seek(bucket, time, this.discriminatorOf(entry))
    if (there !== undefined) return there
    if (!this.isLive(time)) {
      entry.flags |= flag.detached | flag.hidden
      return entry
    }
    this.insert(entry)
    entry.flags |= flag.used
    return entry
  }

  /** What the engine has of it. */
  protected fill(entry: LiveEntry, row: Buffer): MaybePromise<void> {
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

  /** Everything of the key from `from` on. */
  #loadKey(key: unknown, id: unknown, from: number): MaybePromise<void> {
    const loading = this.#loading.get(id)
    if (loading !== undefined) {
      return loading.then(() => this.loadFrom(key, id, from))
    }
    const reading = this.#scanKey(key, id, from)
    return isPromise(reading) ? this.#register([id], reading) : reading
  }

  #scanKey(key: unknown, id: unknown, from: number): MaybePromise<void> {
    const { scratch } = this.services
    const floor = this.#buckets.get(id)?.floor ?? this.#floor
    const first = this.#segments.of(Math.max(from, this.#liveFrom))
    const last = this.#segments.of(Math.min(floor - 1, this.settledNotes.observedTime + this.#reachMs))
    scratch.reset()
    this.codec.write(id, scratch)
    const keyBytes = scratch.copy()
    const entries: LiveEntry[] = []
    const readSegments = (segment: number): MaybePromise<void> => {
      for (let at = segment; at <= last; at++) {
        const prefix = Buffer.concat([this.#segments.key(at), keyBytes])
        // From the floor on everything is in memory.
        const end = at === last && floor <= Number.MAX_SAFE_INTEGER ? keyAt(prefix, floor) : successor(prefix)
        const scan = this.services.engine.scan(keyAt(prefix, from), end)
        const length = prefix.length + 8 + this.discriminatorBytes
        const waiting = drain(scan.next.bind(scan), scan.close.bind(scan), (row) => {
          // Longer keys that begin with this one lie in between.
          if (row.key.length !== length) return undefined
          return this.#readRow(row, key, id, entries)
        })
        if (isPromise(waiting)) return waiting.then(() => readSegments(at + 1))
      }
      return undefined
    }
    return chain(readSegments(first), () => {
      for (const entry of entries) this.#enter(entry)
      let bucket = this.#buckets.get(id)
      if (bucket === undefined) {
        if (this.#hollow.length >= hollowMax) this.#dropHollow()
        bucket = { entries: [], latest: undefined, floor: this.#floor }
        this.#buckets.set(id, bucket)
        this.#hollow.push(id)
      }
      if (from < bucket.floor) bucket.floor = from
    })
  }

  /** Everything of all keys from `from` on. */
  #loadTimes(from: number): MaybePromise<void> {
    const first = this.#segments.of(Math.max(from, this.#liveFrom))
    const scan = this.services.engine.scan(this.#segments.key(first), successor(storePrefix(this.number)))
    const entries: LiveEntry[] = []
    const reading = drain(scan.next.bind(scan), scan.close.bind(scan), (row) => {
      const keyEnd = row.key.length - 8 - this.discriminatorBytes
      if (int64At(row.key, keyEnd) < from) return undefined
      return chain(this.codec.read(row.key, keyOffset, keyEnd), (key) =>
        this.#readRow(row, key, this.codec.idAt(key, row.key, keyOffset, keyEnd), entries),
      )
    })
    const enter = (): void => {
      for (const entry of entries) this.#enter(entry)
      if (from < this.#floor) this.#floor = from
      for (const bucket of this.#buckets.values()) if (bucket.floor > from) bucket.floor = from
    }
    if (!isPromise(reading)) return enter()
    this.#readings++
    if (from < this.#readFrom) this.#readFrom = from
    return reading.then(enter).finally(() => {
      if (--this.#readings === 0) this.#readFrom = Number.POSITIVE_INFINITY
    })
  }

  #readRow(row: Row, key: unknown, id: unknown, entries: LiveEntry[]): MaybePromise<void> {
    const keyEnd = row.key.length - 8 - this.discriminatorBytes
    const time = int64At(row.key, keyEnd)
    const entry = this.make(key, id, time, this.#discriminatorAt(row.key, keyEnd + 8))
    return chain(this.fill(entry, row.value), () => {
      entries.push(entry)
    })
  }

  #discriminatorAt(bytes: Buffer, at: number): number {
    return this.discriminatorBytes === 4 ? bytes.readInt32BE(at) : int64At(bytes, at)
  }

  // ------------------------------------------------------------------------------------------------------ restore

  override beginRestore(): void {
    if (this.pinned) return
    this.#empty()
    this.#floor = Number.POSITIVE_INFINITY
  }

  protected override clear(): void {
    this.#empty()
    this.#floor = Number.NEGATIVE_INFINITY
    this.#liveFrom = Number.NEGATIVE_INFINITY
    this.#segments.startOver()
    this.#wanted = []
  }

  #empty(): void {
    for (const group of this.groups.oldestFirst()) {
      for (const entry of group) if ((entry.flags & flag.detached) === 0) this.forget(entry)
    }
    this.#buckets.clear()
  }

  override restored(nextOffset: number): void {
    super.restored(nextOffset)
    if (!this.pinned) this.#floor = this.notes.observedTime + this.#reachMs + 1
  }

  override restoreRecord(record: ChangelogRecord, batch: EngineBatch | null): MaybePromise<void> {
    const { key } = record
    const keyEnd = key.length - 8 - this.discriminatorBytes
    const time = int64At(key, keyEnd)
    const discriminator = this.#discriminatorAt(key, keyEnd + 8)
    if (this.discriminatorBytes === 4 && discriminator > this.notes.sequence)
      this.notes.sequence = discriminator
    this.observe(time)
    if (!this.isLive(time)) return undefined
    if (batch === null) return this.#restoreLive(record, keyEnd, time, discriminator)
    const { scratch } = this.services
    scratch.reset()
    scratch.int16(this.number)
    scratch.int64(this.#segments.of(time))
    scratch.bytes(key)
    const localEnd = scratch.position
    if (record.isTombstone) {
      batch.remove(scratch.buffer, 0, localEnd)
      return undefined
    }
    this.writeRow(record, scratch)
    batch.put(scratch.buffer, 0, localEnd, localEnd, scratch.position)
    return undefined
  }

  #restoreLive(
    record: ChangelogRecord,
    keyEnd: number,
    time: number,
    discriminator: number,
  ): MaybePromise<void> {
    const { key: bytes } = record
    return chain(this.codec.read(bytes, 0, keyEnd), (key) => {
      const id = this.codec.idAt(key, bytes, 0, keyEnd)
      const bucket = this.#buckets.get(id)
      const there = bucket && this.#seek(bucket, time, discriminator)
      if (there !== undefined) {
        if (there.value !== null) this.notes.count--
        this.forget(there)
      }
      if (record.isTombstone) return undefined
      const entry = this.make(key, id, time, discriminator)
      return chain(this.fill(entry, this.rowOf(record)), () => {
        this.notes.count++
        this.insert(entry)
      })
    })
  }

  // ------------------------------------------------------------------------------------------------------- writes

  /** A new value of an entry; false: its segment is gone. */
  protected write(entry: Entry, value: unknown, timestamp: number, headers: Headers): boolean {
    const handle = entry as LiveEntry
    const time = this.timeOf(handle)
    const advances = time > this.notes.observedTime
    this.observe(time)
    let live: LiveEntry | null = handle
    if ((handle.flags & flag.detached) !== 0) {
      live = this.adopt(handle)
      if (live === null) return false
    }
    if ((live.value === null) !== (value === null)) this.notes.count += value === null ? -1 : 1
    live.value = value
    live.changedAt = timestamp
    if (live !== handle) {
      handle.value = value
      handle.changedAt = timestamp
    }
    // Even a removal is logged then, so that whoever restores knows of the time.
    if (advances) live.flags |= flag.logged
    if ((live.flags & flag.dirty) === 0) this.markDirty(live)
    if (this.cached) this.touch(live, headers)
    return true
  }
}

/** The first key from a time on. */
export function keyAt(prefix: Buffer, time: number): Buffer {
  const key = Buffer.allocUnsafe(prefix.length + 8)
  prefix.copy(key)
  key.writeBigInt64BE(BigInt(Math.max(0, Math.trunc(Math.min(time, Number.MAX_SAFE_INTEGER)))), prefix.length)
  return key
}

export const none: readonly Entry[] = Object.freeze([])

/** All rows of a scan, at once where its engine answers at once; it is closed in any case. */
export function drain(
  next: () => MaybePromise<readonly Row[] | null>,
  close: () => MaybePromise<void>,
  take: (row: Row) => MaybePromise<void>,
): MaybePromise<void> {
  try {
    for (;;) {
      const rows = next()
      if (isPromise(rows)) return drainSlowly(rows, next, close, take)
      if (rows === null) break
      for (let index = 0; index < rows.length; index++) {
        const waiting = take(rows[index] as Row)
        if (isPromise(waiting)) {
          const rest = rows.slice(index + 1)
          return drainSlowly(
            waiting.then(() => rest),
            next,
            close,
            take,
          )
        }
      }
    }
  } catch (error) {
    close()
    throw error
  }
  return close()
}

async function drainSlowly(
  first: Promise<readonly Row[] | null>,
  next: () => MaybePromise<readonly Row[] | null>,
  close: () => MaybePromise<void>,
  take: (row: Row) => MaybePromise<void>,
): Promise<void> {
  try {
    for (let rows = await first; rows !== null; rows = await next()) {
      for (const row of rows) {
        const waiting = take(row)
        if (isPromise(waiting)) await waiting
      }
    }
  } finally {
    await close()
  }
}
