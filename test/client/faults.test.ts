/** The client when the network or the broker misbehaves: each fault by its name, on the embedded Kafka. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { StreamsError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type KafkaClient, type Producer, type ProducerOptions } from '../../src/kafka/index.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { batch, Inbox, reader } from '../contract/client.ts'

let kafka: EmbeddedKafka
let client: KafkaClient

beforeEach(async () => {
  kafka = await EmbeddedKafka.start({ topics: { t: 2 }, autoCreateTopics: false })
  client = connect({ brokers: [kafka.address], clientId: 'faults', logger: silentLogger })
})
afterEach(async () => {
  await client.close()
  await kafka.stop()
})

async function producerOf(options: Partial<ProducerOptions> = {}): Promise<Producer> {
  const producer = client.producer({ deliveryTimeoutMs: 10_000, compression: 'none', ...options })
  await producer.init()
  return producer
}

const values = (isolation?: 'uncommitted') =>
  kafka.records('t', isolation).map(({ value }) => value?.toString())

async function failure(promise: Promise<unknown>): Promise<StreamsError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(StreamsError)
  return error as StreamsError
}

// ------------------------------------------------------------------------------------------------- producing

test('producer: the answer to a batch is lost, it is sent again and appended once', async () => {
  const producer = await producerOf()
  const lost = kafka.once('produce', () => 'lose')
  const produced = await producer.produce([batch('t', 0, ['a', 'b'])])
  await lost
  expect(produced).toEqual([{ topic: 't', partition: 0, baseOffset: 0 }])
  expect(values()).toEqual(['a', 'b'])
})

/** A producer that has committed positions once. */
async function committer() {
  const producer = await producerOf({ transactionalId: 'one-broker' })
  const nobody = { groupId: 'g', generation: -1, memberId: '', instanceId: null }
  const commit = (offset: number) =>
    producer.commitOffsets(() => nobody, [{ topic: 't', partition: 1, offset, metadata: '' }])
  await commit(1)
  await producer.end('commit')
  return { producer, commit }
}

test('producer: positions go to the broker that data of the transaction is on its way to, they wait for it', async () => {
  const { producer, commit } = await committer()
  const asked: string[] = []
  using _positions = kafka.intercept('txnOffsetCommit', () => void asked.push('positions'))
  using _data = kafka.intercept('produce', async () => {
    await new Promise((resolve) => setTimeout(resolve, 50))
    asked.push('data')
    return undefined
  })
  await Promise.all([producer.produce([batch('t', 0, ['a'])]), commit(2)])
  await producer.end('commit')
  expect(asked).toEqual(['data', 'positions'])
  expect(values()).toEqual(['a'])
})

test('producer: data of a transaction is refused for good while its positions wait, they fail with it', async () => {
  const { producer, commit } = await committer()
  using _data = kafka.intercept('produce', async () => {
    await new Promise((resolve) => setTimeout(resolve, 50))
    return { error: 'MESSAGE_TOO_LARGE' }
  })
  const [data, positions] = await Promise.all([
    failure(producer.produce([batch('t', 0, ['a'])])),
    failure(commit(2)),
  ])
  expect(positions.code).toBe(data.code)
  await producer.end('abort')
})

test('producer: five in flight, the first is dropped, all arrive in order and once', async () => {
  const producer = await producerOf()
  await producer.produce([batch('t', 0, ['warm'])])
  let requests = 0
  using _fault = kafka.intercept('produce', () => (requests++ === 0 ? 'drop' : undefined))
  const calls = Array.from({ length: 20 }, (_, index) => producer.produce([batch('t', 0, [`${index}`])]))
  expect((await Promise.all(calls)).map(([first]) => first?.baseOffset)).toEqual(
    Array.from({ length: 20 }, (_, index) => index + 1),
  )
  expect(values()).toEqual(['warm', ...Array.from({ length: 20 }, (_, index) => `${index}`)])
})

test('producer: the first of several in flight is refused for a moment, the order stays', async () => {
  const producer = await producerOf()
  await producer.produce([batch('t', 0, ['warm'])])
  let requests = 0
  using _fault = kafka.intercept('produce', () =>
    requests++ === 0 ? { error: 'NOT_ENOUGH_REPLICAS' } : undefined,
  )
  const calls = Array.from({ length: 12 }, (_, index) => producer.produce([batch('t', 0, [`${index}`])]))
  await Promise.all(calls)
  expect(values()).toEqual(['warm', ...Array.from({ length: 12 }, (_, index) => `${index}`)])
  expect(requests).toBeGreaterThan(12)
})

