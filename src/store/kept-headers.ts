/**
 * Stores that keep the headers of each value. In memory such a value is a `HeadedValue`; the changelog has the headers
 * as those of its record, as Kafka Streams writes them, and the engine has them before the value's bytes:
 *   count:int32 (name:text value:blob)*, as in held-record.ts
 */
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { readHeaders } from './held-record.ts'
import type { LiveEntry, Slot } from './slot.ts'

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

export function headersOf(slot: Slot): Headers {
  const { value } = slot as LiveEntry
  return value instanceof HeadedValue ? value.headers : noHeaders
}
