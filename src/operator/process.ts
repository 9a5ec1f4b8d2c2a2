/**
 * The user's own processors. What they forward goes on in order; whatever of it waits is awaited before the task takes
 * its next record, whether the processor awaits it or not. An error behind a processor is never its own.
 */
import { durationMs } from '../base/duration.ts'
import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { ProcessNode, TableTransformValuesNode } from '../topology/node.ts'
import type {
  ForwardedRecord,
  Processor,
  ProcessorContext,
  StateContext,
  ValueTransformer,
} from '../topology/processor.ts'
import { undefinedNotAllowed } from './call.ts'
import type { Change, Run, TableView, TaskContext, ValueAndTimestamp } from './run.ts'
import { freeze } from './snapshot.ts'
import { type InHand, storeFor } from './store-facade.ts'
import { comeFrom, originOf } from './stores.ts'
import { Failure, sameKey } from './table.ts'
import { currentOf, tableStore } from './table-store.ts'

/** What bind calls around an operator's life. */
export type Lifecycle = { init(): MaybePromise<void>; close(): MaybePromise<void> }

type Children = { readonly all: Run; named(name: string): Run | null; readonly names: readonly string[] }

/** The part of a context that has nothing to do with forwarding. */
function stateContext(
  node: ProcessNode | TableTransformValuesNode,
  context: TaskContext,
  inHand: InHand,
  punctuate: (run: (timestamp: number) => MaybePromise<void>, timestamp: number) => MaybePromise<void>,
): StateContext {
  const { name } = node
  const facades = new Map<string, unknown>()
  const handOver = context.freezeValues ? freeze : () => undefined
  return {
    applicationId: context.applicationId,
    taskId: context.taskId,
    partition: context.partition,
    configs: context.configs,
    recordMetadata() {
      const { topic, partition, offset } = context.record
      return topic === null ? null : { topic, partition, offset }
    },
    streamTime: () => context.streamTime(),
    wallClock: () => context.wallClock(),
    store<S>(store: string): S {
      let facade = facades.get(store)
      if (facade === undefined) {
        const found = node.stores.includes(store) ? context.store(store) : globalStore(context, store)
        if (found === null) {
          throw new StreamsError(
            'TOPOLOGY_INVALID',
            `${name}: store ${store} is not connected to it; connected: ${node.stores.join(', ') || 'none'}. Name it where the processor is added`,
            { node: name, store },
          )
        }
        facade = storeFor(found, inHand, handOver)
        facades.set(store, facade)
      }
      return facade as S
    },
    schedule(interval, type, run, options = {}) {
      const intervalMs = durationMs(interval, `${name}: interval of a punctuation`)
      const startMs = options.startMs ?? null
      if (intervalMs < 1 || (startMs !== null && startMs < 0)) {
        throw new StreamsError(
          'CONFIG_INVALID',
          `${name}: a punctuation every ${intervalMs} ms from ${startMs ?? 0}; the interval must be at least 1 ms, the start not negative`,
          { node: name },
        )
      }
      return context.schedule(name, type, intervalMs, startMs, (timestamp) => punctuate(run, timestamp))
    },
    commit: () => context.requestCommit(),
  }
}

function globalStore(context: TaskContext, name: string) {
  try {
    return context.globalStore(name)
  } catch {
    return null
  }
}

