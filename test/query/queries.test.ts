/** Queries of a running application on the embedded Kafka: every kind of store, from any copy, during moves. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { session, tumbling } from '../../src/dsl/windows.ts'
import { connectStore } from '../../src/query/queries.ts'
import { writeQuery } from '../../src/query/wire.ts'
import type { Config } from '../../src/runtime/options.ts'
import type { Position, StateQuery } from '../../src/runtime/state-query.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { Millrace } from '../../src/service/millrace.ts'
import type { Processor, TimestampedKeyValueStoreWithHeaders } from '../../src/topology/processor.ts'
import { stores } from '../../src/topology/stores.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { applicationId, World } from '../runtime/scenario.ts'

const text = serdes.string()

const keepLast = (): Processor<string, string> => {
  let store: TimestampedKeyValueStoreWithHeaders<string, string>
  return {
    init(context) {
      store = context.store('headed')
    },
    process: ({ key, value, timestamp, headers }) => store.put(key, { value, timestamp, headers }),
  }
}

/** One store of each kind over the same events. */
function everyKind(): Topology {
  const builder = new StreamsBuilder()
  const events = builder.stream('events', { keySerde: text, valueSerde: text })
  const grouped = events.groupByKey()
  grouped.count({ as: 'totals' })
  grouped.count({ as: 'in-memory', engine: 'memory' })
  grouped.windowedBy(tumbling('10s', { grace: '1d' })).count({ as: 'windows' })
  grouped.windowedBy(session('1s', { grace: '1d' })).count({ as: 'sessions' })
  events.toTable({ as: 'latest', historyRetention: '1d' })
  builder.addStateStore(
    stores.timestampedKeyValue('headed', { keySerde: text, valueSerde: text, headers: true }),
  )
  events.process(keepLast, { stores: ['headed'] })
  builder.globalTable('names', { keySerde: text, valueSerde: text, as: 'names' })
  builder.globalTable('numbers', { keySerde: serdes.bigint(), valueSerde: text, as: 'numbers' })
  events.mapValues((value) => value).to('counts', { valueSerde: text })
  return builder.build()
}

function copy(world: World, topology: Topology, name: string, config: Partial<Config> = {}): Millrace {
  return new Millrace(topology, {
    applicationId,
    brokers: [world.kafka.address],
    stateDir: `${world.stateDir}/${name}`,
    logger: silentLogger,
    heartbeatIntervalMs: 100,
    sessionTimeoutMs: 2_000,
    fetchWaitMs: 50,
    http: { port: 0 },
    advertisedAddress: '127.0.0.1:0',
    ...config,
  })
}

