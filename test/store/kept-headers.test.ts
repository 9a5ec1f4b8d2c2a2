/**
 * Stores that keep headers: each value comes back with those it was put with, from memory, from the engine, from the
 * changelog and from what is committed, through random lives.
 */
import { expect, test } from 'vitest'
import type { Headers } from '../../src/base/headers.ts'
import type { Entry, KeyValueStore, SessionStore, TaskState, WindowStore } from '../../src/store/contract.ts'
import { HeadedValue } from '../../src/store/kept-headers.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { openDiskState, openMemoryState } from '../../src/store/task-state.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import { drawFrom, scattered } from '../wire/draw.ts'
import { Changelogs, json, keyValue, session, waiting, window } from './fixture.ts'

const keepsHeaders = true
const specs: readonly StoreSpec[] = [
  keyValue('values', { keepsHeaders }),
  keyValue('unlogged', { keepsHeaders, changelog: null }),
  keyValue('waiting', { keepsHeaders, valueSerde: waiting(json) }),
  window('windows', { keepsHeaders, retentionMs: 100_000, segmentIntervalMs: 60_000 }),
  session('sessions', { keepsHeaders, retentionMs: 100_000, segmentIntervalMs: 60_000 }),
]

type Model = Map<string, HeadedValue>

async function put(state: TaskState, name: string, key: string, value: HeadedValue | null): Promise<void> {
  const store = state.store(name)
  if (store.kind === 'key-value') await (store as KeyValueStore).put(key, value, 7)
  else if (store.kind === 'window') {
    const entry = await (store as WindowStore).entry(key, 50)
    ;(store as WindowStore).set(entry, value, 7, [])
  } else {
    const entry = await (store as SessionStore).entry(key, 40, 50)
    ;(store as SessionStore).set(entry, value, [])
  }
}

type Reader = Pick<TaskState, 'store'>

async function content(state: Reader, name: string): Promise<Model> {
  const store = state.store(name)
  const found: Model = new Map()
  let entries: readonly Entry[] = []
  if (store.kind === 'key-value') entries = await (store as KeyValueStore).list(null, null)
  else if (store.kind === 'window') entries = await (store as WindowStore).fetchAll(0, 100)
  else entries = await (store as SessionStore).findEnding(0, 100)
  for (const { key, value } of entries) found.set(key as string, value as HeadedValue)
  return found
}

test('headers: what was put with a value comes back with it, through random lives', async () => {
  for (let seed = 1; seed <= 15; seed++) {
    const next = drawFrom(scattered(seed))
    const below = (count: number): number => Math.floor(next() * count)
    const disk = new MemoryDisk()
    const logs = new Changelogs()
    const open = (): Promise<TaskState> =>
      openDiskState({ stores: specs, context: logs.context, cacheBytesMax: 0 }, disk)
    let state = await open()
    const live = new Map(specs.map(({ name }) => [name, new Map() as Model]))
    let committed = new Map(specs.map(({ name }) => [name, new Map() as Model]))
    let persisted = committed
    const headersOf = (n: number): Headers =>
      Array.from({ length: below(4) }, (_, index) => ({
        key: `header ${index % 2}`,
        value: below(5) === 0 ? null : Buffer.from(`${n}`.repeat(below(3))),
      }))
    const settledOf = (): typeof committed =>
      new Map([...live].map(([name, model]) => [name, new Map(model)]))
    const change = async (step: number): Promise<void> => {
      const { name } = specs[below(specs.length)] as StoreSpec
      const key = `key ${below(6)}`
      const value = below(5) === 0 ? null : new HeadedValue({ step }, headersOf(step))
      await put(state, name, key, value)
      const model = live.get(name) as Model
      if (value === null) model.delete(key)
      else model.set(key, value)
    }
    const commit = async (): Promise<void> => {
      await logs.commitAll(state)
      committed = settledOf()
    }
    for (let step = 0; step < 120; step++) {
      const what = below(12)
      if (what < 8) await change(step)
      else if (what === 8) await commit()
      else if (what === 9) {
        disk.wait = () => new Promise((resolve) => setImmediate(resolve))
        const writing = state.persist()
        persisted = committed
        // What is committed meanwhile is for the next write.
        if (below(2) === 0) {
          await change(step)
          await commit()
        }
        await writing
        disk.wait = null
      } else if (what === 10) state.trim(0)
      else {
        // A crash: what is logged is restored, the rest is as the engine has it.
        logs.abort()
        await state.close('dirty')
        state = await open()
        await logs.restore(state)
        committed = new Map(
          [...committed].map(([name, model]) => [
            name,
            name === 'unlogged' ? (persisted.get(name) as Model) : model,
          ]),
        )
        for (const [name, model] of committed) live.set(name, new Map(model))
        persisted = committed
      }
      const view = await state.committed()
      for (const { name } of specs) {
        expect(await content(state, name), `seed ${seed}, step ${step}, ${name}`).toEqual(live.get(name))
        expect(await content(view, name), `seed ${seed}, step ${step}, ${name}, committed`).toEqual(
          committed.get(name),
        )
      }
    }
    await state.close('dirty')
  }
})

test('headers: the changelog has the value alone, and the headers as those of its record', async () => {
  const logs = new Changelogs()
  const stores = [keyValue('values', { keepsHeaders })]
  const state = openMemoryState({ stores, context: logs.context, cacheBytesMax: 0 })
  const headers = [
    { key: 'trace', value: Buffer.from('1') },
    { key: 'trace', value: null },
  ]
  await put(state, 'values', 'a', new HeadedValue({ n: 1 }, headers))
  await put(state, 'values', 'b', new HeadedValue({ n: 2 }, []))
  await logs.commitAll(state)
  expect(logs.of('values')).toMatchObject([
    { key: Buffer.from('a'), value: Buffer.from('{"n":1}'), timestamp: 7, headers },
    { key: Buffer.from('b'), value: Buffer.from('{"n":2}'), timestamp: 7, headers: [] },
  ])
  const other = openMemoryState({ stores, context: logs.context, cacheBytesMax: 0 })
  await logs.restore(other)
  expect(await content(other, 'values')).toEqual(await content(state, 'values'))
})

test('headers: a store that keeps them from now on is restored, its old rows are of no use', async () => {
  const logs = new Changelogs()
  const disk = new MemoryDisk()
  const open = (store: StoreSpec): Promise<TaskState> =>
    openDiskState({ stores: [store], context: logs.context, cacheBytesMax: 0 }, disk)
  const before = await open(keyValue('values'))
  await (before.store('values') as KeyValueStore).put('a', { n: 1 }, 7)
  await logs.commitAll(before)
  await before.close('clean')
  const after = await open(keyValue('values', { keepsHeaders }))
  expect(after.positions()).toMatchObject([{ store: 'values', offset: null }])
  await logs.restore(after)
  expect(await content(after, 'values')).toEqual(new Map([['a', new HeadedValue({ n: 1 }, [])]]))
})
