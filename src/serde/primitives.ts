/** The serdes of single values, with exactly the bytes of Java's: big-endian numbers, UTF-8 text. */
import { isUtf8 } from 'node:buffer'
import { StreamsError } from '../base/errors.ts'
import type { Serde } from './serde.ts'

export function serdeFailed(message: string, cause?: unknown): StreamsError {
  return new StreamsError('SERDE_FAILED', message, cause === undefined ? {} : { cause })
}

const maxSafeHigh = 0x1fffff
const twoTo32 = 4294967296

/** Text up to this length is made without leaving JavaScript, which costs more than so many characters. */
const shortTextMax = 32

/** UTF-8 text of a range. Short ASCII, the common key, is put together four characters at a time. */
export function readText(from: Buffer, start: number, end: number): string {
  if (end - start > shortTextMax) return from.toString('utf8', start, end)
  let text = ''
  let at = start
  for (; at + 4 <= end; at += 4) {
    const a = from[at] as number
    const b = from[at + 1] as number
    const c = from[at + 2] as number
    const d = from[at + 3] as number
    if ((a | b | c | d) > 127) return from.toString('utf8', start, end)
    text += String.fromCharCode(a, b, c, d)
  }
  for (; at < end; at++) {
    const code = from[at] as number
    if (code > 127) return from.toString('utf8', start, end)
    text += String.fromCharCode(code)
  }
  return text
}

/** Beyond this a call into the runtime is faster than a loop. */
const loopMax = 512

/** Whether the bytes are UTF-8 as it should be: then they are what is written for the text that they are read as. */
function isText(from: Buffer, start: number, end: number): boolean {
  if (end - start <= loopMax) {
    let at = start
    let bits = 0
    for (; at + 8 <= end; at += 8) {
      bits |=
        (from[at] as number) |
        (from[at + 1] as number) |
        (from[at + 2] as number) |
        (from[at + 3] as number) |
        (from[at + 4] as number) |
        (from[at + 5] as number) |
        (from[at + 6] as number) |
        (from[at + 7] as number)
    }
    for (; at < end; at++) bits |= from[at] as number
    if (bits < 128) return true
  }
  return isUtf8(from.subarray(start, end))
}

const always = (): boolean => true

function expectLength(name: string, start: number, end: number, length: number): void {
  if (end - start !== length)
    throw serdeFailed(`${name}: ${end - start} bytes, where there must be ${length}`)
}

function refuse(name: string, value: unknown, expected: string): StreamsError {
  const shown = typeof value === 'bigint' ? `${value}n` : (JSON.stringify(value) ?? String(value))
  return serdeFailed(`${name}: ${shown.length > 100 ? `${shown.slice(0, 100)}…` : shown} is not ${expected}`)
}

const stringSerde: Serde<string> = {
  name: 'string',
  immediate: true,
  primitive: true,
  total: true,
  write(value, to) {
    if (typeof value !== 'string') throw refuse('string', value, 'a string')
    to.utf8(value)
  },
  read: readText,
  roundTrips: isText,
}

const bytesSerde: Serde<Uint8Array> = {
  name: 'bytes',
  immediate: true,
  total: true,
  write(value, to) {
    if (!(value instanceof Uint8Array)) throw refuse('bytes', value, 'a Buffer or Uint8Array')
    to.bytes(value)
  },
  read: (from, start, end) => Buffer.from(from.subarray(start, end)),
  roundTrips: always,
}

function integer(name: string, bytes: 2 | 4): Serde<number> {
  const max = 2 ** (bytes * 8 - 1) - 1
  const shift = 32 - bytes * 8
  return {
    name,
    primitive: true,
    immediate: true,
    numeric: true,
    write(value, to) {
      if ((value << shift) >> shift !== value)
        throw refuse(name, value, `a whole number from ${-max - 1} to ${max}`)
      if (bytes === 2) to.int16(value)
      else to.int32(value)
    },
    read(from, start, end) {
      expectLength(name, start, end, bytes)
      return bytes === 2 ? from.readInt16BE(start) : from.readInt32BE(start)
    },
    roundTrips: (_from, start, end) => end - start === bytes,
  }
}

const shortSerde = integer('short', 2)
const intSerde = integer('int', 4)

