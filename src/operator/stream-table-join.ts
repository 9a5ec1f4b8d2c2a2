/**
 * A stream joined with a table or a global table: only the stream's records trigger. A record without a value is
 * dropped; without a (mapped) key the inner join drops it and the left join finds nothing. A versioned table is read as
 * of the record's time. With grace, records wait in a buffer until the table's history can be trusted.
 */
import { StreamsError } from '../base/errors.ts'
import type { Headers } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Held, JoinBuffer } from '../store/contract.ts'
import type { StreamGlobalJoinNode, StreamTableJoinNode } from '../topology/node.ts'
import { settled } from './call.ts'
import type { Run, TableView, TaskContext, ValueAndTimestamp } from './run.ts'
import { comeFrom, originOf, storeOf } from './stores.ts'

export function streamTableJoin(
  node: StreamTableJoinNode,
  next: Run,
  context: TaskContext,
  table: TableView,
): Run {
  const { name, graceMs } = node
  const join = joinWith(node, next, context, table)
  if (graceMs === null) {
    return (key, value, timestamp, headers) => {
      if (value === null || (key === null && node.join === 'inner')) {
        return context.drop(key === null ? 'null-key' : 'null-value', name)
      }
      return join(key, key, value, timestamp, headers)
    }
  }
  if (table.getAsOf === null) {
    throw new StreamsError(
      'TOPOLOGY_INVALID',
      `${name}: a join with grace needs a versioned table; give the table a versioned store, or leave grace out`,
      { node: name },
    )
  }
  const buffer = storeOf(context, node, node.buffer ?? undefined, 'join-buffer')
  return (key, value, timestamp, headers) => {
    if (value === null || (key === null && node.join === 'inner')) {
      return context.drop(key === null ? 'null-key' : 'null-value', name)
    }
    const held = buffer.hold(key, value, timestamp, headers, originOf(context))
    const goOn = (waits: boolean): void | Promise<void> =>
      waits ? release(buffer, graceMs, context, join) : join(key, key, value, timestamp, headers)
    return isPromise(held) ? (held as Promise<boolean>).then(goOn) : goOn(held)
  }
}

type Join = (
  tableKey: unknown,
  key: unknown,
  value: unknown,
  timestamp: number,
  headers: Headers,
) => void | Promise<void>

/** Takes out what waited long enough, and goes back to the record in hand. */
function release(
  buffer: JoinBuffer,
  graceMs: number,
  context: TaskContext,
  join: Join,
): void | Promise<void> {
  const inHand = originOf(context)
  const send = ({ key, value, time, headers, origin }: Held<unknown, unknown>): void | Promise<void> => {
    comeFrom(context, origin)
    return join(key, key, value, time, headers)
  }
  while (buffer.size > 0 && buffer.minTime <= buffer.observedTime - graceMs) {
    const first = buffer.shift()
    const waiting = isPromise(first) ? (first as Promise<Held<unknown, unknown>>).then(send) : send(first)
    if (waiting !== undefined) {
      return waiting.then(() => {
        comeFrom(context, inHand)
        return release(buffer, graceMs, context, join)
      })
    }
    comeFrom(context, inHand)
  }
}

export function streamGlobalJoin(
  node: StreamGlobalJoinNode,
  next: Run,
  context: TaskContext,
  table: TableView,
): Run {
  const { name, select } = node
  const join = joinWith(node, next, context, table)
  return (key, value, timestamp, headers) => {
    let mapped: unknown
    try {
      mapped = settled(select(value, key), name, 'key selector')
    } catch (error) {
      return context.failed(error, name, 'key selector', key, value, timestamp, headers)
    }
    if (value === null || (mapped === null && node.join === 'inner')) {
      return context.drop(mapped === null ? 'null-key' : 'null-value', name)
    }
    return join(mapped, key, value, timestamp, headers)
  }
}

function joinWith(
  node: StreamTableJoinNode | StreamGlobalJoinNode,
  next: Run,
  context: TaskContext,
  table: TableView,
): Join {
  const { name, joiner } = node
  const inner = node.join === 'inner'
  const { getAsOf } = table

  const found = (
    row: ValueAndTimestamp | null,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    if (row === null && inner) return
    let joined: unknown
    try {
      joined = settled(joiner(key, value, row === null ? null : row.value), name, 'joiner')
    } catch (error) {
      return context.failed(error, name, 'joiner', key, value, timestamp, headers)
    }
    return next(key, joined, timestamp, headers)
  }

  return (tableKey, key, value, timestamp, headers) => {
    if (tableKey === null) return found(null, key, value, timestamp, headers)
    const row = getAsOf === null ? table.get(tableKey) : getAsOf(tableKey, timestamp)
    if (isPromise(row)) return row.then((there) => found(there, key, value, timestamp, headers))
    return found(row, key, value, timestamp, headers)
  }
}
