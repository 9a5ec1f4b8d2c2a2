/**
 * An application: one process of it. It joins the consumer group, owns stream threads, and has no other life: it
 * installs no signal handler and never ends the process.
 *
 *   created -> rebalancing <-> running -> pending-shutdown -> not-running
 *                  |               |
 *                  +---------------+----> pending-error -> error
 */
import { assert } from '../base/assert.ts'
import { type Clock, sleep, systemClock, type Timer } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import { jsonLine, type LevelSwitch, type Logger, lineLogger, textLine, toLogger } from '../base/logger.ts'
import { connect, type KafkaClient } from '../kafka/index.ts'
import { cleanFolders, localTasks } from '../store/folder.ts'
import type { Topology, TopologyGraph } from '../topology/topology.ts'
import { guarantees } from './commit.ts'
import { createGlobals, createThread, type EngineParts, type ThreadEvents } from './engine.ts'
import { generatedNames, refuseGeneratedNames } from './generated-names.ts'
import type { GlobalStores } from './global.ts'
import { Group, type Places } from './group.ts'
import { unknownLag } from './group-protocol.ts'
import { allHooks, type Hooks } from './hooks.ts'
import { type Config, type EngineOptions, resolveConfig } from './options.ts'
import { openProcessId, type ProcessId } from './process-id.ts'
import type { PartitionCounts } from './source-topics.ts'
import type { TaskAnswer, TaskQuery } from './state-query.ts'
import type { ApplicationState, ApplicationStatus, ThreadStatus } from './status.ts'
import type { TaskAssignment } from './stream-thread.ts'
import { Summary } from './summary.ts'
import { Takeover } from './takeover.ts'
import { globalTask, moved, unheard } from './task-queries.ts'
import { type ThreadHandle, ThreadPool } from './thread-pool.ts'
import { structureHash } from './topology-memory.ts'
import { isTopology, loadTopologyModule, plainConfig } from './topology-module.ts'
import { WorkerThread } from './worker-thread.ts'

const libraryVersion = '0.1.0'
/** State folders are looked through at most this often. */
const cleaningIntervalMinMs = 1_000
const unheardPollMs = 20
/** Beside the heartbeats at which others hear of it: so long a copy that stops waits for them to take over. */
const handOverMs = 1_000

const successors: { readonly [state in ApplicationState]: readonly ApplicationState[] } = {
  created: ['rebalancing', 'pending-shutdown'],
  rebalancing: ['running', 'pending-shutdown', 'pending-error'],
  running: ['rebalancing', 'pending-shutdown', 'pending-error'],
  'pending-shutdown': ['not-running'],
  'not-running': [],
  'pending-error': ['error'],
  error: ['pending-shutdown'],
}

export type StateListener = (state: ApplicationState, before: ApplicationState) => void

/** This copy, for whoever answers queries. */
export type Queried = {
  readonly applicationId: string
  /** null: the topology is not loaded yet. */
  graph(): TopologyGraph | null
  counts(): PartitionCounts
  places(): Places | null
  self(): string | null
  threads(): readonly ThreadStatus[]
  /** Active or standby. */
  owns(task: string): boolean
  ask(request: TaskQuery): Promise<TaskAnswer>
}

export type CloseOptions = {
  readonly timeoutMs?: number
  /** Also a static member leaves, and its tasks move at once. */
  readonly leaveGroup?: boolean
}

