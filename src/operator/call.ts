/**
 * How operators call the user's functions and hand records on. A function is called in a `try` of its own, so that an
 * error is put down to the operator whose function threw, never to those after it.
 */
import { StreamsError } from '../base/errors.ts'
import type { Headers } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Run, TaskContext } from './run.ts'

/** Nobody is there. */
export const nowhere: Run = () => undefined

/** All children in the order in which they were connected; each record reaches the next when the one before is done. */
export function fanOut(children: readonly Run[]): Run {
  if (children.length === 0) return nowhere
  if (children.length === 1) return children[0] as Run
  return (key, value, timestamp, headers) => each(children, 0, key, value, timestamp, headers)
}

function each(
  children: readonly Run[],
  from: number,
  key: unknown,
  value: unknown,
  timestamp: number,
  headers: Headers,
): void | Promise<void> {
  for (let index = from; index < children.length; index++) {
    const waiting = (children[index] as Run)(key, value, timestamp, headers)
    if (waiting !== undefined) {
      return waiting.then(() => each(children, index + 1, key, value, timestamp, headers))
    }
  }
}

/** Calls `step` for each of `count`, one after another. */
export function inOrder(
  count: number,
  step: (index: number) => void | Promise<void>,
  from = 0,
): void | Promise<void> {
  for (let index = from; index < count; index++) {
    const waiting = step(index)
    if (waiting !== undefined) return waiting.then(() => inOrder(count, step, index + 1))
  }
}

export function promiseNotAllowed(node: string, what: string): StreamsError {
  return new StreamsError(
    'PROMISE_NOT_ALLOWED',
    `${node}: the ${what} returned a promise; it must be synchronous. Fetch what it needs in a mapValues before it`,
    { node },
  )
}

export function undefinedNotAllowed(node: string, what: string): StreamsError {
  return new StreamsError(
    'UNDEFINED_NOT_ALLOWED',
    `${node}: the ${what} returned undefined; return a value, or null where there is none`,
    { node },
  )
}

/** What a synchronous function may return: anything but undefined and a promise. */
export function settled(result: unknown, node: string, what: string): unknown {
  if (result === undefined) throw undefinedNotAllowed(node, what)
  if (typeof result === 'object' && isPromise(result)) {
    // Nobody will look at it, and a rejection must not end the process.
    result.then(undefined, () => undefined)
    throw promiseNotAllowed(node, what)
  }
  return result
}

/** The slow path: a function that may be asynchronous was. Undefined where a value is due is an error here, too. */
export async function whenSettled(
  context: TaskContext,
  node: string,
  what: string,
  pending: Promise<unknown>,
  key: unknown,
  value: unknown,
  timestamp: number,
  headers: Headers,
  then: (result: unknown) => void | Promise<void>,
): Promise<void> {
  let result: unknown
  try {
    result = await pending
  } catch (error) {
    context.failed(error, node, what, key, value, timestamp, headers)
    return
  }
  if (result === undefined) throw undefinedNotAllowed(node, what)
  return then(result)
}
