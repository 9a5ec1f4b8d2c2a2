/** A table's stateless operators (each may keep its result in a store), its source, and its way back to a stream. */
import { isDeepStrictEqual } from 'node:util'
import type { Headers } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { Windowed } from '../serde/windowed.ts'
import type {
  TableFilterNode,
  TableGroupNode,
  TableMapValuesNode,
  TableMergeNode,
  TableSourceNode,
} from '../topology/node.ts'
import { settled, undefinedNotAllowed } from './call.ts'
import type { Change, Run, TaskContext } from './run.ts'
import { update } from './stores.ts'
import { currentOf, tableStore } from './table-store.ts'

export function tableSource(node: TableSourceNode, next: Run, context: TaskContext, aliased: boolean): Run {
  const { name, store: storeName } = node
  if (storeName === null) {
    return (key, value, timestamp, headers) => {
      if (key === null) return context.drop('null-key', name)
      return next(key, update(value, null), timestamp, headers)
    }
  }
  const store = tableStore(node, storeName, next, context, node.sendOld, aliased)
  return (key, value, timestamp, headers) => {
    if (key === null) return context.drop('null-key', name)
    return store.write(key, value, timestamp, headers, undefined)
  }
}

/** What a function of the user made of a value; thrown through `Failure` so that the operator can tell it from others. */
export class Failure {
  readonly error: unknown

  constructor(error: unknown) {
    this.error = error
  }
}

/** The predicate on a value of the table, null for what doesn't pass. */
export function tableTest(node: TableFilterNode): (key: unknown, value: unknown) => MaybePromise<unknown> {
  const { name, test, negate } = node
  return (key, value) => {
    if (value === null) return null
    let holds: unknown
    try {
      holds = test(value, key)
    } catch (error) {
      throw new Failure(error)
    }
    if (holds === undefined) throw undefinedNotAllowed(name, 'predicate')
    if (isPromise(holds)) {
      return holds.then(
        (result) => (Boolean(result) !== negate ? value : null),
        (error) => {
          throw new Failure(error)
        },
      )
    }
    return Boolean(holds) !== negate ? value : null
  }
}

export function tableMap(node: TableMapValuesNode): (key: unknown, value: unknown) => MaybePromise<unknown> {
  const { name, map } = node
  return (key, value) => {
    if (value === null) return null
    let mapped: unknown
    try {
      mapped = map(value, key)
    } catch (error) {
      throw new Failure(error)
    }
    if (mapped === undefined) throw undefinedNotAllowed(name, 'mapper')
    if (typeof mapped === 'object' && isPromise(mapped)) {
      return mapped.then(
        (result) => {
          if (result === undefined) throw undefinedNotAllowed(name, 'mapper')
          return result
        },
        (error) => {
          throw new Failure(error)
        },
      )
    }
    return mapped
  }
}

/** `compute` is called for the new and, where it is needed, for the old value. */
export function tableCompute(
  node: TableFilterNode | TableMapValuesNode,
  what: string,
  compute: (key: unknown, value: unknown) => MaybePromise<unknown>,
  next: Run,
  context: TaskContext,
  aliased: boolean,
): Run {
  const { name, store: storeName, sendOld } = node
  // A filter says nothing of what is nothing before and after.
  const swallows = node.kind === 'table-filter' && sendOld && !node.versioned
  const store = storeName === null ? null : tableStore(node, storeName, next, context, sendOld, aliased)

  const forward = (
    value: unknown,
    old: unknown,
    latest: boolean,
    key: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    if (swallows && value === null && old === null) return
    if (store !== null) return store.write(key, value, timestamp, headers, old)
    return next(key, { value, old, latest }, timestamp, headers)
  }

  const failed = (
    error: unknown,
    key: unknown,
    change: Change,
    timestamp: number,
    headers: Headers,
  ): void => {
    if (!(error instanceof Failure)) throw error
    context.failed(error.error, name, what, key, change.value, timestamp, headers)
  }

  const slowly = async (
    pending: Promise<unknown>,
    key: unknown,
    change: Change,
    timestamp: number,
    headers: Headers,
  ): Promise<void> => {
    let value: unknown
    let old: unknown
    try {
      value = await pending
      old = sendOld ? await before(key, change) : null
    } catch (error) {
      return failed(error, key, change, timestamp, headers)
    }
    await forward(value, old, change.latest, key, timestamp, headers)
  }

  const before = (key: unknown, change: Change): MaybePromise<unknown> =>
    storeName === null ? compute(key, change.old) : currentOf(context, storeName, key)

  return (key, changed, timestamp, headers) => {
    const change = changed as Change
    let value: unknown
    let old: unknown = null
    try {
      value = compute(key, change.value)
      if (typeof value === 'object' && isPromise(value)) return slowly(value, key, change, timestamp, headers)
      if (sendOld) {
        old = before(key, change)
        if (typeof old === 'object' && isPromise(old)) {
          return slowly(Promise.resolve(value), key, change, timestamp, headers)
        }
      }
    } catch (error) {
      return failed(error, key, change, timestamp, headers)
    }
    return forward(value, old, change.latest, key, timestamp, headers)
  }
}

