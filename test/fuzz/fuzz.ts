/** Runs one target over and over; each run has a seed of its own, named when it fails. */
import { drawFrom } from '../wire/draw.ts'
import { type Target, targets } from './targets.ts'

export type FuzzOptions = { readonly seed: number; readonly seconds?: number; readonly count?: number }

/** A single run that takes this long is a hang. */
const runMsMax = 5000

export function fuzz(
  name: string,
  { seed, seconds = Number.POSITIVE_INFINITY, count = Number.POSITIVE_INFINITY }: FuzzOptions,
): number {
  const target = targets[name] as Target
  const end = performance.now() + seconds * 1000
  let runs = 0
  for (let before = performance.now(); runs < count && before < end; runs++) {
    const own = seed + runs
    try {
      target(drawFrom(own))
    } catch (error) {
      throw new Error(`${name}, seed ${own}: ${(error as Error).stack ?? String(error)}`, { cause: error })
    }
    const after = performance.now()
    if (after - before > runMsMax)
      throw new Error(`${name}, seed ${own}: took ${Math.round(after - before)} ms`)
    before = after
  }
  return runs
}
