/** What only shows where several copies, their stores and their changelogs work together, on the embedded Kafka. */
import { expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import type { Millrace } from '../../src/runtime/application.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type { KeyValueStore } from '../../src/store/contract.ts'
import { openTaskState } from '../../src/store/task-state.ts'
import { applicationId, countTopology, outgoing, tallyTopology, until, World } from './scenario.ts'

const text = serdes.string()

test('changelog: through aborts and lost answers, its last records are what the store holds', async () => {
  await using world = await World.open()
  const app = world.app(tallyTopology(), { persistIntervalMs: 10 })
  await app.start()
  let ends = 0
  using _faults = world.kafka.intercept('endTxn', ({ clientId }) => {
    if (clientId !== applicationId) return undefined
    ends++
    return ends % 5 === 0 ? { error: 'INVALID_TXN_STATE' } : ends % 3 === 0 ? 'lose' : undefined
  })
  for (let round = 0; round < 15; round++) {
    await world.input(70)
    await world.settled('keys')
  }
  await app.close()
  expect(ends).toBeGreaterThan(15)
  let rows = 0
  for (const partition of [0, 1]) {
    const state = await openTaskState({
      application: applicationId,
      taskId: `0_${partition}`,
      stateDir: world.stateDir,
      stores: [...tallyTopology().graph.stores.values()],
      context: { changelogTopic: () => 'app-counts-changelog', drop: () => {} },
      cacheBytesMax: 0,
    })
    const held = new Map<unknown, unknown>()
    for await (const { key, value } of (state.store('counts') as KeyValueStore).range(null, null))
      held.set(key, value)
    const offset = state.positions()[0]?.offset ?? 0
    await state.close('clean')
    // On a busy machine the last answer may come too late for the close: then the state is as of the commit before.
    const last = new Map<string, number>()
    for (const record of world.kafka.records('app-counts-changelog')) {
      const { partition: of, key, value } = record
      if (of !== partition || key === null || record.offset >= offset) continue
      if (value === null) last.delete(String(key))
      else last.set(String(key), Number(value.readBigInt64BE(0)))
    }
    expect(held).toEqual(last)
    rows += held.size
  }
  expect(rows).toBe(7)
})

test('racks: each standby is in another zone than the task that it stands by for', async () => {
  await using world = await World.open({ events: 4, counts: 1 })
  const zones = ['a', 'a', 'b', 'b']
  const copies = zones.map((zone, index) =>
    world.app(countTopology(), {
      stateDir: `${world.stateDir}/${index}`,
      standbyReplicas: 1,
      clientTags: { zone },
      rackAwareTags: ['zone'],
      acceptableRecoveryLag: 1_000_000,
      probingRebalanceIntervalMs: 60_000,
    }),
  )
  const zonesOf = (role: string): Map<string, string> =>
    new Map(
      copies.flatMap((copy, index) =>
        copy
          .status()
          .threads.flatMap(({ tasks }) =>
            tasks
              .filter((task) => task.role === role && task.state === 'running')
              .map(({ task }) => [task, zones[index] as string] as const),
          ),
      ),
    )
  await world.input(400, 'events', 4)
  for (const copy of copies) await copy.start()
  const apart = () => {
    const active = zonesOf('active')
    const standby = zonesOf('standby')
    return (
      active.size === 4 &&
      standby.size === 4 &&
      [...active].every(([task, zone]) => standby.get(task) !== zone)
    )
  }
  await until(apart, 15_000)
  await world.settled()
})

test('shutdown: one copy meets an error and says so, every copy of the application ends', async () => {
  await using world = await World.open({ events: 2, counts: 1 })
  const builder = () => {
    const streams = new StreamsBuilder()
    streams
      .stream('events', { keySerde: text, valueSerde: text })
      .mapValues((value) => {
        if (value === 'poison') throw new Error('poison')
        return value
      })
      .to('counts', { valueSerde: text })
    return streams.build()
  }
  const copies: Millrace[] = ['one', 'two'].map((name) =>
    world.app(builder(), {
      stateDir: `${world.stateDir}/${name}`,
      uncaughtHandler: 'shutdown-application',
      acceptableRecoveryLag: 1_000_000,
    }),
  )
  for (const copy of copies) await copy.start()
  await until(() => copies.every((copy) => copy.status().threads.some(({ tasks }) => tasks.length === 1)))
  await world.one('k0', 'poison')
  await until(() => copies.every((copy) => copy.state === 'error'), 15_000)
  expect(copies.map((copy) => copy.error?.message).join('\n')).toContain('poison')
})

test('turn: many tasks have much to do, sockets and timers have their turn in between', async () => {
  await using world = await World.open({ events: 7, counts: 1 })
  let turns = 0
  let isWatching = true
  const watch = (): void => {
    turns++
    if (isWatching) setImmediate(watch)
  }
  let lastTurn = -1
  let records = 0
  let recordsMax = 0
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .mapValues((value) => {
      records = turns === lastTurn ? records + 1 : 1
      lastTurn = turns
      recordsMax = Math.max(recordsMax, records)
      for (const end = performance.now() + 3; performance.now() < end; );
      return value
    })
    .to('counts', { valueSerde: text })
  await world.input(70, 'events', 7)
  watch()
  await world.app(builder.build()).start()
  await until(() => world.kafka.records('counts').length === 70)
  isWatching = false
  // A turn is of two tasks at most, and where an answer from a socket begins the next one, two turns come between two
  // immediates. Of all seven tasks it were seventy.
  expect(recordsMax).toBeLessThanOrEqual(40)
})

test('pause: nothing is processed until resume, and the membership stays', async () => {
  await using world = await World.open()
  const app = world.app(countTopology(), { sessionTimeoutMs: 1_000 })
  await app.start()
  await world.input(100)
  await world.settled()
  const member = app.status().member
  app.pause()
  expect(app.status().paused).toBe(true)
  const before = world.kafka.records('counts').length
  await world.input(100)
  // Longer than a session.
  await new Promise((resolve) => setTimeout(resolve, 1_300))
  expect(world.kafka.records('counts')).toHaveLength(before)
  app.resume()
  await world.settled()
  expect(app.status().member).toEqual(member)
})

test.each([
  [-1, ['late', 'early']],
  [60_000, ['early', 'late']],
] as const)('maxTaskIdleMs %i: a record whose other input is empty, %j', async (maxTaskIdleMs, expected) => {
  await using world = await World.open({ left: 1, right: 1, out: 1 })
  const builder = new StreamsBuilder()
  const options = { keySerde: text, valueSerde: text }
  builder.stream('left', options).merge(builder.stream('right', options)).to('out')
  const out = () => world.kafka.records('out').map(({ value }) => String(value))
  const input = await world.stranger()
  const app = world.app(builder.build(), { maxTaskIdleMs })
  await app.start()
  await input.produce([outgoing('left', 0, [['k', 'late', 2_000]])])
  // The other input is known to be empty by now.
  const ends = () => app.status().threads[0]?.tasks[0]?.inputs.map(({ endOffset }) => endOffset)
  await until(() => ends()?.join() === '1,0')
  if (maxTaskIdleMs < 0) await until(() => out().length === 1)
  await input.produce([outgoing('right', 0, [['k', 'early', 1_000]])])
  await until(() => out().length >= (maxTaskIdleMs < 0 ? 2 : 1))
  await input.produce([outgoing('right', 0, [['k', 'end', 3_000]])])
  await until(() => out().length >= 2)
  expect(out().slice(0, 2)).toEqual(expected)
  await input.close()
})
