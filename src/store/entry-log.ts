/**
 * Entries in the order of their arrival, as bytes: no object for any of them. Each has an id, a whole number of 32 bits
 * that counts up and around; its columns are in a ring of typed arrays, its key and value in chunks that are used again
 * once nobody is left in them. New ones come at the end, and leave from the front; what an engine gave back is put
 * before the front, where it leaves first.
 */
import { ByteWriter } from '../base/bytes.ts'

const capacityMin = 256
const chunkBytes = 65_536
const spareMax = 8

export class Chunk {
  readonly writer = new ByteWriter(chunkBytes)
  live = 0
}

/** Whether an id was given before another. */
export function isBefore(one: number, other: number): boolean {
  return ((one - other) | 0) < 0
}

export function idAfter(id: number): number {
  return (id + 1) | 0
}

/** `owners` are what the entries belong to. Columns are read at `slot(id)`; they are replaced as the log grows. */
export class EntryLog<Owner> {
  /** Of the oldest. */
  first = 0
  /** Of the next. */
  end = 0
  mask = capacityMin - 1
  times = new Float64Array(capacityMin)
  sequences = new Int32Array(capacityMin)
  keyStarts = new Int32Array(capacityMin)
  valueStarts = new Int32Array(capacityMin)
  valueEnds = new Int32Array(capacityMin)
  chunks: (Chunk | null)[] = new Array(capacityMin).fill(null)
  owners: (Owner | null)[] = new Array(capacityMin).fill(null)
  #open = new Chunk()
  readonly #spare: Chunk[] = []

  get size(): number {
    return (this.end - this.first) | 0
  }

  /** Bytes of the key and the value together. */
  bytes(id: number): number {
    const slot = id & this.mask
    return (this.valueEnds[slot] as number) - (this.keyStarts[slot] as number)
  }

  buffer(id: number): Buffer {
    return (this.chunks[id & this.mask] as Chunk).writer.buffer
  }

  /** Where the next entry's key and value are written, before `append` or `prepend` takes them in. */
  get writer(): ByteWriter {
    if (this.#open.writer.position >= chunkBytes - 1_024) this.#openNext()
    return this.#open.writer
  }

  /** Takes in what was written to `writer` from `keyStart` on, as the newest. */
  append(owner: Owner, time: number, sequence: number, keyStart: number, valueStart: number): number {
    this.#makeRoom()
    const id = this.end
    this.end = idAfter(id)
    this.#set(id, owner, time, sequence, keyStart, valueStart)
    return id
  }

  /** As the oldest. */
  prepend(owner: Owner, time: number, sequence: number, keyStart: number, valueStart: number): number {
    this.#makeRoom()
    const id = (this.first - 1) | 0
    this.first = id
    this.#set(id, owner, time, sequence, keyStart, valueStart)
    return id
  }

  /** The entry's bytes are what was written to `writer` from `keyStart` on. */
  replace(id: number, keyStart: number, valueStart: number): void {
    const slot = id & this.mask
    const owner = this.owners[slot] as Owner
    this.#leave(this.chunks[slot] as Chunk)
    this.#set(id, owner, this.times[slot] as number, this.sequences[slot] as number, keyStart, valueStart)
  }

  /** The oldest leaves. */
  shift(): void {
    const slot = this.first & this.mask
    const chunk = this.chunks[slot] as Chunk
    this.chunks[slot] = null
    this.owners[slot] = null
    this.first = idAfter(this.first)
    this.#leave(chunk)
  }

  /** Gives memory back after a time of many. */
  shrink(): void {
    let capacity = this.mask + 1
    while (capacity > capacityMin && this.size * 8 < capacity) capacity /= 2
    if (capacity <= this.mask) this.#resize(capacity)
  }

  clear(): void {
    this.first = this.end
    this.#open = new Chunk()
    this.#resize(capacityMin)
  }

  #set(id: number, owner: Owner, time: number, sequence: number, keyStart: number, valueStart: number): void {
    const slot = id & this.mask
    const chunk = this.#open
    chunk.live++
    this.times[slot] = time
    this.sequences[slot] = sequence
    this.keyStarts[slot] = keyStart
    this.valueStarts[slot] = valueStart
    this.valueEnds[slot] = chunk.writer.position
    this.chunks[slot] = chunk
    this.owners[slot] = owner
  }

  #leave(chunk: Chunk): void {
    chunk.live--
    if (chunk.live > 0 || chunk === this.#open) return
    if (this.#spare.length < spareMax && chunk.writer.buffer.length === chunkBytes) this.#spare.push(chunk)
  }

  #openNext(): void {
    const full = this.#open
    if (full.live === 0 && full.writer.buffer.length === chunkBytes) {
      full.writer.reset()
      return
    }
    const next = this.#spare.pop() ?? new Chunk()
    next.writer.reset()
    this.#open = next
  }

  #makeRoom(): void {
    if (this.size > this.mask) this.#resize((this.mask + 1) * 2)
  }

  #resize(capacity: number): void {
    const { mask: oldMask, times, sequences, keyStarts, valueStarts, valueEnds, chunks, owners } = this
    const mask = capacity - 1
    this.mask = mask
    this.times = new Float64Array(capacity)
    this.sequences = new Int32Array(capacity)
    this.keyStarts = new Int32Array(capacity)
    this.valueStarts = new Int32Array(capacity)
    this.valueEnds = new Int32Array(capacity)
    this.chunks = new Array(capacity).fill(null)
    this.owners = new Array(capacity).fill(null)
    for (let id = this.first; id !== this.end; id = idAfter(id)) {
      const from = id & oldMask
      const to = id & mask
      this.times[to] = times[from] as number
      this.sequences[to] = sequences[from] as number
      this.keyStarts[to] = keyStarts[from] as number
      this.valueStarts[to] = valueStarts[from] as number
      this.valueEnds[to] = valueEnds[from] as number
      this.chunks[to] = chunks[from] as Chunk
      this.owners[to] = owners[from] as Owner
    }
  }
}
