/**
 * What an application of state format 1 left behind, all of it: the state folder of a process with every kind of store,
 * and the Kafka that it belongs to. It opens, nothing on disk is restored, and what comes next goes on from there.
 * `WRITE_FIXTURES=1` writes it anew, which a new format does under another name.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { untilWindowCloses } from '../../src/dsl/suppressed.ts'
import { session, tumbling } from '../../src/dsl/windows.ts'
import { connect } from '../../src/kafka/index.ts'
import { Millrace } from '../../src/runtime/application.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { outgoing, until } from './scenario.ts'

const fixture = fileURLToPath(new URL('fixtures/format-1-application', import.meta.url))
const text = serdes.string()
const both = { keySerde: text, valueSerde: text }
const topics = ['left', 'right', 'orders', 'customers', 'names', 'out']
/** Whatever age the fixture has by now. */
const forEver = { 'retention.ms': '-1', 'delete.retention.ms': '9000000000000000' }

/** Everything goes to `out`, under the name of what made it. */
function topology(): Topology {
  const builder = new StreamsBuilder()
  const left = builder.stream('left', both)
  const right = builder.stream('right', both)
  const counted = left.groupByKey()
  const as =
    (name: string) =>
    (value: unknown, key: unknown): [string, string] => {
      const isWindowed = typeof key === 'object' && key !== null && 'start' in key && 'key' in key
      return [isWindowed ? `${name} ${key.key} ${key.start}` : `${name} ${key}`, String(value)]
    }
  const windows = counted.windowedBy(tumbling('10s', { grace: '1d' })).count({ as: 'windows' })
  const seconds = counted.windowedBy(tumbling('1s', { grace: 0 })).count({ as: 'seconds' })
  const sessions = counted.windowedBy(session('5s', { grace: '1d' })).count({ as: 'sessions' })
  const customers = builder.table('customers', { ...both, as: 'customers' })
  const orders = builder.table('orders', { ...both, as: 'orders' })
  const pairs = { within: '10s', grace: '1d', as: 'pairs' } as const
  const names = builder.globalTable('names', { ...both, as: 'names' })
  counted.count({ as: 'totals' }).toStream().map(as('total'), both).to('out')
  windows.toStream().map(as('window'), both).to('out')
  seconds.suppress(untilWindowCloses(), { name: 'closed' }).toStream().map(as('closed'), both).to('out')
  sessions.toStream().map(as('session'), both).to('out')
  left
    .leftJoin(right, (one, other) => `${one}+${other ?? ''}`, pairs)
    .map(as('pair'), both)
    .to('out')
  orders
    .joinOnForeignKey(
      customers,
      (order) => order.slice(0, 1),
      (order, customer) => `${order} of ${customer}`,
      { as: 'named', name: 'named', valueSerde: text },
    )
    .toStream()
    .map(as('order'), both)
    .to('out')
  left
    .join(
      names,
      (_value, key) => key,
      (value, name) => `${value} ${name}`,
    )
    .map(as('name'), both)
    .to('out')
  return builder.build()
}

type Copied = { readonly kafka: EmbeddedKafka; readonly app: Millrace; readonly restored: readonly string[] }

async function open(folder: string): Promise<Copied> {
  const kafka = await EmbeddedKafka.start({ dir: join(folder, 'kafka'), autoCreateTopics: false })
  const restored: string[] = []
  const app = new Millrace(topology(), {
    applicationId: 'fixture',
    brokers: [kafka.address],
    stateDir: join(folder, 'state'),
    topicConfigs: forEver,
    logger: silentLogger,
    defaultStore: 'rocksdb',
    hooks: {
      restore: ({ phase, store, records }) => {
        if (phase === 'end' && records > 0) restored.push(store)
      },
    },
  })
  return { kafka, app, restored }
}

async function write(kafka: EmbeddedKafka, records: readonly (readonly [string, string, string, number])[]) {
  const client = connect({ brokers: [kafka.address], clientId: 'input', logger: silentLogger })
  const producer = client.producer({ deliveryTimeoutMs: 10_000, compression: 'none' })
  await producer.init()
  for (const [topic, key, value, at] of records)
    await producer.produce([outgoing(topic, 0, [[key, value, at]])])
  await producer.close()
  await client.close()
}

const said = (kafka: EmbeddedKafka, from = 0): Record<string, string> =>
  Object.fromEntries(
    kafka
      .records('out')
      .slice(from)
      .map(({ key, value }) => [String(key), String(value)]),
  )

const firstInput = [
  ['names', 'a', 'Ann', 0],
  ['customers', '1', 'Carl', 0],
  ['orders', 'o1', '1 tea', 0],
  ['right', 'a', 'r1', 1_000],
  ['left', 'a', 'l1', 2_000],
  ['left', 'a', 'l2', 3_000],
  ['left', 'b', 'l3', 3_500],
] as const

async function make(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-fixture-'))
  const first = await open(folder)
  for (const topic of topics) first.kafka.createTopic(topic, 1, forEver)
  await write(first.kafka, firstInput)
  await first.app.start()
  await until(() => {
    const now = said(first.kafka)
    return now['name a'] === 'l2 Ann' && now['order o1'] !== undefined && now['total b'] !== undefined
  })
  await first.app.close()
  await first.kafka.stop()
  // Opened once more, the engine turns its log into tables.
  const second = await open(folder)
  await second.app.start()
  await second.app.close()
  await second.kafka.stop()
  rmSync(fixture, { recursive: true, force: true })
  const left = /\/(LOG|LOCK|lock|LOG\.old.*|OPTIONS.*|IDENTITY|\d+\.log)$/
  cpSync(folder, fixture, {
    recursive: true,
    filter: (path) => path.includes('/kafka') || !left.test(path),
  })
  rmSync(folder, { recursive: true })
}

test('state: what a whole application of format 1 left opens now, and goes on where it was', async () => {
  if (process.env['WRITE_FIXTURES'] !== undefined) await make()
  const folder = mkdtempSync(join(tmpdir(), 'millrace-fixture-'))
  cpSync(fixture, folder, { recursive: true })
  const { kafka, app, restored } = await open(folder)
  try {
    const from = kafka.records('out').length
    expect(said(kafka)).toMatchObject({ 'total a': '2', 'pair a': 'l2+r1', 'order o1': '1 tea of Carl' })
    await app.start()
    // A suppression's buffer is in memory, and always read from its changelog.
    expect(restored).toEqual(['closed-store'])
    await write(kafka, [
      ['left', 'a', 'l4', 4_000],
      ['right', 'b', 'r2', 4_500],
      ['customers', '1', 'Cleo', 5_000],
    ])
    await until(() => Object.keys(said(kafka, from)).length >= 9)
    expect(said(kafka, from)).toEqual({
      'total a': '3',
      'window a 0': '3',
      'closed a 3000': '1',
      'closed b 3000': '1',
      'session a 2000': '3',
      'pair a': 'l4+r1',
      'pair b': 'l3+r2',
      'name a': 'l4 Ann',
      'order o1': '1 tea of Cleo',
    })
  } finally {
    await app.close()
    await kafka.stop()
    rmSync(folder, { recursive: true, force: true })
  }
})
