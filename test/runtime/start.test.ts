/** What a start checks and says before it works, and what the status knows afterwards. */
import { expect, test } from 'vitest'
import { type Logger, silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { Millrace } from '../../src/runtime/application.ts'
import { serdes } from '../../src/serde/serdes.ts'
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
  expect(told(app)).toEqual(ends().map((end) => [['counts', end]]))
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
