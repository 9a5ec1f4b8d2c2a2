/** Topics of the test driver: what was written to each partition, in order, as bytes. */
import type { Headers } from '../base/headers.ts'
import type { FetchedChunk } from '../kafka/client.ts'
import { encodeBatch, writeInt64 } from '../wire/batch-builder.ts'

export type RawTestRecord = {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Headers
}

export class TestLog {
  /** Of all partitions, in the order in which they were written. */
  readonly records: RawTestRecord[] = []
  readonly topic: string
  readonly #ends: number[]

  constructor(topic: string, partitions: number) {
    this.topic = topic
    this.#ends = new Array(partitions).fill(0)
  }

  get partitions(): number {
    return this.#ends.length
  }

  endOf(partition: number): number {
    return this.#ends[partition] ?? 0
  }

  append(
    partition: number,
    timestamp: number,
    key: Buffer | null,
    value: Buffer | null,
    headers: Headers,
  ): RawTestRecord {
    const offset = this.endOf(partition)
    const record = { topic: this.topic, partition, offset, timestamp, key, value, headers }
    this.#ends[partition] = offset + 1
    this.records.push(record)
    return record
  }
}

/** One record as a fetch would bring it. */
export function chunkOf({
  topic,
  partition,
  offset,
  timestamp,
  key,
  value,
  headers,
}: RawTestRecord): FetchedChunk {
  const buffer = encodeBatch([{ timestamp, key, value, headers }])
  writeInt64(buffer, 0, offset)
  return {
    topic,
    partition,
    buffer,
    start: 0,
    end: buffer.length,
    fetchOffset: offset,
    nextOffset: offset + 1,
    highWatermark: offset + 1,
    lastStableOffset: offset + 1,
    logStartOffset: 0,
    aborted: null,
    release: () => undefined,
  }
}
