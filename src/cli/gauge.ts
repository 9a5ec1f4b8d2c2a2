/** What `dev` shows of a running topology, added up from the engine's hooks; rates are over the last seconds. */
import type { DropReason } from '../base/drop.ts'
import type { Hooks } from '../runtime/hooks.ts'

export type GaugeSample = {
  readonly inputPerSecond: number
  readonly outputPerSecond: number
  readonly commitsPerSecond: number
  readonly commitMs: number
  readonly lag: number
  readonly dropped: number
  /** Why, the most frequent first. */
  readonly dropReasons: readonly DropReason[]
  readonly processed: number
  /** Input a second, the last seconds, oldest first. */
  readonly history: readonly number[]
}

const secondsKept = 30
const rateSeconds = 3

export class Gauge {
  readonly hooks: Hooks
  readonly #now: () => number
  readonly #lags = new Map<string, number>()
  /** Per second: input, output, commits, commit time. */
  readonly #seconds = new Map<number, { input: number; output: number; commits: number; commitMs: number }>()
  readonly #startedAt: number
  #processed = 0
  readonly #dropped = new Map<DropReason, number>()

  constructor(now: () => number) {
    this.#now = now
    this.#startedAt = now()
    this.hooks = {
      batch: ({ records }) => {
        this.#processed += records
        this.#second().input += records
      },
      committed: ({ outputRecords, durationMs }) => {
        const second = this.#second()
        second.output += outputRecords
        second.commits++
        second.commitMs += durationMs
      },
      lag: ({ task, topic, partition, records }) =>
        void this.#lags.set(`${task} ${topic} ${partition}`, records),
      taskClosed: (_thread, task) => {
        for (const id of this.#lags.keys()) if (id.startsWith(`${task} `)) this.#lags.delete(id)
      },
      dropped: ({ reason }) => {
        this.#dropped.set(reason, (this.#dropped.get(reason) ?? 0) + 1)
      },
    }
  }

  #second() {
    const at = Math.floor(this.#now() / 1000)
    let second = this.#seconds.get(at)
    if (second === undefined) {
      this.#seconds.set(at, (second = { input: 0, output: 0, commits: 0, commitMs: 0 }))
      for (const old of this.#seconds.keys()) if (old < at - secondsKept) this.#seconds.delete(old)
    }
    return second
  }

  sample(): GaugeSample {
    const current = Math.floor(this.#now() / 1000)
    // The second under way is not whole yet.
    const whole = Math.max(1, Math.min(rateSeconds, current - Math.floor(this.#startedAt / 1000)))
    let input = 0
    let output = 0
    let commits = 0
    let commitMs = 0
    for (let at = current - whole; at < current; at++) {
      const second = this.#seconds.get(at)
      if (second === undefined) continue
      input += second.input
      output += second.output
      commits += second.commits
      commitMs += second.commitMs
    }
    const history = Array.from(
      { length: secondsKept },
      (_, index) => this.#seconds.get(current - secondsKept + index)?.input ?? 0,
    )
    let lag = 0
    for (const records of this.#lags.values()) lag += records
    const drops = [...this.#dropped].sort(([, left], [, right]) => right - left)
    return {
      inputPerSecond: input / whole,
      outputPerSecond: output / whole,
      commitsPerSecond: commits / whole,
      commitMs: commits === 0 ? 0 : commitMs / commits,
      lag,
      dropped: drops.reduce((sum, [, records]) => sum + records, 0),
      dropReasons: drops.map(([reason]) => reason),
      processed: this.#processed,
      history,
    }
  }
}
