/** The order in which the engine is given keys: each once, and near its neighbours. */
import { expect, test } from 'vitest'
import { keyOrder } from '../../src/store/key-order.ts'

/** The keys one after another in one buffer, read into one object. */
function reader(keys: readonly string[]) {
  const buffer = Buffer.from(keys.join(''))
  const ends: number[] = []
  let end = 0
  for (const key of keys) ends.push((end += key.length))
  const range = { buffer, keyStart: 0, keyEnd: 0 }
  return (place: number) => {
    range.keyStart = place === 0 ? 0 : (ends[place - 1] as number)
    range.keyEnd = ends[place] as number
    return range
  }
}

test('key order: keys that begin alike and differ in four bytes, they are sorted', () => {
  const sorted = Array.from({ length: 3000 }, (_, index) => `vehicle-${String(index).padStart(4, '0')}-x`)
  // 1,009 is prime: each key comes once, far from its neighbours.
  const keys = sorted.map((_, index) => sorted[(index * 1009) % sorted.length] as string)
  const order = keyOrder(keys.length, reader(keys)) as Float64Array
  expect([...order].map((place) => keys[place])).toEqual(sorted)
})

test.each([
  ['all alike', () => 'same'],
  ['empty', () => ''],
  ['one shorter than what the others begin with', (index: number) => (index === 299 ? 'a' : `abc-${index}`)],
])('key order: keys that are %s, each place comes once', (_what, keyOf) => {
  const keys = Array.from({ length: 500 }, (_, index) => keyOf(index))
  const order = keyOrder(keys.length, reader(keys)) as Float64Array
  expect([...order].sort((one, other) => one - other)).toEqual(keys.map((_, index) => index))
})

test('key order: of a few keys it is nobody’s business', () => {
  expect(keyOrder(100, reader(Array.from({ length: 100 }, (_, index) => `k${index}`)))).toBe(null)
})
