/** Several copies of an application on the embedded Kafka: they share the work, and what one leaves the others take. */
import { expect, test } from 'vitest'
import type { Millrace } from '../../src/runtime/application.ts'
import type { Config } from '../../src/runtime/options.ts'
import { countTopology, hold, recorder, repartitionedTopology, until, World } from './scenario.ts'

const tasksOf = (app: {
  status(): { threads: readonly { tasks: readonly { task: string; role: string; state: string }[] }[] }
}) =>
  app
    .status()
    .threads.flatMap(({ tasks }) =>
      tasks.filter(({ role, state }) => role === 'active' && state === 'running').map(({ task }) => task),
    )
    .sort()

test('copies: a second one takes half of the tasks, and gives them back when it leaves', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  await world.input(400, 'events', 4)
  const one = world.app(countTopology(), { stateDir: `${world.stateDir}/one` })
  await one.start()
  await world.settled()
  expect(tasksOf(one)).toEqual(['0_0', '0_1', '0_2', '0_3'])
  const two = world.app(countTopology(), {
    stateDir: `${world.stateDir}/two`,
    acceptableRecoveryLag: 1_000_000,
  })
  await two.start()
  await until(() => tasksOf(one).length === 2 && tasksOf(two).length === 2)
  await world.input(400, 'events', 4)
  await world.settled()
  await two.close()
  await until(() => tasksOf(one).length === 4)
  await world.input(400, 'events', 4)
  await world.settled()
})

test('copies: input goes on while three come and go, nothing is lost or doubled', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  const copies = ['one', 'two', 'three'].map((name) =>
    world.app(repartitionedTopology(), { stateDir: `${world.stateDir}/${name}` }),
  )
  await world.input(200, 'events', 4)
  for (const copy of copies) {
    await copy.start()
    await world.input(200, 'events', 4)
  }
  await world.settled('letters')
  for (const copy of copies.slice(0, 2)) {
    await world.input(200, 'events', 4)
    await copy.close()
  }
  await world.input(200, 'events', 4)
  await world.settled('letters')
})

test('copies: one that falls silent is replaced after its session, and can not commit any more', async () => {
  await using world = await World.open({ events: 2, counts: 2 })
  await world.input(200)
  const silent = world.app(countTopology(), {
    stateDir: `${world.stateDir}/silent`,
    clientId: 'silent',
    sessionTimeoutMs: 1_000,
    heartbeatIntervalMs: 200,
  })
  await silent.start()
  await world.settled()
  // Its heartbeats are lost, its work goes on: the group takes it for dead.
  using _heartbeats = world.kafka.intercept('heartbeat', ({ clientId }) =>
    clientId === 'silent' ? { delayMs: 60_000 } : undefined,
  )
  using _joins = world.kafka.intercept('joinGroup', ({ clientId }) =>
    clientId === 'silent' ? { error: 'COORDINATOR_NOT_AVAILABLE' } : undefined,
  )
  const successor = world.app(countTopology(), { stateDir: `${world.stateDir}/successor` })
  await successor.start()
  await until(() => tasksOf(successor).length === 2)
  await world.input(200)
  await world.settled()
})

/** Two copies with two of four tasks each, and input that both have counted. */
async function sharing(
  world: World,
  config: Partial<Config> = {},
): Promise<{ one: Millrace; two: Millrace }> {
  await world.input(400, 'events', 4)
  const [one, two] = ['one', 'two'].map((clientId) =>
    world.app(countTopology(), { stateDir: `${world.stateDir}/${clientId}`, clientId, ...config }),
  ) as [Millrace, Millrace]
  await one.start()
  await world.settled()
  await two.start()
  await until(() => tasksOf(one).length === 2 && tasksOf(two).length === 2)
  return { one, two }
}

test('copies: one is about to stop, it counts on until the others have heard of it', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  const { one, two } = await sharing(world)
  const heartbeats = hold(world, 'heartbeat', 'one', 'pass')
  await until(() => heartbeats.held > 0)
  const closing = two.close()
  await world.input(400, 'events', 4)
  await world.settled()
  expect(tasksOf(two)).toHaveLength(2)
  heartbeats.release()
  await closing
  await until(() => tasksOf(one).length === 4)
  await world.input(400, 'events', 4)
  await world.settled()
})

test('copies: one has given up its tasks, the others take them without waiting for a heartbeat', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  const { one, two } = await sharing(world, { sessionTimeoutMs: 30_000 })
  const joins: (string | null)[] = []
  using _joins = world.kafka.intercept('joinGroup', ({ clientId, body }) => {
    if (clientId === 'one') joins.push(body.reason)
    return undefined
  })
  // It hears that the group meets, and then no more.
  using _heartbeats = world.kafka.intercept('heartbeat', ({ clientId }) =>
    clientId === 'one' && joins.length > 0 ? { delayMs: 60_000 } : undefined,
  )
  await two.close()
  await until(() => tasksOf(one).length === 4)
  expect(joins).toEqual(['the group rebalances', 'others give up tasks'])
  await world.input(400, 'events', 4)
  await world.settled()
})

test('copies: nobody takes over, one that stops says so and stops all the same', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  const { lines, logger } = recorder()
  const { one, two } = await sharing(world, { logger })
  const heartbeats = hold(world, 'heartbeat', 'one', 'pass')
  await until(() => heartbeats.held > 0)
  await two.close()
  expect(lines.some(({ message }) => message.includes('have not taken over within 1200 ms'))).toBe(true)
  heartbeats.release()
  await until(() => tasksOf(one).length === 4)
  await world.input(400, 'events', 4)
  await world.settled()
})

test('copies: all stop at once, none waits for another to take over', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  const { lines, logger } = recorder()
  const { one, two } = await sharing(world, { logger })
  await Promise.all([one.close(), two.close()])
  expect(lines.some(({ message }) => message.includes('have not taken over'))).toBe(false)
  const next = world.app(countTopology(), { stateDir: `${world.stateDir}/three` })
  await next.start()
  await world.input(400, 'events', 4)
  await world.settled()
})

test('copies: a second one stands by for what it is to run, gets it as soon as it has caught up', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  const hooks: string[] = []
  await world.input(400, 'events', 4)
  const one = world.app(countTopology(), { stateDir: `${world.stateDir}/one`, standbyReplicas: 1 })
  await one.start()
  await world.settled()
  const two = world.app(
    countTopology(),
    { stateDir: `${world.stateDir}/two`, standbyReplicas: 1 },
    { restore: ({ phase, task }) => void (phase === 'end' && hooks.push(task)) },
  )
  await two.start()
  await until(() => tasksOf(one).length === 2 && tasksOf(two).length === 2)
  // Nothing was left to restore while nobody ran them.
  expect(hooks).toEqual([])
  await world.input(400, 'events', 4)
  await world.settled()
})
