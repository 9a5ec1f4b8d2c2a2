/**
 * What all stores share: which of their slots changed, how a generation of changes is encoded, settled and written to
 * the engine, and what a cached store owes its listener. Kinds of stores differ in their index of slots and in their
 * bytes; generations they don't see.
 *
 * A generation: `cut` encodes each changed slot once into the changelog batch and remembers the range; `settle` makes
 * these ranges the committed ones; `persistInto` copies the committed range of each slot to the engine's batch.
 */
import { assert } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { type BatchBuilder, headersLength } from '../wire/batch-builder.ts'
import type { ChangelogRecord, ChangelogWriter, FlushListener } from './contract.ts'
import type { EngineBatch } from './engine.ts'
import { writeHeaders } from './held-record.ts'
import { KeptHeaders } from './kept-headers.ts'
import { flag, Layers, type LiveEntry, type Slot, Touch, unsettled } from './slot.ts'
import { StateStore } from './state-store.ts'

// What a changed slot costs the changelog before its size is known.
const sizeGuess = 64
// From here on the changelog is asked for each record whether it takes one so large.
const largeBytes = 1024

export abstract class LayeredStore<S extends Slot = Slot> extends StateStore {
  #dirty: S[] = []
  #dirtyBytes = 0
  #flying: S[] = []
  #flyingBytes = 0
  #pending: S[] = []
  #pendingBytes = 0
  #writing: S[] = []
  #writingBytes = 0

  #listener: FlushListener | null = null
  #keepsOld = false
  #touched: LiveEntry[] = []
  #touchClock = 0
  /** Only of a store that keeps headers. */
  readonly #headers = this.spec.keepsHeaders === true ? new KeptHeaders(!this.pinned) : null

  // ------------------------------------------------------------------------------------------ what kinds differ in

  protected abstract writeKey(slot: S, to: ByteWriter): void
  /** Called only where `isAbsent` is false. A promise: nothing was written yet, call again after it. */
  protected abstract writeValue(slot: S, to: ByteWriter): void | Promise<void>
  protected abstract isAbsent(slot: S): boolean
  protected abstract timestampOf(slot: S): number
  protected abstract writeLocalKey(slot: S, to: ByteWriter): void
  /** Takes a clean slot out of the index. */
  protected abstract forget(slot: S): void

  /** Says that rows of the engine may still come that are older than the slot: it stays until then. */
  protected isBeingRead(_slot: S): boolean {
    return false
  }

  protected changelogHeaders(slot: S): Headers {
    return this.#headers === null ? noHeaders : this.#headers.cut(slot)
  }

  /** A removal is a row of the engine, too. */
  protected get keepsRemovals(): boolean {
    return false
  }

  /** The engine gets a row of the slot. */
  protected noteRow(_slot: S, _buffer: Buffer, _keyEnd: number): void {}

  /** The slot as the engine keeps it: its timestamp and its bytes. */
  protected persistSlot(slot: S, layers: Layers, batch: EngineBatch, to: ByteWriter): void {
    // What came and went since the engine was written last leaves no trace there.
    if (layers.settledStart < 0 && (slot.flags & flag.stored) === 0) return
    to.reset()
    this.writeLocalKey(slot, to)
    const keyEnd = to.position
    if (layers.settledStart < 0) {
      batch.remove(to.buffer, 0, keyEnd)
      return
    }
    to.int64(layers.settledTimestamp)
    this.#headers?.writeSettled(slot, to)
    to.range((layers.settled as ByteWriter).buffer, layers.settledStart, layers.settledEnd)
    batch.put(to.buffer, 0, keyEnd, keyEnd, to.position)
    this.noteRow(slot, to.buffer, keyEnd)
  }

