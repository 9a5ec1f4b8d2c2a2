/**
 * Runs a topology with no broker: the very tasks, operators and stores of the runtime, fed record by record, in an
 * order that is always the same. A record that is fed is taken through everything it causes, repartition topics and
 * all, before `pipe` resolves; each processed record is a commit.
 *
 *     const driver = await TopologyTestDriver.start(topology)
 *     await driver.input('words').pipe('a', 'hello hello', { timestamp: 10 })
 *     expect(await driver.output('counts').readKeyValues()).toEqual([['hello', 1], ['hello', 2]])
 *
 * With one partition per topic all sub-topologies share one task and its time, as in Kafka Streams' driver. With more,
 * each sub-topology has a task per partition, and repartition topics are routed by the partitioner.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assert } from '../base/assert.ts'
import { type DropReason, dropReasons } from '../base/drop.ts'
import { type Duration, durationMs } from '../base/duration.ts'
import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Collector, RecordContext } from '../operator/run.ts'
import { copyOfPlain } from '../operator/snapshot.ts'
import { storeFacade } from '../operator/store-facade.ts'
import type { ErrorHandler } from '../runtime/handlers.ts'
import { allHooks, type Dropped, type Hooks } from '../runtime/hooks.ts'
import { Task, type TaskInput } from '../runtime/task.ts'
import type { Serde } from '../serde/serde.ts'
import type { ChangelogWriter, Store, TaskState } from '../store/contract.ts'
import { openMemoryState, openTaskState } from '../store/task-state.ts'
import type { Node } from '../topology/node.ts'
import type {
  KeyValueStore,
  SessionStore,
  TimestampedKeyValueStore,
  TimestampedWindowStore,
  VersionedKeyValueStore,
} from '../topology/processor.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type { Subtopology, Topology, TopologyGraph } from '../topology/topology.ts'
import { BatchBuilder } from '../wire/batch-builder.ts'
import { partitionFor } from '../wire/murmur2.ts'
import { BatchCursor } from '../wire/record-batch.ts'
import { ManualClock } from './manual-clock.ts'
import { chunkOf, type RawTestRecord, TestLog } from './test-log.ts'
import { TestInput, type TestInputOptions, TestOutput } from './test-topics.ts'

export type TopologyTestDriverOptions = {
  readonly applicationId?: string
  /** Of every topic, or by topic; 1 by default. Repartition topics have as many as what flows into them. */
  readonly partitions?: number | Readonly<Record<string, number>>
  /** Where stores live: in memory, or in RocksDB in a temporary folder. */
  readonly store?: 'memory' | 'rocksdb'
  /** 0, the default, forwards each update; more forwards each key once per processed record. */
  readonly cacheMaxBytes?: number
  /** Where the wall clock starts. */
  readonly wallClockMs?: number
  /** Emit on close and outer joins look for what is due at each record by default. */
  readonly emitIntervalMs?: number
  /** Values that were handed on can't be changed: the operator that tries gets an error. On by default. */
  readonly freezeValues?: boolean
  readonly deserializationHandler?: ErrorHandler
  readonly processingHandler?: ErrorHandler
  readonly productionHandler?: ErrorHandler
  readonly deadLetterTopic?: string | null
  /** What processors see as the application's options. */
  readonly configs?: Readonly<Record<string, unknown>>
  /** Topics that exist beside those the topology names: for sources by pattern, and for topic extractors. */
  readonly topics?: readonly string[]
  readonly hooks?: Hooks
  readonly logger?: Logger
}

export type DriverMetrics = {
  /** As Kafka Streams' dropped-records-total. */
  readonly droppedRecords: number
  readonly droppedByReason: Readonly<Partial<Record<DropReason, number>>>
  readonly processedRecords: number
}

