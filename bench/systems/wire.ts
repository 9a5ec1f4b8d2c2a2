/**
 * The wire alone, as a process: it produces records of 100 bytes and then fetches and decodes the input, with our
 * client or with kafkajs. Uncompressed, acknowledged by all replicas; nothing is done with what is read but that it is
 * counted. Its argument is `Options` as JSON. It says `RUNNING` and the time, `PRODUCED` and `FETCHED` with `Passage`.
 */
import { Kafka, logLevel, Partitioners, type Producer } from 'kafkajs'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type KafkaClient } from '../../src/kafka/index.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'

export type WireOptions = {
  readonly client: 'millrace' | 'kafkajs'
  readonly brokers: readonly string[]
  readonly input: string
  readonly output: string
  readonly partitions: number
  /** Of the input. */
  readonly records: number
  readonly produces: number
}

export type Passage = {
  readonly records: number
  /** Of the values. */
  readonly bytes: number
  readonly seconds: number
  readonly cpuSeconds: number
}

const { client, brokers, input, output, partitions, records, produces } = JSON.parse(
  process.argv[2] ?? '{}',
) as WireOptions

const batchBytes = 900_000
const inFlight = 16
const key = Buffer.from('user-0000000')
const value = Buffer.from(JSON.stringify({ user: 42, speed: 12.5, text: 'x'.repeat(52) }))

type Work = () => Promise<{ readonly records: number; readonly bytes: number }>

async function say(word: string, work: Work): Promise<void> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const did = await work()
  const seconds = (performance.now() - start) / 1_000
  const { user, system } = process.cpuUsage(cpu)
  const passage: Passage = { ...did, seconds, cpuSeconds: (user + system) / 1e6 }
  console.log(`${word} ${JSON.stringify(passage)}`)
}

async function main(): Promise<void> {
  const produced = { records: produces, bytes: produces * value.length }
  if (client === 'millrace') {
    const ours = connect({ brokers, clientId: 'bench-wire', logger: silentLogger })
    console.log(`RUNNING ${Date.now()} {}`)
    await say('PRODUCED', async () => {
      await produceOurs(ours)
      return produced
    })
    await say('FETCHED', () => fetchOurs(ours))
    await ours.close()
  } else {
    const kafka = new Kafka({ brokers: [...brokers], clientId: 'bench-wire', logLevel: logLevel.NOTHING })
    console.log(`RUNNING ${Date.now()} {}`)
    await say('PRODUCED', async () => {
      await produceTheirs(kafka)
      return produced
    })
    await say('FETCHED', () => fetchTheirs(kafka))
  }
  // It lives until what it used has been read.
  process.stdin.resume()
  await new Promise((resolve) => process.stdin.once('end', resolve))
}

async function produceOurs(ours: KafkaClient): Promise<void> {
  const producer = ours.producer({ deliveryTimeoutMs: 60_000, compression: 'none' })
  await producer.init()
  const flying = new Set<Promise<void>>()
  const spare: BatchBuilder[] = []
  const send = (partition: number, builder: BatchBuilder): void => {
    const sent = producer.produce([{ topic: output, partition, builder }]).then(() => {
      flying.delete(sent)
      builder.reset()
      spare.push(builder)
    })
    flying.add(sent)
  }
  const fresh = () => spare.pop() ?? new BatchBuilder(batchBytes, batchBytes + 1_024)
  const open = Array.from({ length: partitions }, fresh)
  const now = Date.now()
  for (let index = 0; index < produces; index++) {
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

async function produceTheirs(kafka: Kafka): Promise<void> {
  const producer: Producer = kafka.producer({
    allowAutoTopicCreation: false,
    createPartitioner: Partitioners.DefaultPartitioner,
  })
  await producer.connect()
  const messagesPerSend = 2_000
  const flying = new Set<Promise<void>>()
  const timestamp = String(Date.now())
  for (let sent = 0; sent < produces; sent += messagesPerSend) {
    const length = Math.min(messagesPerSend, produces - sent)
    const messages = Array.from({ length }, (_, index) => ({
      key,
      value,
      timestamp,
      partition: index % partitions,
    }))
    const sending = producer.send({ topic: output, messages, acks: -1 }).then(() => {
      flying.delete(sending)
    })
    flying.add(sending)
    if (flying.size >= 8) await Promise.race(flying)
  }
  await Promise.all(flying)
  await producer.disconnect()
}

async function fetchOurs(ours: KafkaClient): ReturnType<Work> {
  let read = 0
  let bytes = 0
  await new Promise<void>((resolve, reject) => {
    const fetcher = ours.fetcher({
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
        while (cursor.next()) {
          read++
          bytes += cursor.valueEnd - cursor.valueStart
        }
        chunk.release()
        if (read >= records) void fetcher.close().then(resolve)
      },
    })
    for (let partition = 0; partition < partitions; partition++) fetcher.add({ topic: input, partition }, 0)
  })
  return { records: read, bytes }
}

async function fetchTheirs(kafka: Kafka): ReturnType<Work> {
  const consumer = kafka.consumer({
    groupId: output,
    maxBytesPerPartition: 1024 * 1024,
    maxWaitTimeInMs: 100,
  })
  await consumer.connect()
  await consumer.subscribe({ topic: input, fromBeginning: true })
  let read = 0
  let bytes = 0
  await new Promise<void>((resolve) => {
    void consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: 1,
      eachBatch: async ({ batch }) => {
        read += batch.messages.length
        for (const message of batch.messages) bytes += message.value?.length ?? 0
        if (read >= records) resolve()
      },
    })
  })
  await consumer.disconnect()
  return { records: read, bytes }
}

void main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error)
    process.exit(1)
  },
)
