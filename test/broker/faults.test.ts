/** Faults on demand: what a test asks for happens, and nothing else does. */
import net from 'node:net'
import { describe, expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { kafkaErrorName } from '../../src/wire/error-codes.ts'
import { WireClient } from '../contract/wire-client.ts'

const noTopics = { topics: [], allowAutoTopicCreation: false } as const

function produceOf(topic: string) {
  const builder = new BatchBuilder()
  builder.append(Date.now(), null, 0, 0, Buffer.from('x'), 0, 1, noHeaders)
  const buffer = builder.seal(-1, -1, -1, false)
  return {
    acks: -1,
    timeoutMs: 1000,
    topics: [
      { name: topic, partitions: [{ partition: 0, records: { buffer, start: 0, end: buffer.length } }] },
    ],
  }
}

describe('faults', () => {
  test('intercept: a request sees what was asked, and is let through', async () => {
    await using kafka = await EmbeddedKafka.start({ topics: { orders: 2 } })
    using client = await WireClient.open(kafka.address)
    const seen: unknown[] = []
    using _ = kafka.intercept('createPartitions', ({ api, version, clientId, body }) => {
      seen.push([api, version, clientId, body.topics.map(({ name, count }) => [name, count])])
      return undefined
    })
    await client.call('createPartitions', {
      topics: [{ name: 'orders', count: 3, assignments: null }],
      timeoutMs: 1000,
      validateOnly: false,
    })
    expect(seen).toEqual([['createPartitions', 3, 'wire-client', [['orders', 3]]]])
    expect(kafka.topics()).toEqual({ orders: 3 })
  })

  test('intercept: an error stands wherever the answer has a place for one, nothing is applied', async () => {
    await using kafka = await EmbeddedKafka.start({ topics: { orders: 1 } })
    using client = await WireClient.open(kafka.address)
    const interception = kafka.intercept('produce', () => ({ error: 'NOT_LEADER_OR_FOLLOWER' }))
    const code = async () =>
      kafkaErrorName((await client.call('produce', produceOf('orders'))).topics[0]!.partitions[0]!.errorCode)
    expect(await code()).toBe('NOT_LEADER_OR_FOLLOWER')
    expect(kafka.records('orders')).toEqual([])
    interception.remove()
    expect(await code()).toBe('NONE')
  })

  test('intercept: the test answers itself', async () => {
    await using kafka = await EmbeddedKafka.start()
    using client = await WireClient.open(kafka.address)
    using _ = kafka.intercept('findCoordinator', ({ body }) => ({
      answer: {
        coordinators: body.coordinatorKeys.map((key) => ({
          key,
          nodeId: 9,
          host: 'elsewhere',
          port: 1,
          errorCode: 0,
          errorMessage: null,
        })),
      },
    }))
    const { coordinators } = await client.call('findCoordinator', { keyType: 0, coordinatorKeys: ['g'] })
    expect(coordinators).toMatchObject([{ key: 'g', nodeId: 9, host: 'elsewhere' }])
  })

  test('intercept: the answer is changed on its way out', async () => {
    await using kafka = await EmbeddedKafka.start({ topics: { orders: 1 } })
    using client = await WireClient.open(kafka.address)
    using _ = kafka.intercept('metadata', () => ({
      edit: (response) => ({ ...response, clusterId: 'another' }),
    }))
    expect((await client.call('metadata', noTopics)).clusterId).toBe('another')
  })

  test('lose: the request is applied, its answer never comes', async () => {
    await using kafka = await EmbeddedKafka.start({ topics: { orders: 1 } })
    using client = await WireClient.open(kafka.address)
    const lost = kafka.once('produce', () => 'lose')
    await expect(client.call('produce', produceOf('orders'))).rejects.toThrow('closed')
    await lost
    expect(kafka.records('orders')).toHaveLength(1)
    using again = await WireClient.open(kafka.address)
    expect((await again.call('produce', produceOf('orders'))).topics[0]!.partitions[0]!.baseOffset).toBe(1)
  })

  test('drop: nothing is applied, the connection closes', async () => {
    await using kafka = await EmbeddedKafka.start({ topics: { orders: 1 } })
    using client = await WireClient.open(kafka.address)
    void kafka.once('produce', () => 'drop')
    await expect(client.call('produce', produceOf('orders'))).rejects.toThrow('closed')
    expect(kafka.records('orders')).toEqual([])
  })

  test('a request is held back until the test lets it go, others go on', async () => {
    await using kafka = await EmbeddedKafka.start({ topics: { orders: 1 } })
    using client = await WireClient.open(kafka.address)
    using other = await WireClient.open(kafka.address)
    let release = () => {}
    const held = new Promise<undefined>((resolve) => {
      release = () => resolve(undefined)
    })
    const arrived = kafka.once('produce', () => held)
    const produced = client.call('produce', produceOf('orders'))
    await arrived
    expect((await other.call('metadata', noTopics)).brokers).toHaveLength(1)
    expect(kafka.records('orders')).toEqual([])
    release()
    expect((await produced).topics[0]!.partitions[0]!.baseOffset).toBe(0)
  })

  test('delay: every request takes that much longer', async () => {
    await using kafka = await EmbeddedKafka.start()
    using client = await WireClient.open(kafka.address)
    kafka.delay(80)
    const start = performance.now()
    await client.call('metadata', noTopics)
    expect(performance.now() - start).toBeGreaterThan(70)
    kafka.delay(0)
  })

  test('dropConnections: all close, new ones are taken', async () => {
    await using kafka = await EmbeddedKafka.start({ topics: { orders: 1 } })
    using client = await WireClient.open(kafka.address)
    const waiting = client.call('fetch', {
      maxWaitMs: 60_000,
      minBytes: 1,
      isolationLevel: 0,
      topics: [{ name: 'orders', partitions: [{ partition: 0, fetchOffset: 0, partitionMaxBytes: 100 }] }],
    })
    const refused = expect(waiting).rejects.toThrow('closed')
    kafka.dropConnections()
    await refused
    await client.closed
    using again = await WireClient.open(kafka.address)
    expect((await again.call('metadata', noTopics)).brokers).toHaveLength(1)
  })

  test('refuseConnections: nobody gets in, those who are in stay; then the same port opens again', async () => {
    await using kafka = await EmbeddedKafka.start()
    using client = await WireClient.open(kafka.address)
    const { port } = kafka
    await kafka.refuseConnections()
    const attempt = new Promise((resolve, reject) =>
      net.connect(port, '127.0.0.1').once('connect', resolve).once('error', reject),
    )
    await expect(attempt).rejects.toThrow('ECONNREFUSED')
    expect((await client.call('metadata', noTopics)).brokers).toHaveLength(1)
    await kafka.acceptConnections()
    using again = await WireClient.open(`127.0.0.1:${port}`)
    expect((await again.call('metadata', noTopics)).brokers).toHaveLength(1)
  })

  test('expireTransaction: it is aborted, its producer fenced', async () => {
    await using kafka = await EmbeddedKafka.start({ topics: { orders: 1 } })
    using client = await WireClient.open(kafka.address)
    const { producerId, producerEpoch } = await client.call('initProducerId', {
      transactionalId: 't',
      transactionTimeoutMs: 60_000,
    })
    expect(kafka.expireTransaction('t')).toBe(false)
    const held = { transactionalId: 't', producerId, producerEpoch }
    await client.call('addPartitionsToTxn', { ...held, topics: [{ name: 'orders', partitions: [0] }] })
    expect(kafka.expireTransaction('t')).toBe(true)
    expect(kafkaErrorName((await client.call('endTxn', { ...held, committed: true })).errorCode)).toBe(
      'PRODUCER_FENCED',
    )
  })

  test('transactionMarkerDelayMs: EndTxn is answered before its markers are there', async () => {
    await using kafka = await EmbeddedKafka.start({ topics: { orders: 1 }, transactionMarkerDelayMs: 60 })
    using client = await WireClient.open(kafka.address)
    const { producerId, producerEpoch } = await client.call('initProducerId', {
      transactionalId: 't',
      transactionTimeoutMs: 60_000,
    })
    const held = { transactionalId: 't', producerId, producerEpoch }
    const add = async () =>
      kafkaErrorName(
        (await client.call('addPartitionsToTxn', { ...held, topics: [{ name: 'orders', partitions: [0] }] }))
          .topics[0]!.partitions[0]!.errorCode,
      )
    expect(await add()).toBe('NONE')
    expect((await client.call('endTxn', { ...held, committed: true })).errorCode).toBe(0)
    expect(await add()).toBe('CONCURRENT_TRANSACTIONS')
    await expect.poll(add).toBe('NONE')
  })

  test('a port that is taken is said so, with the remedy', async () => {
    await using kafka = await EmbeddedKafka.start()
    await expect(EmbeddedKafka.start({ port: kafka.port })).rejects.toMatchObject({
      code: 'BROKER_PORT_IN_USE',
      message: `127.0.0.1:${kafka.port} is taken; choose another port, or 0 for any free one`,
    })
  })

  test('autoCreateTopics off: asking for a topic does not make it', async () => {
    await using kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
    using client = await WireClient.open(kafka.address)
    const { topics } = await client.call('metadata', {
      topics: [{ name: 'nope' }],
      allowAutoTopicCreation: true,
    })
    expect(kafkaErrorName(topics[0]!.errorCode)).toBe('UNKNOWN_TOPIC_OR_PARTITION')
    expect(kafka.topics()).toEqual({})
  })
})
