/**
 * The queries that one stream thread answers, from the state of the tasks that it has. An answer is of a task that is
 * here, from its first byte to its last: one that leaves meanwhile makes it `QUERY_MOVED`.
 */
import { createHash } from 'node:crypto'
import type { Clock, Timer } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Store, TaskState } from '../store/contract.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { type Position, readState, type StateRow, type TaskAnswer, type TaskQuery } from './state-query.ts'

/** A task as queries see it. */
export type QueriedTask = {
  readonly role: 'active' | 'standby'
  /** null: it is still being restored. */
  readonly state: TaskState | null
  readonly lag: number | null
  /** By topic, then partition. */
  readonly committed: Position
}

export type QueriedThread = {
  /** undefined: it is not here. The same object answers as long as it stays. */
  task(id: string): QueriedTask | undefined
  /** Says whether the task is still the one that was asked. */
  same(id: string, state: TaskState): boolean
  globalStore(name: string): Store | null
  changelogTopic(store: StoreSpec): string
}

/** Standbys and global stores say nothing when they get on: they are looked at again this often. */
const againMs = 50
const attemptsMax = 3
const askedAtOnce = 32
const commitWaitMs = 2_000
/** The task of a global store: every copy has it. */
export const globalTask = 'global'

export class TaskQueries {
  readonly #thread: QueriedThread
  readonly #clock: Clock
  readonly #waiting = new Set<() => void>()
  /** One for each answer that is being read: it gives up if its task is not here any more. */
  readonly #reading = new Set<() => void>()
  #settles = 0
  #asked = 0

  constructor(thread: QueriedThread, clock: Clock) {
    this.#thread = thread
    this.#clock = clock
  }

  /** Something was committed: whoever waits looks again. */
  settled(): void {
    this.#settles++
    this.#look()
  }

