/**
 * A Change on the repartition topic of a grouped table, in Kafka Streams' bytes. By the last byte:
 *
 *   0: old value · 1: new value · 2: varint length of the new value, new value, old value
 */
import { assert } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import type { Headers } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { Change } from './run.ts'

const oldOnly = 0
const newOnly = 1
const both = 2

export function changeSerde(inner: Serde<unknown>): Serde<Change> {
  const part = new ByteWriter(256)
  return {
    name: `change(${inner.name})`,
    write(change, to, topic, headers) {
      const { value, old } = change
      assert(value !== null || old !== null, 'a change towards a group has an old or a new value')
      if (value === null || old === null) {
        const waiting = inner.write(value ?? old, to, topic, headers)
        if (isPromise(waiting)) return waiting as Promise<void>
        to.int8(value === null ? oldOnly : newOnly)
        return undefined
      }
      part.reset()
      const waitingNew = inner.write(value, part, topic, headers)
      if (isPromise(waitingNew)) return waitingNew as Promise<void>
      const length = part.position
      const waitingOld = inner.write(old, part, topic, headers)
      if (isPromise(waitingOld)) return waitingOld as Promise<void>
      to.varint(length)
      to.range(part.buffer, 0, part.position)
      to.int8(both)
      return undefined
    },
    read(from, start, end, topic, headers): MaybePromise<Change> {
      const kind = end > start ? from[end - 1] : undefined
      const last = end - 1
      if (kind === newOnly)
        return read(inner, from, start, last, topic, headers, (value) => change(value, null))
      if (kind === oldOnly) return read(inner, from, start, last, topic, headers, (old) => change(null, old))
      if (kind !== both) throw malformed(topic, `ends in ${kind ?? 'nothing'}`)
      let at = start
      let zigzag = 0
      for (let shift = 0; ; shift += 7) {
        if (at >= last || shift > 28) throw malformed(topic, 'has no length')
        const byte = from[at++] as number
        zigzag |= (byte & 127) << shift
        if (byte < 128) break
      }
      const middle = at + ((zigzag >>> 1) ^ -(zigzag & 1))
      if (middle < at || middle > last) throw malformed(topic, 'has a length beyond its end')
      return read(inner, from, at, middle, topic, headers, (value) =>
        read(inner, from, middle, last, topic, headers, (old) => change(value, old)),
      )
    },
  }
}

function change(value: unknown, old: unknown): Change {
  return { value, old, latest: true }
}

function read(
  inner: Serde<unknown>,
  from: Buffer,
  start: number,
  end: number,
  topic: string,
  headers: Headers,
  then: (value: unknown) => MaybePromise<Change>,
): MaybePromise<Change> {
  const value = inner.read(from, start, end, topic, headers)
  return isPromise(value) ? value.then(then) : then(value)
}

function malformed(topic: string, what: string): StreamsError {
  return new StreamsError('SERDE_FAILED', `change: a value of ${topic} ${what}`, { topic })
}
