/** Whole applications on the embedded Kafka: what is committed in the end is what the input says, whatever happens. */
import { expect, test } from 'vitest'
import { applicationId, countTopology, repartitionedTopology, throwingTopology, World } from './scenario.ts'

test('application: a windowed count, from start to close', async () => {
  await using world = await World.open()
  await world.input(500)
  const app = world.app(countTopology())
  await app.start()
  expect(app.state).toBe('running')
  await world.input(500)
  await world.settled()
  await app.close()
  expect(app.state).toBe('not-running')
})

test('application: started again, it goes on where it was', async () => {
  await using world = await World.open()
  await world.input(300)
  const first = world.app(countTopology())
  await first.start()
  await world.settled()
  await first.close()
  await world.input(300)
  const second = world.app(countTopology())
  await second.start()
  await world.settled()
})

test('application: after a crash it waits for no session, its own old membership goes at once', async () => {
  await using world = await World.open()
  await world.input(300)
  // Longer than this test may take.
  const sessionTimeoutMs = 60_000
  const first = world.app(countTopology(), { sessionTimeoutMs })
  await first.start()
  await world.settled()
  await first.close({ leaveGroup: false })
  await world.input(300)
  const second = world.app(countTopology(), { sessionTimeoutMs })
  await second.start()
  await world.settled()
})

test('application: state in memory is restored from the changelog', async () => {
  await using world = await World.open()
  await world.input(300)
  const first = world.app(countTopology(), { defaultStore: 'memory' })
  await first.start()
  await world.settled()
  await first.close()
  await world.input(300)
  let restored = 0
  const second = world.app(
    countTopology(),
    { defaultStore: 'memory' },
    {
      restore: ({ phase, records }) => {
        if (phase === 'end') restored += records
      },
    },
  )
  await second.start()
  await world.settled()
  expect(restored).toBeGreaterThan(0)
})

test('application: through a repartition topic, made as Kafka Streams makes it', async () => {
  await using world = await World.open()
  await world.input(500)
  const app = world.app(repartitionedTopology())
  await app.start()
  await world.settled('letters')
  expect(world.kafka.topics()).toMatchObject({ 'app-by-letter-repartition': 2, 'app-counts-changelog': 2 })
})

for (const guarantee of ['at_least_once', 'at_most_once'] as const) {
  test(`application: undisturbed, ${guarantee} is exact too`, async () => {
    await using world = await World.open()
    await world.input(300)
    const app = world.app(countTopology(), { guarantee, commitIntervalMs: 50 })
    await app.start()
    await world.settled()
  })
}

const faults = [
  ['addPartitionsToTxn', { error: 'COORDINATOR_NOT_AVAILABLE' }],
  ['addPartitionsToTxn', 'lose'],
  ['addPartitionsToTxn', { error: 'INVALID_PRODUCER_EPOCH' }],
  ['produce', 'lose'],
  ['produce', 'drop'],
  ['produce', { error: 'NOT_LEADER_OR_FOLLOWER' }],
  ['produce', { error: 'INVALID_PRODUCER_EPOCH' }],
  ['addOffsetsToTxn', 'lose'],
  ['addOffsetsToTxn', { error: 'CONCURRENT_TRANSACTIONS' }],
  ['txnOffsetCommit', 'lose'],
  ['txnOffsetCommit', { error: 'COORDINATOR_LOAD_IN_PROGRESS' }],
  ['txnOffsetCommit', { error: 'ILLEGAL_GENERATION' }],
  ['endTxn', 'lose'],
  ['endTxn', 'drop'],
  ['endTxn', { error: 'PRODUCER_FENCED' }],
  ['endTxn', { error: 'INVALID_TXN_STATE' }],
] as const

for (const [api, reaction] of faults) {
  const name = typeof reaction === 'string' ? reaction : reaction.error
  test(`commit: ${api} meets ${name}, each count is there once`, async () => {
    await using world = await World.open()
    await world.input(200)
    const app = world.app(countTopology())
    await app.start()
    await world.settled()
    let hits = 0
    // The input's own producer is left alone.
    using _fault = world.kafka.intercept(api, ({ clientId }) =>
      clientId === applicationId && hits++ === 0 ? reaction : undefined,
    )
    await world.input(200)
    await world.input(100)
    await world.settled()
    expect(hits).toBeGreaterThan(0)
  })
}

test('application: Kafka is away for a while, longer than a session, then everything goes on', async () => {
  await using world = await World.open()
  await world.input(200)
  const app = world.app(countTopology(), { sessionTimeoutMs: 1_000, heartbeatIntervalMs: 200 })
  await app.start()
  await world.settled()
  await world.input(200)
  await world.kafka.refuseConnections()
  world.kafka.dropConnections()
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect(app.state).not.toBe('error')
  await world.kafka.acceptConnections()
  await world.input(200)
  await world.settled('windows', 15_000)
})

test('application: a task that fails while others are being opened, it ends and does not hang', async () => {
  for (let round = 0; round < 4; round++) {
    await using world = await World.open({ events: 12, counts: 1 })
    await world.input(100, 'events', 12)
    const app = world.app(throwingTopology())
    const failed = new Promise<void>((resolve) => {
      app.onState((state) => (state === 'error' ? resolve() : undefined))
    })
    // It may fail before it has started.
    await app.start().catch(() => undefined)
    await failed
    expect(app.error?.code).toBe('PROCESSING_FAILED')
  }
})
