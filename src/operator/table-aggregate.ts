/**
 * count, reduce and aggregate over a grouped table: a change first takes its old value out of the group, if there is an
 * aggregate, then adds the new one; one result comes out.
 */
import { StreamsError } from '../base/errors.ts'
import type { Headers } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Entry } from '../store/contract.ts'
import type { TableAggregateNode } from '../topology/node.ts'
import { spoilt, stepOf } from './aggregate.ts'
import { nowhere, settled } from './call.ts'
import type { Change, Run, TaskContext } from './run.ts'
import { type Snapshot, snapshotBy } from './snapshot.ts'
import { flushKeyValue, storeOf, update } from './stores.ts'

export function tableAggregate(node: TableAggregateNode, next: Run, context: TaskContext): Run {
  const { name, sendOld } = node
  const storeName = node.stores[0]
  if (storeName !== undefined && context.store(storeName).kind === 'versioned') {
    return versionedTableAggregate(node, next, context)
  }
  const store = storeOf(context, node, storeName, 'key-value')
  const snapshot = snapshotBy(store.spec.valueSerde, store)
  const careful = context.careful(name)
  const move = moveOf(node, snapshot, careful)
  const silent = store.cached || next === nowhere
  if (store.cached) store.onFlush(flushKeyValue(next, context), { keepOld: sendOld })

  const apply = (
    entry: Entry,
    key: unknown,
    change: Change,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const before = entry.value
    let old: unknown = null
    let after: unknown
    let time: number
    try {
      if (sendOld) old = snapshot(before)
      time = before !== null && entry.timestamp > timestamp ? entry.timestamp : timestamp
      after = move(key, before, change)
    } catch (error) {
      const isSpoilt = spoilt(careful, before)
      return context.failed(error, name, 'aggregation', key, change.value, timestamp, headers, isSpoilt)
    }
    store.set(entry, after, after === null ? timestamp : time, headers)
    if (!silent) return next(key, update(after, old), time, headers)
  }

  return (key, changed, timestamp, headers) => {
    if (key === null) throw groupWithoutKey(name)
    const change = changed as Change
    const entry = store.entry(key)
    if (isPromise(entry)) return entry.then((there) => apply(there as Entry, key, change, timestamp, headers))
    return apply(entry, key, change, timestamp, headers)
  }
}

function moveOf(node: TableAggregateNode, snapshot: Snapshot, careful: boolean) {
  const { name, aggregation } = node
  const step = stepOf(aggregation, name, snapshot, false)
  const { subtract } = aggregation
  return (key: unknown, stored: unknown, change: Change): unknown => {
    const before = careful ? snapshot(stored) : stored
    let aggregate = before
    if (change.old !== null && before !== null && subtract !== null) {
      aggregate = settled(subtract(key, change.old, before), name, 'subtractor')
    }
    if (change.value === null) return aggregate
    return step.add(key, change.value, aggregate === null ? step.initial() : aggregate)
  }
}

function versionedTableAggregate(node: TableAggregateNode, next: Run, context: TaskContext): Run {
  const { name, sendOld } = node
  const store = storeOf(context, node, node.stores[0], 'versioned')
  const snapshot = snapshotBy(store.spec.valueSerde, store)
  const move = moveOf(node, snapshot, false)
  return async (key, changed, timestamp, headers) => {
    if (key === null) throw groupWithoutKey(name)
    const change = changed as Change
    const version = await store.get(key)
    const before = version === null ? null : snapshot(version.value)
    let old: unknown
    let after: unknown
    let time: number
    try {
      old = sendOld ? snapshot(before) : null
      time = version === null ? timestamp : Math.max(timestamp, version.timestamp)
      after = move(key, before, change)
    } catch (error) {
      return context.failed(error, name, 'aggregation', key, change.value, timestamp, headers)
    }
    const put = await store.put(key, after, time, headers)
    if (put === false) return context.drop('out-of-retention', name)
    return next(key, { value: after, old, latest: put.latest }, time, headers)
  }
}

function groupWithoutKey(name: string): StreamsError {
  return new StreamsError('PROCESSING_FAILED', `${name}: a record of a grouped table has no key`, {
    node: name,
    verdict: 'stop',
  })
}
