/** Runs a case through the test driver, as the program that answered it ran it through Kafka Streams'. */
import type { Headers } from '../../src/base/headers.ts'
import { Windowed } from '../../src/serde/windowed.ts'
import type { Store } from '../../src/store/contract.ts'
import type { TestOutput } from '../../src/testing/test-topics.ts'
import { TopologyTestDriver } from '../../src/testing/topology-test-driver.ts'
import {
  type Case,
  type CaseInput,
  type CaseKey,
  type CaseRecord,
  type CaseStore,
  difference,
  type Json,
  type Outcome,
} from './case.ts'
import { unbox } from './functions.ts'
import { binaryKeySerde, type Interpreted, interpret, keySerde, valueSerde } from './interpreter.ts'

export type RunOptions = {
  readonly engine: 'memory' | 'rocksdb'
  /** Aggregators change their accumulators in place. */
  readonly mutate?: boolean
  /** The driver freezes what was handed on. */
  readonly freeze?: boolean
}

export async function runCase(one: Case, options: RunOptions): Promise<Outcome> {
  const { config = {} } = one
  let interpreted: Interpreted
  let driver: TopologyTestDriver
  try {
    interpreted = interpret(one.ops, {
      optimize: config.optimize ?? false,
      mutate: options.mutate ?? false,
      ...(config.keys === undefined ? {} : { keys: config.keys }),
    })
    driver = await TopologyTestDriver.start(interpreted.topology, {
      applicationId: 'oracle',
      store: options.engine,
      cacheMaxBytes: config.cacheMaxBytes ?? 0,
      freezeValues: options.freeze ?? true,
      partitions: config.partitions ?? 1,
    })
  } catch (error) {
    return { error: { phase: 'build', message: messageOf(error) } }
  }
  try {
    return await feed(one, interpreted, driver)
  } finally {
    await driver.close().catch(() => undefined)
  }
}

/** What differs in `describe`; null: nothing, or the case has none. */
export function describeDiffers(one: Case): string | null {
  if (one.describe === undefined) return null
  const { topology } = interpret(one.ops, { optimize: one.config?.optimize ?? false })
  const actual = topology.describe()
  return actual === one.describe ? null : difference('describe', `\n${one.describe}`, `\n${actual}`)
}

async function feed(one: Case, interpreted: Interpreted, driver: TopologyTestDriver): Promise<Outcome> {
  const key = one.config?.keys === 'binary' ? binaryKeySerde : keySerde
  const outputs: Record<string, CaseRecord[]> = {}
  const topics = interpreted.sinks.map((topic) => {
    const records: CaseRecord[] = []
    outputs[topic] = records
    return { records, output: driver.output(topic, { key, value: valueSerde }) }
  })
  const keys = new Set<string>()
  for (const [at, input] of one.inputs.entries()) {
    try {
      await put(driver, input, key, keys)
    } catch (error) {
      return { error: { phase: 'run', at, message: messageOf(error) } }
    }
    for (const { records, output } of topics) await take(output, records, at, keys)
  }
  const stores: Record<string, CaseStore | null> = {}
  for (const name of interpreted.stores) {
    const parts = driver.partitionsOf(name).map((partition) => driver.store(name, partition) as Store)
    stores[name] = parts.length === 0 ? null : await contentOf(parts, keys)
  }
  return { outputs, stores, dropped: driver.metrics().droppedRecords }
}

async function put(
  driver: TopologyTestDriver,
  input: CaseInput,
  keySerdeOfCase: typeof keySerde,
  keys: Set<string>,
): Promise<void> {
  if ('advanceWallClockMs' in input) return driver.advanceWallClock(input.advanceWallClockMs)
  if ('batch' in input) {
    return driver.together(async () => {
      for (const record of input.batch) await put(driver, record, keySerdeOfCase, keys)
    })
  }
  const { topic, key, value, timestamp, headers = [] } = input
  if (key !== null) keys.add(key)
  const list: Headers = headers.map(([name, text]) => ({
    key: name,
    value: text === null ? null : Buffer.from(text),
  }))
  await driver
    .input(topic, { key: keySerdeOfCase, value: valueSerde })
    .pipe(key, value, { timestamp, headers: list })
}

async function take(
  output: TestOutput<unknown, unknown>,
  records: CaseRecord[],
  at: number,
  keys: Set<string>,
): Promise<void> {
  for (const { key: boxed, value, timestamp, headers } of await output.readAll()) {
    const key = unbox(boxed)
    if (typeof key === 'string') keys.add(key)
    const list = headers.map(
      ({ key: name, value: text }) => [name, text === null ? null : text.toString()] as const,
    )
    records.push({
      key: keyOf(key),
      value: value as Json,
      timestamp,
      ...(list.length === 0 ? {} : { headers: list }),
      at,
    })
  }
}

function keyOf(key: unknown): CaseKey {
  if (key instanceof Windowed) return { key: unbox(key.key) as Json, start: key.start, end: key.end }
  return key as string | null
}

type Row = { readonly sort: string; readonly start: number; readonly end: number; readonly entry: Json }

async function contentOf(parts: readonly Store[], keys: ReadonlySet<string>): Promise<CaseStore> {
  const rows: Row[] = []
  const add = (boxed: unknown, value: unknown, timestamp: number | null): void => {
    const key = unbox(boxed)
    const windowed = key instanceof Windowed
    const time = timestamp === null ? {} : { timestamp }
    const inner = unbox(value) as Json
    rows.push(
      windowed
        ? {
            sort: String(unbox(key.key)),
            start: key.start,
            end: key.end,
            entry: { key: unbox(key.key) as Json, start: key.start, end: key.end, value: inner, ...time },
          }
        : { sort: String(key), start: 0, end: 0, entry: { key: key as Json, value: inner, ...time } },
    )
  }
  let type = ''
  for (const store of parts) type = await rowsOf(store, keys, add)
  rows.sort((a, b) => (a.sort < b.sort ? -1 : a.sort > b.sort ? 1 : a.start - b.start || a.end - b.end))
  return { type, entries: rows.map(({ entry }) => entry) }
}

async function rowsOf(
  store: Store,
  keys: ReadonlySet<string>,
  add: (key: unknown, value: unknown, timestamp: number | null) => void,
): Promise<string> {
  switch (store.kind) {
    case 'key-value': {
      const timestamped = store.spec.kind === 'key-value' && store.spec.timestamped
      for await (const { key, value, timestamp } of store.range(null, null)) {
        add(key, value, timestamped ? timestamp : null)
      }
      return timestamped ? 'timestampedKeyValue' : 'keyValue'
    }
    case 'window':
      for (const { key, start, end, value, timestamp } of await store.fetchAll(0, Number.MAX_SAFE_INTEGER)) {
        add(new Windowed(key, start, end), value, timestamp)
      }
      return 'window'
    case 'session':
      for await (const { key, start, end, value } of store.fetchRange(null, null)) {
        add(new Windowed(key, start, end), value, null)
      }
      return 'session'
    case 'versioned':
      for (const key of keys) {
        const version = await store.get(key)
        if (version !== null) add(key, version.value, version.timestamp)
      }
      return 'versioned'
    default:
      return store.kind
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
