import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { hashOrder, TreeSet } from '../../src/topology/java-order.ts'
import { stores } from '../../src/topology/stores.ts'
import { timestamps } from '../../src/topology/timestamps.ts'
import { Topology } from '../../src/topology/topology.ts'

const both = { keySerde: serdes.string(), valueSerde: serdes.string() }
const nothing = () => ({ process: () => {} })
const store = (name: string) => stores.keyValue(name, both)

function wordCount(): Topology {
  return new Topology()
    .addSource('lines', ['a', 'b'], both)
    .addProcessor('split', nothing, 'lines')
    .addProcessor('count', nothing, ['split'], store('counts'))
    .addProcessor('again', nothing, 'split')
    .connectProcessorAndStateStores('again', 'counts')
    .addSink('out', 'counted', ['count', 'again'], both)
    .addGlobalStore(
      store('rates'),
      { ...both, topic: 'rates', source: 'rates-source', processor: 'rates-keeper' },
      nothing,
    )
    .addReadOnlyStateStore(
      store('users'),
      { ...both, topic: 'users', source: 'users-source', processor: 'users-keeper' },
      nothing,
    )
}

describe('Processor API', () => {
  test('describe: nodes, stores, a global and a read-only store, as Kafka Streams prints them', () => {
    expect(wordCount().describe()).toBe(`Topologies:
   Sub-topology: 0
    Source: lines (topics: [a, b])
      --> split
    Processor: split (stores: [])
      --> again, count
      <-- lines
    Processor: again (stores: [counts])
      --> out
      <-- split
    Processor: count (stores: [counts])
      --> out
      <-- split
    Sink: out (topic: counted)
      <-- count, again

  Sub-topology: 1 for global store (will not generate tasks)
    Source: rates-source (topics: [rates])
      --> rates-keeper
    Processor: rates-keeper (stores: [rates])
      --> none
      <-- rates-source
  Sub-topology: 2
    Source: users-source (topics: [users])
      --> users-keeper
    Processor: users-keeper (stores: [users])
      --> none
      <-- users-source

`)
  })

  test('graph: sub-topologies, children in order, changelogs', () => {
    const { graph } = wordCount()
    expect(graph.subtopologies.map(({ index, sources }) => [index, sources])).toEqual([
      [0, ['lines']],
      [2, ['users-source']],
    ])
    expect(graph.children.get('split')).toEqual(['count', 'again'])
    expect(graph.stores.get('counts')?.changelog).toEqual({ sourceTopic: null, configs: {} })
    expect(graph.stores.get('rates')?.changelog?.sourceTopic).toBe('rates')
    expect(graph.stores.get('users')?.changelog?.sourceTopic).toBe('users')
    expect(graph.globals).toEqual([
      { store: 'rates', source: 'rates-source', processor: 'rates-keeper', topic: 'rates' },
    ])
  })

  test('graph: immutable, and a new one after a change', () => {
    const topology = wordCount()
    const before = topology.graph
    expect(topology.graph).toBe(before)
    expect(Object.isFrozen(before)).toBe(true)
    expect(() => Object.assign(before.nodes.get('split') ?? {}, { name: 'other' })).toThrow(TypeError)
    topology.addProcessor('more', nothing, 'split')
    expect(before.nodes.has('more')).toBe(false)
    expect(topology.graph.nodes.has('more')).toBe(true)
  })

  test('sinks: topics by record, partitioners, both get (value, key) or (key, value) as they say', () => {
    const topology = new Topology()
      .addSource('in', 'in', both)
      .addSink('out', (value, key) => `${String(key)}-${String(value)}`, 'in', {
        ...both,
        partitioner: (key, value, partitions, topic) => [
          String(key).length,
          String(value).length,
          partitions,
          topic.length,
        ],
      })
    const node = topology.graph.nodes.get('out')
    if (node?.kind !== 'sink' || typeof node.topic === 'string') throw new Error('no sink')
    expect(node.topic('k', 'v', { topic: 'in', partition: 0, offset: 0, timestamp: 0, headers: [] })).toBe(
      'k-v',
    )
    expect(node.partitioner?.('topic', 'k', 'vv', 4)).toEqual([1, 2, 4, 5])
  })
})

