/**
 * What the output of each workload must be, computed from the input by plain counting that shares nothing with the
 * systems under test. An input is taken up to where the system has committed, so a run that was cut short is checked
 * as strictly as a whole one.
 */
import type { BatchCursor } from '../src/wire/record-batch.ts'
import { startTime } from './input.ts'

export type Check = {
  /** A record of the input with this index. */
  input(index: number, record: BatchCursor): void
  /** All input has been given. */
  seal(): void
  /** A record of the output, in order per partition. */
  output(record: BatchCursor): void
  /**
   * Where what is committed of the input need not have come out yet, because a topic lies between: how many records of
   * the input the output accounts for.
   */
  counted?(): number
  /**
   * What is wrong; null where nothing is. Afterwards another output can be checked. Of a run that was cut short the
   * input is given up to where it was committed.
   */
  verdict(isCut: boolean): string | null
}

export type Shape = { readonly records: number; readonly keys: number }

const windowMs = 10_000
const hoppingMs = 600_000
const hopMs = 1_000
const gapMs = 5_000

export function checkOf(workload: string, shape: Shape): Check {
  const seconds = Math.ceil(shape.records / 10_000) + 1
  switch (workload) {
    case 'copy':
      return new Multiset((record) => hashOf(record, record.valueStart, record.valueEnd))
    case 'filter':
      return new Multiset((record) =>
        textOf(record).includes('"speed":1') ? hashOf(record, record.valueStart, record.valueEnd) : null,
      )
    case 'stream-table':
      return new Joined((record) => `${record.valueEnd - record.valueStart}|row-${numberOf(record)}`)
    case 'stream-stream':
      return new Pairs(1_000)
    case 'window-count':
    case 'json-average': {
      const windows = Math.ceil((seconds * 1_000) / windowMs) + 1
      const means = workload === 'json-average'
      return new Slots(
        shape.keys * windows,
        (record, add) =>
          add(
            numberOf(record) * windows + Math.floor((record.timestamp - startTime) / windowMs),
            means ? speedOf(record) : 1,
          ),
        (record) => numberOf(record) * windows + (startOf(record) - startTime) / windowMs,
        means,
      )
    }
    case 'hopping': {
      const before = hoppingMs / hopMs
      const windows = seconds + before + 1
      return new Slots(
        shape.keys * windows,
        (record, add) => {
          const last = Math.floor((record.timestamp - startTime) / hopMs) + before
          const row = numberOf(record) * windows
          for (let window = last - before + 1; window <= last; window++) add(row + window, 1)
        },
        (record) => numberOf(record) * windows + (startOf(record) - startTime) / hopMs + before,
        false,
      )
    }
    case 'many-keys':
      return new Slots(shape.keys, (record, add) => add(numberOf(record), 1), numberOf, false)
    case 'repartition':
      return new Groups()
    case 'session':
      return new Sessions()
    default:
      throw new Error(`nothing checks the workload ${workload}`)
  }
}

// ------------------------------------------------------------------------------------------------- reading records

function textOf(record: BatchCursor): string {
  return record.buffer.toString('latin1', record.valueStart, record.valueEnd)
}

function keyOf(record: BatchCursor): string {
  return record.buffer.toString('latin1', record.keyStart, record.keyEnd)
}

/** The digits after `car-`. */
function numberOf({ buffer, keyStart, keyEnd }: BatchCursor): number {
  let number = 0
  for (let at = keyStart + 4; at < keyEnd; at++) {
    const digit = (buffer[at] as number) - 48
    if (digit < 0 || digit > 9) break
    number = number * 10 + digit
  }
  return number
}

/** The digits after the first `@`. */
function startOf({ buffer, keyStart, keyEnd }: BatchCursor): number {
  let at = keyStart
  while (at < keyEnd && buffer[at] !== 64) at++
  let number = 0
  for (at++; at < keyEnd; at++) {
    const digit = (buffer[at] as number) - 48
    if (digit < 0 || digit > 9) break
    number = number * 10 + digit
  }
  return number
}

function longOf({ buffer, valueStart, valueEnd }: BatchCursor): number {
  if (valueEnd - valueStart !== 8) return Number.NaN
  return buffer.readInt32BE(valueStart) * 4_294_967_296 + buffer.readUInt32BE(valueStart + 4)
}

function speedOf(record: BatchCursor): number {
  const text = textOf(record)
  return Number.parseFloat(text.slice(text.indexOf('"speed":') + 8))
}

