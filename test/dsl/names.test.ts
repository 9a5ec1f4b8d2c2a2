/** Programs with names, and what Kafka Streams 4.3 prints for them (fixtures/named-programs.txt). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { untilWindowCloses } from '../../src/dsl/suppressed.ts'
import { session, sliding, tumbling } from '../../src/dsl/windows.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { stores } from '../../src/topology/stores.ts'

const text = serdes.string()
const both = { keySerde: text, valueSerde: text }
const within = { within: 5, grace: 1 }
const store = (name: string) => stores.keyValue(name, both)
const nothing = () => ({ process: () => {} })
const first = (a: string): string => a

type Program = (builder: StreamsBuilder) => void

const programs: Readonly<Record<string, Program>> = {
  'stateless-named': (b) => {
    b.stream('in', { ...both, name: 'source' })
      .filter(() => true, { name: 'keep' })
      .filterNot(() => true, { name: 'lose' })
      .map((v, k) => [k, v], { name: 'mapped' })
      .flatMap((v, k) => [[k, v]], { name: 'flat' })
      .mapValues((v) => v, { name: 'values' })
      .flatMapValues((v) => [v], { name: 'flatvalues' })
      .selectKey((v) => v, { name: 'key' })
      .peek(() => {}, { name: 'look' })
      .to('out', { ...both, name: 'sink' })
  },
  'foreach-print': (b) => {
    const s = b.stream(['b', 'a'], both)
    s.foreach(() => {}, { name: 'each' })
    s.print({ name: 'printer' })
    s.foreach(() => {})
    s.print()
  },
  'split-named': (b) => {
    const branches = b
      .stream('in', both)
      .split({ name: 'split-' })
      .branch(() => true, { name: 'one' })
      .branch(() => true)
      .defaultBranch({ name: 'rest' })
    expect([...branches.keys()]).toEqual(['split-one', 'split-2', 'split-rest'])
    branches.get('split-one')?.to('o1')
    branches.get('split-rest')?.to('o2')
  },
  'merge-named': (b) => b.stream('a', both).merge(b.stream('b', both), { name: 'both' }).to('out'),
  'repartition-named': (b) =>
    b
      .stream('in', both)
      .repartition({ ...both, name: 'again', partitions: 3 })
      .to('out'),
  'group-named': (b) => {
    b.stream('in', both)
      .groupBy((v) => v, { ...both, name: 'by-value' })
      .count({ name: 'counter', as: 'counts' })
      .toStream({ name: 'out-stream' })
      .to('out')
  },
  'group-twice-named': (b) => {
    const group = b.stream('in', both).groupBy((v) => v, { ...both, name: 'by-value' })
    group.count()
    group.reduce(first, { name: 'reducer', as: 'reduced' })
  },
  'group-twice-unnamed': (b) => {
    const group = b.stream('in', both).groupBy((v) => v, both)
    group.count()
    group.count({ keySerde: text, valueSerde: serdes.long() })
    group.aggregate(() => '', first, both)
  },
  'windowed-named': (b) => {
    const group = b.stream('in', both).groupByKey()
    group.windowedBy(tumbling(10)).count({ name: 'w', as: 'ws' })
    group.windowedBy(session(10)).count()
    group.windowedBy(sliding(10)).reduce(first, { name: 'sr' })
  },
  'cogroup-named': (b) => {
    const g = b.stream('a', both).groupByKey()
    const h = b.stream('b', both).groupBy((v) => v, { ...both, name: 'h' })
    g.cogroup<string>(first)
      .cogroup(h, first)
      .aggregate(() => '', { ...both, name: 'cg', as: 'cgs' })
  },
  'stream-join-named': (b) => {
    const l = b.stream('l', both).selectKey((v) => v, both)
    const r = b.stream('r', both).selectKey((v) => v, both)
    l.join(r, first, { ...within, name: 'j' })
    l.leftJoin(r, first, { ...within, name: 'lj', as: 'ls' })
    l.outerJoin(r, (a) => a, { ...within, as: 'os' })
  },
  'stream-table-join-named': (b) => {
    const table = b.table('t', { ...both, as: 'ts', historyRetention: 1000 })
    b.stream('s', both)
      .selectKey((v) => v, both)
      .join(table, first, { name: 'st', grace: 5 })
      .to('o', both)
  },
  'stream-table-join-twice': (b) => {
    const table = b.table('t', both)
    const stream = b.stream('s', both).selectKey((v) => v, both)
    stream.join(table, first).to('o', both)
    stream.leftJoin(table, first).to('o2', both)
  },
  'global-named': (b) => {
    const t = b.globalTable('g', { ...both, name: 'gt', as: 'gs' })
    const u = b.globalTable('u', both)
    b.stream('s', both)
      .join(t, (v) => v, first, { name: 'gj' })
      .leftJoin(u, (v) => v, first)
      .to('o', both)
  },
  'table-named': (b) => {
    b.table('t', { ...both, name: 'tab' })
      .filter(() => true, { name: 'f' })
      .mapValues((v) => v, { name: 'm', as: 'ms', valueSerde: text })
      .filterNot(() => true, both)
      .mapValues((v) => v, both)
      .toStream()
      .to('o')
  },
  'table-transform': (b) => {
    b.addStateStore(store('x'))
    b.table('t', both)
      .transformValues(() => ({ transform: (v: string | null) => v }), {
        name: 'tr',
        as: 'trs',
        valueSerde: text,
        stores: ['x'],
      })
      .toStream()
      .to('o')
  },
  'table-join-named': (b) => {
    const t = b.table('t', both)
    const u = b.table('u', both)
    t.join(u, first, { name: 'tj' })
      .leftJoin(u, first, { name: 'tl', as: 'tls', valueSerde: text })
      .outerJoin(t, (a) => a, both)
      .toStream()
      .to('o', both)
  },
  'fk-named': (b) => {
    const t = b.table('t', both)
    const u = b.table('u', both)
    t.joinOnForeignKey(u, (v) => v, first, { name: 'fk', as: 'fks', valueSerde: text })
      .toStream()
      .to('o')
  },
  'group-table-named': (b) => {
    const group = b.table('t', both).groupBy((v, k) => [v, k], { ...both, name: 'gt' })
    group.count({ name: 'gc' })
    group.reduce(first, first, { name: 'gr', as: 'grs' })
  },
  'suppress-named': (b) => {
    b.stream('in', both)
      .groupByKey()
      .windowedBy(tumbling(10))
      .count({ as: 'w' })
      .suppress(untilWindowCloses(), { name: 'final' })
      .toStream()
      .foreach(() => {})
  },
  'totable-named': (b) => {
    b.stream('in', both)
      .selectKey((v) => v)
      .toTable({ ...both, name: 'tt', as: 'tts' })
      .toStream()
      .to('o')
  },
  'process-named': (b) => {
    b.addStateStore(store('x'))
    b.stream('in', both)
      .process(nothing, { name: 'proc', stores: ['x'] })
      .processValues(nothing, { name: 'vals', stores: ['x'] })
      .process(nothing)
      .processValues(nothing)
      .to('o', both as never)
  },
  'connected-stores': (b) => {
    b.stream('in', both)
      .process({ make: nothing, stores: [store('own')] })
      .to('o', both as never)
  },
  'same-topic-twice': (b) => {
    b.stream('in', both)
      .filter(() => true)
      .to('o1')
    b.stream('in', both)
      .mapValues((v) => v)
      .to('o2', both)
  },
  pattern: (b) => b.stream(/in-.*/, both).to('o'),
  'global-store': (b) => {
    b.addGlobalStore(store('gst'), 'gtopic', both, nothing)
    b.stream('in', both)
      .process(nothing)
      .to('o', both as never)
  },
  'optimised-merge-repartitions': (b) => {
    const s = b.stream('in', both).selectKey((v) => v)
    s.groupByKey(both).count()
    s.mapValues((v) => v)
      .groupByKey(both)
      .reduce(first)
    s.groupByKey({ ...both, name: 'named' }).count({ as: 'n' })
    s.filter(() => true)
      .leftJoin(b.table('t', both), first, both)
      .to('o', both)
  },
  'optimised-merge-of-key-changers': (b) => {
    const s = b.stream('a', both).selectKey((v) => v)
    const r = b.stream('b', both).map((v, k) => [v, k])
    s.merge(r).groupByKey(both).count()
  },
  'optimised-self-join': (b) => {
    const s = b.stream('a', both)
    s.join(s, first, within).to('o', both)
    b.stream('a', both)
      .join(b.stream('a', both), first, { ...within, name: 'sj', as: 'sjs' })
      .to('o2', both)
  },
  'optimised-table-source': (b) => {
    b.table('t', { ...both, as: 'ts' })
      .filter(() => true)
      .join(b.table('u', both), first)
      .toStream()
      .to('o', both)
  },
}

const fixture = readFileSync(join(import.meta.dirname, 'fixtures/named-programs.txt'), 'utf8')
const expected = new Map(
  fixture
    .split('=== ')
    .slice(1)
    .map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 1, -1)]),
)

test.each(Object.entries(programs))('names: %s, as Kafka Streams gives them', (name, program) => {
  const builder = new StreamsBuilder()
  program(builder)
  expect(builder.build({ optimize: name.startsWith('optimised') }).describe()).toBe(expected.get(name))
})

test('names: every program of the fixture is there', () => {
  expect([...expected.keys()].sort()).toEqual(Object.keys(programs).sort())
})

test('names: naming an operator, only its own change', () => {
  const lines = (name?: string): string[] => {
    const builder = new StreamsBuilder()
    const filtered = builder.stream('in', both).filter(() => true, name === undefined ? {} : { name })
    filtered.peek(() => {}).to('out')
    return builder.build().describe().split('\n')
  }
  const renamed = lines('mine').map((line) => line.replaceAll('mine', 'KSTREAM-FILTER-0000000001'))
  expect(renamed).toEqual(lines())
})
