/**
 * Values as they are now. An aggregator may change its accumulator in place, so whoever goes on looking at one (an old
 * value in a Change, another store) looks at a copy. Plain data is copied as it is, anything else through its serde.
 */
import { ByteWriter } from '../base/bytes.ts'
import { noHeaders } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'

export type Snapshot = (value: unknown) => unknown

export const sameValue: Snapshot = (value) => value

const scratch = new ByteWriter()

export function snapshotBy(serde: Serde<unknown>, { topic }: { readonly topic: string }): Snapshot {
  return (value) => {
    if (typeof value !== 'object' || value === null) return value
    const copy = copyOf(value)
    if (copy !== foreign) return copy
    const start = scratch.position
    try {
      const waiting = serde.write(value, scratch, topic, noHeaders)
      if (isPromise(waiting)) return withPrototype(value, waiting)
      const read = serde.read(scratch.copy(start), 0, scratch.position - start, topic, noHeaders)
      return isPromise(read) ? withPrototype(value, read) : read
    } finally {
      scratch.position = start
    }
  }
}

/** A copy of plain data; what is of a class of its own stays as it is. */
export function copyOfPlain(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  const copy = copyOf(value)
  return copy === foreign ? value : copy
}

/** Deep, in place. Bytes can't be frozen; what is frozen already isn't walked again. */
export function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value) || ArrayBuffer.isView(value))
    return
  Object.freeze(value)
  for (const name of Object.keys(value)) freeze((value as Record<string, unknown>)[name])
}

// Stands for something that only its serde can copy.
const foreign = Symbol('foreign')

function copyOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) {
    const copy = new Array(value.length)
    for (let index = 0; index < value.length; index++) {
      const item = copyOf(value[index])
      if (item === foreign) return foreign
      copy[index] = item
    }
    return copy
  }
  const prototype = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) {
    const copy = prototype === null ? Object.create(null) : {}
    for (const name of Object.keys(value)) {
      const field = copyOf((value as Record<string, unknown>)[name])
      if (field === foreign) return foreign
      if (name === '__proto__') {
        Object.defineProperty(copy, name, {
          value: field,
          enumerable: true,
          configurable: true,
          writable: true,
        })
      } else copy[name] = field
    }
    return copy
  }
  if (Buffer.isBuffer(value)) return Buffer.from(value)
  if (prototype === Date.prototype || prototype === Uint8Array.prototype) return structuredClone(value)
  if (prototype === Map.prototype) {
    const copy = new Map<unknown, unknown>()
    for (const [key, item] of value as Map<unknown, unknown>) {
      const itemCopy = copyOf(item)
      if (itemCopy === foreign) return foreign
      copy.set(key, itemCopy)
    }
    return copy
  }
  if (prototype === Set.prototype) {
    const copy = new Set<unknown>()
    for (const item of value as Set<unknown>) {
      const itemCopy = copyOf(item)
      if (itemCopy === foreign) return foreign
      copy.add(itemCopy)
    }
    return copy
  }
  return foreign
}

/** A copy is needed at once. Whether the serde can do its work is seen when the store writes the value. */
function withPrototype(value: object, waiting: Promise<unknown>): unknown {
  waiting.catch(() => {})
  const copy = Object.create(Object.getPrototypeOf(value))
  for (const name of Object.keys(value)) {
    copy[name] = copyOfPlain((value as Record<string, unknown>)[name])
  }
  return copy
}
