/** What a start checks and says before it works, and what the status knows afterwards. */
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { type Logger, silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import { connect } from '../../src/kafka/index.ts'
import { Millrace } from '../../src/runtime/application.ts'
import type { Hooks } from '../../src/runtime/hooks.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { countTopology, World } from './scenario.ts'

const text = serdes.string()

function named(as?: string): StreamsBuilder {
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .count(as === undefined ? {} : { as })
  return builder
}

test('start: optimize with a topology that was built without it is refused with the remedy', async () => {
  const config = { applicationId: 'app', brokers: ['127.0.0.1:1'], optimize: true, logger: silentLogger }
  const app = new Millrace(named('counts').build(), config)
  await expect(app.start()).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(/^optimize: .*builder\.build\(\{ optimize: true \}\)/),
  })
  expect(app.state).toBe('error')
  expect(named('counts').build({ optimize: true }).optimized).toBe(true)
  expect(named('counts').build({ optimize: ['merge-repartitions'] }).optimized).toBe(true)
  expect(named('counts').build({ optimize: [] }).optimized).toBe(false)
})

test('start: a topology that reads nothing is refused, and does not wait for Kafka', async () => {
  const config = { applicationId: 'app', brokers: ['127.0.0.1:1'], logger: silentLogger }
  await expect(new Millrace(new StreamsBuilder().build(), config).start()).rejects.toMatchObject({
    code: 'TOPOLOGY_INVALID',
    message: expect.stringContaining('reads no topic'),
  })
})

test('start: generated names of state are warned of once, given ones are not', async () => {
  await using world = await World.open({ events: 2 })
  const warnings: string[] = []
  const logger: Logger = { ...silentLogger, child: () => logger, warn: (message) => warnings.push(message) }
  await world.app(named().build(), { logger }).start()
  expect(warnings).toEqual([
    expect.stringMatching(/^generated names .*: KSTREAM-AGGREGATE-STATE-STORE-0000000001; .*requireNames/),
  ])
  await world.app(named('counts').build(), { logger, applicationId: 'other' }).start()
  expect(warnings.length).toBe(1)
})

test('start: event times older than a window’s changelog keeps are warned of, once for each store', async () => {
  const windows = (logging?: Readonly<Record<string, string>>) => {
    const builder = new StreamsBuilder()
    builder
      .stream('events', { keySerde: text, valueSerde: text })
      .groupByKey()
      .windowedBy(tumbling('10s', { grace: '1d' }))
      .count({ as: 'counts', ...(logging === undefined ? {} : { logging }) })
    return builder.build()
  }
  await using world = await World.open({ events: 2 })
  const warnings: string[] = []
  const logger: Logger = { ...silentLogger, child: () => logger, warn: (message) => warnings.push(message) }
  const until = async (app: Millrace, group: string) => {
    await app.start()
    const done = () =>
      [0, 1].every((partition) => (world.kafka.committedOffset(group, 'events', partition) ?? 0) >= 60)
    while (!done()) await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await world.input(140)
  const app = world.app(windows(), { logger })
  await until(app, 'app')
  await world.input(140)
  while (warnings.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  // The clock of these records began in 1970.
  expect(warnings).toEqual([
    expect.stringMatching(
      /^store counts: its records of 1970-01-01T\S+ are older than app-counts-changelog keeps any \(retention\.ms=172810000\).*retention\.ms to -1/,
    ),
  ])
  await app.close()
  await until(world.app(windows({ 'retention.ms': '-1' }), { logger, applicationId: 'kept' }), 'kept')
  expect(warnings.length).toBe(1)
})

test('input: what an open transaction of somebody else holds back is told, and that it is gone', async () => {
  await using world = await World.open({ events: 2, counts: 2 })
  const held: number[] = []
  const client = connect({ brokers: [world.kafka.address], clientId: 'other', logger: silentLogger })
  const producer = client.producer({
    transactionalId: 'other',
    deliveryTimeoutMs: 10_000,
    compression: 'none',
  })
  try {
    await producer.init()
    const builder = new BatchBuilder()
    const bytes = Buffer.from('kv')
    for (let record = 0; record < 5; record++) builder.append(1, bytes, 0, 1, bytes, 1, 2, noHeaders)
    await producer.produce([{ topic: 'events', partition: 1, builder }])
    const hooks: Hooks = {
      held: ({ topic, partition, records }) => {
        if (topic === 'events' && partition === 1) held.push(records)
      },
    }
    await world.app(countTopology(), {}, hooks).start()
    while (held.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
    await producer.end('abort')
    while (held.at(-1) !== 0) await new Promise((resolve) => setTimeout(resolve, 10))
    expect(held).toEqual([5, 0])
  } finally {
    await producer.close()
    await client.close()
  }
})

test('status: a store’s end is where its changelog ends, before and after a restart', async () => {
  await using world = await World.open({ events: 2, counts: 2 })
  await world.input(200)
  const app = world.app(countTopology())
  await app.start()
  await world.settled()
  const ends = () =>
    [0, 1].map(
      (partition) =>
        Math.max(
          ...world.kafka
            .records('app-counts-changelog')
            .filter((record) => record.partition === partition)
            .map(({ offset }) => offset),
        ) + 1,
    )
  const told = (one: Millrace) =>
    one
      .status()
      .threads.flatMap(({ tasks }) => tasks)
      .sort((a, b) => (a.task < b.task ? -1 : 1))
      .map(({ stores }) => stores.map(({ store, endOffset }) => [store, endOffset]))
  // What Kafka shows as committed the application hears of a moment later.
  const wanted = () => JSON.stringify(ends().map((end) => [['counts', end]]))
  await expect.poll(() => JSON.stringify(told(app))).toBe(wanted())
  await app.close()
  const again = world.app(countTopology())
  await again.start()
  const known = told(again).map(([store]) => store?.[1] ?? null)
  // A restart that finds only a marker after its state has read over it.
  for (const [partition, end] of ends().entries()) {
    expect(known[partition]).toBeGreaterThanOrEqual(end)
    expect(known[partition]).toBeLessThanOrEqual(end + 1)
  }
})
