/**
 * What every kind of store promises on every engine, one story each. The random lives of test/store go further; these
 * are for reading. Each story runs with all of it in memory, with all of it persisted and evicted, and half and half.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import type { Serde } from '../../src/serde/serde.ts'
import type {
  Entry,
  KeyValueStore,
  SessionStore,
  TaskState,
  VersionedStore,
  WindowStore,
} from '../../src/store/contract.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import { Changelogs, collect, keyValue, long, session, text, versioned, window } from '../store/fixture.ts'

export type StateHome = {
  open(stores: readonly StoreSpec[], logs: Changelogs): Promise<TaskState>
  remove(): void
}

const texts = { valueSerde: text as Serde<unknown> }

/** Where what was written lies when it is read. */
const places = ['live', 'settled', 'persisted and evicted', 'half evicted', 'reopened'] as const

export function storeContract(name: string, make: () => StateHome): void {
  describe.each(places)(`store on ${name}, %s`, (place) => {
    let home: StateHome
    let state: TaskState
    let logs: Changelogs
    let specs: readonly StoreSpec[]

    beforeEach(() => {
      home = make()
      logs = new Changelogs()
    })

    afterEach(async () => {
      await state.close('dirty')
      home.remove()
    })

    async function open<T>(spec: StoreSpec): Promise<T> {
      specs = [spec]
      state = await home.open(specs, logs)
      return state.store(spec.name) as unknown as T
    }

    /** Moves what was written so far; gives the store to go on with. */
    async function move<T>(): Promise<T> {
      if (place !== 'live') await logs.commitAll(state)
      if (place === 'persisted and evicted' || place === 'half evicted') {
        await state.persist()
        state.trim(place === 'half evicted' ? state.cachedBytes / 2 : 0)
      }
      if (place === 'reopened') {
        await state.close('clean')
        state = await home.open(specs, logs)
        await logs.restore(state)
      }
      return state.stores[0] as unknown as T
    }

    const pairs = (entries: readonly Entry[]): unknown[] => entries.map(({ key, value }) => [key, value])

    test('key-value: ranges are in the order of bytes, with both ends, either way', async () => {
      let store = await open<KeyValueStore>(keyValue('s', texts))
      for (const key of ['b', '😀', 'a', '\uffee', 'ab', 'c']) await store.put(key, key, 1)
      store = await move<KeyValueStore>()
      await store.put('aa', 'new', 2)
      await store.put('b', null, 2)
      const all = [
        ['a', 'a'],
        ['aa', 'new'],
        ['ab', 'ab'],
        ['c', 'c'],
        ['\uffee', '\uffee'],
        ['😀', '😀'],
      ]
      expect(pairs(await collect(store.range(null, null)))).toEqual(all)
      expect(pairs(await store.list(null, null, 'backward'))).toEqual([...all].reverse())
      expect(pairs(await collect(store.range('aa', 'c', 'backward')))).toEqual(all.slice(1, 4).reverse())
      expect(pairs(await store.list('b', 'b'))).toEqual([])
      expect(pairs(await store.list('c', 'a'))).toEqual([])
      expect(pairs(await collect(store.prefix(Buffer.from('a'))))).toEqual(all.slice(0, 3))
    })

    test('key-value: an entry reads and writes, its timestamp with it', async () => {
      let store = await open<KeyValueStore>(keyValue('s'))
      await store.put('a', { n: 1 }, 5)
      store = await move<KeyValueStore>()
      const entry = await store.entry('a')
      expect([entry.key, entry.value, entry.timestamp, entry.start, entry.end]).toEqual([
        'a',
        { n: 1 },
        5,
        0,
        0,
      ])
      store.set(entry, { n: 2 }, 9, noHeaders)
      expect(entry.timestamp).toBe(9)
      expect(await store.get('a')).toEqual({ n: 2 })
      store.set(entry, null, 10, noHeaders)
      expect([entry.value, entry.timestamp]).toEqual([null, -1])
      expect(await store.get('a')).toBe(null)
      expect((await store.entry('never')).value).toBe(null)
    })

    test('key-value: entries may be removed while a range over them runs', async () => {
      let store = await open<KeyValueStore>(keyValue('s', texts))
      for (let n = 0; n < 100; n++) await store.put(`k${String(n).padStart(2, '0')}`, 'v', 1)
      store = await move<KeyValueStore>()
      let seen = 0
      for await (const entry of store.range(null, null)) {
        seen++
        await store.put(entry.key, null, 2)
      }
      expect(seen).toBe(100)
      expect(await store.list(null, null)).toEqual([])
    })

    test('key-value: an entry of a range can be written to', async () => {
      let store = await open<KeyValueStore>(keyValue('s', texts))
      await store.put('a', 'old', 1)
      store = await move<KeyValueStore>()
      for await (const entry of store.range(null, null)) store.set(entry, 'new', 2, noHeaders)
      expect(await store.get('a')).toBe('new')
    })

    test('window: by key, by time, either way', async () => {
      let store = await open<WindowStore>(window('s', { ...texts, keySerde: long as Serde<unknown> }))
      const put = async (key: number, start: number): Promise<void> => {
        expect(store.set(await store.entry(key, start), `${key}@${start}`, start + 1, noHeaders)).toBe(true)
      }
      for (const start of [30, 10, 20]) for (const key of [2, 1]) await put(key, start)
      store = await move<WindowStore>()
      await put(1, 15)
      const values = (entries: readonly Entry[]): unknown[] => entries.map(({ value }) => value)
      expect(values(await store.fetch(1, 10, 20))).toEqual(['1@10', '1@15', '1@20'])
      expect(values(await store.fetch(1, 0, 99, 'backward'))).toEqual(['1@30', '1@20', '1@15', '1@10'])
      expect(values(await store.fetchAll(15, 30))).toEqual(['1@15', '1@20', '2@20', '1@30', '2@30'])
      expect(values(await store.fetchAll(20, 30, 'backward'))).toEqual(['2@30', '1@30', '2@20', '1@20'])
      expect(values(await collect(store.fetchRange(2, null, 0, 20)))).toEqual(['2@10', '2@20'])
      const entry = await store.entry(2, 20)
      expect([entry.start, entry.end, entry.timestamp]).toEqual([20, 30, 21])
      expect(store.observedTime).toBe(30)
    })

    test('window with duplicates: in the order of time, then of arrival', async () => {
      let store = await open<WindowStore>(window('s', { ...texts, retainDuplicates: true }))
      await store.append('a', 20, 'first', noHeaders)
      await store.append('a', 10, 'early', noHeaders)
      await store.append('b', 20, 'other', noHeaders)
      store = await move<WindowStore>()
      await store.append('a', 20, 'second', noHeaders)
      const found = await store.fetch('a', 0, 30)
      expect(found.map(({ start, value }) => [start, value])).toEqual([
        [10, 'early'],
        [20, 'first'],
        [20, 'second'],
      ])
    })

    test('session: those that overlap, by end, and removed ones no more', async () => {
      let store = await open<SessionStore>(session('s', texts))
      const put = async (start: number, end: number, value: string | null): Promise<void> => {
        expect(store.set(await store.entry('a', start, end), value, noHeaders)).toBe(true)
      }
      await put(10, 20, 'one')
      await put(40, 40, 'two')
      await put(60, 70, 'three')
      store.set(await store.entry('aa', 10, 20), 'else', noHeaders)
      store = await move<SessionStore>()
      await put(40, 40, null)
      await put(35, 45, 'wider')
      const found = await store.find('a', 20, 60)
      expect(found.map(({ start, end, value }) => [start, end, value])).toEqual([
        [10, 20, 'one'],
        [35, 45, 'wider'],
        [60, 70, 'three'],
      ])
      expect((await store.find('a', 21, 59)).map(({ value }) => value)).toEqual(['wider'])
      expect((await store.findEnding(20, 45)).map(({ key, end }) => [key, end])).toEqual([
        ['a', 20],
        ['aa', 20],
        ['a', 45],
      ])
      expect((await collect(store.fetchRange('aa', null))).map(({ value }) => value)).toEqual(['else'])
    })

    test('versioned: as of a time, through removals and late versions', async () => {
      let store = await open<VersionedStore>(versioned('s', texts))
      expect(await store.put('a', 'one', 10, noHeaders)).toEqual({ latest: true, validTo: null })
      expect(await store.put('a', 'three', 30, noHeaders)).toEqual({ latest: true, validTo: null })
      store = await move<VersionedStore>()
      expect(await store.put('a', null, 20, noHeaders)).toEqual({ latest: false, validTo: 30 })
      expect(await store.get('a')).toEqual({ value: 'three', timestamp: 30, validTo: null })
      expect(await store.getAsOf('a', 9)).toBe(null)
      expect(await store.getAsOf('a', 19)).toEqual({ value: 'one', timestamp: 10, validTo: 20 })
      expect(await store.getAsOf('a', 25)).toBe(null)
      expect((await store.history('a', 0, 99)).map(({ value }) => value)).toEqual(['three', 'one'])
      expect(await store.put('a', null, 40, noHeaders)).toEqual({ latest: true, validTo: null })
      expect(await store.get('a')).toBe(null)
    })
  })
}
