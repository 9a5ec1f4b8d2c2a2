/**
 * What the buffers share that keep all they hold in memory, in order of time, with changelog and engine behind: the
 * engine's rows are the changelog's, so opening and restoring are the same.
 *
 * engine: store number (2), the changelog's key -> timestamp (8), the changelog's value.
 */
import { ByteWriter } from '../base/bytes.ts'
import { noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import { int64At } from '../wire/record-batch.ts'
import type { ChangelogRecord } from './contract.ts'
import type { EngineBatch } from './engine.ts'
import { successor } from './key-scan.ts'
import { LayeredStore, storePrefix } from './layered-store.ts'
import type { Slot } from './slot.ts'
import { drain } from './timed-store.ts'

const prefixBytes = 2
const timestampBytes = 8

export abstract class BufferStore<S extends Slot> extends LayeredStore<S> {
  readonly #own = new ByteWriter(256)

  /** One row, of the engine or the changelog. */
  protected abstract lay(key: Buffer, value: Buffer | null, timestamp: number): MaybePromise<void>
  /** Reads what the engine has. */
  open(): MaybePromise<void> {
    if (this.pinned) return undefined
    const prefix = storePrefix(this.number)
    const scan = this.services.engine.scan(prefix, successor(prefix))
    return drain(scan.next.bind(scan), scan.close.bind(scan), ({ key, value }) =>
      this.lay(key.subarray(prefixBytes), value.subarray(timestampBytes), int64At(value, 0)),
    )
  }

  protected override writeLocalKey(slot: S, to: ByteWriter): void {
    to.int16(this.number)
    this.writeKey(slot, to)
  }

  /** All of it is needed: nothing can go. */
  override trim(_bytes: number): void {}

  override beginRestore(): void {}

  override restoreRecord(
    { key, value, timestamp }: ChangelogRecord,
    batch: EngineBatch | null,
  ): MaybePromise<void> {
    if (batch !== null) {
      const { scratch } = this.services
      scratch.reset()
      scratch.int16(this.number)
      scratch.bytes(key)
      const keyEnd = scratch.position
      if (value === null) {
        batch.remove(scratch.buffer, 0, keyEnd)
      } else {
        scratch.int64(timestamp)
        scratch.bytes(value)
        batch.put(scratch.buffer, 0, keyEnd, keyEnd, scratch.position)
      }
    }
    // What it keeps in memory outlives the record's bytes.
    return this.lay(Buffer.from(key), value === null ? null : Buffer.from(value), timestamp)
  }

  protected encode(serde: Serde<unknown>, value: unknown): MaybePromise<Buffer | null> {
    if (value === null || value === undefined) return null
    const to = this.#own
    to.reset()
    const waiting = serde.write(value, to, this.topic, noHeaders)
    if (isPromise(waiting)) return waiting.then(() => this.encode(serde, value))
    return to.copy()
  }

  protected decode(serde: Serde<unknown>, bytes: Buffer | null): MaybePromise<unknown> {
    return bytes === null ? null : serde.read(bytes, 0, bytes.length, this.topic, noHeaders)
  }

  protected encoded(
    serde: Serde<unknown>,
    one: unknown,
    other: unknown,
    next: (one: Buffer | null, other: Buffer | null) => void,
  ): MaybePromise<void> {
    return chain(this.encode(serde, one), (first) =>
      chain(this.encode(serde, other), (second) => next(first, second)),
    )
  }
}
