/** What the main thread and a stream thread in a worker say to each other. All of it is data that can be cloned. */
import { type About, type ErrorCode, StreamsError, type Verdict } from '../base/errors.ts'
import type { LogFields, LogLevel } from '../base/logger.ts'
import type { GroupIdentity } from '../kafka/client.ts'
import type { Hooks } from './hooks.ts'
import type { StateRow, TaskAnswer, TaskQuery } from './state-query.ts'
import type { TaskStatus, ThreadStatus } from './status.ts'
import type { TaskAssignment } from './stream-thread.ts'

/** What a worker is started with. */
export type WorkerStart = {
  /** The module whose default export is the topology, or makes it. */
  readonly module: string
  readonly name: string
  readonly transactionalId: string
  /** Of the main thread's topology: one that differs here stops the start. */
  readonly fingerprint: string
  /** The settings that are data; functions come from the module's own `config`. */
  readonly config: Readonly<Record<string, unknown>>
  /** Of progress.ts: where the thread is. */
  readonly progress: SharedArrayBuffer
  /** Hooks somebody listens to: others are not sent. */
  readonly hooks: readonly (keyof Hooks)[]
}

export type ToWorker =
  | { readonly kind: 'call'; readonly id: number; readonly call: 'start' | 'lose' | 'stop' }
  | { readonly kind: 'call'; readonly id: number; readonly call: 'revoke'; readonly tasks: readonly string[] }
  | {
      readonly kind: 'assign'
      readonly tasks: readonly TaskAssignment[]
      readonly identity: GroupIdentity
      readonly fence: readonly string[]
    }
  | { readonly kind: 'identity'; readonly identity: GroupIdentity }
  | { readonly kind: 'query'; readonly id: number; readonly request: TaskQuery }
  | { readonly kind: 'cache'; readonly bytesMax: number }
  | { readonly kind: 'pause' | 'resume' }

export type FromWorker =
  | { readonly kind: 'answer'; readonly id: number; readonly error: PlainError | null }
  /** Rows of an answer, a part at a time; `answered` ends it. */
  | { readonly kind: 'rows'; readonly id: number; readonly rows: readonly StateRow[] }
  | { readonly kind: 'answered'; readonly id: number; readonly answer: TaskAnswer | PlainError }
  | { readonly kind: 'running'; readonly task: string; readonly status: TaskStatus | null }
  | { readonly kind: 'lost'; readonly error: PlainError; readonly tasks: readonly string[] }
  | { readonly kind: 'failed'; readonly error: PlainError }
  | { readonly kind: 'status'; readonly status: ThreadStatus }
  | { readonly kind: 'hooks'; readonly calls: readonly HookCall[] }
  | {
      readonly kind: 'log'
      readonly level: Exclude<LogLevel, 'silent'>
      readonly message: string
      readonly fields: LogFields | undefined
    }

export type HookCall = { readonly name: keyof Hooks; readonly args: readonly unknown[] }

export type PlainError = {
  readonly code: ErrorCode
  readonly message: string
  readonly verdict: Verdict
  readonly about: About
  readonly stack: string | undefined
}

export function toPlain(error: StreamsError): PlainError {
  const { code, message, verdict, about, stack } = error
  return { code, message, verdict, about, stack }
}

export function fromPlain(plain: PlainError): StreamsError {
  const error = new StreamsError(plain.code, plain.message, { ...plain.about, verdict: plain.verdict })
  if (plain.stack !== undefined) error.stack = plain.stack
  return error
}
