/**
 * One stream thread: it owns tasks, one fetcher and one producer, and runs the loop over them. It may live in the main
 * thread or in a worker; who owns which task is decided elsewhere and arrives as `assign` and `revoke`.
 *
 * Everything that changes the set of tasks or commits happens between two turns of the loop, where no record is in
 * hand. What goes wrong is judged in one place, `#judge`.
 *
 *   created -> starting -> running -> pending-shutdown -> dead
 */
import { randomUUID } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type {
  FetchedChunk,
  Fetcher,
  GroupIdentity,
  KafkaClient,
  OffsetReset,
  ProducedBatch,
  Producer,
  TopicPartition,
} from '../kafka/client.ts'
import type { RecordContext } from '../operator/run.ts'
import type { Store, TaskState } from '../store/contract.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import type { TopologyGraph } from '../topology/topology.ts'
import { type Ahead, type CommitReason, cutGeneration, type Generation, type Guarantee } from './commit.ts'
import type { Hooks } from './hooks.ts'
import { OldEventTimes } from './old-event-times.ts'
import { Output } from './output.ts'
import { CommitPace } from './pace.ts'
import { partitionKey } from './partition-key.ts'
import type { Progress } from './progress.ts'
import { Restorer } from './restore.ts'
import type { TaskAnswer, TaskQuery } from './state-query.ts'
import type { TaskStatus, ThreadStatus } from './status.ts'
import type { Task, TaskSettings } from './task.ts'
import { TaskOpening } from './task-opening.ts'
import { type QueriedTask, TaskQueries } from './task-queries.ts'
import { UsualPartitions } from './usual-partitions.ts'

/** What a thread is told of a task: enough to open it. */
export type TaskAssignment = {
  readonly id: string
  /** A standby follows the changelogs of a task that runs elsewhere. */
  readonly role: 'active' | 'standby'
  readonly subtopology: number
  readonly partition: number
  readonly inputs: readonly (TopicPartition & { readonly source: string })[]
  /** Stores that moved: the changelog that each of them has from before. */
  readonly changelogs?: ReadonlyMap<string, string>
}

export type ThreadSettings = {
  readonly task: TaskSettings
  readonly transactionalId: string
  readonly transactionTimeoutMs: number
  readonly deliveryTimeoutMs: number
  readonly compression: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
  readonly commitIntervalMs: number
  readonly commitMinIntervalMs: number
  readonly commitMarkersPerSecondMax: number
  readonly uncommittedBytesMax: number
  readonly pendingBytesMax: number
  readonly persistIntervalMs: number
  readonly storeCacheBytesMax: number
  readonly fetchBufferBytes: number
  readonly partitionFetchBytes: number
  readonly fetchWaitMs: number
  readonly outputBatchBytesMax: number
  readonly recordBytesMax: number
  readonly taskTimeoutMs: number
  readonly maxPollIntervalMs: number
  readonly repartitionPurgeIntervalMs: number
  readonly windowChangelogExtraRetentionMs: number
}

/** What the thread asks of the application around it. */
export type ThreadOwner = {
  /** Opens the local state of a task: folder, lock, engine. */
  openState(
    task: TaskAssignment,
    stores: readonly StoreSpec[],
    /** Where the record in hand came from: one object, changed in place. */
    record: RecordContext,
    /** Of the changelog topics, by store: a topic made anew is noticed. */
    topicIds: ReadonlyMap<string, string>,
    /** How many tasks the thread has by now, this one included: they share what engines may take of memory. */
    tasks: number,
  ): Promise<TaskState>
  /** What the cached stores of all tasks may hold back together. */
  cacheBytesMax(bytesMax: number): void
  globalStore(name: string): Store
  /** Stores whose changelog has another name than theirs; told before any of their tasks is opened. */
  moved(changelogs: ReadonlyMap<string, string>): void
  changelogTopic(store: StoreSpec): string
  partitionCount(topic: string): Promise<number>
  offsetReset(source: string): OffsetReset
  /** A repartition topic, whose records go once they are committed. */
  purged(topic: string): boolean
  running(task: string): void
  /** The group must be asked anew: of this thread's tasks these are closed, and may be another's. */
  lost(error: StreamsError, tasks: readonly string[]): void
  /** Nothing that the thread can do: it has closed its tasks and ends. */
  failed(error: StreamsError): void
}

export type ThreadOptions = {
  readonly name: string
  readonly client: KafkaClient
  readonly graph: TopologyGraph
  readonly guarantee: Guarantee
  readonly settings: ThreadSettings
  readonly owner: ThreadOwner
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: Hooks
  /** Written to at each turn and record; in a worker, the main thread's watchdog reads it. */
  readonly progress?: Progress | null
}

/** What runs between two turns; of a slot: its task, opened, comes in. */
type Action = { readonly slot: Slot | null; readonly run: () => Promise<void> }

type Slot = {
  readonly assignment: TaskAssignment
  state: TaskStatus['state']
  task: Task | null
  /** A record of it truly waits. */
  busy: boolean
  busySince: number
  /** Records a turn, so that a turn takes about `turnMs`. */
  budget: number
  /** Says that the opening under way is for nothing. */
  cancelled: boolean
  /** The producers of members that are gone: nothing of this task is read before they are fenced. */
  readonly fence: () => Promise<unknown>
  opened: Promise<void>
  /** Of a standby. */
  standby: TaskState | null
  committed: Map<string, number>
}

/** What a task's part of a turn is to take. */
const turnMs = 4
/** One that takes longer ends within a few records, whatever its budget. */
const turnMsMax = 100
/** After so long a turn ends before it has come to all tasks, for the sockets' sake; the next goes on from there. */
const roundMs = 32
const budgetMin = 16
const budgetMax = 20_000
const abortDelayMsMax = 5_000
const quiesceLookMs = 100
/** So long before a commit its transaction is announced. The coordinator answers in two or three. */
const announceMs = 5
/** And not sooner than this after the last one: until its markers are written the coordinator refuses another. */
const markersMs = 2
/** Of `fetchBufferBytes`: what tasks still have when the next chunks are admitted, some milliseconds of work. */
const givenShareMin = 0.25
/** Where a task is that has no record in hand and yet waits. */
const inPunctuation = { topic: null, partition: -1, offset: -1 } as const

