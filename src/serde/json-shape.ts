/**
 * JSON of machines repeats itself: the same names in the same order, only the values differ. A shape is learnt from one
 * document; one that fits it is read straight from its bytes, three times as fast as JSON.parse. Whatever doesn't fit
 * is left to JSON.parse, which also has the last word on what is an error: a reader only ever answers what it would.
 *
 * Read so: objects in objects, strings, numbers, true, false, null, any white space that is where it was learnt. Arrays
 * and `__proto__` are not.
 */
import { readText } from './primitives.ts'

const quote = 0x22
const backslash = 0x5c
const minus = 0x2d
const point = 0x2e
const zero = 0x30
const nine = 0x39
const comma = 0x2c
const colon = 0x3a
const openBrace = 0x7b
const closeBrace = 0x7d

/** So many digits are exact in a double, and so are the powers of ten up to it: their quotient is rounded once. */
const exactDigitsMax = 15
const powersOfTen = Array.from({ length: exactDigitsMax + 1 }, (_, power) => Number(`1e${power}`))

/** Of a longer document no shape is learnt: it would rarely come again. */
const shapeBytesMax = 16_384
const depthMax = 16

type Fields = { readonly [name: string]: unknown }
type Member = { readonly name: string; readonly lead: Uint8Array; readonly shape: ObjectShape | null }

/** Where the reader stands; one record is read at a time. */
let at = 0

class ObjectShape {
  readonly #members: readonly Member[]
  /** From the last value to the brace that closes, included. */
  readonly #tail: Uint8Array
  readonly #template: Fields

  constructor(members: readonly Member[], tail: Uint8Array, template: Fields) {
    this.#members = members
    this.#tail = tail
    this.#template = template
  }

