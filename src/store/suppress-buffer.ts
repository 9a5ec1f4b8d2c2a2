/**
 * Changes of a table held back: one per key, in order of (time, bytes of the key).
 * changelog: the key's bytes -> held-record.ts, with a header that says so (`v` is 3).
 */
import { assert } from '../base/assert.ts'
import type { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import type { Headers } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { SuppressBufferSpec } from '../topology/store-spec.ts'
import { BufferStore } from './buffer-store.ts'
import type { ChangelogRecord, Held, Origin, SuppressBuffer } from './contract.ts'
import type { EngineBatch } from './engine.ts'
import { type HeldRecord, heldBytes, readHeldRecord, writeHeldRecord } from './held-record.ts'
import { KeyCodec } from './key-codec.ts'
import { flag, known, Slot } from './slot.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'
import { TimeHeap } from './time-heap.ts'

const formatHeader = Object.freeze([{ key: 'v', value: Buffer.from([3]) }])

class HeldSlot extends Slot {
  readonly key: unknown
  readonly id: unknown
  readonly order: string
  held: HeldRecord | null = null
  /** Of the record that was held last: a tombstone's, too. */
  timestamp = 0

  constructor(key: unknown, id: unknown, order: string) {
    super()
    this.key = key
    this.id = id
    this.order = order
  }
}

export class SuppressEntries extends BufferStore<HeldSlot> implements SuppressBuffer {
  readonly kind = 'suppress-buffer'
  readonly #codec: KeyCodec
  readonly #slots = new Map<unknown, HeldSlot>()
  readonly #queue = new TimeHeap<HeldSlot>(
    (one, other) =>
      timeOf(one) - timeOf(other) || (one.order < other.order ? -1 : one.order > other.order ? 1 : 0),
  )
  #bytes = 0

  constructor(
    spec: SuppressBufferSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    super(spec, services, number, notes, offset)
    this.#codec = new KeyCodec(spec.keySerde, this.topic)
  }

  get size(): number {
    return this.#queue.size
  }

  get bytes(): number {
    return this.#bytes
  }

  get minTime(): number {
    const first = this.#queue.first()
    return first === undefined ? Number.POSITIVE_INFINITY : timeOf(first)
  }

  hold(
    key: unknown,
    value: unknown,
    old: unknown,
    time: number,
    timestamp: number,
    headers: Headers,
    origin: Origin,
  ): MaybePromise<void> {
    return chain(this.#codec.id(key) as MaybePromise<unknown>, (id) =>
      this.encoded(this.valueSerde, value, old, (valueBytes, oldBytes) => {
        const slot = this.#slotOf(key, id)
        const before = slot.held
        const { topic, partition, offset } = origin
        this.#put(slot, {
          timestamp,
          headers,
          origin: { topic, partition, offset },
          prior: before === null ? oldBytes : before.prior,
          old: oldBytes,
          value: valueBytes,
          time: before === null ? time : before.time,
        })
        this.markDirty(slot)
      }),
    )
  }

  first(): MaybePromise<Held<unknown, unknown>> {
    const slot = this.#queue.first()
    assert(slot !== undefined, `${this.name}: something is held`)
    return this.#heldOf(slot)
  }

  shift(): MaybePromise<Held<unknown, unknown>> {
    const slot = this.#queue.first()
    assert(slot !== undefined, `${this.name}: something is held`)
    const held = this.#heldOf(slot)
    if (isPromise(held)) {
      return held.then((read) => {
        this.#take(slot)
        return read
      })
    }
    this.#take(slot)
    return held
  }

  oldOf(key: unknown): MaybePromise<unknown> {
    return chain(this.#codec.id(key) as MaybePromise<unknown>, (id) => {
      const held = this.#slots.get(id)?.held
      return held === null || held === undefined ? undefined : this.decode(this.valueSerde, held.prior)
    })
  }

  #slotOf(key: unknown, id: unknown): HeldSlot {
    let slot = this.#slots.get(id)
    if (slot === undefined) {
      slot = new HeldSlot(key, id, this.#codec.order(id))
      this.#slots.set(id, slot)
    }
    return slot
  }

  #put(slot: HeldSlot, held: HeldRecord): void {
    const before = slot.held
    if (before !== null) this.#bytes -= heldBytes(slot.order.length, before)
    slot.held = held
    slot.timestamp = held.timestamp
    this.#bytes += heldBytes(slot.order.length, held)
    if (before === null) this.#queue.push(slot)
  }

  #take(slot: HeldSlot): void {
    const first = this.#queue.shift()
    assert(first === slot, `${this.name}: the first stays the first while it is read`)
    this.#bytes -= heldBytes(slot.order.length, slot.held as HeldRecord)
    slot.held = null
    this.markDirty(slot)
  }

  #heldOf(slot: HeldSlot): MaybePromise<Held<unknown, unknown>> {
    const held = slot.held as HeldRecord
    return chain(this.decode(this.valueSerde, held.value), (value) =>
      chain(this.decode(this.valueSerde, held.old), (old) => ({
        key: slot.key,
        value,
        old,
        time: held.time,
        timestamp: held.timestamp,
        headers: held.headers,
        origin: held.origin,
      })),
    )
  }

  protected override changelogHeaders(slot: HeldSlot): Headers {
    return slot.held === null ? [] : formatHeader
  }

  protected override writeKey(slot: HeldSlot, to: ByteWriter): void {
    this.#codec.write(slot.id, to)
  }

  protected override writeValue(slot: HeldSlot, to: ByteWriter): void {
    writeHeldRecord(slot.held as HeldRecord, to)
  }

  protected override isAbsent(slot: HeldSlot): boolean {
    return slot.held === null
  }

  protected override timestampOf(slot: HeldSlot): number {
    return slot.held?.timestamp ?? slot.timestamp
  }

  protected override forget(slot: HeldSlot): void {
    this.#slots.delete(slot.id)
    slot.flags = flag.detached | known
  }

  override restoreRecord(record: ChangelogRecord, batch: EngineBatch | null): MaybePromise<void> {
    if (!record.isTombstone) {
      const format = record.headers.find((header) => header.key === 'v')?.value?.[0] ?? 0
      if (format < 2) {
        throw new StreamsError(
          'STATE_CORRUPT',
          `store ${this.name}: its changelog has records in format ${format} of Kafka Streams before 2.4; only format 3 is read. Let Kafka Streams 2.5 or later run on it first, or reset the application`,
          { store: this.name, verdict: 'stop' },
        )
      }
    }
    return super.restoreRecord(record, batch)
  }

  protected override lay(
    keyBytes: Buffer,
    valueBytes: Buffer | null,
    _timestamp: number,
  ): MaybePromise<void> {
    return chain(this.#codec.read(keyBytes, 0, keyBytes.length), (key) => {
      const id = this.#codec.idAt(key, keyBytes, 0, keyBytes.length)
      if (valueBytes === null) {
        this.#removeRestored(id)
        return
      }
      const slot = this.#slotOf(key, id)
      slot.flags |= known
      const held = readHeldRecord(valueBytes, 0, valueBytes.length, this.name)
      if (slot.held !== null && slot.held.time !== held.time) this.#removeRestored(id)
      const fresh = this.#slotOf(key, id)
      fresh.flags |= known
      this.#put(fresh, held)
    })
  }

  /** Restoring meets removals in any order: rare enough for a rebuild of the queue. */
  #removeRestored(id: unknown): void {
    const slot = this.#slots.get(id)
    if (slot === undefined || slot.held === null) return
    this.#bytes -= heldBytes(slot.order.length, slot.held)
    this.#slots.delete(id)
    const rest: HeldSlot[] = []
    for (let next = this.#queue.shift(); next !== undefined && next !== slot; next = this.#queue.shift())
      rest.push(next)
    slot.held = null
    for (const kept of rest) this.#queue.push(kept)
  }

  protected override clear(): void {
    this.#slots.clear()
    this.#queue.clear()
    this.#bytes = 0
  }
}

function timeOf(slot: HeldSlot): number {
  return slot.held?.time ?? Number.NEGATIVE_INFINITY
}
