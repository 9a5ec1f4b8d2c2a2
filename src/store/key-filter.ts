/**
 * Which keys the engine may hold: a Bloom filter that grows. "No" is certain and saves the look at the engine, "maybe" is
 * wrong for a few keys of a hundred. Twelve bits a key; the bits of one key lie in one block of 64 bytes.
 */
import { mix, mixBytes } from './hash.ts'

const keysMin = 1024
const keysPerBlock = 42
const wordsPerBlock = 16
const probes = 6
const keySeed = 0x9747b28c
const bitsSeed = 0x3c6ef372

/** `mask`: of the number of a block; there are two to some power, for a remainder costs more than all of the probes. */
type Layer = { readonly words: Int32Array; readonly mask: number; readonly keysMax: number; keys: number }

/** What a store knows of the keys that its engine has: nothing, until it begins a filter; its bytes are in the tally. */
export class StoredKeys {
  readonly #tally: { filters: number }
  #filter: KeyFilter | null = null

  constructor(tally: { filters: number }) {
    this.#tally = tally
  }

  begin(keysExpected: number): void {
    this.drop()
    this.#filter = new KeyFilter(keysExpected)
    this.#tally.filters += this.#filter.bytes
  }

  drop(): void {
    if (this.#filter !== null) this.#tally.filters -= this.#filter.bytes
    this.#filter = null
  }

  mayHold(buffer: Buffer, start: number, end: number): boolean {
    return this.#filter === null || this.#filter.mayHold(buffer, start, end)
  }

  /** `isNew`: it is hardly ever there. */
  note(buffer: Buffer, start: number, end: number, isNew: boolean): void {
    const filter = this.#filter
    if (filter === null) return
    const before = filter.bytes
    if (isNew) filter.addNew(buffer, start, end)
    else filter.add(buffer, start, end)
    this.#tally.filters += filter.bytes - before
  }
}

export class KeyFilter {
  /** The last one is filled; each has twice the room of the one before. */
  readonly #layers: Layer[] = []
  #bytes = 0

  constructor(keysExpected: number) {
    this.#grow(Math.max(keysMin, keysExpected))
  }

  get bytes(): number {
    return this.#bytes
  }

  mayHold(buffer: Buffer, start: number, end: number): boolean {
    const place = hash(buffer, start, end)
    return this.#find(place, mix(place ^ bitsSeed))
  }

  add(buffer: Buffer, start: number, end: number): void {
    const place = hash(buffer, start, end)
    const bits = mix(place ^ bitsSeed)
    if (!this.#find(place, bits)) this.#add(place, bits)
  }

  /** As `add`, of a key that is hardly ever there: only the last layer is looked at, which it is written to. */
  addNew(buffer: Buffer, start: number, end: number): void {
    const place = hash(buffer, start, end)
    this.#add(place, mix(place ^ bitsSeed))
  }

  #add(place: number, bits: number): void {
    let layer = this.#layers[this.#layers.length - 1] as Layer
    if (layer.keys >= layer.keysMax) layer = this.#grow(layer.keysMax * 2)
    const first = (place & layer.mask) * wordsPerBlock
    let fresh = 0
    for (let probe = 0, at = bits; probe < probes; probe++, at = next(at)) {
      const bit = at >>> 23
      const word = first + (bit >>> 5)
      const before = layer.words[word] as number
      const mask = 1 << (bit & 31)
      fresh |= mask & ~before
      layer.words[word] = before | mask
    }
    if (fresh !== 0) layer.keys++
  }

  #find(place: number, bits: number): boolean {
    for (let index = this.#layers.length - 1; index >= 0; index--) {
      const { words, mask } = this.#layers[index] as Layer
      const first = (place & mask) * wordsPerBlock
      let found = true
      for (let probe = 0, at = bits; probe < probes; probe++, at = next(at)) {
        const bit = at >>> 23
        if (((words[first + (bit >>> 5)] as number) & (1 << (bit & 31))) !== 0) continue
        found = false
        break
      }
      if (found) return true
    }
    return false
  }

  #grow(keysMax: number): Layer {
    const blocks = 2 ** Math.round(Math.log2(keysMax / keysPerBlock))
    const words = new Int32Array(blocks * wordsPerBlock)
    const layer = { words, mask: blocks - 1, keysMax: blocks * keysPerBlock, keys: 0 }
    this.#layers.push(layer)
    this.#bytes += words.byteLength
    return layer
  }
}

/** The nine highest bits are a place in the block. */
function next(bits: number): number {
  return Math.imul(bits, 0x9e3779b1) + 0x7f4a7c15
}

function hash(buffer: Buffer, start: number, end: number): number {
  return mix(mixBytes(keySeed, buffer, start, end))
}
