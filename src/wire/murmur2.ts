/**
 * The hash by which Kafka's Java client picks a partition for a key, over a range of bytes. Same key, same
 * partition: co-partitioning with topics written by Java rests on it.
 */

export function murmur2(bytes: Uint8Array, start = 0, end: number = bytes.length): number {
  const multiplier = 0x5bd1e995
  const length = end - start
  let hash = 0x9747b28c ^ length
  let at = start
  for (const last = end - 3; at < last; at += 4) {
    let word =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    word = Math.imul(word, multiplier)
    word ^= word >>> 24
    hash = Math.imul(hash, multiplier) ^ Math.imul(word, multiplier)
  }
  const rest = end - at
  if (rest > 0) {
    if (rest > 2) hash ^= (bytes[at + 2] as number) << 16
    if (rest > 1) hash ^= (bytes[at + 1] as number) << 8
    hash = Math.imul(hash ^ (bytes[at] as number), multiplier)
  }
  hash = Math.imul(hash ^ (hash >>> 13), multiplier)
  return hash ^ (hash >>> 15)
}

/** The partition, of `count`, that the Java client's default partitioner gives to this key. */
export function partitionFor(bytes: Uint8Array, start: number, end: number, count: number): number {
  return (murmur2(bytes, start, end) & 0x7fffffff) % count
}
