import { describe, expect, test } from 'vitest'
import { planInternalTopics } from '../../src/runtime/internal-topics.ts'
import {
  compareTopologies,
  movedChangelogs,
  recordOf,
  refuseLoss,
  structureHash,
  type TopologyRecord,
} from '../../src/runtime/topology-memory.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import { stores } from '../../src/topology/stores.ts'
import { graphOf, type Part } from './small-graph.ts'

const both = { keySerde: serdes.string(), valueSerde: serdes.string() }
const settings = {
  applicationId: 'shop',
  replicationFactor: -1,
  topicConfigs: {},
  windowChangelogExtraRetentionMs: 0,
}
const table = (name: string, movedFrom?: string): StoreSpec => ({
  ...stores.timestampedKeyValue(name, both),
  ...(movedFrom === undefined ? {} : { movedFrom }),
})

/** What a deployment of these parts would remember, after the one before it. */
function deploy(
  parts: readonly Part[],
  before: TopologyRecord | null = null,
  existing: Record<string, number> = { orders: 4, users: 4 },
): TopologyRecord {
  const graph = graphOf(parts)
  const changelogs = movedChangelogs(graph, 'shop', before)
  return recordOf(
    graph,
    planInternalTopics(graph, new Map(Object.entries(existing)), settings, changelogs),
    'shop',
  )
}

const count = (store: StoreSpec): Part => ({ name: 'count', reads: ['orders'], stores: [store] })
const before = deploy([count(table('counts'))])

function effects(parts: readonly Part[], from = before, drained: readonly string[] = []): string[] {
  return compareTopologies(from, deploy(parts, from), new Set(drained)).map(
    ({ effect, what }) => `${effect} ${what}`,
  )
}

