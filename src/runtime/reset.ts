/**
 * Starts an application over, or from another point: moves its offsets, deletes its internal topics, its local state
 * and what is remembered of its topology. First it says what it would do; then, and only while no copy runs, it does.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { StreamsError } from '../base/errors.ts'
import { silentLogger } from '../base/logger.ts'
import type { Admin, KafkaClient, OffsetToCommit, TopicPartition } from '../kafka/client.ts'
import { connect } from '../kafka/index.ts'
import { localTasks } from '../store/folder.ts'
import type { Topology, TopologyGraph } from '../topology/topology.ts'
import { changelogTopic } from './internal-topics.ts'
import { type Config, resolveConfig } from './options.ts'
import { partitionKey } from './partition-key.ts'
import { missingTopic, partitionCounts, prefixed, taskSources, topicsOf } from './source-topics.ts'
import { memoryTopic, readTopology } from './topology-memory.ts'

/** Where input is read from next. A shift is by records, from where the group stands. */
export type ResetTo =
  | 'earliest'
  | 'latest'
  | { readonly offset: number }
  | { readonly datetime: Date | string | number }
  | { readonly shift: number }

export type ResetOptions = {
  /** Default: 'earliest'. */
  readonly to?: ResetTo
  /** Of the input, these topics only; internal ones are deleted in any case. */
  readonly topics?: readonly string[]
  /** Leaves the local state where it is: the next start finds that it is of another time, and rebuilds it. */
  readonly keepLocalState?: boolean
  /** Says what would be done, and does nothing. Default: true. */
  readonly dryRun?: boolean
}

export type ResetPlan = {
  readonly offsets: readonly (TopicPartition & { readonly from: number | null; readonly to: number })[]
  readonly deletedTopics: readonly string[]
  readonly deletedTasks: readonly string[]
  /** Members that are in the group: while there are any, nothing is done. */
  readonly members: readonly string[]
  readonly done: boolean
}

/** What is reset. Without a graph the input is what `topics` names, and internal topics are known by their endings. */
export type Resettable = {
  readonly client: KafkaClient
  readonly graph: TopologyGraph | null
  readonly applicationId: string
  readonly stateDir: string
}

/** With the application's own settings. Local state is deleted on this machine only: run it where each copy runs. */
export async function resetApplication(
  topology: Topology,
  config: Config,
  options: ResetOptions = {},
): Promise<ResetPlan> {
  const { applicationId, brokers, clientId, kafka, stateDir } = resolveConfig(config)
  const client = connect({ brokers, clientId: clientId as string, logger: silentLogger, kafka })
  try {
    const what = { client, graph: topology.graph, applicationId, stateDir }
    const plan = await planReset(what, options)
    return (options.dryRun ?? true) ? plan : await carryOutReset(what, plan)
  } finally {
    await client.close()
  }
}

export async function planReset(
  what: Resettable,
  options: Omit<ResetOptions, 'dryRun'> & {
    /** Only offsets move. */
    readonly keepInternalTopics?: boolean
  } = {},
): Promise<ResetPlan> {
  const { client, graph, applicationId, stateDir } = what
  const { admin } = client
  const input = await inputOf(admin, graph, applicationId, options.topics)
  const committed = await client.committed(applicationId, input)
  const known = new Map(committed.map((one) => [partitionKey(one), one.offset]))
  const targets = await targetsOf(admin, input, options.to ?? 'earliest', known)
  return {
    offsets: input.map((at, index) => ({
      ...at,
      from: known.get(partitionKey(at)) ?? null,
      to: targets[index] as number,
    })),
    deletedTopics: options.keepInternalTopics === true ? [] : await ownTopics(client, graph, applicationId),
    deletedTasks: options.keepLocalState === true ? [] : await localTasks(stateDir, applicationId),
    members: await membersOf(admin, applicationId),
    done: false,
  }
}

/** Looks once more that nobody runs: between plan and deed a person may have thought about it. */
export async function carryOutReset(
  { client, applicationId, stateDir }: Resettable,
  plan: ResetPlan,
): Promise<ResetPlan> {
  const { admin } = client
  const { offsets, deletedTopics, deletedTasks } = plan
  await refuseWhileRunning(client, applicationId)
  // State goes before offsets: a reset that stops half way leaves too little state, never state of another time.
  for (const task of deletedTasks)
    await rm(join(stateDir, applicationId, task), { recursive: true, force: true })
  // Before their topics: Kafka deletes no offset of a topic that isn't there.
  const stale = (await admin.groupOffsets(applicationId)).filter(({ topic }) => deletedTopics.includes(topic))
  if (stale.length > 0) await admin.deleteGroupOffsets(applicationId, stale)
  if (deletedTopics.length > 0) await admin.deleteTopics(deletedTopics)
  const moved: OffsetToCommit[] = offsets.map(({ topic, partition, to }) => ({
    topic,
    partition,
    offset: to,
    metadata: '',
  }))
  if (moved.length > 0) await admin.alterGroupOffsets(applicationId, moved)
  return { ...plan, members: [], done: true }
}

