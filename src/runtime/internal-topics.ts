/**
 * The topics that an application makes for itself: repartition and foreign-key topics between sub-topologies, and
 * changelogs of stores. Names, partition counts and settings are Kafka Streams', so that either continues the other;
 * ours add one setting, which lets records through whose time is ahead of the broker's.
 *
 * Partitions: a repartition topic has what its user asked for, else the most of any topic that flows into it; topics
 * that a node needs equally partitioned are made so, or refused. A changelog has one partition per task.
 */
import { StreamsError } from '../base/errors.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import type { Admin } from '../kafka/client.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type { InternalTopic, Subtopology, TopologyGraph } from '../topology/topology.ts'
import { type PartitionCounts, partitionCounts, prefixed, sourcesOf, topicsOf } from './source-topics.ts'

export type InternalTopicSettings = {
  readonly applicationId: string
  readonly replicationFactor: number
  readonly topicConfigs: Readonly<Record<string, string>>
  readonly windowChangelogExtraRetentionMs: number
}

export type PlannedTopic = {
  readonly name: string
  readonly kind: 'repartition' | 'foreign-key' | 'changelog'
  readonly partitions: number
  readonly configs: Readonly<Record<string, string>>
  /** The store of a changelog; null for the others. */
  readonly store: string | null
}

export type TopicPlan = {
  readonly topics: readonly PlannedTopic[]
  /** Of the sources' topics, those that are to be made among them. */
  readonly counts: PartitionCounts
}

const repartitionConfigs = { 'cleanup.policy': 'delete', 'segment.bytes': '52428800', 'retention.ms': '-1' }
const commonConfigs = {
  'message.timestamp.type': 'CreateTime',
  'message.timestamp.after.max.ms': '9223372036854775807',
}
const forever = '9223372036854775807'
const versionedExtraMs = 86_400_000
const topicNameCharsMax = 249

export function changelogTopic(applicationId: string, store: string): string {
  return prefixed(applicationId, `${store}-changelog`)
}

/**
 * What an application with this topology needs, given the topics that are there. `changelogs`: stores whose changelog
 * has another name than their own would give (a store that moved keeps the one it had).
 */
export function planInternalTopics(
  graph: TopologyGraph,
  existing: PartitionCounts,
  settings: InternalTopicSettings,
  changelogs: ReadonlyMap<string, string> = new Map(),
): TopicPlan {
  const { applicationId } = settings
  const counts = new Map(existing)
  const reads = new Map(
    graph.subtopologies.map((subtopology) => [
      subtopology,
      sourcesOf(graph, subtopology).flatMap((source) => topicsOf(source, applicationId, existing.keys())),
    ]),
  )
  const internal = new Map(
    [...graph.internalTopics.values()].map((topic) => [prefixed(applicationId, topic.name), topic]),
  )
  refuseMissing(graph, existing, internal, applicationId)
  // What is there says nothing yet about what is needed: an old topic may have the wrong count.
  for (const [name, { partitions }] of internal) {
    if (partitions === null) counts.delete(name)
    else counts.set(name, partitions)
  }
  resolveCounts(graph, reads, internal, counts, applicationId)
  coPartition(graph, internal, counts, existing, applicationId)
  const topics: PlannedTopic[] = []
  for (const [name, { kind }] of internal) {
    const configs = { ...commonConfigs, ...repartitionConfigs, ...settings.topicConfigs }
    topics.push({ name, kind, partitions: counts.get(name) as number, configs, store: null })
  }
  const globals = new Set(graph.globals.map(({ store }) => store))
  for (const subtopology of graph.subtopologies) {
    const partitions = Math.max(0, ...(reads.get(subtopology) ?? []).map((topic) => counts.get(topic) ?? 0))
    if (partitions === 0) continue
    for (const store of subtopology.stores) {
      if (store.changelog === null || store.changelog.sourceTopic !== null || globals.has(store.name))
        continue
      topics.push({
        name: changelogs.get(store.name) ?? changelogTopic(applicationId, store.name),
        kind: 'changelog',
        partitions,
        configs: changelogConfigs(store, store.changelog.configs, settings),
        store: store.name,
      })
    }
  }
  for (const { name } of topics) checkName(name)
  return { topics, counts }
}

