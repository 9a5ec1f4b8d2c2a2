/**
 * A steady load and its echo: records made at a rate, stamped with the wall clock, and the output of a windowed count
 * of them, or their copies, read as a read_committed consumer does. A result carries its record's time, so its age on
 * arrival is the way from produce to readable.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { noHeaders } from '../src/base/headers.ts'
import type { Fetcher, Producer } from '../src/kafka/index.ts'
import { BatchBuilder } from '../src/wire/batch-builder.ts'
import { partitionFor } from '../src/wire/murmur2.ts'
import { BatchCursor } from '../src/wire/record-batch.ts'
import type { Cluster } from './cluster.ts'

export type Load = {
  readonly input: string
  readonly output: string
  readonly partitions: number
  readonly keys: number
  readonly recordsPerSecond: number
  /** What comes back: the count so far of a key and window, or the record. */
  readonly echo: 'counts' | 'copies'
}

const tickMs = 5
const text = 'x'.repeat(80)

export class SteadyLoad {
  readonly #load: Load
  readonly #producer: Producer
  readonly #fetcher: Fetcher
  readonly #last = new Map<string, number>()
  readonly #flying = new Set<Promise<unknown>>()
  #ages: number[] = []
  #produced = 0
  #counted = 0
  #error: Error | null = null
  #running = true
  readonly #producing: Promise<void>

  static async start(cluster: Cluster, load: Load): Promise<SteadyLoad> {
    const producer = cluster.client.producer({ deliveryTimeoutMs: 60_000, compression: 'none' })
    await producer.init()
    return new SteadyLoad(cluster, load, producer)
  }

  private constructor({ client }: Cluster, load: Load, producer: Producer) {
    this.#load = load
    this.#producer = producer
    this.#fetcher = client.fetcher({
      purpose: 'input',
      isolation: 'read_committed',
      bufferBytesMax: 64 * 1024 * 1024,
      partitionBytesMax: 1024 * 1024,
      waitMs: 500,
      offsetReset: () => 'earliest',
      onEnds() {},
      onReset() {},
      onError: (error) => {
        this.#error = error
      },
      onChunk: (chunk) => {
        const now = Date.now()
        const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
        while (cursor.next()) this.#arrived(cursor, now)
        chunk.release()
      },
    })
    for (let partition = 0; partition < load.partitions; partition++)
      this.#fetcher.add({ topic: load.output, partition }, 0)
    this.#producing = this.#produce()
  }

  /** The ages of all that has arrived since it was asked the last time, in ms, ascending. */
  takeAges(): Float64Array {
    const ages = Float64Array.from(this.#ages).sort()
    this.#ages = []
    return ages
  }

  /** No more records; waits until each has been counted once, and says so if one wasn't. */
  async stop(timeoutMs: number): Promise<void> {
    this.#running = false
    await this.#producing
    await Promise.all(this.#flying)
    const end = Date.now() + timeoutMs
    while (this.#counted < this.#produced && Date.now() < end && this.#error === null) await wait(20)
    await this.close()
    if (this.#error !== null) throw this.#error
    if (this.#counted !== this.#produced)
      throw new Error(`${this.#counted} records were counted of ${this.#produced} that were produced`)
  }

  async close(): Promise<void> {
    this.#running = false
    await Promise.all([this.#fetcher.close(), this.#producer.close()])
  }

  #arrived(record: BatchCursor, now: number): void {
    this.#ages.push(now - record.timestamp)
    if (this.#load.echo === 'copies') {
      this.#counted++
      return
    }
    const key = record.buffer.toString('latin1', record.keyStart, record.keyEnd)
    const count = Number(record.buffer.readBigInt64BE(record.valueStart))
    this.#counted += count - (this.#last.get(key) ?? 0)
    this.#last.set(key, count)
  }

  async #produce(): Promise<void> {
    const { input, partitions, keys, recordsPerSecond } = this.#load
    const names = Array.from({ length: keys }, (_, number) => Buffer.from(`car-${number}`))
    const homes = names.map((name) => partitionFor(name, 0, name.length, partitions))
    const value = Buffer.from(text)
    const startedAt = Date.now()
    while (this.#running && this.#error === null) {
      await wait(tickMs)
      const now = Date.now()
      // After a stall of this process the rate goes on; what was missed is not made up for at one stroke.
      const due = Math.min(
        Math.floor(((now - startedAt) * recordsPerSecond) / 1_000) - this.#produced,
        Math.ceil(recordsPerSecond / 10),
      )
      if (due <= 0) continue
      const open = new Map<number, BatchBuilder>()
      for (let index = 0; index < due; index++) {
        const number = (this.#produced + index * 7_919) % keys
        const name = names[number] as Buffer
        const partition = homes[number] as number
        let builder = open.get(partition)
        if (builder === undefined) open.set(partition, (builder = new BatchBuilder()))
        builder.append(now, name, 0, name.length, value, 0, value.length, noHeaders)
      }
      this.#produced += due
      const batches = Array.from(open, ([partition, builder]) => ({ topic: input, partition, builder }))
      const sent: Promise<unknown> = this.#producer.produce(batches).then(
        () => this.#flying.delete(sent),
        (error: Error) => {
          this.#error = error
        },
      )
      this.#flying.add(sent)
    }
  }
}

export function percentile(ascending: Float64Array, part: number): number {
  return ascending[Math.min(ascending.length - 1, Math.floor(ascending.length * part))] ?? Number.NaN
}
