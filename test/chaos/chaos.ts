/**
 * Chaos with a seed: three copies of an application under load on a real Kafka, one of them killed (-9) at random every
 * few seconds, the broker now and then. In the end everything must be as if nothing had happened: counts by their last
 * value, joins as a multiset, compared with a model of the input.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type FetchedChunk, type KafkaClient, type TopicPartition } from '../../src/kafka/index.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { partitionFor } from '../../src/wire/murmur2.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'
import { compile } from './compile.ts'
import { joinMs, windowMs } from './windows.ts'

export type ChaosOptions = {
  readonly minutes: number
  readonly seed: number
  readonly brokers: string
  /** Ends the broker as a power cut would, and brings it back. Left out, brokers are left alone. */
  readonly restartBroker?: () => Promise<void>
  readonly recordsPerSecond?: number
  readonly say?: (line: string) => void
}

export type ChaosResult = {
  readonly seed: number
  readonly records: number
  readonly kills: number
  readonly brokerRestarts: number
  readonly duplicates: number
  readonly losses: number
  readonly longestStallMs: number
}

const copies = 3
const partitions = 4
const tickMs = 100
const settleMs = 120_000

/** Small, seeded, good enough to choose victims with. */
function random(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

/** What the output must say. */
class Model {
  readonly counts = new Map<string, number>()
  readonly letters = new Map<string, number>()
  readonly joined = new Map<string, number>()
  records = 0
  readonly #left = new Map<string, { at: number; value: string }[]>()
  readonly #right = new Map<string, { at: number; value: string }[]>()

  add(topic: 'left' | 'right', key: string, value: string, at: number): void {
    this.records++
    const [mine, theirs] = topic === 'left' ? [this.#left, this.#right] : [this.#right, this.#left]
    const own = mine.get(key) ?? []
    own.push({ at, value })
    mine.set(key, own)
    const others = theirs.get(key) ?? []
    for (let index = others.length - 1; index >= 0; index--) {
      const other = others[index] as { at: number; value: string }
      if (other.at < at - 10 * joinMs) break
      if (Math.abs(other.at - at) > joinMs) continue
      bump(this.joined, `${key}:${topic === 'left' ? `${value}+${other.value}` : `${other.value}+${value}`}`)
    }
    if (topic === 'right') return
    bump(this.counts, `${key}@${Math.floor(at / windowMs) * windowMs}`)
    bump(this.letters, value.slice(0, 1))
  }
}

function bump(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1)
}

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { seed, brokers, say = () => {} } = options
  const next = random(seed)
  const applicationId = `chaos-${seed}-${Date.now()}`
  const folder = await mkdtemp(join(tmpdir(), 'millrace-chaos-'))
  const compiled = await compile(['test/chaos/app.ts'])
  const client = connect({ brokers: brokers.split(','), clientId: 'chaos', logger: silentLogger })
  const topics = { left: partitions, right: partitions, counts: 2, joined: 2, letters: 1 }
  await client.admin.deleteTopics(Object.keys(topics)).catch(() => undefined)
  await client.admin.createTopics(
    Object.entries(topics).map(([name, count]) => ({
      name,
      partitions: count,
      replicationFactor: -1,
      configs: { 'retention.ms': '-1' },
    })),
  )
  const model = new Model()
  // Of today: a windowed store's changelog has a retention, and the broker deletes by the records' own times.
  const firstTimestamp = Date.now()
  const processes: (ChildProcess | null)[] = Array.from({ length: copies }, () => null)
  let kills = 0
  let brokerRestarts = 0
  let over = false

  const start = (index: number) => {
    const log = createWriteStream(join(folder, `copy-${index}.log`), { flags: 'a' })
    const args = [
      join(compiled, 'test/chaos/app.js'),
      brokers,
      applicationId,
      join(folder, `state-${index}`),
      `copy-${index}`,
    ]
    // Every other seed has static members.
    if (seed % 2 === 0) args.push(`copy-${index}`)
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'pipe'] })
    child.stdout.pipe(log)
    child.stderr.pipe(log)
    child.on('exit', (code, signal) => {
      if (over || processes[index] !== child) return
      say(`copy ${index} ended (${signal ?? code})`)
      setTimeout(
        () => {
          if (!over) start(index)
        },
        200 + next() * 1_300,
      )
    })
    processes[index] = child
  }

  try {
    const stalls = watchStalls(client, applicationId)
    for (let index = 0; index < copies; index++) start(index)
    const end = Date.now() + options.minutes * 60_000
    const producer = client.producer({ deliveryTimeoutMs: 120_000, compression: 'none' })
    await producer.init()
    const perTick = Math.ceil(((options.recordsPerSecond ?? 1_000) * tickMs) / 1_000)
    let number = 0
    let killAt = Date.now() + 5_000
    let restartAt = Date.now() + 20_000
    let restarting: Promise<void> | null = null
    while (Date.now() < end) {
      const batches = new Map<string, { topic: string; partition: number; builder: BatchBuilder }>()
      for (let index = 0; index < perTick; index++) {
        const topic = next() < 0.7 ? 'left' : 'right'
        const key = `key-${Math.floor(next() * 200)}`
        const value = `${String.fromCharCode(97 + Math.floor(next() * 20))}${number}`
        const at = firstTimestamp + number + Math.floor(next() * 200)
        number++
        model.add(topic, key, value, at)
        const bytes = Buffer.from(key + value)
        const partition = partitionFor(bytes, 0, key.length, partitions)
        const id = `${topic} ${partition}`
        const batch = batches.get(id) ?? { topic, partition, builder: new BatchBuilder() }
        batches.set(id, batch)
        batch.builder.append(at, bytes, 0, key.length, bytes, key.length, bytes.length, noHeaders)
      }
      await producer.produce([...batches.values()])
      if (Date.now() > killAt) {
        const victim = Math.floor(next() * copies)
        const child = processes[victim]
        if (child?.pid !== undefined && child.exitCode === null) {
          child.kill('SIGKILL')
          kills++
        }
        killAt = Date.now() + 2_000 + next() * 4_000
      }
      if (options.restartBroker !== undefined && Date.now() > restartAt && restarting === null) {
        brokerRestarts++
        restarting = options.restartBroker().finally(() => {
          restarting = null
        })
        restartAt = Date.now() + 30_000 + next() * 20_000
      }
      await new Promise((resolve) => setTimeout(resolve, tickMs))
    }
    await restarting
    await producer.close()
    say(`input ends after ${model.records} records and ${kills} kills`)
    await drained(client, applicationId)
    over = true
    const longestStallMs = await stalls()
    const verdict = await compare(client, applicationId, model, say)
    return { seed, records: model.records, kills, brokerRestarts, ...verdict, longestStallMs }
  } finally {
    over = true
    await Promise.all(
      processes.map(
        (child) =>
          new Promise<void>((resolve) => {
            if (child === null || child.exitCode !== null || child.signalCode !== null) return resolve()
            child.once('exit', () => resolve())
            child.stdin?.end()
            setTimeout(() => child.kill('SIGKILL'), 10_000).unref()
          }),
      ),
    )
    await client.close()
    await rm(compiled, { recursive: true, force: true })
    if (process.env['KEEP'] === undefined) await rm(folder, { recursive: true, force: true })
    else say(`kept ${folder}`)
  }
}

