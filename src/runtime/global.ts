/**
 * Global tables and stores: all partitions of their topics, held whole by every thread, read to their end before any
 * task runs, and followed from then on. They belong to no group and commit nothing; what they hold is their topics'.
 */
import { assert } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { Fetcher, KafkaClient, TopicPartition } from '../kafka/client.ts'
import type { Collector } from '../operator/run.ts'
import type { Store, TaskState } from '../store/contract.ts'
import type { Node } from '../topology/node.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type { Subtopology, TopologyGraph } from '../topology/topology.ts'
import type { Hooks } from './hooks.ts'
import { partitionKey } from './partition-key.ts'
import { Task, type TaskSettings } from './task.ts'

export type GlobalOptions = {
  readonly client: KafkaClient
  readonly graph: TopologyGraph
  readonly settings: TaskSettings
  readonly fetchBufferBytes: number
  readonly partitionFetchBytes: number
  /** In memory: rebuilt from the topics at each start. */
  openState(specs: readonly StoreSpec[]): Promise<TaskState>
  /** Not mendable: the application can not go on without them. */
  failed(error: StreamsError): void
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: Hooks
}

const budget = 10_000

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

export class GlobalStores {
  readonly #options: GlobalOptions
  #task: Task | null = null
  #fetcher: Fetcher | null = null
  #processing: Promise<void> | null = null
  #again = false
  #closed = false
  readonly #ends = new Map<string, number>()
  #loaded: (() => void) | null = null
  #refused: ((error: StreamsError) => void) | null = null

  constructor(options: GlobalOptions) {
    this.#options = options
  }

  store(name: string): Store {
    if (this.#task === null)
      throw new StreamsError('TOPOLOGY_INVALID', `${name}: no such global store, or it is not loaded yet`)
    return this.#task.store(name)
  }

  /** Resolves when every global topic is read to the end that it has now. */
  async start(): Promise<void> {
    const { graph, client, settings } = this.#options
    if (graph.globals.length === 0) return
    const nodes = graph.globals.flatMap(({ source, processor }) => [
      graph.nodes.get(source),
      graph.nodes.get(processor),
    ])
    const stores = graph.globals.map(({ store }) => graph.stores.get(store))
    const subtopology: Subtopology = {
      index: -1,
      nodes: nodes.filter((node): node is Node => node !== undefined),
      stores: stores.filter((spec): spec is StoreSpec => spec !== undefined),
      sources: graph.globals.map(({ source }) => source),
    }
    const partitions: (TopicPartition & { source: string })[] = []
    const topics = await client.admin.topics(graph.globals.map(({ topic }) => topic))
    for (const { topic, source } of graph.globals) {
      const found = topics.find(({ name }) => name === topic)
      if (found === undefined) {
        throw new StreamsError(
          'TOPIC_MISSING',
          `global topic ${topic} does not exist; create it: kafka-topics.sh --create --topic ${topic} --partitions 1`,
          { topic },
        )
      }
      for (const { partition } of found.partitions) partitions.push({ topic, partition, source })
    }
    const [starts, ends] = await Promise.all([
      client.admin.offsets(partitions, 'earliest', 'read_uncommitted'),
      client.admin.offsets(partitions, 'latest', 'read_uncommitted'),
    ])
    const state = await this.#options.openState(subtopology.stores)
    const task = await Task.open({
      id: 'global',
      partition: 0,
      graph,
      subtopology,
      inputs: partitions.map((input, index) => ({
        ...input,
        position: starts[index]?.offset ?? 0,
        metadata: '',
      })),
      record: { topic: null, partition: -1, offset: -1 },
      state,
      globalStore: (name) => state.store(name),
      collector: noOutput,
      clock: this.#options.clock,
      logger: this.#options.logger,
      hooks: this.#options.hooks,
      settings: { ...settings, maxTaskIdleMs: -1 },
    })
    this.#task = task
    partitions.forEach((partition, index) => {
      const end = ends[index]?.offset ?? 0
      if ((starts[index]?.offset ?? 0) < end) this.#ends.set(partitionKey(partition), end)
    })
    const loaded = new Promise<void>((resolve, reject) => {
      this.#loaded = resolve
      this.#refused = reject
    })
    this.#fetcher = client.fetcher({
      purpose: 'global',
      isolation: 'read_committed',
      bufferBytesMax: this.#options.fetchBufferBytes,
      partitionBytesMax: this.#options.partitionFetchBytes,
      waitMs: 100,
      offsetReset: () => 'earliest',
      onChunk: (chunk) => {
        task.enqueue(chunk)
        this.#process(task)
      },
      onEnds: () => {},
      onReset: () => {},
      onError: (error) => this.#fail(error),
    })
    for (const queue of task.queues) this.#fetcher.add(queue, queue.position)
    if (this.#ends.size === 0) this.#loaded?.()
    await loaded
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#fetcher?.close()
    await this.#processing
    await this.#task?.close('dirty')
    this.#task = null
  }

  #process(task: Task): void {
    this.#again = true
    this.#processing ??= this.#drain(task)
      .catch((error) =>
        this.#fail(
          error instanceof StreamsError
            ? error
            : new StreamsError('UNEXPECTED', String(error), { cause: error }),
        ),
      )
      .finally(() => {
        this.#processing = null
      })
  }

  async #drain(task: Task): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false
      while ((await task.process(budget)) > 0 && !this.#closed) {
        // Nothing is sent: a changelog that is a source topic is never written.
        await task.cut({
          builder: (store) => assert(false, `global store ${store} has no changelog of its own`) as never,
        })
        task.state.settle(new Map())
        await new Promise((resolve) => setImmediate(resolve))
      }
      for (const queue of task.queues) {
        const end = this.#ends.get(partitionKey(queue))
        if (end !== undefined && queue.position >= end) this.#ends.delete(partitionKey(queue))
      }
      if (this.#ends.size === 0) this.#loaded?.()
    }
  }

  #fail(error: StreamsError): void {
    if (this.#closed) return
    this.#refused?.(error)
    this.#options.failed(error)
  }
}