export type EnsureOptions = {
  readonly logger?: Logger
  readonly changelogs?: ReadonlyMap<string, string>
  /** Topics that were made once: it is an error when one of them is gone. */
  readonly known?: ReadonlySet<string>
  /** Topics whose settings were looked at already; those looked at now are added. */
  readonly checked?: Set<string>
}

/** Makes the internal topics that are missing, checks the others. Returns the partitions of all topics that are read. */
export async function ensureInternalTopics(
  admin: Admin,
  graph: TopologyGraph,
  settings: InternalTopicSettings,
  options: EnsureOptions = {},
): Promise<PartitionCounts> {
  const { logger = silentLogger, changelogs, known, checked = new Set() } = options
  const sources = await partitionCounts(admin, graph, settings.applicationId)
  const plan = planInternalTopics(graph, sources, settings, changelogs)
  const found = await countsOf(admin, plan.topics)
  const missing = plan.topics.filter(({ name }) => !found.has(name))
  for (const topic of missing) if (known?.has(topic.name)) throw lost(topic)
  if (missing.length > 0) {
    const { created } = await admin.createTopics(
      missing.map(({ name, partitions, configs }) => ({
        name,
        partitions,
        replicationFactor: settings.replicationFactor,
        configs,
      })),
    )
    for (const name of created) {
      checked.add(name)
      logger.info(`internal topic ${name} created`)
    }
    // Another member was first: what it made counts like what was there.
    const others = missing.filter(({ name }) => !created.includes(name))
    for (const [name, count] of await countsOf(admin, others)) found.set(name, count)
  }
  for (const topic of plan.topics) {
    const count = found.get(topic.name)
    if (count !== undefined && count !== topic.partitions) throw otherCount(topic, count)
  }
  await Promise.all(
    plan.topics
      .filter(({ name }) => !checked.has(name))
      .map(async (topic) => {
        for (const warning of checkConfigs(topic, await admin.configs(topic.name))) logger.warn(warning)
        checked.add(topic.name)
      }),
  )
  return plan.counts
}

async function countsOf(admin: Admin, topics: readonly PlannedTopic[]): Promise<Map<string, number>> {
  const found = await admin.topics(topics.map(({ name }) => name))
  return new Map(found.map(({ name, partitions }) => [name, partitions.length]))
}

// ------------------------------------------------------------------------------------------------ partitions

function refuseMissing(
  graph: TopologyGraph,
  existing: PartitionCounts,
  internal: ReadonlyMap<string, InternalTopic>,
  applicationId: string,
): void {
  const missing = new Map<string, string>()
  for (const subtopology of graph.subtopologies) {
    for (const source of sourcesOf(graph, subtopology)) {
      if (source.pattern !== null) continue
      for (const topic of topicsOf(source, applicationId, [])) {
        if (!existing.has(topic) && !internal.has(topic)) missing.set(topic, source.name)
      }
    }
  }
  const [first] = missing
  if (first === undefined) return
  const which = [...missing].map(([topic, source]) => `${topic} (read by ${source})`).join(', ')
  const commands = [...missing.keys()].map(
    (topic) => `kafka-topics.sh --bootstrap-server BROKER --create --topic ${topic} --partitions 4`,
  )
  throw new StreamsError(
    'TOPIC_MISSING',
    `${missing.size === 1 ? 'this topic does' : 'these topics do'} not exist: ${which}; create ` +
      `${missing.size === 1 ? 'it' : 'them'}, then start again: ${commands.join('; ')}`,
    { topic: first[0], node: first[1] },
  )
}

