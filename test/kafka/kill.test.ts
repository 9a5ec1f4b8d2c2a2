/**
 * What the guarantees without transactions keep when their process is killed (-9) under load: at the worst moment that
 * there is for each of them, and at some other. Every record has a number, so that what is lost and what is doubled is
 * known one by one. That exactly_once keeps all is chaos.test.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type KafkaClient, type TopicPartition } from '../../src/kafka/index.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'
import { compile } from '../chaos/compile.ts'

const brokers = (process.env['KAFKA_BROKERS'] as string).split(',')
const partitions = 4
const keysPerPartition = 25
const recordsPerPartition = 3_000
const valueBytes = 1_000
const bounds = { fetchBufferBytes: 1_048_576, partitionFetchBytes: 65_536, uncommittedBytesMax: 65_536 }
const waitMs = 30_000
/** The output has come to its end when it rests for so long. */
const restMs = 300
const apiProduce = 0
const apiOffsetCommit = 8

let compiled: string
let folder: string
let client: KafkaClient

beforeAll(async () => {
  compiled = await compile(['test/kafka/kill-app.ts'])
  folder = await mkdtemp(join(tmpdir(), 'millrace-kill-'))
  client = connect({ brokers, clientId: 'kill', logger: silentLogger })
})

afterAll(async () => {
  await client.close()
  await rm(folder, { recursive: true, force: true })
  await rm(compiled, { recursive: true, force: true })
})

const inputOf = (id: string): TopicPartition[] =>
  Array.from({ length: partitions }, (_, partition) => ({ topic: `${id}-in`, partition }))

/** The number of a record says where it lies: `partition * recordsPerPartition + offset`. */
async function write(id: string): Promise<void> {
  const producer = client.producer({ deliveryTimeoutMs: 30_000, compression: 'none' })
  await producer.init()
  const filling = 'x'.repeat(valueBytes)
  for (let from = 0; from < recordsPerPartition; from += 50) {
    const batches = inputOf(id).map(({ topic, partition }) => {
      const builder = new BatchBuilder()
      for (let offset = from; offset < from + 50; offset++) {
        const key = `k${partition}-${offset % keysPerPartition}`
        const bytes = Buffer.from(`${key}${partition * recordsPerPartition + offset} ${filling}`)
        builder.append(Date.now(), bytes, 0, key.length, bytes, key.length, bytes.length, noHeaders)
      }
      return { topic, partition, builder }
    })
    await producer.produce(batches)
  }
  await producer.close()
}

async function read(topic: string, each: (key: string, value: Buffer) => void): Promise<void> {
  const [end] = await client.admin.offsets([{ topic, partition: 0 }], 'latest', 'read_uncommitted')
  const last = end?.offset ?? 0
  if (last === 0) return
  await new Promise<void>((resolve, reject) => {
    const fetcher = client.fetcher({
      purpose: 'input',
      isolation: 'read_uncommitted',
      bufferBytesMax: 64 << 20,
      partitionBytesMax: 8 << 20,
      waitMs: 20,
      offsetReset: () => 'earliest',
      onChunk(chunk) {
        const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
        while (cursor.next()) {
          const { buffer, keyStart, keyEnd, valueStart, valueEnd } = cursor
          each(buffer.toString('utf8', keyStart, keyEnd), buffer.subarray(valueStart, valueEnd))
        }
        chunk.release()
        if (chunk.nextOffset >= last) void fetcher.close().then(resolve)
      },
      onEnds: () => {},
      onReset: () => {},
      onError: reject,
    })
    fetcher.add({ topic, partition: 0 }, 0)
  })
}

type Outcome = {
  /** Of each record by its number: how often it is in the output. */
  readonly copies: Int32Array
  /** What is counted in the end, by key. */
  readonly totals: ReadonlyMap<string, number>
  /** The group's positions after each kill, by partition. */
  readonly positions: readonly (readonly number[])[]
}

