/**
 * Input comes ten times faster than it can be processed. What waits must wait in Kafka and not in memory, and nothing
 * may be lost: in the end the application is let hurry, and each key must count what was written under it.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type FetchedChunk, type KafkaClient } from '../../src/kafka/index.ts'
import type { Config } from '../../src/runtime/options.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'
import { compile } from '../chaos/compile.ts'

export type OverloadOptions = {
  readonly seconds: number
  readonly brokers: string
  readonly valueBytes?: number
  readonly config?: Partial<Config>
  readonly say?: (line: string) => void
}

export type OverloadResult = {
  readonly seconds: number
  readonly written: number
  readonly writtenBytes: number
  /** While the load lasted. */
  readonly processed: number
  readonly counted: number
  readonly wrongKeys: number
  /** Of the application's process: when its first record came, and at most while the load lasted. */
  readonly firstRssBytes: number
  readonly mostRssBytes: number
  /** At most afterwards, when it went through the rest at full speed. */
  readonly drainRssBytes: number
  readonly drainSeconds: number
}

const burnMs = 4
const recordsPerSecond = (10 * 1000) / burnMs
const tickMs = 50
const keys = 100
const partitions = 2
const drainMsMax = 600_000

export async function runOverload(options: OverloadOptions): Promise<OverloadResult> {
  const { seconds, brokers, valueBytes = 1_000, say = () => undefined } = options
  const id = `overload-${randomBytes(4).toString('hex')}`
  const input = `${id}-in`
  const output = `${id}-out`
  const stateDir = await mkdtemp(join(tmpdir(), 'millrace-overload-'))
  const compiled = await compile(['test/overload/app.ts'])
  const client = connect({ brokers: brokers.split(','), clientId: id, logger: silentLogger })
  let child: ReturnType<typeof spawn> | null = null
  try {
    const topic = (name: string) => ({ name, partitions, replicationFactor: -1, configs: {} })
    await client.admin.createTopics([topic(input), topic(output)])
    const config = { applicationId: id, brokers: brokers.split(','), stateDir, burnMs, input, output }
    const app = spawn(
      process.execPath,
      [join(compiled, 'test/overload/app.js'), JSON.stringify({ ...config, ...options.config })],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    child = app
    let ended = false
    app.on('exit', () => {
      ended = true
    })
    let rss = 0
    let processed = 0
    let first = 0
    let most = 0
    createInterface({ input: app.stdout }).on('line', (line) => {
      const [bytes, records] = line.split(' ').map(Number) as [number, number]
      rss = bytes
      processed = records
      if (first === 0 && records > 0) first = bytes
      most = Math.max(most, bytes)
    })

    const producer = client.producer({ deliveryTimeoutMs: 60_000, compression: 'none' })
    await producer.init()
    const wanted = new Map<string, number>()
    const bytes = randomBytes(valueBytes + 64 * 1024)
    let written = 0
    const startedAt = Date.now()
    for (let tick = 0; Date.now() - startedAt < seconds * 1_000; tick++) {
      const builders = Array.from({ length: partitions }, () => new BatchBuilder(8 << 20))
      const due = Math.floor(((tick + 1) * tickMs * recordsPerSecond) / 1_000)
      for (; written < due; written++) {
        const key = `key-${written % keys}`
        wanted.set(key, (wanted.get(key) ?? 0) + 1)
        const from = written % (64 * 1024)
        const keyBytes = Buffer.from(key)
        builders[(written % keys) % partitions]?.append(
          Date.now(),
          keyBytes,
          0,
          keyBytes.length,
          bytes,
          from,
          from + valueBytes,
          noHeaders,
        )
      }
      const batches = builders
        .map((builder, partition) => ({ topic: input, partition, builder }))
        .filter(({ builder }) => builder.count > 0)
      await producer.produce(batches)
      if (ended) throw new Error('the application ended under load')
      if (tick % 200 === 199) say(`${written} written, ${processed} processed, ${Math.round(rss / 1e6)} MB`)
      await new Promise((resolve) =>
        setTimeout(resolve, Math.max(0, startedAt + (tick + 1) * tickMs - Date.now())),
      )
    }
    const underLoad = { processed, firstRssBytes: first, mostRssBytes: most }
    most = 0
    const drainAt = Date.now()
    app.stdin.write('hurry\n')
    await drained(client, id, input, () => ended)
    const drainSeconds = (Date.now() - drainAt) / 1_000
    const counts = await countsOf(client, output)
    const wrongKeys = [...wanted].filter(([key, count]) => counts.get(key) !== count).length
    await producer.close()
    app.stdin.end()
    return {
      seconds,
      written,
      writtenBytes: written * valueBytes,
      ...underLoad,
      counted: [...counts.values()].reduce((sum, count) => sum + count, 0),
      wrongKeys,
      drainRssBytes: most,
      drainSeconds,
    }
  } finally {
    child?.kill('SIGKILL')
    const own = (await client.admin.topics()).map(({ name }) => name).filter((name) => name.startsWith(id))
    await client.admin.deleteTopics(own)
    await client.close()
    await rm(stateDir, { recursive: true, force: true })
    await rm(compiled, { recursive: true, force: true })
  }
}

/** Resolves when all input is committed. */
async function drained(
  client: KafkaClient,
  group: string,
  topic: string,
  ended: () => boolean,
): Promise<void> {
  const deadline = Date.now() + drainMsMax
  const all = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }))
  while (Date.now() < deadline) {
    if (ended()) throw new Error('the application ended')
    const ends = await client.admin.offsets(all, 'latest', 'read_uncommitted')
    const positions = await client.committed(group, all)
    if (ends.every(({ offset }, index) => positions[index]?.offset === offset)) return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  throw new Error(`not all was processed within ${drainMsMax / 1_000} s`)
}

/** The last committed count of each key. */
async function countsOf(client: KafkaClient, topic: string): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  const all = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }))
  const ends = await client.admin.offsets(all, 'latest', 'read_committed')
  const left = new Map(ends.map(({ partition, offset }) => [partition, offset ?? 0]))
  await new Promise<void>((resolve, reject) => {
    const fetcher = client.fetcher({
      purpose: 'input',
      isolation: 'read_committed',
      bufferBytesMax: 16 << 20,
      partitionBytesMax: 1 << 20,
      waitMs: 100,
      offsetReset: () => 'earliest',
      onChunk(chunk: FetchedChunk) {
        const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
        while (cursor.next()) {
          const { buffer, keyStart, keyEnd, valueStart } = cursor
          counts.set(buffer.toString('utf8', keyStart, keyEnd), Number(buffer.readBigInt64BE(valueStart)))
        }
        chunk.release()
        if (chunk.nextOffset >= (left.get(chunk.partition) ?? 0)) left.delete(chunk.partition)
        if (left.size === 0) void fetcher.close().then(resolve)
      },
      onEnds: () => undefined,
      onReset: () => undefined,
      onError: reject,
    })
    for (const partition of all) fetcher.add(partition, 0)
  })
  return counts
}
