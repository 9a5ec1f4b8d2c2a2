import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { checkConfigs, type PlannedTopic, planInternalTopics } from '../../src/runtime/internal-topics.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { stores } from '../../src/topology/stores.ts'
import type { TopologyGraph } from '../../src/topology/topology.ts'
import { refusal } from './refusal.ts'
import { graphOf } from './small-graph.ts'

const settings = {
  applicationId: 'shop',
  replicationFactor: -1,
  topicConfigs: {},
  windowChangelogExtraRetentionMs: 86_400_000,
}
const both = { keySerde: serdes.string(), valueSerde: serdes.string() }
const counts = stores.timestampedKeyValue('counts', both)

function plan(
  graph: TopologyGraph,
  existing: Record<string, number>,
  changed: Partial<typeof settings> = {},
) {
  return planInternalTopics(graph, new Map(Object.entries(existing)), { ...settings, ...changed })
}

function partitionsOf(graph: TopologyGraph, existing: Record<string, number>): Record<string, number> {
  return Object.fromEntries(plan(graph, existing).topics.map(({ name, partitions }) => [name, partitions]))
}

const group = graphOf([
  { name: 'split', reads: ['orders'], writes: ['by-user-repartition'] },
  { name: 'count', reads: ['by-user-repartition'], stores: [counts] },
])

describe('internal topics: settings as Kafka Streams gives them', () => {
  test('a topology with a store of each kind, equal to what Kafka Streams 4.3.0 computed for it', () => {
    const recorded = JSON.parse(
      readFileSync(fileURLToPath(new URL('./fixtures/internal-topics.json', import.meta.url)), 'utf8'),
    ) as Record<string, Record<string, string>>
    const graph = graphOf([
      {
        name: 'windows',
        reads: ['orders'],
        writes: ['by-user-repartition'],
        stores: [
          stores.window('w', { ...both, retention: '1h', windowSize: '5m' }),
          stores.session('s', { ...both, retention: '2h' }),
          stores.versioned('v', { ...both, historyRetention: '3h' }),
        ],
      },
      { name: 'count', reads: ['by-user-repartition'], stores: [counts] },
    ])
    const ours = plan(graph, { orders: 3 }).topics.map(({ name, configs }) => {
      const { 'message.timestamp.after.max.ms': _, ...rest } = configs
      return [name, rest]
    })
    expect(Object.fromEntries(ours)).toEqual(recorded)
  })

  const ours = {
    'message.timestamp.type': 'CreateTime',
    'message.timestamp.after.max.ms': '9223372036854775807',
  }

  test('a repartition topic and a table', () => {
    expect(plan(group, { orders: 4 }).topics).toEqual([
      {
        name: 'shop-by-user-repartition',
        kind: 'repartition',
        partitions: 4,
        configs: { ...ours, 'cleanup.policy': 'delete', 'segment.bytes': '52428800', 'retention.ms': '-1' },
        store: null,
      },
      {
        name: 'shop-counts-changelog',
        kind: 'changelog',
        partitions: 4,
        configs: { ...ours, 'cleanup.policy': 'compact' },
        store: 'counts',
      },
    ])
  })

  test('windows, sessions and versions', () => {
    const graph = graphOf([
      {
        name: 'all',
        reads: ['orders'],
        stores: [
          stores.window('w', { ...both, retention: '1h', windowSize: '5m' }),
          stores.session('s', { ...both, retention: '2h' }),
          stores.versioned('v', { ...both, historyRetention: '3h' }),
        ],
      },
    ])
    const configs = Object.fromEntries(
      plan(graph, { orders: 1 }).topics.map((topic) => [topic.store, topic.configs]),
    )
    expect(configs).toEqual({
      w: { ...ours, 'cleanup.policy': 'compact,delete', 'retention.ms': String(3_600_000 + 86_400_000) },
      s: { ...ours, 'cleanup.policy': 'compact,delete', 'retention.ms': String(7_200_000 + 86_400_000) },
      v: { ...ours, 'cleanup.policy': 'compact', 'min.compaction.lag.ms': String(10_800_000 + 86_400_000) },
    })
  })

  test('a store has settings of its own, they win over those for all topics, and those over the defaults', () => {
    const graph = graphOf([
      {
        name: 'all',
        reads: ['orders'],
        stores: [
          stores.window('w', {
            ...both,
            retention: '1h',
            windowSize: '5m',
            logging: { 'segment.bytes': '1000' },
          }),
          stores.window('short', {
            ...both,
            retention: '1h',
            windowSize: '5m',
            logging: { 'retention.ms': '7' },
          }),
        ],
      },
    ])
    const topicConfigs = { 'segment.bytes': '2000', 'retention.ms': '5', 'min.insync.replicas': '2' }
    const [w, short] = plan(graph, { orders: 1 }, { topicConfigs } as never).topics
    expect(w?.configs).toMatchObject({
      'segment.bytes': '1000',
      'min.insync.replicas': '2',
      'retention.ms': '90000000',
    })
    expect(short?.configs).toMatchObject({ 'segment.bytes': '2000', 'retention.ms': '7' })
  })

  test('a store that is not logged, or whose source topic is its changelog, has none', () => {
    const graph = graphOf([
      {
        name: 'all',
        reads: ['users'],
        stores: [
          stores.keyValue('lost', { ...both, logging: false }),
          { ...counts, name: 'users-table', changelog: { sourceTopic: 'users', configs: {} } },
        ],
      },
    ])
    expect(plan(graph, { users: 3 }).topics).toEqual([])
  })

  test('a store that keeps the changelog of the one it was before, that name', () => {
    const { topics } = planInternalTopics(
      group,
      new Map([['orders', 2]]),
      settings,
      new Map([['counts', 'shop-old-changelog']]),
    )
    expect(topics.map(({ name }) => name)).toContain('shop-old-changelog')
  })
})

