/** A stream thread in a worker, as the main thread holds it. The worker's side is worker.ts. */
import type { Worker } from 'node:worker_threads'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { startWorker } from '../base/worker-arguments.ts'
import type { GroupIdentity } from '../kafka/client.ts'
import type { ThreadEvents } from './engine.ts'
import type { Hooks } from './hooks.ts'
import { Progress } from './progress.ts'
import type { StateRow, TaskAnswer, TaskQuery } from './state-query.ts'
import type { TaskStatus, ThreadStatus } from './status.ts'
import { asStreamsError, stuck, type TaskAssignment } from './stream-thread.ts'
import { moved } from './task-queries.ts'
import type { ThreadHandle } from './thread-pool.ts'
import { type FromWorker, fromPlain, type ToWorker, type WorkerStart } from './worker-protocol.ts'

export type WorkerOptions = {
  readonly start: Omit<WorkerStart, 'progress'>
  readonly events: ThreadEvents
  readonly hooks: Hooks
  readonly logger: Logger
  /** How long a task may be on one record, or the thread not answer: then it counts as stuck. */
  readonly maxPollIntervalMs: number
}

/** A query under way, with the rows that have come so far. */
type Asked = {
  readonly resolve: (answer: TaskAnswer) => void
  readonly reject: (error: StreamsError) => void
  readonly rows: StateRow[]
}

const watchIntervalMs = 250
/**
 * Half of what V8 takes by itself: what a thread allocates dies at once or lives for seconds, and in both cases more
 * room saves no copying. A `--max-semi-space-size` of the process still decides.
 */
const maxYoungGenerationSizeMb = 24

type Waiting = { readonly resolve: () => void; readonly reject: (error: StreamsError) => void }

/** Ours is beside this file, with the ending of this file: TypeScript from source, JavaScript once built. */
const workerFile = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url)

export class WorkerThread implements ThreadHandle {
  readonly name: string
  readonly #options: WorkerOptions
  readonly #worker: Worker
  readonly #progress = new Progress()
  readonly #watch: NodeJS.Timeout
  #seen = { turns: -1, at: Date.now() }
  readonly #waiting = new Map<number, Waiting>()
  readonly #asked = new Map<number, Asked>()
  #calls = 0
  #status: ThreadStatus
  #isGone = false
  #stopped = false

