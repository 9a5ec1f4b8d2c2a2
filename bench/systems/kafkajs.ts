/**
 * What one writes by hand with kafkajs: `eachBatch`, state in a Map, the batch's changes sent at its end, offsets
 * committed by kafkajs. Nothing is durable but the output, and a crash counts twice. A process of its own, with the
 * words of the others; its argument is `{ workload, brokers, applicationId, threads, input, output }` as JSON.
 */
import { Kafka, logLevel, type Message, Partitioners } from 'kafkajs'

type Options = {
  readonly workload: string
  readonly brokers: string[]
  readonly applicationId: string
  readonly threads: number
  readonly input: string
  readonly output: string
}

const windowMs = 10_000
const { workload, brokers, applicationId, threads, input, output } = JSON.parse(
  process.argv[2] ?? '{}',
) as Options

type Mean = { count: number; sum: number }
type In = { readonly key: Buffer | null; readonly value: Buffer | null; readonly timestamp: string }

const counts = new Map<string, number>()
const means = new Map<string, Mean>()

function int64(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeBigInt64BE(BigInt(value))
  return bytes
}

function countOf(messages: readonly In[], keyOf: (message: In) => string): Message[] {
  const changed = new Map<string, string>()
  for (const message of messages) {
    const key = keyOf(message)
    counts.set(key, (counts.get(key) ?? 0) + 1)
    changed.set(key, message.timestamp)
  }
  return Array.from(changed, ([key, timestamp]) => ({ key, value: int64(counts.get(key) ?? 0), timestamp }))
}

function window({ timestamp }: In): number {
  const time = Number(timestamp)
  return time - (time % windowMs)
}

const works: { readonly [workload: string]: (messages: readonly In[]) => Message[] } = {
  copy: (messages) => messages.map(({ key, value, timestamp }) => ({ key, value, timestamp })),
  filter: (messages) =>
    messages
      .filter(({ value }) => value?.toString().includes('"speed":1'))
      .map(({ key, value, timestamp }) => ({ key, value, timestamp })),
  'window-count': (messages) => countOf(messages, (message) => `${message.key}@${window(message)}`),
  'many-keys': (messages) => countOf(messages, (message) => String(message.key)),
  'json-average': (messages) => {
    const changed = new Map<string, string>()
    for (const message of messages) {
      const key = `${message.key}@${window(message)}`
      const { speed } = JSON.parse(String(message.value)) as { readonly speed: number }
      const mean = means.get(key)
      if (mean === undefined) means.set(key, { count: 1, sum: speed })
      else {
        mean.count++
        mean.sum += speed
      }
      changed.set(key, message.timestamp)
    }
    return Array.from(changed, ([key, timestamp]) => {
      const { count, sum } = means.get(key) as Mean
      return { key, value: String(sum / count), timestamp }
    })
  },
}
/** By hand one does these; joins, sessions and repartitioning are where one takes a library. */
export const kafkajsWorkloads = Object.keys(works)

async function main(): Promise<void> {
  const work = works[workload]
  if (work === undefined) throw new Error(`kafkajs has no workload ${workload}`)
  const kafka = new Kafka({ brokers, clientId: applicationId, logLevel: logLevel.ERROR })
  const producer = kafka.producer({
    allowAutoTopicCreation: false,
    createPartitioner: Partitioners.DefaultPartitioner,
  })
  const consumer = kafka.consumer({ groupId: applicationId })
  await Promise.all([producer.connect(), consumer.connect()])
  await consumer.subscribe({ topic: input, fromBeginning: true })
  let commits = 0
  consumer.on(consumer.events.COMMIT_OFFSETS, () => commits++)
  consumer.on(consumer.events.GROUP_JOIN, () => console.log(`RUNNING ${Date.now()} {}`))
  process.stdin.resume()
  process.stdin.once('end', () => {
    console.log(`DONE ${JSON.stringify({ commits, changelogRecords: 0, restored: 0 })}`)
    void consumer
      .disconnect()
      .then(() => producer.disconnect())
      .then(() => process.exit(0))
  })
  await consumer.run({
    autoCommitInterval: 100,
    partitionsConsumedConcurrently: threads,
    eachBatch: async ({ batch }) => {
      const messages = work(batch.messages)
      if (messages.length > 0) await producer.send({ topic: output, messages, acks: -1 })
    },
  })
}

void main().catch((error: unknown) => {
  console.error(error)
  process.exit(1)
})