/** Gives every internal topic without a count the most partitions of what its writers read, chain by chain. */
function resolveCounts(
  graph: TopologyGraph,
  reads: ReadonlyMap<Subtopology, readonly string[]>,
  internal: ReadonlyMap<string, InternalTopic>,
  counts: Map<string, number>,
  applicationId: string,
): void {
  const upstream = new Map<string, Set<string>>([...internal.keys()].map((name) => [name, new Set()]))
  for (const subtopology of graph.subtopologies) {
    for (const node of subtopology.nodes) {
      if (node.kind !== 'sink' || !node.internal || typeof node.topic !== 'string') continue
      const into = upstream.get(prefixed(applicationId, node.topic))
      for (const topic of reads.get(subtopology) ?? []) into?.add(topic)
    }
  }
  const open = new Set([...internal.keys()].filter((name) => !counts.has(name)))
  const settle = (isEnough: (known: number, all: number) => boolean): boolean => {
    let moved = false
    for (const name of open) {
      const from = [...(upstream.get(name) as Set<string>)]
      const known = from.flatMap((topic) => counts.get(topic) ?? [])
      if (known.length === 0 || !isEnough(known.length, from.length)) continue
      counts.set(name, Math.max(...known))
      open.delete(name)
      moved = true
    }
    return moved
  }
  // A topic that flows into itself takes its count from what enters the circle.
  while (open.size > 0) {
    if (settle((known, all) => known === all)) continue
    if (settle(() => true)) continue
    const [name] = open as Set<string> & Iterable<string>
    const from = [...(upstream.get(name as string) as Set<string>)]
    throw new StreamsError(
      'PARTITIONS_UNKNOWN',
      `${[...open].join(', ')}: the number of partitions follows from nothing: ` +
        (from.length === 0
          ? 'no source topic flows into it, or a pattern matches no topic; create a topic that matches'
          : `what flows into it, ${from.join(', ')}, takes its own number from it`) +
        '; or give the number, repartition({ partitions })',
      { topic: name as string },
    )
  }
}

/** Makes topics that must be partitioned alike so, as Kafka Streams does, or refuses. */
function coPartition(
  graph: TopologyGraph,
  internal: ReadonlyMap<string, InternalTopic>,
  counts: Map<string, number>,
  existing: PartitionCounts,
  applicationId: string,
): void {
  const groups = graph.coPartitions.map(({ node, sources }) => {
    const topics = new Set<string>()
    for (const name of sources) {
      const source = graph.nodes.get(name)
      if (source?.kind !== 'source') continue
      for (const topic of topicsOf(source, applicationId, existing.keys())) topics.add(topic)
    }
    return { node, topics: [...topics] }
  })
  // A topic may be in several groups: what one changes another must see. Counts only come from a few numbers, so it ends.
  for (let pass = 0; ; pass++) {
    let changed = false
    for (const { node, topics } of groups) {
      if (topics.length === 0) continue
      const fixed = topics.filter((topic) => !internal.has(topic) || internal.get(topic)?.partitions !== null)
      const outside = fixed.filter((topic) => !internal.has(topic))
      const deciding = outside.length > 0 ? outside : fixed
      const count =
        deciding.length > 0
          ? (counts.get(deciding[0] as string) ?? 0)
          : Math.max(...topics.map((topic) => counts.get(topic) ?? 0))
      if (fixed.some((topic) => counts.get(topic) !== count) || pass > groups.length) {
        throw unequal(node, topics, fixed, counts, outside.length)
      }
      for (const topic of topics) {
        if (counts.get(topic) === count) continue
        counts.set(topic, count)
        changed = true
      }
    }
    if (!changed) return
  }
}

function unequal(
  node: string,
  topics: readonly string[],
  fixed: readonly string[],
  counts: ReadonlyMap<string, number>,
  outside: number,
): StreamsError {
  const shown = topics.map((topic) => `${topic} has ${counts.get(topic)}`).join(', ')
  const remedy =
    outside > 1
      ? 'read one of them through repartition(), or create the topics with the same number'
      : fixed.length > 1 || outside === 1
        ? 'give the same number to repartition({ partitions }), or none'
        : 'give each repartition() the same number of partitions'
  return new StreamsError(
    'TOPICS_NOT_COPARTITIONED',
    `${node} needs topics with equally many partitions: ${shown}; ${remedy}`,
    { node },
  )
}

// ------------------------------------------------------------------------------------------------ settings

