/** Windows and sessions out of retention: hidden at once, refused once their segment is gone, and then gone from disk. */
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import type { Entry, SessionStore, TaskState, VersionedStore, WindowStore } from '../../src/store/contract.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { openDiskState } from '../../src/store/task-state.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import { Changelogs, session, versioned, window } from './fixture.ts'

async function open(spec: StoreSpec): Promise<{ state: TaskState; disk: MemoryDisk; logs: Changelogs }> {
  const disk = new MemoryDisk()
  const logs = new Changelogs()
  const state = await openDiskState({ stores: [spec], context: logs.context, cacheBytesMax: 0 }, disk)
  return { state, disk, logs }
}

async function put(store: WindowStore, key: string, start: number, value: number): Promise<boolean> {
  return store.set(await store.entry(key, start), value, start, noHeaders)
}

/** Rows that are not reserved ones. */
function rows(disk: MemoryDisk): number {
  return [...disk.rows.keys()].filter((key) => !key.startsWith('\0\0')).length
}

async function persist(state: TaskState, logs: Changelogs): Promise<void> {
  await logs.commitAll(state)
  await state.persist()
}

test('retention: a window is hidden as soon as it starts before observed - retention + 1', async () => {
  const { state } = await open(window('s'))
  const store = state.store('s') as WindowStore
  await put(store, 'a', 100, 1)
  await put(store, 'b', 199, 1)
  expect((await store.entry('a', 100)).value).toBe(1)
  await put(store, 'b', 200, 1)
  expect((await store.entry('a', 100)).value).toBe(null)
  expect(await store.fetch('a', 0, 500)).toEqual([])
  expect((await store.fetchAll(0, 500)).map(({ start }) => start)).toEqual([199, 200])
})

test('retention: emit on close sees one millisecond more', async () => {
  const { state } = await open(window('s', { emitOnClose: true }))
  const store = state.store('s') as WindowStore
  await put(store, 'a', 100, 1)
  await put(store, 'b', 200, 1)
  expect((await store.entry('a', 100)).value).toBe(1)
  await put(store, 'b', 201, 1)
  expect((await store.entry('a', 100)).value).toBe(null)
})

test('retention: a hidden window starts over, its writes succeed until its segment is gone', async () => {
  const { state, logs } = await open(window('s'))
  const store = state.store('s') as WindowStore
  await put(store, 'a', 110, 7)
  await put(store, 'b', 230, 1)
  const hidden = (await store.entry('a', 110)) as Entry<string, number>
  expect(hidden.value).toBe(null)
  // Segments of 50: 110 is in the one of 100 to 149, live while observed - 100 is below 150.
  expect(store.set(hidden as Entry, 1, 110, noHeaders)).toBe(true)
  await put(store, 'b', 249, 1)
  expect(await put(store, 'a', 110, 2)).toBe(true)
  await put(store, 'b', 250, 1)
  expect(await put(store, 'a', 110, 3)).toBe(false)
  await logs.commitAll(state)
})

test('retention: duplicates are hidden, then refused, as windows are', async () => {
  const { state } = await open(window('s', { retainDuplicates: true }))
  const store = state.store('s') as WindowStore
  for (const start of [110, 150, 151, 250])
    expect(await store.append('a', start, start, noHeaders)).toBe(true)
  expect((await store.fetch('a', 0, 300)).map(({ start }) => start)).toEqual([151, 250])
  expect(await store.append('a', 149, 1, noHeaders)).toBe(false)
  expect(await store.append('a', 150, 1, noHeaders)).toBe(true)
  expect((await store.fetchAll(0, 300)).map(({ start }) => start)).toEqual([151, 250])
})

test('retention: duplicates that are hidden when they are persisted never reach the engine, the changelog has all', async () => {
  const { state, disk, logs } = await open(window('s', { retainDuplicates: true }))
  const store = state.store('s') as WindowStore
  for (let start = 0; start <= 1000; start += 10) await store.append('a', start, start, noHeaders)
  await persist(state, logs)
  expect(logs.of('s').length).toBe(101)
  expect(rows(disk)).toBe(10)
  await state.close('dirty')
  const again = await openDiskState(
    { stores: [window('s', { retainDuplicates: true })], context: logs.context, cacheBytesMax: 0 },
    disk,
  )
  expect(await logs.restore(again)).toBe(0)
  const found = await (again.store('s') as WindowStore).fetch('a', 0, 2000)
  expect(found.map(({ start }) => start)).toEqual([910, 920, 930, 940, 950, 960, 970, 980, 990, 1000])
})