const inputs: readonly TopicPartition[] = ['left', 'right'].flatMap((topic) =>
  Array.from({ length: partitions }, (_, partition) => ({ topic, partition })),
)

/** The longest time that some input partition had records to process and nothing of it was committed. */
function watchStalls(client: KafkaClient, group: string): () => Promise<number> {
  let longest = 0
  let stopped = false
  const since = new Map<string, { offset: number; at: number }>()
  const run = async () => {
    while (!stopped) {
      try {
        const [committed, ends] = await Promise.all([
          client.admin.groupOffsets(group),
          client.admin.offsets(inputs, 'latest', 'read_committed'),
        ])
        const now = Date.now()
        for (const end of ends) {
          const key = `${end.topic} ${end.partition}`
          const offset = committed.find(
            (one) => one.topic === end.topic && one.partition === end.partition,
          )?.offset
          // Until the first commit of all the application is starting, not stalled.
          if (offset === undefined || offset === null) continue
          const before = since.get(key)
          if (before === undefined || before.offset !== offset || offset >= (end.offset ?? 0))
            since.set(key, { offset, at: now })
          else longest = Math.max(longest, now - before.at)
        }
      } catch {
        // The broker is away; the stall goes on.
      }
      await new Promise((resolve) => setTimeout(resolve, tickMs))
    }
  }
  const running = run()
  return async () => {
    stopped = true
    await running
    return longest
  }
}

