/** Every request and response at every version, both ways. */
import { describe, expect, test } from 'vitest'
import { ByteWriter } from '../../src/base/bytes.ts'
import { StreamsError } from '../../src/base/errors.ts'
import type { AnyApi } from '../../src/wire/api.ts'
import { apiOf, apis } from '../../src/wire/apis.ts'
import { drawFrom, drawValue } from './draw.ts'

const seed = Number(process.env['SEED'] ?? 20261121)
/** Of each message at each version; 3000 make a million in all. */
const mutations = Number(process.env['FUZZ_MUTATIONS'] ?? 200)
const all = Object.values(apis) as unknown as readonly AnyApi[]
const directions = ['request', 'response'] as const

function encode(api: AnyApi, direction: 'request' | 'response', version: number, value: unknown): Buffer {
  const to = new ByteWriter(16)
  if (direction === 'request') api.encodeRequest(version, to, value as never)
  else api.encodeResponse(version, to, value as never)
  return to.copy()
}

function decode(api: AnyApi, direction: 'request' | 'response', version: number, buffer: Buffer): unknown {
  return direction === 'request' ? api.decodeRequest(version, buffer) : api.decodeResponse(version, buffer)
}

/** Ranges and views as what they hold. */
function plain(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString('hex')
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  const { buffer, start, end } = value as { buffer?: unknown; start?: number; end?: number }
  if (Buffer.isBuffer(buffer)) return { records: buffer.toString('hex', start, end) }
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
}

describe.each(all.map((api) => [api.name, api] as const))('%s', (_name, api) => {
  test('api: drawn values at every version, decoded as they were encoded', () => {
    const draw = drawFrom(seed + api.key)
    for (const direction of directions) {
      for (let version = api.min; version <= api.max; version++) {
        for (let round = 0; round < 50; round++) {
          const value = drawValue(draw, api[direction].shape, version)
          const bytes = encode(api, direction, version, value)
          const got = decode(api, direction, version, bytes)
          expect(plain(got), `${direction} v${version}, seed ${seed}`).toEqual(plain(value))
          expect(encode(api, direction, version, got).equals(bytes)).toBe(true)
        }
      }
    }
  })

  test('api: cut short anywhere or mutated, it is an error that names the request or another value', {
    timeout: 300_000,
  }, () => {
    const draw = drawFrom(seed + api.key)
    for (const direction of directions) {
      for (let version = api.min; version <= api.max; version++) {
        const bytes = encode(api, direction, version, drawValue(draw, api[direction].shape, version))
        for (let length = 0; length < bytes.length; length++) {
          expectNamed(api, () => decode(api, direction, version, bytes.subarray(0, length)), true)
        }
        expectNamed(api, () => decode(api, direction, version, Buffer.concat([bytes, Buffer.alloc(1)])), true)
        for (let round = 0; round < mutations && bytes.length > 0; round++) {
          const mutant = Buffer.from(bytes)
          for (let count = 1 + Math.floor(draw() * 4); count > 0; count--) {
            mutant[Math.floor(draw() * mutant.length)] = draw() < 0.5 ? 0xff : Math.floor(draw() * 256)
          }
          expectNamed(api, () => decode(api, direction, version, mutant), false)
        }
      }
    }
  })
})

function expectNamed(api: AnyApi, run: () => unknown, mustFail: boolean): void {
  try {
    run()
  } catch (error) {
    if (
      error instanceof StreamsError &&
      error.code === 'WIRE_MALFORMED' &&
      error.message.startsWith(`${api.name} `)
    ) {
      return
    }
    throw error
  }
  if (mustFail) throw new Error(`${api.name}: decoded what is no message`)
}

test('apis: each key is found', () => {
  for (const api of all) expect(apiOf(api.key)).toBe(api)
  expect(apiOf(4)).toBeUndefined()
})
