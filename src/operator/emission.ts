/**
 * When windows that closed are sent: after each record, but not more often than the emit interval, and only when the
 * close time moved. How far it came is committed with the task's positions.
 */
import type { TaskContext } from './run.ts'

export class CloseEmission {
  readonly #context: TaskContext
  readonly #name: string
  #nextAt = 0
  /** The close time up to which windows were sent; -1 before any. */
  last: number

  constructor(context: TaskContext, name: string) {
    this.#context = context
    this.#name = name
    this.last = context.processorTime(name)
  }

  due(closeTime: number): boolean {
    const now = this.#context.wallClock()
    if (now < this.#nextAt) return false
    this.#nextAt = now + this.#context.emitIntervalMs
    return this.last === -1 || this.last < closeTime
  }

  sent(closeTime: number): void {
    this.last = closeTime
    this.#context.setProcessorTime(this.#name, closeTime)
  }
}
