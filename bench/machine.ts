/** The machine that is measured on: how much of it others used meanwhile. A measurement is as good as it is quiet. */
import { readFileSync } from 'node:fs'
import { usageOf } from './process.ts'

const ticksPerSecond = 100

type Reading = { readonly at: number; readonly machine: number; readonly ours: number }

export class CpuMeter {
  readonly #brokerPid: number | null
  readonly #from: Reading

  constructor(brokerPid: number | null) {
    this.#brokerPid = brokerPid
    this.#from = this.#read()
  }

  /** Cores that were busy with what is not of this run, on average. A broker that was there before counts as such. */
  others(): number {
    const to = this.#read()
    const seconds = (to.at - this.#from.at) / 1_000
    const busy = to.machine - this.#from.machine - (to.ours - this.#from.ours)
    return Math.max(0, Math.round((busy / seconds) * 100) / 100)
  }

  #read(): Reading {
    // user nice system idle iowait irq softirq steal
    const [user, nice, system, , , irq, softirq, steal] = (
      readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? ''
    )
      .split(/\s+/)
      .slice(1)
      .map(Number) as [number, number, number, number, number, number, number, number]
    const stat = readFileSync('/proc/self/stat', 'utf8')
    // This process, and those it has waited for.
    const [utime, stime, cutime, cstime] = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .slice(11, 15)
      .map(Number) as [number, number, number, number]
    const broker = this.#brokerPid === null ? 0 : usageOf(this.#brokerPid).cpuSeconds
    return {
      at: Date.now(),
      machine: (user + nice + system + irq + softirq + steal) / ticksPerSecond,
      ours: (utime + stime + cutime + cstime) / ticksPerSecond + broker,
    }
  }
}
