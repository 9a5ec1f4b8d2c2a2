/**
 * Arguments of node for every worker that is started: what a program registered for itself (a loader of TypeScript)
 * does not reach its workers otherwise.
 */
const added: string[] = []

export function addWorkerArguments(...arguments_: readonly string[]): void {
  added.push(...arguments_)
}

export function workerArguments(): string[] {
  return [...process.execArgv, ...added]
}
