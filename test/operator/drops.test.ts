import { expect, test } from 'vitest'
import type { DropReason } from '../../src/base/drop.ts'
import type { KStream } from '../../src/dsl/kstream.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { session, sliding, tumbling } from '../../src/dsl/windows.ts'
import { json } from '../../src/serde/json.ts'
import { string } from '../../src/serde/primitives.ts'
import { TopologyTestDriver, type TopologyTestDriverOptions } from '../../src/testing/topology-test-driver.ts'

const text = { keySerde: string(), valueSerde: string() }
type Input = readonly [topic: string, key: string | null, value: string | null, timestamp: number]

/** Reasons of what was dropped, in order, and Kafka Streams' figure. */
async function dropsOf(
  build: (builder: StreamsBuilder) => void,
  inputs: readonly Input[],
  options: TopologyTestDriverOptions = {},
): Promise<{ reasons: DropReason[]; counted: number }> {
  const builder = new StreamsBuilder()
  build(builder)
  await using driver = await TopologyTestDriver.start(builder.build(), options)
  for (const [topic, key, value, timestamp] of inputs) {
    await driver
      .input<string, string>(topic, { key: string(), value: string() })
      .pipe(key, value, { timestamp })
  }
  return { reasons: driver.drops.map(({ reason }) => reason), counted: driver.metrics().droppedRecords }
}

test('drops: an aggregation without key or value, each with its reason, topic and offset', async () => {
  const builder = new StreamsBuilder()
  builder.stream('in', text).groupByKey().count({ name: 'counts' })
  await using driver = await TopologyTestDriver.start(builder.build())
  const input = driver.input<string, string>('in')
  await input.pipe('k', 'v')
  await input.pipe(null, 'v')
  await input.pipe('k', null)
  expect(driver.drops).toEqual([
    { reason: 'null-key', task: '0_0', node: 'counts', topic: 'in', partition: 0, offset: 1 },
    { reason: 'null-value', task: '0_0', node: 'counts', topic: 'in', partition: 0, offset: 2 },
  ])
  expect(driver.metrics().droppedByReason).toEqual({ 'null-key': 1, 'null-value': 1 })
})

test('drops: a late record once for each closed window', async () => {
  expect(
    await dropsOf(
      (builder) => builder.stream('in', text).groupByKey().windowedBy(tumbling(10)).count(),
      [
        ['in', 'k', 'a', 100],
        ['in', 'k', 'b', 89],
      ],
    ),
  ).toEqual({ reasons: ['expired-window'], counted: 1 })
})

test('drops: late for sliding windows and sessions', async () => {
  const inputs: Input[] = [
    ['in', 'k', 'a', 100],
    ['in', 'k', 'b', 50],
  ]
  for (const windows of [sliding(10), session(10)]) {
    const build = (builder: StreamsBuilder) => {
      const grouped = builder.stream('in', text).groupByKey()
      if (windows.kind === 'sliding') grouped.windowedBy(windows).count()
      else grouped.windowedBy(windows).count()
    }
    expect(await dropsOf(build, inputs)).toEqual({ reasons: ['expired-window'], counted: 1 })
  }
})

test('drops: a null key before a repartition is told of, but not in the figure of Kafka Streams', async () => {
  expect(
    await dropsOf(
      (builder) =>
        builder
          .stream('in', text)
          .groupBy((value) => (value === 'none' ? (null as unknown as string) : value), text)
          .count(),
      [
        ['in', 'k', 'none', 1],
        ['in', 'k', 'some', 2],
      ],
    ),
  ).toEqual({ reasons: ['null-repartition-key'], counted: 0 })
})

test('drops: a partitioner that names no partition', async () => {
  expect(
    await dropsOf(
      (builder) => builder.stream('in', text).to('out', { ...text, partitioner: () => [] }),
      [['in', 'k', 'v', 1]],
    ),
  ).toEqual({ reasons: ['empty-partitioner'], counted: 1 })
})