export function process(
  node: ProcessNode,
  children: Children,
  context: TaskContext,
): { run: Run; life: Lifecycle } {
  const { name, fixedKey } = node
  const processor = node.make() as Processor
  const inHand: InHand & { key: unknown; active: boolean } = {
    key: null,
    timestamp: -1,
    headers: noHeaders,
    active: false,
  }
  // What was forwarded and still waits; what went wrong behind this processor.
  let pending: Promise<void> | undefined
  let broken: { readonly error: unknown } | null = null

  const send = (
    to: Run,
    record: ForwardedRecord,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    try {
      const waiting = to(record.key, record.value, timestamp, headers)
      if (waiting === undefined) return
      return waiting.catch((error) => {
        broken ??= { error }
        throw error
      })
    } catch (error) {
      broken ??= { error }
      throw error
    }
  }

  const forward = (record: ForwardedRecord, child?: string): MaybePromise<void> => {
    if (!inHand.active) {
      throw new StreamsError(
        'PROCESSING_FAILED',
        `${name}: forward was called when no record was in hand; await what it waits for inside process`,
        { node: name, verdict: 'stop' },
      )
    }
    if (record.key === undefined || record.value === undefined)
      throw undefinedNotAllowed(name, 'forwarded record')
    if (fixedKey && !sameKey(record.key, inHand.key) && inHand.key !== anyKey) {
      throw new StreamsError(
        'PROCESSING_FAILED',
        `${name}: a fixed-key processor forwarded another key; use process() to change keys`,
        { node: name, verdict: 'stop' },
      )
    }
    const timestamp = record.timestamp ?? inHand.timestamp
    if (!Number.isSafeInteger(timestamp) || timestamp < 0) {
      throw new RangeError(
        `${name}: forwarded with timestamp ${timestamp}; it must be a whole number, not negative`,
      )
    }
    const headers = record.headers ?? inHand.headers
    const to = child === undefined ? children.all : children.named(child)
    if (to === null) {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        `${name}: no child ${child}; children: ${children.names.join(', ') || 'none'}`,
        { node: name },
      )
    }
    if (pending !== undefined) {
      pending = pending.then(() => send(to, record, timestamp, headers))
      return pending
    }
    const waiting = send(to, record, timestamp, headers)
    if (waiting === undefined) return
    pending = waiting
    return pending
  }

  /** Ends a call of the processor: all it forwarded has arrived, or the task stops with what went wrong there. */
  const arrived = (): void | Promise<void> => {
    if (pending === undefined) {
      inHand.active = false
      return throwBroken()
    }
    const waiting = pending
    return waiting.then(
      () => {
        // Forwarding may have gone on meanwhile.
        if (pending === waiting) pending = undefined
        return arrived()
      },
      (error) => {
        pending = undefined
        inHand.active = false
        throw error
      },
    )
  }

  const throwBroken = (): void => {
    if (broken === null) return
    const { error } = broken
    broken = null
    throw error
  }

  const settle = async (called: Promise<unknown>, onError: (error: unknown) => void): Promise<void> => {
    try {
      await called
    } catch (error) {
      await finish(error, onError)
      return
    }
    await arrived()
  }

  /** The processor threw: an error that came back through it goes on as it is, its own goes to the handler. */
  const finish = async (error: unknown, onError: (error: unknown) => void): Promise<void> => {
    await arrived()
    onError(error)
  }

  const begin = (): void => {
    inHand.active = true
    broken = null
  }

  /** After a call that returned. */
  const ended = (called: unknown, onError: (error: unknown) => void): void | Promise<void> =>
    called !== undefined && isPromise(called) ? settle(called, onError) : arrived()

  /** After a call that threw. */
  const threw = (error: unknown, onError: (error: unknown) => void): void | Promise<void> => {
    if (pending !== undefined) return finish(error, onError)
    inHand.active = false
    throwBroken()
    return onError(error)
  }

  const processorContext: ProcessorContext = {
    ...stateContext(node, context, inHand, (run, timestamp) => {
      inHand.key = anyKey
      inHand.timestamp = timestamp
      inHand.headers = noHeaders
      begin()
      let called: unknown
      try {
        called = run(timestamp)
      } catch (error) {
        return threw(error, rethrow)
      }
      return ended(called, rethrow)
    }),
    forward,
  }

  const run: Run = (key, value, timestamp, headers) => {
    inHand.key = key
    inHand.timestamp = timestamp
    inHand.headers = headers
    begin()
    let called: unknown
    try {
      called = processor.process({ key, value, timestamp, headers })
    } catch (error) {
      return threw(error, (own) => context.failed(own, name, 'processor', key, value, timestamp, headers))
    }
    if (called === undefined && pending === undefined) {
      inHand.active = false
      return broken === null ? undefined : throwBroken()
    }
    return ended(called, (own) => context.failed(own, name, 'processor', key, value, timestamp, headers))
  }

  return {
    run,
    life: {
      init: () => processor.init?.(processorContext),
      close: () => processor.close?.(),
    },
  }
}

/** The task puts what a punctuator throws down to its node. */
function rethrow(error: unknown): void {
  throw error
}

// A punctuation has no key to keep.
const anyKey = Symbol('any key')

