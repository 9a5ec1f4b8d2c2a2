/**
 * One topology, three homes: what the test driver gives, an application gives on a Kafka, record for record. Caches and
 * throttles are off, each topic has one partition, and the input is there before the application starts.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { hopping, session, tumbling } from '../../src/dsl/windows.ts'
import { connect, type FetchedChunk, type KafkaClient } from '../../src/kafka/index.ts'
import { Millrace } from '../../src/runtime/application.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { TopologyTestDriver } from '../../src/testing/topology-test-driver.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'

const text = serdes.string()
const texts = { keySerde: text, valueSerde: text }
const records = 300
const seed = 20261121

/** Written to `${prefix}-out`; input is `${prefix}-left` and `${prefix}-right`. */
type Make = (prefix: string) => Topology

const topologies: { readonly [name: string]: Make } = {
  'a windowed count': (prefix) => {
    const builder = new StreamsBuilder()
    builder
      .stream(`${prefix}-left`, texts)
      .groupByKey()
      .windowedBy(tumbling('1s', { grace: '300ms' }))
      .count({ as: 'counts' })
      .toStream((_count, windowed) => `${windowed.key}@${windowed.start}`, { keySerde: text })
      .mapValues(String, { valueSerde: text })
      .to(`${prefix}-out`)
    return builder.build()
  },
  'hopping windows, closed ones only': (prefix) => {
    const builder = new StreamsBuilder()
    builder
      .stream(`${prefix}-left`, texts)
      .groupByKey()
      .windowedBy(hopping('1s', { advance: '500ms', grace: '200ms' }))
      .emitStrategy('on-close')
      .count({ as: 'counts' })
      .toStream((_count, windowed) => `${windowed.key}@${windowed.start}`, { keySerde: text })
      .mapValues(String, { valueSerde: text })
      .to(`${prefix}-out`)
    return builder.build()
  },
  sessions: (prefix) => {
    const builder = new StreamsBuilder()
    builder
      .stream(`${prefix}-left`, texts)
      .groupByKey()
      .windowedBy(session('200ms', { grace: '1s' }))
      .count({ as: 'counts' })
      .toStream((_count, windowed) => `${windowed.key}@${windowed.start}-${windowed.end}`, { keySerde: text })
      .mapValues(String, { valueSerde: text })
      .to(`${prefix}-out`)
    return builder.build()
  },
  'an outer stream-stream join': (prefix) => {
    const builder = new StreamsBuilder()
    const left = builder.stream(`${prefix}-left`, texts)
    const right = builder.stream(`${prefix}-right`, texts)
    left
      .outerJoin(right, (one, other) => `${one}+${other}`, { within: '100ms', grace: '50ms', as: 'join' })
      .to(`${prefix}-out`, { valueSerde: text })
    return builder.build()
  },
  'a stream joined with a table': (prefix) => {
    const builder = new StreamsBuilder()
    const table = builder.table(`${prefix}-right`, { ...texts, as: 'table' })
    builder
      .stream(`${prefix}-left`, texts)
      .leftJoin(table, (one, other) => `${one}+${other}`)
      .to(`${prefix}-out`, { valueSerde: text })
    return builder.build()
  },
  'a table grouped anew': (prefix) => {
    const builder = new StreamsBuilder()
    builder
      .table(`${prefix}-left`, { ...texts, as: 'table' })
      .groupBy((value, key) => [value.slice(0, 1), key] as const, {
        keySerde: text,
        valueSerde: text,
        name: 'by-letter',
      })
      .count({ as: 'counts' })
      .toStream()
      .mapValues(String, { valueSerde: text })
      .to(`${prefix}-out`)
    return builder.build()
  },
}

type Row = readonly [key: string | null, value: string | null, timestamp: number]
type Input = readonly {
  readonly topic: 'left' | 'right'
  readonly key: string
  readonly value: string
  readonly at: number
}[]

/** Times mostly grow, no two are the same. */
function input(): Input {
  let state = seed
  const next = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    return Math.floor((state / 0x80000000) * below)
  }
  return Array.from({ length: records }, (_, index) => ({
    topic: next(3) === 0 ? ('right' as const) : ('left' as const),
    key: `k${next(5)}`,
    value: `${String.fromCharCode(97 + next(4))}${index}`,
    at: 1_000_000 + index * 20 + 1,
  }))
}

