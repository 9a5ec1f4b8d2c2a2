/** Operators without state: filter, map, flatMap, selectKey, peek, branch. */
import type { Headers } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type {
  BranchNode,
  FilterNode,
  FlatMapNode,
  FlatMapValuesNode,
  MapNode,
  MapValuesNode,
  PeekNode,
  SelectKeyNode,
} from '../topology/node.ts'
import { inOrder, settled, undefinedNotAllowed, whenSettled } from './call.ts'
import type { Run, TaskContext } from './run.ts'

export function filter(node: FilterNode, next: Run, context: TaskContext): Run {
  const { name, test, negate } = node
  if (node.repartition) return dropNullKeys(node, next, context)
  return (key, value, timestamp, headers) => {
    let holds: unknown
    try {
      holds = test(value, key)
    } catch (error) {
      return context.failed(error, name, 'predicate', key, value, timestamp, headers)
    }
    if (holds === true || holds === false) {
      if (holds !== negate) return next(key, value, timestamp, headers)
      return
    }
    if (holds === undefined) throw undefinedNotAllowed(name, 'predicate')
    if (isPromise(holds)) {
      return whenSettled(context, name, 'predicate', holds, key, value, timestamp, headers, (result) => {
        if (Boolean(result) !== negate) return next(key, value, timestamp, headers)
      })
    }
    if (Boolean(holds) !== negate) return next(key, value, timestamp, headers)
  }
}

/** Before a repartition topic. Kafka Streams leaves such records out without a word; here they are told of. */
function dropNullKeys(node: FilterNode, next: Run, context: TaskContext): Run {
  const { name, test } = node
  return (key, value, timestamp, headers) => {
    if (test(value, key) === true) return next(key, value, timestamp, headers)
    context.drop('null-repartition-key', name)
  }
}

export function map(node: MapNode, next: Run, context: TaskContext): Run {
  const { name, map: mapper } = node
  const forward = (
    pair: unknown,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    if (!Array.isArray(pair))
      return context.failed(notAPair(pair), name, 'mapper', key, value, timestamp, headers)
    if (pair[0] === undefined || pair[1] === undefined) throw undefinedNotAllowed(name, 'mapper')
    return next(pair[0], pair[1], timestamp, headers)
  }
  return (key, value, timestamp, headers) => {
    let pair: unknown
    try {
      pair = mapper(value, key)
    } catch (error) {
      return context.failed(error, name, 'mapper', key, value, timestamp, headers)
    }
    if (pair === undefined) throw undefinedNotAllowed(name, 'mapper')
    if (isPromise(pair)) {
      return whenSettled(context, name, 'mapper', pair, key, value, timestamp, headers, (result) =>
        forward(result, key, value, timestamp, headers),
      )
    }
    return forward(pair, key, value, timestamp, headers)
  }
}

function notAPair(pair: unknown): TypeError {
  return new TypeError(`the mapper must return [key, value], not ${pair === null ? 'null' : typeof pair}`)
}

export function mapValues(node: MapValuesNode, next: Run, context: TaskContext): Run {
  const { name, map: mapper } = node
  return (key, value, timestamp, headers) => {
    let mapped: unknown
    try {
      mapped = mapper(value, key)
    } catch (error) {
      return context.failed(error, name, 'mapper', key, value, timestamp, headers)
    }
    if (mapped === undefined) throw undefinedNotAllowed(name, 'mapper')
    if (typeof mapped === 'object' && isPromise(mapped)) {
      return whenSettled(context, name, 'mapper', mapped, key, value, timestamp, headers, (result) =>
        next(key, result, timestamp, headers),
      )
    }
    return next(key, mapped, timestamp, headers)
  }
}