/** Of key and value, 32 bits. */
function hashOf({ buffer, keyStart, keyEnd }: BatchCursor, valueStart: number, valueEnd: number): number {
  let hash = 0x811c9dc5
  for (let at = keyStart; at < keyEnd; at++) hash = Math.imul(hash ^ (buffer[at] as number), 16_777_619)
  hash = Math.imul(hash ^ 256, 16_777_619)
  for (let at = valueStart; at < valueEnd; at++) hash = Math.imul(hash ^ (buffer[at] as number), 16_777_619)
  return hash >>> 0
}

// ------------------------------------------------------------------------------------------------------- the checks

/** Each record once, unchanged, in any order: their number and the sum of their hashes. */
class Multiset implements Check {
  readonly #hash: (record: BatchCursor) => number | null
  #wanted = 0
  #wantedSum = 0
  #got = 0
  #gotSum = 0

  constructor(hash: (record: BatchCursor) => number | null) {
    this.#hash = hash
  }

  input(index: number, record: BatchCursor): void {
    const hash = index === 0 ? this.#hash(record) : null
    if (hash === null) return
    this.#wanted++
    this.#wantedSum = (this.#wantedSum + hash) >>> 0
  }

  seal(): void {}

  output(record: BatchCursor): void {
    this.#got++
    this.#gotSum = (this.#gotSum + hashOf(record, record.valueStart, record.valueEnd)) >>> 0
  }