/** Waits until all input is committed and the output has come to rest. */
async function drained(client: KafkaClient, group: string): Promise<void> {
  const deadline = Date.now() + settleMs
  const outputs: TopicPartition[] = [
    ...[0, 1].flatMap((partition) => ['counts', 'joined'].map((topic) => ({ topic, partition }))),
    { topic: 'letters', partition: 0 },
  ]
  let last = ''
  let since = Date.now()
  while (Date.now() < deadline) {
    const [committed, ends, out] = await Promise.all([
      client.admin.groupOffsets(group),
      client.admin.offsets(inputs, 'latest', 'read_uncommitted'),
      client.admin.offsets(outputs, 'latest', 'read_committed'),
    ])
    const behind = ends.filter(
      (end) =>
        (committed.find((one) => one.topic === end.topic && one.partition === end.partition)?.offset ?? 0) <
        (end.offset ?? 0),
    )
    const now = JSON.stringify([behind.length, out.map(({ offset }) => offset)])
    if (behind.length > 0 || now !== last) since = Date.now()
    last = now
    if (Date.now() - since > 3_000) return
    await new Promise((resolve) => setTimeout(resolve, tickMs))
  }
  throw new Error(`the input was not processed within ${settleMs} ms: ${last}`)
}

async function compare(
  client: KafkaClient,
  applicationId: string,
  model: Model,
  say: (line: string) => void,
): Promise<{ duplicates: number; losses: number }> {
  const counts = new Map<string, number>()
  const letters = new Map<string, number>()
  const joined = new Map<string, number>()
  await readAll(client, 'counts', 2, (key, value) => counts.set(key, Number(value.readBigInt64BE(0))))
  await readAll(client, 'letters', 1, (key, value) => letters.set(key, Number(value.readBigInt64BE(0))))
  await readAll(client, 'joined', 2, (key, value) => bump(joined, `${key}:${value.toString()}`))
  let duplicates = 0
  let losses = 0
  const wrong = new Set<string>()
  for (const [what, found, wanted] of [
    ['counts', counts, model.counts],
    ['letters', letters, model.letters],
    ['joined', joined, model.joined],
  ] as const) {
    for (const key of new Set([...found.keys(), ...wanted.keys()])) {
      const difference = (found.get(key) ?? 0) - (wanted.get(key) ?? 0)
      if (difference === 0) continue
      if (what === 'counts') wrong.add(key)
      say(`${what}: ${key} is ${found.get(key)}, not ${wanted.get(key)}`)
      if (difference > 0) duplicates += difference
      else losses -= difference
    }
  }
  if (wrong.size > 0) await explain(client, applicationId, [...wrong].slice(0, 3), say)
  return { duplicates, losses }
}

/** What was written of keys that came out wrong, offset by offset: the first thing one wants to know. */
async function explain(
  client: KafkaClient,
  applicationId: string,
  keys: readonly string[],
  say: (line: string) => void,
): Promise<void> {
  await readAll(client, 'counts', 2, (key, value, at) => {
    if (keys.includes(key)) say(`output ${key} = ${value.readBigInt64BE(0)} at ${at}`)
  })
  await readAll(client, `${applicationId}-counts-changelog`, partitions, (_key, value, at, bytes) => {
    const key = `${bytes.toString('utf8', 0, bytes.length - 12)}@${bytes.readBigInt64BE(bytes.length - 12)}`
    if (keys.includes(key))
      say(`changelog ${key} = ${value.length === 8 ? value.readBigInt64BE(0) : 'gone'} at ${at}`)
  })
}

/** Every committed record of a topic. */
async function readAll(
  client: KafkaClient,
  topic: string,
  count: number,
  each: (key: string, value: Buffer, at: string, bytes: Buffer) => void,
): Promise<void> {
  const all = Array.from({ length: count }, (_, partition) => ({ topic, partition }))
  const ends = await client.admin.offsets(all, 'latest', 'read_committed')
  const left = new Map(
    ends.filter(({ offset }) => (offset ?? 0) > 0).map((end) => [end.partition, end.offset as number]),
  )
  if (left.size === 0) return
  await new Promise<void>((resolve, reject) => {
    const onChunk = (chunk: FetchedChunk) => {
      const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
      while (cursor.next()) {
        each(
          cursor.buffer.toString('utf8', cursor.keyStart, cursor.keyEnd),
          Buffer.from(cursor.buffer.subarray(cursor.valueStart, cursor.valueEnd)),
          `${chunk.partition}:${cursor.offset}`,
          Buffer.from(cursor.buffer.subarray(cursor.keyStart, cursor.keyEnd)),
        )
      }
      if (chunk.nextOffset >= (left.get(chunk.partition) ?? 0)) left.delete(chunk.partition)
      chunk.release()
      if (left.size === 0) void fetcher.close().then(resolve)
    }
    const fetcher = client.fetcher({
      purpose: 'input',
      isolation: 'read_committed',
      bufferBytesMax: 64 << 20,
      partitionBytesMax: 1 << 20,
      waitMs: 100,
      offsetReset: () => 'earliest',
      onChunk,
      onEnds: () => {},
      onReset: () => {},
      onError: reject,
    })
    for (const partition of left.keys()) fetcher.add({ topic, partition }, 0)
  })
}