describe('internal topics: how many partitions', () => {
  test('a chain, each takes the most of what flows into it', () => {
    const graph = graphOf([
      { name: 'last', reads: ['b-repartition'], stores: [counts] },
      { name: 'middle', reads: ['a-repartition', 'small'], writes: ['b-repartition'] },
      { name: 'first', reads: ['large', 'small-too'], writes: ['a-repartition'] },
    ])
    expect(partitionsOf(graph, { large: 12, 'small-too': 3, small: 5 })).toEqual({
      'shop-a-repartition': 12,
      'shop-b-repartition': 12,
      'shop-counts-changelog': 12,
    })
  })

  test('its user gave a number, that one, also downstream', () => {
    const graph = graphOf(
      [
        { name: 'first', reads: ['orders'], writes: ['a-repartition'] },
        { name: 'last', reads: ['a-repartition'], stores: [counts] },
      ],
      { partitions: { 'a-repartition': 7 } },
    )
    expect(partitionsOf(graph, { orders: 2 })).toEqual({
      'shop-a-repartition': 7,
      'shop-counts-changelog': 7,
    })
  })

  test('a circle that something enters, what enters it', () => {
    const graph = graphOf([
      {
        name: 'round',
        reads: ['orders', 'again-repartition'],
        writes: ['again-repartition'],
        stores: [counts],
      },
    ])
    expect(partitionsOf(graph, { orders: 3 })).toEqual({
      'shop-again-repartition': 3,
      'shop-counts-changelog': 3,
    })
  })

  test('a circle that nothing enters, an error that says so', () => {
    const graph = graphOf([{ name: 'round', reads: ['again-repartition'], writes: ['again-repartition'] }])
    expect(() => plan(graph, {})).toThrow(
      refusal('PARTITIONS_UNKNOWN', 'shop-again-repartition', 'partitions'),
    )
  })

  test('a pattern that matches no topic, an error that says so', () => {
    const graph = graphOf([
      { name: 'first', reads: /orders-.*/, writes: ['a-repartition'] },
      { name: 'last', reads: ['a-repartition'] },
    ])
    expect(() => plan(graph, { users: 4 })).toThrow(refusal('PARTITIONS_UNKNOWN', 'pattern'))
    expect(partitionsOf(graph, { 'orders-eu': 4, 'orders-us': 6, users: 9 })).toEqual({
      'shop-a-repartition': 6,
    })
  })

  test('an old internal topic has another number, it does not count', () => {
    const { counts: found } = plan(group, { orders: 4, 'shop-by-user-repartition': 9 })
    expect(found.get('shop-by-user-repartition')).toBe(4)
  })
})

