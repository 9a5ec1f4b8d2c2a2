/**
 * What happens to a record that can't be read, processed or written: the application's handlers, asked in one place,
 * and the dead-letter record that keeps its bytes and the cause.
 */
import type { Header, Headers } from '../base/headers.ts'

export type FailedRecord = {
  readonly task: string
  readonly node: string
  readonly topic: string | null
  readonly partition: number
  readonly offset: number
  readonly timestamp: number
  readonly headers: Headers
  /** The source record's bytes; null where it had none, or none are known (punctuation). */
  readonly rawKey: Buffer | null
  readonly rawValue: Buffer | null
  /** As the failing node saw them; undefined where they could not be read. */
  readonly key?: unknown
  readonly value?: unknown
}

/** `retry` is for production only: the send is tried again with the next commit. */
export type HandlerAnswer = 'fail' | 'continue' | 'retry'

export type ErrorHandler = 'fail' | 'continue' | ((error: Error, record: FailedRecord) => HandlerAnswer)

export type ErrorHandlers = {
  readonly deserialization: ErrorHandler
  readonly processing: ErrorHandler
  readonly production: ErrorHandler
  /** Gets every failed record's source bytes, whatever the handler answers. */
  readonly deadLetterTopic: string | null
}

export const failingHandlers: ErrorHandlers = {
  deserialization: 'fail',
  processing: 'fail',
  production: 'fail',
  deadLetterTopic: null,
}

export function ask(handler: ErrorHandler, error: Error, record: FailedRecord): HandlerAnswer {
  return typeof handler === 'function' ? handler(error, record) : handler
}

/** Kafka Streams' names (KIP-1034). */
export function deadLetterHeaders(error: Error, record: FailedRecord): Headers {
  const text = (key: string, value: string): Header => ({
    key: `__streams.errors.${key}`,
    value: Buffer.from(value),
  })
  return [
    ...record.headers,
    text('exception', error.name),
    text('message', error.message),
    text('stacktrace', error.stack ?? ''),
    text('topic', record.topic ?? ''),
    text('partition', String(record.partition)),
    text('offset', String(record.offset)),
  ]
}

export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(`${String(thrown)} (thrown, not an Error)`)
}