const wrong: readonly (readonly [string, (t: Topology) => unknown, RegExp])[] = [
  [
    'an unknown parent',
    (t) => t.addProcessor('p', nothing, 'nowhere'),
    /^p: its parent nowhere is unknown; add nowhere first/,
  ],
  [
    'a parent of itself',
    (t) => t.addProcessor('p', nothing, 'p'),
    /^p: it can't be its own parent \(a cycle\)$/,
  ],
  ['no parent', (t) => t.addProcessor('p', nothing, []), /^p: it has no parent, so no record can reach it$/],
  [
    'a parent that is a sink',
    (t) => t.addSink('s', 't', 'lines', both).addProcessor('p', nothing, 's'),
    /^p: its parent s is a sink/,
  ],
  ['a name twice', (t) => t.addSource('lines', 'x', both), /^two nodes are called lines/],
  ['a topic twice', (t) => t.addSource('more', 'a', both), /^more: the topic a is read by lines already/],
  [
    'a topic in a pattern',
    (t) => t.addSource('more', /[a-z]/, both),
    /^more: its pattern also matches a, which lines reads/,
  ],
  ['no topic', (t) => t.addSource('more', [], both), /^more: it has no topic/],
  ['an empty name', (t) => t.addSource('', 'x', both), /the name "" is empty/],
  [
    'a store of an unknown processor',
    (t) => t.addStateStore(store('s'), 'p'),
    /^p: no such processor to connect a store to/,
  ],
  ['a store of a source', (t) => t.addStateStore(store('s'), 'lines'), /^lines: a source has no stores/],
  [
    'an unknown store',
    (t) => t.connectProcessorAndStateStores('split', 's'),
    /^split: the store s is unknown/,
  ],
  ['no store', (t) => t.connectProcessorAndStateStores('split'), /^split: name at least one store/],
  ['another store of that name', (t) => t.addStateStore(store('counts')), /^two stores are called counts/],
  [
    'a global store of that name',
    (t) => t.addGlobalStore(store('counts'), { ...both, topic: 'g', source: 'g1', processor: 'g2' }, nothing),
    /^two stores are called counts/,
  ],
  [
    'a child of a global store',
    (t) => t.addProcessor('p', nothing, 'rates-keeper'),
    /^p: its parent rates-keeper belongs to a global store/,
  ],
  [
    'a global store, connected',
    (t) => t.connectProcessorAndStateStores('split', 'rates'),
    /^split: rates is a global store/,
  ],
  [
    'a processor, not a function',
    (t) => t.addProcessor('p', {} as never, 'lines'),
    /^p: give a function that makes a processor/,
  ],
]

test.each(wrong)('Processor API: %s, refused', (_name, change, message) => {
  expect(() => change(wordCount())).toThrow(
    expect.objectContaining({ code: 'TOPOLOGY_INVALID', message: expect.stringMatching(message) }),
  )
})

test('stores: sizes and times that can not be, refused', () => {
  expect(() => stores.lru('s', 0, both)).toThrow(/entriesMax must be a whole number of at least 1/)
  expect(() => stores.window('s', { ...both, retention: 0, windowSize: 1 })).toThrow(
    /retention must be more than 0/,
  )
  expect(() => stores.window('s', { ...both, retention: 1, windowSize: 2 })).toThrow(
    /must not be less than windowSize/,
  )
  expect(() => stores.versioned('s', { ...both, historyRetention: -1 })).toThrow(/must not be negative/)
  expect(() => stores.keyValue('a b', both)).toThrow(/has a character other than/)
})

test('stores: segments as Kafka Streams cuts them', () => {
  expect(stores.window('s', { ...both, retention: '1m', windowSize: 1 }).segmentIntervalMs).toBe(60_000)
  expect(stores.window('s', { ...both, retention: '1h', windowSize: 1 }).segmentIntervalMs).toBe(1_800_000)
  const versioned = (historyRetention: number) =>
    stores.versioned('s', { ...both, historyRetention }).segmentIntervalMs
  expect([1_000, 60_000, 300_000, 3_600_000, 86_400_000].map(versioned)).toEqual([
    2_000, 20_000, 60_000, 300_000, 3_600_000,
  ])
})

