/**
 * When to commit. A busy thread commits at the interval; where commits to hundreds of partitions take longer, half of the
 * time: a partition costs the broker a millisecond, whatever is written to it, and one commit behind the other would
 * leave it nothing else. A drained input commits early, but no sooner than spares the broker: not before
 * `commitMinIntervalMs`, not before three times what a commit takes, and with at most so many transaction markers a
 * second, one per partition written.
 *
 * What a commit takes is what they have taken lately. Going by the last one alone, a single slow one (a pause of a
 * collector, here or in the broker) would hold up all that arrives in three times its length after it.
 */
export type PaceOptions = {
  readonly intervalMs: number
  readonly minIntervalMs: number
  readonly markersPerSecondMax: number
}

/** How far one commit moves what they take lately: slow ones must repeat themselves, quick ones are believed. */
const slowerShare = 0.1
const fasterShare = 0.5

export class CommitPace {
  readonly #options: PaceOptions
  #startedAt: number
  #earliestAt: number
  #latelyMs: number | null = null
  /** In which so many markers may be written as the last one caused. */
  #markersMs = 0

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
    const tookMs = now - this.#startedAt
    const latelyMs = this.#latelyMs ?? tookMs
    const lately = latelyMs + (tookMs - latelyMs) * (tookMs > latelyMs ? slowerShare : fasterShare)
    this.#latelyMs = lately
    this.#markersMs = (partitions / markersPerSecondMax) * 1000
    // Without a least interval the pacing is off: the user asked for latency at any price.
    const rest = minIntervalMs === 0 ? 0 : Math.max(minIntervalMs, 3 * lately, this.#markersMs)
    this.#earliestAt = this.#startedAt + rest
  }

  /** When a busy thread commits. */
  get dueAt(): number {
    return (
      this.#startedAt + Math.max(this.#options.intervalMs, 2 * Math.min(this.#latelyMs ?? 0, this.#markersMs))
    )
  }

  /** When a drained thread may commit. */
  get earliestAt(): number {
    return Math.min(this.#earliestAt, this.#startedAt + this.#options.intervalMs)
  }
}
