/**
 * Stream-stream joins. Each record looks for partners in the other side's store, then is kept in its own. The observed
 * time is shared by both sides. Of a left or outer join, what found no partner waits in a store of both sides' unmatched
 * records until its window and grace are past, and is sent by a later record.
 */
import type { Headers } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Entry, Unmatched } from '../store/contract.ts'
import type { JoinWindowNode, SelfJoinNode, StreamJoinNode } from '../topology/node.ts'
import { inOrder, settled } from './call.ts'
import type { Run, TaskContext } from './run.ts'
import type { Snapshot } from './snapshot.ts'
import { storeOf } from './stores.ts'

/** What both sides of one join share. */
export type JoinClock = {
  /** The largest time of either side; -1 before any. */
  streamTime: number
  /** Of the unmatched: none is older. Infinity while it isn't known. */
  minTime: number
  nextEmitAt: number
}

export function joinClock(): JoinClock {
  return { streamTime: -1, minTime: Number.POSITIVE_INFINITY, nextEmitAt: 0 }
}

/** Hands the record on, then keeps it. */
export function joinWindow(node: JoinWindowNode, next: Run, context: TaskContext): Run {
  const store = storeOf(context, node, node.stores[0], 'window')
  const held = (there: boolean): void => {
    if (!there) context.drop('out-of-retention', node.name)
  }
  const hold = (key: unknown, value: unknown, timestamp: number, headers: Headers): void | Promise<void> => {
    const appended = store.append(key, timestamp, value, headers)
    return isPromise(appended) ? (appended as Promise<boolean>).then(held) : held(appended)
  }
  return (key, value, timestamp, headers) => {
    const waiting = next(key, value, timestamp, headers)
    if (key === null || value === null) return waiting
    if (waiting !== undefined) return waiting.then(() => hold(key, value, timestamp, headers))
    return hold(key, value, timestamp, headers)
  }
}

export function streamJoin(
  node: StreamJoinNode,
  next: Run,
  context: TaskContext,
  clock: JoinClock,
  keep: Snapshot,
): Run {
  const { name, joiner, windows } = node
  const left = node.side === 'left'
  const other = storeOf(context, node, node.otherStore, 'window')
  const unmatched =
    node.sharedStore === null || windows.eager ? null : storeOf(context, node, node.sharedStore, 'outer-join')
  const preserves = node.join === 'outer' || (node.join === 'left' && left)
  const beforeMs = left ? windows.beforeMs : windows.afterMs
  const afterMs = left ? windows.afterMs : windows.beforeMs
  const { graceMs } = windows

  const forward = (
    key: unknown,
    mine: unknown,
    theirs: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    let joined: unknown
    try {
      joined = settled(left ? joiner(key, mine, theirs) : joiner(key, theirs, mine), name, 'joiner')
    } catch (error) {
      return context.failed(error, name, 'joiner', key, mine, timestamp, headers)
    }
    return next(key, joined, timestamp, headers)
  }

  /** Sends what waited long enough. */
  const emitUnmatched = (headers: Headers): void | Promise<void> => {
    if (unmatched === null) return
    if (clock.minTime !== Number.POSITIVE_INFINITY && clock.minTime + afterMs + graceMs >= clock.streamTime)
      return
    const now = context.wallClock()
    if (now < clock.nextEmitAt) return
    clock.nextEmitAt = now + context.emitIntervalMs
    clock.minTime = Number.POSITIVE_INFINITY
    let leftOpen = false
    let rightOpen = false
    const visit = ({ side, key, value, time }: Unmatched): 'remove' | 'keep' | 'stop' | Promise<'remove'> => {
      clock.minTime = time
      if (leftOpen && rightOpen) return 'stop'
      if (time + (side === 'left' ? windows.afterMs : windows.beforeMs) + graceMs >= clock.streamTime) {
        if (side === 'left') leftOpen = true
        else rightOpen = true
        return 'keep'
      }
      let joined: unknown
      try {
        joined = settled(
          side === 'left' ? joiner(key, value, null) : joiner(key, null, value),
          name,
          'joiner',
        )
      } catch (error) {
        context.failed(error, name, 'joiner', key, value, time, headers)
        return 'remove'
      }
      const waiting = next(key, joined, time, headers)
      return waiting === undefined ? 'remove' : waiting.then(() => 'remove' as const)
    }
    return unmatched.visit(visit) as void | Promise<void>
  }

  const join = (
    partners: readonly Entry[],
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    if (partners.length > 0) {
      return inOrder(partners.length, (index) => {
        const { start, value: theirs } = partners[index] as Entry
        const removed = unmatched?.remove(left ? 'right' : 'left', key, start)
        const time = Math.max(timestamp, start)
        if (isPromise(removed)) return removed.then(() => forward(key, value, theirs, time, headers))
        return forward(key, value, theirs, time, headers)
      })
    }
    if (!preserves) return
    if (unmatched === null || Math.max(0, timestamp + afterMs) < clock.streamTime) {
      return forward(key, value, null, timestamp, headers)
    }
    if (timestamp < clock.minTime) clock.minTime = timestamp
    return unmatched.put(node.side, key, timestamp, keep(value))
  }

  const look = (key: unknown, value: unknown, timestamp: number, headers: Headers): void | Promise<void> => {
    const partners = other.fetch(key, Math.max(0, timestamp - beforeMs), Math.max(0, timestamp + afterMs))
    if (isPromise(partners)) return partners.then((list) => join(list, key, value, timestamp, headers))
    return join(partners, key, value, timestamp, headers)
  }

  return (key, value, timestamp, headers) => {
    if (timestamp > clock.streamTime) clock.streamTime = timestamp
    if (key === null || value === null) {
      if (preserves && value !== null) return forward(null, value, null, timestamp, headers)
      return context.drop(key === null ? 'null-key' : 'null-value', name)
    }
    if (unmatched !== null && timestamp === clock.streamTime) {
      const waiting = emitUnmatched(headers)
      if (waiting !== undefined) return waiting.then(() => look(key, value, timestamp, headers))
    }
    return look(key, value, timestamp, headers)
  }
}

