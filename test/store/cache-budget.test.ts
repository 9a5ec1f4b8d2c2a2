/** What cached stores hold back: a task's share of its thread's part of the application's cache. */
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { CacheBudget } from '../../src/store/cache-budget.ts'
import type { KeyValueStore, TaskState } from '../../src/store/contract.ts'
import { openMemoryState } from '../../src/store/task-state.ts'
import { keyValue } from './fixture.ts'

const cacheMaxBytes = 40_000

/** A task with one cached store, and how many of its changes are held back. */
function task(cacheBudget: CacheBudget, cached = true) {
  const held = new Set<unknown>()
  const state: TaskState = openMemoryState({
    stores: [keyValue('table', { cached })],
    context: { changelogTopic: (store) => store, drop: () => {} },
    cacheBytesMax: cacheMaxBytes,
    cacheBudget,
  })
  const store = state.store('table') as KeyValueStore<string, string>
  store.onFlush(({ entry }) => void held.delete(entry.key), { keepOld: false })
  return {
    state,
    get held() {
      return held.size
    },
    async put(records: number) {
      for (let record = 0; record < records; record++) {
        const key = `k${record}`
        store.set(await store.entry(key), 'value', record, noHeaders)
        if (cached) held.add(key)
        await state.relieve()
      }
    },
  }
}

test('cache: however many tasks a thread has, they hold back no more than one alone', async () => {
  const budget = new CacheBudget(cacheMaxBytes)
  const alone = task(budget)
  let most = 0
  for (let round = 0; round < 20; round++) {
    await alone.put(100)
    most = Math.max(most, alone.held)
  }
  expect(most).toBe(100)
  expect(budget.share).toBe(cacheMaxBytes)
  const others = [task(budget), task(budget), task(budget)]
  expect(budget.share).toBe(cacheMaxBytes / 4)
  // A task without cached stores takes no share.
  task(budget, false)
  expect(budget.share).toBe(cacheMaxBytes / 4)
  const all = [alone, ...others]
  for (const one of all) await one.put(5_000)
  const together = all.reduce((sum, { held }) => sum + held, 0)
  await Promise.all(others.map(({ state }) => state.close('clean')))
  expect(budget.share).toBe(cacheMaxBytes)
  // Each held change counts for 64 bytes at least.
  expect(together).toBeLessThanOrEqual(cacheMaxBytes / 64)
  budget.resize(cacheMaxBytes / 2)
  expect(budget.share).toBe(cacheMaxBytes / 2)
})
