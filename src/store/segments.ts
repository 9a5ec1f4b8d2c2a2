/**
 * Retention as in Kafka Streams' RocksDB stores: what is before observed - retention + 1 is hidden from reads; what is
 * written there is taken in silence until its segment is gone, then refused. A segment expires as a whole, so expiry
 * costs what expires.
 */
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { SessionStoreSpec, WindowStoreSpec } from '../topology/store-spec.ts'
import type { Engine } from './engine.ts'

/** The number of the store, and that of the segment. */
const keyBytes = 2 + 8

export class Segments {
  readonly #store: number
  readonly #retentionMs: number
  readonly #segmentMs: number
  /** 1, or 0 for windows where emit on close scans by time (not for sessions). */
  readonly #hiddenSlackMs: number
  /** Those below it are gone from the engine. */
  #cleared = 0

  constructor(spec: WindowStoreSpec | SessionStoreSpec, store: number) {
    this.#store = store
    this.#retentionMs = spec.retentionMs
    this.#segmentMs = spec.segmentIntervalMs
    this.#hiddenSlackMs = spec.kind === 'window' && spec.emitOnClose ? 0 : 1
  }

  /** What is before it is not read. */
  visibleFrom(observedTime: number): number {
    return observedTime - this.#retentionMs + this.#hiddenSlackMs
  }

  /** The number of the segment of a time. */
  of(time: number): number {
    return Math.max(0, this.#index(time))
  }

  /** The first that is still there; 0 where all are. */
  firstOf(observedTime: number): number {
    return Math.max(0, this.#index(observedTime - this.#retentionMs))
  }

  /** What is before it is refused. */
  liveFrom(observedTime: number): number {
    const segment = this.firstOf(observedTime)
    // The segment 0 has what is before the epoch, too.
    return segment === 0 ? Number.NEGATIVE_INFINITY : segment * this.#segmentMs
  }

  /** Where the rows of a segment begin in the engine. */
  key(segment: number): Buffer {
    const key = Buffer.allocUnsafe(keyBytes)
    key.writeUInt16BE(this.#store)
    key.writeBigInt64BE(BigInt(segment), 2)
    return key
  }

  /** Takes what has expired from the engine. */
  expireIn(engine: Engine, observedTime: number): MaybePromise<void> {
    const first = this.firstOf(observedTime)
    if (first <= this.#cleared) return undefined
    const from = this.key(this.#cleared)
    this.#cleared = first
    return engine.clear(from, this.key(first))
  }

  /** The engine begins anew. */
  startOver(): void {
    this.#cleared = 0
  }

  #index(time: number): number {
    return Math.trunc(time / this.#segmentMs)
  }
}
