/**
 * Global tables and stores: all partitions of their topics, held whole by every thread, read to their end before any
 * task runs, and followed from then on. They belong to no group and commit nothing; what they hold is their topics'.
 *
 * What was read is in the local engine, and in the same atomic batch where each partition goes on: a start reads only
 * what came since. State of another topic, older than the topic's log or than its tombstones is read anew.
 */
import { assert } from '../base/assert.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { Fetcher, KafkaClient, TopicDescription, TopicPartition } from '../kafka/client.ts'
import type { Collector } from '../operator/run.ts'
import type { Store, StorePosition, TaskState } from '../store/contract.ts'
import type { Node } from '../topology/node.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type { GlobalStore, Subtopology, TopologyGraph } from '../topology/topology.ts'
import type { Hooks, RestoreProgress } from './hooks.ts'
import { partitionKey } from './partition-key.ts'
import type { PartitionQueue } from './partition-queue.ts'
import { outlived } from './state-age.ts'
import { Task, type TaskSettings } from './task.ts'

export type GlobalOptions = {
  readonly client: KafkaClient
  readonly graph: TopologyGraph
  readonly settings: TaskSettings
  readonly fetchBufferBytes: number
  readonly partitionFetchBytes: number
  /** Of deserialised entries in memory. */
  readonly cacheBytesMax: number
  /** Of entries that are not on disk yet: reading waits for the disk at this bound. */
  readonly pendingBytesMax: number
  readonly persistIntervalMs: number
  /** `topicIds`: of the stores' topics. */
  openState(specs: readonly StoreSpec[], topicIds: ReadonlyMap<string, string>): Promise<TaskState>
  /** Not mendable: the application can not go on without them. */
  failed(error: StreamsError): void
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: Hooks
}

/** A partition, and between which offsets it was to be read at the start. */
type Input = TopicPartition & {
  readonly store: string
  readonly source: string
  readonly startOffset: number
  readonly endOffset: number
  /** The store held nothing of it. */
  readonly isFresh: boolean
}

export const globalTaskId = 'global'

const budget = 10_000
const tickMs = 100
/** State that nothing was added to is said to be of this time all the same, before its topic forgets tombstones. */
const refreshMs = 600_000
const stillMs = 10_000

const noOutput: Collector = {
  partitionCount: () => null,
  load: () => Promise.reject(new StreamsError('TOPOLOGY_INVALID', 'a global store has no sinks')),
  append() {
    throw new StreamsError(
      'TOPOLOGY_INVALID',
      'the processor of a global store forwarded a record; it has no children',
    )
  },
}

function closedMeanwhile(): StreamsError {
  return new StreamsError('KAFKA_CLOSED', 'the global stores were closed while they were read')
}

export class GlobalStores {
  readonly #options: GlobalOptions
  readonly #clock: Clock
  #task: Task | null = null
  #fetcher: Fetcher | null = null
  #processing: Promise<void> | null = null
  #again = false
  #closed = false
  /** Nothing is read any more: closed, or failed; what follows a record that failed must not be kept. */
  #halted = false
  #inputs: readonly Input[] = []
  /** Those whose end at the start is not reached yet, by partition. */
  readonly #behind = new Map<string, Input>()
  #loaded: (() => void) | null = null
  #refused: ((error: StreamsError) => void) | null = null
  #timer: Timer | null = null
  #persisting: Promise<void> | null = null
  #persistedAt = 0
  #unsaved = false
  #movedAt = 0

  constructor(options: GlobalOptions) {
    this.#options = options
    this.#clock = options.clock
  }