test('producer: the very first batch of a partition is refused for a moment, none behind it takes its place', async () => {
  const producer = await producerOf()
  let requests = 0
  let together = 0
  using _fault = kafka.intercept('produce', ({ body }) => {
    requests++
    if (requests === 1) return { error: 'NOT_LEADER_OR_FOLLOWER' }
    // As a broker does that has forgotten, or never knew, the producer.
    if (values('uncommitted').length === 0) together += body.topics.length
    return undefined
  })
  const calls = Array.from({ length: 10 }, (_, index) => producer.produce([batch('t', 0, [`${index}`])]))
  expect((await Promise.all(calls)).map(([first]) => first?.baseOffset)).toEqual([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
  ])
  expect(together).toBe(1)
  expect(values()).toEqual(Array.from({ length: 10 }, (_, index) => `${index}`))
})

test('producer: the leader moved, the metadata is read again and the batch arrives', async () => {
  const producer = await producerOf()
  let lookedUp = 0
  using _metadata = kafka.intercept('metadata', () => {
    lookedUp++
    return undefined
  })
  let refused = 0
  using _fault = kafka.intercept('produce', () =>
    refused++ < 3 ? { error: 'NOT_LEADER_OR_FOLLOWER' } : undefined,
  )
  await producer.produce([batch('t', 0, ['a'])])
  expect(values()).toEqual(['a'])
  expect(lookedUp).toBeGreaterThan(1)
})

test('producer: nothing is acknowledged in time, the call fails by then and later ones work', async () => {
  const producer = await producerOf({ deliveryTimeoutMs: 300 })
  const fault = kafka.intercept('produce', () => ({ error: 'NOT_ENOUGH_REPLICAS' }))
  const error = await failure(producer.produce([batch('t', 0, ['a'])]))
  expect(error).toMatchObject({
    code: 'KAFKA_TIMEOUT',
    verdict: 'retry',
    about: { topic: 't', partition: 0 },
  })
  fault.remove()
  expect(await producer.produce([batch('t', 0, ['b'])])).toMatchObject([{ baseOffset: 0 }])
})

test('producer: all connections break again and again, each record is there once', async () => {
  const producer = await producerOf()
  const stop = setInterval(() => kafka.dropConnections(), 15)
  const expected: string[] = []
  for (let round = 0; round < 40; round++) {
    expected.push(`${round}`)
    await producer.produce([batch('t', 0, [`${round}`]), batch('t', 1, [`${round}`])])
  }
  clearInterval(stop)
  expect(values()).toEqual([...expected, ...expected])
})

test.each([
  ['alone', { deliveryTimeoutMs: 15_000 }],
  ['in a transaction', { deliveryTimeoutMs: 120_000, transactionalId: 'x', transactionTimeoutMs: 10_000 }],
])('producer: a topic that is not there is named after a bounded wait, %s', async (_how, options) => {
  // Ten seconds by a clock that runs a hundred times as fast.
  const start = Date.now()
  const fast = { ...systemClock, now: () => start + 100 * (Date.now() - start) }
  await client.close()
  client = connect({ brokers: [kafka.address], clientId: 'faults', logger: silentLogger, clock: fast })
  const producer = await producerOf(options)
  const error = await failure(producer.produce([batch('absent', 0, ['a'])]))
  expect(error).toMatchObject({ code: 'KAFKA_TOPIC_MISSING', verdict: 'stop', about: { topic: 'absent' } })
  expect(await failure(producer.produce([batch('t', 5, ['a'])]))).toBe(error)
})

// ---------------------------------------------------------------------------------------------- transactions

const transactional = { transactionalId: 'x', transactionTimeoutMs: 10_000 }
const nobody = { groupId: 'g', generation: -1, memberId: '', instanceId: null }

