/** A hash of bytes: good enough for places in an index and bits of a filter, and fast for the few bytes that a key has. */

/** Not yet mixed through: `mix` does that, once nothing more is added. */
export function mixBytes(seed: number, from: Buffer, start: number, end: number): number {
  let mixed = seed ^ (end - start)
  for (let at = start; at < end; at++) {
    mixed = Math.imul(mixed ^ (from[at] as number), 0x5bd1e995)
    mixed ^= mixed >>> 15
  }
  return mixed
}

/** Every bit of the result depends on every bit. */
export function mix(bits: number): number {
  let mixed = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}
