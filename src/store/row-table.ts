/**
 * Rows by key, or by key and time: of fixed width, in pages outside of the heap, found by a hash of the key's bytes. A row
 * costs a fifth of an entry and none of the collector's time, and what belongs to it lies side by side, so that a look at
 * a key that the caches have lost waits for memory twice: for its place and for its row. Numbers lie in their rows; other
 * values are in a list, by the number of the row.
 *
 * A row, in words of four bytes: the number (2, where values are numbers), timestamp (2), time (2, where rows have one),
 * flags and length of the key, cutIn, size, wantedBy, the key's bytes. Keys that are longer than its room make room in all
 * rows, up to `inlineMax`; longer ones lie beside.
 */
import { mix, mixBytes } from './hash.ts'
import { flag } from './slot.ts'

/** Those of slots, and what an entry's fields or its place say there. */
export const rowFlag = {
  ...flag,
  /** There is no value. */
  absent: 512,
  /** The row is nobody's. */
  free: 1024,
  /** A list of its store has it, and must let go of it before it is given back. */
  listed: 2048,
  /** Nobody finds it any more, but the engine has not got what was committed of it. */
  leaving: 4096,
} as const

const pageBits = 12
const rowsPerPage = 1 << pageBits
/** The first page begins with so many: hundreds of tasks may have a few rows each. */
const rowsMin = 64
const pageMask = rowsPerPage - 1
const wordBytes = 4
const doubleBytes = 8
const inlineMin = 16
const inlineMax = 64
/** Of a place in the index: the hash, and the number of the row plus one; 0: nobody's. */
const placeWords = 2
const placesMin = 64
/** Of a row, as the index is filled on average. */
const placeBytes = 14
const flagBits = 16
const flagMask = (1 << flagBits) - 1
/** A length that says: the key lies beside. */
const isLong = 0x7fff

export class RowTable {
  /** Rows that there ever were: their numbers are below. */
  size = 0
  /** Rows that are found by their keys. */
  indexed = 0
  /** Rows that the pages have room for. */
  #room = 0
  readonly #isTimed: boolean
  /** By row, where they are not numbers. */
  readonly #values: unknown[] | null
  /** Where the doubles of a row are, and its words begin behind them. */
  readonly #timestampAt: number
  readonly #timeAt: number
  readonly #wordsAt: number
  readonly #keyAt: number
  #inline = inlineMin
  /** Words, doubles and bytes of a row. */
  #words = 0
  #doubles = 0
  #bytes = 0
  #wordPages: Int32Array[] = []
  #doublePages: Float64Array[] = []
  #bytePages: Buffer[] = []
  #long = new Map<number, Buffer>()
  #places = new Int32Array(placesMin * placeWords)
  #mask = placesMin - 1
  /** Of rows that are nobody's: each knows the next one. */
  #free = -1

  constructor(isTimed: boolean, ofNumbers: boolean) {
    this.#isTimed = isTimed
    this.#values = ofNumbers ? null : []
    this.#timestampAt = ofNumbers ? 1 : 0
    this.#timeAt = this.#timestampAt + 1
    this.#wordsAt = (this.#timeAt + (isTimed ? 1 : 0)) * (doubleBytes / wordBytes)
    this.#keyAt = (this.#wordsAt + 4) * wordBytes
    this.#shape(inlineMin)
  }

