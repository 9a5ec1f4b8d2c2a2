/** Windows that overlap much, kept by 32: what is the same as in any window store, and what isn't. */
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { isPromise } from '../../src/base/maybe-promise.ts'
import type { Flushed, TaskState, WindowRun, WindowStore } from '../../src/store/contract.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { StripEntries } from '../../src/store/strip-store.ts'
import { openDiskState, openMemoryState } from '../../src/store/task-state.ts'
import type { WindowStoreSpec } from '../../src/topology/store-spec.ts'
import { drawFrom, pick } from '../wire/draw.ts'
import { Changelogs, window } from './fixture.ts'

const dayMs = 86_400_000
const kept = { windowSizeMs: 600_000, retentionMs: dayMs, segmentIntervalMs: dayMs / 2 } as const
const inStrips = window('s', { ...kept, advanceMs: 1_000 })
const oneByOne = window('s', kept)

async function setup(spec: WindowStoreSpec = inStrips, disk = new MemoryDisk(), logs = new Changelogs()) {
  const state = await openDiskState({ stores: [spec], context: logs.context, cacheBytesMax: 0 }, disk)
  return { state, disk, logs, store: state.store('s') as WindowStore }
}

async function put(store: WindowStore, key: string, start: number, value: unknown, time = start) {
  store.set(await store.entry(key, start), value, time, noHeaders)
}

async function count(store: WindowStore, key: string, from: number, to: number): Promise<void> {
  const run = (await store.run?.(key, from, to)) as WindowRun<string, { n: number }>
  for (let start = from; start <= to; start += 1_000) {
    run.seek(start)
    store.set(run, { n: (run.value?.n ?? 0) + 1 }, to, noHeaders)
  }
}

async function leave(state: TaskState, logs: Changelogs): Promise<void> {
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
}

test('strips: by overlap, with or without a restart, and never with duplicates', async () => {
  expect((await setup()).store).toBeInstanceOf(StripEntries)
  for (const more of [{ advanceMs: 600_000 }, { advanceMs: 37_500 }, { retainDuplicates: true }]) {
    expect((await setup({ ...inStrips, ...more })).store).not.toBeInstanceOf(StripEntries)
  }
})

test('strips: the changelog has the records that one-by-one has, byte for byte and in order', async () => {
  const logs = await Promise.all(
    [inStrips, oneByOne].map(async (spec) => {
      const { state, store, logs } = await setup(spec)
      for (let start = 0; start < 100_000; start += 1_000)
        await put(store, 'a', start, { n: start }, start + 5)
      await put(store, 'b', 500, { n: 1 }, 700)
      await logs.commitAll(state)
      for (let start = 10_000; start < 50_000; start += 7_000) await put(store, 'a', start, null, 99)
      await put(store, 'a', 200_000, null)
      await logs.commitAll(state)
      return logs.of('s')
    }),
  )
  expect(logs[0]).toEqual(logs[1])
  expect(logs[0]).toHaveLength(108)
})

test('strips: 600 windows are 19 rows of the engine, read back with times of their own', async () => {
  const { state, store, disk, logs } = await setup()
  const before = disk.rows.size
  for (let start = 0; start < 600_000; start += 1_000)
    await put(store, 'a', start, { n: start }, start % 7_000)
  await leave(state, logs)
  // And one that says where the changelog goes on.
  expect(disk.rows.size - before).toBe(19 + 1)
  const found = await store.fetch('a', 31_000, 590_000)
  expect(found).toHaveLength(560)
  for (const { start, value, timestamp } of found)
    expect([value, timestamp]).toEqual([{ n: start }, start % 7_000])
})

test('strips: windows that start in between are found among the others, in order', async () => {
  const { state, store, logs } = await setup()
  for (const start of [5_000, 4_999, 36_500, 6_000, 0, 37_000]) await put(store, 'a', start, { n: start })
  await leave(state, logs)
  const starts = (await store.fetch('a', 4_000, 36_999)).map((entry) => entry.start)
  expect(starts).toEqual([4_999, 5_000, 6_000, 36_500])
  expect((await store.fetchAll(0, dayMs, 'backward')).map((entry) => entry.start)).toEqual([
    37_000, 36_500, 6_000, 5_000, 4_999, 0,
  ])
  expect((await store.entry('a', 5_500)).value).toBe(null)
})

test('strips: what a record is walking over may be let go while it waits, and nothing is lost', async () => {
  const { state, store, logs } = await setup()
  await count(store, 'a', 0, 99_000)
  await leave(state, logs)
  const run = (await store.run?.('a', 0, 99_000)) as WindowRun<string, { n: number }>
  for (let start = 0; start <= 99_000; start += 1_000) {
    if (start === 40_000) {
      await leave(state, logs)
      // Somebody reads it meanwhile.
      expect(await store.fetch('a', 0, 99_000)).toHaveLength(100)
    }
    run.seek(start)
    store.set(run, { n: (run.value?.n ?? 0) + 1 }, start, noHeaders)
  }
  await leave(state, logs)
  const found = await store.fetch('a', 0, 99_000)
  expect(found.map(({ value }) => value)).toEqual(new Array(100).fill({ n: 2 }))
})

