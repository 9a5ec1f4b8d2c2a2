/**
 * Workers, with what this process was started with: what a program registered for itself (a loader of TypeScript) does
 * not reach its workers otherwise.
 */
import { Worker, type WorkerOptions } from 'node:worker_threads'

const added: string[] = []

/** Arguments of node for every worker that is started from now on. */
export function addWorkerArguments(...arguments_: readonly string[]): void {
  added.push(...arguments_)
}

export function startWorker(file: URL, options: WorkerOptions): Worker {
  // Without a word a worker inherits everything.
  if (added.length === 0) return new Worker(file, options)
  const execArgv = [...process.execArgv, ...added]
  try {
    return new Worker(file, { ...options, execArgv })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'ERR_WORKER_INVALID_EXEC_ARGV') throw error
    // Those of the whole process (--max-old-space-size, --title) hold in its workers, and can't be said to one.
    const refused = new Set(message.slice(message.indexOf(': ') + 2).split(', '))
    return new Worker(file, { ...options, execArgv: execArgv.filter((one) => !refused.has(one)) })
  }
}
