/**
 * The input: made from a seed, written by our own producer, once for all systems. Records of about 100 bytes; event
 * time runs at 10,000 records a second from `startTime` on.
 */
import { noHeaders } from '../src/base/headers.ts'
import { BatchBuilder } from '../src/wire/batch-builder.ts'
import { partitionFor } from '../src/wire/murmur2.ts'
import { type Cluster, createTopic, endsOf, sum } from './cluster.ts'

export const startTime = 1_700_000_000_000

export type Input = {
  readonly topic: string
  readonly records: number
  readonly keys: number
  readonly partitions: number
  /** `rows`: one record for each key, before `startTime`. */
  readonly kind: 'events' | 'rows'
  /** Of event time, in a second. */
  readonly perSecond: number
  readonly seed: number
  /** Of rows. */
  readonly padding?: string
  /** Written whatever the topic holds already. */
  readonly adds?: boolean
}

const batchBytes = 900_000
const batchesInFlight = 16

/** Small, fast, and the same everywhere. */
export function random(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Writes it, unless it is there already. */
export async function makeInput(cluster: Cluster, input: Input): Promise<void> {
  const { topic, partitions } = input
  await createTopic(cluster, topic, partitions)
  const there = sum(await endsOf(cluster, topic, partitions))
  if (there === input.records && !input.adds) return
  if (there > 0 && !input.adds)
    throw new Error(`${topic} holds ${there} records of ${input.records}: delete it, then try again`)
  const producer = cluster.client.producer({ deliveryTimeoutMs: 120_000, compression: 'none' })
  await producer.init()
  const flying = new Set<Promise<void>>()
  const spare: BatchBuilder[] = []
  const fresh = () => spare.pop() ?? new BatchBuilder(batchBytes, Math.min(batchBytes, 65_536))
  const open = Array.from({ length: partitions }, fresh)
  const send = (partition: number): void => {
    const builder = open[partition] as BatchBuilder
    const sent = producer.produce([{ topic, partition, builder }]).then(() => {
      flying.delete(sent)
      builder.reset()
      spare.push(builder)
    })
    flying.add(sent)
    open[partition] = fresh()
  }
  const next = random(input.seed)
  const key = Buffer.alloc(32)
  const value = Buffer.alloc(256 + (input.padding?.length ?? 0))
  for (let index = 0; index < input.records; index++) {
    const isRow = input.kind === 'rows'
    const number = isRow ? index : Math.floor(next() * input.keys)
    const time = isRow ? startTime - 1 : startTime + Math.floor((index * 1_000) / input.perSecond)
    const keyEnd = key.write(`car-${number}`, 'latin1')
    const text = isRow
      ? `row-${number}${input.padding ?? ''}`
      : `{"vehicle":"car-${number}","ts":${time},"speed":${Math.floor(next() * 1_400) / 10},"lat":51.05${Math.floor(next() * 1_000)},"lon":3.72${Math.floor(next() * 1_000)}}`
    const valueEnd = value.write(text, 'latin1')
    const partition = partitionFor(key, 0, keyEnd, partitions)
    const add = () =>
      (open[partition] as BatchBuilder).append(time, key, 0, keyEnd, value, 0, valueEnd, noHeaders)
    if (add()) continue
    send(partition)
    if (flying.size >= batchesInFlight) await Promise.race(flying)
    add()
  }
  for (let partition = 0; partition < partitions; partition++)
    if ((open[partition] as BatchBuilder).count > 0) send(partition)
  await Promise.all(flying)
  await producer.close()
}
