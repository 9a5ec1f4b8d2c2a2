/** Seeded draws, and values of any type of the grammar at any version. */
import type { Shape, Type } from '../../src/wire/grammar.ts'
import { noUuid } from '../../src/wire/grammar.ts'

/** Gives numbers in [0, 1). */
export type Draw = () => number

/** A small seeded generator (mulberry32). */
export function drawFrom(seed: number): Draw {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

/** Seeds that are counted up, far from each other. */
export function scattered(seed: number): number {
  return (seed * 2654435761) >>> 0
}

export function pick<T>(draw: Draw, values: readonly T[]): T {
  return values[Math.floor(draw() * values.length)] as T
}

const texts = ['', 'a', 'orders', 'Ünïcödé', '数据', '😀', 'x'.repeat(200)] as const

function drawBytes(draw: Draw): Buffer {
  return Buffer.from(Array.from({ length: pick(draw, [0, 1, 7, 130]) }, () => Math.floor(draw() * 256)))
}

/** A value that the version can carry whole: fields it lacks have their fallback, so decoding gives it back. */
export function drawValue(draw: Draw, shape: Shape, version: number): unknown {
  switch (shape.kind) {
    case 'int8':
      return pick(draw, [0, 1, -1, 127, -128])
    case 'int16':
      return pick(draw, [0, 1, -1, 32767, -32768])
    case 'uint16':
      return pick(draw, [0, 1, 65535])
    case 'int32':
      return pick(draw, [0, 1, -1, 2147483647, -2147483648, Math.floor(draw() * 1e9)])
    case 'int64':
      return pick(draw, [0, 1, -1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 1_700_000_000_000])
    case 'float64':
      return pick(draw, [0, 1.5, -1e300])
    case 'bool':
      return draw() < 0.5
    case 'uuid':
      return pick(draw, [noUuid, 'EREREREREREREREREREREQ'])
    case 'string':
      return pick(draw, texts)
    case 'bytes':
      return drawBytes(draw)
    case 'records': {
      const buffer = drawBytes(draw)
      return { buffer, start: 0, end: buffer.length }
    }
    case 'nullable':
      return version >= shape.since && draw() < 0.3 ? null : drawValue(draw, shape.of, version)
    case 'array':
      return Array.from({ length: pick(draw, [0, 1, 2, 3]) }, () => drawValue(draw, shape.of, version))
    case 'struct': {
      const value: { [name: string]: unknown } = {}
      for (const [name, type] of Object.entries(shape.fields)) {
        const { presence, fallback, shape: inner } = type as Type<unknown>
        const there = presence === undefined || (version >= presence.since && version <= presence.until)
        const elided = presence?.tag !== undefined && draw() < 0.5
        value[name] = there && !elided ? drawValue(draw, inner, version) : fallback
        // A tagged field is absent where it is null, and absent ones decode to the fallback.
        if (presence?.tag !== undefined && value[name] === null) value[name] = fallback
      }
      return value
    }
  }
}