test('retention: hidden duplicates leave memory when they are settled, before the engine is written', async () => {
  const { state, logs } = await open(window('s', { retainDuplicates: true }))
  const store = state.store('s') as WindowStore
  const commitFrom = async (from: number): Promise<number> => {
    for (let start = from; start < from + 200; start++)
      await store.append(`k${start % 7}`, start, start, noHeaders)
    await logs.commitAll(state)
    return state.cachedBytes
  }
  const first = await commitFrom(0)
  const pending = state.pendingBytes
  let last = 0
  for (let from = 200; from < 4000; from += 200) last = await commitFrom(from)
  expect(last).toBeLessThan(first * 1.1)
  expect(state.pendingBytes).toBeLessThan(pending * 1.1)
  expect((await store.fetchAll(0, 5000)).length).toBe(100)
})

test('retention: hidden windows leave memory when they are settled, before the engine is written', async () => {
  const { state, disk, logs } = await open(window('s', { segmentIntervalMs: 1000 }))
  const store = state.store('s') as WindowStore
  const commitFrom = async (from: number): Promise<number> => {
    for (let start = from; start < from + 200; start++) await put(store, `k${start % 7}`, start, start)
    await logs.commitAll(state)
    return state.cachedBytes
  }
  const first = await commitFrom(0)
  let last = 0
  for (let from = 200; from < 4000; from += 200) last = await commitFrom(from)
  expect(last).toBeLessThan(first * 1.1)
  expect((await store.fetchAll(0, 5000)).length).toBe(100)
  await state.persist()
  expect(rows(disk)).toBe(100)
  expect((await store.fetchAll(0, 5000)).length).toBe(100)
})

test('retention: a put that is refused still moves the observed time of no store', async () => {
  const { state } = await open(window('s'))
  const store = state.store('s') as WindowStore
  expect(store.observedTime).toBe(-1)
  await put(store, 'a', 500, 1)
  expect(await put(store, 'a', 100, 1)).toBe(false)
  expect(store.observedTime).toBe(500)
})

test('retention: expired segments leave the engine, in the order of the commits that saw them expire', async () => {
  const { state, disk, logs } = await open(window('s'))
  const store = state.store('s') as WindowStore
  for (let start = 0; start < 100; start += 10) await put(store, 'a', start, start)
  await persist(state, logs)
  expect(rows(disk)).toBe(10)
  // Not committed, so nothing may go: the transaction could still be aborted.
  await put(store, 'a', 200, 1)
  await state.persist()
  expect(rows(disk)).toBe(10)
  await persist(state, logs)
  expect(rows(disk)).toBe(1)
})

test('retention: what expired before a restart is gone after it', async () => {
  const { state, disk, logs } = await open(window('s'))
  const store = state.store('s') as WindowStore
  for (let start = 0; start < 100; start += 10) await put(store, 'a', start, start)
  await persist(state, logs)
  await put(store, 'a', 1000, 1)
  await logs.commitAll(state)
  await state.close('dirty')
  const again = await openDiskState({ stores: [window('s')], context: logs.context, cacheBytesMax: 0 }, disk)
  expect(await logs.restore(again)).toBe(1)
  const reopened = again.store('s') as WindowStore
  expect(reopened.observedTime).toBe(1000)
  expect((await reopened.fetchAll(0, 2000)).map(({ start }) => start)).toEqual([1000])
  await put(reopened, 'a', 1001, 1)
  await persist(again, logs)
  expect(rows(disk)).toBe(2)
})

