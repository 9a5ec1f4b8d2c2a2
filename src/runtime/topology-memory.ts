/**
 * What is deployed is remembered in Kafka: which stores, internal topics and sources the topology had that ran last.
 * A start compares, and says what is safe, what moved, and what would be lost; that it refuses unless told.
 *
 * Kept as JSON in a compacted topic of one partition, `<application>-millrace-topology`. Group metadata would be gone
 * with the last member, and a file with its disk. An application that Kafka Streams wrote has none: the first start
 * compares with nothing.
 */
import { createHash } from 'node:crypto'
import { StreamsError } from '../base/errors.ts'
import { noHeaders } from '../base/headers.ts'
import type { FetchedChunk, KafkaClient, TopicPartition } from '../kafka/client.ts'
import type { Node } from '../topology/node.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type { Subtopology, TopologyGraph } from '../topology/topology.ts'
import { BatchBuilder } from '../wire/batch-builder.ts'
import { BatchCursor } from '../wire/record-batch.ts'
import { changelogTopic, type TopicPlan } from './internal-topics.ts'
import { prefixed, sourcesOf, topicsOf } from './source-topics.ts'

export type StoreRecord = {
  readonly name: string
  readonly kind: StoreSpec['kind']
  /** What else decides about the bytes in its changelog. */
  readonly layout: string
  readonly keySerde: string
  readonly valueSerde: string
  /** The topic that its state is restored from; null: not logged. */
  readonly changelog: string | null
  /** A topic that others write serves as the changelog. */
  readonly fromSource: boolean
  readonly partitions: number
  readonly subtopology: number
  /** The kinds of nodes that lead to it: another operator may have got its generated name. */
  readonly path: string
}

export type InternalTopicRecord = { readonly name: string; readonly partitions: number }

export type TopologyRecord = {
  readonly format: 1
  readonly stores: readonly StoreRecord[]
  readonly topics: readonly InternalTopicRecord[]
}

export type TopologyChange = {
  /** 'safe': nothing is lost. 'moved': another name, the same state. 'doubtful': perhaps. 'loses': state or records. */
  readonly effect: 'safe' | 'moved' | 'doubtful' | 'loses'
  readonly what: string
  readonly message: string
}

const generatedName = /-\d{10}$/
const timeoutMs = 30_000
const recordKey = Buffer.from('topology')

// ------------------------------------------------------------------------------------------------ what is remembered

/** Stores whose changelog is not the one of their own name: those that moved, now or in an earlier deployment. */
export function movedChangelogs(
  graph: TopologyGraph,
  applicationId: string,
  before: TopologyRecord | null,
): ReadonlyMap<string, string> {
  const changelogs = new Map<string, string>()
  for (const store of graph.stores.values()) {
    if (store.changelog === null || store.changelog.sourceTopic !== null) continue
    const known = before?.stores.find(({ name }) => name === store.name)
    const old = store.movedFrom
    if (old !== undefined && known === undefined) checkMove(graph, store.name, old, before)
    // Once moved, the memory has it under its new name, and `movedFrom` may stay in the code or go.
    const topic =
      known !== undefined && !known.fromSource && known.changelog !== null
        ? known.changelog
        : old === undefined
          ? undefined
          : (before?.stores.find(({ name }) => name === old)?.changelog ?? changelogTopic(applicationId, old))
    if (topic !== undefined && topic !== changelogTopic(applicationId, store.name))
      changelogs.set(store.name, topic)
  }
  return changelogs
}

function checkMove(graph: TopologyGraph, store: string, old: string, before: TopologyRecord | null): void {
  const wrong = (message: string): StreamsError =>
    new StreamsError('TOPOLOGY_INVALID', `store ${store} says movedFrom: '${old}', ${message}`, { store })
  if (graph.stores.has(old)) {
    throw wrong(`but there is still a store of that name, which keeps its own state; take one of them away`)
  }
  const other = [...graph.stores.values()].find((each) => each.name !== store && each.movedFrom === old)
  if (other !== undefined) throw wrong(`and so does ${other.name}; only one can have its state`)
  if (before !== null && !before.stores.some(({ name }) => name === old)) {
    const names = before.stores.map(({ name }) => name).join(', ')
    throw wrong(`but the topology before had no such store; it had ${names === '' ? 'none' : names}`)
  }
}

