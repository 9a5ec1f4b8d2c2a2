/** Reads whole topics, committed records only, in no group: for `tail`, the results of `dev`, the progress of `reprocess`. */

import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import type { Fetcher, KafkaClient, OffsetSpec, TopicPartition } from '../kafka/client.ts'
import { BatchCursor } from '../wire/record-batch.ts'

export type TopicRecord = {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly headers: Headers
  /** Ranges of the response: they live until the listener returns. */
  readonly key: Buffer | null
  readonly value: Buffer | null
}

export type TopicReaderOptions = {
  readonly client: KafkaClient
  readonly topics: readonly string[]
  /** 'latest' reads what comes; an offset is that of every partition. */
  readonly from: OffsetSpec | { readonly offset: number }
  readonly onRecord: (record: TopicRecord) => void
  readonly onError: (error: StreamsError) => void
}

const bytesMax = 16 * 1024 * 1024

export class TopicReader {
  /** Resolves when everything that was there at the opening has been read. */
  readonly caughtUp: Promise<void>
  readonly #fetcher: Fetcher
  readonly #waiting = new Map<string, number>()
  #arrived: () => void = () => {}

  private constructor(options: TopicReaderOptions) {
    this.caughtUp = new Promise((resolve) => {
      this.#arrived = resolve
    })
    const { client, onRecord, onError } = options
    this.#fetcher = client.fetcher({
      purpose: 'input',
      isolation: 'read_committed',
      bufferBytesMax: bytesMax,
      partitionBytesMax: 1024 * 1024,
      waitMs: 200,
      offsetReset: () => 'earliest',
      onChunk: (chunk) => {
        try {
          const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
          while (cursor.next()) onRecord(recordOf(cursor))
          this.#at(chunk, chunk.nextOffset)
        } catch (error) {
          onError(
            error instanceof StreamsError
              ? error
              : new StreamsError('WIRE_MALFORMED', String(error), { cause: error }),
          )
        } finally {
          chunk.release()
        }
      },
      onEnds: () => {},
      onReset: (partition, _from, to) => this.#at(partition, to),
      onError: (error) => onError(error),
    })
  }

  static async open(options: TopicReaderOptions): Promise<TopicReader> {
    const { client, topics, from } = options
    const partitions = await partitionsOf(client, topics)
    const ends = await client.admin.offsets(partitions, 'latest', 'read_committed')
    const positions = await startingOffsets(client, partitions, from, ends)
    const reader = new TopicReader(options)
    for (const { topic, partition, offset } of ends) {
      const start = positions.get(`${topic} ${partition}`) ?? 0
      if (start < (offset ?? 0)) reader.#waiting.set(`${topic} ${partition}`, offset ?? 0)
    }
    for (const at of partitions) reader.#fetcher.add(at, positions.get(`${at.topic} ${at.partition}`) ?? 0)
    if (reader.#waiting.size === 0) reader.#arrived()
    return reader
  }

  async close(): Promise<void> {
    await this.#fetcher.close()
  }

  #at({ topic, partition }: TopicPartition, offset: number): void {
    const id = `${topic} ${partition}`
    const end = this.#waiting.get(id)
    if (end === undefined || offset < end) return
    this.#waiting.delete(id)
    if (this.#waiting.size === 0) this.#arrived()
  }
}

function recordOf(cursor: BatchCursor): TopicRecord {
  const { topic, partition, offset, timestamp, buffer, keyStart, keyEnd, valueStart, valueEnd } = cursor
  return {
    topic,
    partition,
    offset,
    timestamp,
    headers: cursor.headerCount === 0 ? noHeaders : cursor.headers(),
    key: keyStart < 0 ? null : buffer.subarray(keyStart, keyEnd),
    value: valueStart < 0 ? null : buffer.subarray(valueStart, valueEnd),
  }
}

export async function partitionsOf(
  client: KafkaClient,
  topics: readonly string[],
): Promise<TopicPartition[]> {
  const found = await client.admin.topics(topics)
  for (const topic of topics) {
    if (!found.some(({ name }) => name === topic)) {
      throw new StreamsError(
        'TOPIC_MISSING',
        `topic ${topic} does not exist; \`millrace tail\` without a topic lists those that do`,
        { topic },
      )
    }
  }
  return found.flatMap(({ name, partitions }) =>
    partitions.map(({ partition }) => ({ topic: name, partition })),
  )
}

async function startingOffsets(
  client: KafkaClient,
  partitions: readonly TopicPartition[],
  from: TopicReaderOptions['from'],
  ends: readonly (TopicPartition & { readonly offset: number | null })[],
): Promise<ReadonlyMap<string, number>> {
  const endOf = new Map(ends.map(({ topic, partition, offset }) => [`${topic} ${partition}`, offset ?? 0]))
  if (typeof from === 'object' && 'offset' in from) {
    return new Map(partitions.map(({ topic, partition }) => [`${topic} ${partition}`, from.offset]))
  }
  if (from === 'latest') return endOf
  const starts = await client.admin.offsets(partitions, from, 'read_committed')
  // No record is that young: what comes next is.
  return new Map(
    starts.map(({ topic, partition, offset }) => [
      `${topic} ${partition}`,
      offset ?? endOf.get(`${topic} ${partition}`) ?? 0,
    ]),
  )
}
