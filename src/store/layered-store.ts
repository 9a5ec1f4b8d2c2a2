/**
 * What all stores share: which of their slots changed, how a generation of changes is encoded, settled and written to
 * the engine, and what a cached store owes its listener. Kinds of stores differ in their index of slots and in their
 * bytes; generations they don't see.
 *
 * A generation: `cut` encodes each changed slot once into the changelog batch and remembers the range; `settle` makes
 * these ranges the committed ones; `persistInto` copies the last committed range of each slot to the engine's batch. No
 * step but these looks at a slot for it: which of its values are on their way is told by two numbers of the slot.
 */
import { assert } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { BatchBuilder } from '../wire/batch-builder.ts'
import type { ChangelogRecord, ChangelogWriter, FlushListener } from './contract.ts'
import type { EngineBatch } from './engine.ts'
import { Change, Generation } from './generation.ts'
import { writeHeaders } from './held-record.ts'
import { headersOf } from './kept-headers.ts'
import { keyOrder } from './key-order.ts'
import { changed, flag, type LiveEntry, type Slot, Touch } from './slot.ts'
import { StateStore } from './state-store.ts'

// What a changed slot costs the changelog before its size is known.
const sizeGuess = 64
/** A generation of which more than one in so many is gone is walked for them. */
const goneShare = 4

export abstract class LayeredStore<S extends Slot = Slot> extends StateStore {
  #dirty: S[] = []
  #dirtyBytes = 0
  #flying: Generation<S> | null = null
  #pending: Generation<S>[] = []
  #writing: Generation<S>[] = []
  /** Numbers of generations: the last one cut, settled, and given to the engine. */
  #cutNumber = 0
  #settledNumber = 0
  #persistedNumber = 0
  readonly #change = new Change()
  readonly #keepsHeaders = this.spec.keepsHeaders === true

