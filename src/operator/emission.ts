/**
 * When windows that closed are sent: after each record, but not more often than the emit interval, and only when the
 * close time moved. Then they go out in order; how far it came is committed with the task's positions.
 */
import type { Headers } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Entry } from '../store/contract.ts'
import { inOrder } from './call.ts'
import type { Run, TaskContext } from './run.ts'
import { update, windowedKey } from './stores.ts'

export class CloseEmission {
  readonly #context: TaskContext
  readonly #name: string
  readonly #next: Run
  #nextAt = 0
  /** The close time up to which windows were sent; -1 before any. */
  last: number

  constructor(context: TaskContext, name: string, next: Run) {
    this.#context = context
    this.#name = name
    this.#next = next
    this.last = context.processorTime(name)
  }

  due(closeTime: number): boolean {
    const now = this.#context.wallClock()
    if (now < this.#nextAt) return false
    this.#nextAt = now + this.#context.emitIntervalMs
    return this.last === -1 || this.last < closeTime
  }

  /** Sends what closed until `closeTime`; only then it counts as sent. */
  send(closed: MaybePromise<readonly Entry[]>, closeTime: number, headers: Headers): void | Promise<void> {
    if (isPromise(closed)) return closed.then((list) => this.#send(list, closeTime, headers))
    return this.#send(closed, closeTime, headers)
  }

  #send(closed: readonly Entry[], closeTime: number, headers: Headers): void | Promise<void> {
    const waiting = inOrder(closed.length, (index) => {
      const entry = closed[index] as Entry
      return this.#next(windowedKey(entry), update(entry.value, null), entry.timestamp, headers)
    })
    if (waiting !== undefined) return waiting.then(() => this.#sent(closeTime))
    this.#sent(closeTime)
  }

  #sent(closeTime: number): void {
    this.last = closeTime
    this.#context.setProcessorTime(this.#name, closeTime)
  }
}