export function tableTransformValues(
  node: TableTransformValuesNode,
  next: Run,
  context: TaskContext,
  aliased: boolean,
): { run: Run; life: Lifecycle } {
  const { name, store: storeName, sendOld } = node
  const transformer = node.make() as ValueTransformer
  const inHand: InHand = { timestamp: -1, headers: noHeaders }
  const life = transformerLife(node, transformer, context, inHand)
  const transform = transformOf(name, transformer)
  const store = storeName === null ? null : tableStore(node, storeName, next, context, sendOld, aliased)

  const forward = (
    value: unknown,
    old: unknown,
    latest: boolean,
    key: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    if (store !== null) return store.write(key, value, timestamp, headers, old)
    return next(key, { value, old, latest }, timestamp, headers)
  }

  const slowly = async (
    pending: Promise<unknown>,
    key: unknown,
    change: Change,
    timestamp: number,
    headers: Headers,
  ): Promise<void> => {
    let value: unknown
    let old: unknown = null
    try {
      value = await pending
      if (sendOld)
        old = await (storeName === null ? transform(key, change.old) : currentOf(context, storeName, key))
    } catch (error) {
      return failed(error, key, change, timestamp, headers)
    }
    await forward(value, old, change.latest, key, timestamp, headers)
  }

  const failed = (
    error: unknown,
    key: unknown,
    change: Change,
    timestamp: number,
    headers: Headers,
  ): void => {
    if (!(error instanceof Failure)) throw error
    context.failed(error.error, name, 'transformer', key, change.value, timestamp, headers)
  }

  const run: Run = (key, changed, timestamp, headers) => {
    const change = changed as Change
    inHand.timestamp = timestamp
    inHand.headers = headers
    let value: unknown
    let old: unknown = null
    try {
      value = transform(key, change.value)
      if (typeof value === 'object' && isPromise(value)) return slowly(value, key, change, timestamp, headers)
      if (sendOld) {
        old = storeName === null ? transform(key, change.old) : currentOf(context, storeName, key)
        if (typeof old === 'object' && isPromise(old)) {
          return old.then((there) => forward(value, there, change.latest, key, timestamp, headers))
        }
      }
    } catch (error) {
      return failed(error, key, change, timestamp, headers)
    }
    return forward(value, old, change.latest, key, timestamp, headers)
  }
  return { run, life }
}

/** The table as it looks through the transformer, without a store: computed for each look. */
export function transformedView(
  node: TableTransformValuesNode,
  parent: TableView,
  context: TaskContext,
): { view: TableView; life: Lifecycle } {
  const transformer = node.make() as ValueTransformer
  const inHand: InHand = { timestamp: -1, headers: noHeaders }
  const life = transformerLife(node, transformer, context, inHand)
  const transform = transformOf(node.name, transformer)
  const look = (row: ValueAndTimestamp | null, key: unknown): MaybePromise<ValueAndTimestamp | null> => {
    const before = originOf(context)
    comeFrom(context, { topic: null, partition: -1, offset: -1 })
    const timestamp = row === null ? -1 : row.timestamp
    inHand.timestamp = timestamp
    inHand.headers = noHeaders
    const done = (value: unknown): ValueAndTimestamp | null => {
      comeFrom(context, before)
      return value === null ? null : { value, timestamp }
    }
    const value = transform(key, row === null ? null : row.value)
    return typeof value === 'object' && isPromise(value) ? value.then(done) : done(value)
  }
  const { getAsOf } = parent
  return {
    life,
    view: {
      get(key) {
        const row = parent.get(key)
        return isPromise(row) ? row.then((there) => look(there, key)) : look(row, key)
      },
      getAsOf:
        getAsOf === null
          ? null
          : (key, timestamp) => {
              const row = getAsOf(key, timestamp)
              return isPromise(row) ? row.then((there) => look(there, key)) : look(row, key)
            },
    },
  }
}

function transformerLife(
  node: TableTransformValuesNode,
  transformer: ValueTransformer,
  context: TaskContext,
  inHand: InHand,
): Lifecycle {
  return {
    init: () =>
      transformer.init?.(
        stateContext(node, context, inHand, (run, timestamp) => {
          inHand.timestamp = timestamp
          inHand.headers = noHeaders
          return run(timestamp)
        }),
      ),
    close: () => transformer.close?.(),
  }
}

function transformOf(name: string, transformer: ValueTransformer) {
  return (key: unknown, value: unknown): MaybePromise<unknown> => {
    let transformed: unknown
    try {
      transformed = transformer.transform(value, key)
    } catch (error) {
      throw new Failure(error)
    }
    if (transformed === undefined) throw undefinedNotAllowed(name, 'transformer')
    if (typeof transformed === 'object' && isPromise(transformed)) {
      return transformed.then(
        (result) => {
          if (result === undefined) throw undefinedNotAllowed(name, 'transformer')
          return result
        },
        (error) => {
          throw new Failure(error)
        },
      )
    }
    return transformed
  }
}