export function flatMap(node: FlatMapNode, next: Run, context: TaskContext): Run {
  const { name, map: mapper } = node
  const forward = (
    mapped: unknown,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    let pairs: readonly unknown[]
    try {
      pairs = Array.isArray(mapped) ? mapped : Array.from(mapped as Iterable<unknown>)
    } catch (error) {
      return context.failed(error, name, 'mapper', key, value, timestamp, headers)
    }
    return inOrder(pairs.length, (index) => {
      const pair = pairs[index]
      if (!Array.isArray(pair))
        return context.failed(notAPair(pair), name, 'mapper', key, value, timestamp, headers)
      if (pair[0] === undefined || pair[1] === undefined) throw undefinedNotAllowed(name, 'mapper')
      return next(pair[0], pair[1], timestamp, headers)
    })
  }
  return (key, value, timestamp, headers) => {
    let mapped: unknown
    try {
      mapped = mapper(value, key)
    } catch (error) {
      return context.failed(error, name, 'mapper', key, value, timestamp, headers)
    }
    if (mapped === undefined) throw undefinedNotAllowed(name, 'mapper')
    if (isPromise(mapped)) {
      return whenSettled(context, name, 'mapper', mapped, key, value, timestamp, headers, (result) =>
        forward(result, key, value, timestamp, headers),
      )
    }
    return forward(mapped, key, value, timestamp, headers)
  }
}

export function flatMapValues(node: FlatMapValuesNode, next: Run, context: TaskContext): Run {
  const { name, map: mapper } = node
  const forward = (
    mapped: unknown,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    let values: readonly unknown[]
    try {
      values = Array.isArray(mapped) ? mapped : Array.from(mapped as Iterable<unknown>)
    } catch (error) {
      return context.failed(error, name, 'mapper', key, value, timestamp, headers)
    }
    return inOrder(values.length, (index) => {
      if (values[index] === undefined) throw undefinedNotAllowed(name, 'mapper')
      return next(key, values[index], timestamp, headers)
    })
  }
  return (key, value, timestamp, headers) => {
    let mapped: unknown
    try {
      mapped = mapper(value, key)
    } catch (error) {
      return context.failed(error, name, 'mapper', key, value, timestamp, headers)
    }
    if (mapped === undefined) throw undefinedNotAllowed(name, 'mapper')
    if (isPromise(mapped)) {
      return whenSettled(context, name, 'mapper', mapped, key, value, timestamp, headers, (result) =>
        forward(result, key, value, timestamp, headers),
      )
    }
    return forward(mapped, key, value, timestamp, headers)
  }
}

export function selectKey(node: SelectKeyNode, next: Run, context: TaskContext): Run {
  const { name, select } = node
  return (key, value, timestamp, headers) => {
    let selected: unknown
    try {
      selected = select(value, key)
    } catch (error) {
      return context.failed(error, name, 'key selector', key, value, timestamp, headers)
    }
    return next(settled(selected, name, 'key selector'), value, timestamp, headers)
  }
}

export function peek(node: PeekNode, next: Run, context: TaskContext): Run {
  const { name, call, forwards } = node
  const after = async (
    pending: Promise<unknown>,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): Promise<void> => {
    try {
      await pending
    } catch (error) {
      context.failed(error, name, 'function', key, value, timestamp, headers)
      return
    }
    if (forwards) await next(key, value, timestamp, headers)
  }
  return (key, value, timestamp, headers) => {
    let called: unknown
    try {
      called = call(value, key)
    } catch (error) {
      return context.failed(error, name, 'function', key, value, timestamp, headers)
    }
    if (called !== undefined && isPromise(called)) return after(called, key, value, timestamp, headers)
    if (forwards) return next(key, value, timestamp, headers)
  }
}

/** `child` finds the way to a child by its name. */
export function branch(node: BranchNode, child: (name: string) => Run, context: TaskContext): Run {
  const { name } = node
  const ways = node.branches.map((way) => ({ test: way.test, next: child(way.child) }))
  const otherwise = node.otherwise === null ? null : child(node.otherwise)
  const from = (
    start: number,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    for (let index = start; index < ways.length; index++) {
      const way = ways[index] as (typeof ways)[number]
      let holds: unknown
      try {
        holds = way.test(value, key)
      } catch (error) {
        return context.failed(error, name, 'predicate', key, value, timestamp, headers)
      }
      if (holds === undefined) throw undefinedNotAllowed(name, 'predicate')
      if (isPromise(holds)) {
        return whenSettled(context, name, 'predicate', holds, key, value, timestamp, headers, (result) =>
          result ? way.next(key, value, timestamp, headers) : from(index + 1, key, value, timestamp, headers),
        )
      }
      if (holds) return way.next(key, value, timestamp, headers)
    }
    if (otherwise !== null) return otherwise(key, value, timestamp, headers)
  }
  return (key, value, timestamp, headers) => from(0, key, value, timestamp, headers)
}