export class StreamThread {
  readonly name: string
  readonly #options: ThreadOptions
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #fetcher: Fetcher
  #producer: Producer
  /** Resolves when the producer has its id and epoch; after a rollback, anew. */
  #producerReady: () => Promise<unknown>
  #transactionalId: string
  #fencedTimes = 0
  readonly #restorer: Restorer
  readonly #opening: TaskOpening
  readonly #pace: CommitPace
  readonly #queries: TaskQueries
  readonly #oldEventTimes: OldEventTimes
  readonly #slots = new Map<string, Slot>()
  readonly #byPartition = new Map<string, Slot>()
  /** Between two turns of the loop, one after another. */
  readonly #actions: Action[] = []
  readonly #partitionCounts = new Map<string, number>()
  /** Fetched, and their positions not yet committed ahead. */
  #unadmitted: FetchedChunk[] = []
  #admitting: Promise<void> | null = null
  #state: ThreadStatus['state'] = 'created'
  #identity: GroupIdentity | null = null
  #output: Output
  #inFlight: Promise<void> | null = null
  #settledAt = 0
  /** When the transaction of the next commit was announced. */
  #announcedAt: number | null = null
  /** Where commits write, for the announcement of the next. */
  readonly #usual = new UsualPartitions()
  #persisting: Promise<void> | null = null
  #persistedAt = 0
  #purgedAt = 0
  #purging: Promise<void> | null = null
  #failure: StreamsError | null = null
  #abortsInARow = 0
  /** The task that the next turn begins with. */
  #nextTask = 0
  #records = 0
  #busyMs = 0
  #paused = false
  #stopping = false
  #wake: (() => void) | null = null
  #woken = false
  #ended: Promise<void> = Promise.resolve()

