/** How far a long work is: a bar on a terminal, now and then a line elsewhere, JSON for machines. */
import type { Io } from './io.ts'
import { readableSpan } from './view.ts'

const barWidth = 30

export class Progress {
  readonly #io: Io
  readonly #what: string
  readonly #total: number
  readonly #json: boolean
  readonly #startedAt = performance.now()
  #first: number | null = null
  #drawnAt = 0
  #open = false
  #ended = false

  constructor(io: Io, what: string, total: number, json: boolean) {
    this.#io = io
    this.#what = what
    this.#total = total
    this.#json = json
  }

  at(done: number): void {
    if (this.#ended) return
    this.#first ??= done
    const now = performance.now()
    const every = this.#io.terminal && !this.#json ? 200 : 2_000
    if (now - this.#drawnAt < every) return
    this.#drawnAt = now
    const share = this.#total === 0 ? 1 : Math.min(1, done / this.#total)
    const perSecond = (done - this.#first) / Math.max(0.001, (now - this.#startedAt) / 1000)
    const leftMs = perSecond > 0 ? ((this.#total - done) / perSecond) * 1000 : 0
    if (this.#json) {
      this.#io.out(
        `${JSON.stringify({ event: 'progress', done: Math.min(done, this.#total), total: this.#total, perSecond: Math.round(perSecond) })}\n`,
      )
      return
    }
    const text = `${Math.floor(share * 100)} % ${this.#what}, ${Math.round(perSecond).toLocaleString('en')}/s${leftMs > 0 ? `, ${readableSpan(leftMs)} left` : ''}`
    if (this.#io.terminal) {
      const full = Math.round(share * barWidth)
      this.#io.err(`\r${'█'.repeat(full)}${'░'.repeat(barWidth - full)} ${text}\u001b[K`)
      this.#open = true
    } else {
      this.#io.err(`${text}\n`)
    }
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    if (this.#open) this.#io.err('\n')
  }
}