test('transaction: CONCURRENT_TRANSACTIONS after a commit costs milliseconds', async () => {
  const producer = await producerOf(transactional)
  let refused = 0
  using _add = kafka.intercept('addPartitionsToTxn', () =>
    refused++ < 5 ? { error: 'CONCURRENT_TRANSACTIONS' } : undefined,
  )
  const start = performance.now()
  await producer.produce([batch('t', 0, ['a'])])
  await producer.end('commit')
  expect(performance.now() - start).toBeLessThan(200)
  expect(values()).toEqual(['a'])
})

test('transaction: the answer to the commit is lost, it is asked again and stays a commit', async () => {
  const producer = await producerOf(transactional)
  await producer.produce([batch('t', 0, ['a'])])
  const lost = kafka.once('endTxn', () => 'lose')
  await producer.end('commit')
  await lost
  await producer.produce([batch('t', 0, ['b'])])
  await producer.end('commit')
  expect(values()).toEqual(['a', 'b'])
})

test('transaction: its time was over, the commit is refused and init gives a new epoch', async () => {
  const producer = await producerOf(transactional)
  await producer.produce([batch('t', 0, ['late'])])
  expect(kafka.expireTransaction('x')).toBe(true)
  const error = await failure(producer.end('commit'))
  expect(['abort', 'rejoin']).toContain(error.verdict)
  const next = await producerOf(transactional)
  await next.produce([batch('t', 0, ['b'])])
  await next.end('commit')
  expect(values()).toEqual(['b'])
})

test('transaction: its time was over before a batch, the batch fails with an abort', async () => {
  const producer = await producerOf(transactional)
  await producer.produce([batch('t', 0, ['early'])])
  kafka.expireTransaction('x')
  expect(await failure(producer.produce([batch('t', 0, ['late'])]))).toMatchObject({ verdict: 'abort' })
  expect(values()).toEqual([])
})

test('transaction: a batch can not be delivered, the commit is refused, after abort and init all works', async () => {
  const producer = await producerOf({ ...transactional, deliveryTimeoutMs: 200 })
  const fault = kafka.intercept('produce', () => ({ error: 'NOT_ENOUGH_REPLICAS' }))
  const error = await failure(producer.produce([batch('t', 0, ['a'])]))
  expect(error).toMatchObject({ code: 'KAFKA_TIMEOUT', verdict: 'abort' })
  expect(await failure(producer.end('commit'))).toBe(error)
  fault.remove()
  await producer.end('abort')
  await producer.init()
  await producer.produce([batch('t', 0, ['b'])])
  await producer.end('commit')
  expect(values()).toEqual(['b'])
})

test('transaction: the coordinator moves at every step, the transaction commits', async () => {
  const producer = await producerOf(transactional)
  const once = new Set<string>()
  const moved = (api: string) => () => {
    if (once.has(api)) return undefined
    once.add(api)
    return { error: 'NOT_COORDINATOR' } as const
  }
  for (const api of ['addPartitionsToTxn', 'addOffsetsToTxn', 'txnOffsetCommit', 'endTxn'] as const) {
    kafka.intercept(api, moved(api))
  }
  await producer.produce([batch('t', 0, ['a'])])
  await producer.commitOffsets(() => nobody, [{ topic: 't', partition: 1, offset: 5, metadata: '' }])
  await producer.end('commit')
  expect(once.size).toBe(4)
  expect(values()).toEqual(['a'])
  expect(kafka.committedOffset('g', 't', 1)).toBe(5)
})

test('transaction: EndTxn is never answered, the outcome is called unknown in bounded time', async () => {
  const producer = await producerOf({ ...transactional, deliveryTimeoutMs: 300 })
  await producer.produce([batch('t', 0, ['a'])])
  using _fault = kafka.intercept('endTxn', () => 'lose')
  const error = await failure(producer.end('commit'))
  expect(error).toMatchObject({ code: 'KAFKA_TRANSACTION_LOST', verdict: 'abort' })
  expect(error.message).toContain('outcome is not known')
})

test('transaction: an abort waits for the batches in flight, so none comes after its marker', async () => {
  const producer = await producerOf(transactional)
  await producer.produce([batch('t', 0, ['a'])])
  using _fault = kafka.intercept('produce', () => ({ delayMs: 100 }))
  const late = failure(producer.produce([batch('t', 0, ['b'])]))
  await new Promise((resolve) => setImmediate(resolve))
  await producer.end('abort')
  expect(await late).toMatchObject({ code: 'KAFKA_TRANSACTION_LOST' })
  expect(values('uncommitted')).toEqual(['a', 'b'])
  expect(values()).toEqual([])
})