export class Millrace {
  readonly settings: EngineOptions
  readonly #config: Config
  /** null until a module is loaded. */
  #topology: Topology | null
  readonly #module: string | null
  readonly #clock: Clock = systemClock
  readonly #gate: LevelSwitch
  readonly #logger: Logger
  readonly #hooks: Hooks
  readonly #summary: Summary
  readonly #timers = new Set<Timer>()
  readonly #listeners = new Set<StateListener>()
  readonly #pool = new ThreadPool()
  readonly #running = new Set<string>()
  readonly #takeover: Takeover
  #state: ApplicationState = 'created'
  #error: StreamsError | null = null
  #client: KafkaClient | null = null
  #processId: ProcessId | null = null
  #globals: GlobalStores | null = null
  #group: Group | null = null
  #assigned: readonly TaskAssignment[] | null = null
  #paused = false
  #threadsMade = 0
  #closing: Promise<void> | null = null
  /** Threads come and go one after another. */
  #changing: Promise<unknown> = Promise.resolve()

  /**
   * `app` is a topology, which runs in this thread, or the URL of a module whose default export is one or makes one:
   * each of its `threads` then is a worker that loads it.
   */
  constructor(app: Topology | URL, config: Config) {
    this.settings = resolveConfig(config)
    this.#config = config
    this.#topology = app instanceof URL ? null : app
    this.#module = app instanceof URL ? app.href : null
    const { hooks } = this.settings
    this.#summary = new Summary(this.#clock)
    this.#gate = { level: this.settings.logLevel }
    this.#logger =
      this.settings.logger === null ? standardLogger(this.#gate) : toLogger(this.settings.logger, this.#gate)
    this.#takeover = new Takeover(this.#clock, this.#logger)
    this.#hooks = allHooks([this.#summary.hooks, this.#takeover.hooks, ...(hooks === null ? [] : [hooks])])
    if (this.#module === null && !isTopology(app)) {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        'new Millrace: give it a topology, such as builder.build(), or the URL of a module that exports one',
      )
    }
    if (this.#module === null && this.settings.threads > 1) {
      throw new StreamsError(
        'CONFIG_INVALID',
        `threads: ${this.settings.threads} threads need the topology as a module that each can load: new Millrace(new URL('./app.js', import.meta.url), { threads: ${this.settings.threads} }), its default export the topology or a function that makes it`,
        { config: 'threads' },
      )
    }
  }

