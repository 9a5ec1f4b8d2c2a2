/** The client on three brokers while they die and come back, one after another. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type KafkaClient } from '../../src/kafka/index.ts'
import { batch, reader } from '../contract/client.ts'
import { type RunningKafka, startKafka } from './launcher.ts'

let kafka: RunningKafka
let client: KafkaClient

beforeAll(async () => {
  kafka = await startKafka({ brokers: 3 })
  client = connect({ brokers: kafka.addresses, clientId: 'cluster', logger: silentLogger })
})
afterAll(async () => {
  await client?.close()
  await kafka?.stop()
})

test('cluster: brokers are killed and restarted under load, every committed record is there once and in order', async () => {
  const partitions = [0, 1, 2, 3, 4, 5]
  const topic = 'killed'
  await client.admin.createTopics([
    { name: topic, partitions: 6, replicationFactor: 3, configs: { 'min.insync.replicas': '2' } },
  ])
  const producer = client.producer({
    transactionalId: 'killed',
    transactionTimeoutMs: 60_000,
    deliveryTimeoutMs: 60_000,
    compression: 'none',
  })
  await producer.init()
  const { fetcher, records, errors } = reader(client, { waitMs: 100 })
  for (const partition of partitions) fetcher.add({ topic, partition }, 0)
  let isOver = false
  let rounds = 0
  const produced = (async () => {
    while (!isOver) {
      const value = `${rounds}`
      await producer.produce(partitions.map((partition) => batch(topic, partition, [value])))
      await producer.end('commit')
      rounds++
    }
  })()
  for (const n of [1, 2, 3]) {
    const before = rounds
    await kafka.kill(n)
    // Some rounds without it, some with it back.
    while (rounds < before + 20) await new Promise((resolve) => setImmediate(resolve))
    await kafka.restart(n)
  }
  isOver = true
  await produced
  await records.until(({ length }) => length >= rounds * partitions.length)
  for (const partition of partitions) {
    expect(records.all.filter((record) => record.partition === partition).map(({ value }) => value)).toEqual(
      Array.from({ length: rounds }, (_, round) => `${round}`),
    )
  }
  expect(errors.all).toEqual([])
  expect(rounds).toBeGreaterThan(60)
})
