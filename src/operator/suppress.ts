/**
 * Holds changes of a table back: until their window closes (then tombstones are swallowed), or for a time limit per key,
 * counted from its first change held. Time is what this operator has seen. Whatever leaves goes on as the record it
 * was, with its own time and headers.
 */
import { StreamsError } from '../base/errors.ts'
import { isPromise } from '../base/maybe-promise.ts'
import { Windowed } from '../serde/windowed.ts'
import type { Held } from '../store/contract.ts'
import type { SuppressNode } from '../topology/node.ts'
import type { Change, Run, TaskContext } from './run.ts'
import { comeFrom, originOf, storeOf, update } from './stores.ts'

export function suppress(node: SuppressNode, next: Run, context: TaskContext): Run {
  const { name, until } = node
  const buffer = storeOf(context, node, node.store, 'suppress-buffer')
  const final = until.kind === 'window-closes'
  const waitMs = until.kind === 'window-closes' ? until.graceMs : until.ms
  const recordsMax = node.recordsMax ?? Number.POSITIVE_INFINITY
  const bytesMax = node.bytesMax ?? Number.POSITIVE_INFINITY
  let observed = -1

  const overfull = (): boolean => buffer.size > recordsMax || buffer.bytes > bytesMax

  const drop = (): void | Promise<void> => {
    const gone = buffer.shift()
    if (isPromise(gone)) return gone.then(() => undefined)
  }

  /** Sends the first; it leaves the buffer when it was processed. */
  const send = (held: Held<unknown, unknown>): void | Promise<void> => {
    if (held.value === null && final) return drop()
    const inHand = originOf(context)
    comeFrom(context, held.origin)
    const done = (): void | Promise<void> => {
      comeFrom(context, inHand)
      return drop()
    }
    const waiting = next(held.key, update(held.value, held.old), held.timestamp, held.headers)
    return waiting === undefined ? done() : waiting.then(done)
  }

  const sendFirst = (): void | Promise<void> => {
    const held = buffer.first()
    return isPromise(held) ? held.then((there) => send(there as Held<unknown, unknown>)) : send(held)
  }

  const release = (): void | Promise<void> => {
    while (buffer.size > 0 && buffer.minTime <= observed - waitMs) {
      const waiting = sendFirst()
      if (waiting !== undefined) return waiting.then(release)
    }
    if (!overfull()) return
    if (node.whenFull === 'shut-down') throw full()
    return evict()
  }

  const evict = (): void | Promise<void> => {
    while (overfull()) {
      const waiting = sendFirst()
      if (waiting !== undefined) return waiting.then(evict)
    }
  }

  const full = (): StreamsError =>
    new StreamsError(
      'PROCESSING_FAILED',
      `${name}: the buffer is full: ${buffer.size} records (at most ${node.recordsMax ?? 'any'}), ${buffer.bytes} bytes (at most ${node.bytesMax ?? 'any'}); raise the limit, or let it emit early`,
      { node: name, store: node.store, verdict: 'stop' },
    )

  return (key, changed, timestamp, headers) => {
    const { value, old } = changed as Change
    if (timestamp > observed) observed = timestamp
    const time = final && key instanceof Windowed ? key.end : timestamp
    const held = buffer.hold(key, value, old, time, timestamp, headers, originOf(context))
    return isPromise(held) ? held.then(release) : release()
  }
}
