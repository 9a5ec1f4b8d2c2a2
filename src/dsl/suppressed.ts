/** When `suppress` lets a table's changes go on. */
import { type Duration, durationMs } from '../base/duration.ts'
import { StreamsError } from '../base/errors.ts'

export type BufferOptions = {
  readonly maxRecords?: number
  readonly maxBytes?: number
}

export type Suppression = {
  readonly until: { readonly kind: 'window-closes' } | { readonly kind: 'time-limit'; readonly ms: number }
  readonly recordsMax: number | null
  readonly bytesMax: number | null
  readonly whenFull: 'emit-early' | 'shut-down'
}

function limit(value: number | undefined, what: string): number | null {
  if (value === undefined) return null
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new StreamsError(
      'TOPOLOGY_INVALID',
      `${what} must be a whole number of at least 0, but is ${value}`,
    )
  }
  return value
}

/** Only the last result of each window goes on, once the window is closed. A full buffer stops the application. */
export function untilWindowCloses(buffer: BufferOptions = {}): Suppression {
  return {
    until: { kind: 'window-closes' },
    recordsMax: limit(buffer.maxRecords, 'untilWindowCloses: maxRecords'),
    bytesMax: limit(buffer.maxBytes, 'untilWindowCloses: maxBytes'),
    whenFull: 'shut-down',
  }
}

/** Of the changes of a key within this time only the last goes on. A full buffer lets the oldest go early. */
export function untilTimeLimit(
  time: Duration,
  buffer: BufferOptions & { readonly whenFull?: 'emit-early' | 'shut-down' } = {},
): Suppression {
  const ms = durationMs(time, 'untilTimeLimit')
  if (ms < 0)
    throw new StreamsError('TOPOLOGY_INVALID', `untilTimeLimit must not be negative, but is ${ms} ms`)
  return {
    until: { kind: 'time-limit', ms },
    recordsMax: limit(buffer.maxRecords, 'untilTimeLimit: maxRecords'),
    bytesMax: limit(buffer.maxBytes, 'untilTimeLimit: maxBytes'),
    whenFull: buffer.whenFull ?? 'emit-early',
  }
}
