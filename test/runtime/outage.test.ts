/** Kafka is away: when an application starts, while it runs, and when it is closed meanwhile. */
import { expect, test } from 'vitest'
import { countTopology, type Line, recorder, until, World } from './scenario.ts'

/** Warnings and errors, but for the one about the records' times, which are of 1970. */
const loud = (lines: readonly Line[]) =>
  lines
    .filter(({ level }) => level === 'warn' || level === 'error')
    .map(({ message }) => message)
    .filter((message) => !message.includes('retention'))

test('outage: started while Kafka is away, it says so once, waits, and runs when it is back', async () => {
  await using world = await World.open()
  await world.input(100)
  await world.kafka.refuseConnections()
  world.kafka.dropConnections()
  const { lines, logger } = recorder()
  const app = world.app(countTopology(), { logger })
  const started = app.start()
  await until(() => loud(lines).length > 0)
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(loud(lines)).toEqual([expect.stringMatching(/^no Kafka broker can be reached: .* trying again/)])
  await world.kafka.acceptConnections()
  await started
  await world.settled()
  expect(lines.map(({ message }) => message)).toContainEqual(
    expect.stringMatching(/is reached, after \d+ ms/),
  )
  expect(loud(lines)).toHaveLength(1)
})

test('outage: Kafka stays away, the start ends with the reason when its time is over', async () => {
  await using world = await World.open()
  await world.kafka.refuseConnections()
  world.kafka.dropConnections()
  const app = world.app(countTopology(), { unreachableTimeoutMs: 500 })
  const began = Date.now()
  await expect(app.start()).rejects.toMatchObject({ code: 'KAFKA_UNREACHABLE' })
  expect(Date.now() - began).toBeLessThan(3_000)
  expect(app.state).toBe('error')
  await world.kafka.acceptConnections()
})

test('outage: closed while it waits for Kafka, it ends at once and quietly', async () => {
  await using world = await World.open()
  await world.kafka.refuseConnections()
  world.kafka.dropConnections()
  const { lines, logger } = recorder()
  const app = world.app(countTopology(), { logger })
  const started = app.start()
  await until(() => loud(lines).length > 0)
  await app.close()
  await started
  expect(app.state).toBe('not-running')
  expect(loud(lines)).toHaveLength(1)
  await world.kafka.acceptConnections()
})

/** An application whose heartbeats went without an answer for a session, and the member that it was before. */
async function silenced(world: World, heartbeats: 'lose' | 'drop') {
  await world.input(100)
  const { lines, logger } = recorder()
  const app = world.app(countTopology(), { logger, sessionTimeoutMs: 1_000, heartbeatIntervalMs: 100 })
  await app.start()
  await world.settled()
  const before = app.status().member
  const silence = world.kafka.intercept('heartbeat', () => heartbeats)
  await until(() => loud(lines).some((message) => message.includes('has not answered for a session')))
  silence.remove()
  return { app, lines, before }
}

test('outage: the group is silent for longer than a session and has not given up the copy, no task moves', async () => {
  await using world = await World.open()
  // The heartbeats arrive, so the session lasts; the answers are lost.
  const { app, lines, before } = await silenced(world, 'lose')
  await world.input(100)
  await world.settled()
  expect(app.status().member).toEqual(before)
  expect(loud(lines)).toHaveLength(1)
})

test('outage: the group has given up the copy meanwhile, it begins anew', async () => {
  await using world = await World.open()
  const { app, lines, before } = await silenced(world, 'drop')
  await until(() => loud(lines).some((message) => message.includes('goes on without this member')))
  await world.input(100)
  await world.settled()
  expect(app.status().member?.memberId).not.toBe(before?.memberId)
})
