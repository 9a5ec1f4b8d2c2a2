/**
 * What the leader does before tasks are given out: compares the topology with the one that was deployed, refuses what
 * would lose state, makes the internal topics and remembers what is deployed from now on.
 */
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { KafkaClient, TopicPartition } from '../kafka/client.ts'
import type { TopologyGraph } from '../topology/topology.ts'
import {
  changelogTopic,
  ensureInternalTopics,
  type InternalTopicSettings,
  planInternalTopics,
} from './internal-topics.ts'
import { type PartitionCounts, partitionCounts } from './source-topics.ts'
import { formatTaskId } from './task-id.ts'
import {
  compareTopologies,
  holdsRecords,
  movedChangelogs,
  readTopology,
  recordOf,
  refuseLoss,
  type TopologyRecord,
  writeTopology,
} from './topology-memory.ts'

export type Deployed = {
  readonly counts: PartitionCounts
  /** Stores whose changelog is not the one of their own name. */
  readonly changelogs: ReadonlyMap<string, string>
}

export class Deployment {
  readonly #client: KafkaClient
  readonly #graph: TopologyGraph
  readonly #settings: InternalTopicSettings
  readonly #allowed: 'all' | ReadonlySet<string>
  readonly #logger: Logger
  /** Topics whose settings were looked at. */
  readonly #checked = new Set<string>()
  /** As this member read or wrote it, in the generation it led. */
  #remembered: { readonly record: TopologyRecord | null; readonly generation: number } | null = null

  constructor(
    client: KafkaClient,
    graph: TopologyGraph,
    settings: InternalTopicSettings,
    allowed: 'all' | ReadonlySet<string>,
    logger: Logger,
  ) {
    this.#client = client
    this.#graph = graph
    this.#settings = settings
    this.#allowed = allowed
    this.#logger = logger
  }

  async prepare(generation: number): Promise<Deployed> {
    const { applicationId, replicationFactor } = this.#settings
    const graph = this.#graph
    const before = await this.#before(generation)
    const changelogs = movedChangelogs(graph, applicationId, before)
    const sources = await partitionCounts(this.#client.admin, graph, applicationId)
    const plan = planInternalTopics(graph, sources, this.#settings, changelogs)
    const after = recordOf(graph, plan, applicationId)
    const isNew = before === null || JSON.stringify(before) !== JSON.stringify(after)
    if (before !== null && isNew) {
      const changes = compareTopologies(before, after, await this.#drained(before, after))
      for (const { effect, message } of changes) {
        if (effect === 'safe') this.#logger.info(message)
        else this.#logger.warn(message)
      }
      refuseLoss(changes, this.#allowed)
    }
    const counts = await ensureInternalTopics(this.#client.admin, graph, this.#settings, {
      logger: this.#logger,
      changelogs,
      known: before === null ? new Set() : topicsOf(before),
      checked: this.#checked,
    })
    if (isNew) await writeTopology(this.#client, applicationId, after, replicationFactor)
    this.#remembered = { record: after, generation }
    return { counts, changelogs }
  }

  /** Records in the changelogs of each task: how far a member is behind that has nothing of it. */
  async stateRecords({ counts, changelogs }: Deployed): Promise<ReadonlyMap<string, number>> {
    const tasks: { readonly task: string; readonly at: TopicPartition }[] = []
    const plan = planInternalTopics(this.#graph, counts, this.#settings, changelogs)
    const partitions = new Map(plan.topics.map((topic) => [topic.name, topic.partitions]))
    for (const { index, stores } of this.#graph.subtopologies) {
      for (const { name, changelog } of stores) {
        if (changelog === null) continue
        const topic =
          changelog.sourceTopic ?? changelogs.get(name) ?? changelogTopic(this.#settings.applicationId, name)
        const count = partitions.get(topic) ?? counts.get(topic) ?? 0
        for (let partition = 0; partition < count; partition++)
          tasks.push({ task: formatTaskId(index, partition), at: { topic, partition } })
      }
    }
    if (tasks.length === 0) return new Map()
    const at = tasks.map((one) => one.at)
    const [starts, ends] = await Promise.all([
      this.#client.admin.offsets(at, 'earliest', 'read_uncommitted'),
      this.#client.admin.offsets(at, 'latest', 'read_uncommitted'),
    ])
    const records = new Map<string, number>()
    tasks.forEach(({ task }, index) => {
      const length = (ends[index]?.offset ?? 0) - (starts[index]?.offset ?? 0)
      records.set(task, (records.get(task) ?? 0) + Math.max(0, length))
    })
    return records
  }

  /** Another may have led meanwhile, and deployed something else. */
  async #before(generation: number): Promise<TopologyRecord | null> {
    if (this.#remembered?.generation === generation - 1) return this.#remembered.record
    return readTopology(this.#client, this.#settings.applicationId)
  }

  /** Internal topics that are not read any more, and of which every record is processed, or that are gone. */
  async #drained(before: TopologyRecord, after: TopologyRecord): Promise<ReadonlySet<string>> {
    const left = before.topics.filter(({ name }) => !after.topics.some((topic) => topic.name === name))
    if (left.length === 0) return new Set()
    const { admin } = this.#client
    const there = await admin.topics(left.map(({ name }) => name))
    const partitions = there.flatMap(({ name, partitions }) =>
      partitions.map(({ partition }) => ({ topic: name, partition })),
    )
    const [committed, starts, ends] = await Promise.all([
      this.#client.committed(this.#settings.applicationId, partitions),
      admin.offsets(partitions, 'earliest', 'read_uncommitted'),
      admin.offsets(partitions, 'latest', 'read_uncommitted'),
    ])
    const drained = new Set(left.map(({ name }) => name))
    await Promise.all(
      partitions.map(async (at, index) => {
        const start = starts[index]?.offset ?? 0
        const end = ends[index]?.offset ?? 0
        const known = committed.find((one) => one.topic === at.topic && one.partition === at.partition)
        const from = Math.max(start, known?.offset ?? start)
        // The end may lie behind the position by nothing but the markers of transactions.
        if (from < end && (await holdsRecords(this.#client, at, from, end))) drained.delete(at.topic)
      }),
    )
    return drained
  }
}

/** A mistake that no retry mends: the application, or this version of it, can not run. That this copy ends is none. */
export function isFinal(error: unknown): error is StreamsError {
  return error instanceof StreamsError && error.verdict === 'stop' && error.code !== 'KAFKA_CLOSED'
}

/** Its own changelogs and its internal topics: a topic of others that serves as changelog is not ours to miss. */
function topicsOf(record: TopologyRecord): ReadonlySet<string> {
  const names = new Set(record.topics.map(({ name }) => name))
  for (const { changelog, fromSource, partitions } of record.stores)
    if (changelog !== null && !fromSource && partitions > 0) names.add(changelog)
  return names
}
