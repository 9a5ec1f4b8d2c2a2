/**
 * Which active tasks come here and go with an assignment, from whom, and how long it took until they ran: two lines in
 * the log, at level info. An assignment that changes nothing says nothing.
 */
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { RosterEntry } from './group-protocol.ts'
import type { Hooks } from './hooks.ts'

export type Handover = {
  readonly generation: number
  readonly memberId: string
  /** Active tasks here until this assignment, and with it. */
  readonly before: readonly string[]
  readonly active: readonly string[]
  /** Who has what from here on; empty where the group is too large for everyone to know. */
  readonly roster: readonly RosterEntry[]
}

/** As many tasks are named; of more, their number is enough. */
const namedMax = 12

export class Takeover {
  readonly hooks: Hooks = {
    restore: ({ task, phase, records }) => {
      if (phase === 'end' && this.#waiting.has(task)) this.#restored += records
    },
  }
  readonly #clock: Clock
  readonly #logger: Logger
  /** Who was last known to have a task; a task between two owners stays with the former. */
  readonly #holders = new Map<string, string>()
  readonly #waiting = new Set<string>()
  #ran: string[] = []
  #since = 0
  #restored = 0

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock
    this.#logger = logger
  }

  /** Before the threads are told. */
  assigned({ generation, memberId, before, active, roster }: Handover): void {
    const had = new Set(before)
    const has = new Set(active)
    const came = active.filter((task) => !had.has(task))
    const went = before.filter((task) => !has.has(task))
    const parts = [
      ...(came.length > 0 ? [`come here: ${this.#withOrigin(came, memberId, roster)}`] : []),
      ...(went.length > 0 ? [`go: ${named(went)}`] : []),
    ]
    for (const { memberId: holder, tasks } of roster)
      for (const task of tasks) this.#holders.set(task, holder)
    for (const task of this.#waiting) if (!has.has(task)) this.#waiting.delete(task)
    if (parts.length > 0)
      this.#logger.info(`generation ${generation} of the group: tasks ${parts.join('; ')}`)
    if (came.length === 0) {
      this.#tell()
      return
    }
    // Those that still wait from before are told of with these.
    if (this.#waiting.size === 0) {
      this.#since = this.#clock.now()
      this.#restored = 0
      this.#ran = []
    }
    for (const task of came) this.#waiting.add(task)
  }

  running(task: string): void {
    if (!this.#waiting.delete(task)) return
    this.#ran.push(task)
    this.#tell()
  }

  /** The group goes on without this member. */
  lost(): void {
    this.#waiting.clear()
    this.#ran = []
  }

  #tell(): void {
    if (this.#waiting.size > 0 || this.#ran.length === 0) return
    const tookMs = Math.round(this.#clock.now() - this.#since)
    const restored =
      this.#restored === 0 ? 'nothing had to be restored' : `${this.#restored} records were restored`
    this.#logger.info(`tasks ${named(this.#ran)} run ${tookMs} ms after they were assigned; ${restored}`)
    this.#ran = []
  }

  /** By who had them, first those of whom that is known. */
  #withOrigin(tasks: readonly string[], self: string, roster: readonly RosterEntry[]): string {
    const groups = new Map<string, string[]>()
    for (const task of tasks) {
      const holder = this.#holders.get(task)
      const from = holder === undefined || holder === self ? '' : holder
      const group = groups.get(from)
      if (group === undefined) groups.set(from, [task])
      else group.push(task)
    }
    const here = new Set(roster.map(({ memberId }) => memberId))
    return [...groups]
      .sort(([a], [b]) => Number(a === '') - Number(b === ''))
      .map(([from, own]) => {
        if (from === '') return named(own)
        return `${named(own)} from ${from}${here.size > 0 && !here.has(from) ? ', which is gone' : ''}`
      })
      .join('; ')
  }
}

function named(tasks: readonly string[]): string {
  if (tasks.length <= namedMax) return tasks.join(', ')
  return `${tasks.slice(0, namedMax).join(', ')} and ${tasks.length - namedMax} more`
}
