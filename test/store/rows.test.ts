/**
 * Values whose serdes never wait are kept in rows, everything else in entries: one and the same life of a store of each
 * kind writes the same changelog, byte for byte, tells the same at flushes and leaves the same rows in the engine.
 */
import { expect, test } from 'vitest'
import { assert } from '../../src/base/assert.ts'
import { noHeaders } from '../../src/base/headers.ts'
import { Unread } from '../../src/base/unread.ts'
import type { Serde } from '../../src/serde/serde.ts'
import type { Flushed, KeyValueStore, TaskState, WindowStore } from '../../src/store/contract.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { RowKeyValues } from '../../src/store/row-key-values.ts'
import { hashOf, RowTable } from '../../src/store/row-table.ts'
import { RowWindows } from '../../src/store/row-windows.ts'
import { openDiskState } from '../../src/store/task-state.ts'
import { type Draw, drawFrom, pick } from '../wire/draw.ts'
import { Changelogs, json, keyValue, long, text, window } from './fixture.ts'
import { keys } from './models.ts'

type Kind = {
  readonly what: string
  readonly serde: Serde<unknown>
  /** What an aggregator makes of what it finds, and `n`. */
  next(before: unknown, n: number): unknown
}

const kinds: readonly Kind[] = [
  {
    what: 'numbers',
    serde: long as Serde<unknown>,
    next: (before, n) => ((before as number | null) ?? 0) + n,
  },
  {
    what: 'texts',
    serde: { ...(text as Serde<unknown>), immediate: true },
    next: (before, n) => `${String(before)}${'+'.repeat(n % 40)}`.slice(-60),
  },
  {
    what: 'objects that are changed in place',
    serde: { ...json, immediate: true },
    next(before, n) {
      const value = (before as { sum: number; last: number[] } | null) ?? { sum: 0, last: [] }
      value.sum += n
      value.last.unshift(n)
      value.last.splice(5)
      return value
    },
  },
]

class Twin {
  readonly logs = new Changelogs(1500)
  readonly told: unknown[] = []
  disk = new MemoryDisk()
  state!: TaskState
  readonly #valueSerde: Serde<unknown>
  readonly #cached: boolean

  constructor(valueSerde: Serde<unknown>, cached: boolean) {
    this.#valueSerde = valueSerde
    this.#cached = cached
  }