function changelogConfigs(
  store: StoreSpec,
  own: Readonly<Record<string, string>>,
  settings: InternalTopicSettings,
): Record<string, string> {
  const given = { ...settings.topicConfigs, ...own }
  switch (store.kind) {
    case 'window':
    case 'session':
      return {
        ...commonConfigs,
        'cleanup.policy': 'compact,delete',
        ...given,
        // A setting for all topics does not shorten what a window needs; one of the store itself may.
        'retention.ms':
          own['retention.ms'] ?? milliseconds(store.retentionMs + settings.windowChangelogExtraRetentionMs),
      }
    case 'versioned':
      return {
        ...commonConfigs,
        'cleanup.policy': 'compact',
        ...given,
        'min.compaction.lag.ms':
          own['min.compaction.lag.ms'] ?? milliseconds(store.historyRetentionMs + versionedExtraMs),
      }
    default:
      return { ...commonConfigs, 'cleanup.policy': 'compact', ...given }
  }
}

function milliseconds(ms: number): string {
  return Number.isSafeInteger(ms) ? String(ms) : forever
}

/** Throws where the broker would throw away what is needed; returns what is only not as it should be. */
export function checkConfigs(topic: PlannedTopic, actual: Readonly<Record<string, string>>): string[] {
  const warnings: string[] = []
  const wanted = topic.configs
  const policies = (configs: Readonly<Record<string, string>>): string[] =>
    (configs['cleanup.policy'] ?? 'delete').split(',').map((policy) => policy.trim())
  const loses = policies(actual).find((policy) => !policies(wanted).includes(policy))
  if (loses !== undefined) {
    const what = topic.store === null ? 'records that are not processed yet' : `state of store ${topic.store}`
    throw new StreamsError(
      'INTERNAL_TOPIC_MISMATCH',
      `internal topic ${topic.name} has cleanup.policy=${actual['cleanup.policy']}, which loses ${what}; ` +
        `set it: kafka-configs.sh --bootstrap-server BROKER --alter --topic ${topic.name} ` +
        `--add-config cleanup.policy=[${wanted['cleanup.policy']}]`,
      { topic: topic.name, config: 'cleanup.policy' },
    )
  }
  const lowest = (name: string, configs: Readonly<Record<string, string>>): number => {
    const value = Number(configs[name] ?? Number.NaN)
    return value === -1 ? Number.POSITIVE_INFINITY : value
  }
  const names = ['min.compaction.lag.ms']
  if (policies(actual).includes('delete')) names.push('retention.ms')
  for (const name of names) {
    if (wanted[name] === undefined || !(lowest(name, actual) < lowest(name, wanted))) continue
    warnings.push(
      `internal topic ${topic.name} has ${name}=${actual[name]}, and ${wanted[name]} is needed to keep all that ` +
        `is used; set it: kafka-configs.sh --bootstrap-server BROKER --alter --topic ${topic.name} ` +
        `--add-config ${name}=${wanted[name]}`,
    )
  }
  return warnings
}

// ------------------------------------------------------------------------------------------------ errors

function checkName(name: string): void {
  if (name.length <= topicNameCharsMax) return
  throw new StreamsError(
    'CONFIG_INVALID',
    `internal topic ${name} has a name of ${name.length} characters and Kafka allows ${topicNameCharsMax}; ` +
      'shorten the application id or the name of the store or operator',
    { topic: name },
  )
}

function otherCount(topic: PlannedTopic, count: number): StreamsError {
  const why =
    topic.store === null
      ? 'records of one key would go on in another partition'
      : `the state of store ${topic.store} would be in the wrong tasks`
  return new StreamsError(
    'INTERNAL_TOPIC_MISMATCH',
    `internal topic ${topic.name} has ${count} partitions and the topology needs ${topic.partitions}: ${why}; ` +
      `go back to ${count} partitions (of its source topics, or in repartition()), or reset the application, ` +
      'which deletes its internal topics and its state, or start under another applicationId',
    { topic: topic.name },
  )
}

function lost(topic: PlannedTopic): StreamsError {
  const what =
    topic.store === null ? 'the records in it that were not processed' : `the state of store ${topic.store}`
  return new StreamsError(
    'INTERNAL_TOPIC_LOST',
    `internal topic ${topic.name} existed and is gone, and with it ${what}; restore it from a backup, or reset the ` +
      'application to begin anew',
    { topic: topic.name },
  )
}