/** Both sides of a stream joined with itself, over one store: pairs come in the order of the plain join. */
export function selfJoin(node: SelfJoinNode, next: Run, context: TaskContext): Run {
  const { name, joiner, windows } = node
  const store = storeOf(context, node, node.store, 'window')
  const { retentionMs } = store.spec as { readonly retentionMs: number }
  let observed = -1

  const forward = (
    key: unknown,
    value: unknown,
    one: unknown,
    other: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    let joined: unknown
    try {
      joined = settled(joiner(key, one, other), name, 'joiner')
    } catch (error) {
      return context.failed(error, name, 'joiner', key, value, timestamp, headers)
    }
    return next(key, joined, timestamp, headers)
  }

  const asLeft = (
    partners: readonly Entry[],
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> =>
    inOrder(partners.length, (index) => {
      const { start, value: theirs } = partners[index] as Entry
      return forward(key, value, value, theirs, Math.max(timestamp, start), headers)
    })

  const asRight = (
    partners: readonly Entry[],
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const withSelf = timestamp > observed - retentionMs + 1
    // With itself the record is joined where it stands in the order of time.
    const before = partners.findIndex(({ start }) => start > timestamp)
    const at = before < 0 ? partners.length : before
    return inOrder(partners.length + 1, (index) => {
      if (index === at) return withSelf ? forward(key, value, value, value, timestamp, headers) : undefined
      const { start, value: theirs } = partners[index < at ? index : index - 1] as Entry
      return forward(key, value, theirs, value, Math.max(timestamp, start), headers)
    })
  }

  const fetch = (key: unknown, timestamp: number, beforeMs: number, afterMs: number) =>
    store.fetch(key, Math.max(0, timestamp - beforeMs), Math.max(0, timestamp + afterMs))

  const second = (
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const partners = fetch(key, timestamp, windows.afterMs, windows.beforeMs)
    if (isPromise(partners)) return partners.then((list) => asRight(list, key, value, timestamp, headers))
    return asRight(partners, key, value, timestamp, headers)
  }

  const first = (
    partners: readonly Entry[],
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const waiting = asLeft(partners, key, value, timestamp, headers)
    if (waiting !== undefined) return waiting.then(() => second(key, value, timestamp, headers))
    return second(key, value, timestamp, headers)
  }

  return (key, value, timestamp, headers) => {
    if (key === null || value === null) return context.drop(key === null ? 'null-key' : 'null-value', name)
    if (timestamp > observed) observed = timestamp
    const partners = fetch(key, timestamp, windows.beforeMs, windows.afterMs)
    if (isPromise(partners)) return partners.then((list) => first(list, key, value, timestamp, headers))
    return first(partners, key, value, timestamp, headers)
  }
}