/** Kills the process twice just before its NTH request of the kind, and once while it is in its work; then lets it end. */
async function killed(guarantee: string, api: number, nth: number): Promise<Outcome> {
  const id = `kill-${randomUUID().slice(0, 8)}`
  const [out, totalsTopic] = [`${id}-out`, `${id}-totals`] as const
  await client.admin.createTopics([
    { name: `${id}-in`, partitions, replicationFactor: 1, configs: {} },
    { name: out, partitions: 1, replicationFactor: 1, configs: {} },
    { name: totalsTopic, partitions: 1, replicationFactor: 1, configs: {} },
  ])
  await write(id)
  const config = {
    applicationId: id,
    brokers,
    stateDir: join(folder, id),
    guarantee,
    commitIntervalMs: 100,
    fetchWaitMs: 50,
    logLevel: 'error',
    ...bounds,
  }
  let child: ChildProcess | null = null
  const start = (count: number) => {
    const args = [
      join(compiled, 'test/kafka/kill-app.js'),
      JSON.stringify(config),
      String(api),
      String(count),
    ]
    child = spawn(process.execPath, args, { stdio: ['pipe', 'inherit', 'inherit'] })
    return child
  }
  const endOf = async (topic: string): Promise<number> =>
    (await client.admin.offsets([{ topic, partition: 0 }], 'latest', 'read_uncommitted'))[0]?.offset ?? 0
  const until = async (what: string, is: () => Promise<boolean>) => {
    const deadline = Date.now() + waitMs
    while (!(await is())) {
      if (Date.now() > deadline) throw new Error(`${guarantee}: not within ${waitMs} ms: ${what}`)
      await sleep(20)
    }
  }
  const position = async (): Promise<number[]> => {
    const found = await client.admin.groupOffsets(id)
    return inputOf(id).map((at) => found.find((one) => one.partition === at.partition)?.offset ?? 0)
  }
  try {
    const positions: number[][] = []
    for (const count of [nth, nth, -1]) {
      const before = await endOf(out)
      const process = start(count)
      const exited = once(process, 'exit')
      if (count === -1) {
        await until('it works', async () => (await endOf(out)) > before + 500)
        process.kill('SIGKILL')
      }
      expect(await exited).toEqual([null, 'SIGKILL'])
      positions.push(await position())
    }
    const last = start(-1)
    let seen = { end: -1, at: 0 }
    await until('all is processed', async () => {
      const end = await endOf(out)
      if (end !== seen.end) seen = { end, at: Date.now() }
      const isRead = (await position()).every((offset) => offset === recordsPerPartition)
      return isRead && Date.now() - seen.at > restMs
    })
    const exited = once(last, 'exit')
    last.stdin?.end()
    expect(await exited).toEqual([0, null])
    // What was fetched and not processed would have been given back.
    expect(await position()).toEqual(Array.from({ length: partitions }, () => recordsPerPartition))
    const copies = new Int32Array(partitions * recordsPerPartition)
    await read(out, (_key, value) => {
      const number = Number.parseInt(value.toString('utf8', 0, 12), 10)
      copies[number] = (copies[number] as number) + 1
    })
    const totals = new Map<string, number>()
    await read(totalsTopic, (key, value) => totals.set(key, Number(value.readBigInt64BE(0))))
    return { copies, totals, positions }
  } finally {
    ;(child as ChildProcess | null)?.kill('SIGKILL')
    const topics = (await client.admin.topics()).map(({ name }) => name)
    await client.admin.deleteTopics(topics.filter((name) => name.startsWith(id)))
  }
}

const perKey = recordsPerPartition / keysPerPartition

test('kill: at_least_once, killed between its output and its positions, loses nothing and doubles what was written', async () => {
  const { copies, totals } = await killed('at_least_once', apiOffsetCommit, 3)
  const doubled = copies.filter((times) => times > 1).length
  console.log(`at_least_once: ${doubled} of ${copies.length} records are there more than once`)
  expect(copies.filter((times) => times === 0).length).toBe(0)
  expect(totals.size).toBe(partitions * keysPerPartition)
  for (const count of totals.values()) expect(count).toBeGreaterThanOrEqual(perKey)
  // The kills were where they hurt.
  expect(doubled).toBeGreaterThan(0)
}, 60_000)

test('kill: at_most_once, killed between its positions and its output, doubles nothing and loses what it had in hand', async () => {
  const { copies, totals, positions } = await killed('at_most_once', apiProduce, 3)
  const lost = [...copies.keys()].filter((number) => copies[number] === 0)
  console.log(
    `at_most_once: ${lost.length} of ${copies.length} records are lost, in ${positions.length} kills`,
  )
  expect(copies.filter((times) => times > 1).length).toBe(0)
  for (const count of totals.values()) expect(count).toBeLessThanOrEqual(perKey)
  expect(lost.length).toBeGreaterThan(0)
  // Lost is only what lies just before a position that a killed process had committed ...
  const isLost = new Set(lost)
  for (const number of lost) {
    let next = number
    while (isLost.has(next + 1) && (next + 1) % recordsPerPartition !== 0) next++
    const partition = Math.floor(number / recordsPerPartition)
    expect(positions.map((of) => partition * recordsPerPartition + (of[partition] as number))).toContain(
      next + 1,
    )
  }
  // ... and no more than a thread may have fetched and not written yet.
  const { fetchBufferBytes, partitionFetchBytes, uncommittedBytesMax } = bounds
  const inHand = fetchBufferBytes + partitions * partitionFetchBytes + 3 * uncommittedBytesMax
  expect(lost.length * valueBytes).toBeLessThanOrEqual(positions.length * inHand)
}, 60_000)
