/** Plain models of the stores: a sorted list and the rules of the contract, nothing clever. Random steps run on both. */
import { expect } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import type {
  Entry,
  JoinBuffer,
  KeyValueStore,
  OuterJoinStore,
  SessionStore,
  Store,
  SubscriptionStore,
  SuppressBuffer,
  TaskState,
  VersionedStore,
  WindowRun,
  WindowStore,
} from '../../src/store/contract.ts'
import type { SessionStoreSpec, VersionedStoreSpec, WindowStoreSpec } from '../../src/topology/store-spec.ts'
import { type Draw, pick } from '../wire/draw.ts'
import { collect } from './fixture.ts'

/** Keys that are prefixes of one another, and beyond ASCII: their bytes sort otherwise than their code units. */
export const keys = ['a', 'aa', 'ab', 'b', 'b\u0000', 'ü', '\uffee', '😀', 'zz'] as const

export function byBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}

export type Clockwork = { now: number }

export abstract class Model<Data> {
  readonly name: string
  data: Data

  constructor(name: string, data: Data) {
    this.name = name
    this.data = data
  }

  abstract step(store: Store, draw: Draw, clock: Clockwork): Promise<void>
  abstract check(store: Store): Promise<void>

  snapshot(): Data {
    return structuredClone(this.data)
  }

  in(state: TaskState): Store {
    return state.store(this.name)
  }
}

type Row = { key: string; start: number; end: number; value: unknown; timestamp: number }

function row(entry: Entry): Row {
  const { key, start, end, value, timestamp } = entry
  return structuredClone({ key: key as string, start, end, value, timestamp })
}

function integer(draw: Draw, max: number): number {
  return Math.floor(draw() * max)
}

/** What is put into a store, and what an aggregator makes of what it finds there. */
export type Values = { fresh(n: number): unknown; next(before: unknown, timestamp: number): unknown }

/** An aggregator that changes its accumulator in place. */
const objects: Values = {
  fresh: (n) => ({ n, tags: [] }),
  next(before, timestamp) {
    const value = (before as { n: number; tags: number[] } | null) ?? { n: 0, tags: [] }
    value.n++
    value.tags.push(timestamp)
    if (value.tags.length > 5) value.tags.shift()
    return value
  },
}

export const numbers: Values = {
  fresh: (n) => n,
  next: (before, timestamp) => ((before as number | null) ?? 0) + timestamp + 1,
}

export class KeyValueModel extends Model<Map<string, { value: unknown; timestamp: number }>> {
  readonly #values: Values
  readonly #bytesOf: (key: string) => Buffer

  constructor(name: string, values: Values = objects, bytesOf: (key: string) => Buffer = Buffer.from) {
    super(name, new Map())
    this.#values = values
    this.#bytesOf = bytesOf
  }

