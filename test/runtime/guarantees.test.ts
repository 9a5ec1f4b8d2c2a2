/** What the guarantees without transactions promise where nothing fails: tasks that move, and applications that stop. */
import { expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { outgoing, until, World } from './scenario.ts'

/** Each record goes out as it came in, about 4,000 a second. */
function slowCopy(): Topology {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  let seen = 0
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .mapValues(async (value) => {
      if (++seen % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
      return value
    })
    .to('copies', { keySerde: text, valueSerde: text })
  return builder.build()
}

const topics = { events: 4, copies: 1 }
const records = 4_000

function copied(world: World): string[] {
  return world.kafka.records('copies').map(({ value }) => String(value))
}

for (const guarantee of ['at_least_once', 'at_most_once'] as const) {
  const config = { guarantee, partitionFetchBytes: 4_096, commitIntervalMs: 20 } as const

  test(`guarantees: ${guarantee}, stopped in the middle of its input and started again, each record is there once`, async () => {
    await using world = await World.open(topics)
    await world.input(records, 'events', 4)
    for (let start = 1; start <= 3; start++) {
      const app = world.app(slowCopy(), config)
      await app.start()
      const before = copied(world).length
      await until(() => copied(world).length > before)
      await app.close()
      expect(copied(world).length).toBeLessThan(records)
    }
    const last = world.app(slowCopy(), config)
    await last.start()
    await until(() => new Set(copied(world)).size === records).catch(() => undefined)
    const found = copied(world)
    expect([found.length, new Set(found).size]).toEqual([records, records])
  })

  test(`guarantees: ${guarantee}, copies come and go under load, each record is there once`, async () => {
    await using world = await World.open(topics)
    await world.input(records, 'events', 4)
    const copy = (name: string) => world.app(slowCopy(), { ...config, stateDir: `${world.stateDir}/${name}` })
    const one = copy('one')
    await one.start()
    for (const name of ['two', 'three']) {
      const other = copy(name)
      await other.start()
      await world.input(200, 'events', 4)
      await other.close()
    }
    await until(() => new Set(copied(world)).size === world.records).catch(() => undefined)
    const found = copied(world)
    expect([found.length, new Set(found).size]).toEqual([world.records, world.records])
  })
}

test('guarantees: at_most_once, output waits for no commit to come', async () => {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .to('copies', { keySerde: text, valueSerde: text })
  await using world = await World.open(topics)
  const pace = { commitIntervalMs: 60_000, commitMinIntervalMs: 60_000 } as const
  const app = world.app(builder.build(), { guarantee: 'at_most_once', ...pace })
  await app.start()
  for (let count = 1; count <= 5; count++) {
    await world.one('k0', `${count}`)
    await until(() => copied(world).length === count, 2_000)
  }
})

test('guarantees: at_most_once, positions move when tasks have little left, and for all that waits', async () => {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  let processed = 0
  builder.stream('events', { keySerde: text, valueSerde: text }).foreach(async () => {
    if (++processed % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  })
  const [bufferRecords, chunkRecords, total] = [1_024, 32, 3_200]
  await using world = await World.open({ events: 1 })
  const producer = await world.stranger()
  const value = 'x'.repeat(1_000)
  for (let sent = 0; sent < total; sent += chunkRecords) {
    const records = Array.from({ length: chunkRecords }, (_, index) => [`k${sent + index}`, value] as const)
    await producer.produce([outgoing('events', 0, records)])
  }
  const commits: { readonly left: number; readonly to: number; readonly partitions: number }[] = []
  using _commits = world.kafka.intercept('offsetCommit', ({ body }) => {
    const [first, ...others] = body.topics[0]?.partitions ?? []
    const to = Number(first?.committedOffset)
    commits.push({ left: (commits.at(-1)?.to ?? 0) - processed, to, partitions: 1 + others.length })
    return undefined
  })
  const app = world.app(builder.build(), {
    guarantee: 'at_most_once',
    fetchBufferBytes: '1MiB',
    partitionFetchBytes: '32KiB',
  })
  await app.start()
  await until(() => processed === total)
  expect(commits.at(-1)?.to).toBe(total)
  // Of several chunks of a partition only the last one counts.
  for (const { partitions } of commits) expect(partitions).toBe(1)
  // The first ones find nothing to do; each of the others waits until less than a quarter is left.
  for (const { left } of commits.slice(2)) expect(left).toBeLessThan(bufferRecords / 4)
  expect(commits.length).toBeLessThan(total / chunkRecords / 5)
})
