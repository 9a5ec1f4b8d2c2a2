/**
 * The wire alone: records in and out of a real broker, ours against kafkajs in the same run. Both produce and fetch
 * the same 100-byte records in the same topic layout, uncompressed, acknowledged by all replicas; neither does
 * anything with what it reads. Alone: `node scripts/run.mjs bench/workloads/wire.ts [records]`.
 */
import { Kafka, logLevel, Partitioners, type Producer } from 'kafkajs'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type KafkaClient } from '../../src/kafka/index.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'

export type WireOptions = {
  readonly brokers: readonly string[]
  readonly records: number
  readonly rounds: number
}

export type Measurement = {
  readonly name: string
  readonly recordsPerSecond: number
  /** Records for each second of this process's CPU time. */
  readonly recordsPerCpuSecond: number
}

export type WireResult = {
  readonly measurements: readonly Measurement[]
  readonly fetchRatio: number
  readonly produceRatio: number
}

const partitions = 4
const batchBytes = 900_000
const inFlight = 16
const key = Buffer.from('user-0000000')
const value = Buffer.from(JSON.stringify({ user: 42, speed: 12.5, text: 'x'.repeat(52) }))

export async function wire(options: WireOptions): Promise<WireResult> {
  const client = connect({ brokers: options.brokers, clientId: 'bench-wire', logger: silentLogger })
  const kafka = new Kafka({
    brokers: [...options.brokers],
    clientId: 'bench-wire',
    logLevel: logLevel.NOTHING,
  })
  const run = `bench-wire-${Date.now()}`
  const topics = { ours: `${run}-ours`, theirs: `${run}-theirs` }
  try {
    await client.admin.createTopics(
      Object.values(topics).map((name) => ({
        name,
        partitions,
        replicationFactor: 1,
        configs: { 'retention.ms': '-1' },
      })),
    )
    const measurements: Measurement[] = []
    const best: { [what: string]: number } = {}
    const measure = async (name: string, records: number, work: () => Promise<void>): Promise<void> => {
      const cpu = process.cpuUsage()
      const start = performance.now()
      await work()
      const seconds = (performance.now() - start) / 1_000
      const { user, system } = process.cpuUsage(cpu)
      const recordsPerSecond = Math.round(records / seconds)
      measurements.push({
        name,
        recordsPerSecond,
        recordsPerCpuSecond: Math.round(records / ((user + system) / 1e6)),
      })
      best[name] = Math.max(best[name] ?? 0, recordsPerSecond)
    }
    const total = options.records * options.rounds
    for (let round = 0; round < options.rounds; round++) {
      await measure('produce, millrace', options.records, () =>
        produceOurs(client, topics.ours, options.records),
      )
      await measure('produce, kafkajs send', options.records, () =>
        produceTheirs(kafka, topics.theirs, options.records),
      )
    }
    for (let round = 0; round < options.rounds; round++) {
      await measure('fetch and decode, millrace', total, () => fetchOurs(client, topics.ours, total))
      await measure('fetch and decode, kafkajs eachBatch', total, () =>
        fetchTheirs(kafka, topics.ours, `${run}-${round}`, total),
      )
    }
    return {
      measurements,
      fetchRatio:
        (best['fetch and decode, millrace'] ?? 0) / (best['fetch and decode, kafkajs eachBatch'] ?? 1),
      produceRatio: (best['produce, millrace'] ?? 0) / (best['produce, kafkajs send'] ?? 1),
    }
  } finally {
    await client.admin.deleteTopics(Object.values(topics)).catch(() => {})
    await client.close()
  }
}

