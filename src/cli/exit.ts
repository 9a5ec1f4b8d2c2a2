/**
 * How a command ends. 0: done. 1: it failed, or what was asked about is not so. 2: it was called or configured wrongly,
 * so calling it again the same way can not help.
 */
import { StreamsError } from '../base/errors.ts'
import type { Io } from './io.ts'

export const exitCodes = { done: 0, failed: 1, misused: 2 } as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** A command was called wrongly; the message says what would be right. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The command ran and its answer is no. */
export class FailedError extends Error {
  override readonly name = 'FailedError'
}

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof UsageError) return exitCodes.misused
  if (
    error instanceof StreamsError &&
    (error.code === 'CONFIG_INVALID' || error.code === 'TOPOLOGY_INVALID')
  ) {
    return exitCodes.misused
  }
  return exitCodes.failed
}

/** One line, or an object for machines; the stack only where it was asked for. */
export function reportError(
  io: Io,
  error: unknown,
  how: { readonly json: boolean; readonly stack: boolean },
): void {
  const message = (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, ' ')
  const code = error instanceof StreamsError ? error.code : undefined
  if (how.json) {
    const about = error instanceof StreamsError ? error.about : undefined
    io.err(`${JSON.stringify({ error: message, ...(code === undefined ? {} : { code, about }) })}\n`)
  } else {
    io.err(`error: ${message}${code === undefined ? '' : ` (${code})`}\n`)
  }
  if (how.stack && error instanceof Error) {
    for (let at: unknown = error; at instanceof Error; at = at.cause) io.err(`${at.stack ?? at.message}\n`)
  }
}
