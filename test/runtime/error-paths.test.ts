/** What goes wrong while something else is under way: a commit, a revocation, another error. Nothing hangs, nothing is skipped. */
import { expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import type { Millrace } from '../../src/runtime/application.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { hold, until, World } from './scenario.ts'

const text = serdes.string()

/** A copy of `events` in `counts`; fails at a value of its own. */
function failingAt(bad: string): Topology {
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .mapValues((value) => {
      if (value === bad) throw new Error('a bad one')
      return value
    })
    .to('counts', { valueSerde: text })
  return builder.build()
}

/** Counts per key; what the cache hands on fails as long as `isBad` says so. */
function failingAtFlush(isBad: () => boolean): Topology {
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .count({ as: 'counts' })
    .toStream()
    .mapValues((count) => {
      if (isBad()) throw new Error('not now')
      return count
    })
    .to('counts', { valueSerde: serdes.long() })
  return builder.build()
}

for (const uncaughtHandler of ['shutdown-client', 'replace-thread'] as const) {
  test(`errors: a thread dies while its tasks are being taken away, ${uncaughtHandler}, nobody waits for it`, async () => {
    await using world = await World.open()
    let bad = true
    const one = world.app(failingAt('bad'), {
      clientId: 'one',
      sessionTimeoutMs: 1_000,
      stateDir: `${world.stateDir}/one`,
      uncaughtHandler,
      processingHandler: () => (bad ? 'fail' : 'continue'),
    })
    await one.start()
    // A commit hangs, a record fails behind it, and while the thread waits for the commit a second copy joins.
    using commit = hold(world, 'endTxn', 'one', 'pass')
    await world.one('a', 'good')
    await until(() => commit.held > 0)
    await world.one('a', 'bad')
    let synced = 0
    using _syncs = world.kafka.intercept('syncGroup', ({ clientId }) => {
      if (clientId === 'one') synced++
      return undefined
    })
    const two = world.app(failingAt('never'), { stateDir: `${world.stateDir}/two` })
    const started = two.start()
    await until(() => synced > 0)
    await new Promise((resolve) => setTimeout(resolve, 100))
    bad = uncaughtHandler === 'shutdown-client'
    commit.release()
    if (uncaughtHandler === 'shutdown-client') await until(() => one.state === 'error')
    await started
    await world.one('a', 'last')
    await until(() => world.kafka.records('counts').some(({ value }) => String(value) === 'last'))
    const began = Date.now()
    await one.close()
    expect(Date.now() - began).toBeLessThan(2_000)
  })
}

const lazy = { cacheMaxBytes: 1 << 20, commitIntervalMs: 60_000, commitMinIntervalMs: 60_000 } as const

/** All input is processed, and nothing of it committed: the first commit of all was before. */
async function holdBack(world: World, app: Millrace): Promise<void> {
  await world.one('k0', 'first')
  await app.start()
  await world.settled('keys')
  const processed = () => app.status().threads.reduce((sum, { records }) => sum + records, 0)
  await world.input(100)
  await until(() => processed() === 101)
}

test('errors: what a cache holds back can not be handed on at the close, it is processed again, and the state is free', async () => {
  await using world = await World.open()
  let bad = false
  const first = world.app(
    failingAtFlush(() => bad),
    lazy,
  )
  await holdBack(world, first)
  bad = true
  await first.close()
  bad = false
  const second = world.app(failingAtFlush(() => bad))
  await second.start()
  await world.settled('keys')
})

test('errors: what a cache holds back can not be handed on at a revocation, the copy ends and nothing is skipped', async () => {
  await using world = await World.open()
  let failures = 0
  const first = world.app(
    failingAtFlush(() => failures > 0 && failures-- > 0),
    { ...lazy, stateDir: `${world.stateDir}/one` },
  )
  await holdBack(world, first)
  // Once: what was handed on by then must not be committed with what comes after.
  failures = 1
  const second = world.app(
    failingAtFlush(() => false),
    { stateDir: `${world.stateDir}/two` },
  )
  await second.start()
  await until(() => first.state === 'error')
  const missing = () => {
    const counts = world.counts()
    return [...world.wanted('keys')].filter(([key, count]) => counts.get(key) !== count)
  }
  await until(() => missing().length === 0)
})
