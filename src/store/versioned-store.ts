/**
 * Values by key and time: each put is a version, valid until the next one of its key. A removal is a version, too. The
 * newest version of a key never expires; older ones do once they ended before observed - history retention.
 *
 * changelog: the key's bytes -> the value's bytes; the record's timestamp is the version's.
 * engine: store number (2), 1, the key's bytes, timestamp (8) -> 0 (a removal) or 1 (1), the value's bytes.
 *         store number (2), 2, segment (8), the key's bytes, timestamp (8) -> nothing: once the segment is past the
 *         history, versions of the key before this timestamp are of no use. So expiry costs what expires.
 */
import { ByteWriter } from '../base/bytes.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { VersionedStoreSpec } from '../topology/store-spec.ts'
import { int64At } from '../wire/record-batch.ts'
import type { ChangelogRecord, Order, Version, VersionedStore } from './contract.ts'
import type { EngineBatch } from './engine.ts'
import type { Change } from './generation.ts'
import { KeyCodec } from './key-codec.ts'
import { successor } from './key-scan.ts'
import { LayeredStore } from './layered-store.ts'
import { flag, Slot } from './slot.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'
import { drain } from './timed-store.ts'

const versionRows = 1
const expiryRows = 2

class VersionSlot extends Slot {
  readonly chain: Chain
  readonly timestamp: number
  value: unknown
  /** Of one that its chain let go: when the next version of the key began. */
  endedAt = Number.POSITIVE_INFINITY

  constructor(chain: Chain, timestamp: number, value: unknown) {
    super()
    this.chain = chain
    this.timestamp = timestamp
    this.value = value
  }
}

type Chain = {
  readonly key: unknown
  readonly id: unknown
  /** Sorted by timestamp. */
  versions: VersionSlot[]
}

export class VersionedEntries extends LayeredStore<VersionSlot> implements VersionedStore {
  readonly kind = 'versioned'
  readonly #codec: KeyCodec
  readonly #retentionMs: number
  readonly #segmentMs: number
  readonly #chains = new Map<unknown, Chain>()
  readonly #loading = new Map<unknown, Promise<Chain>>()
  readonly #own = new ByteWriter(256)
  #complete: boolean
  #clearedSegment = 0
  #sweep: MapIterator<Chain> | null = null

  constructor(
    spec: VersionedStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    super(spec, services, number, notes, offset)
    this.#codec = new KeyCodec(spec.keySerde, this.topic)
    this.#retentionMs = spec.historyRetentionMs
    this.#segmentMs = spec.segmentIntervalMs
    this.#complete = this.pinned || offset === null
  }