test('drops: an extracted timestamp that is negative', async () => {
  expect(
    await dropsOf(
      (builder) => builder.stream('in', { ...text, timestampExtractor: () => -1 }).to('out', text),
      [['in', 'k', 'v', 1]],
    ),
  ).toEqual({ reasons: ['invalid-timestamp'], counted: 1 })
})

test('drops: an update of a versioned table that is not the latest, at a join; one past its history', async () => {
  expect(
    await dropsOf(
      (builder) => {
        const left = builder.table('left', { ...text, as: 'l', historyRetention: 100 })
        left.join(builder.table('right', text), (a, b) => `${a}${b}`)
      },
      [
        ['right', 'k', 'r', 0],
        ['left', 'k', 'b', 200],
        ['left', 'k', 'a', 150],
        ['left', 'k', 'x', 10],
      ],
    ),
  ).toEqual({ reasons: ['out-of-order-version', 'out-of-retention'], counted: 2 })
})

test('drops: a foreign key that is null, of an inner join', async () => {
  expect(
    await dropsOf(
      (builder) => {
        const left = builder.table('left', text)
        const right = builder.table('right', text)
        left.joinOnForeignKey(
          right,
          () => null as unknown as string,
          (a, b) => `${a}${b}`,
          { valueSerde: string() },
        )
      },
      [['left', 'k', 'v', 1]],
    ),
  ).toEqual({ reasons: ['null-foreign-key'], counted: 1 })
})

test('handlers: a function that throws, go on: the record is dropped and counted', async () => {
  const builder = new StreamsBuilder()
  builder
    .stream('in', text)
    .mapValues((value) => {
      if (value === 'bad') throw new Error('boom')
      return value.toUpperCase()
    })
    .to('out', text)
  await using driver = await TopologyTestDriver.start(builder.build(), { processingHandler: 'continue' })
  const input = driver.input<string, string>('in')
  for (const value of ['a', 'bad', 'b']) await input.pipe('k', value)
  expect(await driver.output('out').readValues()).toEqual(['A', 'B'])
  expect(driver.metrics().droppedByReason).toEqual({ 'processing-failed': 1 })
})

test('handlers: the default fails, with the operator, the topic and the offset in the message', async () => {
  const builder = new StreamsBuilder()
  const boom = () => {
    throw new Error('boom')
  }
  builder.stream('in', text).filter(boom, { name: 'picky' }).to('out', text)
  await using driver = await TopologyTestDriver.start(builder.build())
  const input = driver.input<string, string>('in')
  const expected = /picky: predicate failed: boom \(task 0_0, topic in, partition 0, offset 0\)/
  await expect(input.pipe('k', 'v')).rejects.toThrow(expected)
  await expect(input.pipe('k', 'v'), 'a driver that failed stays failed').rejects.toThrow(expected)
})

test('handlers: a record that can not be read goes to the dead-letter topic, with the cause in its headers', async () => {
  const builder = new StreamsBuilder()
  builder
    .stream('in', { keySerde: string(), valueSerde: json<{ n: number }>() })
    .mapValues((value) => String(value.n), { name: 'number' })
    .to('out', text)
  await using driver = await TopologyTestDriver.start(builder.build(), {
    deserializationHandler: 'continue',
    deadLetterTopic: 'dead',
  })
  const raw = driver.input('in', { key: string(), value: string() })
  await raw.pipe('k', '{"n":1}', { headers: { id: '7' } })
  await raw.pipe('k', '{broken', { headers: { id: '8' } })
  expect(await driver.output('out').readValues()).toEqual(['1'])
  const [dead, ...rest] = await driver.output('dead', { key: string(), value: string() }).readAll()
  expect(rest).toEqual([])
  expect(dead).toMatchObject({ key: 'k', value: '{broken' })
  const headers = Object.fromEntries((dead?.headers ?? []).map(({ key, value }) => [key, value?.toString()]))
  expect(headers).toMatchObject({
    id: '8',
    '__streams.errors.topic': 'in',
    '__streams.errors.partition': '0',
    '__streams.errors.offset': '1',
  })
  expect(headers['__streams.errors.message']).toBeTruthy()
  expect(headers['__streams.errors.stacktrace']).toContain('\n')
})

