/** MurmurHash3, 128 bits, seed 104729: how Kafka Streams tells whether a left value is still the one that was answered. */

const seed = 104729n
const c1 = 0x87c37b91114253d5n
const c2 = 0x4cf5ad432745937fn
const mask = 0xffffffffffffffffn

function rotate(value: bigint, bits: bigint): bigint {
  return ((value << bits) | (value >> (64n - bits))) & mask
}

function finish(value: bigint): bigint {
  let hash = value
  hash ^= hash >> 33n
  hash = (hash * 0xff51afd7ed558ccdn) & mask
  hash ^= hash >> 33n
  hash = (hash * 0xc4ceb9fe1a85ec53n) & mask
  return hash ^ (hash >> 33n)
}

/** Both halves, big-endian, as they stand in the wrappers of foreign-key joins. */
export function murmur3(bytes: Buffer, start = 0, end: number = bytes.length): Buffer {
  let h1 = seed
  let h2 = seed
  const length = end - start
  const blocks = length >> 4
  for (let block = 0; block < blocks; block++) {
    const at = start + (block << 4)
    let k1 = bytes.readBigUInt64LE(at)
    let k2 = bytes.readBigUInt64LE(at + 8)
    k1 = (rotate((k1 * c1) & mask, 31n) * c2) & mask
    h1 = ((rotate(h1 ^ k1, 27n) + h2) * 5n + 0x52dce729n) & mask
    k2 = (rotate((k2 * c2) & mask, 33n) * c1) & mask
    h2 = ((rotate(h2 ^ k2, 31n) + h1) * 5n + 0x38495ab5n) & mask
  }
  const tail = start + (blocks << 4)
  const rest = end - tail
  if (rest > 8) {
    let k2 = 0n
    for (let index = rest - 1; index >= 8; index--) k2 = (k2 << 8n) | BigInt(bytes[tail + index] as number)
    h2 ^= (rotate((k2 * c2) & mask, 33n) * c1) & mask
  }
  if (rest > 0) {
    let k1 = 0n
    for (let index = Math.min(rest, 8) - 1; index >= 0; index--)
      k1 = (k1 << 8n) | BigInt(bytes[tail + index] as number)
    h1 ^= (rotate((k1 * c1) & mask, 31n) * c2) & mask
  }
  h1 ^= BigInt(length)
  h2 ^= BigInt(length)
  h1 = (h1 + h2) & mask
  h2 = (h2 + h1) & mask
  h1 = finish(h1)
  h2 = finish(h2)
  h1 = (h1 + h2) & mask
  h2 = (h2 + h1) & mask
  const hash = Buffer.allocUnsafe(16)
  hash.writeBigUInt64BE(h1, 0)
  hash.writeBigUInt64BE(h2, 8)
  return hash
}
