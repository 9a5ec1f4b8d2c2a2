/**
 * A processor on its own: the context that it gets, without a topology around it. What it forwards, schedules and asks
 * for is kept to be looked at; its stores are real ones, in memory. For a whole topology take the TopologyTestDriver.
 *
 *   const context = new MockProcessorContext({ stores: [stores.keyValue('seen', …)] })
 *   await processor.init?.(context)
 *   await processor.process({ key: 'a', value: 1, timestamp: 1000, headers: noHeaders })
 *   context.forwarded   // [{ record: { key: 'a', value: 2, timestamp: 1000, headers: [] }, child: null }]
 */
import { type Duration, durationMs } from '../base/duration.ts'
import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import { type InHand, storeFacade } from '../operator/store-facade.ts'
import type { TaskState } from '../store/contract.ts'
import { openMemoryState } from '../store/task-state.ts'
import type {
  Cancellable,
  ForwardedRecord,
  KeyValueStore,
  ProcessorContext,
  PunctuationType,
  Punctuator,
  RecordMetadata,
  StreamRecord,
} from '../topology/processor.ts'
import type { StoreSpec } from '../topology/store-spec.ts'

export type MockContextOptions = {
  readonly applicationId?: string
  readonly taskId?: string
  readonly configs?: Readonly<Record<string, unknown>>
  readonly stores?: readonly StoreSpec[]
  /** Where the wall clock begins. */
  readonly wallClockMs?: number
}

export type CapturedForward<K = unknown, V = unknown> = {
  readonly record: StreamRecord<K, V>
  /** The child it was for; null for all. */
  readonly child: string | null
}

export type CapturedPunctuator = {
  readonly intervalMs: number
  readonly type: PunctuationType
  readonly startMs: number | null
  readonly cancelled: boolean
  /** Calls it, as the task would at this time. */
  run(timestamp: number): MaybePromise<void>
}

export class MockProcessorContext<KOut = unknown, VOut = unknown> implements ProcessorContext<KOut, VOut> {
  readonly applicationId: string
  readonly taskId: string
  readonly partition: number
  readonly configs: Readonly<Record<string, unknown>>
  readonly #state: TaskState
  readonly #inHand: InHand = { timestamp: 0, headers: noHeaders }
  #metadata: RecordMetadata | null = null
  #streamTime = -1
  #wallClock: number
  #forwarded: CapturedForward<KOut, VOut>[] = []
  readonly #punctuators: CapturedPunctuator[] = []
  #committed = false

  constructor(options: MockContextOptions = {}) {
    this.applicationId = options.applicationId ?? 'mock'
    this.taskId = options.taskId ?? '0_0'
    this.partition = Number(this.taskId.split('_')[1] ?? 0)
    this.configs = options.configs ?? {}
    this.#wallClock = options.wallClockMs ?? 0
    this.#state = openMemoryState({
      stores: options.stores ?? [],
      cacheBytesMax: 0,
      context: { changelogTopic: (store) => `${this.applicationId}-${store}-changelog`, drop: () => {} },
    })
  }

  // -------------------------------------------------------------------------------------------- what a test sets

  /** Where the next record comes from; null as in a punctuator. */
  setRecordMetadata(metadata: RecordMetadata | null): void {
    this.#metadata = metadata
  }

  /** Of the record in hand: what is forwarded and put without them has these. Stream time follows. */
  setRecord({
    timestamp,
    headers = noHeaders,
  }: {
    readonly timestamp: number
    readonly headers?: Headers
  }): void {
    this.#inHand.timestamp = timestamp
    this.#inHand.headers = headers
    this.#streamTime = Math.max(this.#streamTime, timestamp)
  }

  setStreamTime(timestamp: number): void {
    this.#streamTime = timestamp
  }

  advanceWallClock(by: Duration): void {
    this.#wallClock += durationMs(by, 'advanceWallClock')
  }

  // -------------------------------------------------------------------------------------------- what it looks at

  get forwarded(): readonly CapturedForward<KOut, VOut>[] {
    return this.#forwarded
  }

  resetForwarded(): void {
    this.#forwarded = []
  }

  get punctuators(): readonly CapturedPunctuator[] {
    return this.#punctuators
  }

  /** Whether a commit was asked for since the last `resetCommitted`. */
  get committed(): boolean {
    return this.#committed
  }

  resetCommitted(): void {
    this.#committed = false
  }

  // -------------------------------------------------------------------------------------------- what a processor sees

  recordMetadata(): RecordMetadata | null {
    return this.#metadata
  }

  streamTime(): number {
    return this.#streamTime
  }

  wallClock(): number {
    return this.#wallClock
  }

  store<S = KeyValueStore>(name: string): S {
    const known = this.#state.stores.map((store) => store.name)
    if (!known.includes(name)) {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        `the context has no store ${name}; it has ${known.length === 0 ? 'none' : known.join(', ')}: give it with MockProcessorContext({ stores })`,
        { store: name },
      )
    }
    return storeFacade(this.#state.store(name), this.#inHand, () => undefined) as S
  }

  schedule(
    interval: Duration,
    type: PunctuationType,
    run: Punctuator,
    options: { readonly startMs?: number } = {},
  ): Cancellable {
    let cancelled = false
    this.#punctuators.push({
      intervalMs: durationMs(interval, 'schedule'),
      type,
      startMs: options.startMs ?? null,
      get cancelled() {
        return cancelled
      },
      run,
    })
    return {
      cancel() {
        cancelled = true
      },
    }
  }

  commit(): void {
    this.#committed = true
  }

  forward(record: ForwardedRecord<KOut, VOut>, child?: string): void {
    const { timestamp = this.#inHand.timestamp, headers = this.#inHand.headers } = record
    this.#forwarded.push({
      record: { key: record.key, value: record.value, timestamp, headers },
      child: child ?? null,
    })
  }
}
