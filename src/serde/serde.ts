/**
 * How a key or a value becomes bytes and back. null never reaches a serde: a null is the absence of bytes.
 *
 * The engine's half is `write` and `read`: straight into an open batch, straight out of a fetched one, no buffer
 * between. `serde()` makes one from the two functions that people usually have.
 */
import type { ByteWriter } from '../base/bytes.ts'
import type { Headers } from '../base/headers.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'

export type Serde<T> = {
  /** For messages: 'string', 'json', 'avro'. */
  readonly name: string
  /**
   * Appends the bytes of a value. A promise says that nothing was written yet, because something (a schema) must be
   * fetched first: await it, then call again.
   */
  write(value: T, to: ByteWriter, topic: string, headers: Headers): void | Promise<void>
  /** Reads `from[start, end)`. What it returns must not refer to `from`: its memory is written over by later batches. */
  read(from: Buffer, start: number, end: number, topic: string, headers: Headers): MaybePromise<T>
  /**
   * Values are strings, numbers, bigints or booleans, and two are `===` exactly when their bytes are equal: a Map may
   * use them as its keys as they are.
   */
  readonly primitive?: boolean
  /** `write` and `read` never give a promise. */
  readonly immediate?: boolean
  /** Values are numbers, and it is immediate: a store may keep them as numbers, without an object for each. */
  readonly numeric?: boolean
  /** `read` takes any bytes: where nobody looks at the value, the engine need not read it to know that it could. */
  readonly total?: boolean
  /**
   * Whether `read` takes these bytes and `write` makes the same of what it read, byte for byte. A value that nobody looks
   * at then goes from source to sink as it is.
   */
  roundTrips?(from: Buffer, start: number, end: number): boolean
  /** So many bytes at the end name a window: the partition goes by those before them. */
  readonly windowBytes?: number
}

export type SerdeFunctions<T> = {
  readonly name: string
  serialize(value: T, topic: string, headers: Headers): Uint8Array
  deserialize(bytes: Buffer, topic: string, headers: Headers): T
}

/** A serde of two functions. `deserialize` gets its own copy of the bytes and may keep it. */
export function serde<T>(functions: SerdeFunctions<T>): Serde<T> {
  return {
    name: functions.name,
    write(value, to, topic, headers) {
      to.bytes(functions.serialize(value, topic, headers))
    },
    read(from, start, end, topic, headers) {
      return functions.deserialize(Buffer.from(from.subarray(start, end)), topic, headers)
    },
  }
}
