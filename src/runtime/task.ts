/**
 * One task: a sub-topology bound to one partition of its inputs. Takes the record with the lowest timestamp, advances
 * stream time, runs it through the operators to its end, then the next. One record is in hand at a time; only a record
 * that truly waits makes `process` return a promise.
 *
 *   created -> running -> closed
 */
import { assert } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import type { DropReason } from '../base/drop.ts'
import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import type { Logger } from '../base/logger.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { FetchedChunk, OffsetToCommit } from '../kafka/client.ts'
import { bindSubtopology } from '../operator/bind.ts'
import type {
  BoundSubtopology,
  Cancellable,
  Collector,
  PunctuationType,
  RecordContext,
  TaskContext,
} from '../operator/run.ts'
import type { ChangelogWriter, Store, TaskState } from '../store/contract.ts'
import type { Subtopology, TopologyGraph } from '../topology/topology.ts'
import { ask, deadLetterHeaders, type ErrorHandlers, type FailedRecord, toError } from './handlers.ts'
import type { Hooks } from './hooks.ts'
import { decodeOffsetMetadata, encodeOffsetMetadata } from './offset-metadata.ts'
import { partitionKey } from './partition-key.ts'
import { PartitionQueue, type RawRecord } from './partition-queue.ts'
import type { Progress } from './progress.ts'
import { following, PunctuationQueue } from './punctuation.ts'

export type TaskInput = {
  /** As in Kafka, prefixes and all. */
  readonly topic: string
  readonly partition: number
  /** The source node that reads it. */
  readonly source: string
  readonly position: number
  /** Of the committed offset. */
  readonly metadata: string
}

export type TaskSettings = {
  readonly applicationId: string
  /** -1: never wait for an empty input; 0: only while it is known to have more; more: that long beyond. */
  readonly maxTaskIdleMs: number
  readonly emitIntervalMs: number
  readonly batchBytesMax: number
  readonly handlers: ErrorHandlers
  readonly configs: Readonly<Record<string, unknown>>
  /** The test driver's: whoever changes a value that was handed on gets an error. */
  readonly freezeValues?: boolean
  topicName(name: string, internal: boolean): string
}

export type TaskOptions = {
  readonly id: string
  readonly partition: number
  readonly graph: TopologyGraph
  readonly subtopology: Subtopology
  readonly inputs: readonly TaskInput[]
  /** Where the record in hand came from; the stores know the same object. */
  readonly record: RecordContext
  readonly state: TaskState
  globalStore(name: string): Store
  readonly collector: Collector
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: Hooks
  readonly settings: TaskSettings
  /** Told of each record in hand, for the watchdog of a thread in a worker. */
  readonly progress?: Progress | null
  /**
   * Nodes that get copies of what is stored; outlives the task. Left out: the task can't go back to a commit, so all
   * get copies where a handler may say go on.
   */
  readonly careful?: Set<string>
}

/** What a commit takes from a task. */
export type TaskCut = {
  readonly task: Task
  readonly offsets: readonly OffsetToCommit[]
  readonly records: number
}

// To look at the clock for each record would cost as much as some records do.
const recordsPerLook = 32

export class Task implements TaskContext {
  readonly id: string
  readonly taskId: string
  readonly applicationId: string
  readonly partition: number
  readonly record: RecordContext
  readonly collector: Collector
  readonly emitIntervalMs: number
  readonly configs: Readonly<Record<string, unknown>>
  readonly state: TaskState
  readonly freezeValues: boolean
  /** Something to commit: records taken, punctuations fired. */
  uncommitted = false
  /** A processor asked for a commit. */
  commitRequested = false
  /** Between two records of an asynchronous run: take no further one. */
  held = false
  recordsProcessed = 0
  /** Of the last record taken. */
  lastTimestamp = -1

