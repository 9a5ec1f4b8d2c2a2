/**
 * What a stream thread has written since the last cut: the open batches of its output and changelog partitions. One
 * producer sends for all tasks of a thread, so their records share batches. A cut takes everything; the next
 * generation starts empty.
 */
import { StreamsError } from '../base/errors.ts'
import type { Headers } from '../base/headers.ts'
import type { OutgoingBatch, TopicPartition } from '../kafka/client.ts'
import type { Collector } from '../operator/run.ts'
import { BatchBuilder } from '../wire/batch-builder.ts'

export type OutputOptions = {
  /** Asked once per topic: how many partitions it has. */
  partitionCount(topic: string): Promise<number>
  /** Where a batch is split; below the broker's message.max.bytes. */
  batchBytesMax: number
  /** A record beyond it is refused where it is written, so that its handler decides. */
  recordBytesMax: number
}

export type Taken = {
  readonly batches: readonly OutgoingBatch[]
  readonly records: number
  readonly bytes: number
  /** Of the batches, those that nothing but their sending needs: once they are delivered they may be filled anew. */
  readonly spare: readonly BatchBuilder[]
}

type TopicOutput = {
  readonly topic: string
  /** State refers to the bytes of its batches. */
  isKept: boolean
  /** The batch being filled, by partition. */
  readonly open: (BatchBuilder | undefined)[]
}

// Lengths, times and the headers of a changelog record, at their most.
const recordOverheadMax = 128
/** What is kept of delivered batches, to be filled anew. */
const spareBytesMax = 8_388_608

export class Output implements Collector {
  readonly #options: OutputOptions
  readonly #counts: Map<string, number>
  readonly #topics = new Map<string, TopicOutput>()
  /** Batches that are full, in order. */
  #full: OutgoingBatch[] = []
  #fullBytes = 0
  #appendedBytes = 0
  #last: TopicOutput | null = null
  readonly #spare: BatchBuilder[] = []
  #spareBytes = 0

  /** `counts` outlives an output that an abort throws away. */
  constructor(options: OutputOptions, counts: Map<string, number>) {
    this.#options = options
    this.#counts = counts
  }

  partitionCount(topic: string): number | null {
    return this.#counts.get(topic) ?? null
  }

  async load(topic: string): Promise<void> {
    this.#counts.set(topic, await this.#options.partitionCount(topic))
  }

  append(
    topic: string,
    partition: number,
    timestamp: number,
    key: Uint8Array | null,
    keyStart: number,
    keyEnd: number,
    value: Uint8Array | null,
    valueStart: number,
    valueEnd: number,
    headers: Headers,
  ): void {
    const bytes = keyEnd - keyStart + valueEnd - valueStart
    if (bytes > this.#options.recordBytesMax) {
      throw new StreamsError(
        'RECORD_TOO_LARGE',
        `a record of ${bytes} bytes for topic ${topic} is over the limit of ${this.#options.recordBytesMax}; make it smaller, or raise recordBytesMax and the topic's max.message.bytes`,
        { topic, partition },
      )
    }
    const output = this.#topic(topic)
    let builder = output.open[partition]
    if (builder === undefined) builder = output.open[partition] = this.#builder()
    let before = builder.bytes
    if (!builder.append(timestamp, key, keyStart, keyEnd, value, valueStart, valueEnd, headers)) {
      builder = this.#roll(output, partition, builder)
      before = builder.bytes
      builder.append(timestamp, key, keyStart, keyEnd, value, valueStart, valueEnd, headers)
    }
    this.#appendedBytes += builder.bytes - before
  }

  /** The open batch of a changelog partition, with room for so many bytes. Its bytes are referred to by the state. */
  changelog(topic: string, partition: number, bytes: number): BatchBuilder {
    const { recordBytesMax } = this.#options
    if (bytes > recordBytesMax) {
      // No handler is asked: a change that is left out would make the changelog differ from the state.
      throw new StreamsError(
        'RECORD_TOO_LARGE',
        `an entry of state of ${bytes} bytes for topic ${topic} is over the limit of ${recordBytesMax}; keep less under one key, or raise recordBytesMax and the topic's max.message.bytes`,
        { topic, partition, verdict: 'stop' },
      )
    }
    const output = this.#topic(topic)
    output.isKept = true
    const builder = output.open[partition]
    if (builder === undefined) {
      const fresh = this.#builder()
      output.open[partition] = fresh
      return fresh
    }
    return builder.bytes + bytes + recordOverheadMax > this.#options.batchBytesMax && builder.count > 0
      ? this.#roll(output, partition, builder)
      : builder
  }

  /** Of the records appended since the last cut. What a cut itself writes, to changelogs, it takes at once. */
  get bytes(): number {
    return this.#appendedBytes
  }

  /** Where something was written since the last cut, changelogs apart: those are written by the cut. */
  get written(): readonly TopicPartition[] {
    const written: TopicPartition[] = this.#full.map(({ topic, partition }) => ({ topic, partition }))
    for (const { topic, open } of this.#topics.values())
      for (let partition = 0; partition < open.length; partition++)
        if (open[partition] !== undefined) written.push({ topic, partition })
    return written
  }

  /** Everything written since the last time. */
  take(): Taken {
    const batches = this.#full
    let bytes = this.#fullBytes
    for (const { topic, open } of this.#topics.values()) {
      for (let partition = 0; partition < open.length; partition++) {
        const builder = open[partition]
        if (builder === undefined || builder.count === 0) continue
        batches.push({ topic, partition, builder })
        bytes += builder.bytes
        open[partition] = undefined
      }
    }
    this.#full = []
    this.#fullBytes = 0
    this.#appendedBytes = 0
    let records = 0
    const spare: BatchBuilder[] = []
    for (const { topic, builder } of batches) {
      records += builder.count
      if (!this.#topics.get(topic)?.isKept) spare.push(builder)
    }
    return { batches, records, bytes, spare }
  }

  /** Of what was taken and is delivered. */
  reuse(builders: readonly BatchBuilder[]): void {
    for (const builder of builders) {
      const bytes = builder.buffer.length
      if (this.#spareBytes + bytes > spareBytesMax) return
      builder.reset()
      this.#spare.push(builder)
      this.#spareBytes += bytes
    }
  }

  #topic(topic: string): TopicOutput {
    const last = this.#last
    if (last !== null && last.topic === topic) return last
    let output = this.#topics.get(topic)
    if (output === undefined) {
      output = { topic, isKept: false, open: [] }
      this.#topics.set(topic, output)
    }
    this.#last = output
    return output
  }

  #roll(output: TopicOutput, partition: number, builder: BatchBuilder): BatchBuilder {
    this.#full.push({ topic: output.topic, partition, builder })
    this.#fullBytes += builder.bytes
    const next = this.#builder()
    output.open[partition] = next
    return next
  }

  #builder(): BatchBuilder {
    const spare = this.#spare.pop()
    if (spare !== undefined) {
      this.#spareBytes -= spare.buffer.length
      return spare
    }
    return new BatchBuilder(this.#options.batchBytesMax)
  }
}
