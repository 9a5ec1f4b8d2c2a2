/**
 * How records run through bound operators: plain closures, depth first. A record that finds everything in memory costs
 * no promise; whoever truly waits returns one, and the task awaits it before the next record.
 */
import type { DropReason } from '../base/drop.ts'
import type { Headers } from '../base/headers.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { Store } from '../store/contract.ts'
import type { SourceNode } from '../topology/node.ts'

/** What flows along an edge. Along a table's edges `value` is a Change, never null. */
export type Run = (key: unknown, value: unknown, timestamp: number, headers: Headers) => void | Promise<void>

/** An update of a table. `old` is null unless somebody downstream asked for it (`sendOld`). */
export type Change<V = unknown> = {
  readonly value: V | null
  readonly old: V | null
  /** False: an out-of-order update of a versioned table. */
  readonly latest: boolean
}

export type ValueAndTimestamp<V = unknown> = { readonly value: V; readonly timestamp: number }

/** The current value of a key of a table, materialised or not. */
export type TableView = {
  get(key: unknown): MaybePromise<ValueAndTimestamp | null>
  /** Versioned tables only. */
  getAsOf: ((key: unknown, timestamp: number) => MaybePromise<ValueAndTimestamp | null>) | null
}

/** Where the record in hand came from. One object per task, changed for each record. */
export type RecordContext = {
  topic: string | null
  partition: number
  offset: number
}

export type Cancellable = { cancel(): void }

export type PunctuationType = 'stream-time' | 'wall-clock'

/** Where sinks write. The task's in the runtime, a list in the test driver. */
export type Collector = {
  /** null: the topic isn't known yet; await `load`, then ask again. */
  partitionCount(topic: string): number | null
  load(topic: string): Promise<void>
  append(
    topic: string,
    partition: number,
    timestamp: number,
    key: Uint8Array | null,
    keyStart: number,
    keyEnd: number,
    value: Uint8Array | null,
    valueStart: number,
    valueEnd: number,
    headers: Headers,
  ): void
}

/** What a handler of the application says of a failed record. */
export type Outcome = 'fail' | 'continue'

/** The task, as operators see it while they are bound and while they run. */
export type TaskContext = {
  readonly applicationId: string
  readonly taskId: string
  readonly partition: number
  readonly record: RecordContext
  readonly collector: Collector
  /** The highest timestamp taken from the queues; -1 before any. */
  streamTime(): number
  wallClock(): number
  store(name: string): Store
  /** A global store, also where it isn't connected. */
  globalStore(name: string): Store
  /** Of emit on close and of outer joins; 0 in the test driver. */
  readonly emitIntervalMs: number
  /** The prefixed name of an internal topic; others as they are. */
  topicName(name: string, internal: boolean): string
  drop(reason: DropReason, node: string): void
  /**
   * A user's function threw: asks the application's handler, writes to the dead-letter topic, and throws where it
   * says fail. Where it returns, the record is dropped there. `spoilt`: it may have changed a stored value in place
   * before it threw; then the task goes back to the last commit, and from then on is `careful` with this node.
   */
  failed(
    error: unknown,
    node: string,
    what: string,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
    spoilt?: boolean,
  ): void
  /** Whether this node's aggregations get copies of what is stored: one of them has thrown and was told to go on. */
  careful(node: string): boolean
  /** A value could not be written. */
  unwritable(
    error: unknown,
    node: string,
    topic: string,
    part: 'key' | 'value',
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void
  schedule(
    node: string,
    type: PunctuationType,
    intervalMs: number,
    startMs: number | null,
    run: (timestamp: number) => MaybePromise<void>,
  ): Cancellable
  /** A commit as soon as the record in hand is done. */
  requestCommit(): void
  /** How far an operator came that must go on there after a restart: committed with the positions; -1 at first. */
  processorTime(name: string): number
  setProcessorTime(name: string, time: number): void
  /** The test driver's: values that were handed on can't be changed any more. */
  readonly freezeValues: boolean
  readonly configs: Readonly<Record<string, unknown>>
}

/** A source, bound: how the task reads its records, and where they go. */
export type BoundSource = {
  readonly node: SourceNode
  readonly keySerde: Serde<unknown>
  readonly valueSerde: Serde<unknown>
  readonly keyUse: Use
  readonly valueUse: Use
  readonly run: Run
  /**
   * Stateful operators on a key-keeping path can have state fetched ahead, for a whole batch at once. Called with what
   * is about to be processed; null where nobody gains from it.
   */
  readonly prefetch: ((key: unknown, timestamp: number) => void) | null
}

/**
 * What becomes of a source's key or value: somebody looks at it; sinks write it as it came, and nobody looks; or all
 * that counts is whether it is there.
 */
export type Use = 'read' | 'written' | 'present'

/** Stands for a key or value that is there and that nobody looks at. */
export const present: unknown = Object.freeze({ present: true })

/** The operators of one task. */
export type BoundSubtopology = {
  /** By the name of the source node. */
  readonly sources: ReadonlyMap<string, BoundSource>
  /** Calls every processor's init, in the order of the nodes. */
  init(): MaybePromise<void>
  /** Calls every processor's close; the first error is thrown after all were called. */
  close(): MaybePromise<void>
}
