/** What a command may touch of the world: passed in, so that tests run commands without a process of their own. */
import { createInterface } from 'node:readline/promises'

export type Io = {
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** A person looks at the standard output. */
  readonly terminal: boolean
  /** One looks at the standard error, too. */
  readonly errTerminal: boolean
  readonly columns: () => number
  readonly rows: () => number
  out(text: string): void
  err(text: string): void
  /** null: nobody can answer. */
  ask(question: string): Promise<string | null>
  /** SIGINT and SIGTERM. Returns what takes the listener off again. */
  onSignal(listener: (signal: string) => void): () => void
  /** Ends the process now, where waiting is over. */
  exit(code: number): void
}

export function processIo(): Io {
  return {
    cwd: process.cwd(),
    env: process.env,
    terminal: process.stdout.isTTY === true,
    errTerminal: process.stderr.isTTY === true,
    // A terminal that does not know its size says 0.
    columns: () => process.stdout.columns || 100,
    rows: () => process.stdout.rows || 40,
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    async ask(question) {
      if (process.stdin.isTTY !== true) return null
      const lines = createInterface({ input: process.stdin, output: process.stderr })
      try {
        return await lines.question(question)
      } finally {
        lines.close()
      }
    },
    onSignal(listener) {
      const on = (signal: string): void => listener(signal)
      process.on('SIGINT', on)
      process.on('SIGTERM', on)
      return () => {
        process.off('SIGINT', on)
        process.off('SIGTERM', on)
      }
    },
    exit: (code) => process.exit(code),
  }
}