/** How often the coordinator is asked what a transaction writes. */
function coordinatorAsked(): { times: number } {
  const asked = { times: 0 }
  for (const api of ['addPartitionsToTxn', 'addOffsetsToTxn'] as const) {
    kafka.intercept(api, () => {
      asked.times++
      return undefined
    })
  }
  return asked
}

test('transaction: announced, its batches and positions ask the coordinator nothing more', async () => {
  const producer = await producerOf(transactional)
  const asked = coordinatorAsked()
  for (const round of [1, 2]) {
    producer.announce('g', [
      { topic: 't', partition: 0 },
      { topic: 't', partition: 1 },
    ])
    await producer.produce([batch('t', 0, ['a']), batch('t', 1, ['b'])])
    await producer.commitOffsets(() => nobody, [{ topic: 't', partition: 1, offset: round, metadata: '' }])
    await producer.end('commit')
    expect(asked.times).toBe(round * 2)
  }
  expect(values()).toEqual(['a', 'a', 'b', 'b'])
  expect(kafka.committedOffset('g', 't', 1)).toBe(2)
})

test('transaction: announced in part, what it writes besides is added', async () => {
  const producer = await producerOf(transactional)
  const asked = coordinatorAsked()
  producer.announce('g', [{ topic: 't', partition: 0 }])
  await producer.produce([batch('t', 0, ['a']), batch('t', 1, ['b'])])
  await producer.end('commit')
  expect(asked.times).toBe(3)
  expect(values()).toEqual(['a', 'b'])
})

test.each(['commit', 'abort'] as const)(
  'transaction: announced and ended empty while the coordinator still refuses, nothing stays open: %s',
  async (decision) => {
    const producer = await producerOf(transactional)
    for (const api of ['addPartitionsToTxn', 'addOffsetsToTxn'] as const) {
      let refused = 0
      kafka.intercept(api, () => (refused++ < 3 ? { error: 'CONCURRENT_TRANSACTIONS' } : undefined))
    }
    producer.announce('g', [{ topic: 't', partition: 0 }])
    await producer.end(decision)
    expect(kafka.expireTransaction('x')).toBe(false)
    if (decision === 'abort') await producer.init()
    await producer.produce([batch('t', 0, ['b'])])
    await producer.end('commit')
    expect(values()).toEqual(['b'])
  },
)

test('transaction: what was announced is not allowed, the next batch fails with the reason', async () => {
  const producer = await producerOf(transactional)
  const refused = kafka.once('addOffsetsToTxn', () => ({ error: 'GROUP_AUTHORIZATION_FAILED' }))
  producer.announce('g', [])
  await refused
  await expect(async () => {
    for (;;) await producer.produce([batch('t', 0, ['a'])])
  }).rejects.toThrow('GROUP_AUTHORIZATION_FAILED')
})

// -------------------------------------------------------------------------------------------------- fetching

test('fetcher: connections break again and again, every record arrives once and in order', async () => {
  const producer = await producerOf()
  const { fetcher, records, errors } = reader(client, { waitMs: 20 })
  fetcher.add({ topic: 't', partition: 0 }, 0)
  const stop = setInterval(() => kafka.dropConnections(), 20)
  for (let round = 0; round < 50; round++) await producer.produce([batch('t', 0, [`${round}`])])
  const all = await records.until(({ length }) => length >= 50)
  clearInterval(stop)
  expect(all.map(({ value }) => value)).toEqual(Array.from({ length: 50 }, (_, index) => `${index}`))
  expect(errors.all).toEqual([])
})

test('fetcher: refused for a moment in every way that passes, it goes on', async () => {
  const producer = await producerOf()
  await producer.produce([batch('t', 0, ['a'])])
  const codes = [
    'NOT_LEADER_OR_FOLLOWER',
    'FENCED_LEADER_EPOCH',
    'UNKNOWN_LEADER_EPOCH',
    'UNKNOWN_TOPIC_OR_PARTITION',
    'KAFKA_STORAGE_ERROR',
    'OFFSET_NOT_AVAILABLE',
    'CORRUPT_MESSAGE',
  ] as const
  let next = 0
  using _fault = kafka.intercept('fetch', () => {
    const error = codes[next++]
    return error === undefined ? undefined : { error }
  })
  const { fetcher, records, errors } = reader(client)
  fetcher.add({ topic: 't', partition: 0 }, 0)
  await records.until(({ length }) => length === 1)
  expect(next).toBeGreaterThan(codes.length)
  expect(errors.all).toEqual([])
})

