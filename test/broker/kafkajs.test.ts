/** kafkajs, which no one here wrote, works on the embedded Kafka: producer, consumer, admin, transactions, login. */
import { type Admin, AssignerProtocol, type Consumer, Kafka, logLevel, Partitioners } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'

const quiet = { logLevel: logLevel.NOTHING, retry: { initialRetryTime: 10, retries: 8 } }
const partitioner = { createPartitioner: Partitioners.DefaultPartitioner }

describe('kafkajs on the embedded Kafka', () => {
  let kafka: EmbeddedKafka
  let client: Kafka
  let admin: Admin
  let count = 0
  const unique = (what: string) => `${what}-${++count}`

  beforeAll(async () => {
    kafka = await EmbeddedKafka.start()
    client = new Kafka({ brokers: [kafka.address], ...quiet })
    admin = client.admin()
    await admin.connect()
  })
  afterAll(async () => {
    await admin?.disconnect()
    await kafka?.stop()
  })

  async function send(topic: string, values: readonly string[]): Promise<void> {
    const producer = client.producer(partitioner)
    await producer.connect()
    await producer.send({ topic, messages: values.map((value, index) => ({ key: String(index), value })) })
    await producer.disconnect()
  }

  async function readAll(consumer: Consumer, topic: string, wanted: number): Promise<string[]> {
    const values: string[] = []
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await new Promise<void>((resolve) => {
      void consumer.run({
        eachMessage: async ({ message }) => {
          values.push(String(message.value))
          if (values.length === wanted) resolve()
        },
      })
    })
    return values
  }

  test('what is sent is received, with key, headers and timestamp', async () => {
    const topic = unique('topic')
    const producer = client.producer({ idempotent: true, ...partitioner })
    await producer.connect()
    const timestamp = String(Date.now() - 5000)
    await producer.send({ topic, messages: [{ key: 'k', value: 'v', headers: { trace: 'on' }, timestamp }] })
    await producer.disconnect()
    const consumer = client.consumer({ groupId: unique('group'), maxWaitTimeInMs: 100 })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    const message = await new Promise<Record<string, unknown>>((resolve) => {
      void consumer.run({
        eachMessage: async ({ message: got }) =>
          resolve({
            key: String(got.key),
            value: String(got.value),
            trace: String(got.headers?.['trace']),
            timestamp: got.timestamp,
            offset: got.offset,
          }),
      })
    })
    expect(message).toEqual({ key: 'k', value: 'v', trace: 'on', timestamp, offset: '0' })
    await consumer.disconnect()
  })

  test('a consumer goes on where its group stopped', async () => {
    const [topic, groupId] = [unique('topic'), unique('group')]
    kafka.createTopic(topic)
    await send(topic, ['a', 'b'])
    const first = client.consumer({ groupId, heartbeatInterval: 100, maxWaitTimeInMs: 100 })
    expect(await readAll(first, topic, 2)).toEqual(['a', 'b'])
    await first.disconnect()
    await send(topic, ['c'])
    const second = client.consumer({ groupId, heartbeatInterval: 100, maxWaitTimeInMs: 100 })
    expect(await readAll(second, topic, 1)).toEqual(['c'])
    await second.disconnect()
    expect(kafka.committedOffset(groupId, topic, 0)).toBe(3)
  })

  test('two consumers share the partitions, one leaves and the other has them all', async () => {
    const [topic, groupId] = [unique('topic'), unique('group')]
    kafka.createTopic(topic, 4)
    const consumers = [
      client.consumer({ groupId, heartbeatInterval: 100, maxWaitTimeInMs: 100 }),
      client.consumer({ groupId, heartbeatInterval: 100, maxWaitTimeInMs: 100 }),
    ]
    const assigned = consumers.map((): number[] => [])
    for (const [index, consumer] of consumers.entries()) {
      consumer.on('consumer.group_join', ({ payload }) => {
        assigned[index] = payload.memberAssignment[topic] ?? []
      })
      await consumer.connect()
      await consumer.subscribe({ topic })
      await consumer.run({ eachMessage: async () => {} })
    }
    await expect.poll(() => assigned.map(({ length }) => length), { timeout: 15_000 }).toEqual([2, 2])
    expect(assigned.flat().toSorted()).toEqual([0, 1, 2, 3])
    const { groups } = await admin.describeGroups([groupId])
    expect(groups[0]).toMatchObject({ state: 'Stable', protocolType: 'consumer' })
    const topics = groups[0]?.members.map(
      ({ memberAssignment }) => AssignerProtocol.MemberAssignment.decode(memberAssignment)?.assignment[topic],
    )
    expect(topics?.flat().toSorted()).toEqual([0, 1, 2, 3])
    await consumers[0]?.disconnect()
    await expect.poll(() => assigned[1]?.length, { timeout: 15_000 }).toBe(4)
    await consumers[1]?.disconnect()
  })

  test('a transaction with positions: committed together, or not at all', async () => {
    const [topic, groupId] = [unique('topic'), unique('group')]
    kafka.createTopic(topic)
    const producer = client.producer({
      transactionalId: unique('tx'),
      idempotent: true,
      maxInFlightRequests: 1,
      ...partitioner,
    })
    await producer.connect()
    for (const [value, isCommit] of [
      ['kept', true],
      ['void', false],
      ['kept too', true],
    ] as const) {
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: [{ value }] })
      const offset = String(kafka.records(topic, 'uncommitted').length)
      await transaction.sendOffsets({
        consumerGroupId: groupId,
        topics: [{ topic, partitions: [{ partition: 0, offset }] }],
      })
      if (isCommit) await transaction.commit()
      else await transaction.abort()
    }
    await producer.disconnect()
    const consumer = client.consumer({
      groupId: unique('group'),
      readUncommitted: false,
      maxWaitTimeInMs: 100,
    })
    expect(await readAll(consumer, topic, 2)).toEqual(['kept', 'kept too'])
    await consumer.disconnect()
    expect(kafka.committedOffset(groupId, topic, 0)).toBe(3)
  })

  test('admin: topics, partitions, offsets, settings, groups, records', async () => {
    const topic = unique('topic')
    expect(
      await admin.createTopics({
        topics: [{ topic, numPartitions: 2, configEntries: [{ name: 'retention.ms', value: '1234567' }] }],
      }),
    ).toBe(true)
    expect(await admin.createTopics({ topics: [{ topic }] })).toBe(false)
    expect(await admin.listTopics()).toContain(topic)
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    expect((await admin.fetchTopicMetadata({ topics: [topic] })).topics[0]?.partitions).toHaveLength(3)
    const { resources } = await admin.describeConfigs({
      includeSynonyms: true,
      resources: [{ type: 2, name: topic, configNames: ['retention.ms'] }],
    })
    expect(resources[0]?.configEntries[0]).toMatchObject({
      configName: 'retention.ms',
      configValue: '1234567',
      isDefault: false,
    })
    await admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: 2, name: topic, configEntries: [{ name: 'retention.ms', value: '7654321' }] }],
    })

    await send(topic, ['a', 'b', 'c', 'd', 'e'])
    const offsets = await admin.fetchTopicOffsets(topic)
    expect(offsets.reduce((sum, { high }) => sum + Number(high), 0)).toBe(5)
    const full = offsets.find(({ high }) => Number(high) > 0)!
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: full.partition, offset: full.high }] })
    expect(
      (await admin.fetchTopicOffsets(topic)).find(({ partition }) => partition === full.partition)?.low,
    ).toBe(full.high)
    expect((await admin.fetchTopicOffsetsByTimestamp(topic, Date.now() + 60_000)).length).toBe(3)

    const groupId = unique('group')
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '1' }] })
    expect(await admin.fetchOffsets({ groupId, topics: [topic] })).toMatchObject([
      { partitions: expect.arrayContaining([expect.objectContaining({ partition: 0, offset: '1' })]) },
    ])
    expect((await admin.listGroups()).groups.map((group) => group.groupId)).toContain(groupId)
    await admin.deleteGroups([groupId])
    expect((await admin.listGroups()).groups.map((group) => group.groupId)).not.toContain(groupId)
    expect(await admin.describeCluster()).toMatchObject({
      controller: 1,
      brokers: [{ nodeId: 1 }],
      clusterId: kafka.clusterId,
    })
    await admin.deleteTopics({ topics: [topic] })
    expect(await admin.listTopics()).not.toContain(topic)
  })
})

describe('login', () => {
  const connect = async (kafka: EmbeddedKafka, sasl?: { username: string; password: string }) => {
    const login = sasl === undefined ? {} : { sasl: { mechanism: 'plain' as const, ...sasl } }
    const admin = new Kafka({ brokers: [kafka.address], ...login, ...quiet, retry: { retries: 0 } }).admin()
    try {
      await admin.connect()
      return await admin.listTopics()
    } finally {
      await admin.disconnect()
    }
  }

  test('SASL PLAIN: the right password lets in, a wrong one and none do not', async () => {
    await using kafka = await EmbeddedKafka.start({ users: { alice: 'secret' }, topics: { orders: 1 } })
    expect(await connect(kafka, { username: 'alice', password: 'secret' })).toEqual(['orders'])
    await expect(connect(kafka, { username: 'alice', password: 'guess' })).rejects.toThrow(
      'Authentication failed',
    )
    await expect(connect(kafka, { username: 'toString', password: '' })).rejects.toThrow(
      'Authentication failed',
    )
    await expect(connect(kafka)).rejects.toThrow()
  })
})
