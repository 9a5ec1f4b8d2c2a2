/**
 * Aggregations over sliding windows [start, start + difference], both ends inclusive, made as records need them: one
 * that ends at each record's time, and one that starts just after it once a later record falls into it. A window's
 * time is that of its latest record. Records without a key or a value are dropped.
 *
 * The steps of one record are planned from what the store holds before it, then taken in Kafka Streams' order.
 */
import type { Headers } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import { Windowed } from '../serde/windowed.ts'
import type { Entry } from '../store/contract.ts'
import type { SlidingAggregateNode } from '../topology/node.ts'
import { spoilt, stepOf } from './aggregate.ts'
import { inOrder, nowhere } from './call.ts'
import { CloseEmission } from './emission.ts'
import type { Run, TaskContext } from './run.ts'
import { snapshotBy } from './snapshot.ts'
import { flushWindow, storeOf, update } from './stores.ts'

/** One window that a record changes. */
type Move = {
  readonly start: number
  /** null: not there yet. */
  readonly entry: Entry | null
  /** What the window begins with, if it isn't there yet. */
  readonly base: unknown
  readonly baseTimestamp: number
  /** The record isn't part of it: it is a copy of what comes after the record. */
  readonly copied: boolean
}

export function slidingAggregate(node: SlidingAggregateNode, next: Run, context: TaskContext): Run {
  const { name, sendOld } = node
  const { differenceMs, graceMs } = node.windows
  const store = storeOf(context, node, node.stores[0], 'window')
  const snapshot = snapshotBy(store.spec.valueSerde, store)
  const careful = context.careful(name)
  const step = stepOf(node.aggregation, name, snapshot, careful)
  const onClose = node.emission === 'on-close'
  const silent = onClose || store.cached || next === nowhere
  if (store.cached && !onClose) store.onFlush(flushWindow(next, context), { keepOld: sendOld })
  const emission = onClose ? new CloseEmission(context, store.name, next) : null
  let observed = -1
  let halted = false

  const existing = (entry: Entry): Move => ({
    start: entry.start,
    entry,
    base: null,
    baseTimestamp: 0,
    copied: false,
  })
  const fresh = (start: number, base: unknown, baseTimestamp: number, copied = false): Move => ({
    start,
    entry: null,
    base,
    baseTimestamp,
    copied,
  })

  /** `found`: windows of the key that start in [time - 2 difference, time + 1], the latest first. */
  const plan = (found: readonly Entry[], timestamp: number): Move[] => {
    const moves: Move[] = []
    const starts = new Set<number>()
    let left: Entry | null = null
    let right: { readonly value: unknown; readonly timestamp: number } | null = null
    let rightIsThere = false
    let leftIsThere = false
    let previous: number | null = null
    for (const entry of found) {
      const { start } = entry
      const end = start + differenceMs
      starts.add(start)
      if (start === timestamp + 1) {
        rightIsThere = true
      } else if (end > timestamp) {
        // The latest of these has just what comes after the record, and what came with it.
        right ??= held(entry, timestamp, rightIsThere)
        moves.push(existing(entry))
      } else if (end === timestamp) {
        leftIsThere = true
        const { timestamp: latest } = entry
        moves.push(existing(entry))
        // Another record of the very same time made all windows already.
        if (latest >= timestamp) return moves
        previous = latest
      } else {
        left = entry
        previous = entry.timestamp
        break
      }
    }
    if (previous !== null && !starts.has(previous + 1) && previous + 1 + differenceMs >= timestamp) {
      moves.push(fresh(previous + 1, step.initial(), timestamp))
    }
    if (!leftIsThere) {
      const overlaps = previous !== null && timestamp - differenceMs <= previous
      const base = overlaps && left !== null ? snapshot(left.value) : step.initial()
      moves.push(fresh(timestamp - differenceMs, base, timestamp))
    }
    if (!rightIsThere && right !== null && right.timestamp > timestamp) {
      moves.push(fresh(timestamp + 1, right.value, right.timestamp, true))
    }
    return moves
  }

  /**
   * Records with a time below the difference share the window [0, difference], as none may start before 0.
   * `found`: windows of the key that start in [0, time + 1], the earliest first.
   */
  const planEarly = (found: readonly Entry[], timestamp: number): Move[] => {
    const moves: Move[] = []
    const starts = new Set<number>()
    let combined: Entry | null = null
    let right: { readonly value: unknown; readonly timestamp: number } | null = null
    let rightIsThere = false
    let previous: number | null = null
    const later = found.some((entry) => entry.start === timestamp + 1)
    for (const entry of found) {
      const { start } = entry
      starts.add(start)
      if (start === 0) {
        combined = entry
        if (entry.timestamp < timestamp) previous = entry.timestamp
      } else if (start <= timestamp) {
        right = held(entry, timestamp, later)
        moves.push(existing(entry))
      } else {
        rightIsThere = true
      }
    }
    if (right === null && combined !== null && combined.timestamp > timestamp) {
      right = held(combined, timestamp, rightIsThere)
    }
    if (!rightIsThere && right !== null && right.timestamp > timestamp) {
      moves.push(fresh(timestamp + 1, right.value, right.timestamp, true))
    }
    if (previous !== null && !starts.has(previous + 1)) {
      moves.push(fresh(previous + 1, step.initial(), timestamp))
    }
    moves.push(combined === null ? fresh(0, step.initial(), timestamp) : existing(combined))
    return moves
  }

  /** What a window is before the record changes it, where a copy of it may be needed. */
  const held = (entry: Entry, timestamp: number, unneeded: boolean) => ({
    value: unneeded || entry.timestamp <= timestamp ? entry.value : snapshot(entry.value),
    timestamp: entry.timestamp,
  })

  const write = (
    move: Move,
    entry: Entry,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    let after: unknown
    let old: unknown = null
    let time: number
    if (move.copied) {
      after = move.base
      time = move.baseTimestamp
    } else {
      const base = move.entry === null ? move.base : entry.value
      const baseTimestamp = move.entry === null ? move.baseTimestamp : entry.timestamp
      time = base === null ? timestamp : Math.max(timestamp, baseTimestamp)
      try {
        if (sendOld) old = snapshot(base)
        after = step.add(key, value, base)
      } catch (error) {
        halted = true
        const isSpoilt = spoilt(careful, entry.value)
        return context.failed(error, name, 'aggregation', key, value, timestamp, headers, isSpoilt)
      }
    }
    if (!store.set(entry, after, after === null ? timestamp : time, headers)) {
      context.drop('out-of-retention', name)
    }
    if (!silent) {
      return next(new Windowed(key, move.start, move.start + differenceMs), update(after, old), time, headers)
    }
  }

  const take = (
    moves: readonly Move[],
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> =>
    inOrder(moves.length, (index) => {
      const move = moves[index] as Move
      if (halted) return
      if (!move.copied && move.start + differenceMs < observed - graceMs)
        return context.drop('expired-window', name)
      const entry = move.entry ?? store.entry(key, move.start)
      if (isPromise(entry)) {
        return entry.then((there) => write(move, there as Entry, key, value, timestamp, headers))
      }
      return write(move, entry, key, value, timestamp, headers)
    })

  const work = (
    found: readonly Entry[],
    early: boolean,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    let moves: readonly Move[]
    try {
      moves = early ? planEarly(found, timestamp) : plan(found, timestamp)
    } catch (error) {
      return context.failed(error, name, 'aggregation', key, value, timestamp, headers)
    }
    const waiting = take(moves, key, value, timestamp, headers)
    if (emission === null || early) return waiting
    if (waiting !== undefined) return waiting.then(() => emit(headers))
    return emit(headers)
  }

  const emit = (headers: Headers): void | Promise<void> => {
    const closeTime = observed - graceMs
    if (emission === null || halted || !emission.due(closeTime)) return
    const to = closeTime - differenceMs - 1
    if (to < 0) return
    const { last } = emission
    return emission.send(
      store.fetchAll(last === -1 ? 0 : Math.max(0, last - differenceMs), to),
      closeTime,
      headers,
    )
  }

  return (key, value, timestamp, headers) => {
    if (key === null || value === null) return context.drop(key === null ? 'null-key' : 'null-value', name)
    if (timestamp > observed) observed = timestamp
    if (timestamp + differenceMs < observed - graceMs) return context.drop('expired-window', name)
    halted = false
    const early = timestamp < differenceMs
    const found = early
      ? store.fetch(key, 0, timestamp + 1)
      : store.fetch(key, Math.max(0, timestamp - 2 * differenceMs), timestamp + 1, 'backward')
    if (isPromise(found)) return found.then((list) => work(list, early, key, value, timestamp, headers))
    return work(found, early, key, value, timestamp, headers)
  }
}
