/** What the leader asks of a broker: internal topics and the memory of the topology. Run on the embedded broker and on Apache Kafka. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type KafkaClient } from '../../src/kafka/index.ts'
import { ensureInternalTopics, planInternalTopics } from '../../src/runtime/internal-topics.ts'
import {
  memoryTopic,
  readTopology,
  recordOf,
  type TopologyRecord,
  writeTopology,
} from '../../src/runtime/topology-memory.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { stores } from '../../src/topology/stores.ts'
import { refusal } from './refusal.ts'
import { graphOf } from './small-graph.ts'

export type BrokerForTopics = { readonly brokers: readonly string[]; stop?(): Promise<void> }

export function topicsOnBroker(name: string, start: () => Promise<BrokerForTopics>): void {
  describe(`internal topics on ${name}`, () => {
    const run = randomBytes(4).toString('hex')
    const orders = `${run}-orders`
    const both = { keySerde: serdes.string(), valueSerde: serdes.string() }
    const graph = graphOf([
      { name: 'split', reads: [orders], writes: ['by-user-repartition'] },
      {
        name: 'count',
        reads: ['by-user-repartition'],
        stores: [
          stores.timestampedKeyValue('counts', both),
          stores.window('w', { ...both, retention: '1h', windowSize: '5m' }),
          stores.versioned('v', { ...both, historyRetention: '3h' }),
        ],
      },
    ])
    const settingsOf = (application: string) => ({
      applicationId: `${run}-${application}`,
      replicationFactor: -1,
      topicConfigs: {},
      windowChangelogExtraRetentionMs: 86_400_000,
    })
    let broker: BrokerForTopics
    let client: KafkaClient

    beforeAll(async () => {
      broker = await start()
      client = connect({ brokers: broker.brokers, clientId: 'topics', logger: silentLogger })
      await client.admin.createTopics([{ name: orders, partitions: 3, replicationFactor: -1, configs: {} }])
    })
    afterAll(async () => {
      const names = (await client.admin.topics())
        .map((topic) => topic.name)
        .filter((topic) => topic.startsWith(run))
      await client.admin.deleteTopics(names)
      await client.close()
      await broker.stop?.()
    })

    test('missing ones, made with their settings; a second time nothing is to do', async () => {
      const settings = settingsOf('shop')
      const named = (topic: string) => `${settings.applicationId}-${topic}`
      const made = await ensureInternalTopics(client.admin, graph, settings)
      expect(made.get(named('by-user-repartition'))).toBe(3)
      const names = ['by-user-repartition', 'counts-changelog', 'w-changelog', 'v-changelog'].map(named)
      const found = await client.admin.topics(names)
      expect(found.map(({ partitions }) => partitions.length)).toEqual([3, 3, 3, 3])
      const configs = await Promise.all(names.map((topic) => client.admin.configs(topic)))
      expect(configs).toMatchObject([
        { 'cleanup.policy': 'delete', 'retention.ms': '-1', 'segment.bytes': '52428800' },
        { 'cleanup.policy': 'compact' },
        { 'cleanup.policy': 'compact,delete', 'retention.ms': '90000000' },
        { 'cleanup.policy': 'compact', 'min.compaction.lag.ms': '97200000' },
      ])
      const warnings: string[] = []
      const logger = { ...silentLogger, warn: (message: string) => warnings.push(message) }
      const checked = new Set<string>()
      await ensureInternalTopics(client.admin, graph, settings, { checked, logger })
      expect(checked).toEqual(new Set(names))
      expect(warnings).toEqual([])
    })

    test('two members make them at once, both are content', async () => {
      const settings = settingsOf('twice')
      const [one, other] = await Promise.all([
        ensureInternalTopics(client.admin, graph, settings),
        ensureInternalTopics(client.admin, graph, settings),
      ])
      expect(one).toEqual(other)
    })

    test('an old one has another number of partitions, refused with the remedy', async () => {
      const settings = settingsOf('grown')
      const topic = `${settings.applicationId}-by-user-repartition`
      await client.admin.createTopics([{ name: topic, partitions: 2, replicationFactor: -1, configs: {} }])
      await expect(ensureInternalTopics(client.admin, graph, settings)).rejects.toThrow(
        refusal('INTERNAL_TOPIC_MISMATCH', `${topic} has 2`, 'needs 3', 'reset'),
      )
    })

    test('one that was made once is gone, refused instead of made anew', async () => {
      const settings = settingsOf('gone')
      const topic = `${settings.applicationId}-counts-changelog`
      await expect(
        ensureInternalTopics(client.admin, graph, settings, { known: new Set([topic]) }),
      ).rejects.toThrow(refusal('INTERNAL_TOPIC_LOST', topic, 'store counts'))
      expect(await client.admin.topics([topic])).toEqual([])
    })

    test('the memory of the topology, null at first; then the last that was written', async () => {
      const settings = settingsOf('memory')
      const { applicationId } = settings
      const before = recordOf(
        graph,
        planInternalTopics(graph, new Map([[orders, 3]]), settings),
        applicationId,
      )
      expect(await readTopology(client, applicationId)).toBeNull()
      await writeTopology(client, applicationId, before)
      expect(await readTopology(client, applicationId)).toEqual(before)
      const after: TopologyRecord = { ...before, stores: before.stores.slice(1) }
      await writeTopology(client, applicationId, after)
      expect(await readTopology(client, applicationId)).toEqual(after)
      expect(await client.admin.configs(memoryTopic(applicationId))).toMatchObject({
        'cleanup.policy': 'compact',
      })
    })

    test('a memory of a version that can not be read, an error with the remedy', async () => {
      const { applicationId } = settingsOf('newer')
      await writeTopology(client, applicationId, {
        format: 2,
        stores: [],
        topics: [],
      } as unknown as TopologyRecord)
      await expect(readTopology(client, applicationId)).rejects.toThrow(
        refusal('TOPOLOGY_LOSES_STATE', 'format 2', 'upgrade'),
      )
    })
  })
}
