/** Keys that one request to the engine will read, each with what it is read for. */
import { ByteWriter } from '../base/bytes.ts'
import { keyOrder } from './key-order.ts'

const capacityMin = 4096

export type Wanted<T> = { readonly items: T[]; readonly keys: Buffer[] }

export class WantedKeys<T> {
  /** A key's bytes are written to it, then `add` says whose they are. */
  writer = new ByteWriter(capacityMin)
  #items: T[] = []
  #ends: number[] = []

  add(item: T): void {
    this.#items.push(item)
    this.#ends.push(this.writer.position)
  }

  /** All of them, in the order of keys; null: there are none. */
  take(): Wanted<T> | null {
    const wanted = this.#items
    if (wanted.length === 0) return null
    const { buffer, position } = this.writer
    const ends = this.#ends
    const range = { buffer, keyStart: 0, keyEnd: 0 }
    const read = (place: number) => {
      range.keyStart = place === 0 ? 0 : (ends[place - 1] as number)
      range.keyEnd = ends[place] as number
      return range
    }
    const order = keyOrder(wanted.length, read)
    const items: T[] = []
    const keys: Buffer[] = []
    for (let at = 0; at < wanted.length; at++) {
      const place = order === null ? at : (order[at] as number)
      const { keyStart, keyEnd } = read(place)
      items.push(wanted[place] as T)
      keys.push(buffer.subarray(keyStart, keyEnd))
    }
    // The keys are the engine's until it has answered.
    this.writer = new ByteWriter(Math.max(capacityMin, position))
    this.#items = []
    this.#ends = []
    return { items, keys }
  }

  clear(): void {
    this.writer.reset()
    this.#items = []
    this.#ends = []
  }
}