test('retention: a standby, which only restores, lets go of what expired', async () => {
  const { state, logs } = await open(window('s'))
  const store = state.store('s') as WindowStore
  const disk = new MemoryDisk()
  const standby = await openDiskState(
    { stores: [window('s')], context: logs.context, cacheBytesMax: 0 },
    disk,
  )
  for (let start = 0; start < 2000; start += 10) {
    await put(store, 'a', start, start)
    await logs.commitAll(state)
    await logs.restore(standby)
  }
  expect(rows(disk)).toBeLessThan(20)
  expect((await (standby.store('s') as WindowStore).fetchAll(0, 3000)).map(({ start }) => start)).toEqual([
    1900, 1910, 1920, 1930, 1940, 1950, 1960, 1970, 1980, 1990,
  ])
})

test('retention: a session is hidden by its end, and closed ones are found all the same', async () => {
  const { state } = await open(session('s', { emitOnClose: true }))
  const store = state.store('s') as SessionStore
  store.set(await store.entry('a', 90, 110), 1, noHeaders)
  store.set(await store.entry('b', 220, 220), 1, noHeaders)
  expect(await store.find('a', 0, 500)).toEqual([])
  expect((await store.findEnding(0, 200)).map(({ end }) => end)).toEqual([110])
  expect(store.set(await store.entry('a', 90, 110), null, noHeaders)).toBe(true)
  store.set(await store.entry('b', 400, 400), 1, noHeaders)
  expect(store.set(await store.entry('a', 90, 110), 1, noHeaders)).toBe(false)
  // To remove what is gone is no loss.
  expect(store.set(await store.entry('a', 90, 110), null, noHeaders)).toBe(true)
  expect(await store.findEnding(0, 200)).toEqual([])
})

test('retention: versions that ended before the history leave the engine, the newest of a key stays', async () => {
  const { state, disk, logs } = await open(versioned('s'))
  const store = state.store('s') as VersionedStore
  for (let time = 0; time < 50; time += 10) await store.put('a', time, time, noHeaders)
  await store.put('quiet', 1, 5, noHeaders)
  await persist(state, logs)
  expect(rows(disk)).toBe(12)
  await store.put('a', 1000, 1000, noHeaders)
  expect(await store.put('a', 1, 899, noHeaders)).toBe(false)
  await persist(state, logs)
  // The newest of `a` that is older than the history still answers at its beginning; `quiet` has one version.
  expect(await store.getAsOf('a', 900)).toEqual({ value: 40, timestamp: 40, validTo: 1000 })
  expect(await store.get('quiet')).toEqual({ value: 1, timestamp: 5, validTo: null })
  const left = [...disk.rows.keys()].filter((key) => key.charCodeAt(2) === 1).map((key) => key.slice(3, -8))
  expect(left.sort()).toEqual(['a', 'a', 'quiet'])
})

test('retention: a window store costs what expires, not what it holds', async () => {
  const { state } = await open(window('s', { retentionMs: 1000, segmentIntervalMs: 100 }))
  const store = state.store('s') as WindowStore
  for (let time = 0; time < 5000; time++) await put(store, `k${time % 50}`, time, 1)
  const before = state.cachedBytes
  for (let time = 5000; time < 20_000; time++) await put(store, `k${time % 50}`, time, 1)
  expect(state.cachedBytes).toBeLessThan(before * 1.2)
})

test('retention: windows that are hidden when they are persisted never reach the engine, and stay hidden after a restart', async () => {
  const { state, disk, logs } = await open(window('s'))
  const store = state.store('s') as WindowStore
  for (let start = 0; start <= 1000; start += 10) await put(store, 'a', start, start)
  await persist(state, logs)
  expect(logs.of('s').length).toBe(11)
  expect(rows(disk)).toBe(10)
  // What was visible at one time is not written again once it is hidden.
  await put(store, 'a', 1000, 1)
  await put(store, 'b', 2000, 2)
  await persist(state, logs)
  await state.close('dirty')
  const again = await openDiskState({ stores: [window('s')], context: logs.context, cacheBytesMax: 0 }, disk)
  expect(await logs.restore(again)).toBe(0)
  const reopened = again.store('s') as WindowStore
  expect((await reopened.fetchAll(0, 3000)).map(({ start }) => start)).toEqual([2000])
  expect((await reopened.entry('a', 1000)).value).toBe(null)
})
