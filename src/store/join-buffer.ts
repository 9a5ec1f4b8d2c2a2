/**
 * Stream records that wait for a versioned table, in order of (time, bytes of the key, arrival).
 * changelog: 0 (1), time (8), the key's bytes, number of arrival (4) -> held-record.ts.
 */
import { assert } from '../base/assert.ts'
import type { ByteWriter } from '../base/bytes.ts'
import type { Headers } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { JoinBufferSpec } from '../topology/store-spec.ts'
import { int64At } from '../wire/record-batch.ts'
import { BufferStore } from './buffer-store.ts'
import type { Held, JoinBuffer, Origin } from './contract.ts'
import { type HeldRecord, readHeldRecord, writeHeldRecord } from './held-record.ts'
import { KeyCodec } from './key-codec.ts'
import { flag, known, Slot } from './slot.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'
import { TimeHeap } from './time-heap.ts'

class WaitingSlot extends Slot {
  readonly key: unknown
  readonly id: unknown
  readonly order: string
  readonly time: number
  readonly sequence: number
  readonly held: HeldRecord
  isPresent = true

  constructor(key: unknown, id: unknown, order: string, time: number, sequence: number, held: HeldRecord) {
    super()
    this.key = key
    this.id = id
    this.order = order
    this.time = time
    this.sequence = sequence
    this.held = held
  }
}

export class JoinBufferEntries extends BufferStore<WaitingSlot> implements JoinBuffer {
  readonly kind = 'join-buffer'
  readonly #codec: KeyCodec
  readonly #graceMs: number
  readonly #queue = new TimeHeap<WaitingSlot>(
    (one, other) =>
      one.time - other.time ||
      (one.order < other.order ? -1 : one.order > other.order ? 1 : one.sequence - other.sequence),
  )
  /** Only while the engine or the changelog is read: what a later row may take away again. */
  readonly #restored = new Map<string, WaitingSlot>()
  #size = 0

  constructor(
    spec: JoinBufferSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    super(spec, services, number, notes, offset)
    this.#codec = new KeyCodec(spec.keySerde, this.topic)
    this.#graceMs = spec.graceMs
  }

  get size(): number {
    return this.#size
  }

  get observedTime(): number {
    return this.notes.observedTime
  }

  get minTime(): number {
    return this.#first()?.time ?? Number.POSITIVE_INFINITY
  }

  hold(key: unknown, value: unknown, time: number, headers: Headers, origin: Origin): MaybePromise<boolean> {
    if (this.notes.observedTime - this.#graceMs > time) return false
    return chain(this.#codec.id(key) as MaybePromise<unknown>, (id) =>
      chain(this.encode(this.valueSerde, value), (bytes) => {
        if (time > this.notes.observedTime) this.notes.observedTime = time
        this.notes.sequence = (this.notes.sequence + 1) & 0x7fffffff
        const { topic, partition, offset } = origin
        const held: HeldRecord = {
          timestamp: time,
          headers,
          origin: { topic, partition, offset },
          prior: null,
          old: null,
          value: bytes,
          time: 0,
        }
        const slot = new WaitingSlot(key, id, this.#codec.order(id), time, this.notes.sequence, held)
        this.#queue.push(slot)
        this.#size++
        this.markDirty(slot)
        return true
      }),
    )
  }

  shift(): MaybePromise<Held<unknown, unknown>> {
    const slot = this.#first()
    assert(slot !== undefined, `${this.name}: something is held`)
    const { held, key, time } = slot
    const { timestamp, headers, origin } = held
    const value = this.decode(this.valueSerde, held.value)
    if (isPromise(value)) {
      return value.then((read) => {
        this.#take(slot)
        return { key, value: read, old: null, time, timestamp, headers, origin }
      })
    }
    this.#take(slot)
    return { key, value, old: null, time, timestamp, headers, origin }
  }

  #first(): WaitingSlot | undefined {
    for (;;) {
      const slot = this.#queue.first()
      if (slot === undefined || slot.isPresent) return slot
      this.#queue.shift()
    }
  }

  #take(slot: WaitingSlot): void {
    assert(this.#queue.shift() === slot, `${this.name}: the first stays the first while it is read`)
    slot.isPresent = false
    this.#size--
    this.markDirty(slot)
  }

  protected override writeKey(slot: WaitingSlot, to: ByteWriter): void {
    to.int8(0)
    to.int64(slot.time)
    this.#codec.write(slot.id, to)
    to.int32(slot.sequence)
  }

  protected override writeValue(slot: WaitingSlot, to: ByteWriter): void {
    writeHeldRecord(slot.held, to)
  }

  protected override isAbsent(slot: WaitingSlot): boolean {
    return !slot.isPresent
  }

  protected override timestampOf(slot: WaitingSlot): number {
    return slot.time
  }

  protected override forget(slot: WaitingSlot): void {
    slot.flags = flag.detached | known
  }

  protected override lay(
    keyBytes: Buffer,
    valueBytes: Buffer | null,
    _timestamp: number,
  ): MaybePromise<void> {
    const time = int64At(keyBytes, 1)
    const sequence = keyBytes.readInt32BE(keyBytes.length - 4)
    const id = keyBytes.toString('latin1')
    const there = this.#restored.get(id)
    if (there !== undefined) {
      there.isPresent = false
      this.#restored.delete(id)
      this.#size--
    }
    if (sequence > this.notes.sequence) this.notes.sequence = sequence
    if (time > this.notes.observedTime) this.notes.observedTime = time
    if (valueBytes === null) return undefined
    const held = readHeldRecord(valueBytes, 0, valueBytes.length, this.name)
    return chain(this.#codec.read(keyBytes, 9, keyBytes.length - 4), (key) => {
      const keyId = this.#codec.idAt(key, keyBytes, 9, keyBytes.length - 4)
      const slot = new WaitingSlot(
        key,
        keyId,
        keyBytes.toString('latin1', 9, keyBytes.length - 4),
        time,
        sequence,
        held,
      )
      slot.flags |= known
      this.#restored.set(id, slot)
      this.#queue.push(slot)
      this.#size++
    })
  }

  override cut(changelog: Parameters<BufferStore<WaitingSlot>['cut']>[0]): MaybePromise<void> {
    this.#restored.clear()
    return super.cut(changelog)
  }

  protected override clear(): void {
    this.#queue.clear()
    this.#restored.clear()
    this.#size = 0
  }
}
