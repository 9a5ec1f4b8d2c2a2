/**
 * Whether any broker can be reached, as all parts of a client see it together: that none can is said once, and that one
 * can again.
 */
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'

export class Reach {
  readonly #clock: Clock
  readonly #logger: Logger
  /** Since when nobody answers; null: somebody does. */
  #since: number | null = null

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock
    this.#logger = logger
  }

  lost(why: string): void {
    if (this.#since !== null) return
    this.#since = this.#clock.now()
    this.#logger.warn(`${why}; trying again`)
  }

  found(broker: string): void {
    if (this.#since === null) return
    this.#logger.info(`broker ${broker} is reached, after ${this.#clock.now() - this.#since} ms without any`)
    this.#since = null
  }
}
