/** What can't work is refused when it is built, with the operator's name and the remedy. */
import { expect, test } from 'vitest'
import { StreamsError } from '../../src/base/errors.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { untilTimeLimit, untilWindowCloses } from '../../src/dsl/suppressed.ts'
import { customWindows, hopping, session, sliding, tumbling, unlimited } from '../../src/dsl/windows.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { stores } from '../../src/topology/stores.ts'

const text = serdes.string()
const both = { keySerde: text, valueSerde: text }
const first = (a: string): string => a
const nothing = () => ({ process: () => {} })
/** Code without types. */
const loose = (value: unknown): never => value as never

type Refused = readonly [name: string, program: (b: StreamsBuilder) => unknown, message: RegExp]

const refused: readonly Refused[] = [
  [
    'a store that nobody added',
    (b) => b.stream('in', both).process(nothing, { name: 'proc', stores: ['nowhere'] }),
    /^proc: the store nowhere is unknown; add it with addStateStore first$/,
  ],
  [
    'a global store, connected',
    (b) => {
      b.addGlobalStore(stores.keyValue('g', both), 'topic', both, nothing)
      b.stream('in', both).process(nothing, { name: 'proc', stores: ['g'] })
    },
    /^proc: g is a global store, which every processor sees; don't connect it$/,
  ],
  [
    'two operators of one name',
    (b) =>
      b
        .stream('in', both)
        .filter(() => true, { name: 'same' })
        .peek(() => {}, { name: 'same' }),
    /^two nodes are called same; .* give one of them another$/,
  ],
  [
    'two stores of one name',
    (b) => {
      const group = b.stream('in', both).groupByKey()
      group.count({ as: 'same' })
      group.reduce(first, { as: 'same' })
    },
    /^two stores are called same; give one of them another name$/,
  ],
  [
    'two repartition topics of one name',
    (b) => {
      b.stream('a', both).repartition({ name: 'same' })
      b.stream('b', both).repartition({ name: 'same' })
    },
    /same-repartition.*give one of them another/,
  ],
  [
    'a table and a stream of one topic',
    (b) => {
      b.table('in', both)
      b.stream('in', both)
    },
    /the topic in is read by KSTREAM-SOURCE-0000000001 already; use that stream for both$/,
  ],
  [
    'streams of overlapping topics',
    (b) => {
      b.stream(['a', 'b'], both)
      b.stream(['b', 'c'], both)
    },
    /^KSTREAM-SOURCE-0000000001: the topic b is read by KSTREAM-SOURCE-0000000000 too, but together with other topics/,
  ],
  [
    'a topic that also matches a pattern',
    (b) => {
      b.stream(/in-.*/, both)
      b.stream('in-1', both)
    },
    /in-1 also matches the pattern of KSTREAM-SOURCE-0000000000; a topic can be read once only$/,
  ],
  [
    'one topic from two offsets',
    (b) => {
      b.stream('in', { ...both, offsetReset: 'latest' })
      b.stream('in', both)
    },
    /give both the same offsetReset$/,
  ],
  [
    'a join of repartitions with different numbers of partitions',
    (b) => {
      const left = b.stream('l', both).repartition({ name: 'l', partitions: 2 })
      const right = b.stream('r', both).repartition({ name: 'r', partitions: 3 })
      left.join(right, first, { within: 5 })
    },
    /^KSTREAM-MERGE-\d+: it needs topics with equally many partitions, but these differ: l-repartition \(2\), r-repartition \(3\)/,
  ],
  ['no topic', (b) => b.stream([], both), /^KSTREAM-SOURCE-0000000000: it has no topic; give at least one$/],
  [
    'an empty name of a topic',
    (b) => b.stream('in', both).to(''),
    /^to\(\): the name of the topic is empty$/,
  ],
  [
    'no partitions',
    (b) => b.stream('in', both).repartition({ name: 'r', partitions: 0 }),
    /^r: partitions must be a whole number of at least 1, but is 0$/,
  ],
  [
    'a table whose key is void',
    (b) => b.table('in', { keySerde: serdes.void(), valueSerde: text }),
    /^table\(in\): a table's rows are found by their key, so it can't be void; give a keySerde$/,
  ],
  [
    'a name that is no name of a topic',
    (b) => b.stream('in', both).filter(() => true, { name: 'a/b' }),
    /"a\/b" has a character other than letters, digits, \. _ and -; give another one$/,
  ],
  [
    'a name of folders',
    (b) => b.stream('in', both).filter(() => true, { name: '..' }),
    /"\.\." is a name of folders/,
  ],
  [
    'a name that is too long',
    (b) =>
      b
        .stream('in', both)
        .groupByKey()
        .count({ as: 'x'.repeat(250) }),
    /is longer than 249 characters/,
  ],
  ['a tumbling window of no size', () => tumbling(0), /^tumbling: size must be more than 0, but is 0 ms$/],
  [
    'a tumbling window of negative size',
    () => tumbling('-1s'),
    /^tumbling: size must be more than 0, but is -1000 ms$/,
  ],
  [
    'a negative grace',
    () => tumbling(1, { grace: -1 }),
    /^tumbling: grace must not be negative, but is -1 ms$/,
  ],
  [
    'a hopping window that does not hop',
    () => hopping(10, { advance: 0 }),
    /^hopping: advance must be more than 0/,
  ],
  [
    'a hopping window that leaves records out',
    () => hopping(10, { advance: 11 }),
    /^hopping: advance \(11 ms\) must not be more than size \(10 ms\)/,
  ],
  [
    'a negative sliding window',
    () => sliding(-1),
    /^sliding: difference must not be negative, but is -1 ms$/,
  ],
  ['a session without a gap', () => session(0), /^session: gap must be more than 0, but is 0 ms$/],
  ['an unlimited window before time', () => unlimited({ start: -1 }), /^unlimited: start must be a time/],
  ['a negative time limit', () => untilTimeLimit(-1), /^untilTimeLimit must not be negative, but is -1 ms$/],
  [
    'a buffer of a negative size',
    () => untilWindowCloses({ maxRecords: -1 }),
    /^untilWindowCloses: maxRecords must be a whole number of at least 0, but is -1$/,
  ],
  [
    'a join window of negative size',
    (b) => {
      const stream = b.stream('in', both)
      stream.join(stream, first, { name: 'j', within: { before: -6, after: 5 } })
    },
    /^j: within: before \(-6 ms\) and after \(5 ms\) leave a window of negative size$/,
  ],
  [
    'a join of streams without a window',
    (b) => {
      const stream = b.stream('in', both)
      stream.join(stream, first, loose({ name: 'j' }))
    },
    /^j: give \{ within \}, how far apart two records may be$/,
  ],
  [
    'a retention shorter than its windows',
    (b) =>
      b
        .stream('in', both)
        .groupByKey()
        .windowedBy(tumbling(10, { grace: 5 }))
        .count({ as: 'w', retention: 14 }),
    /^store w: retention \(14 ms\) must not be less than its windows need with their grace \(15 ms\)$/,
  ],
  [
    'results on close of windows that never close',
    (b) => b.stream('in', both).groupByKey().windowedBy(unlimited()).emitStrategy('on-close'),
    /^emitStrategy: unlimited windows can't be sent on close; use tumbling/,
  ],
  [
    'results on close of windows of one’s own',
    (b) =>
      b
        .stream('in', both)
        .groupByKey()
        .windowedBy(customWindows(() => new Map(), { size: 1 }))
        .emitStrategy('on-close'),
    /^emitStrategy: custom windows can't be sent on close/,
  ],
  [
    'a grace for a table without versions',
    (b) => b.stream('in', both).join(b.table('t', both), first, { name: 'j', grace: 5 }),
    /^j: a join with grace needs a table that keeps versions; materialise it with \{ as, historyRetention \}$/,
  ],
  [
    'a grace longer than the history',
    (b) => {
      const table = b.table('t', { ...both, as: 't-store', historyRetention: 4 })
      b.stream('in', both).join(table, first, { name: 'j', grace: 5 })
    },
    /^j: its grace \(5 ms\) is longer than the historyRetention of the table \(4 ms\); make that at least as long$/,
  ],
  [
    'versions without a name',
    (b) => b.table('t', { ...both, historyRetention: 4 }),
    /^table\(t\): historyRetention needs a store with a name; give \{ as \}$/,
  ],
  [
    'suppress right after a table with versions',
    (b) =>
      b.table('t', { ...both, as: 's', historyRetention: 4 }).suppress(untilTimeLimit(5), { name: 'hold' }),
    /^hold: suppress works on tables without versions only/,
  ],
  [
    'suppress further down a table with versions',
    (b) =>
      b
        .table('t', { ...both, as: 's', historyRetention: 4 })
        .filter(() => true)
        .suppress(untilTimeLimit(5), { name: 'hold' }),
    /^hold: suppress works on tables without versions only/,
  ],
  [
    'waiting for windows to close where there are none',
    (b) => b.table('t', both).suppress(untilWindowCloses(), { name: 'hold' }),
    /^hold: untilWindowCloses needs a windowed table, but KTABLE-SOURCE-\d+ has no windows/,
  ],
  [
    'an outer join with a table',
    (b) =>
      b
        .stream('in', both)
        .outerJoin<string, never, string>(loose(b.table('t', both)), (a) => a ?? '', loose({})),
    /^outerJoin: a stream joins a table with join or leftJoin only$/,
  ],
  [
    'a join with something else',
    (b) => b.stream('in', both).join(loose('in'), first, { within: 1 }),
    /^join: the other side must be a KStream, KTable or GlobalKTable$/,
  ],
  [
    'a stream of another builder',
    (b) => b.stream('in', both).merge(new StreamsBuilder().stream('other', both), { name: 'm' }),
    /^m: its input KSTREAM-SOURCE-0000000000 belongs to another StreamsBuilder; make both with the same one$/,
  ],
  [
    'a global table of another builder',
    (b) => {
      const other = new StreamsBuilder().globalTable('g', both)
      b.stream('in', both).join(other, (v) => v, first, { name: 'j' })
    },
    /^j: its global table g-STATE-STORE-0000000000 belongs to another StreamsBuilder/,
  ],
  [
    'no function',
    (b) => b.stream('in', both).filter(loose(undefined), { name: 'f' }),
    /^f: the test must be a function$/,
  ],
  [
    'a processor instead of a function that makes it',
    (b) => b.stream('in', both).process(loose({ process: () => {} }), { name: 'p' }),
    /^p: a processor must be a function$/,
  ],
  [
    'names of stores where the stores themselves belong',
    (b) =>
      b
        .stream('in', both)
        .processValues(loose({ make: () => ({ process: () => {} }), stores: ['s'] }), { name: 'p' }),
    /^p: the stores beside make must be a list of what stores\.keyValue\(…\) and its like return; names/,
  ],
  [
    'a store that is not in a list',
    (b) =>
      b.table('in', both).transformValues(loose({ make: () => ({ transform: () => null }), stores: 's' }), {
        name: 't',
        valueSerde: both.valueSerde,
      }),
    /^t: the stores beside make must be a list/,
  ],
  [
    'a serde that is not known, in code without types',
    (b) => {
      const stream: { to(topic: string): void } = loose(b.stream('in', both).mapValues((v) => v))
      stream.to('out')
    },
    /^to\(out\): it must write values, but their serde is not known, since a function made them; give \{ valueSerde \}/,
  ],
  [
    'an unknown optimisation',
    (b) => {
      b.stream('in', both)
      b.build({ optimize: loose(['everything']) })
    },
    /^optimize: "everything" is no optimisation; there are reuse-table-sources, merge-repartitions, single-store-self-join$/,
  ],
]