async function driven(topology: Topology, prefix: string): Promise<Row[]> {
  const driver = await TopologyTestDriver.start(topology)
  for (const { topic, key, value, at } of input()) {
    const name = `${prefix}-${topic}`
    if (!readsTopic(topology, name)) continue
    await driver.input<string, string>(name).pipe(key, value, { timestamp: at })
  }
  const rows = await driver.output<string, string>(`${prefix}-out`, { key: text, value: text }).readAll()
  await driver.close()
  return rows.map(({ key, value, timestamp }) => [key, value, timestamp])
}

function readsTopic(topology: Topology, topic: string): boolean {
  return [...topology.graph.nodes.values()].some(
    (node) => node.kind === 'source' && node.topics.includes(topic),
  )
}

async function run(
  client: KafkaClient,
  brokers: string,
  topology: Topology,
  prefix: string,
  expected: number,
): Promise<Row[]> {
  await client.admin.createTopics(
    ['left', 'right', 'out'].map((name) => ({
      name: `${prefix}-${name}`,
      partitions: 1,
      replicationFactor: 1,
      configs: { 'retention.ms': '-1' },
    })),
  )
  const producer = client.producer({ deliveryTimeoutMs: 30_000, compression: 'none' })
  await producer.init()
  for (const side of ['left', 'right'] as const) {
    const builder = new BatchBuilder()
    for (const { topic, key, value, at } of input()) {
      if (topic !== side) continue
      const bytes = Buffer.from(key + value)
      builder.append(at, bytes, 0, key.length, bytes, key.length, bytes.length, noHeaders)
    }
    await producer.produce([{ topic: `${prefix}-${side}`, partition: 0, builder }])
  }
  await producer.close()
  const stateDir = await mkdtemp(join(tmpdir(), 'millrace-same-'))
  const app = new Millrace(topology, {
    applicationId: prefix,
    brokers: [brokers],
    stateDir,
    cacheMaxBytes: 0,
    emitIntervalMs: 0,
    logger: silentLogger,
    // Old event times: the windowed changelog is not to be deleted under the test.
    topicConfigs: { 'retention.ms': '-1' },
  })
  try {
    await app.start()
    return await read(client, `${prefix}-out`, expected)
  } finally {
    await app.close()
    await rm(stateDir, { recursive: true, force: true })
  }
}

/** The first `count` committed records, and a moment for one too many. */
function read(client: KafkaClient, topic: string, count: number): Promise<Row[]> {
  const rows: Row[] = []
  return new Promise((resolve, reject) => {
    let timer = setTimeout(() => done(), 15_000)
    const done = () => void fetcher.close().then(() => resolve(rows))
    const onChunk = (chunk: FetchedChunk) => {
      const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
      while (cursor.next()) {
        const { buffer, keyStart, keyEnd, valueStart, valueEnd } = cursor
        rows.push([
          keyStart < 0 ? null : buffer.toString('utf8', keyStart, keyEnd),
          valueStart < 0 ? null : buffer.toString('utf8', valueStart, valueEnd),
          cursor.timestamp,
        ])
      }
      chunk.release()
      if (rows.length < count) return
      clearTimeout(timer)
      timer = setTimeout(done, 300)
    }
    const fetcher = client.fetcher({
      purpose: 'input',
      isolation: 'read_committed',
      bufferBytesMax: 16 << 20,
      partitionBytesMax: 1 << 20,
      waitMs: 50,
      offsetReset: () => 'earliest',
      onChunk,
      onEnds: () => {},
      onReset: () => {},
      onError: reject,
    })
    fetcher.add({ topic, partition: 0 }, 0)
  })
}

export function sameOutput(home: string, brokers: () => string): void {
  for (const [name, make] of Object.entries(topologies)) {
    test(`${home}: ${name}, record for record what the test driver gives`, async () => {
      const prefix = `same-${name.replace(/\W+/g, '-')}-${Date.now()}`
      const expected = await driven(make(prefix), prefix)
      expect(expected.length).toBeGreaterThan(20)
      const client = connect({ brokers: [brokers()], clientId: 'same', logger: silentLogger })
      try {
        expect(await run(client, brokers(), make(prefix), prefix, expected.length)).toEqual(expected)
      } finally {
        await client.close()
      }
    }, 60_000)
  }
}
