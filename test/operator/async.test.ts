import { expect, test } from 'vitest'
import { StreamsError } from '../../src/base/errors.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { json } from '../../src/serde/json.ts'
import { long, string } from '../../src/serde/primitives.ts'
import { serde } from '../../src/serde/serde.ts'
import { TopologyTestDriver } from '../../src/testing/topology-test-driver.ts'

const text = { keySerde: string(), valueSerde: string() }

/** Resolves later than anything that is ready now. */
function later<T>(value: T): Promise<T> {
  return new Promise((resolve) => setImmediate(() => resolve(value)))
}

async function run(
  build: (builder: StreamsBuilder) => void,
  ...values: string[]
): Promise<(string | null)[]> {
  const builder = new StreamsBuilder()
  build(builder)
  await using driver = await TopologyTestDriver.start(builder.build())
  const input = driver.input<string, string>('in')
  for (const value of values) await input.pipe('k', value)
  return await driver.output('out', { key: string(), value: string() }).readValues()
}

test('async: filter, mappers and peek may wait, records keep their order', async () => {
  const seen: string[] = []
  const values = await run(
    (builder) =>
      builder
        .stream('in', text)
        .filter((value) => later(value !== 'b'))
        .peek(async (value) => {
          await later(null)
          seen.push(value)
        })
        .mapValues((value) => later(value.toUpperCase()))
        .flatMapValues(async (value) => later([value, `${value}!`]))
        .filterNot((value) => later(value === 'C'))
        .to('out', text),
    'a',
    'b',
    'c',
  )
  expect(values).toEqual(['A', 'A!', 'C!'])
  expect(seen).toEqual(['a', 'c'])
})

test('async: a branch asks its predicates one after another', async () => {
  const asked: string[] = []
  const values = await run(
    (builder) => {
      builder
        .stream('in', text)
        .split()
        .branch(
          async (value) => {
            asked.push(`first ${value}`)
            return later(value === 'a')
          },
          { chain: (stream) => stream.mapValues((value) => `1${value}`).to('out', text) },
        )
        .branch(
          async (value) => {
            asked.push(`second ${value}`)
            return later(value === 'b')
          },
          { chain: (stream) => stream.mapValues((value) => `2${value}`).to('out', text) },
        )
        .noDefaultBranch()
    },
    'a',
    'b',
    'c',
  )
  expect(values).toEqual(['1a', '2b'])
  expect(asked).toEqual(['first a', 'first b', 'second b', 'first c', 'second c'])
})

test('async: what a processor forwards and does not await arrives in order, before the next record', async () => {
  const arrived: string[] = []
  await run(
    (builder) =>
      builder
        .stream('in', text)
        .process<string, string>(() => {
          let forward: (value: string) => void
          return {
            init(context) {
              forward = (value) => void context.forward({ key: 'k', value })
            },
            process({ value }) {
              forward(`${value}1`)
              forward(`${value}2`)
            },
          }
        })
        .foreach(async (value) => {
          await later(null)
          arrived.push(value)
        }),
    'a',
    'b',
  )
  expect(arrived).toEqual(['a1', 'a2', 'b1', 'b2'])
})

test('async: two sinks behind a waiting mapper, each gets all', async () => {
  const builder = new StreamsBuilder()
  const upper = builder.stream('in', text).mapValues((value) => later(value.toUpperCase()))
  upper.to('one', text)
  upper.to('two', text)
  await using driver = await TopologyTestDriver.start(builder.build())
  await driver.input<string, string>('in').pipe('k', 'a')
  expect(await driver.output('one').readValues()).toEqual(['A'])
  expect(await driver.output('two').readValues()).toEqual(['A'])
})

