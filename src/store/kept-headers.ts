/**
 * Stores that keep the headers of each value. In memory such a value is a `HeadedValue`; the changelog has the headers
 * as those of its record, as Kafka Streams writes them, and the engine has them before the value's bytes:
 *   count:int32 (name:text value:blob)*, as in held-record.ts
 */
import type { ByteWriter } from '../base/bytes.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { readHeaders, writeHeaders } from './held-record.ts'
import { flag, type LiveEntry, type Slot } from './slot.ts'

export class HeadedValue<V = unknown> {
  readonly value: V
  readonly headers: Headers

  constructor(value: V, headers: Headers) {
    this.value = value
    this.headers = headers
  }
}

/** The value alone. */
export function bareValue(value: unknown): unknown {
  return value instanceof HeadedValue ? value.value : value
}

/** What the store of this spec works with: reads headers and value of a row, writes the value of a changelog record. */
export function storedSerde(spec: StoreSpec, serde: Serde<unknown>): Serde<unknown> {
  if (spec.keepsHeaders !== true) return serde
  return {
    name: serde.name,
    write(given, to, topic) {
      const { value, headers } = given as HeadedValue
      return serde.write(value, to, topic, headers)
    },
    read(from, start, end, topic) {
      const { headers, next } = readHeaders(from, start, end)
      const value = serde.read(from, next, end, topic, headers)
      if (isPromise(value)) return value.then((read) => new HeadedValue(read, headers))
      return new HeadedValue(value, headers)
    },
  }
}

/** The headers of values whose bytes are on their way to the engine: the layers of a slot have no room for them. */
export class KeptHeaders {
  readonly #flying = new Map<Slot, Headers>()
  readonly #settled = new Map<Slot, Headers>()
  readonly #isPersisted: boolean

  /** `isPersisted`: there is an engine. */
  constructor(isPersisted: boolean) {
    this.#isPersisted = isPersisted
  }

  /** The slot is encoded: what its changelog record carries. */
  cut(slot: Slot): Headers {
    const { value } = slot as LiveEntry
    const headers = value instanceof HeadedValue ? value.headers : noHeaders
    if (this.#isPersisted) this.#flying.set(slot, headers)
    return headers
  }

  settle(): void {
    for (const [slot, headers] of this.#flying) this.#settled.set(slot, headers)
    this.#flying.clear()
  }

  persisted(): void {
    for (const slot of this.#settled.keys()) {
      if ((slot.flags & (flag.pending | flag.writing)) === 0) this.#settled.delete(slot)
    }
  }

  writeSettled(slot: Slot, to: ByteWriter): void {
    writeHeaders(this.#settled.get(slot) ?? noHeaders, to)
  }

  clear(): void {
    this.#flying.clear()
    this.#settled.clear()
  }
}
