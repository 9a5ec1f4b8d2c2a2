/** Reads a topic's committed records from the first one to given ends. */
import type { FetchedChunk } from '../src/kafka/index.ts'
import { BatchCursor } from '../src/wire/record-batch.ts'
import type { Cluster } from './cluster.ts'

/** Called for each record; the cursor's ranges hold until it returns. */
export type Visit = (record: BatchCursor) => void

export async function readTopic(
  { client }: Cluster,
  topic: string,
  ends: readonly number[],
  visit: Visit,
): Promise<void> {
  const waiting = new Set(ends.flatMap((end, partition) => (end > 0 ? [partition] : [])))
  if (waiting.size === 0) return
  await new Promise<void>((resolve, reject) => {
    const onChunk = (chunk: FetchedChunk): void => {
      const end = ends[chunk.partition] as number
      if (waiting.has(chunk.partition)) {
        const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
        while (cursor.next()) if (cursor.offset < end) visit(cursor)
        if (chunk.nextOffset >= end) waiting.delete(chunk.partition)
      }
      chunk.release()
      if (waiting.size === 0) void fetcher.close().then(resolve, reject)
    }
    const fetcher = client.fetcher({
      purpose: 'input',
      isolation: 'read_committed',
      bufferBytesMax: 64 * 1024 * 1024,
      partitionBytesMax: 1024 * 1024,
      waitMs: 100,
      offsetReset: () => 'earliest',
      onEnds() {},
      onReset() {},
      onError: reject,
      onChunk,
    })
    for (const partition of waiting) fetcher.add({ topic, partition }, 0)
  })
}