/** Joins' two sides come together here, and may be kept. */
export function tableMerge(node: TableMergeNode, next: Run, context: TaskContext, aliased: boolean): Run {
  const { store: storeName, sendOld } = node
  if (storeName === null) {
    if (sendOld) return next
    return (key, changed, timestamp, headers) => {
      const { value, latest } = changed as Change
      return next(key, { value, old: null, latest }, timestamp, headers)
    }
  }
  const store = tableStore(node, storeName, next, context, sendOld, aliased)
  return (key, changed, timestamp, headers) => {
    const { value, old } = changed as Change
    return store.write(key, value, timestamp, headers, old)
  }
}

export function tableToStream(next: Run): Run {
  return (key, changed, timestamp, headers) => next(key, (changed as Change).value, timestamp, headers)
}

/**
 * Towards the groups: old and new pair in one message where they belong to the same group, else the removal, then the
 * addition. `versioned`: updates that are not the latest are left out.
 */
export function tableGroup(node: TableGroupNode, next: Run, context: TaskContext, versioned: boolean): Run {
  const { name, map } = node
  const pairOf = (key: unknown, value: unknown): readonly [unknown, unknown] | null => {
    if (value === null) return null
    const pair = settled(map(value, key), name, 'mapper')
    if (!Array.isArray(pair)) throw new TypeError('the mapper must return [key, value]')
    if (pair[0] === undefined || pair[1] === undefined) throw undefinedNotAllowed(name, 'mapper')
    if (pair[0] === null || pair[1] === null) {
      context.drop('null-group-key', name)
      return null
    }
    return pair as unknown as readonly [unknown, unknown]
  }
  return (key, changed, timestamp, headers) => {
    const { value, old, latest } = changed as Change
    if (versioned && !latest) return
    let after: readonly [unknown, unknown] | null
    let before: readonly [unknown, unknown] | null
    try {
      if (key === null) throw new TypeError('a table that is grouped has a record without a key')
      after = pairOf(key, value)
      before = pairOf(key, old)
    } catch (error) {
      return context.failed(error, name, 'mapper', key, value, timestamp, headers)
    }
    if (before !== null && after !== null && sameKey(before[0], after[0])) {
      return next(before[0], { value: after[1], old: before[1], latest }, timestamp, headers)
    }
    const removal =
      before === null
        ? undefined
        : next(before[0], { value: null, old: before[1], latest }, timestamp, headers)
    if (after === null) return removal
    const [group, grouped] = after
    const add = () => next(group, { value: grouped, old: null, latest }, timestamp, headers)
    return removal === undefined ? add() : removal.then(add)
  }
}

export function sameKey(one: unknown, other: unknown): boolean {
  if (one === other) return true
  if (typeof one !== 'object' || typeof other !== 'object') return false
  if (one instanceof Windowed && other instanceof Windowed) {
    return one.start === other.start && one.end === other.end && sameKey(one.key, other.key)
  }
  return isDeepStrictEqual(one, other)
}
