/**
 * How fast a member processes and how far behind its input it is, for the leader, which takes work from one that is
 * much slower than the others. It is sampled once a second and goes by the last few: the first records of a process are
 * slow, and say nothing yet.
 */
import type { ThreadStatus } from './status.ts'

const samplesMin = 4
const samplesMax = 8

export class MemberSpeed {
  /** How long the input that waits would take at this speed. */
  behindMs = 0
  /** Records per second of busy time and thread; 0: not known. An idle member keeps the speed that it had. */
  perSecond = 0
  #askedBehindMs = 0
  readonly #samples: { readonly records: number; readonly busyMs: number }[] = [{ records: 0, busyMs: 0 }]

  sample(threads: readonly Pick<ThreadStatus, 'records' | 'busyMs' | 'tasks'>[]): void {
    let records = 0
    let busyMs = 0
    let waiting = 0
    for (const thread of threads) {
      records += thread.records
      busyMs += thread.busyMs
      for (const { inputs } of thread.tasks) {
        for (const { position, endOffset } of inputs)
          if (position >= 0 && endOffset !== null) waiting += Math.max(0, endOffset - position)
      }
    }
    const samples = this.#samples
    // A thread that was replaced counts from zero.
    if (records < (samples.at(-1)?.records ?? 0)) samples.length = 0
    samples.push({ records, busyMs })
    if (samples.length < samplesMin) return
    if (samples.length > samplesMax) samples.shift()
    const first = samples[0] as { readonly records: number; readonly busyMs: number }
    const done = records - first.records
    const busy = busyMs - first.busyMs
    if (done > 0 && busy > 1) this.perSecond = (done * 1000) / busy
    const rate = this.perSecond * Math.max(1, threads.length)
    this.behindMs = waiting === 0 || rate === 0 ? 0 : (waiting * 1000) / rate
  }

  /** What it asked with stands until it is answered: one that is slow misses rounds, and is a bit less behind by then. */
  get saidBehindMs(): number {
    return Math.max(this.behindMs, this.#askedBehindMs)
  }

  asked(): void {
    this.#askedBehindMs = this.behindMs
  }

  answered(): void {
    this.#askedBehindMs = 0
  }
}