const longSerde: Serde<number> = {
  name: 'long',
  primitive: true,
  immediate: true,
  numeric: true,
  write(value, to) {
    if (!Number.isSafeInteger(value))
      throw refuse('long', value, 'a safe integer (use bigint() for larger ones)')
    to.int64(value)
  },
  read(from, start, end) {
    expectLength('long', start, end, 8)
    const high = from.readInt32BE(start)
    const low = from.readUInt32BE(start + 4)
    if (high > maxSafeHigh || high < -maxSafeHigh - 1 || (high === -maxSafeHigh - 1 && low === 0)) {
      throw serdeFailed(`long: ${from.readBigInt64BE(start)} is no safe integer; read it with bigint()`)
    }
    return high * twoTo32 + low
  },
}

const bigintSerde: Serde<bigint> = {
  name: 'bigint',
  immediate: true,
  primitive: true,
  write(value, to) {
    if (typeof value !== 'bigint' || BigInt.asIntN(64, value) !== value) {
      throw refuse('bigint', value, 'a bigint of 64 bits')
    }
    to.bigint64(value)
  },
  read(from, start, end) {
    expectLength('bigint', start, end, 8)
    return from.readBigInt64BE(start)
  },
  roundTrips: (_from, start, end) => end - start === 8,
}

// Neither is primitive: NaN differs from itself, 0 equals -0, and a float's bytes hold less than its number.
const floatSerde: Serde<number> = {
  name: 'float',
  immediate: true,
  numeric: true,
  write(value, to) {
    if (typeof value !== 'number') throw refuse('float', value, 'a number')
    to.float32(value)
  },
  read(from, start, end) {
    expectLength('float', start, end, 4)
    return from.readFloatBE(start)
  },
}

const doubleSerde: Serde<number> = {
  name: 'double',
  immediate: true,
  numeric: true,
  write(value, to) {
    if (typeof value !== 'number') throw refuse('double', value, 'a number')
    to.float64(value)
  },
  read(from, start, end) {
    expectLength('double', start, end, 8)
    return from.readDoubleBE(start)
  },
}

const booleanSerde: Serde<boolean> = {
  name: 'boolean',
  immediate: true,
  primitive: true,
  write(value, to) {
    if (typeof value !== 'boolean') throw refuse('boolean', value, 'true or false')
    to.int8(value ? 1 : 0)
  },
  read(from, start, end) {
    expectLength('boolean', start, end, 1)
    const byte = from[start] as number
    if (byte > 1) throw serdeFailed(`boolean: the byte is ${byte}, where there must be 0 or 1`)
    return byte === 1
  },
}

const uuidForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

const uuidSerde: Serde<string> = {
  name: 'uuid',
  immediate: true,
  primitive: true,
  write(value, to) {
    if (typeof value !== 'string' || !uuidForm.test(value))
      throw refuse('uuid', value, 'a UUID in lower case')
    to.utf8(value)
  },
  read(from, start, end) {
    const text = from.toString('latin1', start, end).toLowerCase()
    if (!uuidForm.test(text)) throw refuse('uuid', text, 'a UUID')
    return text
  },
}

/** Of a key or a value that is always null: there are never any bytes. */
const voidSerde: Serde<never> = {
  name: 'void',
  write(value) {
    throw refuse('void', value, 'null')
  },
  read(_from, start, end) {
    throw serdeFailed(`void: ${end - start} bytes, where there must be null`)
  },
}

/** Text as UTF-8. */
export const string = (): Serde<string> => stringSerde
/** Bytes as they are. What is read is a Buffer of its own. */
export const bytes = (): Serde<Uint8Array> => bytesSerde
/** 16 bits. */
export const short = (): Serde<number> => shortSerde
/** 32 bits. */
export const int = (): Serde<number> => intSerde
/** 64 bits as a number: safe integers only, larger ones are an error. */
export const long = (): Serde<number> => longSerde
/** 64 bits as a bigint: the same bytes as `long()`. */
export const bigint = (): Serde<bigint> => bigintSerde
/** 32-bit floating point. */
export const float = (): Serde<number> => floatSerde
/** 64-bit floating point. */
export const double = (): Serde<number> => doubleSerde
/** One byte, 0 or 1. */
export const boolean = (): Serde<boolean> => booleanSerde
/** The text of a UUID in lower case, as `crypto.randomUUID()` gives it. */
export const uuid = (): Serde<string> => uuidSerde
/** Always null. */
export const none = (): Serde<never> => voidSerde