async function produceOurs(client: KafkaClient, topic: string, records: number): Promise<void> {
  const producer = client.producer({ deliveryTimeoutMs: 60_000, compression: 'none' })
  await producer.init()
  const flying = new Set<Promise<void>>()
  const spare: BatchBuilder[] = []
  const send = (partition: number, builder: BatchBuilder): void => {
    const sent = producer.produce([{ topic, partition, builder }]).then(() => {
      flying.delete(sent)
      builder.reset()
      spare.push(builder)
    })
    flying.add(sent)
  }
  const fresh = () => spare.pop() ?? new BatchBuilder(batchBytes, batchBytes + 1_024)
  const open = Array.from({ length: partitions }, fresh)
  const now = Date.now()
  for (let index = 0; index < records; index++) {
    const partition = index % partitions
    const timestamp = now + (index >> 10)
    let builder = open[partition] as BatchBuilder
    if (builder.append(timestamp, key, 0, key.length, value, 0, value.length, noHeaders)) continue
    send(partition, builder)
    if (flying.size >= inFlight) await Promise.race(flying)
    builder = open[partition] = fresh()
    builder.append(timestamp, key, 0, key.length, value, 0, value.length, noHeaders)
  }
  for (let partition = 0; partition < partitions; partition++) {
    const builder = open[partition] as BatchBuilder
    if (builder.count > 0) send(partition, builder)
  }
  await Promise.all(flying)
  await producer.close()
}

async function produceTheirs(kafka: Kafka, topic: string, records: number): Promise<void> {
  const producer: Producer = kafka.producer({
    allowAutoTopicCreation: false,
    createPartitioner: Partitioners.DefaultPartitioner,
  })
  await producer.connect()
  const messagesPerSend = 2_000
  const flying = new Set<Promise<void>>()
  const timestamp = String(Date.now())
  for (let sent = 0; sent < records; sent += messagesPerSend) {
    const length = Math.min(messagesPerSend, records - sent)
    const messages = Array.from({ length }, (_, index) => ({
      key,
      value,
      timestamp,
      partition: index % partitions,
    }))
    const sending = producer.send({ topic, messages, acks: -1 }).then(() => {
      flying.delete(sending)
    })
    flying.add(sending)
    if (flying.size >= 8) await Promise.race(flying)
  }
  await Promise.all(flying)
  await producer.disconnect()
}

async function fetchOurs(client: KafkaClient, topic: string, records: number): Promise<void> {
  let read = 0
  await new Promise<void>((resolve, reject) => {
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
      onChunk(chunk) {
        const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
        while (cursor.next()) read++
        chunk.release()
        if (read >= records) void fetcher.close().then(resolve)
      },
    })
    for (let partition = 0; partition < partitions; partition++) fetcher.add({ topic, partition }, 0)
  })
}

async function fetchTheirs(kafka: Kafka, topic: string, groupId: string, records: number): Promise<void> {
  const consumer = kafka.consumer({ groupId, maxBytesPerPartition: 1024 * 1024, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  let read = 0
  await new Promise<void>((resolve) => {
    void consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: 1,
      eachBatch: async ({ batch }) => {
        read += batch.messages.length
        if (read >= records) resolve()
      },
    })
  })
  await consumer.disconnect()
}

export function describeWire({ measurements, fetchRatio, produceRatio }: WireResult): string {
  const lines = measurements.map(
    ({ name, recordsPerSecond, recordsPerCpuSecond }) =>
      `${name.padEnd(40)} ${recordsPerSecond.toLocaleString('en').padStart(12)} records/s ${recordsPerCpuSecond
        .toLocaleString('en')
        .padStart(12)} per CPU second`,
  )
  lines.push(`fetch and decode: ${fetchRatio.toFixed(1)} times kafkajs eachBatch (8 are due)`)
  lines.push(`produce: ${produceRatio.toFixed(1)} times kafkajs send (4 are due)`)
  return lines.join('\n')
}

if (/[\\/]wire\.ts$/.test(process.argv[1] ?? '')) {
  const brokers = (process.env['KAFKA_BROKERS'] ?? '127.0.0.1:29092').split(',')
  const records = Number(process.argv[2] ?? 1_000_000)
  void wire({ brokers, records, rounds: 3 }).then((result) => console.log(describeWire(result)))
}