  #shape(inline: number): void {
    this.#inline = inline
    this.#bytes = this.#keyAt + inline
    this.#words = this.#bytes / wordBytes
    this.#doubles = this.#bytes / doubleBytes
  }

  /** Of what is indexed, with its places. */
  get memoryBytes(): number {
    return this.indexed * (this.#bytes + placeBytes)
  }

  // ------------------------------------------------------------------------------------------------------- fields

  value(row: number): unknown {
    if (this.#values !== null) return this.#values[row]
    return (this.#doublePages[row >>> pageBits] as Float64Array)[(row & pageMask) * this.#doubles]
  }

  timestamp(row: number): number {
    const page = this.#doublePages[row >>> pageBits] as Float64Array
    return page[(row & pageMask) * this.#doubles + this.#timestampAt] as number
  }

  time(row: number): number {
    if (!this.#isTimed) return 0
    const page = this.#doublePages[row >>> pageBits] as Float64Array
    return page[(row & pageMask) * this.#doubles + this.#timeAt] as number
  }

  /** Of numbers, a number. */
  setValue(row: number, value: unknown, timestamp: number): void {
    const page = this.#doublePages[row >>> pageBits] as Float64Array
    const at = (row & pageMask) * this.#doubles
    page[at + this.#timestampAt] = timestamp
    if (this.#values === null) page[at] = value as number
    else this.#values[row] = value
  }

  flags(row: number): number {
    const page = this.#wordPages[row >>> pageBits] as Int32Array
    return (page[(row & pageMask) * this.#words + this.#wordsAt] as number) & flagMask
  }

  setFlags(row: number, flags: number): void {
    const page = this.#wordPages[row >>> pageBits] as Int32Array
    const at = (row & pageMask) * this.#words + this.#wordsAt
    page[at] = ((page[at] as number) & ~flagMask) | flags
  }

  /** The number of the generation that the row was encoded in last. */
  cutIn(row: number): number {
    const page = this.#wordPages[row >>> pageBits] as Int32Array
    return page[(row & pageMask) * this.#words + this.#wordsAt + 1] as number
  }

  setCutIn(row: number, cutIn: number): void {
    const page = this.#wordPages[row >>> pageBits] as Int32Array
    page[(row & pageMask) * this.#words + this.#wordsAt + 1] = cutIn
  }

  /** Bytes of its value when it was last written or read; while it is read, the number of the request. */
  sizeOf(row: number): number {
    const page = this.#wordPages[row >>> pageBits] as Int32Array
    return page[(row & pageMask) * this.#words + this.#wordsAt + 2] as number
  }

  setSize(row: number, size: number): void {
    const page = this.#wordPages[row >>> pageBits] as Int32Array
    page[(row & pageMask) * this.#words + this.#wordsAt + 2] = size
  }

  /** The last look-ahead that wanted it. */
  wantedBy(row: number): number {
    const page = this.#wordPages[row >>> pageBits] as Int32Array
    return page[(row & pageMask) * this.#words + this.#wordsAt + 3] as number
  }

  setWantedBy(row: number, wantedBy: number): void {
    const page = this.#wordPages[row >>> pageBits] as Int32Array
    page[(row & pageMask) * this.#words + this.#wordsAt + 3] = wantedBy
  }

  /** Where the key's bytes are: `keyStart` and `keyEnd` are set, and right until the next call. */
  key(row: number): Buffer {
    const page = this.#wordPages[row >>> pageBits] as Int32Array
    const length = (page[(row & pageMask) * this.#words + this.#wordsAt] as number) >>> flagBits
    if (length === isLong) {
      const bytes = this.#long.get(row) as Buffer
      this.keyStart = 0
      this.keyEnd = bytes.length
      return bytes
    }
    this.keyStart = (row & pageMask) * this.#bytes + this.#keyAt
    this.keyEnd = this.keyStart + length
    return this.#bytePages[row >>> pageBits] as Buffer
  }

  keyStart = 0
  keyEnd = 0

  // -------------------------------------------------------------------------------------------------------- index

  /** The row of a key, or -1. `hash` is that of `hashOf`. */
  find(hash: number, from: Buffer, start: number, end: number, time: number): number {
    const places = this.#places
    const mask = this.#mask
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const found = places[place * placeWords + 1] as number
      if (found === 0) return -1
      if (places[place * placeWords] === hash && this.#has(found - 1, from, start, end, time))
        return found - 1
    }
  }

  #has(row: number, from: Buffer, start: number, end: number, time: number): boolean {
    const bytes = this.key(row)
    let at = this.keyStart
    if (this.keyEnd - at !== end - start) return false
    for (let other = start; other < end; other++) if (bytes[at++] !== from[other]) return false
    return !this.#isTimed || this.time(row) === time
  }

  /** A row for a key that has none: without a value, and with no other flags. */
  insert(hash: number, from: Buffer, start: number, end: number, time: number): number {
    const length = end - start
    if (length > this.#inline && length <= inlineMax) this.#widen(length)
    const row = this.#take()
    const bytes = this.#bytePages[row >>> pageBits] as Buffer
    const words = this.#wordPages[row >>> pageBits] as Int32Array
    const at = (row & pageMask) * this.#words + this.#wordsAt
    if (length <= this.#inline) {
      let to = (row & pageMask) * this.#bytes + this.#keyAt
      for (let other = start; other < end; other++) bytes[to++] = from[other] as number
      words[at] = (length << flagBits) | rowFlag.absent
    } else {
      this.#long.set(row, Buffer.from(from.subarray(start, end)))
      words[at] = (isLong << flagBits) | rowFlag.absent
    }
    words[at + 1] = 0
    words[at + 2] = 0
    words[at + 3] = 0
    this.setValue(row, this.#values === null ? 0 : null, -1)
    if (this.#isTimed)
      (this.#doublePages[row >>> pageBits] as Float64Array)[(row & pageMask) * this.#doubles + this.#timeAt] =
        time
    this.indexed++
    if (this.indexed * 4 > (this.#mask + 1) * 3) this.#spread()
    this.#enter(this.#places, this.#mask, hash, row + 1)
    return row
  }

  /** Nobody finds the row any more; it is still somebody's. */
  unlink(row: number): void {
    const bytes = this.key(row)
    const places = this.#places
    const mask = this.#mask
    let place = hashOf(bytes, this.keyStart, this.keyEnd, this.time(row)) & mask
    while (places[place * placeWords + 1] !== row + 1) place = (place + 1) & mask
    // Those behind it move up, as far as that brings them nearer to their own places.
    for (let next = (place + 1) & mask; places[next * placeWords + 1] !== 0; next = (next + 1) & mask) {
      const hash = places[next * placeWords] as number
      if (((next - hash) & mask) < ((next - place) & mask)) continue
      places[place * placeWords] = hash
      places[place * placeWords + 1] = places[next * placeWords + 1] as number
      place = next
    }
    places[place * placeWords + 1] = 0
    this.indexed--
  }

  /** Gives back a row that nobody finds. */
  release(row: number): void {
    const words = this.#wordPages[row >>> pageBits] as Int32Array
    const at = (row & pageMask) * this.#words + this.#wordsAt
    if ((words[at] as number) >>> flagBits === isLong) this.#long.delete(row)
    words[at] = rowFlag.free
    if (this.#values !== null) this.#values[row] = null
    words[at + 3] = this.#free
    this.#free = row
  }

  clear(): void {
    this.size = 0
    this.indexed = 0
    this.#room = 0
    this.#free = -1
    this.#wordPages = []
    this.#doublePages = []
    this.#bytePages = []
    this.#long.clear()
    if (this.#values !== null) this.#values.length = 0
    this.#places = new Int32Array(placesMin * placeWords)
    this.#mask = placesMin - 1
  }

  #take(): number {
    const row = this.#free
    if (row < 0) {
      if (this.size === this.#room) this.#grow()
      return this.size++
    }
    this.#free = this.wantedBy(row)
    return row
  }

  #grow(): void {
    if (this.#room >= rowsPerPage) {
      this.#addPage(rowsPerPage)
      this.#room += rowsPerPage
      return
    }
    this.#room = Math.max(rowsMin, this.#room * 2)
    this.#repage(this.#bytes)
  }

  #addPage(rows: number): Buffer {
    const memory = new ArrayBuffer(rows * this.#bytes)
    const bytes = Buffer.from(memory)
    this.#wordPages.push(new Int32Array(memory))
    this.#doublePages.push(new Float64Array(memory))
    this.#bytePages.push(bytes)
    return bytes
  }

  /** All rows in new pages; they were of so many bytes each. */
  #repage(was: number): void {
    const before = this.#bytePages
    this.#wordPages = []
    this.#doublePages = []
    this.#bytePages = []
    for (let first = 0; first < this.#room; first += rowsPerPage) {
      const rows = Math.min(this.#room - first, rowsPerPage)
      const to = this.#addPage(rows)
      const from = before[first >>> pageBits]
      if (from === undefined) continue
      if (was === this.#bytes) to.set(from)
      else
        for (let row = 0; row < rows; row++)
          to.set(from.subarray(row * was, (row + 1) * was), row * this.#bytes)
    }
  }

  #enter(places: Int32Array, mask: number, hash: number, row: number): void {
    let place = hash & mask
    while (places[place * placeWords + 1] !== 0) place = (place + 1) & mask
    places[place * placeWords] = hash
    places[place * placeWords + 1] = row
  }

  #spread(): void {
    const before = this.#places
    const mask = (this.#mask + 1) * 2 - 1
    const places = new Int32Array((mask + 1) * placeWords)
    for (let at = 0; at < before.length; at += placeWords) {
      const row = before[at + 1] as number
      if (row !== 0) this.#enter(places, mask, before[at] as number, row)
    }
    this.#places = places
    this.#mask = mask
  }

  /** Room in all rows for keys of that length: it happens once or twice in a store's life, mostly at its first key. */
  #widen(length: number): void {
    const was = this.#bytes
    this.#shape(Math.ceil(length / doubleBytes) * doubleBytes)
    this.#repage(was)
  }
}

/** Nobody outside can say which keys would meet in one place of the index. */
const seed = Math.floor(Math.random() * 4294967296)

/** Of a key's bytes, and of its time where it has one. */
export function hashOf(from: Buffer, start: number, end: number, time: number): number {
  const mixed = mixBytes(seed, from, start, end)
  if (time === 0) return mix(mixed)
  const high = Math.floor(time / 4294967296)
  return mix(Math.imul(mixed ^ (time - high * 4294967296) ^ Math.imul(high, 0x27d4eb2f), 0x5bd1e995))
}