  async step(any: Store, draw: Draw): Promise<void> {
    const store = any as KeyValueStore
    const key = pick(draw, keys)
    const timestamp = integer(draw, 1000)
    switch (integer(draw, 7)) {
      case 0:
        await store.put(key, null, timestamp, noHeaders)
        this.data.delete(key)
        return
      case 1: {
        const entry = await store.entry(key)
        const value = this.#values.next(entry.value, timestamp)
        store.set(entry, value, timestamp, noHeaders)
        this.data.set(key, { value: structuredClone(value), timestamp })
        return
      }
      case 2: {
        // Put and taken out again within one commit.
        const entry = await store.entry(key)
        store.set(entry, this.#values.fresh(0), timestamp, noHeaders)
        store.set(entry, null, timestamp, noHeaders)
        this.data.delete(key)
        return
      }
      case 3: {
        store.want(key)
        store.want(pick(draw, keys))
        expect(await store.get(key)).toEqual(this.data.get(key)?.value ?? null)
        return
      }
      case 4: {
        const from = draw() < 0.3 ? null : pick(draw, keys)
        const to = draw() < 0.3 ? null : pick(draw, keys)
        const order = draw() < 0.5 ? 'forward' : 'backward'
        const expected = this.#sorted().filter(
          ([other]) =>
            (from === null || byBytes(other, from) >= 0) && (to === null || byBytes(other, to) <= 0),
        )
        if (order === 'backward') expected.reverse()
        const found =
          draw() < 0.5 ? await collect(store.range(from, to, order)) : await store.list(from, to, order)
        expect(found.map((entry) => [entry.key, entry.value, entry.timestamp])).toEqual(expected)
        return
      }
      case 5: {
        const prefix = this.#bytesOf(pick(draw, keys))
        const expected = this.#sorted().filter(([other]) =>
          this.#bytesOf(other).subarray(0, prefix.length).equals(prefix),
        )
        const found = await collect(store.prefix(prefix))
        expect(found.map((entry) => [entry.key, entry.value, entry.timestamp])).toEqual(expected)
        return
      }
      default: {
        const value = this.#values.fresh(integer(draw, 9))
        await store.put(key, value, timestamp, noHeaders)
        this.data.set(key, { value: structuredClone(value), timestamp })
      }
    }
  }

  async check(any: Store): Promise<void> {
    const store = any as KeyValueStore
    for (const key of keys) expect(await store.get(key)).toEqual(this.data.get(key)?.value ?? null)
    const found = await collect(store.range(null, null))
    expect(found.map((entry) => [entry.key, entry.value, entry.timestamp])).toEqual(this.#sorted())
  }

  #sorted(): [string, unknown, number][] {
    return [...this.data]
      .map(([key, { value, timestamp }]): [string, unknown, number] => [key, value, timestamp])
      .sort(([one], [other]) => byBytes(one, other))
  }
}

type Timed = { observed: number; rows: (Row & { sequence: number })[]; sequence: number }

abstract class TimedModel extends Model<Timed> {
  readonly #retentionMs: number
  readonly #segmentMs: number
  readonly #slack: number

  constructor(spec: WindowStoreSpec | SessionStoreSpec) {
    super(spec.name, { observed: -1, rows: [], sequence: 0 })
    this.#retentionMs = spec.retentionMs
    this.#segmentMs = spec.segmentIntervalMs
    this.#slack = spec.kind === 'window' && spec.emitOnClose ? 0 : 1
  }

  abstract timeOf(row: Row): number

  get visibleFrom(): number {
    return this.data.observed - this.#retentionMs + this.#slack
  }

