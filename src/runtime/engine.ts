/**
 * Puts a stream thread and the global stores together from the application's settings: the same in the main thread and
 * in a worker.
 */
import { assert } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import type { DropReason } from '../base/drop.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { KafkaClient } from '../kafka/client.ts'
import { CacheBudget } from '../store/cache-budget.ts'
import type { TaskState } from '../store/contract.ts'
import { openMemoryState, openTaskState } from '../store/task-state.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type { TopologyGraph } from '../topology/topology.ts'
import { guarantees } from './commit.ts'
import { GlobalStores, globalTaskId } from './global.ts'
import type { Hooks } from './hooks.ts'
import type { EngineOptions } from './options.ts'
import type { Progress } from './progress.ts'
import { prefixed } from './source-topics.ts'
import { StreamThread, type ThreadOwner } from './stream-thread.ts'
import type { TaskSettings } from './task.ts'

const globalFoldersMax = 1_024
const engineBytesOfThread = 96 * 1024 * 1024
const engineBytesMost = 80 * 1024 * 1024
const engineBytesLeast = 24 * 1024 * 1024

export type EngineParts = {
  readonly client: KafkaClient
  readonly graph: TopologyGraph
  readonly settings: EngineOptions
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: Hooks
}

export type ThreadEvents = Pick<ThreadOwner, 'running' | 'lost' | 'failed'>

export function createThread(
  parts: EngineParts,
  name: string,
  transactionalId: string,
  globals: GlobalStores,
  events: ThreadEvents,
  progress: Progress | null = null,
): StreamThread {
  const { client, graph, settings, hooks } = parts
  const { applicationId } = settings
  const cacheBudget = new CacheBudget(Math.floor(settings.cacheMaxBytes / settings.threads))
  let moved: ReadonlyMap<string, string> = new Map()
  const changelogTopic = (spec: StoreSpec) =>
    spec.changelog?.sourceTopic ?? moved.get(spec.name) ?? prefixed(applicationId, `${spec.name}-changelog`)
  const owner: ThreadOwner = {
    ...events,
    moved: (changelogs) => {
      moved = changelogs
    },
    changelogTopic,
    openState: (task, stores, record, topicIds, tasks) => {
      const options = {
        application: applicationId,
        taskId: task.id,
        stateDir: settings.stateDir,
        stores,
        cacheBytesMax: settings.cacheMaxBytes,
        engineBytesMax: engineShare(tasks),
        // A standby holds nothing back.
        ...(task.role === 'active' ? { cacheBudget } : {}),
        logger: parts.logger,
        clock: parts.clock,
        context: {
          changelogTopic: (store: string) => {
            const spec = graph.stores.get(store)
            assert(spec !== undefined, `store ${store} is in the topology`)
            return changelogTopic(spec)
          },
          changelogTopicId: (store: string) => topicIds.get(store) ?? null,
          record,
          drop: (reason: DropReason, store: string) => {
            const { topic, partition, offset } = record
            hooks.dropped?.({ reason, task: task.id, node: store, topic, partition, offset })
          },
        },
      }
      return settings.defaultStore === 'memory'
        ? Promise.resolve(openMemoryState(options))
        : openTaskState(options)
    },
    cacheBytesMax: (bytesMax) => cacheBudget.resize(bytesMax),
    globalStore: (store) => globals.store(store),
    partitionCount: async (topic) => {
      const [found] = await client.admin.topics([topic])
      if (found !== undefined) return found.partitions.length
      throw new StreamsError(
        'TOPIC_MISSING',
        `sink topic ${topic} does not exist; create it first: kafka-topics.sh --bootstrap-server … --create --topic ${topic} --partitions 4`,
        { topic },
      )
    },
    offsetReset: (source) => {
      const node = graph.nodes.get(source)
      // What we wrote to a topic of our own is never skipped.
      if (node?.kind === 'source' && node.internal) return 'earliest'
      return (node?.kind === 'source' ? node.offsetReset : null) ?? settings.autoOffsetReset
    },
    purged: (topic) =>
      topic.startsWith(`${applicationId}-`) &&
      graph.internalTopics.has(topic.slice(applicationId.length + 1)),
  }
  return new StreamThread({
    name,
    client,
    graph,
    guarantee: guarantees[settings.guarantee],
    settings: { ...settings, transactionalId, task: taskSettings(parts) },
    owner,
    clock: parts.clock,
    logger: parts.logger.child(name),
    hooks,
    progress,
  })
}

/**
 * Of one task. Much memory makes for few files, and with them for little rewriting: 250 MB of state cost 2.8 CPU seconds
 * with write buffers of 8 MB and 1.5 with 32. What a thread's tasks take together stays bounded, as far as each has the
 * least that it needs.
 */
function engineShare(tasks: number): number {
  return Math.min(engineBytesMost, Math.max(engineBytesLeast, Math.floor(engineBytesOfThread / tasks)))
}

export function createGlobals(parts: EngineParts, failed: (error: StreamsError) => void): GlobalStores {
  const { settings } = parts
  return new GlobalStores({
    client: parts.client,
    graph: parts.graph,
    settings: taskSettings(parts),
    fetchBufferBytes: settings.fetchBufferBytes,
    partitionFetchBytes: settings.partitionFetchBytes,
    cacheBytesMax: settings.storeCacheBytesMax,
    pendingBytesMax: settings.pendingBytesMax,
    persistIntervalMs: settings.persistIntervalMs,
    openState: (stores, topicIds) => openGlobalState(parts, stores, topicIds),
    failed,
    clock: parts.clock,
    logger: parts.logger.child('global'),
    hooks: parts.hooks,
  })
}

/** Each thread, and each copy on the same folder, holds all of it: the first folder that nobody has open. */
async function openGlobalState(
  { graph, settings, logger, clock }: EngineParts,
  stores: readonly StoreSpec[],
  topicIds: ReadonlyMap<string, string>,
): Promise<TaskState> {
  const options = {
    application: settings.applicationId,
    stateDir: settings.stateDir,
    stores,
    cacheBytesMax: 0,
    logger,
    clock,
    context: {
      changelogTopic: (store: string) => graph.globals.find((one) => one.store === store)?.topic ?? store,
      changelogTopicId: (store: string) => topicIds.get(store) ?? null,
      drop: () => {},
    },
  }
  if (settings.defaultStore === 'memory') return openMemoryState(options)
  for (let number = 1; ; number++) {
    try {
      const taskId = number === 1 ? globalTaskId : `${globalTaskId}-${number}`
      return await openTaskState({ ...options, taskId })
    } catch (error) {
      if (!(error instanceof StreamsError && error.code === 'STATE_LOCKED') || number === globalFoldersMax) {
        throw error
      }
    }
  }
}

function taskSettings({ settings, graph }: EngineParts): TaskSettings {
  return {
    applicationId: settings.applicationId,
    maxTaskIdleMs: settings.maxTaskIdleMs,
    emitIntervalMs: settings.emitIntervalMs,
    batchBytesMax: settings.batchBytesMax,
    handlers: {
      deserialization: settings.deserializationHandler,
      processing: settings.processingHandler,
      production: settings.productionHandler,
      deadLetterTopic: settings.deadLetterTopic,
    },
    configs: settings,
    topicName: (name, internal) =>
      internal || graph.internalTopics.has(name) ? prefixed(settings.applicationId, name) : name,
  }
}