  /** A changelog record as the engine keeps it: what follows the key. */
  protected writeRow({ timestamp, headers, value }: ChangelogRecord, to: ByteWriter): void {
    to.int64(timestamp)
    if (this.#headers !== null) writeHeaders(headers, to)
    to.bytes(value as Buffer)
  }

  protected rowOf(record: ChangelogRecord): Buffer {
    const { scratch } = this.services
    scratch.reset()
    this.writeRow(record, scratch)
    return scratch.copy()
  }

  // ----------------------------------------------------------------------------------------------------- changes

  protected markDirty(slot: S): void {
    if ((slot.flags & flag.dirty) !== 0) return
    slot.flags |= flag.dirty
    this.#dirty.push(slot)
    const bytes = slot.size + sizeGuess
    this.#dirtyBytes += bytes
    this.services.tally.dirty += bytes
  }

  /** Heap bytes of a slot, besides about five times its encoded size for the value. Measured on Node 20. */
  protected get slotCost(): number {
    return 200
  }

  protected track(slot: S): void {
    this.services.tally.cached += this.slotCost + 5 * slot.size
  }

  protected untrack(slot: S): void {
    this.services.tally.cached -= this.slotCost + 5 * slot.size
  }

  protected resize(slot: S, size: number): void {
    this.services.tally.cached += 5 * (size - slot.size)
    slot.size = size
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
    assert(this.#flying.length === 0, `${this.name}: one generation in flight`)
    const slots = this.#dirty
    this.#dirty = []
    this.services.tally.dirty -= this.#dirtyBytes
    this.#dirtyBytes = 0
    if (slots.length === 0) return undefined
    if (!this.isLogged && this.pinned) {
      for (const slot of slots) {
        slot.flags &= ~flag.dirty
        this.#releaseIfClean(slot)
      }
      return undefined
    }
    // Stores without a changelog of their own keep their bytes themselves until the engine has them.
    return this.#encode(slots, 0, changelog, this.isLogged ? null : new ByteWriter(4096))
  }

  #encode(slots: S[], from: number, changelog: ChangelogWriter, own: ByteWriter | null): MaybePromise<void> {
    const { scratch } = this.services
    const { pinned } = this
    let builder: BatchBuilder | null = null
    let bytes = 0
    let index = from
    try {
      for (; index < slots.length; index++) {
        const slot = slots[index] as S
        const absent = this.isAbsent(slot)
        // Nothing to take back, or out of retention by now.
        if ((absent && (slot.flags & flag.logged) === 0) || (slot.flags & flag.hidden) !== 0) {
          slot.flags &= ~flag.dirty
          this.#releaseIfClean(slot)
          continue
        }
        scratch.reset()
        this.writeKey(slot, scratch)
        const keyEnd = scratch.position
        if (!absent) {
          const waiting = this.writeValue(slot, scratch)
          if (isPromise(waiting)) {
            this.#fly(bytes)
            return waiting.then(() => this.#encode(slots, index, changelog, own))
          }
        }
        const valueEnd = scratch.position
        const { buffer } = scratch
        const timestamp = this.timestampOf(slot)
        const headers = this.changelogHeaders(slot)
        let start = -1
        let end = -1
        let batch: BatchBuilder | ByteWriter
        if (own === null) {
          const value = absent ? null : buffer
          if (
            builder === null ||
            valueEnd > largeBytes ||
            !builder.append(timestamp, buffer, 0, keyEnd, value, keyEnd, valueEnd, headers)
          ) {
            builder = changelog.builder(this.name, valueEnd + headersLength(headers))
            const taken = builder.append(timestamp, buffer, 0, keyEnd, value, keyEnd, valueEnd, headers)
            assert(taken, `${this.name}: the changelog's batch has room for a record of ${valueEnd} bytes`)
          }
          start = builder.valueStart
          end = builder.valueEnd
          batch = builder
        } else {
          if (!absent) {
            start = own.position
            own.range(buffer, keyEnd, valueEnd)
            end = own.position
          }
          batch = own
        }
        if (absent) {
          slot.flags = (slot.flags & ~(flag.dirty | flag.logged)) | flag.flying
        } else {
          slot.flags = (slot.flags & ~flag.dirty) | flag.flying | flag.logged
          const size = valueEnd - keyEnd
          if (size !== slot.size) this.resize(slot, size)
        }
        if (!pinned) {
          const layers = (slot.layers ??= new Layers())
          layers.flying = batch
          layers.flyingStart = start
          layers.flyingEnd = end
          layers.flyingTimestamp = timestamp
        }
        bytes += valueEnd + 40
        this.#flying.push(slot)
      }
    } catch (error) {
      if (error instanceof StreamsError) throw error
      const about = { store: this.name, cause: error, verdict: 'stop' } as const
      throw new StreamsError(
        'SERDE_FAILED',
        `store ${this.name}: a changed entry can't be written: ${message(error)}`,
        about,
      )
    }
    this.#fly(bytes)
    return undefined
  }

  #fly(bytes: number): void {
    this.#flyingBytes += bytes
    this.services.tally.flying += bytes
  }

  override settle(offset: number | undefined): void {
    super.settle(offset)
    this.#headers?.settle()
    const slots = this.#flying
    const { tally } = this.services
    if (slots.length === 0) return
    this.#flying = []
    tally.flying -= this.#flyingBytes
    if (this.pinned) {
      for (const slot of slots) {
        slot.flags &= ~flag.flying
        this.#releaseIfClean(slot)
      }
    } else {
      tally.pending += this.#flyingBytes
      this.#pendingBytes += this.#flyingBytes
      for (const slot of slots) {
        const layers = slot.layers as Layers
        if (layers.flyingStart < 0 && this.#cameAndWent(slot)) {
          slot.flags &= ~(flag.flying | flag.pending)
          slot.layers = null
          this.#releaseIfClean(slot)
          continue
        }
        layers.settled = layers.flying
        layers.settledStart = layers.flyingStart
        layers.settledEnd = layers.flyingEnd
        layers.settledTimestamp = layers.flyingTimestamp
        layers.flying = null
        if ((slot.flags & flag.pending) === 0) this.#pending.push(slot)
        slot.flags = (slot.flags & ~flag.flying) | flag.pending
      }
    }
    this.#flyingBytes = 0
  }

  override persistInto(batch: EngineBatch, to: ByteWriter): void {
    super.persistInto(batch, to)
    assert(this.#writing.length === 0, `${this.name}: one write to the engine at a time`)
    const slots = this.#pending
    const writing: S[] = []
    this.#pending = []
    this.#writing = writing
    this.#writingBytes = this.#pendingBytes
    this.#pendingBytes = 0
    for (const slot of slots) {
      // It went since, or stands here twice.
      if ((slot.flags & flag.pending) === 0) continue
      writing.push(slot)
      const layers = slot.layers as Layers
      this.persistSlot(slot, layers, batch, to)
      slot.flags = (slot.flags & ~flag.pending) | flag.writing
      if (layers.settledStart >= 0) slot.flags |= flag.stored
    }
  }

  override overlayInto(batch: EngineBatch, to: ByteWriter): void {
    for (const slot of this.#writing) this.persistSlot(slot, slot.layers as Layers, batch, to)
    for (const slot of this.#pending) {
      if ((slot.flags & flag.pending) !== 0) this.persistSlot(slot, slot.layers as Layers, batch, to)
    }
  }

  override persisted(): void {
    super.persisted()
    const slots = this.#writing
    this.#writing = []
    this.services.tally.pending -= this.#writingBytes
    this.#writingBytes = 0
    for (const slot of slots) {
      slot.flags &= ~flag.writing
      if ((slot.flags & (flag.pending | flag.flying)) === 0) slot.layers = null
      else if ((slot.flags & flag.pending) === 0) (slot.layers as Layers).settled = null
      this.#releaseIfClean(slot)
    }
    this.#headers?.persisted()
  }

  override notPersisted(): void {
    super.notPersisted()
    for (const slot of this.#writing) {
      slot.flags &= ~flag.writing
      if ((slot.flags & flag.pending) === 0) this.#pending.push(slot)
      slot.flags |= flag.pending
    }
    this.#writing = []
    this.#pendingBytes += this.#writingBytes
    this.#writingBytes = 0
  }

  override reset(): void {
    const { tally } = this.services
    tally.dirty -= this.#dirtyBytes
    tally.flying -= this.#flyingBytes
    tally.pending -= this.#pendingBytes + this.#writingBytes
    this.#dirty = []
    this.#flying = []
    this.#pending = []
    this.#writing = []
    this.#touched = []
    this.#dirtyBytes = this.#flyingBytes = this.#pendingBytes = this.#writingBytes = 0
    this.#headers?.clear()
    super.reset()
  }

  /** Removed before the engine was told of it: nothing is left to write. */
  #cameAndWent(slot: S): boolean {
    return !this.keepsRemovals && (slot.flags & (flag.stored | flag.writing)) === 0
  }

  #releaseIfClean(slot: S): void {
    if ((slot.flags & (unsettled | flag.detached)) !== 0 || !this.isAbsent(slot)) return
    if (!this.isBeingRead(slot)) this.forget(slot)
  }

  // ------------------------------------------------------------------------------------------------------- flush

  override onFlush(listener: FlushListener<never, never>, options: { readonly keepOld: boolean }): void {
    this.#listener = listener as unknown as FlushListener
    this.#keepsOld = options.keepOld
  }

  protected get keepsOld(): boolean {
    return this.#keepsOld
  }

  override get hasTouched(): boolean {
    return this.#touched.length > 0
  }

  /** Of a cached store: the entry goes downstream at the next flush. */
  protected touch(entry: LiveEntry, headers: Headers): void {
    if (this.#listener === null) return
    const touch = (entry.touch ??= new Touch(headers))
    touch.at = ++this.#touchClock
    touch.headers = headers
    const { record } = this.services.context
    if (record !== undefined) {
      touch.topic = record.topic
      touch.partition = record.partition
      touch.offset = record.offset
    }
    if ((entry.flags & flag.touched) !== 0) return
    entry.flags |= flag.touched
    this.#touched.push(entry)
    this.services.tally.touched += entry.size + sizeGuess
  }

  /** Tells the listener of each entry that changed since the last flush, in the order of their last changes. */
  override flush(): MaybePromise<void> {
    if (this.#touched.length === 0) return undefined
    const entries = this.#touched
    this.#touched = []
    entries.sort((one, other) => (one.touch as Touch).at - (other.touch as Touch).at)
    return this.#flushFrom(entries, 0)
  }

  #flushFrom(entries: readonly LiveEntry[], from: number): MaybePromise<void> {
    for (let index = from; index < entries.length; index++) {
      const waiting = this.#flushEntry(entries[index] as LiveEntry)
      if (isPromise(waiting)) return waiting.then(() => this.#flushFrom(entries, index + 1))
    }
    return undefined
  }

  #flushEntry(entry: LiveEntry): MaybePromise<void> {
    const existed = (entry.flags & flag.existed) !== 0
    const touch = entry.touch as Touch
    this.services.tally.touched -= entry.size + sizeGuess
    if (this.services.tally.touched < 0) this.services.tally.touched = 0
    entry.flags &= ~(flag.touched | flag.existed)
    if (entry.value !== null) entry.flags |= flag.existed
    else if (!existed) {
      this.#releaseIfClean(entry as unknown as S)
      return undefined
    }
    const listener = this.#listener as FlushListener
    const { headers, topic, partition, offset } = touch
    const timestamp = entry.changedAt
    const origin = { topic, partition, offset }
    if (!this.#keepsOld) {
      entry.touch = null
      return listener({ entry, old: null, timestamp, headers, origin })
    }
    const before = touch.old
    const kept = this.keep(entry)
    const send = (old: unknown) => listener({ entry, old, timestamp, headers, origin })
    const recall = (): MaybePromise<void> => {
      if (!existed) return send(null)
      const old = this.recall(before)
      return isPromise(old) ? old.then(send) : send(old)
    }
    return isPromise(kept) ? kept.then(recall) : recall()
  }

  /** Remembers the value as what downstream knows of: an aggregator may change the object in place. */
  protected keep(entry: LiveEntry): MaybePromise<void> {
    const touch = (entry.touch ??= new Touch(noHeaders))
    const { value } = entry
    if (typeof value !== 'object' || value === null) {
      touch.old = value
      return undefined
    }
    const { scratch } = this.services
    scratch.reset()
    const waiting = this.writeValue(entry as unknown as S, scratch)
    if (isPromise(waiting)) return waiting.then(() => this.keep(entry))
    touch.old = scratch.copy()
    return undefined
  }

  protected recall(old: unknown): MaybePromise<unknown> {
    return Buffer.isBuffer(old) ? this.valueSerde.read(old, 0, old.length, this.topic, noHeaders) : old
  }
}

/** Local keys start with the number of their store. */
export function storePrefix(number: number): Buffer {
  const prefix = Buffer.alloc(2)
  prefix.writeUInt16BE(number)
  return prefix
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
