/** What operators that keep state have in common: their store, and what goes downstream when a cached one is flushed. */
import { assert } from '../base/assert.ts'
import { Windowed } from '../serde/windowed.ts'
import type { Entry, FlushListener, Origin, Store } from '../store/contract.ts'
import type { Node } from '../topology/node.ts'
import type { Change, Run, TaskContext } from './run.ts'

export function storeOf<Kind extends Store['kind']>(
  context: TaskContext,
  node: Node,
  name: string | undefined,
  kind: Kind,
): Extract<Store, { kind: Kind }> {
  assert(name !== undefined, `${node.name}: no store`)
  const store = context.store(name)
  assert(store.kind === kind, `${node.name}: store ${name} is a ${store.kind}, not a ${kind}`)
  return store as Extract<Store, { kind: Kind }>
}

/** The record in hand, for those who keep it longer. */
export function originOf(context: TaskContext): Origin {
  const { topic, partition, offset } = context.record
  return { topic, partition, offset }
}

/** A record held back goes on as the one it was. */
export function comeFrom(context: TaskContext, origin: Origin): void {
  const { record } = context
  record.topic = origin.topic
  record.partition = origin.partition
  record.offset = origin.offset
}

export function update(value: unknown, old: unknown): Change {
  return { value, old, latest: true }
}

export function windowedKey(entry: Entry): Windowed<unknown> {
  return new Windowed(entry.key, entry.start, entry.end)
}

export function flushKeyValue(next: Run, context: TaskContext): FlushListener {
  return ({ entry, old, timestamp, headers, origin }) => {
    comeFrom(context, origin)
    return next(
      entry.key,
      update(entry.value, old),
      entry.value === null ? timestamp : entry.timestamp,
      headers,
    )
  }
}

export function flushWindow(next: Run, context: TaskContext): FlushListener {
  return ({ entry, old, timestamp, headers, origin }) => {
    comeFrom(context, origin)
    const time = entry.value === null ? timestamp : entry.timestamp
    return next(windowedKey(entry), update(entry.value, old), time, headers)
  }
}

export function flushSession(next: Run, context: TaskContext): FlushListener {
  return ({ entry, old, headers, origin }) => {
    comeFrom(context, origin)
    return next(windowedKey(entry), update(entry.value, old), entry.end, headers)
  }
}