test('fetcher: a partition that the broker calls corrupt each time is an error, not a loop', async () => {
  using _fault = kafka.intercept('fetch', () => ({ error: 'CORRUPT_MESSAGE' }))
  const { fetcher, errors } = reader(client)
  fetcher.add({ topic: 't', partition: 0 }, 3)
  const [error] = await errors.until(({ length }) => length > 0)
  expect(error).toMatchObject({ code: 'BATCH_CORRUPT', about: { topic: 't', partition: 0, offset: 3 } })
})

test('fetcher: what is not allowed stops the partition and says so once', async () => {
  using _fault = kafka.intercept('fetch', () => ({ error: 'TOPIC_AUTHORIZATION_FAILED' }))
  const { fetcher, errors } = reader(client)
  fetcher.add({ topic: 't', partition: 0 }, 0)
  const [error] = await errors.until(({ length }) => length > 0)
  expect(error).toMatchObject({ verdict: 'stop' })
  expect(error?.message).toContain('TOPIC_AUTHORIZATION_FAILED')
})

test('fetcher: the broker goes away and comes back, no error is raised', async () => {
  const producer = await producerOf()
  await producer.produce([batch('t', 0, ['a'])])
  const { fetcher, records, errors } = reader(client, { waitMs: 20 })
  fetcher.add({ topic: 't', partition: 0 }, 0)
  await records.until(({ length }) => length === 1)
  await kafka.refuseConnections()
  kafka.dropConnections()
  const sent = producer.produce([batch('t', 0, ['b'])])
  await new Promise((resolve) => setTimeout(resolve, 150))
  await kafka.acceptConnections()
  await sent
  await records.until(({ length }) => length === 2)
  expect(errors.all).toEqual([])
})

// ------------------------------------------------------------------------------------------------ membership

test('member: its session is over unnoticed, it hears so, is told lost, and comes back', async () => {
  const events = new Inbox<string>()
  const member = client.member({
    groupId: 'g',
    protocolName: 'faults',
    sessionTimeoutMs: 1_000,
    rebalanceTimeoutMs: 1_000,
    heartbeatIntervalMs: 20,
    subscription: () => ({ topics: ['t'], owned: [], userData: Buffer.alloc(0) }),
    assign: async (members) =>
      new Map(members.map(({ memberId }) => [memberId, { partitions: [], userData: Buffer.alloc(0) }])),
    onRebalance: async () => events.put('rebalance'),
    onAssigned: async () => events.put('assigned'),
    onLost: async (error) => events.put(`lost ${error.code}`),
    onFatal: (error) => events.put(`fatal ${error.code}`),
  })
  member.start()
  await events.until(({ length }) => length === 1)
  const expired = kafka.intercept('heartbeat', () => ({ error: 'UNKNOWN_MEMBER_ID' }))
  await events.until((all) => all.some((event) => event.startsWith('lost')))
  expired.remove()
  await events.until((all) => all.at(-1) === 'assigned' && all.length >= 3)
  expect(events.all).toEqual(['assigned', 'lost KAFKA_GROUP_MOVED', 'assigned'])
  // Not heard, it keeps its place until the group tells it otherwise.
  const before = events.all.length
  const silent = kafka.intercept('heartbeat', () => 'drop')
  while ((await client.admin.describeGroup('g')).members.length > 0)
    await new Promise((resolve) => setTimeout(resolve, 20))
  expect(events.all.length).toBe(before)
  silent.remove()
  await events.until((all) => all.length > before)
  expect(events.all[before]).toBe('lost KAFKA_GROUP_MOVED')
  await member.leave()
})

