import { describe, expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import { long, string } from '../../src/serde/primitives.ts'
import { Windowed } from '../../src/serde/windowed.ts'
import { TopologyTestDriver } from '../../src/testing/topology-test-driver.ts'
import type {
  Processor,
  ProcessorContext,
  SessionStoreWithHeaders,
  TimestampedKeyValueStoreWithHeaders,
  TimestampedWindowStoreWithHeaders,
  ValueTimestampHeaders,
} from '../../src/topology/processor.ts'
import { stores } from '../../src/topology/stores.ts'
import { partitionFor } from '../../src/wire/murmur2.ts'

const text = { keySerde: string(), valueSerde: string() }
const counts = { keySerde: string(), valueSerde: long() }

function wordCount(): StreamsBuilder {
  const builder = new StreamsBuilder()
  builder
    .stream('lines', text)
    .flatMapValues((line) => line.split(' '))
    .groupBy((word) => word, text)
    .count({ as: 'words' })
    .toStream()
    .to('counts', counts)
  return builder
}

describe.each(['memory', 'rocksdb'] as const)('driver, stores in %s', (store) => {
  test('word count: all that a record causes is done when pipe resolves', async () => {
    await using driver = await TopologyTestDriver.start(wordCount().build(), { store })
    await driver.input<string, string>('lines').pipe(null, 'to be or not to be', { timestamp: 5 })
    const output = driver.output<string, number>('counts')
    expect(await output.readKeyValues()).toEqual([
      ['to', 1],
      ['be', 1],
      ['or', 1],
      ['not', 1],
      ['to', 2],
      ['be', 2],
    ])
    expect(output.isEmpty).toBe(true)
    const table = driver.tableStore<string, number>('words')
    expect(await table.get('be')).toEqual({ value: 2, timestamp: 5 })
    const rows: unknown[] = []
    for await (const row of table.all()) rows.push(row)
    expect(rows).toEqual([
      ['be', { value: 2, timestamp: 5 }],
      ['not', { value: 1, timestamp: 5 }],
      ['or', { value: 1, timestamp: 5 }],
      ['to', { value: 2, timestamp: 5 }],
    ])
    expect(driver.producedTopics).toEqual([
      'lines',
      'test-words-repartition',
      'counts',
      'test-words-changelog',
    ])
  })

  test('four partitions: a task for each, words go where their hash says', async () => {
    await using driver = await TopologyTestDriver.start(wordCount().build(), { store, partitions: 4 })
    const input = driver.input<string, string>('lines')
    const words = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
    for (const [index, word] of words.entries()) {
      await input.pipe(null, `${word} ${word}`, { partition: index % 4, timestamp: index })
    }
    const records = await driver.output<string, number>('counts').readAll()
    expect(records.map(({ key, value }) => `${key}${value}`)).toEqual(
      words.flatMap((word) => [`${word}1`, `${word}2`]),
    )
    for (const { key, partition } of records) {
      const bytes = Buffer.from(key as string)
      expect(partition).toBe(partitionFor(bytes, 0, bytes.length, 4))
      expect(await driver.tableStore('words', partition).get(key)).not.toBeNull()
    }
    expect(driver.partitionsOf('words')).toEqual([0, 1, 2, 3])
    expect(() => driver.store('words')).toThrow(/4 partitions; say which one/)
  })
})

test('driver: inputs of a join with different numbers of partitions, an error with the remedy', async () => {
  const builder = new StreamsBuilder()
  builder.stream('a', text).join(builder.table('b', text), (one, other) => one + other, text)
  await expect(TopologyTestDriver.start(builder.build(), { partitions: { a: 2, b: 3 } })).rejects.toThrow(
    /equally many partitions: a \(2\), b \(3\); repartition one of them/,
  )
})

test('driver: a cache sends each key once per commit', async () => {
  const builder = new StreamsBuilder()
  builder.stream('in', text).groupByKey().count({ as: 'c' }).toStream().to('out', counts)
  await using driver = await TopologyTestDriver.start(builder.build(), { cacheMaxBytes: 1_000_000 })
  const input = driver.input<string, string>('in')
  await driver.together(async () => {
    for (const key of ['a', 'b', 'a', 'a']) await input.pipe(key, 'v')
  })
  await input.pipe('b', 'v')
  expect(await driver.output<string, number>('out').readKeyValues()).toEqual([
    ['b', 1],
    ['a', 3],
    ['b', 2],
  ])
})

test('driver: wall-clock punctuations fire when the clock is moved, late ones once', async () => {
  const builder = new StreamsBuilder()
  builder
    .stream('in', text)
    .process<string, string>(() => ({
      init(context) {
        context.schedule('10s', 'wall-clock', (at) => context.forward({ key: 'tick', value: String(at) }))
      },
      process() {},
    }))
    .to('out', text)
  await using driver = await TopologyTestDriver.start(builder.build(), { wallClockMs: 1_000 })
  await driver.advanceWallClock('9s')
  const output = driver.output<string, string>('out')
  expect(output.isEmpty).toBe(true)
  await driver.advanceWallClock('1s')
  await driver.advanceWallClock('35s')
  expect(await output.readAll()).toMatchObject([
    { key: 'tick', value: '11000', timestamp: 11_000 },
    { key: 'tick', value: '46000', timestamp: 46_000 },
  ])
  await driver.advanceWallClock('5s')
  expect(await output.readValues()).toEqual(['51000'])
})

test('driver: window stores can be looked into', async () => {
  const builder = new StreamsBuilder()
  builder.stream('in', text).groupByKey().windowedBy(tumbling(10)).count({ as: 'w' })
  await using driver = await TopologyTestDriver.start(builder.build())
  const input = driver.input<string, string>('in')
  for (const timestamp of [1, 9, 12]) await input.pipe('k', 'v', { timestamp })
  const store = driver.windowStore<string, number>('w')
  expect(await store.get('k', 10)).toEqual({ value: 1, timestamp: 12 })
  expect(() => driver.keyValueStore('w')).toThrow(/store w is a window store/)
  expect(() => driver.keyValueStore('x')).toThrow(/no store x; stores: w/)
})

test('driver: a processor sees its stores, its record and where it came from', async () => {
  const builder = new StreamsBuilder()
  builder.addStateStore(stores.keyValue('seen', { keySerde: string(), valueSerde: long() }))
  builder
    .stream('in', text)
    .process<string, string>(
      () => {
        let work: (key: string, value: string) => Promise<void>
        return {
          init(context) {
            const seen = context.store<{
              get(key: string): Promise<number | null> | number | null
              put(key: string, value: number): Promise<void> | void
            }>('seen')
            work = async (key, value) => {
              const times = ((await seen.get(key)) ?? 0) + 1
              await seen.put(key, times)
              const from = context.recordMetadata()
              await context.forward({ key, value: `${value}${times} ${from?.topic} ${from?.offset}` })
            }
          },
          process: ({ key, value }) => work(key, value),
        }
      },
      { stores: ['seen'] },
    )
    .to('out', text)
  await using driver = await TopologyTestDriver.start(builder.build())
  const input = driver.input<string, string>('in')
  await input.pipe('k', 'a')
  await input.pipe('k', 'b')
  expect(await driver.output('out').readValues()).toEqual(['a1 in 0', 'b2 in 1'])
  expect(await driver.keyValueStore('seen').get('k')).toBe(2)
})

async function all(rows: AsyncIterable<unknown>): Promise<unknown[]> {
  const list: unknown[] = []
  for await (const row of rows) list.push(row)
  return list
}

test('driver: stores that keep headers give them back with the value, ranges and windows too', async () => {
  const both = { keySerde: string(), valueSerde: string(), headers: true }
  const builder = new StreamsBuilder()
  builder.addStateStore(stores.timestampedKeyValue('last', both))
  builder.addStateStore(stores.timestampedWindow('windows', { ...both, retention: '1h', windowSize: '10s' }))
  builder.addStateStore(stores.session('sessions', { ...both, retention: '1h' }))
  const process = (): Processor<string, string, string, string> => {
    let context: ProcessorContext<string, string>
    return {
      init: (given) => {
        context = given
      },
      async process({ key, value, timestamp, headers }) {
        const last = context.store<TimestampedKeyValueStoreWithHeaders<string, string>>('last')
        const windows = context.store<TimestampedWindowStoreWithHeaders<string, string>>('windows')
        const sessions = context.store<SessionStoreWithHeaders<string, string>>('sessions')
        const before = await last.get(key)
        if (before !== null) context.forward({ key, ...before })
        await last.put(key, { value, timestamp, headers })
        await windows.put(key, { value, timestamp, headers }, 0)
        await sessions.put(new Windowed(key, 0, timestamp), { value, headers })
      },
    }
  }
  builder
    .stream('in', text)
    .process(process, { stores: ['last', 'windows', 'sessions'] })
    .to('out', text)
  await using driver = await TopologyTestDriver.start(builder.build())
  const input = driver.input<string, string>('in')
  const traced = (trace: string) => [{ key: 'trace', value: Buffer.from(trace) }]
  await input.pipe('k', 'a', { timestamp: 1, headers: traced('1') })
  await input.pipe('k', 'b', { timestamp: 2, headers: traced('2') })
  expect(await driver.output('out').readAll()).toMatchObject([
    { key: 'k', value: 'a', timestamp: 1, headers: traced('1') },
  ])
  const kept = { value: 'b', timestamp: 2, headers: traced('2') }
  const last = driver.keyValueStore<string, ValueTimestampHeaders<string>>('last')
  expect(await all(last.all())).toEqual([['k', kept]])
  const windows = driver.windowStore<string, string>('windows')
  expect(await all(windows.fetch('k', 0, 0))).toEqual([[new Windowed('k', 0, 10_000), kept]])
  const sessions = driver.sessionStore('sessions')
  expect(await sessions.get('k', 0, 1)).toEqual({ value: 'a', headers: traced('1') })
  await last.put('bare', { value: 'c', timestamp: 3 } as ValueTimestampHeaders<string>)
  expect(await last.get('bare')).toEqual({ value: 'c', timestamp: 3, headers: [] })
  expect(() => last.put('k', 'bare' as never)).toThrow(
    'last keeps headers: put { value, timestamp, headers }, headers a list of { key, value }; null deletes',
  )
  expect(await last.delete('k')).toEqual(kept)
  expect(await last.get('k')).toBe(null)
})

test('driver: a topic that nobody reads, an error that lists those that are read', async () => {
  await using driver = await TopologyTestDriver.start(wordCount().build())
  expect(() => driver.input('line')).toThrow(/no source reads topic line; topics that are read: lines/)
})

test('driver: piping at the same time settles in the order of the calls', async () => {
  await using driver = await TopologyTestDriver.start(wordCount().build())
  const input = driver.input<string, string>('lines')
  await Promise.all(['a', 'b', 'a'].map((word) => input.pipe(null, word)))
  expect(await driver.output<string, number>('counts').readKeyValues()).toEqual([
    ['a', 1],
    ['b', 1],
    ['a', 2],
  ])
})
