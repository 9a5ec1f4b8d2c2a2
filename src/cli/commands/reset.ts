import type { ExitCode } from '../exit.ts'
import type { Io } from '../io.ts'

export async function run(
  _io: Io,
  _given: Readonly<Record<string, unknown>>,
  ..._rest: string[]
): Promise<ExitCode> {
  throw new Error('wip')
}
