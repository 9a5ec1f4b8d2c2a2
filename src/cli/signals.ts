/** SIGTERM and SIGINT: the first asks for an orderly end, the second ends at once. */
import { exitCodes } from './exit.ts'
import type { Io } from './io.ts'

/** Resolves at the first signal, or when `also` does. From then on a second signal ends the process. */
export function untilSignal(io: Io, also?: Promise<unknown>): Promise<string | null> {
  return new Promise((resolve, reject) => {
    let heard = false
    io.onSignal((signal) => {
      if (heard) {
        io.exit(exitCodes.failed)
        return
      }
      heard = true
      resolve(signal)
    })
    also?.then(() => resolve(null), reject)
  })
}
