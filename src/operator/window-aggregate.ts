/**
 * Aggregations over tumbling, hopping, unlimited and custom windows. Only null keys are dropped; a record goes into each
 * of its windows that is still open (end > observed time - grace), in order of start, and each closed one is a drop.
 * The observed time is the operator's own, over all keys.
 */
import type { Headers } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { endOfTime, Windowed } from '../serde/windowed.ts'
import type { Entry, WindowRun } from '../store/contract.ts'
import type { WindowAggregateNode } from '../topology/node.ts'
import { overlapMuch } from '../topology/windows.ts'
import { spoilt, stepOf } from './aggregate.ts'
import { inOrder, nowhere } from './call.ts'
import { CloseEmission } from './emission.ts'
import type { Run, TaskContext } from './run.ts'
import { snapshotBy } from './snapshot.ts'
import { flushWindow, storeOf, update } from './stores.ts'

export function windowAggregate(node: WindowAggregateNode, next: Run, context: TaskContext): Run {
  const { name, windows, sendOld } = node
  const store = storeOf(context, node, node.stores[0], 'window')
  const snapshot = snapshotBy(store.spec.valueSerde, store)
  const careful = context.careful(name)
  const step = stepOf(node.aggregation, name, snapshot, careful)
  const onClose = node.emission === 'on-close'
  const silent = onClose || store.cached || next === nowhere
  if (store.cached && !onClose) store.onFlush(flushWindow(next, context), { keepOld: sendOld })
  const emission = onClose ? new CloseEmission(context, store.name, next) : null
  const graceMs = windows.kind === 'unlimited' ? 0 : windows.graceMs
  const tumbling = windows.kind === 'time' && windows.sizeMs === windows.advanceMs
  const sizeMs = windows.kind === 'unlimited' ? endOfTime : windows.sizeMs
  let observed = -1
  // A function threw: the record's other windows are left alone.
  let halted = false
  // Of the last record: consecutive ones mostly fall in the same window.
  let lastStart = 0
  let lastEnd = 0

  const entryOf = (key: unknown, start: number): MaybePromise<Entry> =>
    store.lend === undefined ? store.entry(key, start) : store.lend(key, start)
  // Where the store takes it unread, a key is read for who comes next.
  const readKey = (key: unknown, entry: Entry): unknown =>
    store.readKey === undefined ? key : store.readKey(entry)

  const apply = (
    entry: Entry,
    end: number,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const before = entry.value
    let time = timestamp
    let old: unknown = null
    let after: unknown
    try {
      const base = before === null ? step.initial() : before
      if (sendOld) old = snapshot(base)
      if (before !== null && entry.timestamp > timestamp) time = entry.timestamp
      after = step.add(key, value, base)
    } catch (error) {
      halted = true
      const isSpoilt = spoilt(careful, before)
      return context.failed(
        error,
        name,
        'aggregation',
        readKey(key, entry),
        value,
        timestamp,
        headers,
        isSpoilt,
      )
    }
    if (!store.set(entry, after, after === null ? timestamp : time, headers)) {
      context.drop('out-of-retention', name)
    }
    if (silent) return
    const windowed = new Windowed(readKey(key, entry), entry.start, end)
    return next(windowed, update(after, old), time, headers)
  }

  const into = (
    run: WindowRun | null,
    start: number,
    end: number,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    if (end <= observed - graceMs) return context.drop('expired-window', name)
    const entry = run === null ? entryOf(key, start) : run.seek(start)
    if (isPromise(entry))
      return entry.then((there) => apply(there as Entry, end, key, value, timestamp, headers))
    return apply(entry, end, key, value, timestamp, headers)
  }

  const hop = (
    run: WindowRun | null,
    from: number,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const advanceMs = windows.kind === 'time' ? windows.advanceMs : 1
    for (let start = from; start <= timestamp; start += advanceMs) {
      if (halted) return
      const waiting = into(run, start, start + sizeMs, key, value, timestamp, headers)
      if (waiting !== undefined) {
        return waiting.then(() => hop(run, start + advanceMs, key, value, timestamp, headers))
      }
    }
  }

  const assign = (
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    if (tumbling) {
      if (timestamp < lastStart || timestamp >= lastEnd) {
        lastStart = Math.floor(timestamp / sizeMs) * sizeMs
        lastEnd = lastStart + sizeMs
      }
      return into(null, lastStart, lastEnd, key, value, timestamp, headers)
    }
    if (windows.kind === 'time') {
      const from = firstStart(timestamp, sizeMs, windows.advanceMs)
      const run = store.run?.(key, from, timestamp) ?? null
      if (isPromise(run)) {
        return run.then((opened) => hop(opened as WindowRun, from, key, value, timestamp, headers))
      }
      return hop(run, from, key, value, timestamp, headers)
    }
    if (windows.kind === 'unlimited') {
      if (timestamp >= windows.startMs)
        return into(null, windows.startMs, endOfTime, key, value, timestamp, headers)
      return
    }
    const list = [...windows.windowsFor(timestamp)]
    return inOrder(list.length, (index) => {
      const [start, end] = list[index] as [number, number]
      return halted ? undefined : into(null, start, end, key, value, timestamp, headers)
    })
  }

  const emit = (headers: Headers): void | Promise<void> => {
    const closeTime = observed - graceMs
    if (emission === null || halted || windows.kind !== 'time' || !emission.due(closeTime)) return
    const to = closeTime - sizeMs
    if (to < 0) return
    const { last } = emission
    const from = last === -1 ? 0 : Math.max(0, last - sizeMs) + 1
    if (last !== -1 && sameWindows(from - 1, to, sizeMs, windows.advanceMs)) return
    return emission.send(store.fetchAll(from, to), closeTime, headers)
  }

  return (key, value, timestamp, headers) => {
    if (key === null) return context.drop('null-key', name)
    if (timestamp > observed) observed = timestamp
    halted = false
    const waiting = assign(key, value, timestamp, headers)
    if (emission === null) return waiting
    if (waiting !== undefined) return waiting.then(() => emit(headers))
    return emit(headers)
  }
}

/** Whether a whole chunk's windows are asked for before its first record. */
export function looksAhead(windows: WindowAggregateNode['windows']): boolean {
  return windows.kind === 'time' && !overlapMuch(windows.sizeMs, windows.advanceMs)
}

/** The earliest window of a time: starts are multiples of the advance, never negative. */
export function firstStart(timestamp: number, sizeMs: number, advanceMs: number): number {
  return Math.floor(Math.max(0, timestamp - sizeMs + advanceMs) / advanceMs) * advanceMs
}

function sameWindows(one: number, other: number, sizeMs: number, advanceMs: number): boolean {
  return (
    firstStart(one, sizeMs, advanceMs) === firstStart(other, sizeMs, advanceMs) &&
    Math.floor(one / advanceMs) === Math.floor(other / advanceMs)
  )
}
