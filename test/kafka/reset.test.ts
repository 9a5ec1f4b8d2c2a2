/** Reset on a real Kafka, which forgets the offsets of a deleted topic later than the embedded one. */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import kafkajs from 'kafkajs'
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { connect } from '../../src/kafka/index.ts'
import { Millrace } from '../../src/runtime/application.ts'
import { resetApplication } from '../../src/runtime/reset.ts'
import { serdes } from '../../src/serde/serdes.ts'

const brokers = (process.env['KAFKA_BROKERS'] as string).split(',')

test('reset: on Apache Kafka, topics, offsets and state go, and all is counted again from nothing', async () => {
  const id = `reset-${randomUUID().slice(0, 8)}`
  const [input, output] = [`${id}-in`, `${id}-out`]
  const stateDir = await mkdtemp(join(tmpdir(), 'millrace-reset-'))
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream(input, { keySerde: text, valueSerde: text })
    .groupBy((value) => value, { keySerde: text, name: 'by-value' })
    .count({ as: 'counts' })
    .toStream()
    .to(output)
  const topology = builder.build()
  const config = { applicationId: id, brokers, stateDir, logger: silentLogger }
  const client = connect({ brokers, clientId: id, logger: silentLogger })
  const producer = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).producer({
    createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
  })
  const outputs = async (): Promise<number> =>
    (await client.admin.offsets([{ topic: output, partition: 0 }], 'latest', 'read_committed'))[0]?.offset ??
    0
  const runUntil = async (offset: number): Promise<void> => {
    const application = new Millrace(topology, config)
    await application.start()
    for (const since = Date.now(); (await outputs()) < offset && Date.now() - since < 60_000; )
      await new Promise((resolve) => setTimeout(resolve, 50))
    await application.close()
  }
  try {
    await client.admin.createTopics(
      [input, output].map((name) => ({ name, partitions: 1, replicationFactor: 1, configs: {} })),
    )
    await producer.connect()
    await producer.send({ topic: input, messages: ['a', 'b', 'a'].map((value) => ({ value })) })
    await runUntil(1)
    const before = await outputs()
    const plan = await resetApplication(topology, config, { dryRun: false })
    expect(plan).toMatchObject({
      done: true,
      offsets: [{ topic: input, partition: 0, from: 3, to: 0 }],
      deletedTopics: [`${id}-by-value-repartition`, `${id}-counts-changelog`, `${id}-millrace-topology`],
      deletedTasks: ['0_0', '1_0'],
    })
    expect(await client.admin.groupOffsets(id)).toMatchObject([{ topic: input, partition: 0, offset: 0 }])
    await runUntil(before + 1)
    expect(await outputs()).toBeGreaterThan(before)
    // Once more from where it stands, and what there is to do is the same.
    expect(await resetApplication(topology, config)).toMatchObject({ offsets: plan.offsets })
  } finally {
    await Promise.all([producer.disconnect(), client.close()])
    await rm(stateDir, { recursive: true, force: true })
  }
})
