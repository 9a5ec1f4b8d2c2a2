/**
 * Trying again: milliseconds at first, because most refusals (a coordinator that loads, a transaction whose markers
 * are being written) are over in a few, then longer and longer, until a deadline.
 */
import { type Clock, sleep } from '../base/clock.ts'
import type { StreamsError } from '../base/errors.ts'
import { isRefusal, isRetriable } from './refusal.ts'

const firstMs = 2
const longestMs = 500
/** For what is over as soon as a transaction's markers are written. */
const longestMarkersMs = 16
/** So many tries at each length before it doubles. */
const triesPerStep = 3
const jitter = 0.2

export function backoffMs(failures: number, first: number = firstMs, longest: number = longestMs): number {
  const step = Math.min(30, Math.floor(Math.max(0, failures - 1) / triesPerStep))
  const base = Math.min(longest, first * 2 ** step)
  return Math.max(1, Math.round(base * (1 - jitter + 2 * jitter * Math.random())))
}

export type Patience = {
  readonly clock: Clock
  /** Wall-clock time after which this error is final. */
  readonly deadline: (error: StreamsError) => number
  /** Between tries: what to look up again before the next. */
  readonly onRetry?: (error: unknown) => Promise<void> | void
}

/** Runs `attempt` until it succeeds, fails for good, or the deadline passes. */
export async function retrying<T>(patience: Patience, attempt: () => Promise<T>): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await attempt()
    } catch (error) {
      const awaitsMarkers = isRefusal(error, 'CONCURRENT_TRANSACTIONS', 'UNSTABLE_OFFSET_COMMIT')
      const wait = backoffMs(failures, firstMs, awaitsMarkers ? longestMarkersMs : longestMs)
      if (!isRetriable(error) || patience.clock.now() + wait > patience.deadline(error)) throw error
      await sleep(patience.clock, wait)
      await patience.onRetry?.(error)
    }
  }
}
