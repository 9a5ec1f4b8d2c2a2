/** Stores of the user's own making: an object over entries that the engine keeps, rolls back and restores. */
import { rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { StreamsError } from '../../src/base/errors.ts'
import type { MaybePromise } from '../../src/base/maybe-promise.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { TopologyTestDriver } from '../../src/testing/topology-test-driver.ts'
import type { KeyValueStore, Processor, ProcessorContext } from '../../src/topology/processor.ts'
import { stores } from '../../src/topology/stores.ts'
import { World } from './scenario.ts'

const text = serdes.string()
const long = serdes.long()

/** Counts, and in memory which key has the most. */
class Ranking {
  static made = 0
  readonly #counts: KeyValueStore<string, number>
  #first: { key: string; count: number } | null = null

  constructor(counts: KeyValueStore<string, number>) {
    Ranking.made++
    this.#counts = counts
  }

  async add(key: string): Promise<number> {
    const first = await this.first()
    const count = ((await this.#counts.get(key)) ?? 0) + 1
    await this.#counts.put(key, count)
    if (count > first.count) this.#first = { key, count }
    return count
  }

  async first(): Promise<{ key: string; count: number }> {
    if (this.#first === null) {
      let first = { key: '', count: 0 }
      for await (const [key, count] of this.#counts.all()) if (count > first.count) first = { key, count }
      this.#first = first
    }
    return this.#first
  }
}

const ranking = (engine: 'persistent' | 'memory' = 'persistent') =>
  stores.custom('ranking', {
    keySerde: text,
    valueSerde: long,
    engine,
    open: (counts) => new Ranking(counts),
  })

function counting(each: (value: string) => void): () => Processor<string, string, string, number> {
  return () => {
    let context: ProcessorContext<string, number>
    return {
      init(given) {
        context = given
      },
      async process({ key, value, timestamp, headers }) {
        const count = await context.store<Ranking>('ranking').add(key as string)
        each(value as string)
        await context.forward({ key: key as string, value: count, timestamp, headers })
      },
    }
  }
}

for (const engine of ['persistent', 'memory'] as const) {
  test(`custom store, ${engine}: exact through a rollback, restored from its changelog`, async () => {
    await using world = await World.open({ events: 2, counts: 2 })
    let fails = 3
    const topology = () => {
      const builder = new StreamsBuilder()
      const make = counting((value) => {
        if (value.endsWith('7') && fails-- > 0)
          throw new StreamsError('UNEXPECTED', 'once more', { verdict: 'retry' })
      })
      builder
        .stream('events', { keySerde: text, valueSerde: text })
        .process({ make, stores: [ranking(engine)] })
        .to('counts', { keySerde: text, valueSerde: long })
      return builder.build()
    }
    const wanted = new Map<string, number>()
    const put = async (count: number) => {
      for (let record = world.records; record < world.records + count; record++) {
        const key = `k${record % 7}`
        wanted.set(key, (wanted.get(key) ?? 0) + 1)
      }
      await world.input(count)
    }
    const settled = async () => {
      const done = () => [...wanted].every(([key, count]) => world.counts().get(key) === count)
      const deadline = Date.now() + 15_000
      while (!done()) {
        if (Date.now() > deadline) expect(world.counts()).toEqual(wanted)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      expect(world.counts()).toEqual(wanted)
    }
    await put(70)
    const app = world.app(topology())
    await app.start()
    await settled()
    expect(fails).toBeLessThan(0)
    const logged = world.kafka.records('app-ranking-changelog')
    // A put carries the time of the record in hand.
    expect(Math.max(...logged.map(({ timestamp }) => Number(timestamp)))).toBe(1_000_000 + 69 * 500)
    await app.close()
    await rm(`${world.stateDir}/app`, { recursive: true, force: true })
    await put(70)
    await world.app(topology()).start()
    await settled()
  })
}

test('custom store: one object for all processors of a task, whose puts carry the record each has in hand', async () => {
  const builder = new StreamsBuilder()
  builder.addStateStore(ranking())
  const first = counting(() => {})
  const second = (): Processor<string, number, string, string> => {
    let context: ProcessorContext<string, string>
    return {
      init(given) {
        context = given
      },
      async process({ key, value }) {
        const store = context.store<Ranking>('ranking')
        const { key: most } = await store.first()
        if (value === 2) await store.add(`${key}-twice`)
        await context.forward({ key: key as string, value: most })
      },
    }
  }
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .process(first, { stores: ['ranking'] })
    .process(second, { stores: ['ranking'] })
    .to('most', { keySerde: text, valueSerde: text })
  Ranking.made = 0
  const driver = await TopologyTestDriver.start(builder.build())
  await driver.input('events').pipeAll([
    ['a', 'x'],
    ['b', 'x'],
    ['b', 'x'],
  ])
  expect(await driver.output('most').readKeyValues()).toEqual([
    ['a', 'a'],
    ['b', 'a'],
    ['b', 'b'],
  ])
  expect(Ranking.made).toBe(1)
  const entries = driver.keyValueStore<string, number>('ranking')
  expect(await entries.get('b-twice')).toBe(1)
  await driver.close()
})

test('custom store: what open can not be is said with the remedy', async () => {
  const open = undefined as unknown as (entries: unknown) => MaybePromise<unknown>
  expect(() => stores.custom('ranking', { keySerde: text, valueSerde: long, open })).toThrow(
    /^store ranking: open must be a function of the store's entries/,
  )
  const builder = new StreamsBuilder()
  const spec = stores.custom('ranking', { keySerde: text, valueSerde: long, open: async () => ({}) })
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .process({ make: counting(() => {}), stores: [spec] })
  const driver = await TopologyTestDriver.start(builder.build())
  await expect(driver.input('events').pipe('a', 'x')).rejects.toThrow(/open returned a promise/)
  await driver.close()
})