test('handlers: a function says of each record whether to go on', async () => {
  const seen: string[] = []
  const result = await dropsOf(
    (builder) =>
      builder.stream('in', text).foreach((value) => {
        throw new Error(value)
      }),
    [['in', 'k', 'v', 1]],
    {
      processingHandler: (error, record) => {
        seen.push(`${error.message} ${record.topic} ${record.offset}`)
        return 'continue'
      },
    },
  )
  expect(result).toEqual({ reasons: ['processing-failed'], counted: 1 })
  expect(seen).toEqual(['v in 0'])
})

test('handlers: an error behind a processor is not the processor’s', async () => {
  const builder = new StreamsBuilder()
  builder
    .stream('in', text)
    .process<string, string>(() => {
      let send: (value: string) => void
      return {
        init(context) {
          send = (value) => void context.forward({ key: 'k', value })
        },
        process({ value }) {
          try {
            send(value)
          } catch {
            // It can't be hidden either.
          }
        },
      }
    })
    .mapValues(
      () => {
        throw new Error('boom')
      },
      { name: 'behind' },
    )
    .foreach(() => undefined)
  await using driver = await TopologyTestDriver.start(builder.build())
  await expect(driver.input<string, string>('in').pipe('k', 'v')).rejects.toThrow(
    /^behind: mapper failed: boom/,
  )
})

type Bag = { items: string[] }

/** Changes its accumulator in place, and then may throw. */
const add = (bag: Bag, value: string): Bag => {
  bag.items.push(value)
  if (value === 'bad') throw new Error('boom')
  return bag
}
const empty = (): Bag => ({ items: [] })
const bags = { valueSerde: json<Bag>(), as: 'bags' }

const one = () => 'k'
const keyed = { keySerde: string() }
const values = { valueSerde: string() }
const shown = (bag: Bag | null) => (bag === null ? '' : bag.items.join())

const aggregations: {
  readonly [name: string]: (builder: StreamsBuilder) => KStream<string, string, 'moved'>
} = {
  aggregate: (builder) =>
    builder
      .stream('in', text)
      .groupByKey()
      .aggregate(empty, add, bags)
      .toStream(one, keyed)
      .mapValues(shown, values),
  tumbling: (builder) =>
    builder
      .stream('in', text)
      .groupByKey()
      .windowedBy(tumbling(100))
      .aggregate(empty, add, bags)
      .toStream(one, keyed)
      .mapValues(shown, values),
  sliding: (builder) =>
    builder
      .stream('in', text)
      .groupByKey()
      .windowedBy(sliding(100, { grace: 1_000 }))
      .aggregate(empty, add, bags)
      .toStream(one, keyed)
      .mapValues(shown, values),
  session: (builder) =>
    builder
      .stream('in', text)
      .groupByKey()
      .windowedBy(session(100, { grace: 1_000 }))
      .aggregate(
        empty,
        add,
        (one, other) => {
          one.items.push(...other.items)
          return one
        },
        bags,
      )
      .toStream(one, keyed)
      .mapValues(shown, values),
  table: (builder) =>
    builder
      .table('in', text)
      .groupBy((value, key) => [key, value] as const, text)
      .aggregate(empty, add, (bag) => bag, bags)
      .toStream(one, keyed)
      .mapValues(shown, values),
}

test.each(Object.keys(aggregations))(
  'handlers: %s changed its accumulator in place and threw, what is stored is what was there before',
  async (name) => {
    const builder = new StreamsBuilder()
    aggregations[name]?.(builder).to('out')
    await using driver = await TopologyTestDriver.start(builder.build(), { processingHandler: 'continue' })
    const input = driver.input<string, string>('in')
    for (const [index, value] of ['a', 'bad', 'c'].entries()) {
      await input.pipe('k', value, { timestamp: 1_000 + index })
    }
    const sent = await driver.output('out').readValues()
    expect(sent).toContain('a,c')
    expect(sent.join()).not.toContain('bad')
  },
)
