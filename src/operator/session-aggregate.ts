/**
 * Aggregations over sessions. A record joins all sessions of its key within the gap: each of them is removed and a
 * tombstone sent for it, then the merged one goes out. Only null keys are dropped. A result's time is its session's end.
 */
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import { Windowed } from '../serde/windowed.ts'
import type { Entry } from '../store/contract.ts'
import type { SessionAggregateNode } from '../topology/node.ts'
import { spoilt, stepOf } from './aggregate.ts'
import { inOrder, nowhere, settled } from './call.ts'
import { CloseEmission } from './emission.ts'
import type { Run, TaskContext } from './run.ts'
import { snapshotBy } from './snapshot.ts'
import { flushSession, storeOf, update, windowedKey } from './stores.ts'

export function sessionAggregate(node: SessionAggregateNode, next: Run, context: TaskContext): Run {
  const { name, sendOld, aggregation } = node
  const { gapMs, graceMs } = node.windows
  const store = storeOf(context, node, node.stores[0], 'session')
  const snapshot = snapshotBy(store.spec.valueSerde, store)
  const careful = context.careful(name)
  const step = stepOf(aggregation, name, snapshot, careful)
  const { merge, initialise } = aggregation
  const onClose = node.emission === 'on-close'
  const silent = onClose || store.cached || next === nowhere
  if (store.cached && !onClose) store.onFlush(flushSession(next, context), { keepOld: sendOld })
  const emission = onClose ? new CloseEmission(context, store.name, next) : null
  let observed = -1
  let halted = false

  const mergeAll = (key: unknown, sessions: readonly Entry[]): unknown => {
    let aggregate = step.initial()
    for (const session of sessions) {
      const value = careful ? snapshot(session.value) : session.value
      if (aggregate === null && initialise === null) aggregate = value
      else if (merge !== null) aggregate = settled(merge(key, aggregate, value), name, 'merger')
    }
    return aggregate
  }

  const join = (
    sessions: readonly Entry[],
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    let start = timestamp
    let end = timestamp
    for (const session of sessions) {
      if (session.start < start) start = session.start
      if (session.end > end) end = session.end
    }
    if (end < observed - graceMs - gapMs) {
      context.drop('expired-window', name)
      return
    }
    const olds = sendOld ? sessions.map((session) => snapshot(session.value)) : null
    // Before anything is removed: where a function throws, the sessions stay as they are.
    let after: unknown
    try {
      after = step.add(key, value, mergeAll(key, sessions))
    } catch (error) {
      halted = true
      const isSpoilt = sessions.some((session) => spoilt(careful, session.value))
      return context.failed(error, name, 'aggregation', key, value, timestamp, headers, isSpoilt)
    }
    const replaces = start === timestamp && end === timestamp
    const removed = replaces
      ? undefined
      : inOrder(sessions.length, (index) => {
          const session = sessions[index] as Entry
          if (!store.set(session, null, headers)) context.drop('out-of-retention', name)
          if (silent) return
          return next(windowedKey(session), update(null, olds?.[index] ?? null), session.end, noHeaders)
        })
    if (removed !== undefined) return removed.then(() => put(after, start, end, key, headers))
    return put(after, start, end, key, headers)
  }

  const put = (
    after: unknown,
    start: number,
    end: number,
    key: unknown,
    headers: Headers,
  ): void | Promise<void> => {
    const entry = store.entry(key, start, end)
    if (isPromise(entry)) return entry.then((there) => write(there as Entry, after, headers))
    return write(entry, after, headers)
  }

  const write = (entry: Entry, after: unknown, headers: Headers): void | Promise<void> => {
    if (!store.set(entry, after, headers)) context.drop('out-of-retention', name)
    if (!silent) {
      return next(new Windowed(entry.key, entry.start, entry.end), update(after, null), entry.end, noHeaders)
    }
  }

  const work = (
    sessions: readonly Entry[],
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const waiting = join(sessions, key, value, timestamp, headers)
    if (emission === null) return waiting
    if (waiting !== undefined) return waiting.then(() => emit(headers))
    return emit(headers)
  }

  const emit = (headers: Headers): void | Promise<void> => {
    const closeTime = observed - graceMs - gapMs
    if (emission === null || halted || !emission.due(closeTime)) return
    const to = closeTime - 1
    const from = Math.max(0, emission.last)
    if (to < 0 || to < from) return
    return emission.send(store.findEnding(from, to), closeTime, headers)
  }

  return (key, value, timestamp, headers) => {
    if (key === null) return context.drop('null-key', name)
    if (timestamp > observed) observed = timestamp
    halted = false
    const sessions = store.find(key, timestamp - gapMs, timestamp + gapMs)
    if (isPromise(sessions)) return sessions.then((list) => work(list, key, value, timestamp, headers))
    return work(sessions, key, value, timestamp, headers)
  }
}
