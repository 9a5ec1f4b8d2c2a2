/** Wall-clock time as an argument: the test driver and the simulation replace it, and nothing else asks the system. */

export type Timer = { cancel(): void }

export type Clock = {
  /** Milliseconds since the epoch. */
  now(): number
  /** Calls `run` once, `delayMs` from now. */
  after(delayMs: number, run: () => void): Timer
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs)
    return { cancel: () => clearTimeout(handle) }
  },
}

export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => clock.after(delayMs, resolve))
}
