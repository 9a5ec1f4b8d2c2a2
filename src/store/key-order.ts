/**
 * The order in which keys are given to the engine: neighbours one after another, so that it finds the place of each
 * beside that of the one before. It is near enough: four bytes decide, after those that the keys have in common.
 */

export type KeyRange = { readonly buffer: Buffer; readonly keyStart: number; readonly keyEnd: number }

/** Fewer are not worth it. */
const keysMin = 256
/** The bits of a place; what is left of a number's 53 are those of a key. */
const placeRange = 2 ** 21
const samples = 64

/** The places of keys in their order; null: any will do. `read` may give the same object each time. */
export function keyOrder(count: number, read: (place: number) => KeyRange): Float64Array | null {
  if (count < keysMin || count > placeRange) return null
  const common = commonLength(count, read)
  const order = new Float64Array(count)
  for (let place = 0; place < count; place++) {
    const { buffer, keyStart, keyEnd } = read(place)
    let bits = 0
    for (let at = keyStart + common, end = at + 4; at < end; at++) {
      bits = bits * 256 + (at < keyEnd ? (buffer[at] as number) : 0)
    }
    order[place] = bits * placeRange + place
  }
  order.sort()
  for (let index = 0; index < count; index++) {
    const both = order[index] as number
    order[index] = both - Math.floor(both / placeRange) * placeRange
  }
  return order
}

/** What some of the keys begin with, all alike. */
function commonLength(count: number, read: (place: number) => KeyRange): number {
  const first = read(0)
  const prefix = first.buffer.subarray(first.keyStart, first.keyEnd)
  let common = prefix.length
  for (let sample = 1; sample < samples; sample++) {
    const { buffer, keyStart, keyEnd } = read(Math.floor((count / samples) * sample))
    const length = Math.min(common, keyEnd - keyStart)
    common = 0
    while (common < length && buffer[keyStart + common] === prefix[common]) common++
  }
  return common
}