  get #historyFrom(): number {
    return this.notes.observedTime - this.#retentionMs
  }

  put(
    key: unknown,
    value: unknown,
    timestamp: number,
    _headers: Headers,
  ): MaybePromise<{ readonly latest: boolean; readonly validTo: number | null } | false> {
    if (timestamp < this.#historyFrom) return false
    return chain(this.#chainOf(key), (found) => {
      if (timestamp < this.#historyFrom) return false
      if (timestamp > this.notes.observedTime) this.notes.observedTime = timestamp
      // A chain that left memory while its key was waited for is put back by its first write.
      let live = this.#chains.get(found.id)
      if (live === undefined) {
        live = found
        this.#chains.set(found.id, found)
        for (const slot of found.versions) this.track(slot)
      }
      const { versions } = live
      const at = position(versions, timestamp)
      let slot = versions[at]
      if (slot === undefined || slot.timestamp !== timestamp) {
        slot = new VersionSlot(live, timestamp, value)
        versions.splice(at, 0, slot)
        this.track(slot)
      }
      slot.value = value
      // A removal is kept as a version: it is written in any case.
      slot.flags |= flag.logged | flag.used
      this.markDirty(slot)
      this.#prune(live)
      const next = versions[position(versions, timestamp) + 1]
      return { latest: next === undefined, validTo: next === undefined ? null : next.timestamp }
    })
  }

  get(key: unknown): MaybePromise<Version<unknown> | null> {
    return chain(this.#chainOf(key), ({ versions }) => versionAt(versions, versions.length - 1))
  }

  getAsOf(key: unknown, timestamp: number): MaybePromise<Version<unknown> | null> {
    return chain(this.#chainOf(key), ({ versions }) => {
      const at = position(versions, timestamp + 1) - 1
      if (timestamp < this.#historyFrom && at !== versions.length - 1) return null
      return versionAt(versions, at)
    })
  }

  history(
    key: unknown,
    from: number,
    to: number,
    order: Order = 'backward',
  ): MaybePromise<readonly Version<unknown>[]> {
    return chain(this.#chainOf(key), ({ versions }) => {
      const found: Version<unknown>[] = []
      const last = position(versions, to + 1) - 1
      const onlyLatest = to < this.#historyFrom
      for (let at = last; at >= 0; at--) {
        const next = versions[at + 1]
        if (next !== undefined && (onlyLatest || next.timestamp <= from)) break
        const version = versionAt(versions, at)
        if (version !== null) found.push(version)
      }
      return order === 'forward' ? found.reverse() : found
    })
  }

  // ------------------------------------------------------------------------------------------------------- index

  #chainOf(key: unknown): MaybePromise<Chain> {
    return chain(this.#codec.id(key) as MaybePromise<unknown>, (id) => {
      const there = this.#chains.get(id)
      if (there !== undefined) return there
      // Kept only once something is written to it.
      if (this.#complete) return { key, id, versions: [] }
      return this.#loading.get(id) ?? this.#load(key, id)
    })
  }

  #load(key: unknown, id: unknown): MaybePromise<Chain> {
    const { scratch } = this.services
    scratch.reset()
    scratch.int16(this.number)
    scratch.int8(versionRows)
    this.#codec.write(id, scratch)
    const prefix = scratch.copy()
    const scan = this.services.engine.scan(prefix, successor(prefix))
    const found: Chain = { key, id, versions: [] }
    const reading = drain(scan.next.bind(scan), scan.close.bind(scan), (row) => {
      // Longer keys that begin with this one lie in between.
      if (row.key.length !== prefix.length + 8) return undefined
      const slot = new VersionSlot(found, int64At(row.key, prefix.length), null)
      slot.flags = flag.logged
      slot.size = row.value.length
      found.versions.push(slot)
      if (row.value[0] === 0) return undefined
      return chain(this.valueSerde.read(row.value, 1, row.value.length, this.topic, noHeaders), (value) => {
        slot.value = value
      })
    })
    const enter = (): Chain => {
      const there = this.#chains.get(id)
      if (there !== undefined) return there
      found.versions.sort((one, other) => one.timestamp - other.timestamp)
      this.#chains.set(id, found)
      for (const slot of found.versions) this.track(slot)
      this.#prune(found)
      return found
    }
    if (!isPromise(reading)) return enter()
    const entering = reading.then(enter).finally(() => this.#loading.delete(id))
    entering.catch(() => {})
    this.#loading.set(id, entering)
    return entering
  }

  /** Lets go of versions that ended before the history begins. */
  #prune({ versions }: Chain): void {
    const keep = position(versions, this.#historyFrom + 1) - 1
    if (keep <= 0) return
    for (let at = 0; at < keep; at++) {
      const slot = versions[at] as VersionSlot
      slot.endedAt = (versions[at + 1] as VersionSlot).timestamp
      slot.flags |= flag.hidden
      this.untrack(slot)
    }
    versions.splice(0, keep)
  }

  /** Versions stay in their chain. */
  protected override forget(_slot: VersionSlot): void {}

  override trim(bytes: number): void {
    if (this.pinned) return
    const { tally } = this.services
    const until = tally.cached - bytes
    let left = this.#chains.size * 2
    while (tally.cached > until && left-- > 0) {
      this.#sweep ??= this.#chains.values()
      const next = this.#sweep.next()
      if (next.done === true) {
        this.#sweep = null
        continue
      }
      const { id, versions } = next.value
      if (this.#loading.has(id) || versions.some((slot) => this.isUnsettled(slot))) continue
      const last = versions[versions.length - 1]
      if (last !== undefined && (last.flags & flag.used) !== 0) {
        last.flags &= ~flag.used
        continue
      }
      for (const slot of versions) this.untrack(slot)
      this.#chains.delete(id)
      this.#complete = false
    }
  }

  // ------------------------------------------------------------------------------------------------------- bytes

  protected override writeKey(slot: VersionSlot, to: ByteWriter): void {
    this.#codec.write(slot.chain.id, to)
  }

  protected override writeValue(slot: VersionSlot, to: ByteWriter): void | Promise<void> {
    return this.valueSerde.write(slot.value, to, this.topic, noHeaders)
  }

  protected override isAbsent(slot: VersionSlot): boolean {
    return slot.value === null
  }

  protected override timestampOf(slot: VersionSlot): number {
    return slot.timestamp
  }

  protected override writeLocalKey(slot: VersionSlot, to: ByteWriter): void {
    to.int16(this.number)
    to.int8(versionRows)
    this.#codec.write(slot.chain.id, to)
    to.int64(slot.timestamp)
  }

  protected override get keepsRemovals(): boolean {
    return true
  }

  protected override persistSlot(
    slot: VersionSlot,
    change: Change,
    batch: EngineBatch,
    to: ByteWriter,
  ): void {
    to.reset()
    this.writeLocalKey(slot, to)
    const keyEnd = to.position
    // What a generation let go that isn't settled is still part of the history that is: it may be undone.
    if (slot.endedAt < this.settledNotes.observedTime - this.#retentionMs) {
      batch.remove(to.buffer, 0, keyEnd)
      return
    }
    if (change.valueStart < 0) {
      to.int8(0)
    } else {
      to.int8(1)
      to.range(change.buffer, change.valueStart, change.valueEnd)
    }
    batch.put(to.buffer, 0, keyEnd, keyEnd, to.position)
    to.reset()
    to.int16(this.number)
    to.int8(expiryRows)
    to.int64(this.#segmentOf(slot.timestamp))
    this.#codec.write(slot.chain.id, to)
    to.int64(slot.timestamp)
    batch.put(to.buffer, 0, to.position, to.position, to.position)
  }

  // ------------------------------------------------------------------------------------------------------- expiry

  #segmentOf(time: number): number {
    return Math.max(0, Math.trunc(time / this.#segmentMs))
  }

  #expiryKey(segment: number): Buffer {
    const key = Buffer.alloc(11)
    key.writeUInt16BE(this.number)
    key[2] = expiryRows
    key.writeBigInt64BE(BigInt(segment), 3)
    return key
  }

  override expire(settled: StoreNotes): MaybePromise<void> {
    if (this.pinned) return undefined
    const segment = this.#segmentOf(settled.observedTime - this.#retentionMs)
    if (segment <= this.#clearedSegment) return undefined
    const from = this.#expiryKey(this.#clearedSegment)
    const to = this.#expiryKey(segment)
    this.#clearedSegment = segment
    const { engine } = this.services
    const batch = engine.batch()
    const scan = engine.scan(from, to)
    const reading = drain(scan.next.bind(scan), scan.close.bind(scan), (row) => {
      batch.remove(row.key, 0, row.key.length)
      // The row's key says which versions end before it: all of its key, up to its own.
      const local = Buffer.concat([row.key.subarray(0, 2), Buffer.from([versionRows]), row.key.subarray(11)])
      const first = Buffer.from(local)
      first.fill(0, first.length - 8)
      const older = engine.scan(first, local)
      return drain(older.next.bind(older), older.close.bind(older), (version) => {
        if (version.key.length === local.length) batch.remove(version.key, 0, version.key.length)
      })
    })
    return chain(reading, () => (batch.size > 0 ? batch.write() : undefined))
  }

  // ------------------------------------------------------------------------------------------------------ restore

  override beginRestore(): void {
    if (this.pinned) return
    this.clear()
    this.#complete = false
  }

  protected override clear(): void {
    for (const { versions } of this.#chains.values()) for (const slot of versions) this.untrack(slot)
    this.#chains.clear()
    this.#complete = true
    this.#clearedSegment = 0
  }

  override restoreRecord(record: ChangelogRecord, batch: EngineBatch | null): MaybePromise<void> {
    const { key: bytes, value: valueBytes, timestamp } = record
    if (timestamp > this.notes.observedTime) this.notes.observedTime = timestamp
    if (batch === null) return this.#restoreLive(record)
    const to = this.#own
    to.reset()
    to.int16(this.number)
    to.int8(versionRows)
    to.bytes(bytes)
    to.int64(timestamp)
    const keyEnd = to.position
    to.int8(valueBytes === null ? 0 : 1)
    if (valueBytes !== null) to.bytes(valueBytes)
    batch.put(to.buffer, 0, keyEnd, keyEnd, to.position)
    to.reset()
    to.int16(this.number)
    to.int8(expiryRows)
    to.int64(this.#segmentOf(timestamp))
    to.bytes(bytes)
    to.int64(timestamp)
    batch.put(to.buffer, 0, to.position, to.position, to.position)
    return undefined
  }

  #restoreLive({ key: bytes, value: valueBytes, timestamp }: ChangelogRecord): MaybePromise<void> {
    return chain(this.#codec.read(bytes, 0, bytes.length), (key) => {
      const id = this.#codec.idAt(key, bytes, 0, bytes.length)
      const value =
        valueBytes === null
          ? null
          : this.valueSerde.read(valueBytes, 0, valueBytes.length, this.topic, noHeaders)
      return chain(value as MaybePromise<unknown>, (read) => {
        let live = this.#chains.get(id)
        if (live === undefined) {
          live = { key, id, versions: [] }
          this.#chains.set(id, live)
        }
        const at = position(live.versions, timestamp)
        const there = live.versions[at]
        if (there !== undefined && there.timestamp === timestamp) {
          there.value = read
        } else {
          const slot = new VersionSlot(live, timestamp, read)
          slot.flags = flag.logged
          live.versions.splice(at, 0, slot)
          this.track(slot)
        }
        this.#prune(live)
      })
    })
  }
}

/** Index of the first version that is not before the time. */
function position(versions: readonly VersionSlot[], timestamp: number): number {
  const last = versions[versions.length - 1]
  if (last === undefined || last.timestamp < timestamp) return versions.length
  let low = 0
  let high = versions.length - 1
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((versions[middle] as VersionSlot).timestamp < timestamp) low = middle + 1
    else high = middle
  }
  return low
}

function versionAt(versions: readonly VersionSlot[], at: number): Version<unknown> | null {
  const slot = versions[at]
  if (slot === undefined || slot.value === null) return null
  return { value: slot.value, timestamp: slot.timestamp, validTo: versions[at + 1]?.timestamp ?? null }
}
