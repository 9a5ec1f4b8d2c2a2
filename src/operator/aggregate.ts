/**
 * count, reduce and aggregate over a grouped stream. A record without a key or a value is dropped. The result's time is
 * the later of the record's and the old result's, and starts over after a null.
 */
import type { Headers } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Entry, VersionedStore } from '../store/contract.ts'
import type { AggregateNode, Aggregation } from '../topology/node.ts'
import { nowhere, settled } from './call.ts'
import type { Run, TaskContext } from './run.ts'
import { type Snapshot, snapshotBy } from './snapshot.ts'
import { flushKeyValue, storeOf, update } from './stores.ts'

/**
 * One step of an aggregation. `base` null: nothing was there. What comes out is the aggregation's own: never the very
 * object that came in, which others may hold.
 */
export function stepOf(aggregation: Aggregation, node: string, snapshot: Snapshot, careful: boolean): Step {
  const { initialise, add } = aggregation
  return {
    initial: () => (initialise === null ? null : settled(initialise(), node, 'initialiser')),
    add(key, value, base) {
      if (base === null && initialise === null) return snapshot(value)
      const own = careful ? snapshot(base) : base
      const aggregate = settled(add(key, value, own), node, initialise === null ? 'reducer' : 'aggregator')
      return aggregate === value ? snapshot(aggregate) : aggregate
    },
  }
}

/** Whether a function that threw may have changed this stored value in place. */
export function spoilt(careful: boolean, before: unknown): boolean {
  return !careful && typeof before === 'object' && before !== null
}

export type Step = {
  initial(): unknown
  add(key: unknown, value: unknown, base: unknown): unknown
}

export function aggregate(node: AggregateNode, next: Run, context: TaskContext): Run {
  const name = node.stores[0]
  if (name !== undefined && context.store(name).kind === 'versioned')
    return versionedAggregate(node, next, context)
  const store = storeOf(context, node, name, 'key-value')
  const { sendOld } = node
  const snapshot = snapshotBy(store.spec.valueSerde, store)
  const careful = context.careful(node.name)
  const step = stepOf(node.aggregation, node.name, snapshot, careful)
  const silent = store.cached || next === nowhere
  if (store.cached) store.onFlush(flushKeyValue(next, context), { keepOld: sendOld })

  const apply = (
    entry: Entry,
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
      const isSpoilt = spoilt(careful, before)
      return context.failed(error, node.name, 'aggregation', key, value, timestamp, headers, isSpoilt)
    }
    store.set(entry, after, after === null ? timestamp : time, headers)
    if (!silent) return next(key, update(after, old), time, headers)
  }

  return (key, value, timestamp, headers) => {
    if (key === null || value === null)
      return context.drop(key === null ? 'null-key' : 'null-value', node.name)
    const entry = store.entry(key)
    if (isPromise(entry)) return entry.then((there) => apply(there as Entry, key, value, timestamp, headers))
    return apply(entry, key, value, timestamp, headers)
  }
}

function versionedAggregate(node: AggregateNode, next: Run, context: TaskContext): Run {
  const store: VersionedStore = storeOf(context, node, node.stores[0], 'versioned')
  const { sendOld } = node
  const snapshot = snapshotBy(store.spec.valueSerde, store)
  const step = stepOf(node.aggregation, node.name, snapshot, false)
  return async (key, value, timestamp, headers) => {
    if (key === null || value === null)
      return context.drop(key === null ? 'null-key' : 'null-value', node.name)
    const before = await store.get(key)
    let time = timestamp
    let old: unknown
    let after: unknown
    try {
      // Versions that are there already stay as they are.
      const base = before === null ? step.initial() : snapshot(before.value)
      old = sendOld ? snapshot(base) : null
      if (before !== null) time = Math.max(timestamp, before.timestamp)
      after = step.add(key, value, base)
    } catch (error) {
      return context.failed(error, node.name, 'aggregation', key, value, timestamp, headers)
    }
    const put = await store.put(key, after, time, headers)
    if (put === false) return context.drop('out-of-retention', node.name)
    return next(key, { value: after, old, latest: put.latest }, time, headers)
  }
}
