/**
 * A system under test: a process that says `RUNNING` and the time when its tasks run, `DONE` and what it did when its
 * input ends. What it used is read from /proc while it lives.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

export type Usage = { readonly cpuSeconds: number; readonly rssMb: number }
export type Done = { readonly commits: number; readonly changelogRecords: number; readonly restored: number }

const ticksPerSecond = 100

/** CPU time since it started and most memory it ever had, of a process of any kind. */
export function usageOf(pid: number): Usage {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[11]) + Number(fields[12])
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return { cpuSeconds: ticks / ticksPerSecond, rssMb: Math.round(Number(peak?.[1] ?? 0) / 1024) }
}

type Watcher = { readonly test: RegExp; readonly settle: (found: RegExpExecArray | Error) => void }

const live = new Set<SystemProcess>()

/** Of a measurement that takes for ever: whatever it waits for ends with them. */
export async function killAll(): Promise<void> {
  await Promise.all(Array.from(live, (subject) => subject.kill()))
}

export class SystemProcess {
  readonly startedAt = Date.now()
  readonly name: string
  readonly #child: ChildProcess
  readonly #exited: Promise<number | null>
  readonly #lines: string[] = []
  #watchers: Watcher[] = []
  #rest = ''

  constructor(name: string, command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.name = name
    const child = spawn(command, args, { stdio: 'pipe', env: { ...process.env, ...env } })
    this.#child = child
    child.stdout.setEncoding('utf8').on('data', (text: string) => this.#heard(text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => this.#heard(text))
    child.stdin.on('error', () => {})
    this.#exited = new Promise((resolve) => {
      child.once('error', (error) => {
        this.#lines.push(String(error))
        resolve(null)
      })
      child.once('close', resolve)
    })
    void this.#exited.then((code) => {
      for (const { test, settle } of this.#watchers)
        settle(new Error(`${name} ended (${code}) before it said ${test}:\n${this.tail}`))
      this.#watchers = []
    })
    // Nothing outlives the run, however it ends.
    process.on('exit', this.#end)
    live.add(this)
    void this.#exited.then(() => {
      process.off('exit', this.#end)
      live.delete(this)
    })
  }

  readonly #end = (): void => void this.#child.kill('SIGKILL')

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get tail(): string {
    return this.#lines.slice(-30).join('\n')
  }

  get usage(): Usage {
    return usageOf(this.pid)
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** The first line, also of those said before, that matches. */
  said(test: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    for (const line of this.#lines) {
      const found = test.exec(line)
      if (found !== null) return Promise.resolve(found)
    }
    if (!this.isAlive)
      return Promise.reject(new Error(`${this.name} ended and never said ${test}:\n${this.tail}`))
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#watchers = this.#watchers.filter((one) => one !== watcher)
        reject(new Error(`${this.name} did not say ${test} within ${timeoutMs} ms:\n${this.tail}`))
      }, timeoutMs)
      const watcher: Watcher = {
        test,
        settle: (found) => {
          clearTimeout(timer)
          if (found instanceof Error) reject(found)
          else resolve(found)
        },
      }
      this.#watchers.push(watcher)
    })
  }

  /** When its tasks ran. */
  async running(timeoutMs = 180_000): Promise<number> {
    const [, at] = await this.said(/^RUNNING (\d+)/, timeoutMs)
    return Number(at)
  }

  /** Ends its input, and it by force if that doesn't help. */
  async finish(timeoutMs = 30_000): Promise<Done> {
    this.#child.stdin?.end()
    const [, json] = await this.said(/^DONE (.*)/, timeoutMs)
    const timer = setTimeout(this.#end, timeoutMs)
    await this.#exited
    clearTimeout(timer)
    return JSON.parse(json ?? '{}') as Done
  }

  /** As a crash would. */
  async kill(): Promise<void> {
    this.#end()
    await this.#exited
  }

  #heard(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      this.#lines.push(line)
      for (const watcher of [...this.#watchers]) {
        const found = watcher.test.exec(line)
        if (found === null) continue
        this.#watchers = this.#watchers.filter((one) => one !== watcher)
        watcher.settle(found)
      }
    }
  }
}
