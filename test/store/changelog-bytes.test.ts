/**
 * Changelog records have the bytes of Kafka Streams 4.3: what is expected here was printed by its own serializers. So a
 * Java application can take a topic over, and the reverse.
 */
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import type { Serde } from '../../src/serde/serde.ts'
import type {
  JoinBuffer,
  KeyValueStore,
  OuterJoinStore,
  SessionStore,
  SubscriptionStore,
  SuppressBuffer,
  TaskState,
  VersionedStore,
  WindowStore,
} from '../../src/store/contract.ts'
import { openMemoryState } from '../../src/store/task-state.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import {
  Changelogs,
  changelogRecord,
  joinBuffer,
  keyValue,
  outerJoin,
  session,
  subscription,
  suppress,
  text,
  versioned,
  window,
} from './fixture.ts'

const texts = { valueSerde: text as Serde<unknown> }
const origin = { topic: 'in', partition: 3, offset: 42 } as const
const headers = [
  { key: 'trace', value: Buffer.from('abc') },
  { key: 'none', value: null },
]

type Line = [key: string, value: string | null, timestamp: number]

/** What a commit appends after these changes, and what a new task makes of it. */
async function committed(
  spec: StoreSpec,
  change: (state: TaskState) => unknown,
): Promise<{ lines: Line[]; logs: Changelogs; restored: TaskState }> {
  const logs = new Changelogs()
  const state = openMemoryState({ stores: [spec], context: logs.context, cacheBytesMax: 0 })
  await change(state)
  await logs.commitAll(state)
  const lines = logs
    .of(spec.name)
    .map(
      ({ key, value, timestamp }): Line => [key.toString('hex'), value?.toString('hex') ?? null, timestamp],
    )
  const restored = openMemoryState({ stores: [spec], context: logs.context, cacheBytesMax: 0 })
  await logs.restore(restored)
  return { lines, logs, restored }
}

const hex = (value: string): string => Buffer.from(value).toString('hex')

test('changelog: a key-value record is key, value, and the value timestamp', async () => {
  const { lines } = await committed(keyValue('s', texts), async (state) => {
    const store = state.store('s') as KeyValueStore
    await store.put('user', 'v', 1234)
    await store.put('gone', 'v', 1)
    await store.put('gone', null, 2)
  })
  expect(lines).toEqual([[hex('user'), hex('v'), 1234]])
})

test('changelog: removing what a commit wrote is one tombstone, with its own timestamp', async () => {
  const { lines } = await committed(keyValue('s', texts), async (state) => {
    const store = state.store('s') as KeyValueStore
    const logs = new Changelogs()
    await store.put('user', 'v', 1)
    await logs.commitAll(state)
    await store.put('user', null, 7)
    await store.put('user', 'w', 8)
    await store.put('user', null, 9)
  })
  expect(lines).toEqual([[hex('user'), null, 9]])
})

test('changelog: a window key is key, start, number of the duplicate', async () => {
  const plain = window('s', { ...texts, retentionMs: 86_400_000, segmentIntervalMs: 43_200_000 })
  const one = await committed(plain, async (state) => {
    const store = state.store('s') as WindowStore
    store.set(await store.entry('user', 1_700_000_000_000), 'v', 1_700_000_000_005, noHeaders)
  })
  expect(one.lines).toEqual([['757365720000018bcfe5680000000000', hex('v'), 1_700_000_000_005]])
  const several = await committed({ ...plain, retainDuplicates: true }, async (state) => {
    const store = state.store('s') as WindowStore
    for (let value = 1; value <= 7; value++)
      await store.append('user', 1_700_000_000_000, `${value}`, noHeaders)
  })
  expect(several.lines[6]).toEqual(['757365720000018bcfe5680000000007', hex('7'), 1_700_000_000_000])
  // A task that restores goes on counting, so that nothing is overwritten.
  const store = several.restored.store('s') as WindowStore
  await store.append('user', 1_700_000_000_000, '8', noHeaders)
  const found = await store.fetch('user', 0, Number.MAX_SAFE_INTEGER)
  expect(found.map(({ value }) => value)).toEqual(['1', '2', '3', '4', '5', '6', '7', '8'])
})

test('changelog: a session key is key, end, start', async () => {
  const { lines } = await committed(session('s', { ...texts, retentionMs: 10_000 }), async (state) => {
    const store = state.store('s') as SessionStore
    store.set(await store.entry('user', 1000, 2000), 'v', noHeaders)
  })
  expect(lines).toEqual([['7573657200000000000007d000000000000003e8', hex('v'), 2000]])
})

test('changelog: each version is a record of its own, a removal is a tombstone', async () => {
  const { lines } = await committed(versioned('s', texts), async (state) => {
    const store = state.store('s') as VersionedStore
    await store.put('user', 'a', 10, noHeaders)
    await store.put('user', null, 20, noHeaders)
    await store.put('user', 'b', 15, noHeaders)
  })
  expect(lines).toEqual([
    [hex('user'), hex('a'), 10],
    [hex('user'), null, 20],
    [hex('user'), hex('b'), 15],
  ])
})