test('async: a serde that must fetch its schema first is awaited, then called again', async () => {
  let known = false
  const slow = {
    ...serde<string>({ name: 'slow', serialize: (value) => Buffer.from(value), deserialize: String }),
    write(value: string, to: { bytes(bytes: Uint8Array): void }): void | Promise<void> {
      if (known) return to.bytes(Buffer.from(value))
      return later(null).then(() => {
        known = true
      })
    },
  }
  expect(
    await run(
      (builder) => builder.stream('in', text).to('out', { keySerde: string(), valueSerde: slow }),
      'a',
      'b',
    ),
  ).toEqual(['a', 'b'])
})

async function failureOf(build: (builder: StreamsBuilder) => void): Promise<StreamsError> {
  try {
    await run(build, 'a', 'b')
  } catch (error) {
    expect(error).toBeInstanceOf(StreamsError)
    return error as StreamsError
  }
  throw new Error('it did not fail')
}

const promised = (async () => 1) as unknown as () => number

test.each([
  [
    'initialiser',
    (builder: StreamsBuilder) =>
      builder
        .stream('in', text)
        .groupByKey()
        .aggregate(promised, (aggregate) => aggregate, { valueSerde: long(), name: 'sum' }),
  ],
  [
    'aggregator',
    (builder: StreamsBuilder) =>
      builder
        .stream('in', text)
        .groupByKey()
        .aggregate(() => 0, promised, { valueSerde: long(), name: 'sum' }),
  ],
  [
    'reducer',
    (builder: StreamsBuilder) =>
      builder
        .stream('in', text)
        .groupByKey()
        .reduce(promised as unknown as () => string, { name: 'sum' }),
  ],
  [
    'key selector',
    (builder: StreamsBuilder) => builder.stream('in', text).selectKey(promised, { name: 'sum' }),
  ],
] as const)('async: a promise from the %s, an error that names the operator', async (what, build) => {
  const error = await failureOf(build)
  expect(error.code).toBe('PROMISE_NOT_ALLOWED')
  expect(error.message).toContain(`sum: the ${what} returned a promise`)
})

test('undefined where a value is due: an error that names the operator', async () => {
  const error = await failureOf((builder) =>
    builder.stream('in', text).mapValues(() => undefined as unknown as string, { name: 'shout' }),
  )
  expect(error.code).toBe('UNDEFINED_NOT_ALLOWED')
  expect(error.message).toContain('shout: the mapper returned undefined')
})

test('undefined from an asynchronous mapper: the same error', async () => {
  const error = await failureOf((builder) =>
    builder.stream('in', text).mapValues(async () => undefined as unknown as string, { name: 'shout' }),
  )
  expect(error.code).toBe('UNDEFINED_NOT_ALLOWED')
})

test('mutation: a mapper that changes what it was handed, an error that names it', async () => {
  const builder = new StreamsBuilder()
  builder
    .stream('in', { keySerde: string(), valueSerde: json<{ n: number }>() })
    .mapValues(
      (value) => {
        value.n++
        return value
      },
      { name: 'increment' },
    )
    .foreach(() => undefined)
  await using driver = await TopologyTestDriver.start(builder.build())
  await expect(driver.input<string, { n: number }>('in').pipe('k', { n: 1 })).rejects.toThrow(
    /increment: mapper failed/,
  )
})

test('mutation: a reducer may change the first value that it was given, siblings see it as it was', async () => {
  const builder = new StreamsBuilder()
  const seen: string[] = []
  const input = builder.stream('in', { keySerde: string(), valueSerde: json<{ n: number }>() })
  const kept: { n: number }[] = []
  input.foreach((value) => {
    kept.push(value)
  })
  input
    .groupByKey()
    .reduce((sum, value) => {
      sum.n += value.n
      return sum
    })
    .toStream()
    .foreach((value) => {
      seen.push(JSON.stringify(value))
    })
  await using driver = await TopologyTestDriver.start(builder.build(), { freezeValues: false })
  const topic = driver.input<string, { n: number }>('in')
  for (const n of [1, 2, 3]) await topic.pipe('k', { n })
  expect(seen).toEqual(['{"n":1}', '{"n":3}', '{"n":6}'])
  expect(kept).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }])
})
