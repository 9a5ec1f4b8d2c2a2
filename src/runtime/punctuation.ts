/**
 * The punctuations of one task and one kind of time. One that missed several of its times is called once, with the time
 * it is now, and goes on at the next multiple of its interval.
 */
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Cancellable } from '../operator/run.ts'

type Schedule = {
  readonly node: string
  readonly intervalMs: number
  readonly run: (timestamp: number) => MaybePromise<void>
  at: number
  cancelled: boolean
}

export class PunctuationQueue {
  /** Sorted by time, the next one first; equal times in the order of their scheduling. */
  readonly #schedules: Schedule[] = []

  /** Infinity while there is none. */
  get nextAt(): number {
    return this.#schedules[0]?.at ?? Number.POSITIVE_INFINITY
  }

  schedule(
    node: string,
    at: number,
    intervalMs: number,
    run: (timestamp: number) => MaybePromise<void>,
  ): Cancellable {
    const schedule: Schedule = { node, intervalMs, run, at, cancelled: false }
    this.#insert(schedule)
    return {
      cancel: () => {
        schedule.cancelled = true
        const index = this.#schedules.indexOf(schedule)
        if (index >= 0) this.#schedules.splice(index, 1)
      },
    }
  }

  /** Calls all that are due, one after another; `around` runs each (and attributes its errors). Undefined: none waited. */
  fire(
    now: number,
    around: (node: string, run: () => MaybePromise<void>) => MaybePromise<void>,
  ): void | Promise<void> {
    while (this.nextAt <= now) {
      const schedule = this.#schedules.shift() as Schedule
      const waiting = around(schedule.node, () => schedule.run(now))
      if (isPromise(waiting)) {
        return waiting.then(() => {
          this.#again(schedule, now)
          return this.fire(now, around)
        })
      }
      this.#again(schedule, now)
    }
  }

  #again(schedule: Schedule, now: number): void {
    if (schedule.cancelled) return
    schedule.at = following(schedule.at, schedule.intervalMs, now)
    this.#insert(schedule)
  }

  #insert(schedule: Schedule): void {
    const index = this.#schedules.findIndex((other) => other.at > schedule.at)
    this.#schedules.splice(index < 0 ? this.#schedules.length : index, 0, schedule)
  }
}

/** The first `at + n * interval`, n >= 1, that is after now. */
export function following(at: number, intervalMs: number, now: number): number {
  const next = at + intervalMs
  return now >= next ? at + (Math.floor((now - at) / intervalMs) + 1) * intervalMs : next
}