describe('topology memory: what a new topology does to what is there', () => {
  test('the same, nothing to say', () => {
    expect(effects([count(table('counts'))])).toEqual([])
  })

  test('a part more, with its store and its topic, safe', () => {
    expect(
      effects([
        count(table('counts')),
        { name: 'split', reads: ['users'], writes: ['a-repartition'] },
        { name: 'more', reads: ['a-repartition'], stores: [table('more')] },
      ]),
    ).toEqual(['safe more', 'safe shop-a-repartition'])
  })

  test('a store is gone, refused with the one that may be it', () => {
    const after = deploy([count(table('totals'))], before)
    const changes = compareTopologies(before, after)
    expect(changes.map(({ effect, what }) => `${effect} ${what}`)).toEqual(['loses counts', 'safe totals'])
    expect(() => refuseLoss(changes)).toThrow(
      expect.objectContaining({
        code: 'TOPOLOGY_LOSES_STATE',
        message: expect.stringMatching(/shop-counts-changelog.*totals.*movedFrom: 'counts'/s),
      }),
    )
    expect(() => refuseLoss(changes, new Set(['counts']))).not.toThrow()
    expect(() => refuseLoss(changes, 'all')).not.toThrow()
  })

  test('a store was renamed with movedFrom, keeps its changelog, also in the deployments after', () => {
    const moved = deploy([count(table('totals', 'counts'))], before)
    expect(compareTopologies(before, moved)).toEqual([
      expect.objectContaining({ effect: 'moved', what: 'counts' }),
    ])
    expect(moved.stores[0]).toMatchObject({ name: 'totals', changelog: 'shop-counts-changelog' })
    for (const later of [table('totals', 'counts'), table('totals')]) {
      const again = deploy([count(later)], moved)
      expect(again.stores[0]?.changelog).toBe('shop-counts-changelog')
      expect(compareTopologies(moved, again)).toEqual([])
    }
    const twice = deploy([count(table('sums', 'totals'))], moved)
    expect(compareTopologies(moved, twice)).toEqual([
      expect.objectContaining({ effect: 'moved', what: 'totals' }),
    ])
  })

  test('movedFrom without a memory, a takeover from Kafka Streams, keeps the changelog of the old name', () => {
    expect(deploy([count(table('totals', 'counts'))]).stores[0]?.changelog).toBe('shop-counts-changelog')
  })

  test.each([
    ['a store that was not there', [count(table('totals', 'cuonts'))], /no such store; it had counts/],
    [
      'a store that is still there',
      [count(table('counts')), { name: 'b', reads: ['users'], stores: [table('totals', 'counts')] }],
      /still a store of that name/,
    ],
    [
      'one that another store names too',
      [count(table('a', 'counts')), { name: 'b', reads: ['users'], stores: [table('b', 'counts')] }],
      /and so does/,
    ],
  ])('movedFrom names %s, refused', (_, parts: readonly Part[], message) => {
    expect(() => deploy(parts, before)).toThrow(
      expect.objectContaining({ code: 'TOPOLOGY_INVALID', message: expect.stringMatching(message) }),
    )
  })

  test.each([
    ['another kind', stores.session('counts', { ...both, retention: '1h' })],
    ['another form', stores.keyValue('counts', both)],
    ['no log', stores.timestampedKeyValue('counts', { ...both, logging: false })],
  ])('a store of the same name with %s, would lose state', (_, store) => {
    expect(effects([count(store)])).toContain('loses counts')
  })

  test('a window of another size, would lose state; longer retention, nothing', () => {
    const windowed = (windowSize: '5m' | '10m', retention: '1h' | '2h') =>
      deploy([count(stores.window('counts', { ...both, retention, windowSize }))])
    const from = windowed('5m', '1h')
    expect(compareTopologies(from, windowed('10m', '1h'))[0]?.effect).toBe('loses')
    expect(compareTopologies(from, windowed('5m', '2h'))).toEqual([])
  })

  test('a serde of another name, doubtful', () => {
    const other = { ...table('counts'), valueSerde: { ...serdes.string(), name: 'text' } } as StoreSpec
    expect(effects([count(other)])).toEqual(['doubtful counts'])
  })

  test('the source topic has more partitions, would lose state', () => {
    const after = deploy([count(table('counts'))], before, { orders: 8, users: 4 })
    expect(compareTopologies(before, after)[0]?.message).toMatch(
      /state in 4 partitions, and its tasks are now 8/,
    )
  })

  test('a source topic becomes the changelog, safe; and back, would lose state', () => {
    const optimised = { ...table('counts'), changelog: { sourceTopic: 'orders', configs: {} } } as StoreSpec
    expect(effects([count(optimised)])).toEqual(['safe counts'])
    expect(effects([count(table('counts'))], deploy([count(optimised)]))).toEqual(['loses counts'])
  })

  test('a store goes to another sub-topology, safe: it is restored', () => {
    expect(effects([{ name: 'first', reads: ['users'] }, count(table('counts'))])).toEqual(['safe counts'])
  })

  test('a generated name now stands after another operator, doubtful', () => {
    const generated = table('KSTREAM-AGGREGATE-STATE-STORE-0000000003')
    const from = deploy([{ name: 'count', reads: ['orders'], stores: [generated] }])
    expect(effects([{ name: 'count', reads: ['users'], stores: [generated] }], from)).toEqual([
      `doubtful ${generated.name}`,
    ])
  })

  test('an internal topic is not read any more, would lose records unless all were processed', () => {
    const parts: Part[] = [
      { name: 'split', reads: ['orders'], writes: ['a-repartition'] },
      { name: 'end', reads: ['a-repartition'] },
    ]
    const from = deploy(parts)
    const now: Part[] = [{ name: 'split', reads: ['orders'] }]
    expect(effects(now, from)).toEqual(['loses shop-a-repartition'])
    expect(effects(now, from, ['shop-a-repartition'])).toEqual(['safe shop-a-repartition'])
  })
})

describe('topology memory: the hash that members of a group must share', () => {
  const hash = (parts: readonly Part[]) => structureHash(graphOf(parts))

  test('stateless steps and retention change, the same; stores and topics change, another', () => {
    const base = hash([count(table('counts'))])
    expect(hash([{ name: 'other', reads: ['orders'], stores: [table('counts')], writes: ['out'] }])).toBe(
      base,
    )
    expect(hash([count(table('totals'))])).not.toBe(base)
    expect(hash([{ name: 'count', reads: ['orders', 'users'], stores: [table('counts')] }])).not.toBe(base)
    expect(hash([{ name: 'first', reads: ['users'] }, count(table('counts'))])).not.toBe(base)
  })
})
