/** Keys and values that nobody looks at go by unread, and nobody can tell. */
import { expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import type { FailedRecord } from '../../src/runtime/handlers.ts'
import { bytes, int, long, string } from '../../src/serde/primitives.ts'
import type { Serde } from '../../src/serde/serde.ts'
import { TopologyTestDriver, type TopologyTestDriverOptions } from '../../src/testing/topology-test-driver.ts'

const raw = { key: bytes(), value: bytes() }

/** A serde that counts how often it is asked to read and to write. */
function counting<T>(inner: Serde<T>) {
  const asked = { read: 0, write: 0 }
  const serde: Serde<T> = {
    ...inner,
    read(...args) {
      asked.read++
      return inner.read(...args)
    },
    write(...args) {
      asked.write++
      return inner.write(...args)
    },
  }
  return { serde, asked }
}

type Part = Buffer | null

async function run(
  build: (builder: StreamsBuilder) => void,
  records: readonly (readonly [key: Part, value: Part])[],
  options: TopologyTestDriverOptions = {},
): Promise<[Part, Part][]> {
  const builder = new StreamsBuilder()
  build(builder)
  await using driver = await TopologyTestDriver.start(builder.build(), options)
  const input = driver.input<Uint8Array, Uint8Array>('in', raw)
  for (const [key, value] of records) await input.pipe(key, value, { headers: { trace: 'yes' } })
  const written = await driver.output<Uint8Array, Uint8Array>('out', raw).readAll()
  for (const { headers } of written) expect(String(headers[0]?.value)).toBe('yes')
  return written.map(({ key, value }) => [key, value] as [Part, Part])
}

const hi = Buffer.from('hi')

test.each([
  { what: 'nothing', bytes: Buffer.alloc(0) },
  { what: 'ASCII', bytes: Buffer.from('plain text, longer than a word or two') },
  { what: 'more than a loop is for', bytes: Buffer.from('x'.repeat(2_000)) },
  { what: 'umlauts and more', bytes: Buffer.from('größer 漢字 🚗') },
  { what: 'long, with one of them', bytes: Buffer.from(`${'x'.repeat(2_000)}ß`) },
  { what: 'a broken sequence', bytes: Buffer.from([0x61, 0xc3, 0x28, 0x62]) },
  { what: 'half a sequence at its end', bytes: Buffer.from([0x61, 0xe6, 0xbc]) },
  { what: 'a lone surrogate', bytes: Buffer.from([0xed, 0xa0, 0x80]) },
  { what: 'a byte order mark', bytes: Buffer.from([0xef, 0xbb, 0xbf, 0x61]) },
])('unread: $what as text, from source to sink what reading and writing gives', async (given) => {
  const expected = Buffer.from(given.bytes.toString('utf8'))
  const copies = (builder: StreamsBuilder) =>
    builder.stream('in', { keySerde: string(), valueSerde: string() }).to('out')
  const looks = (builder: StreamsBuilder) =>
    builder
      .stream('in', { keySerde: string(), valueSerde: string() })
      .filter(() => true)
      .to('out')
  const records = [
    [given.bytes, given.bytes],
    [null, given.bytes],
    [given.bytes, null],
  ] as const
  for (const build of [copies, looks])
    expect(await run(build, records)).toEqual([
      [expected, expected],
      [null, expected],
      [expected, null],
    ])
})

test('unread: key and value that only sinks write are neither read nor written', async () => {
  const key = counting(string())
  const value = counting(string())
  const build = (builder: StreamsBuilder) => {
    const stream = builder.stream('in', { keySerde: key.serde, valueSerde: value.serde })
    stream.merge(builder.stream('other', { keySerde: key.serde, valueSerde: value.serde })).to('out')
    stream.to('more')
  }
  expect(await run(build, [[hi, hi]])).toEqual([[hi, hi]])
  expect(key.asked).toEqual({ read: 0, write: 0 })
  expect(value.asked).toEqual({ read: 0, write: 0 })
})

test('unread: bytes that a serde would change or refuse are read', async () => {
  const value = counting(string())
  const build = (builder: StreamsBuilder) =>
    builder.stream('in', { keySerde: bytes(), valueSerde: value.serde }).to('out')
  await run(build, [
    [hi, Buffer.from([0xff])],
    [hi, hi],
  ])
  expect(value.asked).toEqual({ read: 1, write: 1 })

  const failed: FailedRecord[] = []
  const numbers = (builder: StreamsBuilder) =>
    builder.stream('in', { keySerde: string(), valueSerde: int() }).to('out')
  const written = await run(
    numbers,
    [
      [hi, Buffer.from([1, 2, 3])],
      [hi, Buffer.from([1, 2, 3, 4])],
    ],
    {
      deserializationHandler: (_error, record) => {
        failed.push(record)
        return 'continue'
      },
    },
  )
  expect(written).toEqual([[hi, Buffer.from([1, 2, 3, 4])]])
  expect(failed).toMatchObject([{ topic: 'in', offset: 0, rawKey: hi, rawValue: Buffer.from([1, 2, 3]) }])
})

test('unread: a count looks at keys, and at whether there is a value; bytes that are none are refused', async () => {
  const key = counting(string())
  const value = counting(int())
  let failed = 0
  const build = (builder: StreamsBuilder) =>
    builder
      .stream('in', { keySerde: key.serde, valueSerde: value.serde })
      .groupByKey()
      .count()
      .toStream()
      .to('out', { valueSerde: long() })
  const written = await run(
    build,
    [
      [hi, Buffer.alloc(4)],
      [hi, null],
      [hi, Buffer.alloc(3)],
      [hi, Buffer.alloc(4)],
    ],
    {
      deserializationHandler: () => {
        failed++
        return 'continue'
      },
    },
  )
  expect(written.map(([, count]) => count?.at(-1))).toEqual([1, 2])
  expect(failed).toBe(1)
  expect(key.asked.read).toBe(4)
  // The one that is none.
  expect(value.asked.read).toBe(1)
})

test('unread: a windowed count reads a key for its window, and for who comes next not again', async () => {
  const key = counting(string())
  const build = (builder: StreamsBuilder) =>
    builder
      .stream('in', { keySerde: key.serde, valueSerde: string() })
      .groupByKey()
      .windowedBy(tumbling('10s'))
      .count()
      .toStream((count, { key, start }) => `${key}@${start}: ${count}`, { keySerde: string() })
      .to('out', { valueSerde: long() })
  const broken = Buffer.from([0x68, 0xc3])
  const records: [Part, Part][] = [hi, hi, hi, broken, hi, null, broken].map((key) => [key, hi])
  const written = await run(build, records, { store: 'rocksdb' })
  const texts = written.map(([text]) => String(text).replace(/@\d+/, ''))
  expect(texts).toEqual(['hi: 1', 'hi: 2', 'hi: 3', 'h\ufffd: 1', 'hi: 4', 'h\ufffd: 2'])
  // Of 'hi' when its window was made and when it was first found; what is no text as it should be, each time.
  expect(key.asked.read).toBe(4)
})

const other = { ...string(), name: 'other' }
const looking: readonly {
  readonly who: string
  readonly build: (
    builder: StreamsBuilder,
    serdes: { keySerde: Serde<string>; valueSerde: Serde<string> },
  ) => void
}[] = [
  {
    who: 'a filter',
    build: (b, s) =>
      void b
        .stream('in', s)
        .filter((v) => v === 'hi')
        .to('out'),
  },
  {
    who: 'a peek',
    build: (b, s) =>
      void b
        .stream('in', s)
        .peek((v) => expect(v).toBe('hi'))
        .to('out'),
  },
  {
    who: 'a sink with another serde',
    build: (b, s) => void b.stream('in', s).to('out', { valueSerde: other }),
  },
  {
    who: 'a partitioner',
    build: (b, s) => void b.stream('in', s).to('out', { partitioner: (k, v) => (k + v === 'hihi' ? 0 : 9) }),
  },
  {
    who: 'one of two ways',
    build: (b, s) => {
      const stream = b.stream('in', s)
      stream.to('out')
      stream.foreach((v) => expect(v).toBe('hi'))
    },
  },
  {
    who: 'a timestamp extractor',
    build: (b, s) =>
      void b.stream('in', { ...s, timestampExtractor: (v) => (v === 'hi' ? 1 : -1) }).to('out'),
  },
  {
    who: 'a topic extractor',
    build: (b, s) => void b.stream('in', s).to((_k, v) => (v === 'hi' ? 'out' : 'nowhere')),
  },
]

test.each(looking)('unread: $who looks at the value, so it is read', async ({ build }) => {
  const value = counting(string())
  const written = await run(
    (builder) => build(builder, { keySerde: string(), valueSerde: value.serde }),
    [[hi, hi]],
    { topics: ['out'] },
  )
  expect(written).toEqual([[hi, hi]])
  expect(value.asked.read).toBe(1)
})

test('unread: where the value can not be written, the handler sees the key that went by unread', async () => {
  const failed: FailedRecord[] = []
  const broken: Serde<string> = {
    ...string(),
    write() {
      throw new Error('no')
    },
  }
  const build = (builder: StreamsBuilder) =>
    builder.stream('in', { keySerde: string(), valueSerde: string() }).to('out', { valueSerde: broken })
  await run(build, [[hi, hi]], {
    productionHandler: (_error, record) => {
      failed.push(record)
      return 'continue'
    },
  })
  expect(failed).toMatchObject([{ key: 'hi', value: 'hi', rawKey: hi }])
})

test('unread: through a repartition topic keys stay together, and a null key is dropped', async () => {
  const build = (builder: StreamsBuilder) =>
    builder
      .stream('in', { keySerde: string(), valueSerde: string() })
      .repartition({ name: 'by-key', partitions: 4 })
      .to('out')
  const keys = Array.from({ length: 20 }, (_, index) => Buffer.from(`key-${index}`))
  const written = await run(build, [...keys.map((key) => [key, hi] as const), [null, hi]])
  expect(written.map(([key]) => String(key)).sort()).toEqual(keys.map(String).sort())
})

test('unread: values that are frozen for the test are left alone where they are none', async () => {
  const build = (builder: StreamsBuilder) =>
    builder.stream('in', { keySerde: string(), valueSerde: string() }).to('out')
  for (const freezeValues of [true, false])
    expect(await run(build, [[hi, hi]], { freezeValues })).toEqual([[hi, hi]])
})