export class TopologyTestDriver {
  readonly topology: Topology
  readonly applicationId: string
  readonly #graph: TopologyGraph
  readonly #options: TopologyTestDriverOptions
  readonly #clock: ManualClock
  readonly #logs = new Map<string, TestLog>()
  readonly #partitions = new Map<string, number>()
  /** Who reads a topic's partition, as `topic partition`. */
  readonly #readers = new Map<string, Task[]>()
  readonly #tasks: Task[] = []
  readonly #undelivered: RawTestRecord[] = []
  readonly #drops: Dropped[] = []
  #global: Task | null = null
  #folder: string | null = null
  #broken: { readonly error: unknown } | null = null
  #settling: Promise<void> | null = null
  #closed = false
  #together = false

  private constructor(topology: Topology, options: TopologyTestDriverOptions) {
    this.topology = topology
    this.applicationId = options.applicationId ?? 'test'
    this.#graph = topology.graph
    this.#options = options
    this.#clock = new ManualClock(options.wallClockMs ?? 0)
  }

  static async start(
    topology: Topology,
    options: TopologyTestDriverOptions = {},
  ): Promise<TopologyTestDriver> {
    const driver = new TopologyTestDriver(topology, options)
    await driver.#open()
    return driver
  }

  // ---------------------------------------------------------------------------------------- what a test does

  /** Feeds a topic that the topology reads. */
  input<K = unknown, V = unknown>(topic: string, options: TestInputOptions<K, V> = {}): TestInput<K, V> {
    const source = this.#sourceOf(topic)
    if (source === null) {
      throw new StreamsError(
        'CONFIG_INVALID',
        `no source reads topic ${topic}; topics that are read: ${this.#inputTopics().join(', ')}`,
        { topic },
      )
    }
    const key = options.key ?? (source.keySerde as Serde<K> | null)
    const value = options.value ?? (source.valueSerde as Serde<V> | null)
    if (key === null || value === null) {
      throw new StreamsError('CONFIG_INVALID', `input ${topic}: give it a serde for the key and the value`, {
        topic,
      })
    }
    const feed = {
      now: () => this.#clock.now(),
      feed: this.#feed.bind(this),
      settle: () => this.#settle(),
    }
    return new TestInput(topic, feed, key, value, options)
  }