  store(name: string): Store {
    if (this.#task === null)
      throw new StreamsError('TOPOLOGY_INVALID', `${name}: no such global store, or it is not loaded yet`)
    return this.#task.store(name)
  }

  /** Resolves when every global topic is read to the end that it has now. */
  async start(): Promise<void> {
    const { graph } = this.#options
    if (graph.globals.length === 0) return
    const topics = await this.#topics()
    const stores = graph.globals.flatMap(({ store }) => graph.stores.get(store) ?? [])
    const ids = graph.globals.map(({ store, topic }) => [store, topics.get(topic)?.id ?? ''] as const)
    const state = await this.#options.openState(stores, new Map(ids))
    try {
      this.#inputs = await this.#judge(state, topics)
      if (this.#closed) throw closedMeanwhile()
      this.#task = await this.#openTask(state, stores)
    } catch (error) {
      await state.close('dirty')
      throw error
    }
    if (this.#closed) {
      await this.#task.close('clean')
      throw closedMeanwhile()
    }
    await this.#read(this.#task)
  }

  async close(): Promise<void> {
    this.#closed = this.#halted = true
    this.#timer?.cancel()
    this.#refused?.(closedMeanwhile())
    await this.#fetcher?.close()
    await this.#processing
    await this.#persisting?.catch(() => undefined)
    const task = this.#task
    this.#task = null
    // What is settled is whole, also where a record was left in the middle.
    await task?.close('clean')
  }

  // -------------------------------------------------------------------------------------------- starting

  async #topics(): Promise<ReadonlyMap<string, TopicDescription>> {
    const { graph, client } = this.#options
    const names = graph.globals.map(({ topic }) => topic)
    const topics = new Map((await client.admin.topics(names)).map((topic) => [topic.name, topic]))
    for (const topic of names) {
      if (topics.has(topic)) continue
      throw new StreamsError(
        'TOPIC_MISSING',
        `global topic ${topic} does not exist; create it: kafka-topics.sh --create --topic ${topic} --partitions 1`,
        { topic },
      )
    }
    return topics
  }

  /** Where each partition goes on: after what the local state has of it, where that can be trusted. */
  async #judge(state: TaskState, topics: ReadonlyMap<string, TopicDescription>): Promise<readonly Input[]> {
    const { graph, client, logger } = this.#options
    const inputs: Input[] = []
    for (const global of graph.globals) {
      const { topic, store, source } = global
      const { id, partitions } = topics.get(topic) as TopicDescription
      const all = partitions.map(({ partition }) => ({ topic, partition }))
      const [starts, ends] = await Promise.all([
        client.admin.offsets(all, 'earliest', 'read_uncommitted'),
        client.admin.offsets(all, 'latest', 'read_uncommitted'),
      ])
      const position = state.positions().find((one) => one.store === store)
      const ranges = all.map((at, index) => ({
        ...at,
        known: position?.inputs?.[at.partition] ?? null,
        first: starts[index]?.offset ?? 0,
        endOffset: ends[index]?.offset ?? 0,
      }))
      const doubt = await this.#doubt(global, position, id, ranges)
      if (doubt !== null) {
        logger.warn(`global store ${store}: local state is deleted and read anew from ${topic}: ${doubt}`)
        await state.wipe(store)
      }
      for (const { partition, known, first, endOffset } of ranges) {
        const isFresh = doubt !== null || known === null
        const startOffset = isFresh ? first : known
        inputs.push({ topic, partition, store, source, startOffset, endOffset, isFresh })
      }
    }
    return inputs
  }