test('toJSON: what tools need, as plain data', () => {
  const json = wordCount().toJSON()
  expect(JSON.parse(JSON.stringify(json))).toEqual(json)
  expect(json.subtopologies[0]?.nodes.map(({ name, kind, to }) => [name, kind, to])).toEqual([
    ['lines', 'source', ['split']],
    ['split', 'process', ['count', 'again']],
    ['count', 'process', ['out']],
    ['again', 'process', ['out']],
    ['out', 'sink', []],
  ])
  expect(json.stores).toContainEqual({
    name: 'counts',
    kind: 'key-value',
    engine: 'persistent',
    changelog: 'counts-changelog',
  })
  expect(json.globals.map(({ store: name, topic }) => [name, topic])).toEqual([['rates', 'rates']])
})

test('toMermaid: a flow chart of topics, nodes and stores', () => {
  const builder = new StreamsBuilder()
  builder.stream('in', both).groupByKey().count({ as: 'counts' }).toStream().to('out')
  expect(builder.build().toMermaid()).toBe(`flowchart TD
  subgraph s0["Sub-topology 0"]
    n0["KSTREAM-SOURCE-0000000000"]
    n2["KSTREAM-AGGREGATE-0000000001"]
    n4["KTABLE-TOSTREAM-0000000002"]
    n5["KSTREAM-SINK-0000000003"]
  end
  n1(["in"])
  n6(["out"])
  n3[("counts")]
  n1 --> n0
  n0 --> n2
  n2 -.- n3
  n2 --> n4
  n4 --> n5
  n5 --> n6
`)
})

test('fingerprint: equal for equal topologies, different as soon as data differs', () => {
  const build = (as: string, partitions: number): string => {
    const builder = new StreamsBuilder()
    builder
      .stream('in', both)
      .repartition({ name: 'r', partitions })
      .groupByKey()
      .count({ as })
      .toStream()
      .to('out')
    return builder.build().fingerprint()
  }
  expect(build('a', 1)).toMatch(/^[0-9a-f]{64}$/)
  expect(build('a', 1)).toBe(build('a', 1))
  expect(build('a', 1)).not.toBe(build('b', 1))
  expect(build('a', 1)).not.toBe(build('a', 2))
})

describe('Java’s orders', () => {
  test('hashOrder: as HashSet gives them', () => {
    // new HashSet<>(List.of("b", "a", "FB", "Ea", "topic-1")), whose FB and Ea have one hash.
    expect(hashOrder(['b', 'a', 'FB', 'Ea', 'topic-1'])).toEqual(['a', 'b', 'topic-1', 'FB', 'Ea'])
  })

  test('TreeSet: items that stay as they are come out sorted, once', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 50 })), (numbers) => {
        const set = new TreeSet<number>((a, b) => a - b)
        for (const number of numbers) set.add(number)
        expect(set.items()).toEqual([...new Set(numbers)].sort((a, b) => a - b))
      }),
    )
  })
})

describe('timestamps', () => {
  const record = (timestamp: number) => ({ topic: 't', partition: 1, offset: 2, timestamp, headers: [] })

  test('a record with a time: its own', () => {
    for (const name of ['failOnInvalid', 'skipInvalid', 'usePartitionTime'] as const) {
      expect(timestamps[name]('v', 'k', record(5), 9, 100)).toBe(5)
    }
    expect(timestamps.wallClock('v', 'k', record(5), 9, 100)).toBe(100)
  })

  test('a record without one: fails, is skipped, or takes the partition’s', () => {
    expect(() => timestamps.failOnInvalid('v', 'k', record(-1), 9, 100)).toThrow(
      /t-1, offset 2: the timestamp -1 is no time/,
    )
    expect(timestamps.skipInvalid('v', 'k', record(-1), 9, 100)).toBe(-1)
    expect(timestamps.usePartitionTime('v', 'k', record(-1), 9, 100)).toBe(9)
    expect(() => timestamps.usePartitionTime('v', 'k', record(-1), -1, 100)).toThrow(
      /no record of the partition before/,
    )
  })
})