  readonly #options: TaskOptions
  readonly #clock: Clock
  readonly #progress: Progress | null
  readonly #queues: PartitionQueue[] = []
  readonly #byPartition = new Map<string, PartitionQueue>()
  /** Java's priority queue over the queues with a head, ties and all: it decides which of two equal times comes first. */
  readonly #heap: PartitionQueue[] = []
  readonly #streamPunctuations = new PunctuationQueue()
  readonly #wallPunctuations = new PunctuationQueue()
  readonly #committed = new Map<PartitionQueue, number>()
  readonly #processorTimes = new Map<string, number>()
  #bound: BoundSubtopology | null = null
  #streamTime = -1
  #idleSince: number | null = null
  #inHand: PartitionQueue | null = null
  /** State that is being read for chunks that wait. */
  #ahead: Promise<unknown> | null = null
  #recordsAtCut = 0
  #state: 'created' | 'running' | 'closed' = 'created'

  private constructor(options: TaskOptions) {
    this.#options = options
    this.id = options.id
    this.taskId = options.id
    this.applicationId = options.settings.applicationId
    this.partition = options.partition
    this.record = options.record
    this.collector = options.collector
    this.emitIntervalMs = options.settings.emitIntervalMs
    this.configs = options.settings.configs
    this.freezeValues = options.settings.freezeValues ?? false
    for (const { metadata } of options.inputs) {
      for (const [name, time] of decodeOffsetMetadata(metadata).processors) {
        if (time > this.processorTime(name)) this.#processorTimes.set(name, time)
      }
    }
    this.state = options.state
    this.#clock = options.clock
    this.#progress = options.progress ?? null
  }

  /** Binds the operators and calls every processor's init. The state is restored by now. */
  static async open(options: TaskOptions): Promise<Task> {
    const task = new Task(options)
    const bound = bindSubtopology(options.graph, options.subtopology, task)
    task.#bound = bound
    for (const input of options.inputs) task.#addInput(bound, input)
    await bound.init()
    task.#state = 'running'
    return task
  }

  // -------------------------------------------------------------------------------------------- input

  get queues(): readonly PartitionQueue[] {
    return this.#queues
  }

  /** Bytes of the chunks that were walked to their end since the last time. */
  takeBytes(): number {
    let bytes = 0
    for (const queue of this.#queues) {
      bytes += queue.bytes
      queue.bytes = 0
    }
    return bytes
  }

  queue(topic: string, partition: number): PartitionQueue | undefined {
    return this.#byPartition.get(partitionKey({ topic, partition }))
  }

  /** A chunk of one of its partitions. A promise only where reading the first record waits for something. */
  enqueue(chunk: FetchedChunk): void {
    const queue = this.queue(chunk.topic, chunk.partition)
    if (queue === undefined || this.#state !== 'running') {
      chunk.release()
      return
    }
    queue.enqueue(chunk)
    if (queue.source.prefetch !== null && this.state.mayMiss) this.#lookAhead(queue, chunk)
  }

  /**
   * The state that a whole chunk will need is read with one request for each store, before its first record: after it
   * the record loop finds everything in memory.
   */
  #lookAhead(queue: PartitionQueue, chunk: FetchedChunk): void {
    queue.prefetch(chunk)
    const loading = this.state.load()
    queue.hold(chunk, this.state.hold())
    if (loading === undefined) return
    const before = this.#ahead
    const ahead = (before === null ? loading : Promise.all([before, loading]))
      .catch(() => {
        // Who asks for the key meets the failure, and says what it was asked for.
      })
      .finally(() => {
        if (this.#ahead === ahead) this.#ahead = null
      })
    this.#ahead = ahead
  }