/** An application that runs would write again what is taken away. */
export async function refuseWhileRunning({ admin }: KafkaClient, applicationId: string): Promise<void> {
  const members = await membersOf(admin, applicationId)
  if (members.length === 0) return
  const [copies, them] = members.length === 1 ? ['copy', 'it'] : ['copies', 'them']
  throw new StreamsError(
    'RESET_REFUSED',
    `${applicationId} has ${members.length} running ${copies} (${members.join('; ')}): stop ${them} first; one that was killed leaves the group after its sessionTimeoutMs`,
  )
}

async function inputOf(
  admin: Admin,
  graph: TopologyGraph | null,
  applicationId: string,
  topics: readonly string[] | undefined,
): Promise<readonly TopicPartition[]> {
  if (graph === null) {
    const found = await admin.topics(topics ?? [])
    const missing = topics?.find((topic) => !found.some(({ name }) => name === topic))
    if (missing !== undefined) throw missingTopic(missing, 'the input that is reset')
    return found.flatMap(({ name, partitions }) =>
      partitions.map(({ partition }) => ({ topic: name, partition })),
    )
  }
  const counts = await partitionCounts(admin, graph, applicationId)
  const names = new Set(
    taskSources(graph)
      .filter((source) => !source.internal)
      .flatMap((source) => topicsOf(source, applicationId, counts.keys())),
  )
  for (const topic of topics ?? []) {
    if (names.has(topic)) continue
    throw new StreamsError(
      'CONFIG_INVALID',
      `topics: ${applicationId} does not read ${topic}; it reads ${[...names].join(', ')}`,
      { config: 'topics', topic },
    )
  }
  const wanted = topics ?? [...names]
  return wanted.flatMap((topic) =>
    Array.from({ length: counts.get(topic) ?? 0 }, (_, partition) => ({ topic, partition })),
  )
}

async function targetsOf(
  admin: Admin,
  input: readonly TopicPartition[],
  to: ResetTo,
  committed: ReadonlyMap<string, number | null>,
): Promise<readonly number[]> {
  if (input.length === 0) return []
  const [starts, ends] = await Promise.all([
    admin.offsets(input, 'earliest', 'read_uncommitted'),
    admin.offsets(input, 'latest', 'read_uncommitted'),
  ])
  const range = input.map((_, index) => ({
    start: starts[index]?.offset ?? 0,
    end: ends[index]?.offset ?? 0,
  }))
  const within = (wanted: readonly number[]) =>
    wanted.map((offset, index) => {
      const { start, end } = range[index] as { start: number; end: number }
      return Math.min(end, Math.max(start, offset))
    })
  if (to === 'earliest') return range.map(({ start }) => start)
  if (to === 'latest') return range.map(({ end }) => end)
  if ('offset' in to) {
    if (!Number.isSafeInteger(to.offset) || to.offset < 0)
      throw invalid(`offset ${to.offset} is not a whole number from 0 on`)
    return within(input.map(() => to.offset))
  }
  if ('shift' in to) {
    if (!Number.isSafeInteger(to.shift)) throw invalid(`shift ${to.shift} is not a whole number of records`)
    return within(
      input.map((at, index) => {
        const from = committed.get(partitionKey(at)) ?? range[index]?.start ?? 0
        return from + to.shift
      }),
    )
  }
  const timestamp = to.datetime instanceof Date ? to.datetime.getTime() : new Date(to.datetime).getTime()
  if (!Number.isSafeInteger(timestamp) || timestamp < 0)
    throw invalid(`datetime ${String(to.datetime)} can not be read; write it as 2026-01-31T12:00:00Z`)
  const found = await admin.offsets(input, { timestamp }, 'read_uncommitted')
  return range.map(({ end }, index) => found[index]?.offset ?? end)
}

/**
 * All topics that this topology or the deployed one makes for itself, as far as they are there. Where there is no
 * topology, those of another application whose id begins with this one's and a dash look the same.
 */
export async function ownTopics(
  client: KafkaClient,
  graph: TopologyGraph | null,
  applicationId: string,
): Promise<readonly string[]> {
  const before = await readTopology(client, applicationId)
  const names = new Set([memoryTopic(applicationId)])
  for (const name of graph?.internalTopics.keys() ?? []) names.add(prefixed(applicationId, name))
  for (const store of graph?.stores.values() ?? [])
    if (store.changelog !== null && store.changelog.sourceTopic === null)
      names.add(changelogTopic(applicationId, store.name))
  for (const { name } of before?.topics ?? []) names.add(name)
  for (const { changelog, fromSource } of before?.stores ?? [])
    if (changelog !== null && !fromSource) names.add(changelog)
  const existing = await client.admin.topics(graph === null ? undefined : [...names])
  return existing
    .map(({ name }) => name)
    .filter((name) => names.has(name) || (name.startsWith(`${applicationId}-`) && ownEnding.test(name)))
    .sort()
}

const ownEnding = /-(changelog|repartition|subscription-(registration|response)-topic)$/

async function membersOf(admin: Admin, groupId: string): Promise<readonly string[]> {
  const groups = await admin.groups()
  if (!groups.some((group) => group.groupId === groupId)) return []
  const { members } = await admin.describeGroup(groupId)
  return members.map(({ memberId, clientId, host }) => `${clientId} ${memberId} ${host}`)
}

function invalid(message: string): StreamsError {
  return new StreamsError('CONFIG_INVALID', `to: ${message}`, { config: 'to' })
}
