/** Generations: nothing uncommitted reaches the engine, scans and loads race with writes and persists and stay right. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { type Headers, noHeaders } from '../../src/base/headers.ts'
import type {
  Entry,
  KeyValueStore,
  SessionStore,
  TaskState,
  VersionedStore,
  WindowStore,
} from '../../src/store/contract.ts'
import { bareValue, HeadedValue } from '../../src/store/kept-headers.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { openDiskState } from '../../src/store/task-state.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import { Changelogs, collect, keyValue, session, versioned, window } from './fixture.ts'

type Setup = { state: TaskState; disk: MemoryDisk; logs: Changelogs; reopen(): Promise<TaskState> }

async function open(...stores: StoreSpec[]): Promise<Setup> {
  const disk = new MemoryDisk()
  const logs = new Changelogs()
  const reopen = (): Promise<TaskState> =>
    openDiskState({ stores, context: logs.context, cacheBytesMax: 0 }, disk)
  return { state: await reopen(), disk, logs, reopen }
}

/** A disk whose answers wait until they are let through. */
function gate(disk: MemoryDisk): { open(): Promise<void> } {
  const waiting: (() => void)[] = []
  disk.wait = () => new Promise((resolve) => waiting.push(resolve))
  return {
    async open() {
      disk.wait = null
      for (const resolve of waiting) resolve()
      for (let turn = 0; turn < 20; turn++) await Promise.resolve()
    },
  }
}