  /** Why the local state of a store is of no use; null: it can be followed on. */
  async #doubt(
    { topic }: GlobalStore,
    position: StorePosition | undefined,
    topicId: string,
    ranges: readonly (TopicPartition & { known: number | null; first: number; endOffset: number })[],
  ): Promise<string | null> {
    if (position === undefined || position.offset === null) return null
    if (position.inputs === undefined) return 'it does not say how far it had read'
    if (position.topicId !== topicId) return 'the topic was deleted and made anew'
    if (position.inputs.length > ranges.length) return 'the topic has fewer partitions'
    for (const { partition, known, first, endOffset } of ranges) {
      if (known === null || (known >= first && known <= endOffset)) continue
      return `it stands at offset ${known} of partition ${partition}, which has ${first} to ${endOffset}`
    }
    if (ranges.every(({ known, endOffset }) => known === endOffset)) return null
    const ageMs = this.#clock.now() - (position.persistedAt ?? 0)
    const keptMs = await outlived(this.#options.client.admin, topic, ageMs)
    if (keptMs === null) return null
    return `it is ${Math.round(ageMs / 1000)} s old, and the topic keeps tombstones for ${Math.round(keptMs / 1000)} s`
  }

  #openTask(state: TaskState, stores: readonly StoreSpec[]): Promise<Task> {
    const { graph, logger, hooks, settings } = this.#options
    const nodes = graph.globals.flatMap(({ source, processor }) => [
      graph.nodes.get(source),
      graph.nodes.get(processor),
    ])
    const subtopology: Subtopology = {
      index: -1,
      nodes: nodes.filter((node): node is Node => node !== undefined),
      stores,
      sources: graph.globals.map(({ source }) => source),
    }
    return Task.open({
      id: globalTaskId,
      partition: 0,
      graph,
      subtopology,
      inputs: this.#inputs.map(({ topic, partition, source, startOffset }) => ({
        topic,
        partition,
        source,
        position: startOffset,
        metadata: '',
      })),
      record: { topic: null, partition: -1, offset: -1 },
      state,
      globalStore: (name) => state.store(name),
      collector: noOutput,
      clock: this.#clock,
      logger,
      hooks,
      settings: { ...settings, maxTaskIdleMs: -1 },
    })
  }

  async #read(task: Task): Promise<void> {
    const fresh = new Set(this.#inputs.filter(({ isFresh }) => isFresh).map(partitionKey))
    for (const input of this.#inputs) {
      if (input.startOffset >= input.endOffset) continue
      this.#behind.set(partitionKey(input), input)
      this.#report(input, task, 'start')
    }
    const loaded = new Promise<void>((resolve, reject) => {
      this.#loaded = resolve
      this.#refused = reject
    })
    this.#persistedAt = this.#movedAt = this.#clock.now()
    this.#fetcher = this.#options.client.fetcher({
      purpose: 'global',
      isolation: 'read_committed',
      bufferBytesMax: this.#options.fetchBufferBytes,
      partitionBytesMax: this.#options.partitionFetchBytes,
      waitMs: 100,
      // Where nothing was read yet the log may begin wherever it likes; later, what it skips would stay in the store.
      offsetReset: (at) =>
        fresh.has(partitionKey(at)) && task.queue(at.topic, at.partition)?.records === 0
          ? 'earliest'
          : 'none',
      onChunk: (chunk) => {
        task.enqueue(chunk)
        this.#process(task)
      },
      onEnds: () => {},
      onReset: () => {},
      onError: (error, partition) => void this.#onFetchError(task, error, partition),
    })
    this.#tick(task)
    for (const queue of task.queues) this.#fetcher.add(queue, queue.position)
    if (this.#behind.size === 0) this.#loaded?.()
    await loaded
  }

  // -------------------------------------------------------------------------------------------- following

  #process(task: Task): void {
    this.#again = true
    this.#processing ??= this.#drain(task)
      .catch((error) => this.#fail(error))
      .finally(() => {
        this.#processing = null
      })
  }

  async #drain(task: Task): Promise<void> {
    const { cacheBytesMax, pendingBytesMax } = this.#options
    const { state } = task
    while (this.#again && !this.#halted) {
      this.#again = false
      while ((await task.process(budget)) > 0 && !this.#halted) {
        await this.#settle(task)
        this.#arrived(task)
        if (state.pendingBytes > pendingBytesMax) await this.#persist(task)
        state.trim(cacheBytesMax)
        await new Promise((resolve) => setImmediate(resolve))
      }
      // Chunks without a record move the positions, too.
      if (!this.#halted) await this.#settle(task)
      this.#arrived(task)
    }
  }

  async #settle(task: Task): Promise<void> {
    const { state } = task
    // Nothing is sent: a changelog that is a source topic is never written.
    await task.cut({
      builder: (store) => assert(false, `global store ${store} has no changelog of its own`) as never,
    })
    state.settle(new Map())
    this.#note(task)
    this.#unsaved = true
    this.#movedAt = this.#clock.now()
  }

  /** How far each store has read, as of what is settled. */
  #note(task: Task): void {
    for (const { store, topic } of this.#options.graph.globals) {
      const positions: number[] = []
      for (const queue of task.queues) if (queue.topic === topic) positions[queue.partition] = queue.position
      task.state.setInputs(store, positions)
    }
  }

  #arrived(task: Task): void {
    for (const [key, input] of this.#behind) {
      const isDone = (task.queue(input.topic, input.partition)?.position ?? 0) >= input.endOffset
      if (isDone) this.#behind.delete(key)
      this.#report(input, task, isDone ? 'end' : 'batch')
    }
    if (this.#behind.size === 0) this.#loaded?.()
  }

  #report(input: Input, task: Task, phase: RestoreProgress['phase']): void {
    const { topic, partition, store, startOffset, endOffset } = input
    const { position, records } = task.queue(topic, partition) as PartitionQueue
    const offset = Math.min(position, endOffset)
    this.#options.hooks.restore?.({
      task: globalTaskId,
      store,
      topic,
      partition,
      phase,
      startOffset,
      offset,
      endOffset,
      records,
    })
  }

  // -------------------------------------------------------------------------------------------- the disk

  /** Writes what is due, lets go of what tasks read into memory, and says what is waited for. */
  #tick(task: Task): void {
    this.#timer = this.#clock.after(tickMs, () => {
      if (this.#halted) return
      const { state } = task
      const sinceMs = this.#clock.now() - this.#persistedAt
      if (sinceMs >= refreshMs && this.#processing === null) {
        this.#note(task)
        this.#unsaved = true
      }
      if (this.#unsaved && this.#persisting === null && sinceMs >= this.#options.persistIntervalMs) {
        this.#persist(task).catch((error) => this.#fail(error))
      }
      state.trim(this.#options.cacheBytesMax)
      this.#tellOfStandstill(task)
      this.#tick(task)
    })
  }

  async #persist(task: Task): Promise<void> {
    const { hooks } = this.#options
    const { state } = task
    if (this.#persisting !== null) await this.#persisting
    const bytes = state.pendingBytes
    const started = performance.now()
    this.#unsaved = false
    this.#persistedAt = this.#clock.now()
    this.#persisting = state.persist().finally(() => {
      this.#persisting = null
    })
    await this.#persisting
    if (bytes === 0) return
    hooks.persisted?.(globalTaskId, bytes, performance.now() - started)
    hooks.cache?.(globalTaskId, state.cachedBytes)
    hooks.engine?.(globalTaskId, state.figures())
  }

  #tellOfStandstill(task: Task): void {
    const now = this.#clock.now()
    if (this.#behind.size === 0 || now - this.#movedAt < stillMs) return
    this.#movedAt = now
    const missing = [...this.#behind.values()].map(({ topic, partition, endOffset }) => {
      const { position } = task.queue(topic, partition) as PartitionQueue
      return `${topic}-${partition} (at ${position} of ${endOffset})`
    })
    this.#options.logger.warn(
      `global topics are waited for: ${missing.join(', ')}; a transaction that somebody left open holds what follows it until it times out`,
    )
  }

  // -------------------------------------------------------------------------------------------- what goes wrong

  /** Where the log went on without us, rows stay that should have gone: the next start reads all of it. */
  async #onFetchError(task: Task, error: StreamsError, partition: TopicPartition | null): Promise<void> {
    const global = this.#options.graph.globals.find(({ topic }) => topic === partition?.topic)
    if (error.code !== 'KAFKA_OFFSET_OUT_OF_RANGE' || global === undefined) {
      this.#fail(error)
      return
    }
    const { store, topic } = global
    this.#halted = true
    try {
      await this.#processing
      await task.state.wipe(store)
    } catch (again) {
      this.#options.logger.warn(`global store ${store} is not wiped: ${String(again)}`)
    }
    this.#fail(
      new StreamsError(
        'RESTORE_FAILED',
        `global store ${store}: ${error.message}. Records of ${topic} went before they were read; start the application again, and it reads the topic anew`,
        { ...error.about, store, topic, cause: error, verdict: 'stop' },
      ),
    )
  }

  #fail(thrown: unknown): void {
    if (this.#closed) return
    this.#halted = true
    const error =
      thrown instanceof StreamsError
        ? thrown
        : new StreamsError('UNEXPECTED', String(thrown), { cause: thrown })
    this.#refused?.(error)
    this.#options.failed(error)
  }
}
