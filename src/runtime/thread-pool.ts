/**
 * The stream threads of one process, and which of them owns which task. A task is given on only after the thread that
 * had it has said that it let go: several producers of one member do not fence each other. What changes the owners goes
 * one after another, for a new assignment may arrive while threads are added or taken away.
 */
import type { GroupIdentity } from '../kafka/client.ts'
import { partitionKey } from './partition-key.ts'
import type { TaskAnswer, TaskQuery } from './state-query.ts'
import type { ThreadStatus } from './status.ts'
import type { TaskAssignment } from './stream-thread.ts'

/** A stream thread in this thread, or in a worker behind messages. */
export type ThreadHandle = {
  readonly name: string
  readonly transactionalId: string
  start(): Promise<void>
  assign(tasks: readonly TaskAssignment[], identity: GroupIdentity, fence: readonly string[]): void
  /** Resolves when the thread has committed, or rolled back, and closed them. */
  revoke(tasks: readonly string[]): Promise<void>
  lose(): Promise<void>
  setIdentity(identity: GroupIdentity): void
  /** Its part of the application's cache. */
  setCacheBytesMax(bytesMax: number): void
  pause(): void
  resume(): void
  stop(): Promise<void>
  status(): ThreadStatus
  query(request: TaskQuery): Promise<TaskAnswer>
}

/** What the threads of this process shall own together. */
export type Given = { readonly tasks: readonly TaskAssignment[]; readonly identity: GroupIdentity }

export class ThreadPool {
  #turn: Promise<unknown> = Promise.resolve()
  readonly #threads: ThreadHandle[] = []
  readonly #owners = new Map<string, ThreadHandle>()
  readonly #assignments = new Map<string, TaskAssignment>()

  get threads(): readonly ThreadHandle[] {
    return this.#threads
  }

  /** Tasks of this role that some thread here owns. */
  tasks(role: TaskAssignment['role']): readonly string[] {
    return [...this.#assignments.values()].filter((task) => task.role === role).map(({ id }) => id)
  }

  ownerOf(task: string): ThreadHandle | undefined {
    return this.#owners.get(task)
  }

  add(thread: ThreadHandle): void {
    this.#threads.push(thread)
  }

  /** Takes a thread out; its tasks are without an owner until the next `apply`. */
  remove(thread: ThreadHandle, how: 'stop' | 'dead'): Promise<readonly TaskAssignment[]> {
    return this.#inTurn(async () => {
      try {
        // Until it has let go it is told of new generations, and what it owns is nobody else's.
        if (how === 'stop') await thread.stop()
      } finally {
        const index = this.#threads.indexOf(thread)
        if (index >= 0) this.#threads.splice(index, 1)
      }
      const orphans: TaskAssignment[] = []
      for (const [task, owner] of this.#owners) {
        if (owner !== thread) continue
        const assignment = this.#assignments.get(task)
        this.#owners.delete(task)
        this.#assignments.delete(task)
        if (assignment !== undefined) orphans.push(assignment)
      }
      return orphans
    })
  }

  /** A thread has lost these tasks by itself; the next `apply` gives them out anew. */
  forget(thread: ThreadHandle, tasks: readonly string[]): readonly string[] {
    const forgotten: string[] = []
    for (const task of tasks) {
      if (this.#owners.get(task) !== thread) continue
      this.#owners.delete(task)
      this.#assignments.delete(task)
      forgotten.push(task)
    }
    return forgotten
  }

  /** Takes tasks from threads that have more than their part; they are without an owner until the next `apply`. */
  even(): Promise<readonly string[]> {
    return this.#inTurn(async () => {
      const most = Math.ceil(this.#owners.size / Math.max(1, this.#threads.length))
      const surplus: string[] = []
      await Promise.all(
        this.#threads.map(async (thread) => {
          const own = [...this.#owners].filter(([, owner]) => owner === thread).map(([task]) => task)
          const leaving = own.slice(most)
          if (leaving.length === 0) return
          await thread.revoke(leaving)
          surplus.push(...leaving)
        }),
      )
      for (const task of surplus) {
        this.#owners.delete(task)
        this.#assignments.delete(task)
      }
      return surplus
    })
  }

  /** Makes the threads own exactly these tasks, as they are when its turn comes. What stays is not touched. */
  apply(
    given: () => Given,
    fence: readonly string[],
  ): Promise<{ readonly revoked: readonly string[]; readonly added: readonly string[] }> {
    // A commit that was refused for its generation waits for the new one, and whoever is at turn may wait for it.
    const { identity } = given()
    for (const thread of this.#threads) thread.setIdentity(identity)
    return this.#inTurn(() => this.#apply(given(), fence))
  }

  async #apply({ tasks, identity }: Given, fence: readonly string[]) {
    const wanted = new Map(tasks.map((task) => [task.id, task]))
    const leaving = new Map<ThreadHandle, string[]>()
    for (const [task, owner] of this.#owners) {
      // A standby that becomes active is closed first, and opened again on the same folder; so is a task that reads
      // other topics than before.
      if (isSame(wanted.get(task), this.#assignments.get(task))) continue
      leaving.set(owner, [...(leaving.get(owner) ?? []), task])
    }
    const revoked = [...leaving.values()].flat()
    await Promise.all([...leaving].map(([thread, gone]) => thread.revoke(gone)))
    for (const task of revoked) {
      this.#owners.delete(task)
      this.#assignments.delete(task)
    }
    const coming = new Map<ThreadHandle, TaskAssignment[]>()
    const added: string[] = []
    // Without a thread, they wait for the next one.
    for (const task of this.#threads.length === 0 ? [] : tasks) {
      if (this.#owners.has(task.id)) continue
      const thread = this.#leastLoaded()
      coming.set(thread, [...(coming.get(thread) ?? []), task])
      this.#owners.set(task.id, thread)
      this.#assignments.set(task.id, task)
      added.push(task.id)
    }
    for (const [thread, own] of coming) thread.assign(own, identity, fence)
    return { revoked, added }
  }

  /** The group goes on without this member: nothing may be committed any more. */
  lose(): Promise<void> {
    return this.#inTurn(async () => {
      this.#owners.clear()
      this.#assignments.clear()
      await Promise.all(this.#threads.map((thread) => thread.lose()))
    })
  }

  stop(): Promise<void> {
    return this.#inTurn(async () => {
      await Promise.all(this.#threads.map((thread) => thread.stop()))
      this.#owners.clear()
      this.#assignments.clear()
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined)
    return done
  }

  #leastLoaded(): ThreadHandle {
    const load = new Map<ThreadHandle, number>(this.#threads.map((thread) => [thread, 0]))
    for (const owner of this.#owners.values()) load.set(owner, (load.get(owner) ?? 0) + 1)
    let least = this.#threads[0] as ThreadHandle
    for (const thread of this.#threads) {
      if ((load.get(thread) ?? 0) < (load.get(least) ?? 0)) least = thread
    }
    return least
  }
}

function isSame(wanted: TaskAssignment | undefined, has: TaskAssignment | undefined): boolean {
  if (wanted === undefined || has === undefined || wanted.role !== has.role) return false
  if (wanted.inputs.length !== has.inputs.length) return false
  const inputs = new Set(has.inputs.map(partitionKey))
  return wanted.inputs.every((input) => inputs.has(partitionKey(input)))
}
