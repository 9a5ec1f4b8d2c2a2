/**
 * How far the restore of local state is, as one line at the bottom of a terminal: all stores together, gone when none is
 * left. The cursor stays at the line's begin, so that the next line of the log takes its place. Of standbys, which
 * follow for ever, nothing is shown.
 */
import type { Hooks } from '../runtime/hooks.ts'
import { readableSpan } from './view.ts'

const barWidth = 24
const drawEveryMs = 200
const eraseLine = '\u001b[K'

type Part = { readonly from: number; readonly to: number; at: number }

export class RestoreBar {
  readonly hooks: Hooks
  readonly #write: (text: string) => void
  readonly #now: () => number
  /** By task, store and partition, until all of them are done. */
  readonly #parts = new Map<string, Part>()
  #left = 0
  #startedAt = 0
  #drawnAt = 0
  #drawn = false

  constructor(write: (text: string) => void, now: () => number = () => performance.now()) {
    this.#write = write
    this.#now = now
    this.hooks = {
      restore: ({ task, store, partition, phase, startOffset, offset, endOffset }) => {
        if (endOffset === Number.POSITIVE_INFINITY) return
        const id = `${task} ${store} ${partition}`
        let part = this.#parts.get(id)
        if (part === undefined || phase === 'start') {
          // What is over within a moment is not drawn at all.
          if (this.#parts.size === 0) this.#startedAt = this.#drawnAt = this.#now()
          if (part === undefined) this.#left++
          part = { from: startOffset, to: endOffset, at: startOffset }
          this.#parts.set(id, part)
        }
        part.at = offset
        if (phase === 'end') this.#left--
        if (phase === 'suspended') {
          this.#parts.delete(id)
          this.#left--
        }
        if (this.#left <= 0) this.clear()
        else this.#draw()
      },
    }
  }

  clear(): void {
    this.#parts.clear()
    this.#left = 0
    if (!this.#drawn) return
    this.#drawn = false
    this.#write(`\r${eraseLine}`)
  }

  #draw(): void {
    const now = this.#now()
    if (now - this.#drawnAt < drawEveryMs) return
    this.#drawnAt = now
    let total = 0
    let done = 0
    for (const { from, to, at } of this.#parts.values()) {
      total += to - from
      done += Math.min(at, to) - from
    }
    const share = total === 0 ? 1 : done / total
    const perSecond = (done / Math.max(1, now - this.#startedAt)) * 1000
    const left = perSecond > 0 ? `, ${readableSpan(((total - done) / perSecond) * 1000)} left` : ''
    const full = Math.round(share * barWidth)
    const bar = `${'█'.repeat(full)}${'░'.repeat(barWidth - full)}`
    const many = this.#left === 1 ? '1 store' : `${this.#left} stores`
    this.#drawn = true
    this.#write(
      `\r${bar} ${Math.floor(share * 100)} % of ${total.toLocaleString('en')} restored, ${many} to go${left}${eraseLine}\r`,
    )
  }
}
