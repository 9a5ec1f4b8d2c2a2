/**
 * Unmatched records of a stream-stream join, both sides, in order of (time, right before left, bytes of the key).
 * changelog: time (8), side (1: left is 1), the key's bytes -> a list of values:
 *   1 (1), count (4), then each: length (4), side (1: left is 1), the value's bytes.
 */
import type { ByteWriter } from '../base/bytes.ts'
import { noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { OuterJoinStoreSpec } from '../topology/store-spec.ts'
import { int64At } from '../wire/record-batch.ts'
import { BufferStore } from './buffer-store.ts'
import type { OuterJoinStore, Unmatched } from './contract.ts'
import { KeyCodec } from './key-codec.ts'
import { flag, known, Slot } from './slot.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'
import { TimeHeap } from './time-heap.ts'

type Side = 'left' | 'right'

class UnmatchedSlot extends Slot {
  readonly side: Side
  readonly key: unknown
  readonly time: number
  /** The changelog's key, as text. */
  readonly id: string
  values: unknown[] = []
  isQueued = false

  constructor(side: Side, key: unknown, time: number, id: string) {
    super()
    this.side = side
    this.key = key
    this.time = time
    this.id = id
  }
}

export class OuterJoinEntries extends BufferStore<UnmatchedSlot> implements OuterJoinStore {
  readonly kind = 'outer-join'
  readonly #codec: KeyCodec
  readonly #serdes: { readonly left: Serde<unknown>; readonly right: Serde<unknown> }
  readonly #slots = new Map<string, UnmatchedSlot>()
  readonly #queue = new TimeHeap<UnmatchedSlot>((one, other) =>
    one.id < other.id ? -1 : one.id > other.id ? 1 : 0,
  )
  #size = 0

  constructor(
    spec: OuterJoinStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    super(spec, services, number, notes, offset)
    this.#codec = new KeyCodec(spec.keySerde, this.topic)
    this.#serdes = { left: spec.valueSerde, right: spec.rightValueSerde }
  }

  get size(): number {
    return this.#size
  }

  put(side: Side, key: unknown, time: number, value: unknown): MaybePromise<void> {
    return chain(this.#idOf(side, key, time), (id) => {
      const slot = this.#slotOf(side, key, time, id)
      slot.values.push(value)
      this.#size++
      this.markDirty(slot)
    })
  }

  remove(side: Side, key: unknown, time: number): MaybePromise<void> {
    if (this.#size === 0) return undefined
    return chain(this.#idOf(side, key, time), (id) => {
      const slot = this.#slots.get(id)
      if (slot === undefined || slot.values.length === 0) return
      this.#size -= slot.values.length
      slot.values = []
      this.markDirty(slot)
    })
  }

  visit(visit: (unmatched: Unmatched) => MaybePromise<'remove' | 'keep' | 'stop'>): MaybePromise<void> {
    const passed: UnmatchedSlot[] = []
    const restore = (): void => {
      for (const slot of passed) if (slot.values.length > 0 && !slot.isQueued) this.#enqueue(slot)
    }
    const visiting = this.#visitFrom(visit, passed)
    if (isPromise(visiting)) return visiting.finally(restore)
    restore()
    return undefined
  }

  #visitFrom(
    visit: (unmatched: Unmatched) => MaybePromise<'remove' | 'keep' | 'stop'>,
    passed: UnmatchedSlot[],
  ): MaybePromise<void> {
    for (let slot = this.#queue.first(); slot !== undefined; slot = this.#queue.first()) {
      this.#queue.shift()
      slot.isQueued = false
      if (slot.values.length === 0) continue
      passed.push(slot)
      const going = this.#visitSlot(slot, visit)
      if (isPromise(going)) return going.then((goOn) => (goOn ? this.#visitFrom(visit, passed) : undefined))
      if (!going) return undefined
    }
    return undefined
  }

  /** Whether to go on. */
  #visitSlot(
    slot: UnmatchedSlot,
    visit: (unmatched: Unmatched) => MaybePromise<'remove' | 'keep' | 'stop'>,
  ): MaybePromise<boolean> {
    const { side, key, time } = slot
    const values = [...slot.values]
    const drop = (value: unknown): void => {
      const at = slot.values.indexOf(value)
      if (at < 0) return
      slot.values.splice(at, 1)
      this.#size--
      this.markDirty(slot)
    }
    const step = (from: number): MaybePromise<boolean> => {
      for (let index = from; index < values.length; index++) {
        const value = values[index]
        const verdict = visit({ side, key, value, time })
        if (isPromise(verdict)) {
          return verdict.then((settled) => {
            if (settled === 'stop') return false
            if (settled === 'remove') drop(value)
            return step(index + 1)
          })
        }
        if (verdict === 'stop') return false
        if (verdict === 'remove') drop(value)
      }
      return true
    }
    return step(0)
  }

  #idOf(side: Side, key: unknown, time: number): MaybePromise<string> {
    return chain(this.#codec.id(key) as MaybePromise<unknown>, (id) => {
      const { scratch } = this.services
      scratch.reset()
      scratch.int64(time)
      scratch.int8(side === 'left' ? 1 : 0)
      this.#codec.write(id, scratch)
      return scratch.buffer.toString('latin1', 0, scratch.position)
    })
  }

  #slotOf(side: Side, key: unknown, time: number, id: string): UnmatchedSlot {
    let slot = this.#slots.get(id)
    if (slot === undefined) {
      slot = new UnmatchedSlot(side, key, time, id)
      this.#slots.set(id, slot)
    }
    if (!slot.isQueued) this.#enqueue(slot)
    return slot
  }

  #enqueue(slot: UnmatchedSlot): void {
    slot.isQueued = true
    this.#queue.push(slot)
  }

  protected override writeKey(slot: UnmatchedSlot, to: ByteWriter): void {
    to.ensure(slot.id.length)
    to.buffer.write(slot.id, to.position, 'latin1')
    to.position += slot.id.length
  }

  protected override writeValue(slot: UnmatchedSlot, to: ByteWriter): void | Promise<void> {
    const start = to.position
    const serde = this.#serdes[slot.side]
    to.int8(1)
    to.int32(slot.values.length)
    for (const value of slot.values) {
      const lengthAt = to.position
      to.int32(0)
      to.int8(slot.side === 'left' ? 1 : 0)
      const waiting = serde.write(value, to, this.topic, noHeaders)
      if (isPromise(waiting)) {
        to.position = start
        return waiting
      }
      to.buffer.writeInt32BE(to.position - lengthAt - 4, lengthAt)
    }
    return undefined
  }

  protected override isAbsent(slot: UnmatchedSlot): boolean {
    return slot.values.length === 0
  }

  protected override timestampOf(slot: UnmatchedSlot): number {
    return slot.time
  }

  protected override forget(slot: UnmatchedSlot): void {
    // Still in the queue, it is passed over there; put again, it is a new one.
    if (this.#slots.get(slot.id) === slot) this.#slots.delete(slot.id)
    slot.flags = flag.detached | known
  }

  protected override lay(
    keyBytes: Buffer,
    valueBytes: Buffer | null,
    _timestamp: number,
  ): MaybePromise<void> {
    const time = int64At(keyBytes, 0)
    const side: Side = keyBytes[8] === 1 ? 'left' : 'right'
    const id = keyBytes.toString('latin1')
    const there = this.#slots.get(id)
    if (there !== undefined) {
      this.#size -= there.values.length
      there.values = []
    }
    if (valueBytes === null) {
      this.#slots.delete(id)
      return undefined
    }
    return chain(this.#codec.read(keyBytes, 9, keyBytes.length), (key) => {
      const slot = this.#slotOf(side, key, time, id)
      slot.flags |= known
      return this.#readValues(slot, valueBytes, 5, valueBytes.readInt32BE(1))
    })
  }

  #readValues(slot: UnmatchedSlot, bytes: Buffer, from: number, count: number): MaybePromise<void> {
    let at = from
    for (let left = count; left > 0; left--) {
      const end = at + 4 + bytes.readInt32BE(at)
      const value = this.#serdes[slot.side].read(bytes, at + 5, end, this.topic, noHeaders)
      if (isPromise(value)) {
        return value.then((read) => {
          slot.values.push(read)
          this.#size++
          return this.#readValues(slot, bytes, end, left - 1)
        })
      }
      slot.values.push(value)
      this.#size++
      at = end
    }
    return undefined
  }

  protected override clear(): void {
    this.#slots.clear()
    this.#queue.clear()
    this.#size = 0
  }
}
