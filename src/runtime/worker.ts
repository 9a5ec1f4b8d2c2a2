/** The worker's side of a stream thread: loads the topology itself, and does what the main thread says. */
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../base/assert.ts'
import { systemClock } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import { type Logger, lineLogger } from '../base/logger.ts'
import { connect } from '../kafka/index.ts'
import { createGlobals, createThread, type EngineParts } from './engine.ts'
import { HookQueue } from './hook-queue.ts'
import { type Config, resolveConfig } from './options.ts'
import { Progress } from './progress.ts'
import type { TaskQuery } from './state-query.ts'
import { asStreamsError, type StreamThread } from './stream-thread.ts'
import { loadTopologyModule } from './topology-module.ts'
import { type FromWorker, type ToWorker, toPlain, type WorkerStart } from './worker-protocol.ts'

const statusIntervalMs = 250
const rowsAtOnce = 256

class ThreadWorker {
  readonly #start: WorkerStart
  readonly #post: (message: FromWorker) => void
  readonly #logger: Logger
  readonly #told: HookQueue
  #thread: StreamThread | null = null
  #close: (() => Promise<void>) | null = null

  constructor(start: WorkerStart, post: (message: FromWorker) => void) {
    this.#start = start
    this.#post = post
    this.#told = new HookQueue(start.hooks, systemClock, (calls) => post({ kind: 'hooks', calls }))
    this.#logger = lineLogger(
      ({ level, prefix, message, fields }) =>
        this.#say({
          kind: 'log',
          level,
          message: prefix === '' ? message : `[${prefix}] ${message}`,
          fields,
        }),
      { level: 'debug' },
    )
  }

  async hear(message: ToWorker): Promise<void> {
    if (message.kind === 'call') {
      let error: StreamsError | null = null
      try {
        await this.#call(message)
      } catch (thrown) {
        error = asStreamsError(thrown)
      }
      this.#report()
      this.#say({ kind: 'answer', id: message.id, error: error === null ? null : toPlain(error) })
      return
    }
    const thread = this.#thread
    assert(thread !== null, 'a worker is started before it is told anything')
    switch (message.kind) {
      case 'assign':
        thread.assign(message.tasks, message.identity, message.fence)
        return
      case 'query':
        await this.#query(message.id, message.request)
        return
      case 'identity':
        thread.setIdentity(message.identity)
        return
      case 'cache':
        thread.setCacheBytesMax(message.bytesMax)
        return
      case 'pause':
        thread.pause()
        return
      case 'resume':
        thread.resume()
        return
    }
  }

  async #call(message: ToWorker & { kind: 'call' }): Promise<void> {
    switch (message.call) {
      case 'start':
        return this.#open()
      case 'revoke':
        return this.#thread?.revoke(message.tasks)
      case 'lose':
        return this.#thread?.lose()
      case 'stop':
        await this.#thread?.stop()
        await this.#close?.()
    }
  }

  /** In parts, so that no single message holds up what else the main thread hears. */
  async #query(id: number, request: TaskQuery): Promise<void> {
    try {
      const answer = await (this.#thread as StreamThread).query(request)
      for (let from = 0; from < answer.rows.length; from += rowsAtOnce)
        this.#say({ kind: 'rows', id, rows: answer.rows.slice(from, from + rowsAtOnce) })
      this.#say({ kind: 'answered', id, answer: { ...answer, rows: [] } })
    } catch (error) {
      this.#say({ kind: 'answered', id, answer: toPlain(asStreamsError(error)) })
    }
  }

  async #open(): Promise<void> {
    const { module, config, fingerprint, name, transactionalId } = this.#start
    const loaded = await loadTopologyModule(module, config)
    if (loaded.topology.fingerprint() !== fingerprint) {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        `${module} made another topology in thread ${name} than in the main thread: it must depend on nothing but its settings`,
      )
    }
    const settings = resolveConfig({ ...loaded.config, ...config } as Config)
    const client = connect({
      brokers: settings.brokers,
      clientId: settings.clientId as string,
      logger: this.#logger,
      kafka: settings.kafka,
      unreachableTimeoutMs: settings.unreachableTimeoutMs,
    })
    const parts: EngineParts = {
      client,
      graph: loaded.topology.graph,
      settings,
      clock: systemClock,
      logger: this.#logger,
      hooks: this.#told.hooks,
    }
    const failed = (error: StreamsError) => this.#say({ kind: 'failed', error: toPlain(error) })
    const globals = createGlobals(parts, failed)
    await globals.start()
    this.#thread = createThread(
      parts,
      name,
      transactionalId,
      globals,
      {
        // Of all tasks each time, it would be 10,000 for the hundred that one thread begins with.
        running: (task) =>
          this.#say({ kind: 'running', task, status: this.#thread?.taskStatus(task) ?? null }),
        lost: (error, tasks) => this.#say({ kind: 'lost', error: toPlain(error), tasks }),
        failed,
      },
      new Progress(this.#start.progress),
    )
    await this.#thread.start()
    const timer = setInterval(() => this.#report(), statusIntervalMs)
    this.#close = async () => {
      clearInterval(timer)
      await globals.close()
      await client.close()
    }
  }

  /** What watchers were told comes before what happened after it. */
  #say(message: FromWorker): void {
    this.#told.flush()
    this.#post(message)
  }

  #report(): void {
    if (this.#thread !== null) this.#say({ kind: 'status', status: this.#thread.status() })
  }
}

assert(parentPort !== null, 'worker.ts runs in a worker')
const port = parentPort
const worker = new ThreadWorker(workerData as WorkerStart, (message) => port.postMessage(message))
port.on('message', (message: ToWorker) => void worker.hear(message))