  #addInput(bound: BoundSubtopology, input: TaskInput): void {
    const source = bound.sources.get(input.source)
    assert(source !== undefined, `task ${this.id}: no source ${input.source}`)
    const queue = new PartitionQueue(
      input.topic,
      input.partition,
      source,
      input.position,
      {
        unreadable: (error, of, raw) => this.#unreadable(error, of, raw),
        drop: (reason, of) => this.#dropHead(reason, of),
        wallClock: () => this.wallClock(),
      },
      this.#options.settings.batchBytesMax,
    )
    const { partitionTime } = decodeOffsetMetadata(input.metadata)
    queue.partitionTime = partitionTime
    if (partitionTime > this.#streamTime) this.#streamTime = partitionTime
    this.#queues.push(queue)
    this.#byPartition.set(partitionKey(input), queue)
    this.#committed.set(queue, input.position)
  }

  // -------------------------------------------------------------------------------------------- processing

  /**
   * Processes up to `budget` records. A promise while one of them waits; it resolves with their number as soon as the
   * task is between two records again and has none, is held, or the budget is used. Records that have become slow end
   * it early, after `until` by `performance.now()`.
   */
  process(budget: number, until = Number.POSITIVE_INFINITY): MaybePromise<number> {
    assert(this.#state === 'running', `task ${this.id} is ${this.#state}`)
    return this.#run(0, budget, until)
  }

  /** Whether `process` would find something, now. */
  get processable(): boolean {
    return this.#heap.length > 0 || this.#queues.some((queue) => queue.waiting)
  }

  #run(doneBefore: number, budget: number, until: number): MaybePromise<number> {
    let done = doneBefore
    if (this.#ahead !== null) {
      const { length } = this.#heap
      // What is ahead of the look-ahead goes on.
      if (length === 0) return this.#ahead.then(() => (this.held ? done : this.#run(done, budget, until)))
    }
    while (done < budget && !this.commitRequested) {
      const heads = this.#fillHeads()
      if (heads !== undefined) return heads.then(() => (this.held ? done : this.#run(done, budget, until)))
      if (!this.#ready()) return done
      const queue = this.#pop()
      if (queue === null) return done
      done++
      const waiting = this.#one(queue)
      if (waiting !== undefined)
        return waiting.then(() => (this.held ? done : this.#run(done, budget, until)))
      if (done % recordsPerLook === 0 && performance.now() > until) return done
    }
    return done
  }

  /** Takes the head of a queue through the operators, and fires what stream time made due. */
  #one(queue: PartitionQueue): void | Promise<void> {
    const { record } = this
    const { timestamp } = queue
    record.topic = queue.topic
    record.partition = queue.partition
    record.offset = queue.offset
    if (timestamp > queue.partitionTime) queue.partitionTime = timestamp
    if (timestamp > this.#streamTime) this.#streamTime = timestamp
    this.#inHand = queue
    if (this.#progress !== null) this.#progress.record(this.id, queue.topic, queue.partition, queue.offset)
    this.recordsProcessed++
    this.lastTimestamp = timestamp
    this.uncommitted = true
    const waiting = queue.source.run(queue.key, queue.value, timestamp, queue.headers)
    if (waiting !== undefined) return waiting.then(() => this.#afterRecord(queue))
    return this.#afterRecord(queue)
  }

  #afterRecord(queue: PartitionQueue): void | Promise<void> {
    this.#inHand = null
    const found = queue.advance()
    if (isPromise(found)) {
      return found.then((there) => {
        if (there) this.#offer(queue)
        return this.punctuateStreamTime()
      })
    }
    if (found) this.#offer(queue)
    const relieved = this.state.relieve()
    if (relieved !== undefined) return relieved.then(() => this.punctuateStreamTime())
    if (this.#streamTime >= this.#streamPunctuations.nextAt) return this.punctuateStreamTime()
  }

  /** Puts queues that have had nothing in line, without processing any: the test driver's order is that of arrival. */
  fillHeads(): void | Promise<void> {
    return this.#fillHeads()
  }

  /** Queues whose first chunk came since: their head is read. Undefined: none waited. */
  #fillHeads(): undefined | Promise<void> {
    for (const queue of this.#queues) {
      if (queue.queued || queue.hasHead || !queue.waiting) continue
      const found = queue.advance()
      if (isPromise(found)) {
        return found.then((there) => {
          if (there) this.#offer(queue)
        })
      }
      if (found) this.#offer(queue)
    }
    return undefined
  }

  /** Whether the lowest timestamp among the heads can be trusted to be the lowest there is. */
  #ready(): boolean {
    if (this.#heap.length === 0) return false
    if (this.#heap.length === this.#queues.length) {
      this.#idleSince = null
      return true
    }
    const { maxTaskIdleMs } = this.#options.settings
    if (maxTaskIdleMs < 0) return true
    for (const queue of this.#queues) {
      // More of it is known to be in Kafka, or nothing is known of it yet.
      if (!queue.queued && (queue.endOffset < 0 || queue.fetchedTo < queue.endOffset)) return false
    }
    if (maxTaskIdleMs === 0) return true
    const now = this.#clock.now()
    this.#idleSince ??= now
    return now - this.#idleSince >= maxTaskIdleMs
  }

  #offer(queue: PartitionQueue): void {
    const heap = this.#heap
    queue.queued = true
    let at = heap.length
    while (at > 0) {
      const parent = (at - 1) >>> 1
      const above = heap[parent] as PartitionQueue
      if (queue.timestamp >= above.timestamp) break
      heap[at] = above
      at = parent
    }
    heap[at] = queue
  }

  #pop(): PartitionQueue | null {
    const heap = this.#heap
    const first = heap[0]
    if (first === undefined) return null
    const last = heap.pop() as PartitionQueue
    const { length } = heap
    if (length > 0) {
      let at = 0
      const half = length >>> 1
      while (at < half) {
        let child = 2 * at + 1
        const right = child + 1
        if (
          right < length &&
          (heap[child] as PartitionQueue).timestamp > (heap[right] as PartitionQueue).timestamp
        )
          child = right
        const below = heap[child] as PartitionQueue
        if (last.timestamp <= below.timestamp) break
        heap[at] = below
        at = child
      }
      heap[at] = last
    }
    first.queued = false
    return first
  }

  // -------------------------------------------------------------------------------------------- time

  /** The record in hand, for messages; null between two records. */
  get inHand(): {
    readonly topic: string
    readonly partition: number
    readonly offset: number
    readonly node: string
  } | null {
    const queue = this.#inHand
    return queue === null
      ? null
      : { topic: queue.topic, partition: queue.partition, offset: queue.offset, node: queue.source.node.name }
  }

  streamTime(): number {
    return this.#streamTime
  }

  wallClock(): number {
    return this.#clock.now()
  }

  schedule(
    node: string,
    type: PunctuationType,
    intervalMs: number,
    startMs: number | null,
    run: (timestamp: number) => MaybePromise<void>,
  ): Cancellable {
    const wall = type === 'wall-clock'
    const now = wall ? this.#clock.now() : this.#streamTime
    const queue = wall ? this.#wallPunctuations : this.#streamPunctuations
    // Stream time is aligned to zero and fires with the first record; the wall clock fires after one interval.
    const plain = wall ? now + intervalMs : 0
    const at = startMs === null ? plain : startMs < now ? following(startMs, intervalMs, now) : startMs
    return queue.schedule(node, at, intervalMs, run)
  }

  punctuateStreamTime(): void | Promise<void> {
    if (this.#streamTime < 0 || this.#streamPunctuations.nextAt > this.#streamTime) return
    return this.#punctuate(this.#streamPunctuations, this.#streamTime, 'stream-time')
  }

  /** When the wall clock is due; Infinity for never. */
  get nextWallPunctuation(): number {
    return this.#wallPunctuations.nextAt
  }

  punctuateWallClock(): void | Promise<void> {
    const now = this.#clock.now()
    if (this.#wallPunctuations.nextAt > now) return
    return this.#punctuate(this.#wallPunctuations, now, 'wall-clock')
  }

  #punctuate(queue: PunctuationQueue, now: number, type: PunctuationType): void | Promise<void> {
    const { record } = this
    record.topic = null
    record.partition = -1
    record.offset = -1
    this.uncommitted = true
    const { hooks } = this.#options
    return queue.fire(now, (node, run) => {
      const started = hooks.punctuated === undefined ? 0 : performance.now()
      const done = () => hooks.punctuated?.(this.id, node, type, performance.now() - started)
      try {
        const waiting = run()
        if (!isPromise(waiting)) return done()
        return waiting.then(done, (error) =>
          this.failed(error, node, 'punctuator', null, null, now, noHeaders),
        )
      } catch (error) {
        this.failed(error, node, 'punctuator', null, null, now, noHeaders)
      }
    })
  }

  // -------------------------------------------------------------------------------------------- what operators see

  store(name: string): Store {
    return this.state.store(name)
  }

  globalStore(name: string): Store {
    return this.#options.globalStore(name)
  }

  topicName(name: string, internal: boolean): string {
    return this.#options.settings.topicName(name, internal)
  }

  processorTime(name: string): number {
    return this.#processorTimes.get(name) ?? -1
  }

  setProcessorTime(name: string, time: number): void {
    this.#processorTimes.set(name, time)
  }

  careful(node: string): boolean {
    const { careful, settings } = this.#options
    return careful === undefined ? settings.handlers.processing !== 'fail' : careful.has(node)
  }

  requestCommit(): void {
    this.commitRequested = true
    this.uncommitted = true
  }

  drop(reason: DropReason, node: string): void {
    const { topic, partition, offset } = this.record
    this.#drop(reason, node, topic, partition, offset)
  }

  failed(
    error: unknown,
    node: string,
    what: string,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
    spoilt = false,
  ): void {
    const { topic, partition, offset } = this.record
    // What says stop of itself is a mistake in the program, not in the record.
    if (error instanceof StreamsError && error.verdict !== 'skip') throw error
    const cause = toError(error)
    const raw = this.#inHand?.raw() ?? { key: null, value: null }
    this.#judge(
      'processing',
      cause,
      {
        task: this.id,
        node,
        topic,
        partition,
        offset,
        timestamp,
        headers,
        rawKey: raw.key,
        rawValue: raw.value,
        key,
        value,
      },
      () =>
        new StreamsError(
          'PROCESSING_FAILED',
          `${node}: ${what} failed: ${cause.message} (task ${this.id}${topic === null ? '' : `, topic ${topic}, partition ${partition}, offset ${offset}`})`,
          {
            task: this.id,
            node,
            ...(topic === null ? {} : { topic, partition, offset }),
            cause: error,
            verdict: 'stop',
          },
        ),
      () => {
        if (!spoilt) return
        this.#options.careful?.add(node)
        throw new StreamsError(
          'PROCESSING_FAILED',
          `${node}: ${what} failed, and may have changed what is stored in place; from the last commit on it gets copies: ${cause.message}`,
          { task: this.id, node, cause: error, verdict: 'retry' },
        )
      },
    )
    this.drop('processing-failed', node)
  }

  unwritable(
    error: unknown,
    node: string,
    topic: string,
    part: 'key' | 'value',
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void {
    const cause = toError(error)
    const raw = this.#inHand?.raw() ?? { key: null, value: null }
    const { record } = this
    this.#judge(
      'production',
      cause,
      {
        task: this.id,
        node,
        topic: record.topic,
        partition: record.partition,
        offset: record.offset,
        timestamp,
        headers,
        rawKey: raw.key,
        rawValue: raw.value,
        key,
        value,
      },
      () =>
        new StreamsError(
          error instanceof StreamsError ? error.code : 'SERDE_FAILED',
          `${node}: the ${part} can not be written to topic ${topic}: ${cause.message} (task ${this.id})`,
          { task: this.id, node, topic, cause: error, verdict: 'stop' },
        ),
    )
    this.drop('serialization-failed', node)
  }

  #unreadable(error: unknown, queue: PartitionQueue, raw: RawRecord): void {
    const cause = toError(error)
    const node = queue.source.node.name
    const { topic, partition, offset } = queue
    this.#judge(
      'deserialization',
      cause,
      {
        task: this.id,
        node,
        topic,
        partition,
        offset,
        timestamp: queue.timestamp,
        headers: raw.headers,
        rawKey: raw.key,
        rawValue: raw.value,
      },
      () =>
        new StreamsError(
          'SERDE_FAILED',
          `${node}: a record can not be read: ${cause.message} (topic ${topic}, partition ${partition}, offset ${offset}); mend the serde, or set deserializationHandler to 'continue'`,
          { task: this.id, node, topic, partition, offset, cause: error, verdict: 'stop' },
        ),
    )
    this.#dropHead('deserialization-failed', queue)
  }

  /** A record that never reached the operators: its offset is committed all the same. */
  #dropHead(reason: DropReason, queue: PartitionQueue): void {
    this.uncommitted = true
    this.#drop(reason, queue.source.node.name, queue.topic, queue.partition, queue.offset)
  }

  /** Returns where the record may be dropped. */
  #judge(
    kind: 'deserialization' | 'processing' | 'production',
    cause: Error,
    record: FailedRecord,
    fatal: () => StreamsError,
    goingOn?: () => void,
  ): void {
    const { handlers } = this.#options.settings
    const answer = ask(handlers[kind], cause, record)
    if (answer !== 'continue') throw fatal()
    goingOn?.()
    this.#options.logger.warn(fatal().message)
    if (handlers.deadLetterTopic !== null) this.#bury(handlers.deadLetterTopic, cause, record)
  }

