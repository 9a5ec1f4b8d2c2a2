/**
 * When to commit. The interval is the upper bound; a drained input commits early, but no sooner than spares the broker:
 * not before `commitMinIntervalMs`, not before three times the last commit took, and with at most so many transaction
 * markers a second, one per partition written.
 */
export type PaceOptions = {
  readonly intervalMs: number
  readonly minIntervalMs: number
  readonly markersPerSecondMax: number
}

export class CommitPace {
  readonly #options: PaceOptions
  #startedAt: number
  #earliestAt: number

  constructor(options: PaceOptions, now: number) {
    this.#options = options
    this.#startedAt = now
    this.#earliestAt = now
  }

  /** A commit began. */
  started(now: number): void {
    this.#startedAt = now
    this.#earliestAt = Number.POSITIVE_INFINITY
  }

  /** It ended, having written to so many partitions. */
  ended(now: number, partitions: number): void {
    const { minIntervalMs, markersPerSecondMax } = this.#options
    // Without a least interval the pacing is off: the user asked for latency at any price.
    const rest =
      minIntervalMs === 0
        ? 0
        : Math.max(minIntervalMs, 3 * (now - this.#startedAt), (partitions / markersPerSecondMax) * 1000)
    this.#earliestAt = this.#startedAt + rest
  }

  /** When a busy thread commits. */
  get dueAt(): number {
    return this.#startedAt + this.#options.intervalMs
  }

  /** When a drained thread may commit. */
  get earliestAt(): number {
    return Math.min(this.#earliestAt, this.dueAt)
  }
}
