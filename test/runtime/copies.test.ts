/** Several copies of an application on the embedded Kafka: they share the work, and what one leaves the others take. */
import { expect, test } from 'vitest'
import { countTopology, repartitionedTopology, until, World } from './scenario.ts'

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