  #bury(topic: string, cause: Error, record: FailedRecord): void {
    const { collector } = this
    const partitions = collector.partitionCount(topic) ?? 1
    const partition = Math.max(record.partition, 0) % partitions
    const { rawKey, rawValue, timestamp } = record
    collector.append(
      topic,
      partition,
      Math.max(timestamp, 0),
      rawKey,
      0,
      rawKey?.length ?? 0,
      rawValue,
      0,
      rawValue?.length ?? 0,
      deadLetterHeaders(cause, record),
    )
  }

  #drop(reason: DropReason, node: string, topic: string | null, partition: number, offset: number): void {
    this.#options.hooks.dropped?.({ reason, task: this.id, node, topic, partition, offset })
  }

  // -------------------------------------------------------------------------------------------- commit

  /** Cached stores hand on what they hold back. Part of a commit, before the cut. */
  flush(): MaybePromise<void> {
    return this.state.flush()
  }

  /** Ends the generation: its changes go to the changelog batches, its positions are what the commit carries. */
  cut(changelog: ChangelogWriter): MaybePromise<TaskCut> {
    this.uncommitted = false
    this.commitRequested = false
    const records = this.recordsProcessed - this.#recordsAtCut
    this.#recordsAtCut = this.recordsProcessed
    const cut: TaskCut = { task: this, offsets: this.positions(), records }
    return chain(this.state.cut(changelog), () => cut)
  }

  positions(): OffsetToCommit[] {
    return this.#queues.map((queue) => ({
      topic: queue.topic,
      partition: queue.partition,
      offset: queue.position,
      metadata: encodeOffsetMetadata({
        partitionTime: queue.partitionTime,
        processors: this.#processorTimes,
      }),
    }))
  }

  /** Dirty: processors are closed too, but nothing of what they did since the last commit stays. */
  async close(how: 'clean' | 'dirty'): Promise<void> {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    for (const queue of this.#queues) queue.clear()
    try {
      await chain(this.#bound?.close() as MaybePromise<void>, () => undefined)
    } finally {
      // All is committed, and no other task wrote these changelogs.
      if (how === 'clean') this.state.confirm()
      await this.state.close(how)
    }
  }
}
