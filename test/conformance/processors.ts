/** The processors that conformance cases are written with (FORMAT 6). */
import type {
  Cancellable,
  FixedKeyProcessor,
  FixedKeyProcessorContext,
  KeyValueStore,
  Processor,
  ProcessorContext,
  PunctuationType,
  StreamRecord,
  ValueTransformer,
} from '../../src/dsl/processor.ts'
import { type Fn, field, num, str, valueFn } from './functions.ts'

type Store = KeyValueStore<unknown, unknown>

export function fixedProcessor(
  fn: Fn,
  storeName: string | undefined,
): FixedKeyProcessor<unknown, unknown, unknown> {
  let context: FixedKeyProcessorContext<unknown, unknown>
  let store: Store
  const forward = (record: StreamRecord, value: unknown = record.value) =>
    context.forward({ ...record, value })
  const withStore: Readonly<Record<string, (record: StreamRecord) => Promise<unknown>>> = {
    async dedupe(record) {
      const { key, value } = record
      const before = await store.get(key)
      if (value === null) {
        await store.delete(key)
        return forward(record)
      }
      if (before !== null && str(before) === str(value)) return undefined
      await store.put(key, value)
      return forward(record)
    },
    async runningCount(record) {
      const n = num(await store.get(record.key)) + 1
      await store.put(record.key, n)
      return forward(record, { n, v: record.value })
    },
    async previous(record) {
      const before = await store.get(record.key)
      await store.put(record.key, record.value)
      return forward(record, { prev: before, cur: record.value })
    },
  }
  return {
    init(given) {
      context = given
      if (storeName !== undefined) store = context.store<Store>(storeName)
    },
    async process(record) {
      const run = withStore[fn[0]]
      if (run !== undefined) {
        await (record.key === null ? forward(record) : run(record))
        return
      }
      if (fn[0] === 'times') {
        await forward(record, { v: record.value, ts: record.timestamp, st: context.streamTime() })
        return
      }
      if (fn[0] !== 'info') throw new Error(`unknown fixed-key processor: ${JSON.stringify(fn)}`)
      const from = context.recordMetadata()
      await forward(record, {
        v: record.value,
        topic: from?.topic ?? null,
        partition: from?.partition ?? null,
        offset: from?.offset ?? null,
      })
    },
  }
}

function punctuation(name: unknown): PunctuationType {
  if (name === 'stream') return 'stream-time'
  if (name === 'wall') return 'wall-clock'
  throw new Error(`unknown punctuation type: ${String(name)}`)
}

export function freeProcessor(
  fn: Fn,
  storeName: string | undefined,
): Processor<unknown, unknown, unknown, unknown> {
  let context: ProcessorContext<unknown, unknown>
  let store: Store
  let handle: Cancellable
  let fired = 0
  let held: StreamRecord[] = []
  const arg = (index: number): number => fn[index] as number

  const entries = async (): Promise<(readonly [unknown, unknown])[]> => {
    const all: (readonly [unknown, unknown])[] = []
    for await (const entry of store.all()) all.push(entry)
    return all
  }

  const counts = async (timestamp: number): Promise<void> => {
    for (const [key, value] of await entries()) {
      await context.forward({ key, value, timestamp, headers: [] })
      if (fn[0] === 'countAndFlush') await store.delete(key)
    }
  }

  const expire = async (now: number): Promise<void> => {
    for (const [key, value] of await entries()) {
      if (num(field(value, 'ts')) + arg(1) > now) continue
      await store.delete(key)
      await context.forward({ key, value: null, timestamp: now, headers: [] })
    }
  }

  const tick = async (timestamp: number): Promise<void> => {
    fired++
    const value = { i: fired, at: timestamp, st: context.streamTime() }
    await context.forward({ key: 'tick', value, timestamp, headers: [] })
    if (fired >= arg(3)) handle.cancel()
  }

  const release = async (): Promise<void> => {
    const records = held
    held = []
    for (const record of records) await context.forward(record)
  }

  return {
    init(given) {
      context = given
      if (storeName !== undefined) store = context.store<Store>(storeName)
      switch (fn[0]) {
        case 'countAndPunctuate':
        case 'countAndFlush':
          context.schedule(arg(1), punctuation(fn[2]), counts)
          return
        case 'ttlExpire':
          context.schedule(arg(2), 'stream-time', expire)
          return
        case 'delay':
          context.schedule(arg(1), 'wall-clock', release)
          return
        case 'ticks':
          handle = context.schedule(arg(1), punctuation(fn[2]), tick)
          return
        case 'ticksFrom':
          handle = context.schedule(arg(1), punctuation(fn[2]), tick, { startMs: arg(4) })
          return
        default:
          return
      }
    },
    async process(record) {
      const { key, value } = record
      switch (fn[0]) {
        case 'countAndPunctuate':
        case 'countAndFlush':
          if (key !== null) await store.put(key, num(await store.get(key)) + 1)
          return
        case 'ttlExpire':
          if (key !== null) await store.put(key, value === null ? null : { v: value, ts: record.timestamp })
          await context.forward(record)
          return
        case 'delay':
          held.push(record)
          return
        case 'ticks':
        case 'ticksFrom':
          await context.forward(record)
          return
        case 'fanout':
          for (let index = 0; index < arg(1); index++)
            await context.forward({ ...record, key: `${str(key)}#${index}` })
          return
        case 'restamp':
          await context.forward({ ...record, timestamp: Math.max(0, record.timestamp + arg(1)) })
          return
        case 'addHeader': {
          const header = { key: fn[1] as string, value: Buffer.from(str(value)) }
          await context.forward({ ...record, headers: [...record.headers, header] })
          return
        }
        case 'swap':
          await context.forward({ ...record, key: value === null ? null : str(value), value: key })
          return
        case 'drop':
          return
        default:
          throw new Error(`unknown processor: ${JSON.stringify(fn)}`)
      }
    },
  }
}

/** `["map", fn]`: the function, also of null. `["counting"]`: null stays null, else {n: how many of the key so far, v}. */
export function transformer(fn: Fn, storeName: string | undefined): ValueTransformer {
  const map = fn[0] === 'map' ? valueFn(fn[1] as unknown as Fn) : null
  let store: Store
  return {
    init(context) {
      if (storeName !== undefined) store = context.store<Store>(storeName)
    },
    async transform(value, key) {
      if (map !== null) return map(key, value)
      if (value === null) return null
      const n = num(await store.get(key)) + 1
      await store.put(key, n)
      return { n, v: value }
    },
  }
}
