/** A command run in this process: what it printed, what it answered, and signals to send it. */
import type { Io } from '../../src/cli/io.ts'
import { runCommand } from '../../src/cli/program.ts'

export type Console = {
  readonly io: Io
  readonly out: () => string
  readonly err: () => string
  /** Resolves when the standard output has the text. */
  says(text: string | RegExp): Promise<void>
  signal(name?: string): void
  readonly exits: number[]
}

export function makeConsole(
  options: {
    cwd?: string
    env?: Record<string, string>
    answers?: readonly string[]
    terminal?: boolean
  } = {},
): Console {
  let out = ''
  let err = ''
  const listeners = new Set<(signal: string) => void>()
  const waiting = new Set<() => void>()
  const answers = [...(options.answers ?? [])]
  const exits: number[] = []
  const io: Io = {
    cwd: options.cwd ?? process.cwd(),
    env: options.env ?? {},
    terminal: options.terminal ?? false,
    errTerminal: options.terminal ?? false,
    columns: () => 100,
    rows: () => 40,
    out(text) {
      out += text
      for (const check of waiting) check()
    },
    err(text) {
      err += text
    },
    ask: async () => answers.shift() ?? null,
    onSignal(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    exit: (code) => void exits.push(code),
  }
  return {
    io,
    out: () => out,
    err: () => err,
    exits,
    says: (text) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (typeof text === 'string' ? !out.includes(text) : !text.test(out)) return
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
      }),
    signal(name = 'SIGTERM') {
      for (const listener of listeners) listener(name)
    },
  }
}

/** Runs it to its end. */
export async function command(
  line: string,
  options: Parameters<typeof makeConsole>[0] = {},
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const made = makeConsole(options)
  const code = await runCommand(
    line.split(' ').filter((part) => part !== ''),
    made.io,
  )
  return { code, out: made.out(), err: made.err() }
}