  constructor(options: ThreadOptions) {
    this.name = options.name
    this.#options = options
    this.#clock = options.clock
    this.#logger = options.logger
    const { client, guarantee, settings, owner } = options
    this.#output = this.#newOutput()
    this.#fetcher = client.fetcher({
      purpose: 'input',
      isolation: guarantee.isolation,
      bufferBytesMax: settings.fetchBufferBytes,
      partitionBytesMax: settings.partitionFetchBytes,
      waitMs: settings.fetchWaitMs,
      offsetReset: (partition) => {
        const slot = this.#byPartition.get(partitionKey(partition))
        const input = slot?.assignment.inputs.find((one) => partitionKey(one) === partitionKey(partition))
        return input === undefined ? 'none' : owner.offsetReset(input.source)
      },
      onChunk: (chunk) => this.#onChunk(chunk),
      onEnds: (partition, highWatermark, lastStableOffset) =>
        guarantee.isolation === 'read_committed'
          ? this.#onEnds(partition, lastStableOffset, Math.max(0, highWatermark - lastStableOffset))
          : this.#onEnds(partition, highWatermark, 0),
      onReset: (partition, from, to) => {
        this.#logger.warn(
          `${partition.topic}-${partition.partition}: offset ${from} is out of range, going on at ${to}`,
        )
        const queue = this.#byPartition
          .get(partitionKey(partition))
          ?.task?.queue(partition.topic, partition.partition)
        if (queue !== undefined) queue.fetchedTo = to
      },
      onError: (error) => this.#fail(error),
    })
    this.#transactionalId = settings.transactionalId
    this.#producer = this.#newProducer()
    this.#producerReady = once(() => this.#producer.init())
    this.#restorer = new Restorer({
      client,
      purpose: 'restore',
      isolation: guarantee.isolation,
      bufferBytesMax: settings.fetchBufferBytes,
      partitionBytesMax: settings.partitionFetchBytes,
      batchBytesMax: settings.task.batchBytesMax,
      clock: options.clock,
      logger: options.logger,
      hooks: options.hooks,
    })
    this.#opening = new TaskOpening({
      client,
      graph: options.graph,
      owner,
      settings: settings.task,
      restorer: this.#restorer,
      clock: options.clock,
      logger: options.logger,
      hooks: options.hooks,
      progress: options.progress ?? null,
      tasks: () => this.#slots.size,
    })
    this.#queries = new TaskQueries(
      {
        task: (id) => this.#queried(id),
        same: (id, state) => {
          const slot = this.#slots.get(id)
          return slot !== undefined && (slot.task?.state ?? slot.standby) === state
        },
        globalStore: (name) =>
          options.graph.globals.some(({ store }) => store === name) ? owner.globalStore(name) : null,
        changelogTopic: (spec) => owner.changelogTopic(spec),
      },
      options.clock,
    )
    this.#oldEventTimes = new OldEventTimes({
      admin: client.admin,
      stores: [...options.graph.stores.values()],
      changelogTopic: (spec) => owner.changelogTopic(spec),
      windowChangelogExtraRetentionMs: settings.windowChangelogExtraRetentionMs,
      clock: options.clock,
      logger: options.logger,
    })
    this.#pace = new CommitPace(
      {
        intervalMs: settings.commitIntervalMs,
        minIntervalMs: guarantee.isPaced ? settings.commitMinIntervalMs : 0,
        markersPerSecondMax: settings.commitMarkersPerSecondMax,
      },
      options.clock.now(),
    )
  }

  // -------------------------------------------------------------------------------------------- from the application

  get state(): ThreadStatus['state'] {
    return this.#state
  }

  get transactionalId(): string {
    return this.#transactionalId
  }

  /** Fences what an earlier run of this thread left open, then turns until stopped. */
  async start(): Promise<void> {
    this.#setState('starting')
    await this.#producerReady()
    if (this.#stopping) return
    this.#setState('running')
    this.#ended = this.#loop()
  }

  /** Opens these tasks; those of gone members' transactional ids are fenced first. Returns at once. */
  assign(assignments: readonly TaskAssignment[], identity: GroupIdentity, fence: readonly string[]): void {
    this.#identity = identity
    // Dead, it is about to be replaced, and they are given out again.
    if (this.#stopping || this.#state === 'dead') return
    const fenceAll = once(() => Promise.all(fence.map((id) => this.#fence(id))))
    for (const assignment of assignments) {
      if (assignment.changelogs !== undefined) this.#options.owner.moved(assignment.changelogs)
      assert(!this.#slots.has(assignment.id), `thread ${this.name} owns task ${assignment.id} already`)
      const slot: Slot = {
        assignment,
        state: 'created',
        task: null,
        busy: false,
        busySince: 0,
        budget: 1024,
        cancelled: false,
        fence: assignment.role === 'active' ? fenceAll : async () => {},
        opened: Promise.resolve(),
        standby: null,
        committed: new Map(),
      }
      this.#slots.set(assignment.id, slot)
      if (assignment.role === 'active')
        for (const input of assignment.inputs) this.#byPartition.set(partitionKey(input), slot)
      this.#options.hooks.taskCreated?.(this.name, assignment.id)
      slot.opened = this.#open(slot)
    }
  }

  /** Commits, closes these tasks and resolves: from then on they may be given to another. */
  revoke(tasks: readonly string[]): Promise<void> {
    return this.#between(async () => {
      const leaving = tasks.flatMap((id) => this.#slots.get(id) ?? [])
      if (leaving.length === 0) return
      // Standbys have nothing to commit, and the tasks that stay need not stop for them.
      if (leaving.some(({ assignment }) => assignment.role === 'active')) {
        await this.#commitAll('revoked')
        await this.#giveBack(leaving)
      }
      await Promise.all(leaving.map((slot) => this.#close(slot, 'clean')))
    })
  }

  /** The membership is gone: nothing may be committed any more. */
  lose(): Promise<void> {
    return this.#between(async () => {
      await this.#inFlight?.catch(() => undefined)
      await this.#rollBack()
      await this.#admitting
      await Promise.all([...this.#slots.values()].map((slot) => this.#close(slot, 'dirty')))
    })
  }

  /** The group's generation moved, the tasks here stay. */
  setIdentity(identity: GroupIdentity): void {
    this.#identity = identity
  }

  setCacheBytesMax(bytesMax: number): void {
    this.#options.owner.cacheBytesMax(bytesMax)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#wakeUp()
  }

  /** Finishes the record in hand, commits, closes the tasks and ends. */
  async stop(): Promise<void> {
    if (this.#state === 'dead') return
    if (this.#state === 'running') {
      await this.#between(async () => {
        this.#setState('pending-shutdown')
        await this.#commitAll('closing')
        await this.#giveBack([...this.#slots.values()])
        await Promise.all([...this.#slots.values()].map((slot) => this.#close(slot, 'clean')))
      }).catch((error) =>
        this.#logger.warn(`thread ${this.name}: not all could be committed at the end: ${String(error)}`),
      )
    }
    this.#stopping = true
    this.#wakeUp()
    await this.#ended
    await this.#shutDown()
  }

  status(): ThreadStatus {
    return {
      thread: this.name,
      state: this.#state,
      transactionalId: this.#transactionalId,
      records: this.#records,
      busyMs: this.#busyMs,
      tasks: Array.from(this.#slots.values(), (slot) => this.#statusOf(slot)),
    }
  }

  /** Null: the task has left. */
  taskStatus(id: string): TaskStatus | null {
    const slot = this.#slots.get(id)
    return slot === undefined ? null : this.#statusOf(slot)
  }

  #statusOf(slot: Slot): TaskStatus {
    const { assignment, task } = slot
    return {
      task: assignment.id,
      role: assignment.role,
      state: slot.state,
      streamTime: task?.streamTime() ?? -1,
      inputs: assignment.inputs.map((input) => {
        const queue = task?.queue(input.topic, input.partition)
        return {
          topic: input.topic,
          partition: input.partition,
          position: queue?.position ?? -1,
          committed: slot.committed.get(partitionKey(input)) ?? null,
          endOffset: queue === undefined || queue.endOffset < 0 ? null : queue.endOffset,
        }
      }),
      lag: this.#lagOf(slot),
      stores: this.#storesOf(slot),
    }
  }

  /** While stores are restored or followed the restorer knows their ends; then what was committed is the end. */
  #storesOf({ assignment, task, standby }: Slot): TaskStatus['stores'] {
    const ends = this.#restorer.ends(assignment.id)
    const state = task?.state ?? standby
    if (state === null) return ends
    return state.positions().map(({ store, offset }) => {
      const followed = ends.find((one) => one.store === store)
      return { store, offset, endOffset: followed?.endOffset ?? state.settledOffset(store) }
    })
  }

  #lagOf({ assignment, task, standby }: Slot): number | null {
    if (task !== null) return null
    const lag = this.#restorer.lag(assignment.id)
    if (lag !== null || standby === null) return lag
    // Where source topics serve as changelogs a standby has nothing to follow, and so is never behind.
    const logged = standby.stores.some(({ spec }) => spec.changelog?.sourceTopic === null)
    return logged ? null : 0
  }

  /** Answers a query from the state of a task that is here. */
  query(request: TaskQuery): Promise<TaskAnswer> {
    return this.#queries.answer(request)
  }

  #queried(id: string): QueriedTask | undefined {
    const slot = this.#slots.get(id)
    if (slot === undefined) return undefined
    const committed: Record<string, Record<string, number>> = {}
    for (const { topic, partition } of slot.assignment.inputs) {
      const offset = slot.committed.get(partitionKey({ topic, partition }))
      if (offset !== undefined) (committed[topic] ??= {})[partition] = offset
    }
    const state = slot.task?.state ?? slot.standby
    return { role: slot.assignment.role, state, lag: this.#lagOf(slot), committed }
  }

  // -------------------------------------------------------------------------------------------- the loop

  async #loop(): Promise<void> {
    while (!this.#stopping) {
      this.#woken = false
      this.#options.progress?.turn()
      try {
        const action = this.#actions.shift()
        if (action !== undefined) {
          await action.run()
          continue
        }
        if (this.#failure !== null) {
          if (!(await this.#judge(this.#takeFailure()))) break
          continue
        }
        const worked = this.#paused ? 0 : this.#turn()
        this.#admitWhenLow()
        await this.#commitWhenDue(worked === 0)
        this.#persistWhenDue()
        this.#purgeWhenDue()
        if (worked > 0) {
          await immediate()
          continue
        }
        // What is buffered waits for a user's promise, or for another input.
        if (!this.#paused && !this.#isFull) this.#fetcher.starved()
        await this.#rest()
      } catch (error) {
        this.#failure = asStreamsError(error)
      }
    }
    // Whoever asked for something at the last moment waits for it: the tasks are closed, so it is soon done.
    for (const action of this.#actions.splice(0)) await action.run()
  }

  /**
   * One turn over the tasks, or over as many as there is time for. Returns how many records were processed; none only
   * where no task had any.
   */
  #turn(): number {
    let worked = 0
    const full = this.#isFull
    const until = performance.now() + roundMs
    const slots = [...this.#slots.values()]
    const first = this.#nextTask
    for (let step = 0; step < slots.length; step++) {
      const index = (first + step) % slots.length
      if (worked > 0 && performance.now() > until) {
        this.#nextTask = index
        break
      }
      const slot = slots[index] as Slot
      const { task } = slot
      if (task === null) continue
      if (slot.busy) {
        this.#judgeBusy(slot, task)
        continue
      }
      if (this.#clock.now() >= task.nextWallPunctuation) {
        const waiting = task.punctuateWallClock()
        if (waiting !== undefined) {
          this.#wait(slot, waiting)
          continue
        }
      }
      // Too much is uncommitted, or not on disk: nothing more until the commit or the write in flight has ended.
      if (full || !task.processable) continue
      const started = performance.now()
      const before = task.recordsProcessed
      const result = task.process(slot.budget, started + turnMsMax)
      if (isPromise(result)) {
        const done = () => this.#afterBatch(slot, task.recordsProcessed - before, performance.now() - started)
        this.#wait(slot, result.then(done))
        worked += task.recordsProcessed - before
        continue
      }
      worked += result
      if (result === 0) continue
      const tookMs = performance.now() - started
      if (tookMs > turnMs * 2 && slot.budget > budgetMin) slot.budget = Math.max(budgetMin, slot.budget >>> 1)
      else if (tookMs < turnMs && result === slot.budget && slot.budget < budgetMax) slot.budget *= 2
      this.#afterBatch(slot, result, tookMs)
    }
    return worked
  }

  /** More is uncommitted than may be, or committed than can be written: what was taken in must go out first. */
  get #isFull(): boolean {
    return this.#output.bytes > this.#options.settings.uncommittedBytesMax * 2 || this.#diskIsBehind
  }

  /** A promise of the user's that never settles must not hold its task for ever. */
  #judgeBusy(slot: Slot, task: Task): void {
    const { maxPollIntervalMs } = this.#options.settings
    if (this.#clock.now() - slot.busySince <= maxPollIntervalMs) return
    slot.busySince = Number.POSITIVE_INFINITY
    this.#fail(stuck(this.name, { ...(task.inHand ?? inPunctuation), task: task.id }, maxPollIntervalMs))
  }

  #wait(slot: Slot, waiting: Promise<unknown>): void {
    slot.busy = true
    slot.busySince = this.#clock.now()
    waiting.then(
      () => {
        slot.busy = false
        this.#wakeUp()
      },
      (error) => {
        slot.busy = false
        this.#fail(error)
      },
    )
  }

  #afterBatch(slot: Slot, records: number, durationMs: number): void {
    const { hooks } = this.#options
    const { task } = slot
    this.#records += records
    this.#busyMs += durationMs
    if (task === null || records === 0) return
    const { id, lastTimestamp } = task
    hooks.batch?.({
      task: id,
      records,
      bytes: task.takeBytes(),
      durationMs,
      streamTime: task.streamTime(),
      recordTimestamp: lastTimestamp,
    })
    if (lastTimestamp >= 0) hooks.latency?.(id, this.#clock.now() - lastTimestamp)
    if (hooks.lag === undefined) return
    for (const queue of task.queues) {
      if (queue.endOffset < 0) continue
      hooks.lag({
        task: task.id,
        topic: queue.topic,
        partition: queue.partition,
        records: Math.max(0, queue.endOffset - queue.position),
        position: queue.position,
        endOffset: queue.endOffset,
      })
    }
  }

  /** Until something arrives, or something is due. */
  async #rest(): Promise<void> {
    if (this.#woken || this.#actions.length > 0 || this.#failure !== null) return immediate()
    let dueAt = this.#clock.now() + 100
    const commitAt = this.#anyBusy ? this.#pace.dueAt : this.#announceAt
    for (const { task, busy } of this.#slots.values()) {
      if (task === null) continue
      if (!busy) dueAt = Math.min(dueAt, task.nextWallPunctuation)
      // The end of a commit in flight wakes the loop; before it no other begins.
      if (task.uncommitted && this.#inFlight === null)
        dueAt = Math.min(dueAt, task.commitRequested ? this.#pace.earliestAt : commitAt)
    }
    const delay = dueAt - this.#clock.now()
    if (delay <= 0) return immediate()
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(Math.max(1, delay), resolve)
      this.#wake = () => {
        timer.cancel()
        resolve()
      }
    })
    this.#wake = null
  }

  #wakeUp(): void {
    this.#woken = true
    this.#wake?.()
  }

  /** Runs at the next boundary between two turns, with no record in hand. */
  #between(action: () => Promise<void>, slot: Slot | null = null): Promise<void> {
    if (this.#state !== 'running' && this.#state !== 'pending-shutdown') return action()
    return new Promise((resolve, reject) => {
      this.#actions.push({ slot, run: () => action().then(resolve, reject) })
      this.#wakeUp()
    })
  }

  // -------------------------------------------------------------------------------------------- input

  #onChunk(chunk: FetchedChunk): void {
    if (this.#options.guarantee.ahead === null) {
      this.#enqueue(chunk)
      return
    }
    this.#unadmitted.push(chunk)
    this.#admitWhenLow()
  }

  /** Where positions are committed ahead they are as late as the tasks allow: seldom, and a crash skips the less. */
  #admitWhenLow(): void {
    const { ahead } = this.#options.guarantee
    if (ahead === null || this.#admitting !== null || !this.#isLow) return
    this.#admitting = this.#admit(ahead).finally(() => {
      this.#admitting = null
      this.#admitWhenLow()
    })
  }

  /** What tasks have been given is soon used up, or there is one that could go on with what waits. */
  get #isLow(): boolean {
    if (this.#unadmitted.length === 0) return false
    let given = this.#fetcher.bufferedBytes
    for (const chunk of this.#unadmitted) {
      const { task } = this.#byPartition.get(partitionKey(chunk)) ?? {}
      if (task?.queue(chunk.topic, chunk.partition)?.waiting !== true) return true
      given -= chunk.end - chunk.start
    }
    return given < this.#options.settings.fetchBufferBytes * givenShareMin
  }

  async #admit(ahead: Ahead): Promise<void> {
    // What came in the same response goes along.
    await immediate()
    const asked: { readonly chunk: FetchedChunk; readonly task: Task }[] = []
    for (const chunk of this.#unadmitted.splice(0)) {
      const task = this.#byPartition.get(partitionKey(chunk))?.task ?? null
      // Its task has left, or goes back: the position is another's to move.
      if (task === null) chunk.release()
      else asked.push({ chunk, task })
    }
    if (asked.length === 0) return
    try {
      await ahead.admit(
        asked.map(({ chunk }) => chunk),
        this.#producer,
        this.#identityNow,
      )
    } catch (error) {
      for (const { chunk } of asked) chunk.release()
      for (const chunk of this.#unadmitted.splice(0)) chunk.release()
      this.#fail(error)
      return
    }
    for (const { chunk, task } of asked) {
      if (this.#byPartition.get(partitionKey(chunk))?.task === task) this.#enqueue(chunk)
      else chunk.release()
    }
  }

  /** What leaving tasks were given and did not come to is left to whoever takes them. */
  async #giveBack(leaving: readonly Slot[]): Promise<void> {
    const { ahead } = this.#options.guarantee
    if (ahead === null) return
    for (const slot of leaving) {
      for (const input of slot.assignment.inputs) this.#forget(slot, input)
    }
    await this.#admitting
    const tasks = leaving.flatMap(({ task }) => task ?? [])
    if (tasks.length === 0) return
    try {
      await ahead.giveBack(tasks, this.#producer, this.#identityNow)
    } catch (error) {
      const names = tasks.map(({ id }) => id).join(', ')
      this.#logger.warn(
        `thread ${this.name}: records that were fetched for ${names} and not processed are lost: ${String(error)}`,
      )
    }
  }

  #enqueue(chunk: FetchedChunk): void {
    const slot = this.#byPartition.get(partitionKey(chunk))
    if (slot === undefined || slot.task === null) {
      chunk.release()
      return
    }
    slot.task.enqueue(chunk)
    this.#wakeUp()
  }

  #onEnds(at: TopicPartition, endOffset: number, held: number): void {
    const task = this.#byPartition.get(partitionKey(at))?.task ?? null
    const queue = task?.queue(at.topic, at.partition)
    if (task === null || queue === undefined || endOffset < 0) return
    if (held !== queue.held) {
      queue.held = held
      const { topic, partition } = queue
      this.#options.hooks.held?.({ task: task.id, topic, partition, records: held })
    }
    const news = queue.endOffset < endOffset || queue.endOffset < 0
    queue.endOffset = endOffset
    // A task that waits for this input to be known as drained may go on.
    if (news) this.#wakeUp()
  }

  // -------------------------------------------------------------------------------------------- tasks

  async #open(slot: Slot): Promise<void> {
    const { assignment } = slot
    const { settings } = this.#options
    const deadline = this.#clock.now() + settings.taskTimeoutMs
    for (let attempt = 0; !slot.cancelled; attempt++) {
      try {
        await (assignment.role === 'active' ? this.#openActive(slot) : this.#follow(slot))
        return
      } catch (thrown) {
        const error = asStreamsError(thrown)
        if (slot.cancelled) return
        const again = error.verdict === 'retry' || error.verdict === 'restore' || error.verdict === 'abort'
        if (!again || this.#clock.now() > deadline) {
          this.#fail(error)
          return
        }
        this.#logger.warn(`task ${assignment.id}: opened again: ${error.message}`)
        await sleep(this.#clock, Math.min(20 * 2 ** attempt, 1_000))
      }
    }
  }

  async #openActive(slot: Slot): Promise<void> {
    const { assignment } = slot
    slot.state = 'restoring'
    await this.#producerReady()
    await slot.fence()
    // A position that is being committed ahead is not where this task begins until that is decided.
    await this.#admitting
    const output = this.#output
    const { task, inputs } = await this.#opening.open(assignment, output, () => !slot.cancelled)
    if (slot.cancelled) {
      // Whoever closes the slot waits for this, and the loop may wait for him.
      await task.close('dirty')
      return
    }
    await this.#between(async () => {
      if (slot.cancelled || output !== this.#output) {
        await task.close('dirty')
        if (slot.cancelled) return
        // Rolled back since it was bound: what it wrote would go into the void.
        throw new StreamsError(
          'TASK_GIVEN_UP',
          `task ${assignment.id}: the thread went back while it was opened`,
          {
            task: assignment.id,
          },
        )
      }
      slot.task = task
      slot.state = 'running'
      for (const input of inputs) {
        slot.committed.set(partitionKey(input), input.position)
        this.#fetcher.add(input, input.position)
      }
      this.#options.owner.running(assignment.id)
    }, slot)
  }

  #follow(slot: Slot): Promise<void> {
    return this.#opening.follow(
      slot.assignment,
      () => !slot.cancelled,
      (state) => {
        slot.standby = state
        if (state !== null) slot.state = 'running'
        else this.#queries.left()
      },
    )
  }

  async #close(slot: Slot, how: 'clean' | 'dirty'): Promise<void> {
    const { assignment } = slot
    // What failed at its last commit was closed by that.
    if (slot.state === 'closed') return
    slot.cancelled = true
    this.#slots.delete(assignment.id)
    // Its changelogs are another's.
    this.#usual.clear()
    this.#queries.left()
    for (const input of assignment.inputs) this.#forget(slot, input)
    await this.#restorer.stop(assignment.id)
    // An opening that waits for the loop: it is the loop that waits here.
    const arriving = this.#actions.findIndex((action) => action.slot === slot)
    if (arriving >= 0) await this.#actions.splice(arriving, 1)[0]?.run()
    if (slot.task === null) await slot.opened.catch(() => undefined)
    const { task } = slot
    slot.task = null
    slot.state = 'closed'
    await task?.close(how)
    this.#options.hooks.taskClosed?.(this.name, assignment.id, how)
  }

  #forget(slot: Slot, input: TopicPartition): void {
    if (this.#byPartition.get(partitionKey(input)) !== slot) return
    this.#byPartition.delete(partitionKey(input))
    this.#fetcher.remove(input)
    this.#unadmitted = this.#unadmitted.filter((chunk) => {
      if (partitionKey(chunk) !== partitionKey(input)) return true
      chunk.release()
      return false
    })
  }

  async #fence(transactionalId: string): Promise<void> {
    if (!this.#options.guarantee.transactional) return
    await this.#producer.fence(transactionalId)
  }

  // -------------------------------------------------------------------------------------------- committing

  readonly #identityNow = (): GroupIdentity => {
    assert(this.#identity !== null, 'a thread with tasks has an identity')
    return this.#identity
  }

  get #tasks(): Task[] {
    return [...this.#slots.values()].flatMap(({ task }) => task ?? [])
  }

  #any(test: (task: Task) => boolean): boolean {
    for (const { task } of this.#slots.values()) if (task !== null && test(task)) return true
    return false
  }

  async #commitWhenDue(drained: boolean): Promise<void> {
    const { settings, guarantee } = this.#options
    const now = this.#clock.now()
    const full = this.#uncommittedBytes > settings.uncommittedBytesMax
    if (this.#inFlight !== null) {
      // One generation at most is in flight: a second that is full waits for it, and so does the input.
      if (full) await this.#inFlight.catch(() => undefined)
      return
    }
    await this.#withdrawWhenLate()
    let reason: CommitReason | null = null
    if (full) reason = 'full'
    else if (now >= this.#pace.dueAt) reason = 'interval'
    else if (now >= this.#pace.earliestAt) {
      if (this.#any((task) => task.commitRequested)) reason = 'requested'
      else if (drained && !this.#anyBusy) reason = 'drained'
    }
    if (!this.#any((task) => task.uncommitted)) return
    if (reason === null) {
      const isSoon = this.#announcedAt !== null || now >= this.#announceAt
      if (drained && isSoon && !this.#anyBusy && guarantee.transactional) this.#announce()
      return
    }
    await this.#quiesce()
    if (this.#failure !== null) throw this.#takeFailure()
    await this.#commit(reason)
  }

  /** When a drained thread announces its commit; the commit's own time where it has, or there is nothing to announce. */
  get #announceAt(): number {
    const { earliestAt } = this.#pace
    if (this.#announcedAt !== null || !this.#options.guarantee.transactional) return earliestAt
    return Math.min(earliestAt, Math.max(earliestAt - announceMs, this.#settledAt + markersMs))
  }

  /**
   * The commit of a drained thread is a few milliseconds away: its coordinator hears of the transaction meanwhile, with
   * what is written so far and what commits usually write.
   */
  #announce(): void {
    const partitions = [...this.#output.written, ...this.#usual]
    this.#announcedAt ??= this.#clock.now()
    this.#producer.announce(this.#identityNow().groupId, partitions)
  }

  /** Announced, and held up by a user's promise: it ends, empty, before its coordinator takes it for dead. */
  async #withdrawWhenLate(): Promise<void> {
    if (this.#announcedAt === null || this.#inFlight !== null) return
    if (this.#clock.now() - this.#announcedAt < this.#options.settings.transactionTimeoutMs / 4) return
    this.#announcedAt = null
    await this.#producer.end('commit').catch((error) => this.#fail(error))
  }

  get #uncommittedBytes(): number {
    let bytes = this.#output.bytes
    for (const { task } of this.#slots.values()) if (task !== null) bytes += task.state.uncommittedBytes
    return bytes
  }

  get #anyBusy(): boolean {
    for (const slot of this.#slots.values()) if (slot.busy) return true
    return false
  }

  /**
   * Records that wait for a user's promise are let finish; no task takes another meanwhile. Ends early where something
   * failed: nobody waits for a promise that never settles.
   */
  async #quiesce(): Promise<void> {
    if (!this.#anyBusy) return
    for (const { task } of this.#slots.values()) if (task !== null) task.held = true
    while (this.#anyBusy && this.#failure === null) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.after(quiesceLookMs, resolve)
        this.#wake = () => {
          timer.cancel()
          resolve()
        }
      })
      this.#wake = null
      await this.#withdrawWhenLate()
      for (const slot of this.#slots.values())
        if (slot.busy && slot.task !== null) this.#judgeBusy(slot, slot.task)
    }
    for (const { task } of this.#slots.values()) if (task !== null) task.held = false
  }

  /** Cuts a generation and sends it off. Returns as soon as the tasks may go on. */
  async #commit(reason: CommitReason): Promise<void> {
    const { owner, guarantee } = this.#options
    const specs = this.#options.graph.stores
    const generation = await cutGeneration(
      this.#tasks,
      this.#output,
      (_task, store) => owner.changelogTopic(specs.get(store) as StoreSpec),
      reason,
      () => this.#clock.now(),
    )
    if (generation === null) return
    this.#pace.started(generation.at)
    this.#announcedAt = null
    if (guarantee.transactional) this.#usual.wrote(generation.taken.batches)
    this.#inFlight = guarantee
      .send(generation, this.#producer, this.#identityNow)
      .then((produced) => this.#settle(generation, produced))
      .catch((error) => this.#fail(error))
      .finally(() => {
        this.#inFlight = null
        this.#wakeUp()
      })
  }

  /** At the end, and before tasks leave: everything processed so far is committed when this resolves. */
  async #commitAll(reason: CommitReason): Promise<void> {
    await this.#inFlight
    await this.#quiesce()
    if (this.#failure === null) {
      // What was handed on or cut before it failed must not be committed with what comes after.
      await this.#commit(reason).catch((error) => this.#fail(error))
      await this.#inFlight
    }
    // Judged before anything is given on: what could not be committed is rolled back.
    if (this.#failure !== null) {
      const failure = this.#takeFailure()
      await this.#judge(failure)
    }
  }

  #settle(generation: Generation, produced: readonly ProducedBatch[]): void {
    const { owner, graph, hooks } = this.#options
    const ends = new Map<string, number>()
    const batches = generation.taken.batches
    for (let index = 0; index < batches.length; index++) {
      const batch = batches[index]
      const done = produced[index]
      if (batch === undefined || done === undefined) continue
      ends.set(partitionKey(batch), done.baseOffset + batch.builder.count)
    }
    let changelogRecords = 0
    let inputRecords = 0
    for (const { task, offsets, records } of generation.cuts) {
      inputRecords += records
      const slot = this.#slots.get(task.id)
      const committed = new Map<string, number>()
      for (const offset of offsets) {
        committed.set(partitionKey(offset), offset.offset)
        slot?.committed.set(partitionKey(offset), offset.offset)
      }
      const positions = new Map<string, number>()
      for (const store of task.state.stores) {
        const spec = graph.stores.get(store.name)
        if (spec === undefined || spec.changelog === null) continue
        const at = { topic: owner.changelogTopic(spec), partition: task.partition }
        const end =
          spec.changelog.sourceTopic === null ? ends.get(partitionKey(at)) : committed.get(partitionKey(at))
        if (end !== undefined) positions.set(store.name, end)
      }
      task.state.settle(positions)
    }
    const now = this.#clock.now()
    const partitions = new Set(batches.map(partitionKey)).size
    for (const { topic, builder } of batches)
      if (topic.endsWith('-changelog')) changelogRecords += builder.count
    this.#settledAt = now
    this.#pace.ended(now, partitions + generation.cuts.reduce((sum, cut) => sum + cut.offsets.length, 0))
    this.#abortsInARow = 0
    this.#oldEventTimes.look(batches)
    this.#output.reuse(generation.taken.spare)
    this.#queries.settled()
    hooks.committed?.({
      thread: this.name,
      tasks: generation.cuts.length,
      inputRecords,
      outputRecords: generation.taken.records - changelogRecords,
      changelogRecords,
      bytes: generation.taken.bytes,
      durationMs: now - generation.at,
      cutMs: generation.cutMs,
      reason: generation.reason,
    })
  }

  /** Step 5: the engines follow, about once a second, while the tasks go on. */
  #persistWhenDue(): void {
    if (this.#persisting !== null) return
    const { settings } = this.#options
    const now = this.#clock.now()
    let pending = 0
    let cached = 0
    for (const { task } of this.#slots.values()) {
      if (task === null) continue
      pending += task.state.pendingBytes
      cached += task.state.cachedBytes
    }
    if (cached > settings.storeCacheBytesMax) {
      const tasks = this.#tasks
      for (const { state } of tasks) state.trim(Math.floor(settings.storeCacheBytesMax / tasks.length))
    }
    if (
      pending === 0 ||
      (now - this.#persistedAt < settings.persistIntervalMs && pending < settings.pendingBytesMax)
    )
      return
    this.#persistedAt = now
    this.#persisting = Promise.all(this.#tasks.map((task) => this.#persist(task)))
      .then(() => undefined)
      .catch((error) => this.#fail(error))
      .finally(() => {
        this.#persisting = null
        this.#wakeUp()
      })
  }

  /** Changes are committed faster than they can be written: memory is bounded, so the input waits. */
  get #diskIsBehind(): boolean {
    if (this.#persisting === null) return false
    let pending = 0
    for (const { task } of this.#slots.values()) if (task !== null) pending += task.state.pendingBytes
    return pending > this.#options.settings.pendingBytesMax * 2
  }

  async #persist({ id, state }: Task): Promise<void> {
    const { hooks } = this.#options
    const bytes = state.pendingBytes
    const started = performance.now()
    await state.persist()
    hooks.persisted?.(id, bytes, performance.now() - started)
    hooks.cache?.(id, state.cachedBytes)
    hooks.engine?.(id, state.figures())
  }

  /** Repartition topics hold a record until it is committed downstream, and no longer. */
  #purgeWhenDue(): void {
    const { settings, client, owner } = this.#options
    const now = this.#clock.now()
    if (this.#purging !== null || now - this.#purgedAt < settings.repartitionPurgeIntervalMs) return
    this.#purgedAt = now
    const before: (TopicPartition & { offset: number })[] = []
    for (const slot of this.#slots.values()) {
      for (const input of slot.assignment.inputs) {
        const offset = slot.committed.get(partitionKey(input))
        if (offset !== undefined && offset > 0 && owner.purged(input.topic)) {
          before.push({ topic: input.topic, partition: input.partition, offset })
        }
      }
    }
    if (before.length === 0) return
    this.#purging = client.admin
      .deleteRecords(before)
      .catch((error) =>
        this.#logger.warn(`thread ${this.name}: repartition topics not purged: ${String(error)}`),
      )
      .finally(() => {
        this.#purging = null
      })
  }

  // -------------------------------------------------------------------------------------------- what goes wrong

  #fail(error: unknown): void {
    // The first one counts: what follows is mostly its echo.
    this.#failure ??= asStreamsError(error)
    this.#wakeUp()
  }

  #takeFailure(): StreamsError {
    const failure = this.#failure as StreamsError
    this.#failure = null
    return failure
  }

  /** The one place that decides. False: the thread ends. */
  async #judge(error: StreamsError): Promise<boolean> {
    const { owner, hooks } = this.#options
    await this.#inFlight?.catch(() => undefined)
    hooks.commitFailed?.(this.name, error.code)
    switch (error.verdict) {
      case 'retry':
      case 'abort':
      case 'restore': {
        this.#logger.warn(`thread ${this.name}: going back to the last commit: ${error.message}`)
        const delay = Math.min(20 * 2 ** this.#abortsInARow++, abortDelayMsMax)
        await this.#rollBack()
        await this.#delay(delay)
        this.#reopen()
        return true
      }
      case 'rejoin': {
        this.#logger.warn(`thread ${this.name}: its tasks are another's now: ${error.message}`)
        if (error.code === 'KAFKA_PRODUCER_FENCED') await this.#renameProducer()
        else await this.#rollBack()
        // Those that come meanwhile are of another assignment.
        const closed = [...this.#slots.values()]
        for (const slot of closed) await this.#close(slot, 'dirty')
        owner.lost(
          error,
          closed.map(({ assignment }) => assignment.id),
        )
        return true
      }
      default:
        this.#logger.error(`thread ${this.name}: ${error.message}`)
        await this.#rollBack().catch((again) => this.#logger.warn(`thread ${this.name}: ${String(again)}`))
        for (const slot of [...this.#slots.values()]) await this.#close(slot, 'dirty')
        this.#setState('dead')
        this.#stopping = true
        void this.#shutDown().catch((again) => this.#logger.debug(`thread ${this.name}: ${String(again)}`))
        owner.failed(error)
        return false
    }
  }

  /** Ends early where somebody wants something between two turns. */
  async #delay(delayMs: number): Promise<void> {
    if (this.#actions.length > 0) return
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(delayMs, resolve)
      this.#wake = () => {
        if (this.#actions.length === 0) return
        timer.cancel()
        resolve()
      }
    })
    this.#wake = null
  }

  /**
   * Aborts, and makes sure that nothing of the two generations is ever sent or persisted: the tasks are closed dirty
   * and their output goes with them. What a user's promise still does afterwards writes into the void.
   */
  async #rollBack(): Promise<void> {
    this.#output = this.#newOutput()
    this.#announcedAt = null
    for (const chunk of this.#unadmitted.splice(0)) chunk.release()
    for (const slot of this.#slots.values()) {
      if (slot.assignment.role !== 'active') continue
      for (const input of slot.assignment.inputs) this.#fetcher.remove(input)
      const { task } = slot
      slot.task = null
      slot.busy = false
      this.#queries.left()
      await task?.close('dirty').catch((error) => this.#logger.warn(`task ${task.id}: ${String(error)}`))
    }
    await this.#persisting?.catch(() => undefined)
    if (this.#options.guarantee.transactional) this.#beginAgain(this.#producer.end('abort'))
  }

  /**
   * Readies the producer in its own time, so that an absent broker holds up nothing else: no task is opened before. What
   * an abort could not end, InitProducerId does.
   */
  #beginAgain(aborting: Promise<void>, fence: readonly string[] = []): void {
    const producer = this.#producer
    const aborted = aborting.catch((error) =>
      this.#logger.debug(`thread ${this.name}: abort: ${String(error)}`),
    )
    this.#producerReady = once(async () => {
      await aborted
      await producer.init()
      for (const transactionalId of fence) await producer.fence(transactionalId)
    })
    this.#producerReady().catch((error) =>
      this.#logger.debug(`thread ${this.name}: its producer: ${String(error)}`),
    )
  }

  #reopen(): void {
    for (const slot of this.#slots.values()) {
      if (slot.assignment.role !== 'active') continue
      if (slot.state === 'restoring' && slot.task === null && !slot.cancelled) {
        // Still being opened: it never was part of what was rolled back. Those that ran have state 'running'.
        continue
      }
      slot.state = 'created'
      slot.opened = this.#open(slot)
    }
  }

  async #shutDown(): Promise<void> {
    await this.#restorer.close()
    await this.#fetcher.close()
    await this.#producer.close()
    if (this.#state !== 'dead') this.#setState('dead')
  }

  /**
   * Somebody else goes by this thread's transactional id: a successor that took it for dead, or a twin with a copy of
   * its state folder. Taking the id back would go on for ever; a new one, and the old one fenced once more so that
   * nothing of it stays open, ends with each having its own.
   */
  async #renameProducer(): Promise<void> {
    const before = this.#transactionalId
    await this.#rollBack()
    await this.#producer.close().catch(() => undefined)
    this.#transactionalId = `${this.#options.settings.transactionalId}-${++this.#fencedTimes}-${randomUUID().slice(0, 8)}`
    this.#producer = this.#newProducer()
    this.#beginAgain(Promise.resolve(), [before])
  }

  #newProducer(): Producer {
    const { client, guarantee, settings } = this.#options
    return client.producer({
      ...(guarantee.transactional
        ? { transactionalId: this.#transactionalId, transactionTimeoutMs: settings.transactionTimeoutMs }
        : {}),
      deliveryTimeoutMs: settings.deliveryTimeoutMs,
      compression: settings.compression,
    })
  }

  #newOutput(): Output {
    const { settings, owner } = this.#options
    return new Output(
      {
        partitionCount: (topic) => owner.partitionCount(topic),
        batchBytesMax: settings.outputBatchBytesMax,
        recordBytesMax: settings.recordBytesMax,
      },
      this.#partitionCounts,
    )
  }

  #setState(state: ThreadStatus['state']): void {
    const before = this.#state
    this.#state = state
    this.#options.hooks.threadState?.(this.name, state, before)
  }
}

export function stuck(
  thread: string,
  at: {
    readonly task: string
    readonly topic: string | null
    readonly partition: number
    readonly offset: number
    readonly node?: string
  },
  maxPollIntervalMs: number,
): StreamsError {
  const { task, topic, partition, offset, node } = at
  if (topic === null) {
    return new StreamsError(
      'TASK_STUCK',
      `thread ${thread}: task ${task} is in one punctuation for more than ${maxPollIntervalMs} ms; its thread is replaced. Raise maxPollIntervalMs where one may take that long`,
      { task },
    )
  }
  const where = node === undefined ? '' : `, read by node ${node}`
  return new StreamsError(
    'TASK_STUCK',
    `thread ${thread}: task ${task} is on one record for more than ${maxPollIntervalMs} ms: topic ${topic}, partition ${partition}, offset ${offset}${where}; its thread is replaced. Raise maxPollIntervalMs where a record may take that long`,
    { task, topic, partition, offset, ...(node === undefined ? {} : { node }) },
  )
}

/** Runs it once; where it failed, the next call runs it again. */
function once(run: () => Promise<unknown>): () => Promise<unknown> {
  let running: Promise<unknown> | null = null
  return () => {
    running ??= run().catch((error) => {
      running = null
      throw error
    })
    return running
  }
}

/** Lets sockets and timers have their turn. */
function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

export function asStreamsError(thrown: unknown): StreamsError {
  if (thrown instanceof StreamsError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new StreamsError('UNEXPECTED', message, { cause: thrown })
}
