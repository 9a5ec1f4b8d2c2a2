/** What is deployed is remembered: a new version of the topology keeps its state, says so, or is refused. */
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { connect } from '../../src/kafka/index.ts'
import { memoryTopic, readTopology } from '../../src/runtime/topology-memory.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { applicationId, World } from './scenario.ts'

const text = serdes.string()

/** Counts by letter in a store of this name, `filters` filters before it. */
function letters(
  store: string,
  options: { movedFrom?: string; filters?: number; name?: string } = {},
): Topology {
  const builder = new StreamsBuilder()
  let stream = builder.stream('events', { keySerde: text, valueSerde: text })
  for (let index = 0; index < (options.filters ?? 0); index++) stream = stream.filter(() => true)
  stream
    .groupBy((value) => value.slice(0, 1), {
      keySerde: text,
      valueSerde: text,
      name: options.name ?? 'by-letter',
    })
    .count({ as: store, ...(options.movedFrom === undefined ? {} : { movedFrom: options.movedFrom }) })
    .toStream()
    .to('counts', { valueSerde: serdes.long() })
  return builder.build()
}

const until = async (what: () => boolean, timeoutMs = 10_000) => {
  const deadline = Date.now() + timeoutMs
  while (!what()) {
    if (Date.now() > deadline) throw new Error(`never came: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

test('deployment: a store with another name keeps its state where movedFrom says so, also on later starts', async () => {
  await using world = await World.open()
  await world.input(100)
  const first = world.app(letters('totals'), { stateDir: `${world.stateDir}/1` })
  await first.start()
  await world.settled('letters')
  await first.close()
  const second = world.app(letters('sums', { movedFrom: 'totals' }), { stateDir: `${world.stateDir}/2` })
  await second.start()
  await world.input(100)
  await world.settled('letters')
  await second.close()
  // The memory has it under its new name by now: movedFrom may go.
  const third = world.app(letters('sums'), { stateDir: `${world.stateDir}/3` })
  await third.start()
  await world.input(100)
  await world.settled('letters')
  await third.close()
  const client = connect({ brokers: [world.kafka.address], clientId: 'reader', logger: silentLogger })
  const record = await readTopology(client, applicationId)
  expect(record?.stores.map(({ name, changelog }) => ({ name, changelog }))).toEqual([
    { name: 'sums', changelog: `${applicationId}-totals-changelog` },
  ])
  await client.close()
})

test('deployment: a store that is gone is refused with its name, and let go where that is allowed', async () => {
  await using world = await World.open()
  await world.input(50)
  const first = world.app(letters('totals'), { stateDir: `${world.stateDir}/1` })
  await first.start()
  await world.settled('letters')
  await first.close()
  const refused = world.app(letters('sums'), { stateDir: `${world.stateDir}/2` })
  await expect(refused.start()).rejects.toMatchObject({
    code: 'TOPOLOGY_LOSES_STATE',
    message: expect.stringMatching(/store totals is gone.*movedFrom: 'totals'/s),
  })
  const allowed = world.app(letters('sums'), {
    stateDir: `${world.stateDir}/3`,
    allowStateLoss: ['totals'],
  })
  await allowed.start()
  expect(allowed.state).toBe('running')
})

test('deployment: a repartition topic that is not read any more is safe once all of it was processed', async () => {
  await using world = await World.open()
  await world.input(50)
  const first = world.app(letters('totals'), { stateDir: `${world.stateDir}/1` })
  await first.start()
  await world.settled('letters')
  await first.close()
  const second = world.app(letters('totals', { name: 'initials' }), { stateDir: `${world.stateDir}/2` })
  await second.start()
  await world.input(50)
  await world.settled('letters')
})

test('deployment: a copy whose topology lost its changelog topic refuses to start from nothing', async () => {
  await using world = await World.open()
  await world.input(50)
  const first = world.app(letters('totals'), { stateDir: `${world.stateDir}/1` })
  await first.start()
  await world.settled('letters')
  await first.close()
  const client = connect({ brokers: [world.kafka.address], clientId: 'admin', logger: silentLogger })
  await client.admin.deleteTopics([`${applicationId}-totals-changelog`])
  await client.close()
  const second = world.app(letters('totals'), { stateDir: `${world.stateDir}/2` })
  await expect(second.start()).rejects.toMatchObject({ code: 'INTERNAL_TOPIC_LOST' })
})

test('deployment: a filter more leaves the copies of both versions at work', async () => {
  await using world = await World.open()
  const one = world.app(letters('totals'), { stateDir: `${world.stateDir}/1` })
  await one.start()
  const two = world.app(letters('totals', { filters: 2 }), { stateDir: `${world.stateDir}/2` })
  await two.start()
  const active = (app: typeof one) =>
    app.status().threads.flatMap(({ tasks }) => tasks.filter(({ role }) => role === 'active'))
  await until(() => active(one).length === 2 && active(two).length === 2)
  await world.input(100)
  await world.settled('letters')
})

test('deployment: a pattern does not match what the application makes for itself', async () => {
  await using world = await World.open()
  const builder = new StreamsBuilder()
  builder
    .stream(/(app-)?.*(events|changelog|topology)/, { keySerde: text, valueSerde: text })
    .groupByKey()
    .count({ as: 'totals' })
  const app = world.app(builder.build())
  await app.start()
  await app.close()
  const again = world.app(builder.build())
  await again.start()
  const topics = again.status().threads.flatMap(({ tasks }) => tasks.flatMap(({ inputs }) => inputs))
  expect([...new Set(topics.map(({ topic }) => topic))]).toEqual(['events'])
  expect(world.kafka.records(memoryTopic(applicationId)).length).toBe(1)
})