  #listener: FlushListener | null = null
  #keepsOld = false
  #touched: LiveEntry[] = []
  #touchClock = 0

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
    return this.#keepsHeaders ? headersOf(slot) : noHeaders
  }

  /** A removal is a row of the engine, too. */
  protected get keepsRemovals(): boolean {
    return false
  }

  /** The engine gets a row that it did not have. */
  protected noteNewRow(_buffer: Buffer, _keyEnd: number): void {}

  /** The slot's key in the engine, of whose changelog key the change has the bytes. */
  protected writeRowKey(slot: S, _change: Change, to: ByteWriter): void {
    this.writeLocalKey(slot, to)
  }

  /** The slot as the engine keeps it: its timestamp and its bytes. */
  protected persistSlot(slot: S, change: Change, batch: EngineBatch, to: ByteWriter): void {
    // What came and went since the engine was written last leaves no trace there.
    if (change.valueStart < 0 && !change.isStored) return
    to.reset()
    this.writeRowKey(slot, change, to)
    const keyEnd = to.position
    if (change.valueStart < 0) {
      batch.remove(to.buffer, 0, keyEnd)
      return
    }
    to.int64(change.timestamp)
    if (this.#keepsHeaders) writeHeaders(change.headers, to)
    to.range(change.buffer, change.valueStart, change.valueEnd)
    batch.put(to.buffer, 0, keyEnd, keyEnd, to.position)
    if (!change.isStored) this.noteNewRow(to.buffer, keyEnd)
  }

  /** A changelog record as the engine keeps it: what follows the key. */
  protected writeRow(record: ChangelogRecord, to: ByteWriter): void {
    to.int64(record.timestamp)
    if (this.#keepsHeaders) writeHeaders(record.headers, to)
    record.writeValue(to)
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

  /** A changed slot has grown by so much. */
  protected weigh(bytes: number): void {
    this.#dirtyBytes += bytes
    this.services.tally.dirty += bytes
  }

  /** Heap bytes of a slot, besides those for its value. Measured on Node 20. */
  protected get slotCost(): number {
    return 200
  }

  /** Heap bytes of a value, for each of its bytes. */
  protected get valueCost(): number {
    return 5
  }

  protected track(slot: S): void {
    this.services.tally.cached += this.slotCost + this.valueCost * slot.size
  }

  protected untrack(slot: S): void {
    this.services.tally.cached -= this.slotCost + this.valueCost * slot.size
  }

  protected resize(slot: S, size: number): void {
    this.services.tally.cached += this.valueCost * (size - slot.size)
    slot.size = size
  }

  // ------------------------------------------------------------------------------------------------- generations

  override get hasDirty(): boolean {
    return this.#dirty.length > 0
  }

  override get hasPending(): boolean {
    return this.#pending.length > 0 || super.hasPending
  }

  /** Memory holds of it what the engine does not. */
  protected isUnsettled(slot: Slot): boolean {
    return (slot.flags & changed) !== 0 || slot.cutIn > this.#persistedNumber
  }

  override cut(changelog: ChangelogWriter): MaybePromise<void> {
    super.cut(changelog)
    assert(this.#flying === null, `${this.name}: one generation in flight`)
    const slots = this.#dirty
    this.#dirty = []
    this.services.tally.dirty -= this.#dirtyBytes
    this.#dirtyBytes = 0
    if (slots.length === 0) return undefined
    if (!this.isLogged && this.pinned) {
      for (const slot of slots) {
        slot.flags &= ~flag.dirty
        this.releaseIfClean(slot)
      }
      return undefined
    }
    const generation = new Generation<S>(++this.#cutNumber, slots, !this.pinned, this.#keepsHeaders)
    this.#flying = generation
    return this.encodeChanges(generation, changelog)
  }

  /** Writes what a generation changed, each slot once, and says of each that it has: `noteCut`. */
  protected encodeChanges(generation: Generation<S>, changelog: ChangelogWriter): MaybePromise<void> {
    // Stores without a changelog of their own keep their bytes themselves until the engine has them.
    return this.#encode(generation, 0, changelog, this.isLogged ? null : new ByteWriter(4096))
  }

  #encode(
    generation: Generation<S>,
    from: number,
    changelog: ChangelogWriter,
    own: ByteWriter | null,
  ): MaybePromise<void> {
    const { scratch } = this.services
    const { pinned } = this
    const { slots } = generation
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
          this.releaseIfClean(slot)
          continue
        }
        scratch.reset()
        this.writeKey(slot, scratch)
        const keyEnd = scratch.position
        if (!absent) {
          const waiting = this.writeValue(slot, scratch)
          if (isPromise(waiting)) {
            this.fly(generation, bytes)
            return waiting.then(() => this.#encode(generation, index, changelog, own))
          }
        }
        const valueEnd = scratch.position
        const { buffer } = scratch
        const timestamp = this.timestampOf(slot)
        const headers = this.changelogHeaders(slot)
        if (own === null) {
          const value = absent ? null : buffer
          builder = this.log(changelog, builder, timestamp, buffer, keyEnd, value, valueEnd, headers)
          if (!pinned) {
            const { keyStart, valueStart } = builder
            generation.add(slot, builder, keyStart, builder.keyEnd, valueStart, builder.valueEnd, timestamp)
          }
        } else {
          const start = own.position
          own.range(buffer, 0, valueEnd)
          const middle = start + keyEnd
          generation.add(slot, own, start, middle, absent ? -1 : middle, own.position, timestamp)
        }
        if (!pinned) generation.noteHeaders(headers)
        this.noteCut(generation, slot, absent, valueEnd - keyEnd)
        bytes += valueEnd + 40
      }
    } catch (error) {
      throw this.unwritable(error)
    }
    generation.seal()
    this.fly(generation, bytes)
    return undefined
  }

  /** The generation has the slot as it is. */
  protected noteCut(generation: Generation<S>, slot: S, absent: boolean, size: number): void {
    slot.flags &= ~flag.dirty
    slot.cutBefore = slot.cutIn
    slot.cutIn = generation.number
    if (absent) {
      slot.flags &= ~flag.logged
      generation.removed.push(slot)
    } else {
      slot.flags |= flag.logged
      if (size !== slot.size) this.resize(slot, size)
    }
  }

  protected fly(generation: Generation<S>, bytes: number): void {
    generation.bytes += bytes
    this.services.tally.flying += bytes
  }

  override settle(offset: number | undefined): void {
    super.settle(offset)
    const generation = this.#flying
    if (generation === null) return
    const { tally } = this.services
    this.#flying = null
    this.#settledNumber = generation.number
    tally.flying -= generation.bytes
    if (this.pinned) {
      this.#persistedNumber = generation.number
    } else {
      tally.pending += generation.bytes
      this.#pending.push(generation)
    }
    let gone = 0
    for (const slot of generation.removed) {
      // Removed before the engine was told of it: nothing is left to write.
      if (!this.keepsRemovals && (slot.flags & flag.stored) === 0) {
        slot.cutIn = slot.cutBefore = 0
        gone++
      }
      this.releaseIfClean(slot)
    }
    // Nor need they be held until the next persist, where they are many. They came in this generation or the one before.
    if (gone * goneShare > generation.count)
      for (const recent of this.#pending.slice(-2)) recent.keep((slot) => slot.cutIn !== 0)
  }

  override persistInto(batch: EngineBatch, to: ByteWriter): void {
    super.persistInto(batch, to)
    assert(this.#writing.length === 0, `${this.name}: one write to the engine at a time`)
    const generations = this.#pending
    this.#pending = []
    this.#writing = generations
    const change = this.#change
    let cut = 0
    for (const { count } of generations) cut += count
    const generationOf = new Int32Array(cut)
    const indexOf = new Int32Array(cut)
    const wereStored = new Uint8Array(cut)
    let count = 0
    for (let at = 0; at < generations.length; at++) {
      const generation = generations[at] as Generation<S>
      const { slots, number } = generation
      for (let index = 0; index < slots.length; index++) {
        const slot = slots[index] as S
        if (this.#settledIn(slot) !== number) continue
        generationOf[count] = at
        indexOf[count] = index
        if ((slot.flags & flag.stored) !== 0) wereStored[count] = 1
        else if (!generation.isRemoval(index)) slot.flags |= flag.stored
        count++
      }
    }
    // In this order a look at a slot is a wait for memory: what is needed of it is known by now.
    const order = keyOrder(count, (place) => {
      const generation = generations[generationOf[place] as number] as Generation<S>
      generation.read(indexOf[place] as number, change)
      return change
    })
    for (let at = 0; at < count; at++) {
      const place = order === null ? at : (order[at] as number)
      const generation = generations[generationOf[place] as number] as Generation<S>
      const index = indexOf[place] as number
      generation.read(index, change)
      change.isStored = wereStored[place] === 1
      this.persistSlot(generation.slots[index] as S, change, batch, to)
    }
  }

  /** The generation that has the slot as it was committed last. */
  #settledIn({ cutIn, cutBefore }: S): number {
    return cutIn <= this.#settledNumber ? cutIn : cutBefore
  }

  override overlayInto(batch: EngineBatch, to: ByteWriter): void {
    const change = this.#change
    for (const generation of [...this.#writing, ...this.#pending]) {
      const { slots, number } = generation
      for (let index = 0; index < slots.length; index++) {
        const slot = slots[index] as S
        if (this.#settledIn(slot) !== number) continue
        generation.read(index, change)
        change.isStored = (slot.flags & flag.stored) !== 0
        this.persistSlot(slot, change, batch, to)
      }
    }
  }

  override persisted(): void {
    super.persisted()
    const generations = this.#writing
    this.#writing = []
    for (const { number, bytes, removed } of generations) {
      this.services.tally.pending -= bytes
      this.#persistedNumber = number
      for (const slot of removed) this.releaseIfClean(slot)
    }
  }

  override notPersisted(): void {
    super.notPersisted()
    this.#pending = [...this.#writing, ...this.#pending]
    this.#writing = []
  }

  override reset(): void {
    const { tally } = this.services
    tally.dirty -= this.#dirtyBytes
    tally.flying -= this.#flying?.bytes ?? 0
    for (const { bytes } of this.#pending) tally.pending -= bytes
    for (const { bytes } of this.#writing) tally.pending -= bytes
    this.#dirty = []
    this.#flying = null
    this.#pending = []
    this.#writing = []
    this.#touched = []
    this.#dirtyBytes = 0
    this.#settledNumber = this.#persistedNumber = this.#cutNumber
    super.reset()
  }

  protected releaseIfClean(slot: S): void {
    if ((slot.flags & flag.detached) !== 0 || this.isUnsettled(slot) || !this.isAbsent(slot)) return
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
    touch.note(++this.#touchClock, headers, this.services.context.record)
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
      this.releaseIfClean(entry as unknown as S)
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
