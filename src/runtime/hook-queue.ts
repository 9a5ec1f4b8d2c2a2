/**
 * The hooks that a stream thread in a worker calls: a call across to the main thread costs more than most of what they
 * tell, so they go there some at a time, in order. Of the lag of a partition only the last counts.
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { Hooks, LagSeen } from './hooks.ts'
import type { HookCall } from './worker-protocol.ts'

/** Soon enough for whoever watches. */
const delayMs = 20
const callsMax = 1_000

export class HookQueue {
  /** Those somebody listens to. */
  readonly hooks: Hooks
  readonly #clock: Clock
  readonly #send: (calls: readonly HookCall[]) => void
  #calls: HookCall[] = []
  readonly #lags = new Map<string, HookCall>()
  #timer: Timer | null = null

  constructor(names: readonly (keyof Hooks)[], clock: Clock, send: (calls: readonly HookCall[]) => void) {
    this.#clock = clock
    this.#send = send
    const hooks: Record<string, (...args: unknown[]) => void> = {}
    for (const name of names) hooks[name] = (...args) => this.#add({ name, args })
    if (names.includes('lag')) hooks['lag'] = (lag) => this.#lag(lag as LagSeen)
    this.hooks = hooks as Hooks
  }

  flush(): void {
    this.#timer?.cancel()
    this.#timer = null
    if (this.#calls.length === 0 && this.#lags.size === 0) return
    const calls = [...this.#calls, ...this.#lags.values()]
    this.#calls = []
    this.#lags.clear()
    this.#send(calls)
  }

  #lag(lag: LagSeen): void {
    this.#lags.set(`${lag.task} ${lag.topic} ${lag.partition}`, { name: 'lag', args: [lag] })
    this.#soon()
  }

  #add(call: HookCall): void {
    this.#calls.push(call)
    if (this.#calls.length >= callsMax) this.flush()
    else this.#soon()
  }

  #soon(): void {
    this.#timer ??= this.#clock.after(delayMs, () => {
      this.#timer = null
      this.flush()
    })
  }
}