  verdict(): string | null {
    const { got, sum } = { got: this.#got, sum: this.#gotSum }
    this.#got = this.#gotSum = 0
    if (got !== this.#wanted) return `${got} records came out, ${this.#wanted} were due`
    return sum === this.#wantedSum ? null : 'as many records as were due came out, but not the same ones'
  }
}

/** Each record with a text made of it. */
class Joined implements Check {
  readonly #text: (record: BatchCursor) => string
  #wanted = 0
  #got = 0
  #wantedSum = 0
  #gotSum = 0

  constructor(text: (record: BatchCursor) => string) {
    this.#text = text
  }

  input(index: number, record: BatchCursor): void {
    if (index !== 0) return
    this.#wanted++
    this.#wantedSum = (this.#wantedSum + textHash(`${keyOf(record)} ${this.#text(record)}`)) >>> 0
  }

  seal(): void {}

  output(record: BatchCursor): void {
    this.#got++
    this.#gotSum = (this.#gotSum + textHash(`${keyOf(record)} ${textOf(record)}`)) >>> 0
  }

  verdict(): string | null {
    const { got, sum } = { got: this.#got, sum: this.#gotSum }
    this.#got = this.#gotSum = 0
    if (got !== this.#wanted) return `${got} records came out, ${this.#wanted} were due`
    return sum === this.#wantedSum ? null : 'as many records as were due came out, but not the same ones'
  }
}

function textHash(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 16_777_619)
  return hash >>> 0
}

/** Pairs of two inputs, of one key and not farther apart than this. */
class Pairs implements Check {
  readonly #withinMs: number
  readonly #sides: [Map<number, number[]>, Map<number, number[]>] = [new Map(), new Map()]
  #wanted = 0
  #wantedSum = 0
  #got = 0
  #gotSum = 0

  constructor(withinMs: number) {
    this.#withinMs = withinMs
  }

  /** Per key, in time order: time and length of the value by turns. */
  input(index: number, record: BatchCursor): void {
    const side = this.#sides[index]
    const key = numberOf(record)
    const { timestamp, valueStart, valueEnd } = record
    const list = side?.get(key)
    if (list === undefined) side?.set(key, [timestamp, valueEnd - valueStart])
    else list.push(timestamp, valueEnd - valueStart)
  }

  seal(): void {
    const [lefts, rights] = this.#sides
    for (const [key, left] of lefts) {
      const right = rights.get(key) ?? []
      let from = 0
      for (let l = 0; l < left.length; l += 2) {
        const time = left[l] as number
        while (from < right.length && (right[from] as number) < time - this.#withinMs) from += 2
        for (let r = from; r < right.length && (right[r] as number) <= time + this.#withinMs; r += 2) {
          this.#wanted++
          this.#wantedSum = (this.#wantedSum + textHash(`car-${key} ${left[l + 1]}|${right[r + 1]}`)) >>> 0
        }
      }
    }
    lefts.clear()
    rights.clear()
  }

  output(record: BatchCursor): void {
    this.#got++
    this.#gotSum = (this.#gotSum + textHash(`${keyOf(record)} ${textOf(record)}`)) >>> 0
  }

  verdict(): string | null {
    const { got, sum } = { got: this.#got, sum: this.#gotSum }
    this.#got = this.#gotSum = 0
    if (got !== this.#wanted) return `${got} pairs came out, ${this.#wanted} were due`
    return sum === this.#wantedSum ? null : 'as many pairs as were due came out, but not the same ones'
  }
}

type Add = (slot: number, value: number) => void

/** The last value of each key and window, each in a slot of its own: how many there were, or their mean. */
class Slots implements Check {
  readonly #counts: Float64Array
  readonly #sums: Float64Array | null
  readonly #last: Float64Array
  readonly #take: (record: BatchCursor, add: Add) => void
  readonly #slot: (record: BatchCursor) => number
  #strays = 0

  constructor(
    slots: number,
    take: (record: BatchCursor, add: Add) => void,
    slot: (record: BatchCursor) => number,
    means: boolean,
  ) {
    this.#counts = new Float64Array(slots)
    this.#sums = means ? new Float64Array(slots) : null
    this.#last = new Float64Array(slots)
    this.#take = take
    this.#slot = slot
  }

  input(index: number, record: BatchCursor): void {
    if (index === 0) this.#take(record, this.#add)
  }

  readonly #add: Add = (slot, value) => {
    ;(this.#counts[slot] as number)++
    if (this.#sums !== null) this.#sums[slot] = (this.#sums[slot] as number) + value
  }

  seal(): void {}

  output(record: BatchCursor): void {
    const slot = this.#slot(record)
    if (!(slot < this.#last.length)) this.#strays++
    this.#last[slot] = this.#sums === null ? longOf(record) : Number.parseFloat(textOf(record))
  }

  verdict(): string | null {
    const strays = this.#strays
    let wrong = 0
    let example = ''
    for (let slot = 0; slot < this.#last.length; slot++) {
      const count = this.#counts[slot] as number
      const due = this.#sums === null || count === 0 ? count : (this.#sums[slot] as number) / count
      const got = this.#last[slot] as number
      if (Math.abs(got - due) <= Math.abs(due) * 1e-9) continue
      wrong++
      if (example === '') example = `slot ${slot} has ${got}, ${due} was due`
    }
    this.#strays = 0
    this.#last.fill(0)
    if (strays > 0) return `${strays} results belong to no key or window`
    return wrong === 0 ? null : `${wrong} results are wrong: ${example}`
  }
}

/** Final values by the key's text. */
abstract class ByText implements Check {
  protected readonly wanted = new Map<string, number>()
  protected last = new Map<string, number>()

  abstract input(index: number, record: BatchCursor): void
  abstract seal(): void

  output(record: BatchCursor): void {
    const key = keyOf(record)
    if (record.valueStart < 0) this.last.delete(key)
    else this.last.set(key, longOf(record))
  }

  verdict(_isCut: boolean): string | null {
    const { last } = this
    this.last = new Map()
    for (const [key, due] of this.wanted)
      if (last.get(key) !== due) return `${key} has ${last.get(key) ?? 'nothing'}, ${due} was due`
    return last.size === this.wanted.size
      ? null
      : `${last.size} results came out, ${this.wanted.size} were due`
  }
}

/** What was cut short may still lie in the repartition topic: no count is too high, and none of what never came. */
class Groups extends ByText {
  override input(index: number, record: BatchCursor): void {
    if (index !== 0) return
    const start = record.timestamp - (record.timestamp % windowMs)
    const key = `g${keyOf(record).slice(-3)}@${start}`
    this.wanted.set(key, (this.wanted.get(key) ?? 0) + 1)
  }

  override seal(): void {}

  counted(): number {
    let total = 0
    for (const count of this.last.values()) total += count
    return total
  }

  override verdict(isCut: boolean): string | null {
    if (!isCut) return super.verdict(false)
    const { last } = this
    this.last = new Map()
    for (const [key, count] of last) {
      const due = this.wanted.get(key) ?? 0
      if (count > due) return `${key} has ${count}, no more than ${due} was due`
    }
    return null
  }
}

type Session = { start: number; end: number; count: number }

/** Each partition's records come in time order, so a session only grows at its end. */
class Sessions extends ByText {
  readonly #open = new Map<number, Session>()

  override input(index: number, record: BatchCursor): void {
    if (index !== 0) return
    const key = numberOf(record)
    const { timestamp } = record
    const session = this.#open.get(key)
    if (session !== undefined && timestamp - session.end <= gapMs) {
      session.end = timestamp
      session.count++
      return
    }
    if (session !== undefined) this.#settle(key, session)
    this.#open.set(key, { start: timestamp, end: timestamp, count: 1 })
  }

  override seal(): void {
    for (const [key, session] of this.#open) this.#settle(key, session)
    this.#open.clear()
  }

  #settle(key: number, { start, end, count }: Session): void {
    this.wanted.set(`car-${key}@${start}@${end}`, count)
  }
}
