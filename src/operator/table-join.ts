/**
 * Table-table joins on the same key. Either side triggers and looks the other side up; nothing goes on where nothing
 * can have been sent. The result's time is the later of both. Updates of a versioned table that are not its latest are
 * dropped.
 */
import type { Headers } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { TableJoinNode } from '../topology/node.ts'
import { settled } from './call.ts'
import type { Change, Run, TableView, TaskContext, ValueAndTimestamp } from './run.ts'
import { Failure } from './table.ts'

export function tableJoin(
  node: TableJoinNode,
  next: Run,
  context: TaskContext,
  other: TableView,
  versioned: boolean,
): Run {
  const { name, sendOld } = node
  const combine = combiner(node)

  const join = (
    theirs: ValueAndTimestamp | null,
    key: unknown,
    change: Change,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    if (theirs === null) {
      const needsOther = node.join === 'inner' || (node.join === 'left' && node.side === 'right')
      if (needsOther || (change.value === null && change.old === null)) return
    }
    const otherValue = theirs === null ? null : theirs.value
    let value: unknown
    let old: unknown
    try {
      value = combine(change.value, otherValue)
      old = sendOld ? combine(change.old, otherValue) : null
    } catch (error) {
      return context.failed(error, name, 'joiner', key, change.value, timestamp, headers)
    }
    const time = theirs === null ? timestamp : Math.max(timestamp, theirs.timestamp)
    return next(key, { value, old, latest: change.latest }, time, headers)
  }

  return (key, changed, timestamp, headers) => {
    if (key === null) return context.drop('null-key', name)
    const change = changed as Change
    if (versioned && !change.latest) return context.drop('out-of-order-version', name)
    const theirs = other.get(key)
    if (isPromise(theirs)) return theirs.then((there) => join(there, key, change, timestamp, headers))
    return join(theirs, key, change, timestamp, headers)
  }
}

/** The joined value of this side's and the other's; null where the kind of join has none. */
function combiner(node: TableJoinNode): (mine: unknown, theirs: unknown) => unknown {
  const { name, joiner } = node
  const left = node.side === 'left'
  const call = (mine: unknown, theirs: unknown): unknown =>
    settled(left ? joiner(mine, theirs, null) : joiner(theirs, mine, null), name, 'joiner')
  switch (node.join) {
    case 'inner':
      return (mine, theirs) => (mine === null || theirs === null ? null : call(mine, theirs))
    case 'left':
      return left
        ? (mine, theirs) => (mine === null ? null : call(mine, theirs))
        : (mine, theirs) => (theirs === null ? null : call(mine, theirs))
    case 'outer':
      return (mine, theirs) => (mine === null && theirs === null ? null : call(mine, theirs))
  }
}

/** The result of the join for a key, without a store: from the views of both tables. */
export function joinedView(node: TableJoinNode, left: TableView, right: TableView): TableView {
  const combine = combiner({ ...node, side: 'left' })
  const join = (one: ValueAndTimestamp | null, other: ValueAndTimestamp | null): ValueAndTimestamp | null => {
    let value: unknown
    try {
      value = combine(one === null ? null : one.value, other === null ? null : other.value)
    } catch (error) {
      throw new Failure(error)
    }
    if (value === null) return null
    return { value, timestamp: Math.max(one?.timestamp ?? -1, other?.timestamp ?? -1) }
  }
  const withRight = (one: ValueAndTimestamp | null, key: unknown): MaybePromise<ValueAndTimestamp | null> => {
    if (one === null && node.join !== 'outer') return null
    const other = right.get(key)
    return isPromise(other) ? other.then((there) => join(one, there)) : join(one, other)
  }
  return {
    get(key) {
      const one = left.get(key)
      return isPromise(one) ? one.then((there) => withRight(there, key)) : withRight(one, key)
    },
    getAsOf: null,
  }
}