test.each(refused)('build: %s, refused with name and remedy', (_name, program, message) => {
  const builder = new StreamsBuilder()
  let error: unknown
  try {
    program(builder)
    builder.build()
  } catch (thrown) {
    error = thrown
  }
  expect(error).toBeInstanceOf(StreamsError)
  expect((error as StreamsError).code).toBe('TOPOLOGY_INVALID')
  expect((error as StreamsError).verdict).toBe('stop')
  expect((error as StreamsError).message).toMatch(message)
})

test('requireNames: generated names of stores and topics, refused and listed', () => {
  const builder = new StreamsBuilder()
  builder
    .stream('in', both)
    .groupBy((v) => v, both)
    .count()
  builder.table('unused', both)
  let message = ''
  try {
    builder.build({ requireNames: true })
  } catch (error) {
    message = (error as Error).message
  }
  expect(message).toBe(
    'requireNames: these names were generated: ' +
      'the store KSTREAM-AGGREGATE-STATE-STORE-0000000002 (give { as } to count); ' +
      'the repartition topic KSTREAM-AGGREGATE-STATE-STORE-0000000002-repartition ' +
      '(give { name } to KSTREAM-AGGREGATE-0000000003, or to the groupBy before it)',
  )
})

test('requireNames: everything named, accepted', () => {
  const builder = new StreamsBuilder()
  const stream = builder.stream('in', both)
  const counts = stream.groupBy((v) => v, { ...both, name: 'by-value' }).count({ as: 'counts' })
  stream
    .selectKey((v) => v, both)
    .join(counts, (value, count) => `${value}${count}`, { name: 'with-count' })
    .foreach(() => {})
  stream.join(stream, first, { within: 1, as: 'pairs' }).foreach(() => {})
  expect(() => builder.build({ requireNames: true })).not.toThrow()
})

test('build: twice, and after more operators, each time the whole', () => {
  const builder = new StreamsBuilder()
  const stream = builder.stream('in', both)
  stream
    .selectKey((v) => v, both)
    .groupByKey()
    .count()
  const once = builder.build({ optimize: true }).describe()
  expect(builder.build({ optimize: true }).describe()).toBe(once)
  stream.to('out')
  const more = builder.build({ optimize: true }).describe()
  expect(more).toContain('(topic: out)')
  expect(more.length).toBeGreaterThan(once.length)
})

test('build: many diamonds, one after another, built in no time', () => {
  const builder = new StreamsBuilder()
  let stream = builder.stream('in', both)
  for (let index = 0; index < 60; index++) stream = stream.merge(stream.filter(() => true))
  stream
    .selectKey((v) => v, both)
    .groupByKey()
    .count()
  const started = performance.now()
  expect(builder.build({ optimize: true }).graph.nodes.size).toBe(126)
  expect(performance.now() - started).toBeLessThan(2_000)
})
