/** Closed at any moment of its start: it ends soon, says nothing that would alarm anybody, and can be started again. */
import { expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { countTopology, type Line, outgoing, recorder, until, World } from './scenario.ts'

const loud = (lines: readonly Line[]) =>
  lines
    .filter(({ level }) => level === 'warn' || level === 'error')
    .map(({ message }) => message)
    .filter((message) => !message.includes('retention'))

const requests = [
  'metadata',
  'findCoordinator',
  'initProducerId',
  'joinGroup',
  'syncGroup',
  'createTopics',
  'describeConfigs',
  'offsetFetch',
  'listOffsets',
  'fetch',
  'addPartitionsToTxn',
  'produce',
  'txnOffsetCommit',
  'endTxn',
] as const

const withoutTransactions = ['joinGroup', 'offsetFetch', 'produce', 'offsetCommit'] as const

for (const guarantee of ['exactly_once', 'at_least_once'] as const) {
  for (const request of guarantee === 'exactly_once' ? requests : withoutTransactions) {
    test(`close: under ${guarantee}, while ${request} is under way, it ends quietly and what follows is exact`, async () => {
      await using world = await World.open()
      await world.input(100)
      const { lines, logger } = recorder()
      const app = world.app(countTopology(), { guarantee, logger, clientId: 'closing' })
      let seen = 0
      const held = world.kafka.intercept(request, ({ clientId }) => {
        if (clientId !== 'closing') return undefined
        seen++
        return { delayMs: 200 }
      })
      const started = app.start()
      await until(() => seen > 0)
      const began = Date.now()
      await app.close()
      expect(Date.now() - began).toBeLessThan(3_000)
      await started
      held.remove()
      expect(app.state).toBe('not-running')
      expect(loud(lines)).toEqual([])
      const next = world.app(countTopology(), { guarantee })
      await next.start()
      await world.input(20)
      await world.settled()
    })
  }
}

test('close: called at once after start, nothing of it goes on', async () => {
  await using world = await World.open()
  const app = world.app(countTopology(), { clientId: 'closing' })
  const started = app.start()
  await app.close()
  await started
  expect(app.state).toBe('not-running')
  let seen = 0
  using _seen = world.kafka.intercept('metadata', ({ clientId }) => {
    if (clientId === 'closing') seen++
    return undefined
  })
  const next = world.app(countTopology())
  await next.start()
  expect(seen).toBe(0)
})

for (const request of ['metadata', 'listOffsets', 'fetch'] as const) {
  test(`close: while a global table is loaded and ${request} is under way, start and close both end, and its state is free`, async () => {
    await using world = await World.open({ events: 1, counts: 1, names: 1 })
    const producer = await world.stranger()
    await producer.produce([outgoing('names', 0, [['a', 'Ann']])])
    await producer.close()
    const text = serdes.string()
    const topology = () => {
      const builder = new StreamsBuilder()
      const names = builder.globalTable('names', { keySerde: text, valueSerde: text, as: 'names' })
      builder
        .stream('events', { keySerde: text, valueSerde: text })
        .join(
          names,
          (_value, key) => key,
          (value, name) => `${value} ${name}`,
        )
        .to('counts', { valueSerde: text })
      return builder.build()
    }
    const { lines, logger } = recorder()
    const app = world.app(topology(), { logger, clientId: 'closing' })
    let seen = 0
    const held = world.kafka.intercept(request, ({ clientId }) => {
      // The first metadata only says that Kafka is there.
      if (clientId !== 'closing' || (request === 'metadata' && seen++ === 0)) return undefined
      seen++
      return { delayMs: 200 }
    })
    const started = app.start()
    await until(() => seen > (request === 'metadata' ? 1 : 0))
    await app.close()
    await started
    held.remove()
    expect(loud(lines)).toEqual([])
    const next = world.app(topology())
    await next.start()
  })
}
