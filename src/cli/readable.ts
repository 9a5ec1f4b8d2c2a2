/** Keys, values and times as people read them. */
import type { Headers } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import { json } from '../serde/json.ts'
import { bytes as bytesSerde, double, float, int, long, short, string, uuid } from '../serde/primitives.ts'
import type { Serde } from '../serde/serde.ts'
import { Windowed } from '../serde/windowed.ts'
import { UsageError } from './exit.ts'

const named: Readonly<Record<string, () => Serde<unknown>>> = {
  string: () => string() as Serde<unknown>,
  json: () => json() as Serde<unknown>,
  long: () => long() as Serde<unknown>,
  int: () => int() as Serde<unknown>,
  short: () => short() as Serde<unknown>,
  double: () => double() as Serde<unknown>,
  float: () => float() as Serde<unknown>,
  uuid: () => uuid() as Serde<unknown>,
  bytes: () => bytesSerde() as Serde<unknown>,
}

export const serdeNames: readonly string[] = ['auto', ...Object.keys(named)]

/** `auto` guesses, from the bytes: JSON, text, 8 bytes as a long, else hex. */
export function serdeNamed(name: string): Serde<unknown> {
  if (name === 'auto') return guessing
  const found = Object.hasOwn(named, name) ? named[name] : undefined
  if (found === undefined)
    throw new UsageError(`${name}: there is no such serde; there are ${serdeNames.join(', ')}`)
  return found()
}

const guessing: Serde<unknown> = {
  name: 'auto',
  write() {
    throw new UsageError('auto only reads')
  },
  read(from, start, end) {
    const bytes = from.subarray(start, end)
    const text = bytes.toString('utf8')
    const printable = [...text].every(
      (character) => (character >= ' ' && character !== '\ufffd') || /\s/.test(character),
    )
    if (printable && text.length > 0) {
      if (!/^[[{"]/.test(text)) return text
      try {
        return JSON.parse(text) as unknown
      } catch {
        return text
      }
    }
    if (bytes.length === 8) {
      const value = bytes.readBigInt64BE()
      if (value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER))
        return Number(value)
    }
    return bytes.length === 0 ? '' : Buffer.from(bytes)
  },
}

/** What a serde makes of bytes; where it can't, what is wrong and the bytes. */
export async function decoded(
  serde: Serde<unknown>,
  bytes: Buffer | null,
  topic: string,
  headers: Headers,
): Promise<unknown> {
  if (bytes === null) return null
  try {
    const value = serde.read(bytes, 0, bytes.length, topic, headers)
    return isPromise(value) ? await value : value
  } catch (error) {
    return {
      unreadable: error instanceof Error ? error.message : String(error),
      bytes: bytes.toString('hex').slice(0, 64),
    }
  }
}

/** As much of a day as is needed: the date only where it isn't today. */
export function readableTime(ms: number, now: number): string {
  if (!Number.isSafeInteger(ms) || Math.abs(ms) > 8.64e15) return String(ms)
  const iso = new Date(ms).toISOString()
  const time = ms % 1000 === 0 ? iso.slice(11, 19) : iso.slice(11, 23)
  return iso.slice(0, 10) === new Date(now).toISOString().slice(0, 10) ? time : `${iso.slice(0, 10)} ${time}`
}

export function readableWindow(
  window: { readonly start: number; readonly end: number },
  now: number,
): string {
  return `${readableTime(window.start, now)}–${readableTime(window.end, now)}`
}

export function readable(value: unknown, now: number, lengthMax = 200): string {
  const text = readableWhole(value, now)
  return text.length > lengthMax ? `${text.slice(0, lengthMax - 1)}…` : text
}

function readableWhole(value: unknown, now: number): string {
  if (value === null) return 'null'
  if (value instanceof Windowed) return `${readableWhole(value.key, now)} ${readableWindow(value, now)}`
  if (typeof value === 'string') return value
  if (typeof value === 'number')
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)))
  if (value instanceof Uint8Array) return `0x${Buffer.from(value).toString('hex')}`
  return JSON.stringify(value, plainly) ?? String(value)
}

/** For JSON output: windows as start and end, bytes as hex, big integers as text. */
export function plainly(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (value instanceof Windowed) return { key: value.key, start: value.start, end: value.end }
  return value
}
