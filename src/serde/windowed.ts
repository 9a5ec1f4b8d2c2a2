/**
 * Keys within a window, in Kafka Streams' layouts. On topics: time windows are key + start (8), sessions are
 * key + end (8) + start (8). In changelogs time windows are key + start (8) + sequence (4).
 */
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { long, serdeFailed } from './primitives.ts'
import type { Serde } from './serde.ts'

/** A key within a window: the key of a windowed table. For a session window `end` is inclusive. */
export class Windowed<K> {
  readonly key: K
  readonly start: number
  readonly end: number

  constructor(key: K, start: number, end: number) {
    this.key = key
    this.start = start
    this.end = end
  }
}

const longBytes = 8
const sequenceBytes = 4

function windowed<K>(
  name: string,
  inner: Serde<K>,
  windowBytes: number,
  append: (key: Windowed<K>, to: Parameters<Serde<K>['write']>[1]) => void,
  bounds: (from: Buffer, at: number) => { readonly start: number; readonly end: number },
): Serde<Windowed<K>> {
  return {
    name: `${name}(${inner.name})`,
    windowBytes,
    write(value, to, topic, headers) {
      if (!(value instanceof Windowed)) throw serdeFailed(`${name}: the key is not a Windowed`)
      const waiting = inner.write(value.key, to, topic, headers)
      if (isPromise(waiting)) return waiting as Promise<void>
      append(value, to)
      return undefined
    },
    read(from, start, end, topic, headers): MaybePromise<Windowed<K>> {
      const inside = end - windowBytes
      if (inside < start) {
        throw serdeFailed(`${name}: ${end - start} bytes, where there must be at least ${windowBytes}`)
      }
      const window = bounds(from, inside)
      const key = inner.read(from, start, inside, topic, headers)
      return isPromise(key)
        ? (key as Promise<K>).then((settled) => new Windowed(settled, window.start, window.end))
        : new Windowed(key as K, window.start, window.end)
    },
  }
}

/** The end of a window that never ends. Java has Long.MAX_VALUE there, which is no safe integer. */
export const endOfTime = Number.MAX_SAFE_INTEGER

/** Where a window ends that starts there. */
export function windowEnd(start: number, sizeMs: number): number {
  return Math.min(start + sizeMs, endOfTime)
}

function readTime(from: Buffer, at: number): number {
  return long().read(from, at, at + longBytes, '', []) as number
}

/**
 * Keys of tumbling, hopping and sliding windows. The bytes hold the start only: `sizeMs` gives the end.
 * `changelog`: as they are in a store's changelog topic.
 */
export function timeWindowed<K>(
  inner: Serde<K>,
  sizeMs: number,
  options: { readonly changelog?: boolean } = {},
): Serde<Windowed<K>> {
  const changelog = options.changelog ?? false
  return windowed(
    'timeWindowed',
    inner,
    changelog ? longBytes + sequenceBytes : longBytes,
    (key, to) => {
      to.int64(key.start)
      if (changelog) to.int32(0)
    },
    (from, at) => {
      const start = readTime(from, at)
      return { start, end: windowEnd(start, sizeMs) }
    },
  )
}

/** Keys of session windows. */
export function sessionWindowed<K>(inner: Serde<K>): Serde<Windowed<K>> {
  return windowed(
    'sessionWindowed',
    inner,
    longBytes * 2,
    (key, to) => {
      to.int64(key.end)
      to.int64(key.start)
    },
    (from, at) => ({ end: readTime(from, at), start: readTime(from, at + longBytes) }),
  )
}