  constructor(options: WorkerOptions) {
    this.#options = options
    const { start } = options
    this.name = start.name
    this.#status = {
      thread: start.name,
      state: 'created',
      transactionalId: start.transactionalId,
      records: 0,
      busyMs: 0,
      tasks: [],
    }
    this.#worker = startWorker(workerFile, {
      name: start.name,
      workerData: { ...start, progress: this.#progress.shared } satisfies WorkerStart,
      resourceLimits: { maxYoungGenerationSizeMb },
    })
    this.#watch = setInterval(() => this.#look(), watchIntervalMs)
    this.#watch.unref()
    this.#worker.on('message', (message: FromWorker) => this.#onMessage(message))
    this.#worker.on('error', (error) => this.#onGone(asStreamsError(error)))
    this.#worker.on('exit', (code) => {
      this.#onGone(new StreamsError('UNEXPECTED', `thread ${this.name} ended by itself (exit code ${code})`))
    })
  }

  get transactionalId(): string {
    return this.#status.transactionalId
  }

  start(): Promise<void> {
    return this.#call({ call: 'start' })
  }

  assign(tasks: readonly TaskAssignment[], identity: GroupIdentity, fence: readonly string[]): void {
    this.#send({ kind: 'assign', tasks, identity, fence })
  }

  revoke(tasks: readonly string[]): Promise<void> {
    return this.#call({ call: 'revoke', tasks })
  }

  lose(): Promise<void> {
    return this.#call({ call: 'lose' })
  }

  setIdentity(identity: GroupIdentity): void {
    this.#send({ kind: 'identity', identity })
  }

  setCacheBytesMax(bytesMax: number): void {
    this.#send({ kind: 'cache', bytesMax })
  }

  pause(): void {
    this.#send({ kind: 'pause' })
  }

  resume(): void {
    this.#send({ kind: 'resume' })
  }

  async stop(): Promise<void> {
    if (this.#stopped) return
    try {
      if (!this.#isGone) await this.#call({ call: 'stop' })
    } finally {
      await this.terminate()
    }
  }

  /** Ends it whatever it is doing; what it has not committed is void. */
  async terminate(): Promise<void> {
    this.#stopped = true
    await this.#worker.terminate()
  }

  status(): ThreadStatus {
    return this.#status
  }

  query(request: TaskQuery): Promise<TaskAnswer> {
    if (this.#isGone) return Promise.reject(moved(request.task))
    const id = ++this.#calls
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject, rows: [] })
      this.#send({ kind: 'query', id, request })
    })
  }

  #call(
    call: { call: 'start' | 'lose' | 'stop' } | { call: 'revoke'; tasks: readonly string[] },
  ): Promise<void> {
    // A worker that is gone has nothing left to stop, and holds nothing that could be given on twice.
    if (this.#isGone) return Promise.resolve()
    const id = ++this.#calls
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#send({ kind: 'call', id, ...call } as ToWorker)
    })
  }

  #send(message: ToWorker): void {
    if (!this.#isGone) this.#worker.postMessage(message)
  }

  #onMessage(message: FromWorker): void {
    const { events, hooks, logger } = this.#options
    switch (message.kind) {
      case 'answer': {
        const waiting = this.#waiting.get(message.id)
        this.#waiting.delete(message.id)
        if (message.error === null) waiting?.resolve()
        else waiting?.reject(fromPlain(message.error))
        return
      }
      case 'rows':
        this.#asked.get(message.id)?.rows.push(...message.rows)
        return
      case 'answered': {
        const asked = this.#asked.get(message.id)
        this.#asked.delete(message.id)
        const { answer } = message
        if ('code' in answer) asked?.reject(fromPlain(answer))
        else asked?.resolve({ ...answer, rows: asked.rows })
        return
      }
      case 'running':
        if (message.status !== null) this.#learn(message.status)
        events.running(message.task)
        return
      case 'lost':
        events.lost(fromPlain(message.error), message.tasks)
        return
      case 'failed':
        events.failed(fromPlain(message.error))
        return
      case 'status':
        this.#status = message.status
        return
      case 'hooks':
        for (const { name, args } of message.calls)
          (hooks[name] as ((...args: readonly unknown[]) => void) | undefined)?.(...args)
        return
      case 'log':
        logger[message.level](message.message, message.fields)
        return
    }
  }

  /** Until the next report of all tasks. */
  #learn(status: TaskStatus): void {
    const tasks = this.#status.tasks.filter(({ task }) => task !== status.task)
    this.#status = { ...this.#status, tasks: [...tasks, status] }
  }

  /** A thread that turns is well, however little it finds to do. One that doesn't is in somebody's code. */
  #look(): void {
    const at = this.#progress.read()
    const now = Date.now()
    if (at.turns !== this.#seen.turns) {
      this.#seen = { turns: at.turns, at: now }
      return
    }
    if (at.turns === 0 || now - this.#seen.at <= this.#options.maxPollIntervalMs) return
    this.#onGone(stuck(this.name, at, this.#options.maxPollIntervalMs))
    void this.terminate()
  }

  #onGone(error: StreamsError): void {
    if (this.#isGone) return
    this.#isGone = true
    clearInterval(this.#watch)
    this.#status = { ...this.#status, state: 'dead', tasks: [] }
    for (const { resolve, reject } of this.#waiting.values()) {
      if (this.#stopped) resolve()
      else reject(error)
    }
    this.#waiting.clear()
    for (const { reject } of this.#asked.values()) reject(error)
    this.#asked.clear()
    if (!this.#stopped) this.#options.events.failed(error)
  }
}
