/**
 * Finds who answers a query, and asks: this copy where it has the task, another one over HTTP where that has it. A copy
 * that says 'moved', or can not be reached, is not the end: the next one that may know is asked, until the time is up.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { StreamsError } from '../base/errors.ts'
import type { TaskAnswer, TaskQuery } from '../runtime/state-query.ts'

export type StoreKind = 'key-value' | 'window' | 'session' | 'versioned'

export type StoreInfo = {
  readonly name: string
  readonly kind: string
  readonly keySerde: string
  readonly valueSerde: string
  /** Of the tasks that have it; -1 for a global store, which every copy has whole. */
  readonly subtopology: number
  readonly partitions: number
}

/** This process, or the address of another one. */
export type Target = { readonly endpoint: string | null }

export type Whereabouts = { readonly active: Target | null; readonly standbys: readonly Target[] }

export type Network = {
  readonly applicationId: string
  stores(timeoutMs: number): Promise<readonly StoreInfo[]>
  find(task: string, timeoutMs: number): Promise<Whereabouts>
  /** `timeoutMs` bounds the wait for the answer. */
  ask(target: Target, request: TaskQuery, timeoutMs: number): Promise<TaskAnswer>
}

const againMs = 20
const againMsMax = 250
/** Less is no time for a request. */
const leastMs = 100
/** A copy that does not answer for so long, or for half of the time, is passed over where there is another. */
const silentMs = 2_000

export async function storeInfo(network: Network, name: string, timeoutMs: number): Promise<StoreInfo> {
  const stores = await network.stores(timeoutMs)
  const found = stores.find((store) => store.name === name)
  if (found !== undefined) return found
  const names = stores.map((store) => store.name)
  throw new StreamsError(
    'QUERY_STORE_UNKNOWN',
    `${network.applicationId} has no store ${JSON.stringify(name)}; ${names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`}`,
    { store: name },
  )
}

/** Resolves or rejects within the time, and a little. */
export async function ask(network: Network, request: TaskQuery, timeoutMs: number): Promise<TaskAnswer> {
  const deadline = Date.now() + timeoutMs
  let last: StreamsError | null = null
  for (let attempt = 0; ; attempt++) {
    let targets: readonly Target[] = []
    try {
      const { active, standbys } = await network.find(request.task, Math.max(leastMs, deadline - Date.now()))
      targets = [...(active === null ? [] : [active]), ...(request.stale ? standbys : [])]
      if (targets.length === 0) last = nobody(network.applicationId, request)
    } catch (error) {
      last = again(error)
    }
    for (const [index, target] of targets.entries()) {
      const left = deadline - Date.now()
      if (left <= 0 && attempt > 0) break
      const waitMs = Math.max(1, Math.min(request.waitMs, left))
      const isLast = index === targets.length - 1
      try {
        return await network.ask(
          target,
          { ...request, waitMs },
          Math.max(leastMs, isLast ? left : Math.min(left / 2, silentMs)),
        )
      } catch (error) {
        last = again(error)
      }
    }
    const left = deadline - Date.now()
    if (left <= 0) throw last as StreamsError
    await sleep(Math.min(left, againMsMax, againMs * 2 ** attempt))
  }
}

/** What asking again can not mend is thrown. */
function again(error: unknown): StreamsError {
  if (error instanceof StreamsError && error.verdict === 'retry') return error
  throw error
}

function nobody(applicationId: string, { task, store }: TaskQuery): StreamsError {
  return new StreamsError(
    'QUERY_MOVED',
    `no copy of ${applicationId} is known to have task ${task} of store ${store}: it is being moved, or the copy that has it does not say where it answers (advertisedAddress)`,
    { task, store },
  )
}
