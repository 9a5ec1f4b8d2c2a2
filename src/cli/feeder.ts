/** Writes what a topology file generates into the topics it reads, at a steady rate. */
import { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import { noHeaders } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { KafkaClient, Producer } from '../kafka/client.ts'
import type { Serde } from '../serde/serde.ts'
import type { GeneratedRecord } from '../testing/generator.ts'
import type { TopologyGraph } from '../topology/topology.ts'
import { BatchBuilder } from '../wire/batch-builder.ts'
import { partitionFor } from '../wire/murmur2.ts'

export type FeederOptions = {
  readonly client: KafkaClient
  readonly graph: TopologyGraph
  readonly records: Iterable<GeneratedRecord>
  readonly recordsPerSecond: number
  readonly partitions: ReadonlyMap<string, number>
  readonly onError: (error: unknown) => void
}

const turnMs = 50

export class Feeder {
  written = 0
  readonly #options: FeederOptions
  readonly #producer: Producer
  readonly #serdes = new Map<
    string,
    { readonly key: Serde<unknown> | null; readonly value: Serde<unknown> | null }
  >()
  readonly #iterator: Iterator<GeneratedRecord>
  readonly #bytes = new ByteWriter()
  #running: Promise<void> | null = null
  #stopped = false
  #wake: (() => void) | null = null
  #roundRobin = 0

  constructor(options: FeederOptions) {
    this.#options = options
    this.#producer = options.client.producer({ deliveryTimeoutMs: 30_000, compression: 'none' })
    this.#iterator = options.records[Symbol.iterator]()
    for (const node of options.graph.nodes.values()) {
      if (node.kind !== 'source' || node.internal) continue
      for (const topic of node.topics) this.#serdes.set(topic, { key: node.keySerde, value: node.valueSerde })
    }
  }

  start(): void {
    this.#running = this.#run().catch((error: unknown) => {
      if (!this.#stopped) this.#options.onError(error)
    })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#wake?.()
    await this.#running
    await this.#producer.close()
  }

  async #run(): Promise<void> {
    await this.#producer.init()
    const startedAt = performance.now()
    while (!this.#stopped) {
      const due = Math.floor(((performance.now() - startedAt) / 1000) * this.#options.recordsPerSecond)
      const batches = new Map<string, { topic: string; partition: number; builder: BatchBuilder }>()
      for (; this.written < due; this.written++) {
        const { value: record, done } = this.#iterator.next()
        if (done === true) return
        await this.#append(record, batches)
      }
      if (batches.size > 0) await this.#producer.produce([...batches.values()])
      await this.#rest()
    }
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, turnMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async #append(
    record: GeneratedRecord,
    batches: Map<string, { topic: string; partition: number; builder: BatchBuilder }>,
  ): Promise<void> {
    const { topic, key = null, value, timestamp = Date.now() } = record
    const serdes = this.#serdes.get(topic)
    const count = this.#options.partitions.get(topic)
    if (serdes === undefined || count === undefined) {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        `generate: the topology does not read topic ${topic}; it reads ${[...this.#serdes.keys()].join(', ')}`,
        { topic },
      )
    }
    const bytes = this.#bytes
    bytes.reset()
    const write = async (what: unknown, serde: Serde<unknown> | null, side: string): Promise<void> => {
      if (what === null || what === undefined) return
      if (serde === null) {
        throw new StreamsError(
          'TOPOLOGY_INVALID',
          `generate: the source of topic ${topic} has no ${side} serde; give it one`,
          { topic },
        )
      }
      for (;;) {
        const waiting = serde.write(what, bytes, topic, noHeaders)
        if (!isPromise(waiting)) return
        await waiting
      }
    }
    await write(key, serdes.key, 'key')
    const keyEnd = bytes.position
    await write(value, serdes.value, 'value')
    const valueEnd = bytes.position
    const { buffer } = bytes
    const partition =
      key === null
        ? this.#roundRobin++ % count
        : partitionFor(buffer, 0, keyEnd - (serdes.key?.windowBytes ?? 0), count)
    const id = `${topic} ${partition}`
    let batch = batches.get(id)
    if (batch === undefined) batches.set(id, (batch = { topic, partition, builder: new BatchBuilder() }))
    const added = batch.builder.append(
      timestamp,
      key === null ? null : buffer,
      0,
      keyEnd,
      value === null || value === undefined ? null : buffer,
      keyEnd,
      valueEnd,
      noHeaders,
    )
    if (added) return
    await this.#producer.produce([batch])
    batches.delete(id)
    await this.#append(record, batches)
  }
}