  async open(): Promise<void> {
    const more = { valueSerde: this.#valueSerde, cached: this.#cached }
    const stores = [keyValue('table', more), window('windows', { ...more, advanceMs: 5 })]
    const options = { stores, context: this.logs.context, cacheBytesMax: this.#cached ? 100_000 : 0 }
    this.state = await openDiskState(options, this.disk)
    for (const name of ['table', 'windows']) {
      const store = this.state.store(name) as KeyValueStore | WindowStore
      store.onFlush(
        ({ entry, old, timestamp, headers, origin }: Flushed<unknown, unknown>) => {
          const { key, start, end, value } = entry
          this.told.push(
            structuredClone([name, key, start, end, value, entry.timestamp, old, timestamp, headers, origin]),
          )
        },
        { keepOld: true },
      )
    }
  }

  get table(): KeyValueStore {
    return this.state.store('table') as KeyValueStore
  }

  get windows(): WindowStore {
    return this.state.store('windows') as WindowStore
  }

  /** By the text of their keys; the row of the position has the time of day. */
  get rows(): [string, string][] {
    return [...this.disk.rows]
      .filter(([key]) => !key.startsWith('\u0000\u0000'))
      .map(([key, value]): [string, string] => [key, value.toString('latin1')])
      .sort(([one], [other]) => (one < other ? -1 : 1))
  }
}

/** One step, the same for both; what it answers is compared. */
function drawStep(draw: Draw, now: number, { next }: Kind): (twin: Twin) => Promise<unknown> {
  const key = pick(draw, keys)
  const time = Math.max(0, now - Math.floor(draw() * 130))
  const start = draw() < 0.9 ? time - (time % 5) : time
  const n = Math.floor(draw() * 1000)
  const isRemoved = draw() < 0.2
  const bytes = Math.floor(draw() * 3000)
  switch (Math.floor(draw() * 12)) {
    case 0:
    case 1:
    case 2:
      return async ({ table }) => {
        const entry = await table.entry(key)
        const before = structuredClone([entry.value, entry.timestamp])
        table.set(entry, isRemoved ? null : next(entry.value, n), time, noHeaders)
        return before
      }
    case 3:
    case 4:
    case 5:
    case 6:
      return async ({ windows }) => {
        const entry = await windows.entry(key, start)
        const before = structuredClone([entry.start, entry.end, entry.value, entry.timestamp])
        return [before, windows.set(entry, isRemoved ? null : next(entry.value, n), time, noHeaders)]
      }
    case 7:
      return async ({ table, windows }) => {
        table.want(key)
        windows.want(key, start)
      }
    case 8:
      return async ({ windows }) => {
        const found = await windows.fetch(key, start, start + 60)
        return structuredClone(found.map((one) => [one.start, one.value, one.timestamp]))
      }
    case 9:
      return async ({ state }) => state.trim(bytes)
    case 10:
      return async ({ state }) => state.persist()
    default:
      return async ({ logs, state }) => logs.commitAll(state)
  }
}

const lives = kinds.flatMap((kind) =>
  [1, 2, 3, 4].flatMap((seed) => [false, true].map((cached) => ({ ...kind, seed, cached }))),
)

test.each(lives)(
  'rows: $what, cached: $cached, are written and told of as entries are, seed $seed',
  async (kind) => {
    const { seed, cached, serde } = kind
    const draw = drawFrom(seed)
    const rows = new Twin(serde, cached)
    const entries = new Twin({ ...serde, immediate: false }, cached)
    const both = [rows, entries]
    for (const twin of both) await twin.open()
    expect(rows.table).toBeInstanceOf(RowKeyValues)
    expect(rows.windows).toBeInstanceOf(RowWindows)
    expect(entries.table).not.toBeInstanceOf(RowKeyValues)
    let now = 0
    for (let index = 0; index < 1500; index++) {
      now += Math.floor(draw() * 3)
      const step = drawStep(draw, now, kind)
      const answers: unknown[] = []
      for (const twin of both) answers.push(await step(twin))
      expect(answers[0], `step ${index}`).toEqual(answers[1])
      if (draw() < 0.005) {
        for (const twin of both) {
          await twin.logs.commitAll(twin.state)
          await twin.state.close('clean')
          await twin.open()
        }
      }
    }
    for (const twin of both) {
      await twin.logs.commitAll(twin.state)
      await twin.state.close('clean')
    }
    expect(rows.logs.topics).toEqual(entries.logs.topics)
    expect(rows.told).toEqual(entries.told)
    expect(rows.rows).toEqual(entries.rows)
  },
)

test('rows: what is no number is refused as its serde refuses it, and names the store', async () => {
  const twin = new Twin(
    {
      ...(long as Serde<unknown>),
      write(value) {
        throw new TypeError(`long: ${JSON.stringify(value)} is not a safe integer`)
      },
    },
    false,
  )
  await twin.open()
  const { table } = twin
  const entry = await table.entry('a')
  expect(() => table.set(entry, 'one', 1, noHeaders)).toThrow(
    `store table: a changed entry can't be written: long: "one" is not a safe integer`,
  )
})

test('rows: a key that nobody has read is the same key', async () => {
  const twin = new Twin(long as Serde<unknown>, false)
  await twin.open()
  const { table } = twin
  const bytes = Buffer.from('...größe...')
  const unread = new Unread().of(bytes, 3, bytes.length - 3)
  table.set(await table.entry(unread), 7, 1, noHeaders)
  expect(await table.get('größe')).toBe(7)
  await twin.logs.commitAll(twin.state)
  await twin.state.persist()
  for (const _ of [1, 2]) twin.state.trim(0)
  table.want(unread)
  await twin.state.load()
  expect((await table.entry(unread)).value).toBe(7)
})

test('rows: a window that is lent has the key of who asked for it, also once its row is another key’s', async () => {
  const twin = new Twin(long as Serde<unknown>, false)
  await twin.open()
  const { windows } = twin
  assert(windows instanceof RowWindows, 'numbers are in rows')
  const unread = (key: string) => {
    const bytes = Buffer.from(`<${key}>`)
    return new Unread().of(bytes, 1, bytes.length - 1)
  }
  const lend = async (key: string, start: number) => {
    const entry = await windows.lend(unread(key), start)
    return [windows.readKey(entry), entry.start, entry.end - start, entry.value]
  }
  for (const key of ['größe', 'b']) windows.set(await windows.lend(unread(key), 0), 7, 1, noHeaders)
  const size = (await windows.entry('b', 0)).end
  // Read, and then remembered.
  for (const _ of [1, 2]) expect(await lend('größe', 0)).toEqual(['größe', 0, size, 7])
  expect(await lend('b', 0)).toEqual(['b', 0, size, 7])
  expect(await lend('c', 0)).toEqual(['c', 0, size, null])
  await twin.logs.commitAll(twin.state)
  await twin.state.persist()
  for (const _ of [1, 2]) twin.state.trim(0)
  for (const key of ['other', 'more']) windows.set(await windows.lend(unread(key), 0), 8, 1, noHeaders)
  expect(await lend('other', 0)).toEqual(['other', 0, size, 8])
  expect(await lend('more', 0)).toEqual(['more', 0, size, 8])
  expect(await lend('größe', 0)).toEqual(['größe', 0, size, 7])
  // An entry keeps its key while rows come and go.
  const kept = await windows.entry(unread('b'), 0)
  twin.state.trim(0)
  expect([windows.readKey(kept), kept.value]).toEqual(['b', 7])
})

test.each([1, 2, 3])('row table: finds what a map finds, while keys grow and go, seed %i', (seed) => {
  const draw = drawFrom(seed)
  const rows = new RowTable(seed === 2, seed !== 3)
  const known = new Map<string, { row: number; value: number }>()
  const timeOf = (text: string): number => (seed === 2 ? (text.length % 3) * 1e12 : 0)
  let widest = 4
  for (let step = 0; step < 60_000; step++) {
    if (step % 20_000 === 19_999) widest *= 5
    const text = `${Math.floor(draw() * 9_000)}`.padEnd(Math.floor(draw() * widest), '.')
    const bytes = Buffer.from(text)
    const time = timeOf(text)
    const hash = hashOf(bytes, 0, bytes.length, time)
    const row = rows.find(hash, bytes, 0, bytes.length, time)
    const there = known.get(text)
    expect(row).toBe(there?.row ?? -1)
    if (there === undefined) {
      const made = rows.insert(hash, bytes, 0, bytes.length, time)
      rows.setValue(made, step, -step)
      known.set(text, { row: made, value: step })
      continue
    }
    expect([rows.value(row), rows.timestamp(row), rows.time(row)]).toEqual([there.value, -there.value, time])
    if (draw() < 0.5) {
      rows.unlink(row)
      rows.release(row)
      known.delete(text)
    }
  }
  expect(rows.indexed).toBe(known.size)
  expect(rows.size).toBeLessThan(known.size * 1.5 + 4_096)
})