export function recordOf(graph: TopologyGraph, plan: TopicPlan, applicationId: string): TopologyRecord {
  const globals = new Set(graph.globals.map(({ store }) => store))
  const planned = new Map(
    plan.topics.flatMap((topic) => (topic.store === null ? [] : [[topic.store, topic]])),
  )
  const stores: StoreRecord[] = []
  for (const subtopology of graph.subtopologies) {
    const topics = sourcesOf(graph, subtopology).flatMap((source) =>
      topicsOf(source, applicationId, plan.counts.keys()),
    )
    const partitions = Math.max(0, ...topics.map((topic) => plan.counts.get(topic) ?? 0))
    for (const store of subtopology.stores) {
      if (globals.has(store.name)) continue
      const sourceTopic = store.changelog?.sourceTopic ?? null
      stores.push({
        name: store.name,
        kind: store.kind,
        layout: layoutOf(store),
        keySerde: store.keySerde.name,
        valueSerde: store.valueSerde.name,
        changelog:
          sourceTopic ??
          (store.changelog === null
            ? null
            : (planned.get(store.name)?.name ?? changelogTopic(applicationId, store.name))),
        fromSource: sourceTopic !== null,
        partitions,
        subtopology: subtopology.index,
        path: pathTo(graph, subtopology, store.name),
      })
    }
  }
  const topics = plan.topics
    .filter(({ store }) => store === null)
    .map(({ name, partitions }) => ({ name, partitions }))
  return { format: 1, stores, topics }
}

/**
 * Of what decides about tasks and topics: members that differ in it can't share tasks. A filter more or less leaves it
 * as it is, so that such a change can be rolled out instance by instance.
 */
export function structureHash(graph: TopologyGraph): string {
  const structure = graph.subtopologies.map((subtopology) => [
    subtopology.index,
    sourcesOf(graph, subtopology).map(({ topics, pattern, internal }) => [topics, String(pattern), internal]),
    subtopology.stores.map((store) => [
      store.name,
      store.kind,
      layoutOf(store),
      store.changelog?.sourceTopic ?? null,
    ]),
  ])
  const topics = [...graph.internalTopics.values()]
  return createHash('sha256')
    .update(JSON.stringify([structure, topics]))
    .digest('base64url')
    .slice(0, 22)
}

function layoutOf(store: StoreSpec): string {
  switch (store.kind) {
    case 'key-value':
      return store.timestamped ? 'timestamped' : 'plain'
    case 'window':
      return [
        store.timestamped ? 'timestamped' : 'plain',
        `windows of ${store.windowSizeMs} ms`,
        ...(store.retainDuplicates ? ['duplicates'] : []),
      ].join(', ')
    default:
      return ''
  }
}

/** The kinds of the nodes from the sources to the first that has the store, each as `kind`, or `kind(topic)`. */
function pathTo(graph: TopologyGraph, subtopology: Subtopology, store: string): string {
  const owner = subtopology.nodes.find((node) => node.stores.includes(store))
  const seen = new Set<string>()
  const walk = (node: Node): string => {
    if (seen.has(node.name)) return ''
    seen.add(node.name)
    const parents = node.from.flatMap((name) => graph.nodes.get(name) ?? []).map(walk)
    const own =
      node.kind === 'source' ? `source(${node.topics.join(',')}${String(node.pattern ?? '')})` : node.kind
    return parents.length === 0
      ? own
      : `${parents.length === 1 ? parents[0] : `[${parents.join(' ')}]`} ${own}`
  }
  return owner === undefined ? '' : walk(owner)
}

// ------------------------------------------------------------------------------------------------ comparison

/**
 * What becomes of the state and the records that `before` left, under `after`. `drained`: internal topics of which
 * every record is processed.
 */
export function compareTopologies(
  before: TopologyRecord,
  after: TopologyRecord,
  drained: ReadonlySet<string> = new Set(),
): readonly TopologyChange[] {
  const changes: TopologyChange[] = []
  const taken = new Set<StoreRecord>()
  for (const old of before.stores) {
    if (old.changelog === null) continue
    const next =
      after.stores.find(
        (store) => store.changelog === old.changelog && (!old.fromSource || store.name === old.name),
      ) ?? after.stores.find((store) => store.name === old.name)
    if (next !== undefined) taken.add(next)
    changes.push(...compareStore(old, next, before, after))
  }
  for (const store of after.stores) {
    if (taken.has(store) || before.stores.some(({ name }) => name === store.name)) continue
    changes.push({
      effect: 'safe',
      what: store.name,
      message: `store ${store.name} is new and starts empty: what was processed before is not read again`,
    })
  }
  for (const topic of before.topics) changes.push(...compareTopic(topic, after, drained))
  for (const { name } of after.topics) {
    if (before.topics.some((topic) => topic.name === name)) continue
    changes.push({ effect: 'safe', what: name, message: `internal topic ${name} is new` })
  }
  return changes
}