test('changelog: a suppressed change has its context, prior, old and new value, and a header of its format', async () => {
  const { lines, logs, restored } = await committed(
    { ...suppress('s'), ...texts } as StoreSpec,
    async (state) => {
      const store = state.store('s') as SuppressBuffer
      await store.hold('user', '22', '1', 99, 123, headers, origin)
      await store.hold('other', 'x', '1', 99, 123, headers, origin)
      await store.hold('other', null, '3', 98, 123, headers, origin)
    },
  )
  const context =
    '000000000000007b000000000000002a00000002696e000000030000000200000005747261636500000003616263000000046e6f6e65ffffffff'
  expect(lines).toEqual([
    [hex('user'), `${context}0000000131fffffffe0000000232320000000000000063`, 123],
    [hex('other'), `${context}00000001310000000133ffffffff0000000000000063`, 123],
  ])
  expect(logs.of('s')[0]?.headers).toEqual([{ key: 'v', value: Buffer.from([3]) }])
  const store = restored.store('s') as SuppressBuffer
  expect(await store.shift()).toEqual({
    key: 'other',
    value: null,
    old: '3',
    time: 99,
    timestamp: 123,
    headers,
    origin,
  })
  expect(await store.oldOf('user')).toBe('1')
  // What Kafka Streams counts: time, key, context, values.
  expect(store.bytes).toBe(8 + 4 + 20 + 'in'.length + 'trace'.length + 3 + 'none'.length + 1 + 2)
})

test('changelog: a suppressed record in a format of Kafka Streams before 2.4 is refused by name', async () => {
  const logs = new Changelogs()
  const state = openMemoryState({ stores: [suppress('s')], context: logs.context, cacheBytesMax: 0 })
  const record = changelogRecord(Buffer.from('k'), Buffer.alloc(20), 1, noHeaders)
  expect(() => state.restore('s', [record], 1)).toThrow(/format 0 of Kafka Streams before 2.4/)
})

test('changelog: a record waiting for a table is keyed by time, key and arrival', async () => {
  const { lines, logs, restored } = await committed(
    { ...joinBuffer('s', 1e13), ...texts } as StoreSpec,
    async (state) => {
      const store = state.store('s') as JoinBuffer
      await store.hold('user', '22', 1_700_000_000_000, noHeaders, origin)
      await store.hold('u', '1', 5, noHeaders, origin)
      await store.shift()
    },
  )
  const context = '0000018bcfe56800000000000000002a00000002696e0000000300000000'
  expect(lines).toEqual([
    [
      '000000018bcfe568007573657200000001',
      `${context}ffffffffffffffff0000000232320000000000000000`,
      1_700_000_000_000,
    ],
  ])
  const store = restored.store('s') as JoinBuffer
  expect(store.size).toBe(1)
  expect(store.observedTime).toBe(1_700_000_000_000)
  // Restored, it goes on counting arrivals: the same key and time is another record.
  await store.hold('user', '23', 1_700_000_000_000, noHeaders, origin)
  await logs.commitAll(restored)
  expect(new Set(logs.of('s').map(({ key }) => key.toString('hex'))).size).toBe(2)
  expect([(await store.shift()).value, (await store.shift()).value]).toEqual(['22', '23'])
})

test('changelog: unmatched records are keyed by time, side and key, with the list of their values', async () => {
  const spec = outerJoin('s', texts)
  const { lines } = await committed(spec, async (state) => {
    const store = state.store('s') as OuterJoinStore
    await store.put('left', 'user', 1000, 'lv')
    await store.put('left', 'user', 1000, 'lv2')
    await store.put('right', 'user', 1000, 'rv')
    await store.put('right', 'other', 1000, 'rv')
    await store.remove('right', 'other', 1000)
  })
  expect(lines).toEqual([
    ['00000000000003e80175736572', '010000000200000003016c7600000004016c7632', 1000],
    ['00000000000003e80075736572', `01000000010000000300${hex('rv')}`, 1000],
  ])
})

test('changelog: a subscription is keyed by foreign and primary key', async () => {
  const hash = Buffer.from('00000000000000010000000000000002', 'hex')
  const { lines, restored } = await committed(subscription('s'), async (state) => {
    const store = state.store('s') as SubscriptionStore
    const wrapper = { hash, instruction: 3, version: 1, primaryPartition: 5 }
    await store.put({ foreignKey: 'fk', primaryKey: 'pk', wrapper, timestamp: 9 })
    await store.put({
      foreignKey: 'fk',
      primaryKey: 'pj',
      wrapper: { hash: null, instruction: 1, version: 1, primaryPartition: 5 },
      timestamp: 10,
    })
  })
  expect(lines).toEqual([
    ['00000002666b706b', '010300000000000000010000000000000002706b00000005', 9],
    ['00000002666b706a', '8101706a00000005', 10],
  ])
  const found = await (restored.store('s') as SubscriptionStore).of('fk')
  expect(found.map(({ primaryKey, wrapper }) => [primaryKey, wrapper.hash])).toEqual([
    ['pj', null],
    ['pk', hash],
  ])
})

test('changelog: a batch that is full is followed by the next', async () => {
  const logs = new Changelogs(200)
  const state = openMemoryState({ stores: [keyValue('s', texts)], context: logs.context, cacheBytesMax: 0 })
  const store = state.store('s') as KeyValueStore
  for (let index = 0; index < 50; index++) await store.put(`key-${index}`, 'v'.repeat(index), index)
  await logs.commitAll(state)
  expect(logs.of('s').map(({ value }) => value?.length)).toEqual(
    Array.from({ length: 50 }, (_, index) => index),
  )
})