describe('internal topics: partitioned alike', () => {
  const join = (partitions: Record<string, number> = {}, parts = ['left', 'right']) =>
    graphOf(
      [
        { name: 'map', reads: ['orders'], writes: ['l-repartition', 'r-repartition'] },
        { name: 'left', reads: ['l-repartition'] },
        { name: 'right', reads: ['r-repartition'] },
        { name: 'users', reads: ['users'] },
        { name: 'items', reads: ['items'] },
      ],
      { partitions, together: [parts] },
    )
  const existing = { orders: 4, users: 6, items: 8 }

  test('with a topic of others, the internal one takes its number', () => {
    expect(partitionsOf(join({}, ['left', 'users']), existing)['shop-l-repartition']).toBe(6)
  })

  test('two of ours, the larger; where one was given a number, that one', () => {
    expect(partitionsOf(join(), existing)).toMatchObject({ 'shop-l-repartition': 4, 'shop-r-repartition': 4 })
    expect(partitionsOf(join({ 'r-repartition': 9 }), existing)).toMatchObject({ 'shop-l-repartition': 9 })
  })

  test('two topics of others differ, refused with both numbers and the remedy', () => {
    expect(() => plan(join({}, ['users', 'items']), existing)).toThrow(
      refusal('TOPICS_NOT_COPARTITIONED', 'users-items', 'users has 6', 'items has 8', 'repartition()'),
    )
  })

  test('a number that was given does not fit the topic of others, refused', () => {
    expect(() => plan(join({ 'l-repartition': 3 }, ['left', 'users']), existing)).toThrow(
      refusal('TOPICS_NOT_COPARTITIONED', 'shop-l-repartition has 3', 'users has 6'),
    )
  })

  test('a topic in two groups, what one changes the other sees', () => {
    const graph = graphOf(
      [
        { name: 'map', reads: ['orders'], writes: ['l-repartition', 'r-repartition'] },
        { name: 'left', reads: ['l-repartition'] },
        { name: 'right', reads: ['r-repartition'] },
        { name: 'users', reads: ['users'] },
      ],
      {
        together: [
          ['left', 'right'],
          ['right', 'users'],
        ],
      },
    )
    expect(partitionsOf(graph, existing)).toMatchObject({ 'shop-l-repartition': 6, 'shop-r-repartition': 6 })
  })
})

describe('internal topics: bad input', () => {
  test('source topics are missing, all of them named with the command that makes them', () => {
    const graph = graphOf([
      { name: 'a', reads: ['orders'] },
      { name: 'b', reads: ['users'] },
    ])
    expect(() => plan(graph, {})).toThrow(
      refusal(
        'TOPIC_MISSING',
        'orders (read by a-source)',
        'users (read by b-source)',
        '--create --topic users',
      ),
    )
  })

  test('a name too long for Kafka, refused', () => {
    const graph = graphOf([
      { name: 'a', reads: ['orders'], stores: [stores.keyValue('s'.repeat(240), both)] },
    ])
    expect(() => plan(graph, { orders: 1 })).toThrow(refusal('CONFIG_INVALID', '255 characters', 'shorten'))
  })

  test('settings of an existing topic, an error where state would be lost, else a warning', () => {
    const [repartition, changelog] = plan(group, { orders: 1 }).topics as [PlannedTopic, PlannedTopic]
    expect(checkConfigs(changelog, { 'cleanup.policy': 'compact' })).toEqual([])
    expect(() => checkConfigs(changelog, { 'cleanup.policy': 'delete' })).toThrow(
      refusal('INTERNAL_TOPIC_MISMATCH', 'shop-counts-changelog', 'store counts', 'cleanup.policy=[compact]'),
    )
    expect(() =>
      checkConfigs(changelog, { 'cleanup.policy': 'compact,delete', 'retention.ms': '-1' }),
    ).toThrow()
    expect(() => checkConfigs(repartition, { 'cleanup.policy': 'compact' })).toThrow()
    expect(checkConfigs(repartition, { 'cleanup.policy': 'delete', 'retention.ms': '604800000' })[0]).toMatch(
      /retention.ms=604800000, and -1 is needed/,
    )
  })
})
