/** Windows as data. All times in milliseconds since the epoch; intervals are [start, end) unless said otherwise. */

export type TimeWindowsSpec = {
  readonly kind: 'time'
  readonly sizeMs: number
  readonly advanceMs: number
  readonly graceMs: number
}

/** [start, forever): one window. */
export type UnlimitedWindowsSpec = { readonly kind: 'unlimited'; readonly startMs: number }

/** The windows of a user's own making: for a timestamp, start -> end. */
export type CustomWindowsSpec = {
  readonly kind: 'custom'
  windowsFor(timestamp: number): ReadonlyMap<number, number>
  readonly sizeMs: number
  readonly graceMs: number
}

/** Both ends inclusive: [t - difference, t]. */
export type SlidingWindowsSpec = {
  readonly kind: 'sliding'
  readonly differenceMs: number
  readonly graceMs: number
}

export type SessionWindowsSpec = {
  readonly kind: 'session'
  readonly gapMs: number
  readonly graceMs: number
}

export type JoinWindowsSpec = {
  readonly beforeMs: number
  readonly afterMs: number
  readonly graceMs: number
  /** Kafka Streams' deprecated `JoinWindows.of`: unmatched results are sent at once. */
  readonly eager: boolean
}

export type FixedWindowsSpec = TimeWindowsSpec | UnlimitedWindowsSpec | CustomWindowsSpec

export type WindowsSpec = FixedWindowsSpec | SlidingWindowsSpec | SessionWindowsSpec

export { Windowed } from '../serde/windowed.ts'

/** Windows of a record up to which they are kept and asked for one by one; more are taken as what they are, a range. */
const overlapMax = 16

export function overlapMuch(sizeMs: number, advanceMs: number): boolean {
  return sizeMs > overlapMax * advanceMs
}
