/** The Kafka that a run measures on, and what the benchmarks ask of it. */
import { silentLogger } from '../src/base/logger.ts'
import { connect, type KafkaClient } from '../src/kafka/index.ts'
import { startKafka } from '../test/kafka/launcher.ts'

export type Cluster = {
  readonly brokers: readonly string[]
  readonly client: KafkaClient
  /** Null for a Kafka that was running before. */
  readonly version: string | null
  readonly brokerPid: number | null
  readonly stop: () => Promise<void>
}

/** A Kafka of this run's own, or the one at these addresses. */
export async function openCluster(brokers: readonly string[] | null): Promise<Cluster> {
  const kafka =
    brokers === null
      ? await startKafka({
          heap: '2g',
          runsLong: true,
          properties: {
            'log.segment.bytes': 1_073_741_824,
            'log.roll.ms': neverMs,
            'offsets.retention.minutes': 10_080,
          },
        })
      : null
  const addresses = brokers ?? kafka?.addresses ?? []
  const client = connect({ brokers: addresses, clientId: 'bench', logger: silentLogger })
  return {
    brokers: addresses,
    client,
    version: kafka?.version ?? null,
    brokerPid: kafka?.pids[0] ?? null,
    async stop() {
      await client.close()
      await kafka?.stop()
    },
  }
}

/**
 * A transaction's marker has the time of day, the records before it are years older: between them Kafka would roll the
 * segment of each partition, which takes it 15 to 30 ms.
 */
const neverMs = 3_153_600_000_000
const forever = { 'retention.ms': '-1', 'segment.ms': String(neverMs) }

/** Event times are old: without `retention.ms=-1` Kafka would delete what is written. */
export async function createTopic({ client }: Cluster, name: string, partitions: number): Promise<void> {
  await client.admin.createTopics([{ name, partitions, replicationFactor: 1, configs: forever }])
}

export async function partitionsOf({ client }: Cluster, topic: string): Promise<number> {
  const [found] = await client.admin.topics([topic])
  return found?.partitions.length ?? 0
}

/** The last stable offset of each partition. */
export async function endsOf({ client }: Cluster, topic: string, partitions: number): Promise<number[]> {
  const wanted = Array.from({ length: partitions }, (_, partition) => ({ topic, partition }))
  const ends = new Array<number>(partitions).fill(0)
  for (const { partition, offset } of await client.admin.offsets(wanted, 'latest', 'read_committed'))
    ends[partition] = offset ?? 0
  return ends
}

/** What the group has committed of a topic; 0 where nothing. */
export async function committedOf(
  { client }: Cluster,
  group: string,
  topic: string,
  partitions: number,
): Promise<number[]> {
  const committed = new Array<number>(partitions).fill(0)
  for (const found of await client.admin.groupOffsets(group))
    if (found.topic === topic) committed[found.partition] = found.offset ?? 0
  return committed
}

/** Takes an application's topics, and these, away again. A Kafka of our own has disk to spare, but not for all runs. */
export async function deleteTopics(
  { client }: Cluster,
  application: string,
  topics: readonly string[] = [],
): Promise<void> {
  const internal = (await client.admin.topics()).map(({ name }) => name)
  const names = internal.filter((name) => name.startsWith(`${application}-`) || topics.includes(name))
  if (names.length > 0) await client.admin.deleteTopics(names)
}

export const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0)
