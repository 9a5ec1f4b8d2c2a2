/** Queries and answers between copies, as the parameters and the JSON of HTTP. Whatever comes in is checked. */
import { type ErrorCode, errorCodes, StreamsError } from '../base/errors.ts'
import type { Position, StateQuery, StateRow, TaskAnswer, TaskQuery } from '../runtime/state-query.ts'

export const limitMax = 100_000
export const waitMsMax = 30_000

const byteFields = new Set(['key', 'from', 'to', 'prefix'])
/** Of each kind of query: its fields, as they must be. */
const fields: {
  readonly [kind in StateQuery['kind']]: Readonly<Record<string, 'bytes' | 'bound' | 'time' | 'order'>>
} = {
  key: { key: 'bytes' },
  range: { from: 'bound', to: 'bound', order: 'order' },
  prefix: { prefix: 'bytes' },
  windows: { key: 'bytes', timeFrom: 'time', timeTo: 'time', order: 'order' },
  'window-range': { from: 'bound', to: 'bound', timeFrom: 'time', timeTo: 'time', order: 'order' },
  sessions: { key: 'bytes', timeFrom: 'time', timeTo: 'time', order: 'order' },
  'session-range': { from: 'bound', to: 'bound', order: 'order' },
  'as-of': { key: 'bytes', timestamp: 'time' },
  versions: { key: 'bytes', timeFrom: 'time', timeTo: 'time', order: 'order' },
}

export function writeQuery(request: TaskQuery): string {
  const query = Object.fromEntries(
    Object.entries(request.query).map(([name, value]) => [
      name,
      byteFields.has(name) && value !== null ? Buffer.from(value as Uint8Array).toString('base64') : value,
    ]),
  )
  return Buffer.from(JSON.stringify({ ...request, query })).toString('base64url')
}

export function readQuery(text: string, store: string): TaskQuery {
  let given: Record<string, unknown>
  try {
    given = JSON.parse(Buffer.from(text, 'base64url').toString()) as Record<string, unknown>
    const raw = given['query'] as Record<string, unknown>
    const shape = fields[raw['kind'] as StateQuery['kind']]
    const query: Record<string, unknown> = { kind: raw['kind'] }
    for (const [name, as] of Object.entries(shape)) query[name] = readField(raw[name], as)
    return {
      task: textOf(given['task']),
      store,
      query: query as StateQuery,
      isolation: given['isolation'] === 'uncommitted' ? 'uncommitted' : 'committed',
      stale: given['stale'] === true,
      bound: readPosition(given['bound']),
      unlike: given['unlike'] === null ? null : textOf(given['unlike']),
      limit: Math.min(limitMax, countOf(given['limit'])),
      cut: given['cut'] === true,
      waitMs: Math.min(waitMsMax, countOf(given['waitMs'])),
    }
  } catch (cause) {
    throw new StreamsError('QUERY_INVALID', `store ${store}: the query can not be read: ${String(cause)}`, {
      store,
      cause,
    })
  }
}

function readField(value: unknown, as: 'bytes' | 'bound' | 'time' | 'order'): unknown {
  switch (as) {
    case 'order':
      return value === 'backward' ? 'backward' : 'forward'
    case 'time':
      if (typeof value !== 'number' || !Number.isSafeInteger(value))
        throw new TypeError(`${String(value)} is no time`)
      return value
    case 'bound':
      return value === null ? null : Buffer.from(textOf(value), 'base64')
    case 'bytes':
      return Buffer.from(textOf(value), 'base64')
  }
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${String(value)} is no text`)
  return value
}

function countOf(value: unknown): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
    throw new TypeError(`${String(value)} is no count`)
  return value
}

function readPosition(value: unknown): Position {
  const position: Record<string, Record<string, number>> = {}
  for (const [topic, partitions] of Object.entries(value as Record<string, unknown>)) {
    const at: Record<string, number> = {}
    for (const [partition, offset] of Object.entries(partitions as Record<string, unknown>))
      at[partition] = countOf(offset)
    position[topic] = at
  }
  return position
}

export function writeAnswer(answer: TaskAnswer): string {
  const rows = answer.rows.map(({ key, start, end, value, timestamp }) => [
    Buffer.from(key).toString('base64'),
    start,
    end,
    Buffer.from(value).toString('base64'),
    timestamp,
  ])
  return JSON.stringify({ ...answer, rows })
}

export function readAnswer(text: string): TaskAnswer {
  const given = JSON.parse(text) as Omit<TaskAnswer, 'rows'> & {
    rows: readonly (readonly [string, number, number, string, number])[]
  }
  const rows: StateRow[] = given.rows.map(([key, start, end, value, timestamp]) => ({
    key: Buffer.from(key, 'base64'),
    start,
    end,
    value: Buffer.from(value, 'base64'),
    timestamp,
  }))
  return { ...given, rows }
}

const statuses: { readonly [code: string]: number } = {
  QUERY_STORE_UNKNOWN: 404,
  QUERY_INVALID: 400,
  QUERY_TOO_LARGE: 413,
  QUERY_MOVED: 409,
  QUERY_NOT_READY: 503,
  QUERY_UNREACHABLE: 502,
}

export function writeError(error: StreamsError): { readonly status: number; readonly body: string } {
  const { code, message, about } = error
  return { status: statuses[code] ?? 500, body: JSON.stringify({ error: message, code, about }) }
}

/** What another copy answered that is no answer. */
export function readError(text: string, status: number, endpoint: string): StreamsError {
  try {
    const { error, code, about } = JSON.parse(text) as Record<string, unknown>
    if (typeof code === 'string' && Object.hasOwn(errorCodes, code))
      return new StreamsError(code as ErrorCode, `${endpoint}: ${String(error)}`, about as object)
    return unreachable(endpoint, `it answered ${status}: ${String(error)}`)
  } catch {
    return unreachable(endpoint, `it answered ${status}, and not as a copy of the application does`)
  }
}

export function unreachable(endpoint: string, why: string, cause?: unknown): StreamsError {
  return new StreamsError('QUERY_UNREACHABLE', `${endpoint} can not be asked: ${why}`, {
    ...(cause === undefined ? {} : { cause }),
  })
}