test('strips: a removal leaves the row without the window, the last one no row', async () => {
  const { state, store, disk, logs } = await setup()
  const before = disk.rows.size
  await put(store, 'a', 1_000, { n: 1 })
  await put(store, 'a', 2_000, { n: 2 })
  await leave(state, logs)
  await put(store, 'a', 1_000, null)
  await leave(state, logs)
  expect((await store.fetch('a', 0, dayMs)).map(({ start }) => start)).toEqual([2_000])
  await put(store, 'a', 2_000, null)
  await leave(state, logs)
  expect(disk.rows.size - before).toBe(1)
  expect(logs.of('s').map(({ value }) => value === null)).toEqual([false, false, true, true])
})

test('strips: a restore in chunks lays windows beside those that the engine has', async () => {
  const { state, store, logs } = await setup()
  for (let round = 0; round < 3; round++) {
    for (let key = 0; key < 40; key++) await count(store, `k${key}`, round * 20_000, 60_000)
    await logs.commitAll(state)
  }
  const disk = new MemoryDisk()
  const records = logs.of('s')
  for (let from = 0; from < records.length; from += 700) {
    // Each chunk is a life of its own, as a standby's is that is moved.
    const other = await setup(inStrips, disk, logs)
    const middle = Math.min(from + 350, records.length)
    const to = Math.min(from + 700, records.length)
    await other.state.restore('s', records.slice(from, middle), middle)
    await other.state.restore('s', records.slice(middle, to), to)
    await other.state.close('clean')
  }
  const all = async (from: WindowStore) =>
    (await from.fetchAll(0, dayMs)).map(({ key, start, value, timestamp }) => [key, start, value, timestamp])
  const restored = await setup(inStrips, disk, logs)
  expect(await all(restored.store)).toEqual(await all(store))
  expect((await restored.store.entry('k7', 45_000)).value).toEqual({ n: 3 })
})

test.each([1, 2, 3, 4])('strips: cached, they tell what one-by-one tells, seed %i', async (seed) => {
  const tell = async (spec: WindowStoreSpec, keepOld: boolean): Promise<unknown[]> => {
    const draw = drawFrom(seed)
    const logs = new Changelogs()
    const told: unknown[] = []
    const stores = [{ ...spec, ...shortLived, cached: true }]
    const options = { stores, context: logs.context, cacheBytesMax: 1_000_000 }
    const disk = new MemoryDisk()
    let state = await openDiskState(options, disk)
    const listen = () =>
      (state.store('s') as WindowStore).onFlush(
        ({ entry: { key, start, end, value }, old, timestamp }: Flushed<unknown, unknown>) => {
          told.push(structuredClone([key, start, end, value, old, timestamp]))
        },
        { keepOld },
      )
    listen()
    let now = 0
    for (let step = 0; step < 1_500; step++) {
      const store = state.store('s') as WindowStore
      now += Math.floor(draw() * 3)
      const start = Math.max(0, now - Math.floor(draw() * 130))
      const entry = await store.entry(pick(draw, ['a', 'b', 'c']), start)
      const value = (entry.value ?? { n: 0 }) as { n: number }
      value.n++
      store.set(entry, draw() < 0.1 ? null : value, now, noHeaders)
      const event = draw()
      if (event < 0.05) await logs.commitAll(state)
      else if (event < 0.07) await leave(state, logs)
      else if (event < 0.075) {
        await logs.commitAll(state)
        await state.close('clean')
        state = await openDiskState(options, disk)
        listen()
      }
    }
    await state.flush()
    return told
  }
  for (const keepOld of [false, true]) {
    const told = await tell({ ...inStrips, advanceMs: 1 }, keepOld)
    expect(told.length).toBeGreaterThan(500)
    expect(told).toEqual(await tell(oneByOne, keepOld))
  }
})

const shortLived = { windowSizeMs: 20, retentionMs: 100, segmentIntervalMs: 50 } as const

test('strips: in memory only, all is answered at once', async () => {
  const logs = new Changelogs()
  const stores = [{ ...inStrips, engine: 'memory' as const }]
  const state = openMemoryState({ stores, context: logs.context, cacheBytesMax: 0 })
  const store = state.store('s') as WindowStore
  const run = store.run?.('a', 0, 99_000)
  expect(isPromise(run)).toBe(false)
  await count(store, 'a', 0, 99_000)
  await logs.commitAll(state)
  state.trim(0)
  const found = store.fetch('a', 0, 99_000)
  expect(isPromise(found)).toBe(false)
  expect(await found).toHaveLength(100)
  const again = openMemoryState({ stores, context: logs.context, cacheBytesMax: 0 })
  await logs.restore(again)
  expect(await (again.store('s') as WindowStore).fetch('a', 0, 99_000)).toHaveLength(100)
})

test('strips: not logged, they are in the engine all the same', async () => {
  const { state, store, disk, logs } = await setup({ ...inStrips, changelog: null })
  await count(store, 'a', 0, 99_000)
  await leave(state, logs)
  expect(logs.of('s')).toEqual([])
  expect(disk.rows.size).toBeGreaterThan(4)
  expect(await store.fetch('a', 0, 99_000)).toHaveLength(100)
})
