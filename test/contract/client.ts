/**
 * What the client promises, on any Kafka: the suite runs on the embedded one and on Apache Kafka. Each test makes
 * topics and groups of its own, so suites can share a cluster.
 */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { StreamsError } from '../../src/base/errors.ts'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import {
  connect,
  type FetchedChunk,
  type Fetcher,
  type FetcherOptions,
  type GroupIdentity,
  type GroupMember,
  type KafkaClient,
  type MemberAssignment,
  type MemberOptions,
  type MemberSubscription,
  type OutgoingBatch,
  type Producer,
  type ProducerOptions,
  type TopicPartition,
} from '../../src/kafka/index.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'

export type Target = { readonly brokers: readonly string[]; stop?(): Promise<void> }

/** A value that arrives later, and many waiting for it. */
export class Inbox<T> {
  readonly all: T[] = []
  #wake: (() => void)[] = []

  put(value: T): void {
    this.all.push(value)
    for (const wake of this.#wake.splice(0)) wake()
  }

  async until(done: (all: readonly T[]) => boolean): Promise<readonly T[]> {
    while (!done(this.all)) await new Promise<void>((resolve) => this.#wake.push(resolve))
    return this.all
  }
}

export type Read = { readonly partition: number; readonly offset: number; readonly value: string }

export function batch(
  topic: string,
  partition: number,
  values: readonly string[],
  timestamp = Date.now(),
): OutgoingBatch {
  const builder = new BatchBuilder()
  for (const value of values) {
    const bytes = Buffer.from(value)
    expect(builder.append(timestamp, bytes, 0, bytes.length, bytes, 0, bytes.length, noHeaders)).toBe(true)
  }
  return { topic, partition, builder }
}

export function readAll(chunk: FetchedChunk): Read[] {
  const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
  const read: Read[] = []
  while (cursor.next()) {
    const { partition, offset, buffer, valueStart, valueEnd } = cursor
    read.push({ partition, offset, value: buffer.toString('utf8', valueStart, valueEnd) })
  }
  return read
}

/** A fetcher whose records and events arrive in inboxes. */
export function reader(client: KafkaClient, options: Partial<FetcherOptions> = {}) {
  const records = new Inbox<Read>()
  const errors = new Inbox<StreamsError>()
  const resets = new Inbox<{ readonly from: number; readonly to: number }>()
  const ends = new Inbox<{
    readonly partition: number
    readonly highWatermark: number
    readonly lastStableOffset: number
  }>()
  const chunks: FetchedChunk[] = []
  const fetcher: Fetcher = client.fetcher({
    purpose: 'input',
    isolation: 'read_committed',
    bufferBytesMax: 1_000_000,
    partitionBytesMax: 100_000,
    waitMs: 200,
    offsetReset: () => 'none',
    onChunk(chunk) {
      chunks.push(chunk)
      for (const record of readAll(chunk)) records.put(record)
      chunk.release()
    },
    onEnds: ({ partition }, highWatermark, lastStableOffset) =>
      ends.put({ partition, highWatermark, lastStableOffset }),
    onReset: (_partition, from, to) => resets.put({ from, to }),
    onError: (error) => errors.put(error),
    ...options,
  })
  return { fetcher, records, errors, resets, ends, chunks }
}

const transactional: Omit<ProducerOptions, 'transactionalId'> = {
  deliveryTimeoutMs: 20_000,
  transactionTimeoutMs: 20_000,
  compression: 'none',
}
const idempotent: ProducerOptions = { deliveryTimeoutMs: 20_000, compression: 'none' }

const nobody = (groupId: string): GroupIdentity => ({
  groupId,
  generation: -1,
  memberId: '',
  instanceId: null,
})

async function failure(promise: Promise<unknown>): Promise<StreamsError> {
  try {
    await promise
  } catch (error) {
    expect(error).toBeInstanceOf(StreamsError)
    return error as StreamsError
  }
  throw new Error('a failure was due')
}

export function clientContract(name: string, start: () => Promise<Target>): void {
  describe(`client on ${name}`, () => {
    let target: Target
    let client: KafkaClient
    const fresh = (what: string) => `${what}-${randomUUID().slice(0, 8)}`
    const open = (clock: Clock = systemClock) =>
      connect({ brokers: target.brokers, clientId: 'contract', logger: silentLogger, clock })

    beforeAll(async () => {
      target = await start()
      client = open()
    })
    afterAll(async () => {
      await client.close()
      await target.stop?.()
    })

    async function topicOf(partitions: number, configs: Record<string, string> = {}): Promise<string> {
      const topic = fresh('t')
      await client.admin.createTopics([{ name: topic, partitions, replicationFactor: 1, configs }])
      return topic
    }

    async function producerOf(options: ProducerOptions = idempotent): Promise<Producer> {
      const producer = client.producer(options)
      await producer.init()
      return producer
    }

    // ------------------------------------------------------------------------------------------------ admin

    test('admin: topics are created once, described, grown and deleted', async () => {
      const name = fresh('t')
      const wanted = { name, partitions: 2, replicationFactor: -1, configs: { 'cleanup.policy': 'compact' } }
      expect(await client.admin.createTopics([wanted])).toEqual({ created: [name] })
      expect(await client.admin.createTopics([wanted])).toEqual({ created: [] })
      const [topic] = await client.admin.topics([name, fresh('absent')])
      expect(topic).toMatchObject({ name, internal: false })
      expect(topic?.id).toMatch(/^[\w-]{22}$/)
      expect(topic?.partitions.map(({ partition, leader }) => [partition, leader >= 0])).toEqual([
        [0, true],
        [1, true],
      ])
      expect(await client.admin.configs(name)).toMatchObject({ 'cleanup.policy': 'compact' })
      await client.admin.alterConfigs(name, { 'cleanup.policy': null, 'retention.ms': '12345' })
      // A broker applies it in a moment of its own.
      await expect
        .poll(() => client.admin.configs(name), { interval: 5, timeout: 10_000 })
        .toMatchObject({ 'cleanup.policy': 'delete', 'retention.ms': '12345' })
      await client.admin.createPartitions(name, 3)
      expect((await client.admin.topics([name]))[0]?.partitions).toHaveLength(3)
      expect((await client.admin.topics()).map((each) => each.name)).toContain(name)
      await client.admin.deleteTopics([name])
      expect(await client.admin.topics([name])).toEqual([])
    })

    test('admin: what is refused names the topic and the reason', async () => {
      expect(await failure(client.admin.deleteTopics([fresh('absent')]))).toMatchObject({
        code: 'KAFKA_TOPIC_MISSING',
      })
      expect(await failure(client.admin.configs(fresh('absent')))).toMatchObject({
        code: 'KAFKA_TOPIC_MISSING',
      })
      const bad = fresh('t')
      const error = await failure(
        client.admin.createTopics([
          { name: bad, partitions: 1, replicationFactor: -1, configs: { 'no.such': '1' } },
        ]),
      )
      expect(error).toMatchObject({ code: 'KAFKA_REFUSED', verdict: 'stop' })
      expect(error.message).toContain(bad)
      expect(error.message).toContain('INVALID_CONFIG')
    })

    test('admin: offsets by end, by time, and after records were deleted', async () => {
      const topic = await topicOf(2)
      const producer = await producerOf()
      await producer.produce([batch(topic, 0, ['a'], 1_000), batch(topic, 1, ['x'], 5_000)])
      await producer.produce([batch(topic, 0, ['b', 'c'], 2_000)])
      const partitions = [
        { topic, partition: 1 },
        { topic, partition: 0 },
      ]
      const offsets = async (spec: Parameters<typeof client.admin.offsets>[1]) =>
        (await client.admin.offsets(partitions, spec, 'read_committed')).map(({ offset }) => offset)
      expect(await offsets('earliest')).toEqual([0, 0])
      expect(await offsets('latest')).toEqual([1, 3])
      expect(await offsets({ timestamp: 1_500 })).toEqual([0, 1])
      expect(await offsets({ timestamp: 9_000 })).toEqual([null, null])
      await client.admin.deleteRecords([{ topic, partition: 0, offset: 2 }])
      expect(await offsets('earliest')).toEqual([0, 2])
      await producer.close()
    })

    test('admin: group positions are set, read, deleted; the group is described and deleted', async () => {
      const topic = await topicOf(2)
      const groupId = fresh('g')
      await client.admin.alterGroupOffsets(groupId, [
        { topic, partition: 0, offset: 7, metadata: 'm' },
        { topic, partition: 1, offset: 8, metadata: '' },
      ])
      expect(await client.admin.groupOffsets(groupId)).toEqual(
        expect.arrayContaining([
          { topic, partition: 0, offset: 7, metadata: 'm' },
          { topic, partition: 1, offset: 8, metadata: '' },
        ]),
      )
      expect((await client.admin.groups()).map((group) => group.groupId)).toContain(groupId)
      expect(await client.admin.describeGroup(groupId)).toMatchObject({ state: 'Empty', members: [] })
      await client.admin.deleteGroupOffsets(groupId, [{ topic, partition: 1 }])
      expect(
        await client.committed(groupId, [
          { topic, partition: 1 },
          { topic, partition: 0 },
        ]),
      ).toEqual([
        { topic, partition: 1, offset: null, metadata: '' },
        { topic, partition: 0, offset: 7, metadata: 'm' },
      ])
      await client.admin.deleteGroup(groupId)
      expect(await client.admin.describeGroup(groupId)).toMatchObject({ state: 'Dead', members: [] })
    })

    // -------------------------------------------------------------------------------------------- producing

    test('producer: many calls at once, each partition gets its batches in order and once', async () => {
      const topic = await topicOf(3)
      const producer = await producerOf()
      const calls: Promise<readonly { readonly baseOffset: number }[]>[] = []
      for (let call = 0; call < 60; call++) {
        calls.push(
          producer.produce([0, 1, 2].map((partition) => batch(topic, partition, [`${call}a`, `${call}b`]))),
        )
      }
      const produced = await Promise.all(calls)
      expect(produced.map((results) => results.map(({ baseOffset }) => baseOffset))).toEqual(
        Array.from({ length: 60 }, (_, call) => [2 * call, 2 * call, 2 * call]),
      )
      const { fetcher, records } = reader(client)
      for (const partition of [0, 1, 2]) fetcher.add({ topic, partition }, 0)
      const all = await records.until(({ length }) => length === 360)
      for (const partition of [0, 1, 2]) {
        expect(all.filter((record) => record.partition === partition).map(({ value }) => value)).toEqual(
          Array.from({ length: 60 }, (_, call) => [`${call}a`, `${call}b`]).flat(),
        )
      }
      await Promise.all([fetcher.close(), producer.close()])
    })

    test.each(['gzip', 'snappy', 'lz4', 'zstd'] as const)(
      'producer: %s batches are taken and read back',
      async (compression) => {
        const topic = await topicOf(1)
        const producer = await producerOf({ ...idempotent, compression })
        const values = Array.from({ length: 500 }, (_, index) => `value ${index % 10}`)
        await producer.produce([batch(topic, 0, values)])
        const { fetcher, records } = reader(client)
        fetcher.add({ topic, partition: 0 }, 0)
        expect((await records.until(({ length }) => length === 500)).map(({ value }) => value)).toEqual(
          values,
        )
        await Promise.all([fetcher.close(), producer.close()])
      },
    )

    test('producer: a record that Kafka never takes is refused once, and the producer goes on', async () => {
      const topic = await topicOf(1, { 'max.message.bytes': '2000' })
      const producer = await producerOf()
      const error = await failure(producer.produce([batch(topic, 0, ['x'.repeat(3_000)])]))
      expect(error).toMatchObject({
        code: 'KAFKA_RECORD_REFUSED',
        verdict: 'skip',
        about: { topic, partition: 0 },
      })
      expect(error.message).toContain('MESSAGE_TOO_LARGE')
      expect(await producer.produce([batch(topic, 0, ['small'])])).toEqual([
        { topic, partition: 0, baseOffset: 0 },
      ])
      await producer.close()
    })

    // ----------------------------------------------------------------------------------------- transactions

    test('transaction: committed it is seen with its positions, aborted nothing is', async () => {
      const topic = await topicOf(2)
      const groupId = fresh('g')
      const producer = await producerOf({ ...transactional, transactionalId: fresh('x') })
      await producer.produce([batch(topic, 0, ['no']), batch(topic, 1, ['no'])])
      await producer.commitOffsets(() => nobody(groupId), [{ topic, partition: 0, offset: 1, metadata: '' }])
      await producer.end('abort')
      await producer.init()
      for (const value of ['a', 'b', 'c']) {
        await Promise.all([
          producer.produce([batch(topic, 0, [value])]),
          producer.commitOffsets(
            () => nobody(groupId),
            [{ topic, partition: 1, offset: 40, metadata: value }],
          ),
        ])
        await producer.end('commit')
      }
      expect(
        await client.committed(groupId, [
          { topic, partition: 0 },
          { topic, partition: 1 },
        ]),
      ).toEqual([
        { topic, partition: 0, offset: null, metadata: '' },
        { topic, partition: 1, offset: 40, metadata: 'c' },
      ])
      const { fetcher, records, ends } = reader(client)
      fetcher.add({ topic, partition: 0 }, 0)
      expect((await records.until(({ length }) => length >= 3)).map(({ value }) => value)).toEqual([
        'a',
        'b',
        'c',
      ])
      // One aborted and three committed, a record and a marker each.
      await ends.until((all) => all.at(-1)?.lastStableOffset === 8)
      await Promise.all([fetcher.close(), producer.close()])
    })

    test('transaction: what is not ended is not read as committed, and holds the positions back', async () => {
      const topic = await topicOf(1)
      const groupId = fresh('g')
      const producer = await producerOf({ ...transactional, transactionalId: fresh('x') })
      await producer.produce([batch(topic, 0, ['open'])])
      await producer.commitOffsets(() => nobody(groupId), [{ topic, partition: 0, offset: 1, metadata: '' }])
      const uncommitted = reader(client, { isolation: 'read_uncommitted' })
      const committed = reader(client)
      uncommitted.fetcher.add({ topic, partition: 0 }, 0)
      committed.fetcher.add({ topic, partition: 0 }, 0)
      await uncommitted.records.until(({ length }) => length === 1)
      const end = await committed.ends.until(({ length }) => length > 0)
      expect(end[0]).toMatchObject({ highWatermark: 1, lastStableOffset: 0 })
      expect(committed.records.all).toEqual([])
      const position = client.committed(groupId, [{ topic, partition: 0 }])
      const answered = position.then(() => 'answered')
      const waits = new Promise<string>((resolve) => setTimeout(resolve, 200, 'waits'))
      expect(await Promise.race([answered, waits])).toBe('waits')
      await producer.end('commit')
      expect(await position).toMatchObject([{ offset: 1 }])
      await committed.records.until(({ length }) => length === 1)
      await Promise.all([uncommitted.fetcher.close(), committed.fetcher.close(), producer.close()])
    })

    test('transaction: an end with nothing in it costs nothing', async () => {
      const producer = await producerOf({ ...transactional, transactionalId: fresh('x') })
      await producer.end('commit')
      await producer.end('abort')
      await producer.close()
    })

    test('transaction: a successor under the same id fences the one before, whose commit is told so', async () => {
      const topic = await topicOf(1)
      const transactionalId = fresh('x')
      const first = await producerOf({ ...transactional, transactionalId })
      await first.produce([batch(topic, 0, ['first'])])
      const second = await producerOf({ ...transactional, transactionalId })
      const error = await failure(first.end('commit'))
      expect(error).toMatchObject({ code: 'KAFKA_PRODUCER_FENCED', verdict: 'rejoin' })
      expect(await failure(first.produce([batch(topic, 0, ['again'])]))).toBe(error)
      await second.produce([batch(topic, 0, ['second'])])
      await second.end('commit')
      const { fetcher, records } = reader(client)
      fetcher.add({ topic, partition: 0 }, 0)
      expect((await records.until(({ length }) => length > 0)).map(({ value }) => value)).toEqual(['second'])
      await Promise.all([fetcher.close(), first.close(), second.close()])
    })

    test('transaction: fence() ends what a dead producer left open', async () => {
      const topic = await topicOf(1)
      const transactionalId = fresh('x')
      const dead = await producerOf({ ...transactional, transactionalId })
      await dead.produce([batch(topic, 0, ['lost'])])
      await dead.close()
      const heir = await producerOf({ ...transactional, transactionalId: fresh('x') })
      await heir.fence(transactionalId)
      await heir.produce([batch(topic, 0, ['kept'])])
      await heir.end('commit')
      const { fetcher, records } = reader(client)
      fetcher.add({ topic, partition: 0 }, 0)
      expect((await records.until(({ length }) => length > 0)).map(({ value }) => value)).toEqual(['kept'])
      await Promise.all([fetcher.close(), heir.close()])
    })

    // --------------------------------------------------------------------------------------------- fetching

    test('fetcher: pause, resume and seek; nothing from before a seek arrives after it', async () => {
      const topic = await topicOf(1)
      const producer = await producerOf()
      await producer.produce([batch(topic, 0, ['0', '1', '2', '3'])])
      const { fetcher, records } = reader(client)
      const partition = { topic, partition: 0 }
      fetcher.add(partition, 0)
      await records.until(({ length }) => length === 4)
      fetcher.pause(partition)
      await producer.produce([batch(topic, 0, ['4'])])
      fetcher.seek(partition, 2)
      const before = records.all.length
      fetcher.resume(partition)
      await records.until(({ length }) => length >= before + 3)
      expect(records.all.slice(before).map(({ offset }) => offset)).toEqual([2, 3, 4])
      fetcher.remove(partition)
      await Promise.all([fetcher.close(), producer.close()])
    })

    test('fetcher: unreleased bytes stop it, a starved reader is served where it has none, a release lets it go on', async () => {
      const topic = await topicOf(2)
      const producer = await producerOf()
      for (let round = 0; round < 10; round++) {
        await producer.produce([
          batch(
            topic,
            0,
            Array.from({ length: 40 }, (_, index) => `${round}-${index}`.padEnd(500)),
          ),
        ])
      }
      const held = new Inbox<FetchedChunk>()
      const { fetcher, ends } = reader(client, {
        bufferBytesMax: 60_000,
        partitionBytesMax: 50_000,
        waitMs: 20,
        onChunk: (chunk) => held.put(chunk),
      })
      fetcher.add({ topic, partition: 0 }, 0)
      fetcher.add({ topic, partition: 1 }, 0)
      await held.until(() => fetcher.bufferedBytes >= 45_000)
      const before = held.all.length
      await producer.produce([batch(topic, 1, ['starved'])])
      await ends.until(() => {
        fetcher.starved()
        return held.all.some(({ partition }) => partition === 1)
      })
      expect(held.all.filter(({ partition }) => partition === 0)).toHaveLength(before)
      let released = 0
      while (held.all.flatMap(readAll).filter(({ partition }) => partition === 0).length < 400) {
        const { length } = held.all
        for (; released < length; released++) held.all[released]?.release()
        await held.until((chunks) => chunks.length > length)
      }
      for (; released < held.all.length; released++) held.all[released]?.release()
      expect(fetcher.bufferedBytes).toBe(0)
      await Promise.all([fetcher.close(), producer.close()])
    })

    test.each([{ walked: true }, { walked: false }])(
      'fetcher: a large response is written over once all of it is given back as walked ($walked), and never before',
      async ({ walked }) => {
        const topic = await topicOf(1)
        const producer = await producerOf()
        const rounds = 8
        for (let round = 0; round < rounds; round++)
          await producer.produce([batch(topic, 0, [String(round).repeat(150_000)])])
        const memory = new Set<ArrayBufferLike>()
        const chunks: FetchedChunk[] = []
        const values = new Inbox<string>()
        const { fetcher } = reader(client, {
          onChunk(chunk) {
            memory.add(chunk.buffer.buffer)
            chunks.push(chunk)
            for (const { value } of readAll(chunk)) values.put(value)
            chunk.release(walked)
          },
        })
        fetcher.add({ topic, partition: 0 }, 0)
        const all = await values.until(({ length }) => length === rounds)
        expect(all.map((value) => `${value[0]} ${value.length}`)).toEqual(
          Array.from({ length: rounds }, (_, round) => `${round} 150000`),
        )
        expect(chunks.length).toBeGreaterThan(3)
        if (walked) {
          expect(memory.size).toBeLessThan(3)
        } else {
          expect(memory.size).toBe(chunks.length)
          // Each can still be read.
          expect(chunks.flatMap(readAll).map(({ value }) => value)).toEqual(all)
        }
        await Promise.all([fetcher.close(), producer.close()])
      },
    )

    test('fetcher: responses that have grown are written over, however much memory the smaller ones left', async () => {
      const topic = await topicOf(1)
      const producer = await producerOf()
      const small = 34
      const large = 6
      for (let round = 0; round < small + large; round++)
        await producer.produce([batch(topic, 0, ['x'.repeat(round < small ? 150_000 : 400_000)])])
      const memory = new Set<ArrayBufferLike>()
      const chunks = new Inbox<FetchedChunk>()
      const { fetcher } = reader(client, {
        bufferBytesMax: 64_000_000,
        onChunk(chunk) {
          chunks.put(chunk)
          const { length } = chunks.all
          if (length === small) for (const held of chunks.all) held.release(true)
          if (length <= small) return
          memory.add(chunk.buffer.buffer)
          chunk.release(true)
        },
      })
      fetcher.add({ topic, partition: 0 }, 0)
      await chunks.until(({ length }) => length === small + large)
      expect(memory.size).toBeLessThan(4)
      await Promise.all([fetcher.close(), producer.close()])
    })

    test('fetcher: an offset out of range goes where the policy says, or is an error', async () => {
      const topic = await topicOf(1)
      const producer = await producerOf()
      await producer.produce([batch(topic, 0, ['0', '1'], Date.now() - 60_000)])
      await producer.produce([batch(topic, 0, ['2', '3'])])
      await client.admin.deleteRecords([{ topic, partition: 0, offset: 1 }])
      const at = async (offsetReset: FetcherOptions['offsetReset']) => {
        const { fetcher, resets, errors } = reader(client, { offsetReset })
        fetcher.add({ topic, partition: 0 }, 99)
        const seen = new Inbox<unknown>()
        void resets.until(({ length }) => length > 0).then(([reset]) => seen.put(reset?.to))
        void errors.until(({ length }) => length > 0).then(([error]) => seen.put(error?.code))
        const [result] = await seen.until(({ length }) => length > 0)
        await fetcher.close()
        return result
      }
      expect(await at(() => 'earliest')).toBe(1)
      expect(await at(() => 'latest')).toBe(4)
      expect(await at(() => ({ byDurationMs: 30_000 }))).toBe(2)
      expect(await at(() => 'none')).toBe('KAFKA_OFFSET_OUT_OF_RANGE')
      await producer.close()
    })

    test('fetcher: a partition added during an idle long poll does not wait for it', async () => {
      const topic = await topicOf(2)
      const producer = await producerOf()
      await producer.produce([batch(topic, 0, ['first']), batch(topic, 1, ['second'])])
      const { fetcher, records, ends } = reader(client, { waitMs: 5_000 })
      fetcher.add({ topic, partition: 0 }, 0)
      await records.until(({ length }) => length === 1)
      await new Promise((resolve) => setImmediate(resolve))
      const started = performance.now()
      fetcher.add({ topic, partition: 1 }, 0)
      await records.until(({ length }) => length === 2)
      expect(performance.now() - started).toBeLessThan(4_000)
      expect(ends.all.filter(({ partition }) => partition === 0)).toHaveLength(1)
      await Promise.all([fetcher.close(), producer.close()])
    })

    // ------------------------------------------------------------------------------------------- membership

    type Event =
      | { readonly kind: 'assigned'; readonly assignment: MemberAssignment; readonly identity: GroupIdentity }
      | { readonly kind: 'rebalance' }
      | { readonly kind: 'lost' | 'fatal'; readonly error: StreamsError }

    function memberOf(groupId: string, topic: string, options: Partial<MemberOptions> = {}) {
      const events = new Inbox<Event>()
      const seen: (readonly MemberSubscription[])[] = []
      let owned: readonly TopicPartition[] = []
      const owner = open()
      const member: GroupMember = owner.member({
        groupId,
        protocolName: 'contract',
        sessionTimeoutMs: 10_000,
        rebalanceTimeoutMs: 10_000,
        heartbeatIntervalMs: 100,
        subscription: () => ({ topics: [topic], owned, userData: Buffer.from(`data of ${groupId}`) }),
        async assign(members) {
          seen.push(members)
          return new Map(
            members.map(({ memberId }, index) => [
              memberId,
              {
                partitions: [{ topic, partition: index }],
                userData: Buffer.from(`${index} of ${members.length}`),
              },
            ]),
          )
        },
        async onRebalance() {
          events.put({ kind: 'rebalance' })
        },
        async onAssigned(assignment, identity) {
          owned = assignment.partitions
          events.put({ kind: 'assigned', assignment, identity })
        },
        async onLost(error) {
          owned = []
          events.put({ kind: 'lost', error })
        },
        onFatal: (error) => events.put({ kind: 'fatal', error }),
        ...options,
      })
      member.start()
      const assignedOf = (size: number) =>
        events.until((all) => {
          const last = all.findLast(({ kind }) => kind === 'assigned')
          return last?.kind === 'assigned' && last.assignment.userData.toString().endsWith(`of ${size}`)
        })
      return { member, events, seen, assignedOf, close: () => owner.close() }
    }

    test('member: two share a group, user data goes both ways, one leaves and the other hears of it', async () => {
      const topic = await topicOf(2)
      const groupId = fresh('g')
      const first = memberOf(groupId, topic)
      await first.assignedOf(1)
      expect(first.seen[0]).toMatchObject([{ topics: [topic], owned: [], instanceId: null }])
      expect(first.seen[0]?.[0]?.userData.toString()).toBe(`data of ${groupId}`)
      const second = memberOf(groupId, topic)
      await Promise.all([first.assignedOf(2), second.assignedOf(2)])
      const leader = first.seen.at(-1)?.length === 2 ? first : second
      expect(leader.seen.at(-1)?.flatMap(({ owned }) => owned)).toEqual([{ topic, partition: 0 }])
      expect(first.member.identity.generation).toBe(second.member.identity.generation)
      expect(first.events.all.map(({ kind }) => kind)).toContain('rebalance')
      await second.member.leave()
      await first.assignedOf(1)
      await first.member.leave()
      expect(await client.admin.describeGroup(groupId)).toMatchObject({ state: 'Empty' })
      await Promise.all([first.close(), second.close()])
    })

    test('member: rejoin() makes a new generation, and heartbeats go on while an assignment is taken in', async () => {
      const topic = await topicOf(1)
      const groupId = fresh('g')
      let release = () => {}
      const slow = new Promise<void>((resolve) => {
        release = resolve
      })
      const identities: GroupIdentity[] = []
      const assigned = new Inbox<number>()
      const one = memberOf(groupId, topic, {
        sessionTimeoutMs: 6_000,
        async onAssigned(_assignment, identity) {
          identities.push(identity)
          assigned.put(identity.generation)
          if (identities.length === 1) await slow
        },
      })
      await assigned.until(({ length }) => length === 1)
      one.member.rejoin('the contract wants it')
      expect(assigned.all).toHaveLength(1)
      release()
      await assigned.until(({ length }) => length === 2)
      expect(assigned.all[1]).toBe((assigned.all[0] as number) + 1)
      expect(identities[1]?.memberId).toBe(identities[0]?.memberId)
      await one.member.leave()
      await one.close()
    })

    test('member: a static one that comes back within its session keeps its place, a twin fences it', async () => {
      const topic = await topicOf(1)
      const groupId = fresh('g')
      const instanceId = 'instance-1'
      const first = memberOf(groupId, topic, { instanceId })
      await first.assignedOf(1)
      const { generation } = first.member.identity
      await first.member.close()
      await first.close()
      const second = memberOf(groupId, topic, { instanceId })
      await second.assignedOf(1)
      expect(second.member.identity.generation).toBe(generation)
      const twin = memberOf(groupId, topic, { instanceId })
      await twin.events.until((all) => all.some(({ kind }) => kind === 'assigned'))
      const events = await second.events.until((all) => all.some(({ kind }) => kind === 'fatal'))
      const fatal = events.find(({ kind }) => kind === 'fatal')
      expect(fatal?.kind === 'fatal' && fatal.error.code).toBe('KAFKA_MEMBER_FENCED')
      await second.close()
      await twin.member.leave()
      await twin.close()
    })

    test('member: one that is gone without a word, is taken out, and nobody waits for its session', async () => {
      const topic = await topicOf(1)
      const groupId = fresh('g')
      // Longer than this test may take.
      const sessionTimeoutMs = 60_000
      const first = memberOf(groupId, topic, { sessionTimeoutMs, rebalanceTimeoutMs: sessionTimeoutMs })
      await first.assignedOf(1)
      const { memberId } = first.member.identity
      await first.member.close()
      await first.close()
      await client.admin.removeMember(groupId, memberId)
      const second = memberOf(groupId, topic)
      await second.assignedOf(1)
      // Once more is no error.
      await client.admin.removeMember(groupId, memberId)
      await second.member.leave()
      await second.close()
    })

    test('member: another protocol in the group is fatal and says so', async () => {
      const topic = await topicOf(1)
      const groupId = fresh('g')
      const first = memberOf(groupId, topic)
      await first.assignedOf(1)
      const other = memberOf(groupId, topic, { protocolName: 'another' })
      const events = await other.events.until(({ length }) => length > 0)
      expect(events[0]?.kind).toBe('fatal')
      expect(events[0]?.kind === 'fatal' && events[0].error.message).toContain('INCONSISTENT_GROUP_PROTOCOL')
      await other.close()
      await first.member.leave()
      await first.close()
    })

    test('transaction: positions of a generation that is over are refused, with the new one they are taken', async () => {
      const topic = await topicOf(1)
      const groupId = fresh('g')
      const one = memberOf(groupId, topic)
      await one.assignedOf(1)
      // It waits some seconds for a new generation, by a clock that runs a hundred times as fast.
      const start = Date.now()
      const clock = { ...systemClock, now: () => start + 100 * (Date.now() - start) }
      const hasty = open(clock)
      const producer = hasty.producer({
        ...transactional,
        deliveryTimeoutMs: 600_000,
        transactionalId: fresh('x'),
      })
      await producer.init()
      const current = one.member.identity
      const offsets = [{ topic, partition: 0, offset: 1, metadata: '' }]
      const old = { ...current, generation: current.generation - 1 }
      expect(await failure(producer.commitOffsets(() => old, offsets))).toMatchObject({
        code: 'KAFKA_GROUP_MOVED',
      })
      const stranger = { ...current, memberId: 'stranger' }
      expect(await failure(producer.commitOffsets(() => stranger, offsets))).toMatchObject({
        code: 'KAFKA_GROUP_MOVED',
      })
      const answers = [old, current]
      await producer.commitOffsets(() => answers.shift() ?? current, offsets)
      await producer.end('commit')
      expect(await client.committed(groupId, [{ topic, partition: 0 }])).toMatchObject([{ offset: 1 }])
      await hasty.close()
      await one.member.leave()
      await one.close()
    })
  })
}
