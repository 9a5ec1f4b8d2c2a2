/** Reset: first it says what it would do, then it does, and only while nobody runs. */
import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { type ResetTo, resetApplication } from '../../src/runtime/reset.ts'
import { applicationId, repartitionedTopology, World } from './scenario.ts'

const config = (world: World) => ({
  applicationId,
  brokers: [world.kafka.address],
  stateDir: world.stateDir,
})

test('reset: a dry run says all and does nothing, the real one starts the application over', async () => {
  await using world = await World.open()
  await world.input(100)
  const first = world.app(repartitionedTopology())
  await first.start()
  await world.settled('letters')
  const refused = resetApplication(repartitionedTopology(), config(world), { dryRun: false })
  await expect(refused).rejects.toMatchObject({
    code: 'RESET_REFUSED',
    message: expect.stringContaining('1 running copy'),
  })
  await first.close()

  const plan = await resetApplication(repartitionedTopology(), config(world))
  expect(plan.done).toBe(false)
  expect(plan.offsets.map(({ topic, partition, to }) => [topic, partition, to])).toEqual([
    ['events', 0, 0],
    ['events', 1, 0],
  ])
  expect(plan.offsets.reduce((sum, { from }) => sum + (from ?? 0), 0)).toBe(100)
  expect(plan.deletedTopics).toEqual([
    'app-by-letter-repartition',
    'app-counts-changelog',
    'app-millrace-topology',
  ])
  expect(plan.deletedTasks.length).toBeGreaterThan(0)
  expect(await resetApplication(repartitionedTopology(), config(world))).toEqual(plan)

  expect(await resetApplication(repartitionedTopology(), config(world), { dryRun: false })).toEqual({
    ...plan,
    done: true,
  })
  const left = await readdir(`${world.stateDir}/${applicationId}`)
  expect(left.filter((name) => /^\d+_\d+$/.test(name))).toEqual([])
  // All of it is counted again, from nothing: the same counts come out, and no doubled one.
  const before = world.kafka.records('counts').length
  const again = world.app(repartitionedTopology())
  await again.start()
  await world.input(10)
  await world.settled('letters')
  expect(world.kafka.records('counts').length).toBeGreaterThan(before)
})

test.each<[string, ResetTo, number]>([
  ['latest', 'latest', 50],
  ['an offset', { offset: 20 }, 20],
  ['an offset beyond the end, the end', { offset: 1_000 }, 50],
  ['a shift back', { shift: -5 }, 45],
  ['a datetime', { datetime: new Date(1_000_000 + 30 * 500) }, 30],
  ['a datetime after all, the end', { datetime: '2030-01-01T00:00:00Z' }, 50],
])('reset: to %s', async (_name, to, expected) => {
  await using world = await World.open({ events: 1, counts: 1 })
  await world.input(50, 'events', 1)
  const app = world.app(repartitionedTopology())
  await app.start()
  await world.settled('letters')
  await app.close()
  const { offsets } = await resetApplication(repartitionedTopology(), config(world), { to, dryRun: false })
  expect(offsets[0]?.to).toBe(expected)
  const { offsets: now } = await resetApplication(repartitionedTopology(), config(world), {
    to: { shift: 0 },
  })
  expect(now[0]?.from).toBe(offsets[0]?.to)
})

test('reset: topics that are not read, and times that are none, are refused by name', async () => {
  await using world = await World.open()
  const reset = (options: Parameters<typeof resetApplication>[2]) =>
    resetApplication(repartitionedTopology(), config(world), options)
  await expect(reset({ topics: ['evens'] })).rejects.toMatchObject({
    message: expect.stringContaining('does not read evens; it reads events'),
  })
  await expect(reset({ to: { datetime: 'yesterday' } })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await expect(reset({ to: { offset: -1 } })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  await expect(reset({ to: { shift: 0.5 } })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
})
