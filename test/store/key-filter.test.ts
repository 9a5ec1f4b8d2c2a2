/** The filter of keys: it never denies one that was added, and seldom claims one that was not. */
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import type { KeyValueStore } from '../../src/store/contract.ts'
import { KeyFilter } from '../../src/store/key-filter.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { openDiskState } from '../../src/store/task-state.ts'
import { Changelogs, keyValue } from './fixture.ts'

function keyOf(number: number): Buffer {
  return Buffer.from(`key-${String(number).padStart(12, '0')}`)
}

test('key filter: all keys that were added may be there, of others not one in twenty, as it grows a hundredfold', () => {
  const filter = new KeyFilter(0)
  const count = 100_000
  for (let number = 0; number < count; number++) filter.add(keyOf(number), 0, 16)
  let denied = 0
  let claimed = 0
  for (let number = 0; number < count; number++) {
    if (!filter.mayHold(keyOf(number), 0, 16)) denied++
    if (filter.mayHold(keyOf(count + number), 0, 16)) claimed++
  }
  expect(denied).toBe(0)
  expect(claimed).toBeLessThan(count / 20)
  const { bytes } = filter
  expect(bytes).toBeLessThan((count * 12 * 2) / 8 + 8192)
  // What may be there already takes no room.
  for (let number = 0; number < count; number++) filter.add(keyOf(number), 0, 16)
  expect(filter.bytes).toBe(bytes)
})

test('key filter: keys that come and go again and again take no more and more room', () => {
  const filter = new KeyFilter(1024)
  for (let round = 0; round < 40; round++) {
    for (let number = 0; number < 1500; number++) filter.addNew(keyOf(number), 0, 16)
  }
  for (let number = 0; number < 1500; number++) expect(filter.mayHold(keyOf(number), 0, 16)).toBe(true)
  expect(filter.bytes).toBeLessThan(8 * 1024)
})

test('key filter: a key that was never there is not asked for, one that was evicted or restored is', async () => {
  const disk = new MemoryDisk()
  const logs = new Changelogs()
  const stores = [keyValue('s')]
  const open = (): ReturnType<typeof openDiskState> =>
    openDiskState({ stores, context: logs.context, cacheBytesMax: 0 }, disk)
  let state = await open()
  let store = state.store('s') as KeyValueStore
  const names = Array.from({ length: 100 }, (_, index) => `k${index}`)
  for (const name of names) await store.put(name, { name }, 1)
  await logs.commitAll(state)
  await state.persist()
  const room = 8192
  state.trim(room)
  state.trim(room)
  let reads = 0
  disk.wait = async () => {
    reads++
  }
  // Absent, and then of the engine: evicted again, it must be found.
  const late = await store.entry('late')
  expect(reads).toBe(0)
  store.set(late, { name: 'late' }, 2, noHeaders)
  store.want('never')
  await state.load()
  expect(reads).toBe(0)
  await logs.commitAll(state)
  await state.persist()
  state.trim(room)
  for (const name of names) await store.put(`other-${name}`, { name }, 3)
  await logs.commitAll(state)
  await state.persist()
  state.trim(room)
  state.trim(room)
  reads = 0
  for (const name of ['late', ...names]) expect(await store.get(name)).toEqual({ name })
  expect(reads).toBeGreaterThan(50)
  // Rows that a restore laid down are known, too.
  await state.wipe()
  await logs.restore(state)
  reads = 0
  for (const name of ['late', ...names]) expect(await store.get(name)).toEqual({ name })
  expect(reads).toBeGreaterThan(50)
  reads = 0
  expect(await store.get('never')).toBe(null)
  expect(reads).toBe(0)
  // Opened anew, nobody knows what the engine has.
  await state.persist()
  await state.close('clean')
  state = await open()
  store = state.store('s') as KeyValueStore
  for (const name of names) expect(await store.get(name)).toEqual({ name })
  expect(await store.get('never')).toBe(null)
  expect(reads).toBeGreaterThan(100)
})