  /** Reads what was written to a topic: by sinks, to repartition topics, to changelogs. */
  output<K = unknown, V = unknown>(
    topic: string,
    serdes: { readonly key?: Serde<K>; readonly value?: Serde<V> } = {},
  ): TestOutput<K, V> {
    const found = this.#serdesOf(topic)
    const key = serdes.key ?? (found.key as Serde<K> | null)
    const value = serdes.value ?? (found.value as Serde<V> | null)
    if (key === null || value === null) {
      throw new StreamsError(
        'CONFIG_INVALID',
        `output ${topic}: no sink writes it under this name; give the serdes of key and value`,
        { topic },
      )
    }
    return new TestOutput(topic, () => this.#logs.get(topic)?.records ?? [], key, value)
  }

  /**
   * What is piped meanwhile is all processed before one commit, as an application does within its commit interval: a
   * cached store then sends each key once.
   */
  async together(pipe: () => Promise<void>): Promise<void> {
    this.#usable()
    if (this.#together) throw new StreamsError('CONFIG_INVALID', 'together: calls can not be nested')
    this.#together = true
    try {
      await pipe()
    } finally {
      this.#together = false
    }
    try {
      await this.#deliver()
      for (const task of this.#tasks) {
        while (task.processable && !task.commitRequested) await task.process(1)
      }
      for (const task of this.#tasks) await this.#commit(task)
    } catch (error) {
      this.#broken ??= { error }
      throw error
    }
    await this.#settle()
  }

  /** Topics that something was written to. */
  get producedTopics(): readonly string[] {
    return [...this.#logs.values()].filter(({ records }) => records.length > 0).map(({ topic }) => topic)
  }

  /** Moves the wall clock and fires the punctuations that are due, each once. */
  async advanceWallClock(by: Duration): Promise<void> {
    this.#usable()
    const ms = durationMs(by, 'advanceWallClock')
    if (ms < 0) throw new StreamsError('CONFIG_INVALID', `advanceWallClock: ${ms} ms; time does not go back`)
    this.#clock.advance(ms)
    try {
      for (const task of this.#tasks) {
        await task.punctuateWallClock()
        await this.#commit(task)
      }
    } catch (error) {
      this.#broken = { error }
      throw error
    }
    await this.#settle()
  }

  get wallClock(): number {
    return this.#clock.now()
  }

  /** Every record that ended early, with its reason. */
  get drops(): readonly Dropped[] {
    return this.#drops
  }

  metrics(): DriverMetrics {
    const droppedByReason: Partial<Record<DropReason, number>> = {}
    for (const { reason } of this.#drops) droppedByReason[reason] = (droppedByReason[reason] ?? 0) + 1
    return {
      droppedRecords: this.#drops.filter(({ reason }) => dropReasons[reason].counted).length,
      droppedByReason,
      processedRecords: this.#tasks.reduce((sum, task) => sum + task.recordsProcessed, 0),
    }
  }

  // ---------------------------------------------------------------------------------------- stores

  /** A store of processors. With several partitions, say whose. */
  keyValueStore<K = unknown, V = unknown>(name: string, partition?: number): KeyValueStore<K, V> {
    return this.#facade(name, 'key-value', partition) as KeyValueStore<K, V>
  }

  /** A table's store. */
  tableStore<K = unknown, V = unknown>(name: string, partition?: number): TimestampedKeyValueStore<K, V> {
    return this.#facade(name, 'key-value', partition) as TimestampedKeyValueStore<K, V>
  }

  windowStore<K = unknown, V = unknown>(name: string, partition?: number): TimestampedWindowStore<K, V> {
    return this.#facade(name, 'window', partition) as TimestampedWindowStore<K, V>
  }

  sessionStore<K = unknown, V = unknown>(name: string, partition?: number): SessionStore<K, V> {
    return this.#facade(name, 'session', partition) as SessionStore<K, V>
  }

  versionedStore<K = unknown, V = unknown>(name: string, partition?: number): VersionedKeyValueStore<K, V> {
    return this.#facade(name, 'versioned', partition) as VersionedKeyValueStore<K, V>
  }

  /** Any store, as operators see it; null where the topology made none of that name. */
  store(name: string, partition?: number): Store | null {
    const holders = [...this.#tasks, ...(this.#global === null ? [] : [this.#global])].filter((task) =>
      task.state.stores.some((store) => store.name === name),
    )
    const holder = partition === undefined ? holders[0] : holders.find((task) => task.partition === partition)
    if (holder === undefined) return null
    if (partition === undefined && holders.length > 1) {
      throw new StreamsError(
        'CONFIG_INVALID',
        `store ${name} has ${holders.length} partitions; say which one`,
        {
          store: name,
        },
      )
    }
    return holder.state.store(name)
  }

  /** Partitions that have a store of this name. */
  partitionsOf(store: string): readonly number[] {
    return [...this.#tasks, ...(this.#global === null ? [] : [this.#global])]
      .filter((task) => task.state.stores.some(({ name }) => name === store))
      .map(({ partition }) => partition)
  }

  #facade(name: string, kind: Store['kind'], partition: number | undefined): unknown {
    const store = this.store(name, partition)
    if (store === null) {
      const names = [...this.#graph.stores.keys()].join(', ')
      throw new StreamsError('CONFIG_INVALID', `no store ${name}; stores: ${names || 'none'}`, {
        store: name,
      })
    }
    if (store.kind !== kind) {
      throw new StreamsError(
        'CONFIG_INVALID',
        `store ${name} is a ${store.kind} store, not a ${kind} store`,
        {
          store: name,
        },
      )
    }
    const inHand = { timestamp: this.#clock.now(), headers: noHeaders }
    const facade = storeFacade(store, inHand, () => undefined) as Record<string, unknown>
    return shielded(facade)
  }

  // ---------------------------------------------------------------------------------------- life

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    let first: { readonly error: unknown } | null = null
    for (const task of [...this.#tasks, ...(this.#global === null ? [] : [this.#global])]) {
      try {
        await task.close(this.#broken === null ? 'clean' : 'dirty')
      } catch (error) {
        first ??= { error }
      }
    }
    if (this.#folder !== null) await rm(this.#folder, { recursive: true, force: true })
    if (first !== null) throw first.error
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #open(): Promise<void> {
    const { store = 'memory' } = this.#options
    if (store === 'rocksdb') this.#folder = await mkdtemp(join(tmpdir(), 'millrace-test-'))
    this.#countPartitions()
    try {
      await this.#openGlobal()
      for (const { id, partition, subtopology } of this.#plan()) {
        await this.#openTask(id, partition, subtopology)
      }
    } catch (error) {
      this.#broken = { error }
      await this.close().catch(() => undefined)
      throw error
    }
    for (const task of this.#tasks) await this.#commit(task)
  }

  /** One task for everything, or one per sub-topology and partition. */
  #plan(): { readonly id: string; readonly partition: number; readonly subtopology: Subtopology }[] {
    const { subtopologies } = this.#graph
    const widest = Math.max(1, ...this.#partitions.values())
    if (widest === 1) {
      if (subtopologies.length === 0) return []
      const all: Subtopology = {
        index: 0,
        nodes: subtopologies.flatMap(({ nodes }) => nodes),
        stores: subtopologies.flatMap(({ stores }) => stores),
        sources: subtopologies.flatMap(({ sources }) => sources),
      }
      return [{ id: '0_0', partition: 0, subtopology: all }]
    }
    return subtopologies.flatMap((subtopology) => {
      const topics = subtopology.sources.flatMap((source) => this.#topicsOf(source))
      const count = Math.max(...topics.map((topic) => this.#partitions.get(topic) ?? 1))
      return Array.from({ length: count }, (_, partition) => ({
        id: `${subtopology.index}_${partition}`,
        partition,
        subtopology,
      }))
    })
  }

  async #openTask(id: string, partition: number, subtopology: Subtopology): Promise<void> {
    const inputs: TaskInput[] = subtopology.sources.flatMap((source) =>
      this.#topicsOf(source)
        .filter((topic) => partition < (this.#partitions.get(topic) ?? 1))
        .map((topic) => ({ topic, partition, source, position: 0, metadata: '' })),
    )
    const task = await this.#startTask(id, partition, subtopology, inputs, this.#collector())
    this.#tasks.push(task)
  }

  async #openGlobal(): Promise<void> {
    const { globals, nodes, stores } = this.#graph
    if (globals.length === 0) return
    const subtopology: Subtopology = {
      index: -1,
      nodes: globals
        .flatMap(({ source, processor }) => [nodes.get(source), nodes.get(processor)])
        .filter((node): node is Node => node !== undefined),
      stores: globals
        .map(({ store }) => stores.get(store))
        .filter((spec): spec is StoreSpec => spec !== undefined),
      sources: globals.map(({ source }) => source),
    }
    const inputs = globals.flatMap(({ topic, source }) =>
      Array.from({ length: this.#partitions.get(topic) ?? 1 }, (_, partition) => ({
        topic,
        partition,
        source,
        position: 0,
        metadata: '',
      })),
    )
    this.#global = await this.#startTask('global', 0, subtopology, inputs, this.#collector())
  }

  async #startTask(
    id: string,
    partition: number,
    subtopology: Subtopology,
    inputs: readonly TaskInput[],
    collector: Collector,
  ): Promise<Task> {
    const options = this.#options
    const drop = (dropped: Dropped): void => {
      this.#drops.push(dropped)
    }
    const record: RecordContext = { topic: null, partition: -1, offset: -1 }
    const state = await this.#openState(id, partition, subtopology.stores, id === 'global', record)
    const task = await Task.open({
      id,
      partition,
      graph: this.#graph,
      subtopology,
      inputs,
      state,
      record,
      globalStore: (name) => {
        if (this.#global === null)
          throw new StreamsError('TOPOLOGY_INVALID', `no global store ${name}`, { store: name })
        return this.#global.state.store(name)
      },
      collector,
      clock: this.#clock,
      logger: options.logger ?? silentLogger,
      hooks: allHooks([{ dropped: drop }, ...(options.hooks === undefined ? [] : [options.hooks])]),
      settings: {
        applicationId: this.applicationId,
        maxTaskIdleMs: -1,
        emitIntervalMs: options.emitIntervalMs ?? 0,
        batchBytesMax: 1_000_000_000,
        freezeValues: options.freezeValues ?? true,
        handlers: {
          deserialization: options.deserializationHandler ?? 'fail',
          processing: options.processingHandler ?? 'fail',
          production: options.productionHandler ?? 'fail',
          deadLetterTopic: options.deadLetterTopic ?? null,
        },
        configs: { ...options.configs, applicationId: this.applicationId },
        topicName: (name, internal) => this.#topicName(name, internal),
      },
    })
    for (const { topic, partition: of } of inputs) {
      const name = `${topic} ${of}`
      this.#readers.set(name, [...(this.#readers.get(name) ?? []), task])
    }
    return task
  }

  async #openState(
    id: string,
    partition: number,
    stores: readonly StoreSpec[],
    global: boolean,
    record: RecordContext,
  ): Promise<TaskState> {
    const options = {
      stores,
      cacheBytesMax: global ? 0 : (this.#options.cacheMaxBytes ?? 0),
      clock: this.#clock,
      logger: this.#options.logger ?? silentLogger,
      context: {
        changelogTopic: (store: string) => this.#changelogTopic(store),
        record,
        drop: (reason: DropReason, store: string) =>
          this.#drops.push({ reason, task: id, node: store, topic: null, partition, offset: -1 }),
      },
    }
    if (this.#folder === null || global) return openMemoryState(options)
    return openTaskState({
      ...options,
      application: this.applicationId,
      taskId: id,
      stateDir: this.#folder,
    })
  }

  // ---------------------------------------------------------------------------------------- topics

  #topicName(name: string, internal: boolean): string {
    return internal || this.#graph.internalTopics.has(name) ? `${this.applicationId}-${name}` : name
  }

  #changelogTopic(store: string): string {
    const changelog = this.#graph.stores.get(store)?.changelog
    return changelog?.sourceTopic ?? `${this.applicationId}-${store}-changelog`
  }

  /** As in Kafka, prefixes and all; of a pattern, those that exist and match. */
  #topicsOf(source: string): readonly string[] {
    const node = this.#graph.nodes.get(source)
    assert(node?.kind === 'source', `${source} is a source`)
    if (node.pattern === null) return node.topics.map((topic) => this.#topicName(topic, node.internal))
    const { pattern } = node
    return this.#existingTopics().filter((topic) => pattern.test(topic))
  }

  #existingTopics(): string[] {
    const { partitions, topics = [] } = this.#options
    return [...new Set([...topics, ...(typeof partitions === 'object' ? Object.keys(partitions) : [])])]
  }

  #inputTopics(): string[] {
    const names = [...this.#graph.nodes.values()].flatMap((node) =>
      node.kind === 'source' && !node.internal ? this.#topicsOf(node.name) : [],
    )
    return [...new Set(names)]
  }

  #sourceOf(topic: string) {
    for (const node of this.#graph.nodes.values()) {
      if (node.kind === 'source' && this.#topicsOf(node.name).includes(topic)) return node
    }
    return null
  }

  #serdesOf(topic: string): { readonly key: Serde<unknown> | null; readonly value: Serde<unknown> | null } {
    for (const node of this.#graph.nodes.values()) {
      if (
        node.kind === 'sink' &&
        typeof node.topic === 'string' &&
        this.#topicName(node.topic, node.internal) === topic
      ) {
        return { key: node.keySerde, value: node.content === 'value' ? node.valueSerde : null }
      }
    }
    const source = this.#sourceOf(topic)
    return { key: source?.keySerde ?? null, value: source?.valueSerde ?? null }
  }

  #countPartitions(): void {
    const { partitions = 1 } = this.#options
    const of = (topic: string): number =>
      typeof partitions === 'number' ? partitions : (partitions[topic] ?? 1)
    for (const topic of [...this.#inputTopics(), ...this.#existingTopics()])
      this.#partitions.set(topic, of(topic))
    for (const { topic } of this.#graph.globals) this.#partitions.set(topic, of(topic))
    for (const node of this.#graph.nodes.values()) {
      if (node.kind === 'sink' && typeof node.topic === 'string' && !node.internal) {
        this.#partitions.set(node.topic, of(node.topic))
      }
    }
    // A repartition topic has as many partitions as the widest input that flows into it.
    const widest = (subtopology: Subtopology): number =>
      Math.max(
        0,
        ...subtopology.sources.flatMap((source) =>
          this.#topicsOf(source).map((topic) => this.#partitions.get(topic) ?? 0),
        ),
      )
    for (let changed = true; changed; ) {
      changed = false
      for (const internal of this.#graph.internalTopics.values()) {
        const name = this.#topicName(internal.name, true)
        const writers = this.#graph.subtopologies.filter(({ nodes }) =>
          nodes.some((node) => node.kind === 'sink' && node.internal && node.topic === internal.name),
        )
        // What it is joined with must be as wide.
        const partners = this.#graph.coPartitions
          .filter(({ sources }) => sources.some((source) => this.#topicsOf(source).includes(name)))
          .flatMap(({ sources }) => sources.flatMap((source) => this.#topicsOf(source)))
          .map((topic) => this.#partitions.get(topic) ?? 0)
        const count = internal.partitions ?? Math.max(0, ...writers.map(widest), ...partners)
        if (count > (this.#partitions.get(name) ?? 0)) {
          this.#partitions.set(name, count)
          changed = true
        }
      }
    }
    for (const { node, sources } of this.#graph.coPartitions) {
      const topics = sources.flatMap((source) => this.#topicsOf(source))
      const counts = new Set(topics.map((topic) => this.#partitions.get(topic) ?? 1))
      if (counts.size > 1) {
        const list = topics.map((topic) => `${topic} (${this.#partitions.get(topic) ?? 1})`).join(', ')
        throw new StreamsError(
          'TOPOLOGY_INVALID',
          `${node}: its inputs must have equally many partitions: ${list}; repartition one of them`,
          { node },
        )
      }
    }
  }

  #log(topic: string): TestLog {
    let log = this.#logs.get(topic)
    if (log === undefined) {
      const { partitions } = this.#options
      const count = this.#partitions.get(topic) ?? (typeof partitions === 'number' ? partitions : 1)
      log = new TestLog(topic, count)
      this.#logs.set(topic, log)
    }
    return log
  }

  #collector(): Collector {
    return {
      partitionCount: (topic) => this.#log(topic).partitions,
      load: async () => undefined,
      append: (topic, partition, timestamp, key, keyStart, keyEnd, value, valueStart, valueEnd, headers) => {
        const record = this.#log(topic).append(
          partition,
          timestamp,
          key === null ? null : Buffer.from(key.subarray(keyStart, keyEnd)),
          value === null ? null : Buffer.from(value.subarray(valueStart, valueEnd)),
          headers,
        )
        if (this.#readers.has(`${topic} ${partition}`)) this.#undelivered.push(record)
      },
    }
  }

  // ---------------------------------------------------------------------------------------- processing

  #feed(
    topic: string,
    partition: number | null,
    timestamp: number,
    key: Buffer | null,
    keyHashEnd: number,
    value: Buffer | null,
    headers: Headers,
  ): void {
    this.#usable()
    const log = this.#log(topic)
    const to = partition ?? (key === null ? 0 : partitionFor(key, 0, keyHashEnd, log.partitions))
    if (!(to >= 0 && to < log.partitions)) {
      throw new StreamsError(
        'CONFIG_INVALID',
        `input ${topic}: no partition ${to}, it has ${log.partitions}`,
        { topic },
      )
    }
    this.#undelivered.push(log.append(to, timestamp, key, value, headers))
  }

  #usable(): void {
    if (this.#closed) throw new StreamsError('CONFIG_INVALID', 'the test driver is closed')
    if (this.#broken !== null) throw this.#broken.error
  }

  /** Until nothing is left to do. Calls that overlap settle together. */
  async #settle(): Promise<void> {
    if (this.#together) return
    while (this.#settling !== null) await this.#settling
    this.#usable()
    const work = this.#work()
    this.#settling = work.then(
      () => undefined,
      () => undefined,
    )
    try {
      await work
    } catch (error) {
      this.#broken ??= { error }
      throw error
    } finally {
      this.#settling = null
    }
  }

  async #work(): Promise<void> {
    for (;;) {
      await this.#deliver()
      const task = this.#tasks.find(({ processable }) => processable)
      if (task === undefined) return
      await task.process(1)
      await this.#commit(task)
    }
  }

  /** In the order in which they were written; a queue is in line from the moment it has a record. */
  async #deliver(): Promise<void> {
    for (const record of this.#undelivered.splice(0)) {
      for (const task of this.#readers.get(`${record.topic} ${record.partition}`) ?? []) {
        task.enqueue(chunkOf(record))
        if (task !== this.#global) {
          await task.fillHeads()
          continue
        }
        while (task.processable) await task.process(1)
        await this.#commit(task)
      }
    }
  }

  async #commit(task: Task): Promise<void> {
    const flushed = task.flush()
    if (isPromise(flushed)) await flushed
    const builders = new Map<string, BatchBuilder>()
    const changelog: ChangelogWriter = {
      builder(store) {
        let builder = builders.get(store)
        if (builder === undefined) {
          builder = new BatchBuilder(Number.MAX_SAFE_INTEGER, 512)
          builders.set(store, builder)
        }
        return builder
      },
    }
    const cut = task.cut(changelog)
    if (isPromise(cut)) await cut
    const ends = new Map<string, number>()
    for (const [store, builder] of builders) ends.set(store, this.#logChanges(store, task.partition, builder))
    task.state.settle(ends)
    if (this.#folder !== null) await task.state.persist()
  }

  /** What a commit wrote to a changelog; returns where it goes on. */
  #logChanges(store: string, partition: number, builder: BatchBuilder): number {
    const topic = this.#changelogTopic(store)
    const log = this.#log(topic)
    if (builder.count === 0) return log.endOf(partition)
    const buffer = Buffer.from(builder.seal(-1, -1, -1, false))
    const cursor = new BatchCursor({
      topic,
      partition,
      buffer,
      start: 0,
      end: buffer.length,
      fromOffset: 0,
      aborted: null,
      batchBytesMax: Number.MAX_SAFE_INTEGER,
    })
    while (cursor.next()) {
      const key =
        cursor.keyStart < 0 ? null : Buffer.from(cursor.buffer.subarray(cursor.keyStart, cursor.keyEnd))
      const value =
        cursor.valueStart < 0 ? null : Buffer.from(cursor.buffer.subarray(cursor.valueStart, cursor.valueEnd))
      log.append(
        partition,
        cursor.timestamp,
        key,
        value,
        cursor.headerCount === 0 ? noHeaders : cursor.headers(),
      )
    }
    return log.endOf(partition)
  }
}

/** What a test reads of a store is its own to keep: accumulators go on changing. */
function shielded(facade: Record<string, unknown>): unknown {
  const copy = (value: unknown): unknown => copyOfPlain(value)
  const wrapped: Record<string, unknown> = {}
  for (const [name, member] of Object.entries(facade)) {
    if (typeof member !== 'function') {
      wrapped[name] = member
      continue
    }
    wrapped[name] = (...args: unknown[]): unknown => {
      const result: unknown = member(...args)
      if (isPromise(result)) return result.then(copy)
      if (typeof result === 'object' && result !== null && Symbol.asyncIterator in result) {
        return copies(result as AsyncIterable<readonly [unknown, unknown]>)
      }
      return copy(result)
    }
  }
  return wrapped
}

async function* copies(
  entries: AsyncIterable<readonly [unknown, unknown]>,
): AsyncIterable<readonly [unknown, unknown]> {
  for await (const [key, value] of entries) yield [key, copyOfPlain(value)] as const
}
