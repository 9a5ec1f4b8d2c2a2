/**
 * What is committed beside an offset: the partition's time, and what processors keep with it (the last emission of a
 * windowed aggregation that emits on close). In Kafka Streams' form, byte for byte, so that either continues the other:
 * base64 of magic 2, time (int64), then, where there are any, count (int32) and per processor name (int32 length,
 * UTF-8) and time (int64). Magic 1 has the time only.
 *
 * Metadata of any other form (a plain consumer's, a tool's) reads as none: it never stops a start.
 */
import { ByteWriter } from '../base/bytes.ts'
import { ByteReader } from '../wire/byte-reader.ts'

export type OffsetMetadata = {
  /** -1: unknown. */
  readonly partitionTime: number
  readonly processors: ReadonlyMap<string, number>
}

const none: OffsetMetadata = { partitionTime: -1, processors: new Map() }
const base64 = /^[A-Za-z0-9+/]+={0,2}$/
const entryBytesMin = 12

export function encodeOffsetMetadata(metadata: OffsetMetadata): string {
  const { partitionTime, processors } = metadata
  const writer = new ByteWriter(processors.size === 0 ? 9 : 256)
  writer.int8(2)
  writer.int64(partitionTime)
  if (processors.size > 0) {
    writer.int32(processors.size)
    for (const [name, time] of inHashOrder(processors)) {
      writer.int32(Buffer.byteLength(name))
      writer.utf8(name)
      writer.int64(time)
    }
  }
  return writer.view().toString('base64')
}

export function decodeOffsetMetadata(text: string): OffsetMetadata {
  if (!base64.test(text)) return none
  try {
    const reader = new ByteReader(Buffer.from(text, 'base64'))
    const magic = reader.int8()
    if (magic !== 1 && magic !== 2) return none
    const partitionTime = Math.max(-1, reader.int64())
    const processors = new Map<string, number>()
    if (magic === 2 && reader.remaining > 0) {
      const count = reader.int32()
      if (count < 0 || count > reader.remaining / entryBytesMin) return none
      for (let index = 0; index < count; index++) {
        const name = reader.utf8(reader.int32())
        processors.set(name, reader.int64())
      }
    }
    return { partitionTime, processors }
  } catch {
    return none
  }
}

/** Several partitions of a task carry the same processors: the latest time of each counts. */
export function mergeProcessors(parts: Iterable<OffsetMetadata>): Map<string, number> {
  const merged = new Map<string, number>()
  for (const { processors } of parts) {
    for (const [name, time] of processors) merged.set(name, Math.max(time, merged.get(name) ?? time))
  }
  return merged
}

/** The order in which Java's HashMap walks its entries; readers don't care, equal bytes do. */
function inHashOrder(processors: ReadonlyMap<string, number>): [string, number][] {
  const entries = [...processors]
  if (entries.length === 1) return entries
  let buckets = 16
  while (entries.length > buckets * 0.75) buckets *= 2
  const bucket = (name: string): number => {
    let hash = 0
    for (let index = 0; index < name.length; index++)
      hash = (Math.imul(hash, 31) + name.charCodeAt(index)) | 0
    return (hash ^ (hash >>> 16)) & (buckets - 1)
  }
  return entries
    .map((entry) => ({ entry, bucket: bucket(entry[0]) }))
    .sort((left, right) => left.bucket - right.bucket)
    .map(({ entry }) => entry)
}
