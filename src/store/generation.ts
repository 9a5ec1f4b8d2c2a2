/**
 * What one cut of a store encoded: its slots (or the numbers of its rows), and where in the batches each one's key and value lie. Columns, and not an
 * object for each change: there are hundreds of thousands a second, and each would live until the engine has it.
 */
import { type Headers, noHeaders } from '../base/headers.ts'

/** Whatever owns the bytes of a batch; `buffer` may be replaced as it grows, ranges stay right. */
export type BatchBytes = { readonly buffer: Buffer }

/** One change, as the engine is told of it. A value's start of -1: a tombstone. */
export class Change {
  buffer: Buffer = Buffer.alloc(0)
  keyStart = 0
  keyEnd = 0
  valueStart = -1
  valueEnd = -1
  timestamp = -1
  headers: Headers = noHeaders
  /** The engine may have a row of it. */
  isStored = false
}

const columns = 5

export class Generation<S> {
  /** Later ones have higher numbers, the first is 1. */
  readonly number: number
  /** While it is being encoded, those from `count` on are still to come. */
  readonly slots: S[]
  count = 0
  /** What it takes in the changelog, about. */
  bytes = 0
  /** Slots that were absent. */
  removed: S[] = []
  readonly #ranges: Int32Array
  readonly #timestamps: Float64Array
  readonly #batches: BatchBytes[] = []
  /** Of a store that keeps headers. */
  readonly #headers: Headers[] | null

  constructor(number: number, slots: S[], keepsRanges: boolean, keepsHeaders: boolean) {
    const length = keepsRanges ? slots.length : 0
    this.number = number
    this.slots = slots
    this.#ranges = new Int32Array(length * columns)
    this.#timestamps = new Float64Array(length)
    this.#headers = keepsHeaders ? [] : null
  }

  add(
    slot: S,
    batch: BatchBytes,
    keyStart: number,
    keyEnd: number,
    valueStart: number,
    valueEnd: number,
    timestamp: number,
  ): void {
    const index = this.count++
    const batches = this.#batches
    if (batches.length === 0 || batches[batches.length - 1] !== batch) batches.push(batch)
    this.slots[index] = slot
    this.#timestamps[index] = timestamp
    const ranges = this.#ranges
    const at = index * columns
    ranges[at] = keyStart
    ranges[at + 1] = keyEnd
    ranges[at + 2] = valueStart
    ranges[at + 3] = valueEnd
    ranges[at + 4] = batches.length - 1
  }

  /** Of the last one added. */
  noteHeaders(headers: Headers): void {
    this.#headers?.push(headers)
  }

  /** Nothing is added any more. */
  seal(): void {
    this.slots.length = this.count
    if (this.#headers !== null) this.#headers.length = this.count
  }

  /** Lets go of those that `stays` says no of. */
  keep(stays: (slot: S) => boolean): void {
    const { slots } = this
    const ranges = this.#ranges
    let kept = 0
    for (let index = 0; index < slots.length; index++) {
      const slot = slots[index] as S
      if (!stays(slot)) continue
      if (kept < index) {
        slots[kept] = slot
        ranges.copyWithin(kept * columns, index * columns, (index + 1) * columns)
        this.#timestamps[kept] = this.#timestamps[index] as number
        if (this.#headers !== null) this.#headers[kept] = this.#headers[index] as Headers
      }
      kept++
    }
    this.count = kept
    this.seal()
    this.removed = this.removed.filter(stays)
  }

  isRemoval(index: number): boolean {
    return (this.#ranges[index * columns + 2] as number) < 0
  }

  read(index: number, into: Change): void {
    const ranges = this.#ranges
    const at = index * columns
    into.buffer = (this.#batches[ranges[at + 4] as number] as BatchBytes).buffer
    into.keyStart = ranges[at] as number
    into.keyEnd = ranges[at + 1] as number
    into.valueStart = ranges[at + 2] as number
    into.valueEnd = ranges[at + 3] as number
    into.timestamp = this.#timestamps[index] as number
    if (this.#headers !== null) into.headers = this.#headers[index] as Headers
  }
}