  /** A task left, or went back to its last commit: whoever reads of it hears so, and whoever waits looks again. */
  left(): void {
    for (const look of [...this.#reading]) look()
    this.#look()
  }

  #look(): void {
    if (this.#waiting.size === 0) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const look of waiting) look()
  }

  async answer(request: TaskQuery): Promise<TaskAnswer> {
    const deadline = this.#clock.now() + request.waitMs
    // What is in memory is answered without a turn of the event loop: whoever asks on and on must not hold it up.
    if (++this.#asked % askedAtOnce === 0) await new Promise((resolve) => setImmediate(resolve))
    for (;;) {
      const answer = await this.#now(request)
      if (answer instanceof StreamsError) {
        if (this.#clock.now() >= deadline) throw answer
      } else if (request.unlike === null || answer.digest !== request.unlike) return answer
      else if (this.#clock.now() >= deadline) return answer
      await this.#until(deadline)
    }
  }

  /** An error that is returned may mend itself while it is waited for; one that is thrown will not. */
  async #now(request: TaskQuery): Promise<TaskAnswer | StreamsError> {
    const { task: id, store: name, isolation } = request
    if (id === globalTask) return this.#global(request)
    const task = this.#thread.task(id)
    if (task === undefined || (task.role === 'standby' && !request.stale)) throw moved(id)
    const { state, role, lag } = task
    if (state === null) {
      return new StreamsError('QUERY_NOT_READY', `task ${id} is being restored here; ask again`, { task: id })
    }
    const behind = role === 'active' ? behindBound(request.bound, task.committed) : null
    if (role === 'standby' && Object.keys(request.bound).length > 0) throw moved(id)
    if (behind !== null) {
      return new StreamsError(
        'QUERY_NOT_READY',
        `task ${id} has not committed ${behind} yet; ask again, or wait longer`,
        { task: id },
      )
    }
    const found = state.stores.find((one) => one.name === name)
    if (found === undefined) throw unknownStore(name, state.stores)
    let rows: readonly StateRow[]
    try {
      const reading =
        isolation === 'uncommitted' || role === 'standby'
          ? this.#read(found, request)
          : this.#readCommitted(state, found, request)
      rows = await this.#whileHere(id, state, reading)
    } catch (error) {
      // What fails because the state was closed under it says nothing about the query.
      if (!this.#thread.same(id, state)) throw moved(id)
      throw error
    }
    if (!this.#thread.same(id, state)) throw moved(id)
    return {
      rows,
      digest: digestOf(rows),
      role,
      lag: role === 'active' ? null : lag,
      position: task.committed,
    }
  }

  /** A store that is closed while it is read may never answer: its task's leaving does. */
  #whileHere<T>(id: string, state: TaskState, reading: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!this.#thread.same(id, state)) reject(moved(id))
      }
      this.#reading.add(look)
      reading.finally(() => this.#reading.delete(look)).then(resolve, reject)
    })
  }

  #read(store: Store, { query, limit, cut }: TaskQuery): Promise<readonly StateRow[]> {
    return readState(store, this.#thread.changelogTopic(store.spec), query, limit, cut)
  }

  async #readCommitted(state: TaskState, live: Store, request: TaskQuery): Promise<readonly StateRow[]> {
    for (let attempt = 1; ; attempt++) {
      const view = await state.committed()
      const store = view.store(live.name)
      if (store === live) return this.#readLater(state, live, request)
      const rows = await this.#read(store, request)
      // A commit in between may have moved some of what was read: then it is read again, while that can help.
      if ((await state.committed()) === view || attempt === attemptsMax) return rows
    }
  }

  /** Stores in memory have no bytes of the past: what is read there is given out once it is committed. */
  async #readLater(state: TaskState, live: Store, request: TaskQuery): Promise<readonly StateRow[]> {
    const deadline = this.#clock.now() + Math.max(request.waitMs, commitWaitMs)
    const rows = await this.#read(live, request)
    const settles = this.#settles
    // The first may be of a generation that was cut before; the second one was cut after.
    while (state.uncommittedBytes > 0 && this.#settles < settles + 2) {
      if (!this.#thread.same(request.task, state)) throw moved(request.task)
      if (this.#clock.now() >= deadline) {
        throw new StreamsError(
          'QUERY_NOT_READY',
          `store ${live.name} lives in memory, and task ${request.task} did not commit in time; ask for { isolation: 'uncommitted' }, or shorten commitIntervalMs`,
          { task: request.task, store: live.name },
        )
      }
      await this.#until(deadline)
    }
    return rows
  }

  async #global(request: TaskQuery): Promise<TaskAnswer> {
    const store = this.#thread.globalStore(request.store)
    if (store === null) throw unknownStore(request.store, [])
    const rows = await this.#read(store, request)
    return { rows, digest: digestOf(rows), role: 'active', lag: null, position: {} }
  }

  #until(deadline: number): Promise<void> {
    return new Promise((resolve) => {
      let timer: Timer | null = null
      const look = () => {
        timer?.cancel()
        this.#waiting.delete(look)
        resolve()
      }
      this.#waiting.add(look)
      timer = this.#clock.after(Math.max(1, Math.min(againMs, deadline - this.#clock.now())), look)
    })
  }
}

export function moved(task: string): StreamsError {
  return new StreamsError('QUERY_MOVED', `task ${task} is not here; ask the copy that has it`, { task })
}

export function unheard(task: string, sessionTimeoutMs: number): StreamsError {
  return new StreamsError(
    'QUERY_MOVED',
    `the group has not been heard from for ${sessionTimeoutMs} ms here: task ${task} may be another copy's by now; ask again, or a standby with { stale: true }`,
    { task },
  )
}

export function unknownStore(name: string, stores: readonly { readonly name: string }[]): StreamsError {
  const names = stores.map((store) => store.name)
  return new StreamsError(
    'QUERY_STORE_UNKNOWN',
    `there is no store ${JSON.stringify(name)}; ${names.length === 0 ? 'there are none' : `there are ${names.join(', ')}`}`,
    { store: name },
  )
}

/** The first input that is not committed as far as it must be; inputs of other tasks don't count. */
function behindBound(bound: Position, committed: Position): string | null {
  for (const [topic, partitions] of Object.entries(bound)) {
    for (const [partition, offset] of Object.entries(partitions)) {
      const at = committed[topic]?.[partition]
      if (at !== undefined && at < offset)
        return `${topic}-${partition} up to offset ${offset} (it is at ${at})`
    }
  }
  return null
}

function digestOf(rows: readonly StateRow[]): string {
  const hash = createHash('sha1')
  for (const { key, start, end, value, timestamp } of rows) {
    hash.update(`${key.length} ${value.length} ${start} ${end} ${timestamp} `).update(key).update(value)
  }
  return hash.digest('base64url')
}