  isLive(time: number): boolean {
    const first = Math.trunc((this.data.observed - this.#retentionMs) / this.#segmentMs)
    return Math.trunc(time / this.#segmentMs) >= first
  }

  write(row: Row): boolean {
    const time = this.timeOf(row)
    this.data.observed = Math.max(this.data.observed, time)
    if (!this.isLive(time)) return false
    const { rows } = this.data
    const at = rows.findIndex(
      (other) => other.key === row.key && other.start === row.start && other.end === row.end,
    )
    if (at >= 0) rows.splice(at, 1)
    if (row.value !== null) rows.push({ ...row, sequence: 0 })
    return true
  }

  visible(): (Row & { sequence: number })[] {
    return this.data.rows.filter((row) => this.timeOf(row) >= this.visibleFrom)
  }
}

function plain({ key, start, end, value, timestamp }: Row): Row {
  return { key, start, end, value, timestamp }
}

/** As `objects`, of windows. */
const counters: Values = {
  fresh: (n) => ({ n }),
  next(before) {
    const value = (before as { n: number } | null) ?? { n: 0 }
    value.n++
    return value
  },
}

export class WindowModel extends TimedModel {
  readonly #sizeMs: number
  readonly #advanceMs: number
  readonly #values: Values

  constructor(spec: WindowStoreSpec, values: Values = counters) {
    super(spec)
    this.#values = values
    this.#sizeMs = spec.windowSizeMs
    this.#advanceMs = spec.advanceMs ?? 1
  }

  timeOf(row: Row): number {
    return row.start
  }

  async step(any: Store, draw: Draw, clock: Clockwork): Promise<void> {
    const store = any as WindowStore
    const key = pick(draw, keys)
    const start = Math.max(0, clock.now - integer(draw, 180)) - 0
    const time = draw() < 0.7 ? start - (start % 10) : start
    const end = time + this.#sizeMs
    if (store.run !== undefined && draw() < 0.3) return this.#walk(store, key, start, draw)
    switch (integer(draw, 8)) {
      case 0: {
        const entry = await store.entry(key, time)
        const kept = store.set(entry, null, time, noHeaders)
        expect(kept).toBe(this.write({ key, start: time, end, value: null, timestamp: -1 }))
        return
      }
      case 1: {
        if (draw() < 0.5) store.want(key, time)
        const entry = await store.entry(key, time)
        const there = this.visible().find((row) => row.key === key && row.start === time)
        expect(entry.value).toEqual(there?.value ?? null)
        return
      }
      case 2: {
        const from = Math.max(0, clock.now - integer(draw, 200))
        const to = from + integer(draw, 100)
        const order = draw() < 0.5 ? 'forward' : 'backward'
        const found = await store.fetch(key, from, to, order)
        expect(found.map(row)).toEqual(this.fetched(from, to, order, (row) => row.key === key))
        return
      }
      case 3: {
        const from = Math.max(0, clock.now - integer(draw, 200))
        const to = from + integer(draw, 100)
        const order = draw() < 0.5 ? 'forward' : 'backward'
        const found = await store.fetchAll(from, to, order)
        expect(found.map(row)).toEqual(this.fetched(from, to, order, () => true))
        return
      }
      case 4: {
        const [low, high] = [pick(draw, keys), pick(draw, keys)]
        const found = await collect(store.fetchRange(low, high, 0, Number.MAX_SAFE_INTEGER))
        const between = (row: Row): boolean => byBytes(row.key, low) >= 0 && byBytes(row.key, high) <= 0
        expect(found.map(row)).toEqual(this.fetched(0, Number.MAX_SAFE_INTEGER, 'forward', between))
        return
      }
      default: {
        const entry = await store.entry(key, time)
        const there = this.visible().find((row) => row.key === key && row.start === time)
        expect(entry.value).toEqual(there?.value ?? null)
        expect([entry.start, entry.end]).toEqual([time, end])
        const value = this.#values.next(entry.value, time)
        const timestamp = time + integer(draw, 10)
        const kept = store.set(entry, value, timestamp, noHeaders)
        expect(kept).toBe(this.write({ key, start: time, end, value: structuredClone(value), timestamp }))
      }
    }
  }

  /** As an operator does with a record: some of its windows, in order, perhaps with a wait in between. */
  async #walk(store: WindowStore, key: string, to: number, draw: Draw): Promise<void> {
    const from = Math.max(0, to - this.#sizeMs + this.#advanceMs)
    const first = Math.ceil(from / this.#advanceMs) * this.#advanceMs
    if (first > to) return
    const run = (await store.run?.(key, first, to)) as WindowRun<string, { n: number }>
    for (let start = first; start <= to; start += this.#advanceMs) {
      if (draw() < 0.1) continue
      if (draw() < 0.005) await new Promise((resolve) => setImmediate(resolve))
      run.seek(start)
      const there = this.visible().find((row) => row.key === key && row.start === start)
      expect([run.value, run.timestamp]).toEqual([there?.value ?? null, there?.timestamp ?? -1])
      const value = draw() < 0.1 ? null : (run.value ?? { n: 0 })
      if (value !== null) value.n++
      const timestamp = value === null ? start : to + integer(draw, 3)
      const kept = store.set(run, value, timestamp, noHeaders)
      const written = { value: structuredClone(value), timestamp: value === null ? -1 : timestamp }
      expect(kept).toBe(this.write({ key, start, end: start + this.#sizeMs, ...written }))
    }
  }

  fetched(from: number, to: number, order: string, passes: (row: Row) => boolean): Row[] {
    const found = this.visible()
      .filter((row) => row.start >= from && row.start <= to && passes(row))
      .sort(
        (one, other) =>
          one.start - other.start || byBytes(one.key, other.key) || one.sequence - other.sequence,
      )
      .map(plain)
    return order === 'forward' ? found : found.reverse()
  }

  async check(any: Store): Promise<void> {
    const store = any as WindowStore
    const found = await store.fetchAll(0, Number.MAX_SAFE_INTEGER)
    expect(found.map(row)).toEqual(this.fetched(0, Number.MAX_SAFE_INTEGER, 'forward', () => true))
    expect(store.observedTime).toBe(this.data.observed)
    for (const key of keys) {
      const one = await store.fetch(key, 0, Number.MAX_SAFE_INTEGER)
      expect(one.map(row)).toEqual(
        this.fetched(0, Number.MAX_SAFE_INTEGER, 'forward', (row) => row.key === key),
      )
    }
  }
}

export class DuplicatesModel extends WindowModel {
  override async step(any: Store, draw: Draw, clock: Clockwork): Promise<void> {
    const store = any as WindowStore
    const key = pick(draw, keys)
    if (draw() < 0.5) {
      const start = Math.max(0, clock.now - integer(draw, 180))
      const value = { n: integer(draw, 100) }
      const kept = await store.append(key, start, value, noHeaders)
      this.data.observed = Math.max(this.data.observed, start)
      expect(kept).toBe(this.isLive(start))
      if (kept) {
        const sequence = ++this.data.sequence
        this.data.rows.push({
          key,
          start,
          end: start + 10,
          value: structuredClone(value),
          timestamp: start,
          sequence,
        })
      }
      return
    }
    const from = Math.max(0, clock.now - integer(draw, 200))
    const to = from + integer(draw, 100)
    const found = await store.fetch(key, from, to)
    expect(found.map(row)).toEqual(this.fetched(from, to, 'forward', (row) => row.key === key))
  }
}

export class SessionModel extends TimedModel {
  timeOf(row: Row): number {
    return row.end
  }

  async step(any: Store, draw: Draw, clock: Clockwork): Promise<void> {
    const store = any as SessionStore
    const key = pick(draw, keys)
    const time = Math.max(0, clock.now - integer(draw, 180))
    const found = await store.find(key, time - 20, time + 20)
    expect(found.map(row)).toEqual(
      this.found((row) => row.key === key && row.end >= time - 20 && row.start <= time + 20),
    )
    if (draw() < 0.2) {
      const [from, to] = [time - integer(draw, 60), time]
      const ending = await store.findEnding(from, to)
      // Not limited by retention, but by what has expired, which a store may show or not until then.
      const seen = ending.map(row).filter((row) => row.end >= this.visibleFrom)
      expect(seen).toEqual(this.found((row) => row.end >= from && row.end <= to))
      return
    }
    if (draw() < 0.1 && found.length > 0) {
      const entry = found[0] as Entry
      expect(store.set(entry, null, noHeaders)).toBe(true)
      this.write({ ...row(entry), value: null })
      return
    }
    // The merge of a session aggregation.
    let start = time
    let end = time
    let n = 1
    for (const old of found) {
      start = Math.min(start, old.start)
      end = Math.max(end, old.end)
      n += (old.value as { n: number }).n
    }
    for (const old of found) {
      if (old.start === start && old.end === end) continue
      const gone = row(old)
      store.set(old, null, noHeaders)
      this.write({ ...gone, value: null })
    }
    const entry = await store.entry(key, start, end)
    const kept = store.set(entry, { n }, noHeaders)
    expect(kept).toBe(this.write({ key, start, end, value: { n }, timestamp: end }))
  }

  found(passes: (row: Row) => boolean): Row[] {
    return this.visible()
      .filter(passes)
      .sort((one, other) => one.end - other.end || one.start - other.start || byBytes(one.key, other.key))
      .map(plain)
  }

  async check(any: Store): Promise<void> {
    const store = any as SessionStore
    const found = await collect(store.fetchRange(null, null))
    expect(found.map(row)).toEqual(this.found(() => true))
    for (const key of keys) {
      const one = await store.find(key, 0, Number.MAX_SAFE_INTEGER)
      expect(one.map(row)).toEqual(this.found((row) => row.key === key))
    }
  }
}

type Versions = { observed: number; versions: { key: string; value: unknown; timestamp: number }[] }

export class VersionedModel extends Model<Versions> {
  readonly #retentionMs: number

  constructor(spec: VersionedStoreSpec) {
    super(spec.name, { observed: -1, versions: [] })
    this.#retentionMs = spec.historyRetentionMs
  }

  async step(any: Store, draw: Draw, clock: Clockwork): Promise<void> {
    const store = any as VersionedStore
    const key = pick(draw, keys)
    const timestamp = Math.max(0, clock.now - integer(draw, 160))
    if (draw() < 0.5) {
      const value = draw() < 0.25 ? null : { n: integer(draw, 100) }
      const result = await store.put(key, value, timestamp, noHeaders)
      if (timestamp < this.data.observed - this.#retentionMs) {
        expect(result).toBe(false)
        return
      }
      this.data.observed = Math.max(this.data.observed, timestamp)
      this.data.versions = this.data.versions.filter(
        (other) => other.key !== key || other.timestamp !== timestamp,
      )
      this.data.versions.push({ key, value, timestamp })
      const next = this.#of(key).find((other) => other.timestamp > timestamp)
      expect(result).toEqual({ latest: next === undefined, validTo: next?.timestamp ?? null })
      return
    }
    if (draw() < 0.5) {
      expect(await store.getAsOf(key, timestamp)).toEqual(this.#asOf(key, timestamp))
      return
    }
    const from = this.data.observed - integer(draw, this.#retentionMs)
    const to = from + integer(draw, 60)
    const expected = this.#of(key)
      .map((version, at, all) => ({ ...version, validTo: all[at + 1]?.timestamp ?? null }))
      .filter(({ timestamp, validTo }) => timestamp <= to && (validTo === null || validTo > from))
      .filter(({ value }) => value !== null)
      .map(({ value, timestamp, validTo }) => ({ value, timestamp, validTo }))
    expect(await store.history(key, from, to, 'forward')).toEqual(expected)
    expect(await store.history(key, from, to)).toEqual([...expected].reverse())
  }

  #of(key: string): Versions['versions'] {
    return this.data.versions
      .filter((version) => version.key === key)
      .sort((a, b) => a.timestamp - b.timestamp)
  }

  #asOf(key: string, timestamp: number): unknown {
    const all = this.#of(key)
    const at = all.findLastIndex((version) => version.timestamp <= timestamp)
    const version = all[at]
    if (version === undefined || version.value === null) return null
    if (timestamp < this.data.observed - this.#retentionMs && at < all.length - 1) return null
    return { value: version.value, timestamp: version.timestamp, validTo: all[at + 1]?.timestamp ?? null }
  }

  async check(any: Store): Promise<void> {
    const store = any as VersionedStore
    for (const key of keys) {
      expect(await store.get(key)).toEqual(this.#asOf(key, Number.MAX_SAFE_INTEGER))
      for (let at = this.data.observed - this.#retentionMs - 60; at <= this.data.observed; at += 7) {
        expect(await store.getAsOf(key, at)).toEqual(this.#asOf(key, at))
      }
    }
  }
}

type HeldRow = {
  key: string
  value: unknown
  old: unknown
  prior: unknown
  time: number
  timestamp: number
  sequence: number
}
const origin = { topic: 'in', partition: 1, offset: 7 } as const
const headers = [{ key: 'h', value: Buffer.from('v') }]

export class SuppressModel extends Model<HeldRow[]> {
  constructor(name: string) {
    super(name, [])
  }

  async step(any: Store, draw: Draw, clock: Clockwork): Promise<void> {
    const store = any as SuppressBuffer
    const key = pick(draw, keys)
    if (draw() < 0.7 || this.data.length === 0) {
      const value = draw() < 0.2 ? null : { n: integer(draw, 100) }
      const old = draw() < 0.3 ? null : { n: integer(draw, 100) }
      const time = Math.max(0, clock.now - integer(draw, 50))
      await store.hold(key, value, old, time, time + 1, headers, origin)
      const there = this.data.find((held) => held.key === key)
      if (there === undefined)
        this.data.push({ key, value, old, prior: old, time, timestamp: time + 1, sequence: 0 })
      else Object.assign(there, { value, old, timestamp: time + 1 })
      return
    }
    if (draw() < 0.3) {
      const there = this.data.find((held) => held.key === key)
      expect(await store.oldOf(key)).toEqual(there === undefined ? undefined : there.prior)
      return
    }
    const expected = this.#sorted()[0] as HeldRow
    expect(store.minTime).toBe(expected.time)
    expect((await store.first()).key).toBe(expected.key)
    const held = await store.shift()
    expect(held).toEqual({
      key: expected.key,
      value: expected.value,
      old: expected.old,
      time: expected.time,
      timestamp: expected.timestamp,
      headers,
      origin,
    })
    this.data = this.data.filter((other) => other !== expected)
  }

  #sorted(): HeldRow[] {
    return [...this.data].sort((one, other) => one.time - other.time || byBytes(one.key, other.key))
  }

  async check(any: Store): Promise<void> {
    const store = any as SuppressBuffer
    expect(store.size).toBe(this.data.length)
    expect(store.bytes > 0).toBe(this.data.length > 0)
    expect(store.minTime).toBe(this.#sorted()[0]?.time ?? Number.POSITIVE_INFINITY)
    for (const key of keys) {
      const there = this.data.find((held) => held.key === key)
      expect(await store.oldOf(key)).toEqual(there === undefined ? undefined : there.prior)
    }
  }
}

export class JoinBufferModel extends Model<{ observed: number; sequence: number; rows: HeldRow[] }> {
  readonly #graceMs: number

  constructor(name: string, graceMs: number) {
    super(name, { observed: -1, sequence: 0, rows: [] })
    this.#graceMs = graceMs
  }

  async step(any: Store, draw: Draw, clock: Clockwork): Promise<void> {
    const store = any as JoinBuffer
    const { data } = this
    if (draw() < 0.6 || data.rows.length === 0) {
      const key = pick(draw, keys)
      const value = { n: integer(draw, 100) }
      const time = Math.max(0, clock.now - integer(draw, 30))
      const taken = await store.hold(key, value, time, headers, origin)
      expect(taken).toBe(data.observed - this.#graceMs <= time)
      if (!taken) return
      data.observed = Math.max(data.observed, time)
      data.rows.push({ key, value, old: null, prior: null, time, timestamp: time, sequence: ++data.sequence })
      return
    }
    const expected = this.#sorted()[0] as HeldRow
    expect(store.minTime).toBe(expected.time)
    const { key, value, time } = expected
    expect(await store.shift()).toEqual({ key, value, old: null, time, timestamp: time, headers, origin })
    data.rows = data.rows.filter((other) => other !== expected)
  }

  #sorted(): HeldRow[] {
    return [...this.data.rows].sort(
      (one, other) => one.time - other.time || byBytes(one.key, other.key) || one.sequence - other.sequence,
    )
  }

  async check(any: Store): Promise<void> {
    const store = any as JoinBuffer
    expect(store.size).toBe(this.data.rows.length)
    expect(store.minTime).toBe(this.#sorted()[0]?.time ?? Number.POSITIVE_INFINITY)
  }
}

type UnmatchedRow = { side: 'left' | 'right'; key: string; time: number; value: unknown; sequence: number }

export class OuterJoinModel extends Model<{ sequence: number; rows: UnmatchedRow[] }> {
  constructor(name: string) {
    super(name, { sequence: 0, rows: [] })
  }

  async step(any: Store, draw: Draw, clock: Clockwork): Promise<void> {
    const store = any as OuterJoinStore
    const { data } = this
    const side = draw() < 0.5 ? 'left' : 'right'
    const key = pick(draw, keys)
    const time = Math.max(0, clock.now - integer(draw, 20))
    switch (integer(draw, 4)) {
      case 0:
        await store.remove(side, key, time)
        data.rows = data.rows.filter((row) => row.side !== side || row.key !== key || row.time !== time)
        return
      case 1: {
        const until = clock.now - integer(draw, 30)
        const expected: unknown[] = []
        for (const row of this.#sorted()) {
          if (row.time > until) break
          expected.push([row.side, row.key, row.time, row.value])
        }
        const seen: unknown[] = []
        const removes = draw() < 0.7
        await store.visit((unmatched) => {
          if (unmatched.time > until) return 'stop'
          seen.push([unmatched.side, unmatched.key, unmatched.time, unmatched.value])
          return removes ? 'remove' : 'keep'
        })
        expect(seen).toEqual(expected)
        if (removes) data.rows = data.rows.filter((row) => row.time > until)
        return
      }
      default: {
        const value = side === 'left' ? { n: integer(draw, 100) } : `r${integer(draw, 100)}`
        await store.put(side, key, time, value)
        data.rows.push({ side, key, time, value, sequence: ++data.sequence })
      }
    }
  }

  #sorted(): UnmatchedRow[] {
    const rank = (row: UnmatchedRow): number => (row.side === 'right' ? 0 : 1)
    return [...this.data.rows].sort(
      (one, other) =>
        one.time - other.time ||
        rank(one) - rank(other) ||
        byBytes(one.key, other.key) ||
        one.sequence - other.sequence,
    )
  }

  async check(any: Store): Promise<void> {
    const store = any as OuterJoinStore
    const seen: unknown[] = []
    await store.visit(({ side, key, time, value }) => {
      seen.push([side, key, time, value])
      return 'keep'
    })
    expect(seen).toEqual(this.#sorted().map(({ side, key, time, value }) => [side, key, time, value]))
    expect(store.size).toBe(this.data.rows.length)
  }
}

export class SubscriptionModel extends Model<Map<string, { instruction: number; timestamp: number }>> {
  constructor(name: string) {
    super(name, new Map())
  }

  async step(any: Store, draw: Draw): Promise<void> {
    const store = any as SubscriptionStore
    const foreignKey = pick(draw, keys)
    const primaryKey = pick(draw, keys)
    const id = JSON.stringify([foreignKey, primaryKey])
    if (draw() < 0.5) {
      const instruction = integer(draw, 4)
      const timestamp = integer(draw, 1000)
      const hash = draw() < 0.3 ? null : Buffer.alloc(16, instruction)
      const wrapper = { hash, instruction, version: 1, primaryPartition: 2 }
      await store.put({ foreignKey, primaryKey, wrapper, timestamp })
      this.data.set(id, { instruction, timestamp })
      expect((await store.get(foreignKey, primaryKey))?.wrapper).toEqual(wrapper)
      return
    }
    if (draw() < 0.4) {
      await store.remove(foreignKey, primaryKey)
      this.data.delete(id)
      return
    }
    await this.#checkKey(store, foreignKey)
  }

  async #checkKey(store: SubscriptionStore, foreignKey: string): Promise<void> {
    const expected = [...this.data]
      .map(([id, subscription]) => ({ ids: JSON.parse(id) as [string, string], subscription }))
      .filter(({ ids }) => ids[0] === foreignKey)
      .sort((one, other) => byBytes(one.ids[1], other.ids[1]))
      .map(({ ids, subscription }) => [ids[1], subscription.instruction, subscription.timestamp])
    const found = await store.of(foreignKey)
    expect(
      found.map(({ primaryKey, wrapper, timestamp }) => [primaryKey, wrapper.instruction, timestamp]),
    ).toEqual(expected)
  }

  async check(any: Store): Promise<void> {
    for (const key of keys) await this.#checkKey(any as SubscriptionStore, key)
  }
}
