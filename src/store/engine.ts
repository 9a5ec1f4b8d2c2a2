/**
 * Where persisted state lies: ordered bytes, one engine per task. It knows nothing of stores, generations or Kafka.
 * A batch is written whole or not at all. Engines in memory answer at once, those on disk with promises.
 */
import type { MaybePromise } from '../base/maybe-promise.ts'

export type Row = { readonly key: Buffer; readonly value: Buffer }

/** Rows of a range as of the moment the scan was opened, in chunks; null at the end. Close it in any case. */
export type Scan = {
  next(): MaybePromise<readonly Row[] | null>
  close(): MaybePromise<void>
}

export type EngineBatch = {
  readonly size: number
  /** Key and value as ranges of `from`, which may be overwritten right after the call. */
  put(from: Buffer, keyStart: number, keyEnd: number, valueStart: number, valueEnd: number): void
  remove(from: Buffer, keyStart: number, keyEnd: number): void
  write(): MaybePromise<void>
}

export type Engine = {
  readonly name: EngineName
  getMany(keys: readonly Buffer[]): MaybePromise<readonly (Buffer | undefined)[]>
  /** Keys in [from, to). */
  scan(from: Buffer, to: Buffer, reverse?: boolean): Scan
  batch(): EngineBatch
  /** Removes the keys in [from, to); not atomic. */
  clear(from: Buffer, to: Buffer): MaybePromise<void>
  /** What it says of itself, by its own names; only some do. */
  figures?(): Readonly<Record<string, number>>
  close(): Promise<void>
}

export type EngineName = 'memory' | 'rocksdb' | 'classic-level'