/** A reference that was looked at stays until its turn of the event loop is over. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  for (let turn = 0; turn < 3; turn++) {
    await new Promise((resolve) => setImmediate(resolve))
    gc()
  }
}

const table = keyValue('s')

async function onDisk(disk: MemoryDisk, logs: Changelogs): Promise<[unknown, unknown][]> {
  const copy = new MemoryDisk()
  for (const [key, value] of disk.rows) copy.rows.set(key, value)
  const state = await openDiskState({ stores: [table], context: logs.context, cacheBytesMax: 0 }, copy)
  return (await (state.store('s') as KeyValueStore).list(null, null)).map(({ key, value }) => [key, value])
}

test('generations: a value changed in place after the cut is persisted as it was at the cut', async () => {
  const { state, disk, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  const entry = (await store.entry('a')) as Entry<string, { n: number }>
  store.set(entry as Entry, { n: 1 }, 1, noHeaders)
  await state.cut(logs.writer)
  const value = entry.value as { n: number }
  value.n = 2
  store.set(entry as Entry, value, 2, noHeaders)
  // In flight: nothing of it is in the engine.
  await state.persist()
  expect(await onDisk(disk, logs)).toEqual([])
  state.settle(logs.commit())
  value.n = 3
  await state.persist()
  expect(await onDisk(disk, logs)).toEqual([['a', { n: 1 }]])
  expect(logs.of('s').map((record) => record.value?.toString())).toEqual(['{"n":1}'])
  expect(await store.get('a')).toEqual({ n: 3 })
})

test('generations: of several settled values the latest is written', async () => {
  const { state, disk, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  for (let n = 1; n <= 3; n++) {
    await store.put('a', { n }, n)
    await store.put('b', n === 3 ? null : { n }, n)
    await logs.commitAll(state)
  }
  await store.put('a', { n: 4 }, 4)
  await state.persist()
  expect(await onDisk(disk, logs)).toEqual([['a', { n: 3 }]])
  expect(state.positions()).toMatchObject([{ store: 's', offset: 6, topicId: 'id of s' }])
})

test('generations: who reads what is committed sees neither the open generation nor the one in flight', async () => {
  const { state, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  const seen = async (): Promise<unknown> => {
    const view = (await state.committed()).store('s') as KeyValueStore
    return [await view.get('a'), await view.get('b'), (await view.list(null, null)).map(({ key }) => key)]
  }
  await store.put('a', { n: 1 }, 1)
  await store.put('b', { n: 1 }, 1)
  expect(await seen()).toEqual([null, null, []])
  await logs.commitAll(state)
  expect(await seen()).toEqual([{ n: 1 }, { n: 1 }, ['a', 'b']])
  await state.persist()
  await store.put('a', { n: 2 }, 2)
  await store.put('b', null, 2)
  await store.put('c', { n: 2 }, 2)
  await state.cut(logs.writer)
  await store.put('a', { n: 3 }, 3)
  expect(await seen()).toEqual([{ n: 1 }, { n: 1 }, ['a', 'b']])
  const before = await state.committed()
  expect(await state.committed()).toBe(before)
  state.settle(logs.commit())
  expect(await state.committed()).not.toBe(before)
  expect(await seen()).toEqual([{ n: 2 }, null, ['a', 'c']])
  expect(await store.get('a')).toEqual({ n: 3 })
})

test('generations: an aborted transaction leaves what was committed before', async () => {
  const { state, logs, reopen } = await open(table)
  const store = state.store('s') as KeyValueStore
  await store.put('a', { n: 1 }, 1)
  await logs.commitAll(state)
  await state.persist()
  await store.put('a', { n: 2 }, 2)
  await logs.commitAll(state)
  await store.put('a', { n: 3 }, 3)
  await state.cut(logs.writer)
  await store.put('a', { n: 4 }, 4)
  await state.persist()
  logs.abort()
  await state.close('dirty')
  const again = await reopen()
  expect(await logs.restore(again)).toBe(0)
  expect(await (again.store('s') as KeyValueStore).get('a')).toEqual({ n: 2 })
})

test('generations: a crash before the write replays the tail, and only that', async () => {
  const { state, disk, logs, reopen } = await open(table)
  const store = state.store('s') as KeyValueStore
  for (let n = 0; n < 100; n++) await store.put(`k${n}`, { n }, n)
  await logs.commitAll(state)
  await state.persist()
  await store.put('k5', { n: -5 }, 5)
  await logs.commitAll(state)
  disk.fault = new Error('ENOSPC: no space left on device')
  await expect(state.persist()).rejects.toMatchObject({ code: 'STATE_FAILED', verdict: 'stop' })
  await state.close('dirty')
  const again = await reopen()
  expect(await logs.restore(again)).toBe(1)
  expect(await (again.store('s') as KeyValueStore).get('k5')).toEqual({ n: -5 })
})

test('generations: a write that failed is whole when it is tried again', async () => {
  const { state, disk, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  await store.put('a', { n: 1 }, 1)
  await logs.commitAll(state)
  disk.fault = new Error('EIO')
  await expect(state.persist()).rejects.toThrow(/EIO/)
  expect(state.pendingBytes).toBeGreaterThan(0)
  await state.persist()
  expect(state.pendingBytes).toBe(0)
  expect(await onDisk(disk, logs)).toEqual([['a', { n: 1 }]])
})

test('generations: while a write is under way, its entries stay in memory', async () => {
  const { state, disk, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  await store.put('a', { n: 1 }, 1)
  await logs.commitAll(state)
  await state.persist()
  await store.put('a', { n: 2 }, 2)
  await logs.commitAll(state)
  const slow = gate(disk)
  const persisting = state.persist()
  // Evicted now, it would be read as the engine still has it.
  state.trim(0)
  state.trim(0)
  expect(store.get('a')).toEqual({ n: 2 })
  await slow.open()
  await persisting
  state.trim(0)
  state.trim(0)
  expect(state.cachedBytes).toBe(0)
  expect(await store.get('a')).toEqual({ n: 2 })
})

test('generations: a scan sees the moment it began, whatever is written and persisted meanwhile', async () => {
  const { state, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  const names = Array.from({ length: 60 }, (_, n) => `k${String(n).padStart(2, '0')}`)
  for (const name of names) await store.put(name, { n: 0 }, 1)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
  // Half of them in memory and dirty, one removed, one new.
  for (const name of names.slice(0, 30)) await store.put(name, { n: 1 }, 2)
  await store.put('k05', null, 3)
  await store.put('k055', { n: 9 }, 3)
  const seen: unknown[] = []
  for await (const { key } of store.range(null, null)) {
    seen.push(key)
    if (seen.length !== 3) continue
    await store.put('k10', null, 4)
    await logs.commitAll(state)
    await state.persist()
    state.trim(0)
    state.trim(0)
    await store.put('k59x', { n: 1 }, 5)
  }
  const expected = names.filter((name) => name !== 'k05' && name !== 'k10')
  expected.splice(5, 0, 'k055')
  expect(seen).toEqual(expected)
})

test('generations: a key is asked for once while it is being read, and a write in between counts', async () => {
  const { state, disk, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  await store.put('a', { n: 1 }, 1)
  await store.put('b', { n: 1 }, 1)
  await logs.commitAll(state)
  await state.persist()
  const stale = await store.entry('a')
  state.trim(0)
  state.trim(0)
  const slow = gate(disk)
  store.want('a')
  store.want('b')
  const loading = state.load()
  const first = store.entry('a')
  const second = store.entry('a')
  disk.wait = null
  // Somebody still had the entry in hand, from before it was evicted.
  store.set(stale, { n: 5 }, 5, noHeaders)
  // Clean again and persisted, it must stay: what is being read is older.
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
  await slow.open()
  await loading
  expect(await first).toBe(await second)
  expect(await store.get('a')).toEqual({ n: 5 })
  expect(store.get('b')).toEqual({ n: 1 })
})

test('generations: what an open look-ahead wants is not evicted, read or there before, and later it is', async () => {
  const { state, logs } = await open(table, window('w'))
  const store = state.store('s') as KeyValueStore
  const windows = state.store('w') as WindowStore
  for (const key of ['a', 'b', 'c']) {
    await store.put(key, { n: 1 }, 1)
    windows.set(await windows.entry(key, 10), 1, 10, noHeaders)
  }
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
  expect(await store.get('a')).toEqual({ n: 1 })
  expect(await windows.entry('a', 10)).toMatchObject({ value: 1 })
  const before = state.cachedBytes
  for (const key of ['a', 'b']) {
    store.want(key)
    windows.want(key, 10)
  }
  await state.load()
  const letGo = state.hold()
  state.trim(0)
  state.trim(0)
  expect(state.cachedBytes).toBe(2 * before)
  // What comes after it is no part of it.
  expect(await store.get('c')).toEqual({ n: 1 })
  store.want('a')
  state.hold()()
  state.trim(0)
  state.trim(0)
  expect(state.cachedBytes).toBeLessThan(2 * before)
  letGo()
  state.trim(0)
  state.trim(0)
  expect(state.cachedBytes).toBe(0)
})

test('generations: a look-ahead that failed is not fatal, the look-up is', async () => {
  const { state, disk, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  await store.put('a', { n: 1 }, 1)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  store.want('a')
  disk.wait = async () => {
    throw new Error('EIO')
  }
  void state.load()
  await expect(store.get('a')).rejects.toThrow('EIO')
  disk.wait = null
  await new Promise((resolve) => setImmediate(resolve))
  expect(await store.get('a')).toEqual({ n: 1 })
})

test('generations: what is written while it is read is not overwritten by what was read', async () => {
  const { state, disk, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  await store.put('a', { n: 1 }, 1)
  await logs.commitAll(state)
  await state.persist()
  const stale = await store.entry('a')
  state.trim(0)
  state.trim(0)
  const slow = gate(disk)
  store.want('a')
  void state.load()
  disk.wait = null
  store.set(stale, null, 2, noHeaders)
  await logs.commitAll(state)
  await state.persist()
  expect(await onDisk(disk, logs)).toEqual([])
  state.trim(0)
  state.trim(0)
  // Wanted again, and read anew, while the first answer is still under way.
  store.want('a')
  await state.load()
  await slow.open()
  expect(await store.get('a')).toBeNull()
})

test('generations: who asks for a wanted key gets what the engine has, asked for it yet or not', async () => {
  const { state, disk, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  for (const key of ['a', 'b', 'c', 'e']) await store.put(key, { n: 1 }, 1)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  for (const key of ['a', 'b', 'c', 'd']) store.want(key)
  // A scan does not take what is being read for something absent.
  expect((await store.list(null, null)).map(({ key }) => key)).toEqual(['a', 'b', 'c', 'e'])
  const slow = gate(disk)
  const before = store.get('a')
  const after = store.get('b')
  const alone = store.get('e')
  state.trim(0)
  state.trim(0)
  await slow.open()
  expect([await before, await after, await alone]).toEqual([{ n: 1 }, { n: 1 }, { n: 1 }])
  expect([await store.get('c'), await store.get('d')]).toEqual([{ n: 1 }, null])
})

test('generations: a value that can not be read fails who asks for it, and nobody else', async () => {
  const { state, disk, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  for (const key of ['a', 'b', 'c']) await store.put(key, { n: 1 }, 1)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  const [row] = [...disk.rows].find(([key]) => key.endsWith('b')) as [string, Buffer]
  disk.rows.set(row, Buffer.from('00000000{'))
  for (const delay of [null, async () => {}]) {
    disk.wait = delay
    for (const key of ['a', 'b', 'c']) store.want(key)
    // Whoever looks ahead has no use for the failure.
    await new Promise<void>((resolve) => resolve(state.load())).catch(() => {})
    expect(await store.get('a')).toEqual({ n: 1 })
    await expect((async () => store.get('b'))()).rejects.toThrow('JSON')
    expect(await store.get('c')).toEqual({ n: 1 })
    state.trim(0)
    state.trim(0)
  }
})

test('generations: a window that is being read stays, once it was written', async () => {
  const { state, disk, logs } = await open(window('s'))
  const store = state.store('s') as WindowStore
  store.set(await store.entry('a', 10), 1, 10, noHeaders)
  await logs.commitAll(state)
  await state.persist()
  const stale = await store.entry('a', 10)
  state.trim(0)
  state.trim(0)
  const slow = gate(disk)
  const reading = store.entry('a', 10)
  disk.wait = null
  expect(store.set(stale, 5, 11, noHeaders)).toBe(true)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
  await slow.open()
  expect((await reading).value).toBe(5)
  expect((await store.entry('a', 10)).value).toBe(5)
})

test('generations: a window that is evicted while all are read, it is among them, then and later', async () => {
  const { state, disk, logs } = await open(window('s'))
  const store = state.store('s') as WindowStore
  store.set(await store.entry('a', 10), 1, 10, noHeaders)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
  store.set(await store.entry('b', 20), 2, 20, noHeaders)
  await logs.commitAll(state)
  const slow = gate(disk)
  const reading = store.fetchAll(0, 100)
  disk.wait = null
  await state.persist()
  state.trim(0)
  state.trim(0)
  await slow.open()
  expect((await reading).map(({ key, value }) => [key, value])).toEqual([
    ['a', 1],
    ['b', 2],
  ])
  expect((await store.entry('b', 20)).value).toBe(2)
})

test.each(['of its key', 'of all'])(
  'generations: a window removed while those %s are read, it stays removed',
  async (which) => {
    const { state, disk, logs } = await open(window('s'))
    const store = state.store('s') as WindowStore
    store.set(await store.entry('a', 5), 1, 5, noHeaders)
    store.set(await store.entry('a', 10), 2, 10, noHeaders)
    await logs.commitAll(state)
    await state.persist()
    state.trim(0)
    state.trim(0)
    store.set(await store.entry('a', 10), null, 11, noHeaders)
    await logs.commitAll(state)
    const slow = gate(disk)
    const reading = which === 'of all' ? store.fetchAll(0, 100) : store.fetch('a', 0, 100)
    disk.wait = null
    await state.persist()
    await slow.open()
    expect((await reading).map(({ start, value }) => [start, value])).toEqual([[5, 1]])
    expect((await store.entry('a', 10)).value).toBe(null)
  },
)

test.each([
  { what: 'a key', fetch: (store: WindowStore) => store.fetch('a', 0, 100) },
  { what: 'all keys', fetch: (store: WindowStore) => store.fetchAll(0, 100) },
])(
  'generations: duplicates of $what, evicted over and over while they are read, are read twice at most',
  async ({ fetch }) => {
    const { state, disk, logs } = await open(window('s', { retainDuplicates: true }))
    const store = state.store('s') as WindowStore
    for (const value of [1, 2, 3]) await store.append('a', value * 10, value, noHeaders)
    await logs.commitAll(state)
    await state.persist()
    state.trim(0)
    let reads = 0
    disk.wait = async () => {
      reads++
    }
    let isOver = false
    const trimming = (async () => {
      for (let turn = 0; turn < 2_000 && !isOver; turn++) {
        state.trim(0)
        await null
      }
    })()
    expect((await fetch(store)).map(({ value }) => value)).toEqual([1, 2, 3])
    isOver = true
    await trimming
    expect(reads).toBeGreaterThan(0)
    expect(reads).toBeLessThan(10)
    // Room is made again.
    await store.append('b', 40, 4, noHeaders)
    await logs.commitAll(state)
    await state.persist()
    state.trim(0)
    state.trim(0)
    expect(state.cachedBytes).toBe(0)
  },
)

test('generations: a version that only an undone step put out of the history is still part of it', async () => {
  const { state, logs, reopen } = await open(versioned('s'))
  const store = state.store('s') as VersionedStore
  await store.put('a', 1, 100, noHeaders)
  await logs.commitAll(state)
  await state.persist()
  await store.put('a', 2, 139, noHeaders)
  await store.put('a', 3, 150, noHeaders)
  await logs.commitAll(state)
  await store.put('a', 4, 400, noHeaders)
  const second = { value: 2, timestamp: 139, validTo: 150 }
  const view = (await state.committed()).store('s') as VersionedStore
  expect(await view.getAsOf('a', 140)).toEqual(second)
  await state.persist()
  logs.abort()
  await state.close('dirty')
  const again = await reopen()
  expect(await logs.restore(again)).toBe(0)
  const versions = again.store('s') as VersionedStore
  expect(await versions.getAsOf('a', 120)).toEqual({ value: 1, timestamp: 100, validTo: 139 })
  expect(await versions.getAsOf('a', 140)).toEqual(second)
})

test('generations: windows wanted ahead are read with one request', async () => {
  const { state, logs, disk } = await open(window('s'))
  const store = state.store('s') as WindowStore
  for (const key of ['a', 'b', 'c']) store.set(await store.entry(key, 10), key, 10, noHeaders)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
  let reads = 0
  disk.wait = async () => {
    reads++
  }
  for (const key of ['a', 'b', 'c', 'd']) store.want(key, 10)
  await state.load()
  expect(reads).toBe(1)
  for (const key of ['a', 'b', 'c']) expect((store.entry(key, 10) as Entry).value).toBe(key)
  expect((store.entry('d', 10) as Entry).value).toBe(null)
  // Later than anything evicted: nothing to ask the engine for.
  expect((store.entry('a', 20) as Entry).value).toBe(null)
  expect(reads).toBe(1)
})

test('generations: windows of a key that were read as a range are in memory, each of them, also those that are not', async () => {
  const { state, logs, disk } = await open(window('s'))
  const store = state.store('s') as WindowStore
  for (let start = 0; start < 50; start += 10) store.set(await store.entry('a', start), start, 50, noHeaders)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
  // The latest is in memory again, newer than on disk.
  store.set(await store.entry('a', 40), 'new', 51, noHeaders)
  let reads = 0
  disk.wait = async () => {
    reads++
  }
  const values = (await store.fetch('a', 5, 45)).map(({ value }) => value)
  expect(values).toEqual([10, 20, 30, 'new'])
  expect((await store.fetch('b', 5, 45)).length).toBe(0)
  const before = reads
  expect(before).toBeGreaterThan(0)
  for (const start of [10, 20, 25, 30, 45]) {
    expect((store.entry('a', start) as Entry).value).toBe(start % 10 === 0 ? start : null)
    expect((store.entry('b', start) as Entry).value).toBe(null)
  }
  expect((store.entry('a', 40) as Entry).value).toBe('new')
  expect(reads).toBe(before)
})

test('generations: a store is wiped alone, the others go on', async () => {
  const { state, logs, reopen } = await open(table, keyValue('other'))
  const store = state.store('s') as KeyValueStore
  const other = state.store('other') as KeyValueStore
  await store.put('a', { n: 1 }, 1)
  await other.put('a', { n: 1 }, 1)
  await logs.commitAll(state)
  await state.persist()
  await state.wipe('s')
  expect(await store.get('a')).toBe(null)
  expect(await other.get('a')).toEqual({ n: 1 })
  expect(state.positions().map(({ offset }) => offset)).toEqual([null, 1])
  await state.close('clean')
  const again = await reopen()
  expect(again.positions().map(({ offset }) => offset)).toEqual([null, 1])
  expect(await collect((again.store('s') as KeyValueStore).range(null, null))).toEqual([])
})

test('generations: memory is accounted for, and freed', async () => {
  const { state, logs } = await open(table, window('w'))
  const store = state.store('s') as KeyValueStore
  const windows = state.store('w') as WindowStore
  for (let n = 0; n < 100; n++) {
    await store.put(`k${n}`, { text: 'x'.repeat(50) }, 1)
    windows.set(await windows.entry(`k${n}`, 0), 'y'.repeat(50), 1, noHeaders)
  }
  expect(state.uncommittedBytes).toBeGreaterThan(10_000)
  await state.cut(logs.writer)
  const flying = state.uncommittedBytes
  expect(flying).toBeGreaterThan(10_000)
  state.settle(logs.commit())
  expect(state.uncommittedBytes).toBe(0)
  expect(state.pendingBytes).toBe(flying)
  await state.persist()
  expect(state.pendingBytes).toBe(0)
  // Five times the encoded size and the entry itself.
  expect(state.cachedBytes).toBe(100 * (200 + 5 * 61) + 100 * (320 + 5 * 52))
  state.trim(10_000)
  state.trim(10_000)
  expect(state.cachedBytes).toBeLessThanOrEqual(10_000)
  expect(state.cachedBytes).toBeGreaterThan(5000)
})

test('generations: lruMap forgets the least recently used for good, with a tombstone', async () => {
  const { state, logs } = await open(keyValue('s', { entriesMax: 3, engine: 'memory' }))
  const store = state.store('s') as KeyValueStore
  for (const key of ['a', 'b', 'c']) await store.put(key, 1, 1)
  await logs.commitAll(state)
  await store.get('a')
  await store.put('d', 1, 2)
  expect(await store.get('b')).toBe(null)
  expect((await store.list(null, null)).map(({ key }) => key)).toEqual(['a', 'c', 'd'])
  await logs.commitAll(state)
  expect(
    logs
      .of('s')
      .slice(3)
      .map(({ key, value }) => [key.toString(), value?.toString() ?? null])
      .sort(),
  ).toEqual([
    ['b', null],
    ['d', '1'],
  ])
})

test('generations: what is gone already is not taken back a second time', async () => {
  const { state, logs } = await open(table)
  const store = state.store('s') as KeyValueStore
  await store.put('a', { n: 1 }, 1)
  await logs.commitAll(state)
  for (let time = 2; time < 5; time++) {
    await store.put('a', null, time)
    await logs.commitAll(state)
    if (time === 3) await state.persist()
  }
  expect(logs.of('s').map(({ value, timestamp }) => [value === null, timestamp])).toEqual([
    [false, 1],
    [true, 2],
  ])
})

test('generations: a store without a changelog is persisted all the same', async () => {
  const spec = keyValue('s', { changelog: null })
  const { state, logs, disk } = await open(spec)
  const store = state.store('s') as KeyValueStore
  await store.put('a', { n: 1 }, 1)
  await logs.commitAll(state)
  await state.close('clean')
  expect(logs.of('s')).toEqual([])
  const again = await openDiskState({ stores: [spec], context: logs.context, cacheBytesMax: 0 }, disk)
  expect(await (again.store('s') as KeyValueStore).get('a')).toEqual({ n: 1 })
})

test('generations: a value that can not be written stops with the store named', async () => {
  const { state, logs } = await open(table)
  const circle: { self?: unknown } = {}
  circle.self = circle
  await (state.store('s') as KeyValueStore).put('a', circle, 1)
  expect(() => state.cut(logs.writer)).toThrow(/store s: a changed entry can't be written/)
})

test('persist: what came and went between two writes leaves no trace in the engine, what was there is removed', async () => {
  const disk = new MemoryDisk()
  const logs = new Changelogs()
  const specs = [session('s')]
  const state = await openDiskState({ stores: specs, context: logs.context, cacheBytesMax: 0 }, disk)
  const store = state.store('s') as SessionStore
  const rows = (): string[] => [...disk.rows.keys()].filter((key) => !key.startsWith('\0\0'))
  const set = async (end: number, value: string | null): Promise<void> => {
    store.set(await store.entry('a', 0, end), value, noHeaders)
    await logs.commitAll(state)
  }
  await set(1, 'first')
  await state.persist()
  expect(rows()).toHaveLength(1)
  const removed: string[] = []
  const { delete: remove } = disk.rows
  disk.rows.delete = (key) => {
    removed.push(key)
    return remove.call(disk.rows, key)
  }
  await set(2, 'second')
  await set(1, null)
  await set(3, 'third')
  await set(2, null)
  await state.persist()
  expect(removed).toHaveLength(1)
  expect(rows()).toHaveLength(1)
  expect((await store.find('a', 0, 10)).map(({ value }) => value)).toEqual(['third'])
  await state.close('dirty')
  const again = await openDiskState({ stores: specs, context: logs.context, cacheBytesMax: 0 }, disk)
  expect(await logs.restore(again)).toBe(0)
  const found = await (again.store('s') as SessionStore).find('a', 0, 10)
  expect(found.map(({ value }) => value)).toEqual(['third'])
})

test.each([false, true])(
  'generations: many come and go before a persist and are let go of, those that stay are written as they were; headers kept: %s',
  async (keepsHeaders) => {
    const { state, disk, logs, reopen } = await open(session('s', { keepsHeaders }))
    const store = state.store('s') as SessionStore
    const grow = async (key: string, end: number, n: number | null): Promise<WeakRef<Entry>> => {
      const headers: Headers = [{ key: 'n', value: Buffer.from(String(n)) }]
      const value = n === null ? null : keepsHeaders ? new HeadedValue({ n }, headers) : { n }
      const entry = (await store.entry(key, 0, end)) as Entry
      store.set(entry, value, noHeaders)
      return new WeakRef(entry)
    }
    const keys = Array.from({ length: 100 }, (_, index) => `k${index}`)
    // Every tenth session ends at its second commit, the others grow with each.
    const lastOf = (index: number): number => (index % 10 === 0 ? 2 : 12)
    let grown: WeakRef<Entry>[] = []
    for (let round = 1; round <= 12; round++) {
      for (const [index, key] of keys.entries()) {
        if (round > lastOf(index)) continue
        if (round > 1) await grow(key, round - 1, null)
        grown.push(await grow(key, round, index * 20 + round))
      }
      await logs.commitAll(state)
      if (round === 3) {
        await state.persist()
        grown = []
      }
    }
    await collectGarbage()
    // 90 are there. The lists of what expires together hold about as many that are gone as are not; nothing else does.
    expect(grown).toHaveLength(9 * 90)
    expect(grown.filter((entry) => entry.deref() !== undefined).length).toBeLessThan(4 * 90)
    await state.persist()
    await state.close('clean')
    const again = (await reopen()).store('s') as SessionStore
    for (const [index, key] of keys.entries()) {
      const found = await again.find(key, 0, 100)
      expect(found.map(({ end }) => end)).toEqual([lastOf(index)])
      const n = index * 20 + lastOf(index)
      const { value } = found[0] as Entry
      if (!keepsHeaders) expect(value).toEqual({ n })
      else {
        expect(bareValue(value)).toEqual({ n })
        expect((value as HeadedValue).headers[0]?.value?.toString()).toBe(String(n))
      }
    }
    expect([...disk.rows.keys()].filter((key) => !key.startsWith('\0\0'))).toHaveLength(keys.length)
  },
)