function compareStore(
  old: StoreRecord,
  next: StoreRecord | undefined,
  before: TopologyRecord,
  after: TopologyRecord,
): TopologyChange[] {
  const what = old.name
  const loses = (message: string): TopologyChange[] => [{ effect: 'loses', what, message }]
  if (next === undefined) {
    const others = after.stores
      .filter(
        (store) =>
          store.kind === old.kind &&
          store.layout === old.layout &&
          !before.stores.some(({ name }) => name === store.name),
      )
      .map(({ name }) => name)
    const hint =
      others.length === 0
        ? `if its state may go, say allowStateLoss: ['${old.name}']`
        : `if it is now ${others.join(' or ')}, say movedFrom: '${old.name}' there; if its state may go, say allowStateLoss: ['${old.name}']`
    return loses(`store ${old.name} is gone, and with it what ${old.changelog} holds; ${hint}`)
  }
  if (next.changelog === null) {
    return loses(`store ${next.name} is not logged any more: its state would be lost with its task`)
  }
  if (next.changelog !== old.changelog && !next.fromSource) {
    return loses(
      `store ${next.name} was restored from ${old.changelog} and now would be from ${next.changelog}, which has not ` +
        'what was processed before; keep topology optimisation as it was',
    )
  }
  if (next.kind !== old.kind) {
    return loses(
      `store ${next.name} was a ${old.kind} store and is a ${next.kind} store: what ${old.changelog} holds can not be ` +
        'read as that; give the new one another name',
    )
  }
  if (next.layout !== old.layout) {
    return loses(
      `store ${next.name} keeps its entries in another form (${old.layout}, now ${next.layout}): what ` +
        `${old.changelog} holds would be misread; give the new one another name`,
    )
  }
  // Without a partition it had no tasks, and so no state: no topic matched its pattern.
  if (next.partitions !== old.partitions && next.partitions > 0 && old.partitions > 0) {
    return loses(
      `store ${next.name} has state in ${old.partitions} partitions, and its tasks are now ${next.partitions}: keys ` +
        `would look for it in the wrong one; go back to ${old.partitions} partitions, or reset the application`,
    )
  }
  const changes: TopologyChange[] = []
  for (const [part, was, is] of [
    ['keys', old.keySerde, next.keySerde],
    ['values', old.valueSerde, next.valueSerde],
  ] as const) {
    if (was === is) continue
    changes.push({
      effect: 'doubtful',
      what,
      message: `store ${next.name} wrote its ${part} as ${was} and reads them as ${is}: they must have the same bytes`,
    })
  }
  if (next.name !== old.name) {
    changes.push({
      effect: 'moved',
      what,
      message: `store ${old.name} is now ${next.name} and keeps its state (${old.changelog})`,
    })
  } else if (generatedName.test(old.name) && next.path !== old.path) {
    changes.push({
      effect: 'doubtful',
      what,
      message:
        `store ${old.name} has a generated name and another operator before it than it had (${old.path}; now ` +
        `${next.path}): make sure it is still the same one, and name it ({ as: 'name' })`,
    })
  }
  if (next.changelog !== old.changelog) {
    changes.push({
      effect: 'safe',
      what,
      message: `store ${next.name} is restored from ${next.changelog} itself; ${old.changelog} is not used any more`,
    })
  }
  if (next.subtopology !== old.subtopology) {
    changes.push({
      effect: 'safe',
      what,
      message:
        `store ${next.name} belongs to tasks ${next.subtopology}_* and belonged to ${old.subtopology}_*: it is ` +
        'restored once from its changelog',
    })
  }
  return changes
}

function compareTopic(
  topic: InternalTopicRecord,
  after: TopologyRecord,
  drained: ReadonlySet<string>,
): TopologyChange[] {
  const next = after.topics.find(({ name }) => name === topic.name)
  if (next !== undefined && next.partitions === topic.partitions) return []
  const change =
    next === undefined
      ? 'is not read any more'
      : `had ${topic.partitions} partitions and needs ${next.partitions}`
  if (next === undefined && drained.has(topic.name)) {
    const message = `internal topic ${topic.name} ${change}; all in it was processed`
    return [{ effect: 'safe', what: topic.name, message }]
  }
  const remedy =
    next === undefined
      ? 'let the version before process all of it, or keep the name of the operator'
      : `go back to ${topic.partitions} partitions, or reset the application`
  return [
    {
      effect: 'loses',
      what: topic.name,
      message: `internal topic ${topic.name} ${change}, and it holds records that are not processed; ${remedy}`,
    },
  ]
}

/** Throws where something would be lost, unless it is allowed. `allowed`: names of stores and topics, or 'all'. */
export function refuseLoss(
  changes: readonly TopologyChange[],
  allowed: 'all' | ReadonlySet<string> = new Set(),
): void {
  const losses = changes.filter(
    ({ effect, what }) => effect === 'loses' && allowed !== 'all' && !allowed.has(what),
  )
  if (losses.length === 0) return
  throw new StreamsError(
    'TOPOLOGY_LOSES_STATE',
    `this topology would lose what the one before it left:\n${losses.map(({ message }) => `- ${message}`).join('\n')}`,
  )
}

