/**
 * Lists, in the layout of Kafka's ListSerde. Items of fixed size (numbers, UUIDs): 0 (1), how many nulls (4), their
 * indexes (4 each), count (4), the items that aren't null. All others: 1 (1), count (4), each as length (4; -1 for
 * null) and bytes.
 */
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { bigint, double, float, int, long, serdeFailed, short, uuid } from './primitives.ts'
import type { Serde } from './serde.ts'

const constantSize = 0
const variableSize = 1

const fixedBytes = new Map<unknown, number>([
  [short(), 2],
  [int(), 4],
  [float(), 4],
  [long(), 8],
  [bigint(), 8],
  [double(), 8],
  [uuid(), 36],
])

/** A list of what `inner` writes; items may be null. `inner` must write and read at once. */
export function list<T>(inner: Serde<T>): Serde<readonly (T | null)[]> {
  const name = `list(${inner.name})`
  const itemBytes = fixedBytes.get(inner)

  const asynchronous = () =>
    serdeFailed(`${name}: the item's serde returned a promise; load its schema before`)

  return {
    name,
    write(value, to, topic, headers) {
      if (!Array.isArray(value)) throw serdeFailed(`${name}: the value is not an array`)
      to.int8(itemBytes === undefined ? variableSize : constantSize)
      if (itemBytes !== undefined) {
        const nulls = value.flatMap((item, index) => (item === null ? [index] : []))
        to.int32(nulls.length)
        for (const index of nulls) to.int32(index)
      }
      to.int32(value.length)
      for (const item of value) {
        if (item === null) {
          if (itemBytes === undefined) to.int32(-1)
          continue
        }
        const lengthAt = to.position
        if (itemBytes === undefined) to.int32(0)
        const itemAt = to.position
        if (isPromise(inner.write(item, to, topic, headers))) throw asynchronous()
        if (itemBytes === undefined) to.buffer.writeInt32BE(to.position - itemAt, lengthAt)
      }
      return undefined
    },
    read(from, start, end, topic, headers): MaybePromise<readonly (T | null)[]> {
      let at = start
      const take = (bytes: number): number => {
        if (bytes < 0 || at + bytes > end) throw serdeFailed(`${name}: the bytes end within the list`)
        const taken = at
        at += bytes
        return taken
      }
      const int32 = (): number => from.readInt32BE(take(4))
      const strategy = from[take(1)] as number
      if (strategy !== (itemBytes === undefined ? variableSize : constantSize)) {
        throw serdeFailed(`${name}: the list was written by a serde of another layout (${strategy})`)
      }
      const nulls = new Set<number>()
      if (itemBytes !== undefined) for (let left = int32(); left > 0; left--) nulls.add(int32())
      const count = int32()
      if (count < 0 || count > end - start + nulls.size) throw serdeFailed(`${name}: ${count} items can't be`)
      const items: (T | null)[] = []
      for (let index = 0; index < count; index++) {
        const bytes = nulls.has(index) ? -1 : (itemBytes ?? int32())
        if (bytes === -1) {
          items.push(null)
          continue
        }
        const itemAt = take(bytes)
        const item = inner.read(from, itemAt, at, topic, headers)
        if (isPromise(item)) throw asynchronous()
        items.push(item as T)
      }
      return items
    },
  }
}
