/**
 * Input made up by a topology file for `millrace dev` and for its tests: an endless sequence of records for the topics
 * that the topology reads. All chance comes from `random` and all time from `now`, so a test repeats it exactly.
 */
export type GeneratedRecord = {
  readonly topic: string
  /** null or left out: no key. */
  readonly key?: unknown
  readonly value: unknown
  /** Left out: `now()`. */
  readonly timestamp?: number
}

export type GenerateContext = {
  /** 0 up to, and not including, 1. */
  random(): number
  /** A whole number from 0 up to, and not including, `below`. */
  integer(below: number): number
  pick<T>(from: readonly T[]): T
  now(): number
}

/** What a topology file exports as `generate`. */
export type Generate = (context: GenerateContext) => Iterable<GeneratedRecord>

/** Chance that a seed repeats (mulberry32). */
export function seededContext(seed: number, now: () => number): GenerateContext {
  let state = seed >>> 0
  const random = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
  const integer = (below: number): number => Math.floor(random() * below)
  return {
    random,
    integer,
    pick: <T>(from: readonly T[]): T => from[integer(from.length)] as T,
    now,
  }
}