  /** From `at`, before the brace that opens; undefined: it doesn't fit, or it must be looked at by JSON.parse. */
  read(from: Buffer, end: number): Fields | undefined {
    const members = this.#members
    const object: Record<string, unknown> = { ...this.#template }
    for (let index = 0; index < members.length; index++) {
      const { name, lead, shape } = members[index] as Member
      if (!skip(from, lead)) return undefined
      const value = readValue(from, end, shape)
      if (value === undefined) return undefined
      object[name] = value
    }
    return skip(from, this.#tail) ? object : undefined
  }
}

function skip(from: Buffer, bytes: Uint8Array): boolean {
  const { length } = bytes
  const start = at
  for (let index = 0; index < length; index++) if (from[start + index] !== bytes[index]) return false
  at = start + length
  return true
}

/** undefined: not one of the values that are read here. */
function readValue(from: Buffer, end: number, shape: ObjectShape | null): unknown {
  const first = from[at]
  if (first === quote) return readString(from, end)
  if (first === openBrace) return shape?.read(from, end)
  if (first === minus || (first !== undefined && first >= zero && first <= nine)) return readNumber(from)
  if (skip(from, literals.true)) return true
  if (skip(from, literals.false)) return false
  return skip(from, literals.null) ? null : undefined
}

const literals = {
  true: Buffer.from('true'),
  false: Buffer.from('false'),
  null: Buffer.from('null'),
} as const

function readString(from: Buffer, end: number): string | undefined {
  const start = at + 1
  let to = start
  let plain = true
  for (; to < end; to++) {
    const code = from[to] as number
    if (code === quote) break
    if (code < 0x20) return undefined
    if (code > 0x7f) plain = false
    else if (code === backslash) {
      plain = false
      to++
    }
  }
  if (to >= end) return undefined
  at = to + 1
  if (plain) return readText(from, start, to)
  try {
    return JSON.parse(from.toString('utf8', start - 1, at)) as string
  } catch {
    return undefined
  }
}

function readNumber(from: Buffer): number | undefined {
  const start = at
  let to = start
  if (from[to] === minus) to++
  let code = from[to] as number
  const next = from[to + 1] as number
  if (code === zero && next >= zero && next <= nine) return undefined
  let digits = 0
  let decimals = 0
  let mantissa = 0
  for (; code >= zero && code <= nine; code = from[++to] as number) {
    mantissa = mantissa * 10 + (code - zero)
    digits++
  }
  if (digits === 0) return undefined
  if (code === point) {
    code = from[++to] as number
    for (; code >= zero && code <= nine; code = from[++to] as number) {
      mantissa = mantissa * 10 + (code - zero)
      decimals++
    }
    if (decimals === 0) return undefined
  }
  // What has an exponent is seldom, and left to the runtime as a whole.
  if (code === 0x65 || code === 0x45) return undefined
  at = to
  if (digits + decimals > exactDigitsMax) return Number(from.toString('latin1', start, to))
  const size = decimals === 0 ? mantissa : mantissa / (powersOfTen[decimals] as number)
  return from[start] === minus ? -size : size
}

// ------------------------------------------------------------------------------------------------------------- learning

/** The shape of a document that JSON.parse takes; null where it has none. */
function learn(from: Buffer, start: number, end: number): ObjectShape | null {
  if (end - start > shapeBytesMax) return null
  // A copy of its own: whoever was given the value may change it.
  const value: unknown = JSON.parse(from.toString('utf8', start, end))
  if (!isObject(value)) return null
  at = start
  return learnObject(from, end, value, 0)
}

/** From `at`, before the brace that opens, to behind the one that closes. */
function learnObject(from: Buffer, end: number, value: Fields, depth: number): ObjectShape | null {
  const members: Member[] = []
  let start = at
  let before = openBrace
  for (const name of Object.keys(value)) {
    if (name === '__proto__' || depth > depthMax) return null
    if (!pass(from, before) || !passName(from, end, name)) return null
    const lead = new Uint8Array(from.subarray(start, at))
    const field = value[name]
    if (isObject(field)) {
      const shape = learnObject(from, end, field, depth + 1)
      if (shape === null) return null
      members.push({ name, lead, shape })
    } else {
      if (readValue(from, end, null) === undefined) return null
      members.push({ name, lead, shape: null })
    }
    start = at
    before = comma
  }
  if (members.length === 0 && !pass(from, openBrace)) return null
  // The same name twice, or names like numbers, which come in an order of their own: no brace here.
  if (!pass(from, closeBrace)) return null
  return new ObjectShape(members, new Uint8Array(from.subarray(start, at)), value)
}

/** Past one byte and the white space around it. */
function pass(from: Buffer, byte: number): boolean {
  passSpace(from)
  if (from[at] !== byte) return false
  at++
  if (byte !== closeBrace) passSpace(from)
  return true
}

function passSpace(from: Buffer): void {
  while (isSpace(from[at])) at++
}

function passName(from: Buffer, end: number, name: string): boolean {
  return from[at] === quote && readString(from, end) === name && pass(from, colon)
}

function readWhole(shape: ObjectShape, from: Buffer, start: number, end: number): Fields | undefined {
  at = start
  const read = shape.read(from, end)
  if (read === undefined) return undefined
  while (at < end && isSpace(from[at])) at++
  return at === end ? read : undefined
}

function isSpace(code: number | undefined): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// ------------------------------------------------------------------------------------------------------------- reading

const shapesMax = 4
const creditMax = 64
/** What a miss costs, in hits. */
const missCost = 4
/** Documents that fit nothing are left alone for so many. */
const pauseReads = 4_096

/** The shapes of one topic, as long as they are worth it. */
export class JsonShapes {
  readonly #shapes: ObjectShape[] = []
  #next = 0
  #credit = creditMax
  #paused = 0

  /** The document's value, where it fits a shape. */
  read(from: Buffer, start: number, end: number): unknown {
    if (this.#paused > 0) {
      this.#paused--
      return undefined
    }
    const shapes = this.#shapes
    for (let index = 0; index < shapes.length; index++) {
      const shape = shapes[index] as ObjectShape
      const value = readWhole(shape, from, start, end)
      if (value === undefined) continue
      if (index > 0) {
        shapes[index] = shapes[0] as ObjectShape
        shapes[0] = shape
      }
      if (this.#credit < creditMax) this.#credit++
      return value
    }
    return undefined
  }

  /** A document that fits none was read. */
  missed(from: Buffer, start: number, end: number): void {
    if (this.#paused > 0) return
    this.#credit -= missCost
    if (this.#credit < 0) {
      this.#credit = creditMax / 2
      this.#paused = pauseReads
      return
    }
    const shape = learn(from, start, end)
    if (shape === null) return
    // The newest are those to come.
    const { length } = this.#shapes
    this.#shapes[length < shapesMax ? length : 1 + (this.#next++ % (shapesMax - 1))] = shape
  }
}