const until = async (what: () => boolean | Promise<boolean>, timeoutMs = 30_000) => {
  const deadline = Date.now() + timeoutMs
  while (!(await what())) {
    if (Date.now() > deadline) throw new Error(`never came: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

const running = (app: Millrace) =>
  app
    .status()
    .threads.flatMap(({ tasks }) =>
      tasks.filter(({ role, state }) => role === 'active' && state === 'running').map(({ task }) => task),
    )

/** Where the input ends: what is asked with it is asked after all of it. */
const endOf = (world: World, partitions = 2) => ({
  events: Object.fromEntries(
    Array.from({ length: partitions }, (_, partition) => [
      partition,
      world.kafka.records('events').filter((record) => record.partition === partition).length,
    ]),
  ),
})

/** Input is written to partitions by the number of the key, not by its hash: who asks for a key says where it is. */
const at = (key: number, partitions = 2) => ({ partition: key % partitions })

const topics = { events: 2, counts: 2, names: 1, numbers: 1 }

test('queries: every kind of store answers by key, range, prefix, window, session and version', async () => {
  await using world = await World.open(topics)
  await world.input(140)
  const app = copy(world, everyKind(), 'one')
  await app.start()
  try {
    const bound = endOf(world)
    const totals = app.store<string, number>('totals')
    expect(await totals.get('k0', { ...at(0), bound })).toBe(20)
    expect(await totals.get('nobody', { bound })).toBe(null)
    const all = await totals.all({ bound })
    expect(all.map(({ key, value }) => [key, value])).toEqual(
      Array.from({ length: 7 }, (_, index) => [`k${index}`, 20]),
    )
    expect((await totals.range('k2', 'k4', { bound })).map(({ key }) => key)).toEqual(['k2', 'k3', 'k4'])
    expect((await totals.range('k2', 'k4', { bound, order: 'backward' })).map(({ key }) => key)).toEqual([
      'k4',
      'k3',
      'k2',
    ])
    expect((await totals.prefix('k', { bound, first: 3 })).map(({ key }) => key)).toEqual(['k0', 'k1', 'k2'])
    expect(totals.sources.map(({ role, lag }) => [role, lag])).toEqual([
      ['active', null],
      ['active', null],
    ])
    expect(await app.store('in-memory').get('k3', { ...at(3), bound })).toBe(20)
    expect(await app.store('headed').get('k0', { ...at(0), bound })).toMatch(/^[a-e]133$/)

    const windows = app.store<string, number>('windows')
    const ofKey = await windows.windows('k0', 0, Number.MAX_SAFE_INTEGER, { ...at(0), bound })
    expect(
      Object.fromEntries(ofKey.map(({ key, value }) => [`${key.key}@${key.start}`, Number(value)])),
    ).toEqual(Object.fromEntries([...world.wanted('windows')].filter(([name]) => name.startsWith('k0@'))))
    const one = await windows.windowRange('k1', 'k2', 1_010_000, 1_010_000, { bound })
    expect(one.map(({ key }) => [key.key, key.start, key.end])).toEqual([
      ['k1', 1_010_000, 1_020_000],
      ['k2', 1_010_000, 1_020_000],
    ])

    const sessions = app.store<string, number>('sessions')
    // Records of a key are 3.5 s apart: each is a session of its own.
    expect((await sessions.sessions('k0', undefined, undefined, { ...at(0), bound })).length).toBe(20)
    expect((await sessions.sessionRange(null, null, { bound })).length).toBe(140)

    const latest = app.store<string, string>('latest')
    expect(await latest.get('k0', { ...at(0), bound })).toMatch(/^[a-e]133$/)
    const asOf = await latest.getAsOf('k0', 1_000_000 + 7 * 500 + 1, { ...at(0), bound })
    expect(asOf).toMatchObject({ timestamp: 1_003_500, validTo: 1_007_000 })
    expect(
      (await latest.versions('k0', 1_003_500, 1_010_000, { ...at(0), bound })).map(
        ({ timestamp }) => timestamp,
      ),
    ).toEqual([1_010_500 - 500, 1_007_000, 1_003_500].filter((time) => (time - 1_000_000) % 3_500 === 0))
    expect(await app.store('names').get('nobody')).toBe(null)
  } finally {
    await app.close()
  }
})

test('queries: committed state by default, uncommitted on request', async () => {
  await using world = await World.open(topics)
  await world.input(70)
  const app = copy(world, everyKind(), 'one')
  await app.start()
  try {
    const totals = app.store<string, number>('totals')
    const inMemory = app.store<string, number>('in-memory')
    // Both tasks have committed what there is.
    expect((await totals.all({ bound: endOf(world) })).map(({ value }) => value)).toEqual(Array(7).fill(10))
    let decide = () => {}
    const decided = new Promise<void>((resolve) => {
      decide = resolve
    })
    using _held = world.kafka.intercept('endTxn', () => ({ delayMs: 1_500 }))
    await world.input(70)
    await until(async () => (await totals.get('k0', { ...at(0), isolation: 'uncommitted' })) === 20)
    expect(await totals.get('k0', at(0))).toBe(10)
    expect((await totals.all()).map(({ value }) => value)).toEqual(Array.from({ length: 7 }, () => 10))
    // State in memory has no bytes of the past: its answer comes when it is committed, and is never taken back.
    const later = inMemory.get('k0', at(0)).then((value) => {
      decide()
      return value
    })
    expect(await totals.get('k0', at(0))).toBe(10)
    await decided
    expect(await later).toBe(20)
    expect(await totals.get('k0', { ...at(0), bound: endOf(world) })).toBe(20)
  } finally {
    await app.close()
  }
})

test('queries: any copy answers for any key, a subscription follows its task, another process reads along', async () => {
  await using world = await World.open({ ...topics, events: 4 })
  await world.input(140, 'events', 4)
  const one = copy(world, everyKind(), 'one')
  const two = copy(world, everyKind(), 'two', { acceptableRecoveryLag: 1_000_000 })
  await one.start()
  await two.start()
  try {
    await until(() => running(one).length === 2 && running(two).length === 2)
    for (const app of [one, two]) {
      const totals = app.store<string, number>('totals')
      // Input is written to partitions by number, not by hash: each key says where it is.
      for (let key = 0; key < 7; key++)
        expect(await totals.get(`k${key}`, { partition: key % 4, bound: endOf(world, 4) })).toBe(20)
      expect((await totals.all()).map(({ value }) => value)).toEqual(Array.from({ length: 7 }, () => 20))
    }
    const places = await Promise.all(
      [0, 1, 2, 3].map((partition) => one.store<string>('totals').metadataForKey('k0', { partition })),
    )
    expect(places.filter(({ active }) => active === 'here').length).toBe(2)
    expect(places.filter(({ active }) => active?.startsWith('127.0.0.1:')).length).toBe(2)
    const elsewhere = places.find(({ active }) => active !== 'here')?.partition as number
    const outside = await connectStore<string, number>(
      [one.queries.copies()[0]?.endpoint as string],
      'totals',
      { keySerde: text, valueSerde: serdes.long() },
    )
    expect((await outside.all()).length).toBe(7)

    const seen: (number | null)[] = []
    const following = (async () => {
      for await (const value of one
        .store<string, number>('totals')
        .subscribe(`k${elsewhere}`, { partition: elsewhere })) {
        seen.push(value)
        if (value === 60) return
      }
    })()
    await until(() => seen.length === 1)
    await world.input(140, 'events', 4)
    await until(() => seen.at(-1) === 40)
    await two.close()
    await world.input(140, 'events', 4)
    await following
    expect(seen[0]).toBe(20)
    expect([...seen].sort((left, right) => Number(left) - Number(right))).toEqual(seen)
  } finally {
    await Promise.all([one.close(), two.close()])
  }
})

function serialized(value: bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(value)
  return bytes
}

test('queries: a standby answers where stale is allowed, and says by how much it is behind', async () => {
  await using world = await World.open(topics)
  await world.input(140)
  const one = copy(world, everyKind(), 'one', { standbyReplicas: 1 })
  const two = copy(world, everyKind(), 'two', { standbyReplicas: 1 })
  await one.start()
  await two.start()
  try {
    const totals = two.store<string, number>('totals')
    await until(async () => (await totals.metadataForKey('k0', { partition: 0 })).standbys.length === 1)
    const { standbys } = await totals.metadataForKey('k0', { partition: 0 })
    const reader = standbys[0] === 'here' ? two : one
    const other = reader === one ? two : one
    expect(await totals.get('k0', { partition: 0, bound: endOf(world) })).toBe(20)
    await until(() => reader.queries.lags().some(({ role, lag }) => role === 'standby' && lag === 0))
    // Asked itself, as another copy asks it: it says that it is a standby, and how far behind.
    const asked = (bound: Position, stale: boolean) =>
      reader.queried.ask({
        ...{ task: '0_0', store: 'totals', query: { kind: 'key', key: Buffer.from('k0') }, unlike: null },
        ...{ isolation: 'committed', stale, bound, limit: 1, cut: false, waitMs: 300 },
      })
    const answer = await asked({}, true)
    expect(answer).toMatchObject({ role: 'standby', lag: 0 })
    expect(answer.rows[0]?.value).toEqual(serialized(20n))
    // Who wants it up to a position, or not stale, is sent to the owner; who wants too much is told so in time.
    const moved = expect.objectContaining({ code: 'QUERY_MOVED' })
    await expect(asked(endOf(world), true)).rejects.toEqual(moved)
    await expect(asked({}, false)).rejects.toEqual(moved)
    const before = Date.now()
    const tooHigh = { partition: 0, stale: true, bound: { events: { 0: 1e9 } }, timeoutMs: 500 }
    await expect(reader.store('totals').get('k0', tooHigh)).rejects.toMatchObject({ verdict: 'retry' })
    expect(Date.now() - before).toBeLessThan(3_000)
    // The active one does not answer any more: the one that stood by does, at once, whatever it is by now.
    await other.close({ timeoutMs: 1 })
    const store = reader.store<string, number>('totals')
    expect(await store.get('k0', { partition: 0, stale: true })).toBe(20)
  } finally {
    await Promise.all([one.close(), two.close()])
  }
})

test('queries: what can not be answered is a typed error within its time', async () => {
  await using world = await World.open(topics)
  await world.input(140)
  const app = copy(world, everyKind(), 'one')
  await app.start()
  try {
    const store = app.store<unknown, number>('totals')
    const coded = (code: string) => expect.objectContaining({ name: 'StreamsError', code })
    expect(() => app.store('total')).toThrow(coded('QUERY_STORE_UNKNOWN'))
    await expect(store.get(7)).rejects.toEqual(coded('QUERY_INVALID'))
    await expect(store.get(null)).rejects.toEqual(coded('QUERY_INVALID'))
    await expect(store.windows('k0', 0, 1)).rejects.toEqual(coded('QUERY_INVALID'))
    await expect(store.windows('k0', 2, 1)).rejects.toEqual(coded('QUERY_INVALID'))
    await expect(store.get('k0', { partition: 9 })).rejects.toEqual(coded('QUERY_INVALID'))
    await expect(store.range(null, null, { first: 0 })).rejects.toEqual(coded('QUERY_INVALID'))
    const before = Date.now()
    await expect(store.get('k0', { bound: { events: { 0: 1e9, 1: 1e9 } }, timeoutMs: 300 })).rejects.toEqual(
      coded('QUERY_NOT_READY'),
    )
    expect(Date.now() - before).toBeLessThan(1_500)
    const address = app.httpAddress as string
    const status = async (path: string) => (await fetch(`${address}${path}`)).status
    expect(await status('/state')).toBe(200)
    expect(await status('/state/totals/k0')).toBe(200)
    expect(await status('/state/windows')).toBe(200)
    expect(await status('/state/nothing')).toBe(404)
    expect(await status('/state/totals?ask=e30')).toBe(400)
    expect(await status('/state/totals?ask=garbage')).toBe(400)
    expect(await status('/state/a/b/c')).toBe(404)
    // Keys of another type than the store's, times that are none, and more than an answer may have.
    await expect(app.store('numbers').get('x')).rejects.toEqual(coded('QUERY_INVALID'))
    expect(await status('/state/numbers/x')).toBe(400)
    expect(await status('/state/numbers/7')).toBe(200)
    expect(await status('/state/windows/k0?from=yesterday')).toBe(400)
    await expect(store.range(null, null, { first: 1e9 })).rejects.toEqual(coded('QUERY_INVALID'))
    const asked = (name: string, query: StateQuery, task = '0_0') =>
      status(
        `/state/${name}?ask=${writeQuery({
          ...{ task, store: name, query, isolation: 'committed', stale: false, bound: {}, unlike: null },
          ...{ limit: 1, cut: false, waitMs: 1_000 },
        })}`,
      )
    const everything = { kind: 'range', from: null, to: null, order: 'forward' } as const
    expect(await asked('totals', everything)).toBe(413)
    expect(await asked('nothing', everything)).toBe(404)
    expect(await asked('windows', everything)).toBe(400)
    expect(await asked('totals', everything, '0_9')).toBe(409)
    expect(await asked('numbers', { kind: 'key', key: Buffer.from('x') }, 'global')).toBe(400)
  } finally {
    await app.close()
  }
})

test('queries: peers that are not there, are silent or never end, an error that names them in its time', async () => {
  const silent = createServer(() => {})
  const endless = createServer((_request, response) => {
    const write = () => {
      while (response.writable && response.write(Buffer.alloc(65_536, 32)));
    }
    response.on('drain', write)
    write()
  })
  const addressOf = async (server: Server) => {
    await once(server.listen(0, '127.0.0.1'), 'listening')
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }
  try {
    for (const address of ['127.0.0.1:1', await addressOf(silent), await addressOf(endless)]) {
      const started = Date.now()
      const connecting = connectStore(
        [address],
        'totals',
        { keySerde: text, valueSerde: text },
        { connectTimeoutMs: 500 },
      )
      await expect(connecting).rejects.toMatchObject({ code: 'QUERY_UNREACHABLE' })
      await expect(connecting).rejects.toThrow(address)
      expect(Date.now() - started).toBeLessThan(3_000)
    }
  } finally {
    for (const server of [silent, endless]) {
      server.closeAllConnections()
      server.close()
    }
  }
})

test('queries: more entries than an answer may have are an error, the first of them are not', async () => {
  await using world = await World.open(topics)
  const app = copy(world, everyKind(), 'one')
  await app.start()
  try {
    for (let round = 0; round < 12; round++) await world.input(1_000)
    const sessions = app.store<string, number>('sessions')
    const bound = endOf(world)
    await expect(sessions.sessionRange(null, null, { bound })).rejects.toMatchObject({
      code: 'QUERY_TOO_LARGE',
    })
    expect((await sessions.sessionRange(null, null, { bound, first: 50 })).length).toBe(50)
  } finally {
    await app.close()
  }
})

test('queries: a storm while copies come and go, each answer is right or says that it moved', {
  timeout: 60_000,
}, async () => {
  await using world = await World.open({ ...topics, events: 4 })
  await world.input(140, 'events', 4)
  const asker = copy(world, everyKind(), 'asker', { acceptableRecoveryLag: 1_000_000 })
  await asker.start()
  const totals = asker.store<string, number>('totals')
  const least = new Map<number, number>()
  let asked = 0
  let moved = 0
  let stop = false
  const storm = Array.from({ length: 8 }, async (_, index) => {
    while (!stop) {
      const key = (index + asked++) % 7
      const known = least.get(key) ?? 0
      // Written before it was asked: the most that it may say is what is written after.
      try {
        const value = (await totals.get(`k${key}`, { partition: key % 4, timeoutMs: 500 })) ?? 0
        const most = world.records / 7 + 1
        if (value < known || value > most)
          throw new Error(`k${key} is ${value}, after ${known}, of at most ${most}`)
        if (value > (least.get(key) ?? 0)) least.set(key, value)
      } catch (error) {
        if ((error as { verdict?: string }).verdict !== 'retry') throw error
        moved++
      }
    }
  })
  try {
    for (let round = 0; round < 3; round++) {
      const other = copy(world, everyKind(), `other-${round}`, { acceptableRecoveryLag: 1_000_000 })
      await other.start()
      await world.input(140, 'events', 4)
      await until(() => running(other).length === 2)
      await world.input(140, 'events', 4)
      await other.close()
      await world.input(140, 'events', 4)
    }
    stop = true
    await Promise.all(storm)
    expect(asked).toBeGreaterThan(50)
    console.log(`query storm: ${asked} asked, ${moved} told to ask again`)
    for (let key = 0; key < 7; key++)
      expect(await totals.get(`k${key}`, { partition: key % 4, bound: endOf(world, 4) })).toBe(200)
  } finally {
    stop = true
    await asker.close()
  }
})