test('member: killed before it was given anything, its id is known, so that its successor can take it out', async () => {
  let named: string | null = null
  const joined = new Inbox<string>()
  using _joins = kafka.intercept('joinGroup', ({ body }) => {
    if (body.memberId === '') return undefined
    joined.put(`joins as ${body.memberId}, named ${named}`)
    return { delayMs: 60_000 }
  })
  const member = client.member({
    groupId: 'g',
    protocolName: 'faults',
    sessionTimeoutMs: 60_000,
    rebalanceTimeoutMs: 60_000,
    heartbeatIntervalMs: 20,
    onNamed: (memberId) => {
      named = memberId
    },
    subscription: () => ({ topics: ['t'], owned: [], userData: Buffer.alloc(0) }),
    assign: async () => new Map(),
    onRebalance: async () => {},
    onAssigned: async () => {},
    onLost: async () => {},
    onFatal: () => {},
  })
  member.start()
  await joined.until(({ length }) => length === 1)
  expect(joined.all).toEqual([`joins as ${named}, named ${named}`])
  await member.close()
})

test('member: the group may not be read, it is fatal', async () => {
  using _fault = kafka.intercept('joinGroup', () => ({ error: 'GROUP_AUTHORIZATION_FAILED' }))
  const fatal = new Inbox<StreamsError>()
  const member = client.member({
    groupId: 'g',
    protocolName: 'faults',
    sessionTimeoutMs: 1_000,
    rebalanceTimeoutMs: 1_000,
    heartbeatIntervalMs: 20,
    subscription: () => ({ topics: ['t'], owned: [], userData: Buffer.alloc(0) }),
    assign: async () => new Map(),
    onRebalance: async () => {},
    onAssigned: async () => {},
    onLost: async () => {},
    onFatal: (error) => fatal.put(error),
  })
  member.start()
  const [error] = await fatal.until(({ length }) => length > 0)
  expect(error?.message).toContain('GROUP_AUTHORIZATION_FAILED')
  await member.close()
})

// ------------------------------------------------------------------------------------------- versions, reach

test('connection: a broker without a needed version is named, with the request and what it speaks', async () => {
  using _fault = kafka.intercept('apiVersions', () => ({
    edit: (response) => ({
      ...response,
      apiKeys: response.apiKeys.map((entry) => (entry.apiKey === 9 ? { ...entry, maxVersion: 5 } : entry)),
    }),
  }))
  const error = await failure(client.committed('g', [{ topic: 't', partition: 0 }]))
  expect(error).toMatchObject({
    code: 'KAFKA_VERSION',
    verdict: 'stop',
    about: { api: 'OffsetFetch', broker: kafka.address },
  })
  expect(error.message).toContain('OffsetFetch in versions 1 to 5')
})

test('connection: nobody is there, one line says so after bounded tries', async () => {
  await kafka.refuseConnections()
  const lonely = connect({
    brokers: [kafka.address],
    clientId: 'faults',
    logger: silentLogger,
    kafka: { retry: { retries: 2, initialRetryTime: 50 } },
  })
  const error = await failure(lonely.admin.topics())
  expect(error).toMatchObject({ code: 'KAFKA_UNREACHABLE', verdict: 'retry' })
  expect(error.message).toContain(kafka.address)
  expect(error.message.split('\n')).toHaveLength(1)
  await lonely.close()
})

test('connection: a quota is honoured, the next request waits it out', async () => {
  const admin = client.admin
  await admin.topics(['t'])
  const throttled = kafka.once('metadata', () => ({
    edit: (response) => ({ ...response, throttleTimeMs: 150 }),
  }))
  await admin.topics(['t'])
  await throttled
  const start = performance.now()
  await admin.topics(['t'])
  expect(performance.now() - start).toBeGreaterThanOrEqual(120)
})

test('connection: a user name and password, right and wrong', async () => {
  await using guarded = await EmbeddedKafka.start({ users: { alice: 'secret' } })
  const login = (password: string) =>
    connect({
      brokers: [guarded.address],
      clientId: 'faults',
      logger: silentLogger,
      kafka: { sasl: { mechanism: 'plain', username: 'alice', password } },
    })
  const right = login('secret')
  expect(await right.admin.topics()).toEqual([])
  await right.close()
  const wrong = login('guess')
  const error = await failure(wrong.admin.topics())
  expect(error).toMatchObject({ code: 'KAFKA_AUTHENTICATION', verdict: 'stop' })
  expect(error.message).toContain('plain')
  await wrong.close()
})
