/** A clock that stands until it is moved. Timers that fall due on the way run in order. */
import type { Clock, Timer } from '../../src/base/clock.ts'

type Due = { readonly atMs: number; readonly run: () => void }

export class ManualClock implements Clock {
  #nowMs: number
  #due: Due[] = []

  constructor(nowMs = 1_700_000_000_000) {
    this.#nowMs = nowMs
  }

  now(): number {
    return this.#nowMs
  }

  after(delayMs: number, run: () => void): Timer {
    const due = { atMs: this.#nowMs + delayMs, run }
    this.#due.push(due)
    return {
      cancel: () => {
        this.#due = this.#due.filter((each) => each !== due)
      },
    }
  }

  advance(ms: number): void {
    const end = this.#nowMs + ms
    for (;;) {
      const next = this.#due.toSorted((a, b) => a.atMs - b.atMs)[0]
      if (next === undefined || next.atMs > end) break
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      this.#due = this.#due.filter((each) => each !== next)
      next.run()
    }
    this.#nowMs = end
  }
}