// ------------------------------------------------------------------------------------------------ the topic

export function memoryTopic(applicationId: string): string {
  return prefixed(applicationId, 'millrace-topology')
}

/** null where nothing is remembered. */
export async function readTopology(
  client: KafkaClient,
  applicationId: string,
): Promise<TopologyRecord | null> {
  const topic = memoryTopic(applicationId)
  const [described] = await client.admin.topics([topic])
  if (described === undefined) return null
  const partition = { topic, partition: 0 }
  const [last] = await client.admin.offsets([partition], 'latest', 'read_uncommitted')
  const [first] = await client.admin.offsets([partition], 'earliest', 'read_uncommitted')
  const end = last?.offset ?? 0
  if (end <= (first?.offset ?? 0)) return null
  const value = await lastValue(client, partition, first?.offset ?? 0, end)
  return value === null ? null : parseRecord(value, topic)
}

/** Remembers it. The topic is made where it is missing. */
export async function writeTopology(
  client: KafkaClient,
  applicationId: string,
  record: TopologyRecord,
  replicationFactor = -1,
): Promise<void> {
  const topic = memoryTopic(applicationId)
  const configs = { 'cleanup.policy': 'compact' }
  await client.admin.createTopics([{ name: topic, partitions: 1, replicationFactor, configs }])
  const producer = client.producer({ deliveryTimeoutMs: timeoutMs, compression: 'none' })
  try {
    await producer.init()
    const builder = new BatchBuilder()
    const value = Buffer.from(JSON.stringify(record))
    builder.append(Date.now(), recordKey, 0, recordKey.length, value, 0, value.length, noHeaders)
    await producer.produce([{ topic, partition: 0, builder }])
  } finally {
    await producer.close()
  }
}

async function lastValue(
  client: KafkaClient,
  partition: TopicPartition,
  start: number,
  end: number,
): Promise<string | null> {
  let value: string | null = null
  await readBetween(client, partition, start, end, (cursor) => {
    if (cursor.valueStart >= 0) value = cursor.buffer.toString('utf8', cursor.valueStart, cursor.valueEnd)
  })
  return value
}

/** Whether there is a committed record in [start, end), markers and void data aside. */
export async function holdsRecords(
  client: KafkaClient,
  partition: TopicPartition,
  start: number,
  end: number,
): Promise<boolean> {
  let holds = false
  await readBetween(client, partition, start, end, () => {
    holds = true
  })
  return holds
}

async function readBetween(
  client: KafkaClient,
  partition: TopicPartition,
  start: number,
  end: number,
  take: (cursor: BatchCursor) => void,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  let fetcher: ReturnType<KafkaClient['fetcher']> | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(
        () =>
          reject(
            new StreamsError(
              'KAFKA_TIMEOUT',
              `${partition.topic} was not read to its end in ${timeoutMs / 1000} s`,
              partition,
            ),
          ),
        timeoutMs,
      )
      fetcher = client.fetcher({
        purpose: 'restore',
        isolation: 'read_committed',
        bufferBytesMax: 16_777_216,
        partitionBytesMax: 1_048_576,
        waitMs: 100,
        offsetReset: () => 'earliest',
        onChunk(chunk) {
          try {
            visit(chunk, take)
            if (chunk.nextOffset >= end) resolve()
          } catch (error) {
            reject(error)
          } finally {
            chunk.release()
          }
        },
        onEnds() {},
        onReset() {},
        onError: (error) => reject(error),
      })
      fetcher.add(partition, start)
    })
  } finally {
    clearTimeout(timer)
    await fetcher?.close()
  }
}

function visit(chunk: FetchedChunk, take: (cursor: BatchCursor) => void): void {
  const cursor = new BatchCursor({
    topic: chunk.topic,
    partition: chunk.partition,
    buffer: chunk.buffer,
    start: chunk.start,
    end: chunk.end,
    fromOffset: chunk.fetchOffset,
    aborted: chunk.aborted,
  })
  while (cursor.next()) take(cursor)
}

function parseRecord(text: string, topic: string): TopologyRecord {
  const unreadable = (why: string): StreamsError =>
    new StreamsError(
      'TOPOLOGY_LOSES_STATE',
      `what ${topic} remembers can not be read (${why}); upgrade to the version that wrote it, or delete the topic to ` +
        'start without memory',
      { topic },
    )
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    throw unreadable('it is not JSON')
  }
  const record = parsed as Partial<TopologyRecord> | null
  if (record?.format !== 1) throw unreadable(`format ${String(record?.format)}`)
  if (!Array.isArray(record.stores) || !Array.isArray(record.topics))
    throw unreadable('stores or topics are missing')
  return record as TopologyRecord
}
