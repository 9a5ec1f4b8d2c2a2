/** Cached stores: what goes downstream at a flush, once, with which old value. */
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import type { Entry, Flushed, KeyValueStore, TaskState, WindowStore } from '../../src/store/contract.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { openDiskState, openMemoryState } from '../../src/store/task-state.ts'
import { Changelogs, keyValue, window } from './fixture.ts'

const cacheBytesMax = 10_000

type Seen = [key: unknown, value: unknown, old: unknown, timestamp: number]

function watch(store: KeyValueStore | WindowStore, keepOld: boolean): Seen[] {
  const seen: Seen[] = []
  store.onFlush(
    ({ entry, old, timestamp }: Flushed<unknown, unknown>) => {
      seen.push(structuredClone([entry.key, entry.value, old, timestamp]) as Seen)
    },
    { keepOld },
  )
  return seen
}

function open(logs: Changelogs): TaskState {
  const stores = [keyValue('table', { cached: true }), window('windows', { cached: true })]
  return openMemoryState({ stores, context: logs.context, cacheBytesMax })
}

/** As an aggregator does that changes its accumulator in place. */
async function add(store: KeyValueStore, key: string, timestamp: number): Promise<void> {
  const entry = (await store.entry(key)) as Entry<string, { n: number }>
  const value = entry.value ?? { n: 0 }
  value.n++
  store.set(entry as Entry, value, timestamp, noHeaders)
}

test('cached store: many changes of a key are one result, in the order of the last changes', async () => {
  const state = open(new Changelogs())
  const store = state.store('table') as KeyValueStore
  expect(store.cached).toBe(true)
  const seen = watch(store, false)
  await add(store, 'a', 1)
  await add(store, 'b', 2)
  await add(store, 'a', 3)
  expect(seen).toEqual([])
  await state.flush()
  expect(seen).toEqual([
    ['b', { n: 1 }, null, 2],
    ['a', { n: 2 }, null, 3],
  ])
  await state.flush()
  expect(seen).toHaveLength(2)
})

test('cached store: the old value is that of the flush before, though the object was changed in place', async () => {
  const logs = new Changelogs()
  const state = open(logs)
  const store = state.store('table') as KeyValueStore
  const seen = watch(store, true)
  await add(store, 'a', 1)
  await add(store, 'a', 2)
  await logs.commitAll(state)
  await add(store, 'a', 3)
  await add(store, 'a', 4)
  await logs.commitAll(state)
  await store.put('a', null, 5)
  await logs.commitAll(state)
  expect(seen).toEqual([
    ['a', { n: 2 }, null, 2],
    ['a', { n: 4 }, { n: 2 }, 4],
    ['a', null, { n: 4 }, 5],
  ])
})

test('cached store: the old value survives eviction and a restart', async () => {
  const logs = new Changelogs()
  const disk = new MemoryDisk()
  const options = { stores: [keyValue('table', { cached: true })], context: logs.context, cacheBytesMax }
  let state = await openDiskState(options, disk)
  let seen = watch(state.store('table') as KeyValueStore, true)
  await add(state.store('table') as KeyValueStore, 'a', 1)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
  await add(state.store('table') as KeyValueStore, 'a', 2)
  await logs.commitAll(state)
  expect(seen[1]).toEqual(['a', { n: 2 }, { n: 1 }, 2])
  await state.close('clean')
  state = await openDiskState(options, disk)
  seen = watch(state.store('table') as KeyValueStore, true)
  await add(state.store('table') as KeyValueStore, 'a', 3)
  await state.flush()
  expect(seen).toEqual([['a', { n: 3 }, { n: 2 }, 3]])
})

test('cached store: what came and went between two flushes is not told of', async () => {
  const logs = new Changelogs()
  const state = open(logs)
  const store = state.store('table') as KeyValueStore
  const seen = watch(store, false)
  await store.put('a', { n: 1 }, 1)
  await store.put('a', null, 2)
  await logs.commitAll(state)
  expect(seen).toEqual([])
  expect(logs.of('table')).toEqual([])
})

test('cached store: a flush that changes stores before it goes on until nothing is left', async () => {
  const state = open(new Changelogs())
  const table = state.store('table') as KeyValueStore
  const windows = state.store('windows') as WindowStore
  const order: string[] = []
  table.onFlush(
    async ({ entry }) => {
      order.push(`table ${String(entry.key)}`)
      windows.set(await windows.entry('w', 0), { n: 1 }, 1, noHeaders)
    },
    { keepOld: false },
  )
  windows.onFlush(
    async ({ entry }) => {
      order.push(`window ${String(entry.key)}`)
      if (!order.includes('table again')) await table.put('again', { n: 1 }, 1)
    },
    { keepOld: false },
  )
  await table.put('first', { n: 1 }, 1)
  await state.flush()
  expect(order).toEqual(['table first', 'window w', 'table again', 'window w'])
})

test('cached store: past the budget, results go on before the commit', async () => {
  const state = open(new Changelogs())
  const store = state.store('table') as KeyValueStore
  const seen = watch(store, false)
  for (let index = 0; index < 100; index++) {
    await add(store, `key-${index}`, index)
    await state.relieve()
  }
  expect(seen).toEqual([])
  for (let index = 100; index < 200; index++) {
    await add(store, `key-${index}`, index)
    await state.relieve()
  }
  expect(seen.length).toBeGreaterThan(100)
  await state.flush()
  expect(new Set(seen.map(([key]) => key)).size).toBe(200)
})

test('cached store: where the cache is off, the store says so', () => {
  const state = openMemoryState({
    stores: [keyValue('table', { cached: true })],
    context: new Changelogs().context,
    cacheBytesMax: 0,
  })
  expect((state.store('table') as KeyValueStore).cached).toBe(false)
})
