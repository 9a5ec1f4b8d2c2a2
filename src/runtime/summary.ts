/** What an application did since the last time it was asked, in one line for the log. */
import type { Clock } from '../base/clock.ts'
import type { Hooks } from './hooks.ts'
import type { ApplicationStatus } from './status.ts'

export class Summary {
  readonly hooks: Hooks
  readonly #clock: Clock
  #since: number
  #records = 0
  #dropped = 0
  #commits = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#since = clock.now()
    this.hooks = {
      batch: ({ records }) => {
        this.#records += records
      },
      dropped: () => {
        this.#dropped++
      },
      committed: () => {
        this.#commits++
      },
    }
  }

  /** Begins anew with each call. */
  line(status: ApplicationStatus): string {
    const now = this.#clock.now()
    const seconds = Math.max(0.001, (now - this.#since) / 1000)
    const rate = Math.round(this.#records / seconds)
    let lag = 0
    let tasks = 0
    for (const { tasks: own } of status.threads) {
      for (const { role, inputs } of own) {
        if (role !== 'active') continue
        tasks++
        for (const { position, endOffset } of inputs)
          if (endOffset !== null && position >= 0) lag += Math.max(0, endOffset - position)
      }
    }
    const line =
      `${status.applicationId} ${status.state}, ${tasks} tasks; in the last ${Math.round(seconds)} s: ` +
      `${this.#records} records processed (${rate}/s), ${this.#dropped} dropped, ${this.#commits} commits; lag ${lag} records`
    this.#since = now
    this.#records = 0
    this.#dropped = 0
    this.#commits = 0
    return line
  }
}