  /** The topology; of a module only once it is loaded, by `start`. */
  get topology(): Topology {
    if (this.#topology === null) {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        `${this.#module} is loaded by start(); its topology isn't known before`,
      )
    }
    return this.#topology
  }

  get state(): ApplicationState {
    return this.#state
  }

  /** What ended it, in state 'error'. */
  get error(): StreamsError | null {
    return this.#error
  }

  /** Returns a function that takes the listener off again. */
  onState(listener: StateListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Joins the group; resolves when every task that this copy was given runs. */
  async start(): Promise<void> {
    if (this.#state !== 'created') {
      throw new StreamsError(
        'CONFIG_INVALID',
        `${this.settings.applicationId} was started before; make a new Millrace to start again`,
      )
    }
    this.#setState('rebalancing')
    try {
      await this.#open()
    } catch (error) {
      // Closed meanwhile, it has nothing to say.
      await this.#fail(error)
    }
    await this.#until('running')
  }

  async close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options)
    await this.#closing
  }

  /** Nothing is processed until `resume`; tasks and membership stay. */
  pause(): void {
    this.#paused = true
    for (const thread of this.#pool.threads) thread.pause()
  }

  resume(): void {
    this.#paused = false
    for (const thread of this.#pool.threads) thread.resume()
  }

  /** One more stream thread; the tasks are spread anew. Null where the topology can't be loaded by a worker. */
  async addThread(): Promise<string | null> {
    if (!this.#isLive) return null
    if (this.#module === null || this.settings.threads === 1) {
      throw new StreamsError(
        'CONFIG_INVALID',
        "addThread: this application runs in one thread, the calling one; give it its topology as a module, new URL('./app.js', import.meta.url), and threads: 2 or more",
        { config: 'threads' },
      )
    }
    return this.#change(async () => {
      const thread = this.#newThread()
      try {
        await thread.start()
      } catch (error) {
        await thread.stop()
        throw error
      }
      if (!this.#isLive) {
        await thread.stop()
        return null
      }
      this.#take(thread)
      await this.#spread()
      return thread.name
    })
  }

  /** One stream thread fewer; what it owns is committed and given to the others. The last one stays. */
  async removeThread(): Promise<string | null> {
    return this.#change(async () => {
      const thread = this.#pool.threads.at(-1)
      if (thread === undefined || this.#pool.threads.length < 2 || this.#group === null) return null
      const orphans = await this.#pool.remove(thread, 'stop')
      this.#shareCache()
      for (const { id } of orphans) this.#running.delete(id)
      this.#settleState()
      await this.#group.handOut([])
      // The leader counts with one thread fewer.
      this.#group.rejoin('a thread was removed')
      return thread.name
    })
  }

  #change(change: () => Promise<string | null>): Promise<string | null> {
    const done = this.#changing.then(() => (this.#isLive ? change() : null))
    this.#changing = done.catch(() => undefined)
    return done
  }

  /** Threads that own more than their part let go of the rest, and all are handed out again. */
  async #spread(): Promise<void> {
    for (const id of await this.#pool.even()) this.#running.delete(id)
    this.#settleState()
    await this.#group?.handOut([])
    this.#group?.rejoin('a thread was added')
  }

  #take(thread: ThreadHandle): void {
    if (this.#paused) thread.pause()
    this.#pool.add(thread)
    this.#shareCache()
  }

  /** All threads together hold back no more than the setting says. */
  #shareCache(): void {
    const { threads } = this.#pool
    const bytesMax = Math.floor(this.settings.cacheMaxBytes / Math.max(1, threads.length))
    for (const thread of threads) thread.setCacheBytesMax(bytesMax)
  }

  get #isLive(): boolean {
    return this.#state === 'rebalancing' || this.#state === 'running'
  }

  get isPaused(): boolean {
    return this.#paused
  }

  status(): ApplicationStatus {
    const identity = this.#assigned === null ? null : (this.#group?.identity ?? null)
    return {
      applicationId: this.settings.applicationId,
      state: this.#state,
      ready: this.#assigned?.every(({ id }) => this.#running.has(id)) ?? false,
      paused: this.#paused,
      member: identity === null ? null : { memberId: identity.memberId, generation: identity.generation },
      threads: this.#pool.threads.map((thread) => thread.status()),
    }
  }

  /** Where other copies reach this one's HTTP service. */
  protected get advertised(): string | null {
    return this.settings.advertisedAddress
  }

  /** What queries build on: src/query. */
  get queried(): Queried {
    return {
      applicationId: this.settings.applicationId,
      graph: () => this.#topology?.graph ?? null,
      counts: () => this.#group?.counts ?? new Map(),
      places: () => this.#group?.places ?? null,
      self: () => this.advertised,
      threads: () => this.#pool.threads.map((thread) => thread.status()),
      owns: (task) => this.#pool.ownerOf(task) !== undefined,
      ask: async (request) => {
        const { task } = request
        const thread = task === globalTask ? this.#pool.threads[0] : this.#pool.ownerOf(task)
        if (thread === undefined) throw moved(task)
        const losses = this.#group?.losses
        const answer = await thread.query(request)
        if (task !== globalTask && answer.role === 'active') await this.#surely(task, losses, request.waitMs)
        return answer
      },
    }
  }

  /**
   * A process that was stopped for a while, or is cut off, may be the last to hear that it has lost its tasks: what it
   * read is given out once the group has been heard again, and has taken nothing away.
   */
  async #surely(task: string, losses: number | undefined, waitMs: number): Promise<void> {
    const deadline = this.#clock.now() + waitMs
    while (this.#group?.isCurrent !== true) {
      if (this.#clock.now() >= deadline) throw unheard(task, this.settings.sessionTimeoutMs)
      await sleep(this.#clock, unheardPollMs)
    }
    if (this.#group.losses !== losses) throw moved(task)
  }

  // -------------------------------------------------------------------------------------------- starting

  async #open(): Promise<void> {
    const { settings } = this
    if (this.#module !== null) this.#topology = (await loadTopologyModule(this.#module, settings)).topology
    const { topology } = this
    if (settings.optimize && !topology.optimized) throw notOptimized()
    if (topology.graph.subtopologies.length + topology.graph.globals.length === 0) {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        'the topology reads no topic: give it a source, builder.stream(...), builder.table(...) or builder.globalTable(...)',
      )
    }
    if (settings.requireNames) refuseGeneratedNames(topology.graph)
    const generated = generatedNames(topology.graph)
    if (generated.length > 0) {
      this.#logger.warn(
        `generated names of stores and internal topics: ${generated.join(', ')}; a change of the topology may renumber them, and their state stays behind. Give { as } or { name }; requireNames: true refuses them`,
      )
    }
    const processId = await openProcessId(settings.stateDir, settings.applicationId)
    if (!this.#isLive) return processId.release()
    this.#processId = processId
    this.#client = connect({
      brokers: settings.brokers,
      clientId: settings.clientId as string,
      logger: this.#logger,
      clock: this.#clock,
      kafka: settings.kafka,
      unreachableTimeoutMs: settings.unreachableTimeoutMs,
    })
    await this.#client.reach()
    await this.#removeLastMember()
    if (!this.#isLive) return
    if (this.#module === null || settings.threads === 1) {
      this.#globals = createGlobals(this.#parts, (error) => void this.#fail(error))
      await this.#globals.start()
      if (!this.#isLive) return
    }
    for (let index = 0; index < settings.threads; index++) this.#pool.add(this.#newThread())
    await Promise.all(this.#pool.threads.map((thread) => thread.start()))
    if (!this.#isLive) return
    this.#group = this.#newGroup()
    await this.#group.start()
    this.#repeat(settings.logSummaryIntervalMs, () => this.#logger.info(this.#summary.line(this.status())))
    this.#repeat(Math.max(cleaningIntervalMinMs, settings.stateCleanupDelayMs), () => this.#cleanUp())
  }

  /** Until the application ends; 0: never. */
  #repeat(intervalMs: number, run: () => void): void {
    if (intervalMs === 0 || (this.#state !== 'rebalancing' && this.#state !== 'running')) return
    const timer = this.#clock.after(intervalMs, () => {
      this.#timers.delete(timer)
      this.#repeat(intervalMs, run)
      run()
    })
    this.#timers.add(timer)
  }

  /** Folders of tasks that live elsewhere, and have done so for a while. Before the first assignment nobody knows. */
  #cleanUp(): void {
    const { applicationId, stateDir, stateCleanupDelayMs } = this.settings
    if (this.#assigned === null) return
    const keep = { has: (task: string) => this.#pool.ownerOf(task) !== undefined }
    cleanFolders({
      stateDir,
      application: applicationId,
      keep,
      olderThanMs: stateCleanupDelayMs,
      clock: this.#clock,
      logger: this.#logger,
    }).catch((error: unknown) => this.#logger.warn(`state folders not cleaned: ${String(error)}`))
  }

  /** A process that was killed is still a member: without this its tasks would wait for its session to time out. */
  async #removeLastMember(): Promise<void> {
    const { applicationId, instanceId } = this.settings
    const member = this.#processId?.lastMember ?? null
    if (member === null || instanceId !== null) return
    try {
      await this.#client?.admin.removeMember(applicationId, member)
    } catch (error) {
      this.#logger.info(`the group waits for the process before this one: ${String(error)}`)
    }
  }

  get #parts(): EngineParts {
    assert(this.#client !== null, 'the client is there from the start on')
    return {
      client: this.#client,
      graph: this.topology.graph,
      settings: this.settings,
      clock: this.#clock,
      logger: this.#logger,
      hooks: this.#hooks,
    }
  }

  #newThread(): ThreadHandle {
    const number = ++this.#threadsMade
    const { applicationId } = this.settings
    const name = `${applicationId}-thread-${number}`
    const transactionalId = `${applicationId}-${this.#processId?.id}-${number}`
    const events: ThreadEvents = {
      running: (task) => {
        this.#running.add(task)
        this.#takeover.running(task)
        this.#settleState()
      },
      lost: (error, tasks) => {
        for (const task of this.#pool.forget(thread, tasks)) this.#running.delete(task)
        this.#settleState()
        this.#group?.rejoin(error.message)
      },
      failed: (error) => void this.#onThreadFailed(thread, error),
    }
    const thread: ThreadHandle =
      this.#module === null || this.settings.threads === 1
        ? createThread(this.#parts, name, transactionalId, this.#globals as GlobalStores, events)
        : new WorkerThread({
            start: {
              module: this.#module,
              name,
              transactionalId,
              fingerprint: this.topology.fingerprint(),
              config: plainConfig(this.#config),
              hooks: Object.keys(this.#hooks) as (keyof Hooks)[],
            },
            events,
            hooks: this.#hooks,
            logger: this.#logger,
            maxPollIntervalMs: this.settings.maxPollIntervalMs,
          })
    return thread
  }

  /** A thread ended with an error that it could not mend: the application's handler says what follows. */
  async #onThreadFailed(thread: ThreadHandle, error: StreamsError): Promise<void> {
    if (!this.#isLive) return
    const { uncaughtHandler } = this.settings
    // A thread that is stuck says nothing about the next: it is always replaced.
    const answer =
      error.code === 'TASK_STUCK'
        ? 'replace-thread'
        : typeof uncaughtHandler === 'function'
          ? uncaughtHandler(error)
          : uncaughtHandler
    if (answer === 'shutdown-application') this.#group?.shutDownAll()
    if (answer !== 'replace-thread' || this.#group === null) {
      await this.#fail(error)
      return
    }
    this.#logger.warn(`${thread.name} ended with an error and is replaced: ${error.message}`)
    const orphans = await this.#pool.remove(thread, 'dead')
    for (const { id } of orphans) this.#running.delete(id)
    this.#settleState()
    try {
      const next = this.#newThread()
      await next.start()
      this.#take(next)
      // The dead thread's transactional id may have a transaction open.
      await this.#group.handOut([thread.transactionalId])
    } catch (again) {
      await this.#fail(again)
    }
  }

  #newGroup(): Group {
    const { settings } = this
    assert(
      this.#client !== null && this.#processId !== null,
      'client and process id are there before the group',
    )
    return new Group({
      client: this.#client,
      graph: this.topology.graph,
      topologyHash: structureHash(this.topology.graph),
      settings,
      processId: this.#processId.id,
      libraryVersion,
      transactionalIds: () =>
        guarantees[settings.guarantee].transactional
          ? this.#pool.threads.map((thread) => thread.transactionalId)
          : [],
      endpoint: () => this.advertised,
      pool: this.#pool,
      storedTasks: async () =>
        new Map(
          (await localTasks(settings.stateDir, settings.applicationId)).map((task) => [task, unknownLag]),
        ),
      named: (memberId) => this.#remember(memberId),
      assigned: (_assignment, active) => {
        const isFirst = this.#assigned === null
        this.#assigned = active
        if (isFirst) this.#cleanUp()
        for (const task of [...this.#running])
          if (!active.some(({ id }) => id === task)) this.#running.delete(task)
        this.#settleState()
      },
      takeover: this.#takeover,
      lost: () => {
        this.#takeover.lost()
        this.#assigned = null
        this.#running.clear()
        this.#settleState()
      },
      fatal: (error) => void this.#fail(error),
      clock: this.#clock,
      logger: this.#logger,
      hooks: this.#hooks,
    })
  }

  // -------------------------------------------------------------------------------------------- state

  #settleState(): void {
    if (!this.#isLive) return
    const ready = this.#assigned?.every(({ id }) => this.#running.has(id)) ?? false
    if (ready && this.#state === 'rebalancing') this.#setState('running')
    else if (!ready && this.#state === 'running') this.#setState('rebalancing')
  }

  #remember(memberId: string): void {
    void this.#processId?.remember(memberId).catch((error: unknown) => {
      this.#logger.warn(`${this.settings.stateDir}: the member's id can't be written: ${String(error)}`)
    })
  }

  #setState(state: ApplicationState): void {
    const before = this.#state
    assert(successors[before].includes(state), `the application goes from ${before} to ${state}`)
    this.#state = state
    this.#hooks.state?.(state, before)
    for (const listener of this.#listeners) listener(state, before)
  }

  #until(wanted: ApplicationState): Promise<void> {
    return new Promise((resolve, reject) => {
      const judge = () => {
        if (this.#state === wanted || this.#state === 'not-running') resolve()
        else if (this.#state === 'error') reject(this.#error)
        else return
        off()
      }
      const off = this.onState(judge)
      judge()
    })
  }

  /** Nothing here can mend it: everything is closed, uncommitted work is rolled back. */
  async #fail(thrown: unknown): Promise<void> {
    if (!this.#isLive) return
    this.#error =
      thrown instanceof StreamsError
        ? thrown
        : new StreamsError('UNEXPECTED', thrown instanceof Error ? thrown.message : String(thrown), {
            cause: thrown,
          })
    this.#setState('pending-error')
    await this.#release(false, 0)
    this.#setState('error')
  }

  async #close(options: CloseOptions): Promise<void> {
    if (this.#state === 'not-running') return
    if (this.#state === 'pending-error') await this.#until('error').catch(() => undefined)
    this.#setState('pending-shutdown')
    const timeoutMs = options.timeoutMs ?? this.settings.closeTimeoutMs
    const leave = options.leaveGroup ?? this.settings.instanceId === null
    let timer: ReturnType<typeof setTimeout> | undefined
    const expired = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#logger.warn(`not closed within ${timeoutMs} ms; what was not committed is processed again`)
        resolve()
      }, timeoutMs)
    })
    await Promise.race([this.#release(leave, timeoutMs), expired])
    clearTimeout(timer)
    this.#setState('not-running')
  }

  async #release(leave: boolean, timeoutMs: number): Promise<void> {
    const quietly = async (what: string, work: Promise<unknown> | undefined) => {
      try {
        await work
      } catch (error) {
        this.#logger.warn(`closing ${what}: ${String(error)}`)
      }
    }
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
    if (leave) {
      const waitMs = Math.min(2 * this.settings.heartbeatIntervalMs + handOverMs, timeoutMs / 3)
      await quietly('the membership', this.#group?.handOver(waitMs))
    }
    // The tasks first, while the membership that commits them still holds.
    await quietly('threads', this.#pool.stop())
    await quietly('the group', this.#group?.close(leave))
    await quietly('global stores', this.#globals?.close())
    await quietly('the client', this.#client?.close())
    await quietly('the state folder', this.#processId?.release())
  }
}

function notOptimized(): StreamsError {
  return new StreamsError(
    'CONFIG_INVALID',
    'optimize: the topology was built without it, and is not built again: give builder.build({ optimize: true }), or export a function of the settings, ({ optimize }) => builder.build({ optimize }); a Topology put together by hand has nothing to optimise',
    { config: 'optimize' },
  )
}

/** Lines on the standard error: text for people, JSON for collectors. */
function standardLogger(gate: LevelSwitch): Logger {
  const print = process.stderr.isTTY ? textLine : jsonLine
  return lineLogger((line) => process.stderr.write(`${print(line, new Date())}\n`), gate)
}
