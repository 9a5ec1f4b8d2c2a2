/** Ranges of keys in a store's rows, with what memory has of them laid over. Keys are texts of one character a byte. */
import type { Entry, Order } from './contract.ts'
import type { Engine, Row, Scan } from './engine.ts'

const prefixBytes = 2

/** What memory has of a key, also that it has no value: it hides the engine's row. */
export type Held = Entry & { readonly order: string | null }

/** The rows of a store from `low` to `high`, both included, or of keys that begin with `prefix`. */
export function openKeys(
  engine: Engine,
  store: number,
  low: string | null,
  high: string | null,
  prefix: string | null,
  order: Order,
): Scan {
  const from = local(store, low ?? '')
  let to: Buffer
  if (prefix !== null) to = successor(from)
  else if (high === null) to = successor(local(store, ''))
  else to = Buffer.concat([local(store, high), Buffer.alloc(1)])
  return engine.scan(from, to, order === 'backward')
}

/** What memory and the engine have, in order; where both have a key, memory's counts. Closes the scan. */
export async function* mergeKeys(
  live: readonly Held[],
  scan: Scan,
  order: Order,
  read: (row: Row, text: string) => Entry | Promise<Entry>,
): AsyncGenerator<Entry> {
  const forward = order === 'forward'
  let at = 0
  try {
    for (let rows = await scan.next(); rows !== null; rows = await scan.next()) {
      for (const row of rows) {
        const text = row.key.toString('latin1', prefixBytes)
        let hidden = false
        for (; at < live.length; at++) {
          const entry = live[at] as Held
          const entryText = entry.order as string
          if (entryText === text) hidden = true
          else if (forward ? entryText > text : entryText < text) break
          if (entry.value !== null) yield entry
        }
        if (!hidden) yield await read(row, text)
      }
    }
    for (; at < live.length; at++) {
      const entry = live[at] as Held
      if (entry.value !== null) yield entry
    }
  } finally {
    await scan.close()
  }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}

function local(store: number, text: string): Buffer {
  const key = Buffer.allocUnsafe(prefixBytes + text.length)
  key.writeUInt16BE(store)
  key.write(text, prefixBytes, 'latin1')
  return key
}

/** The smallest key above all that begin with this one. */
export function successor(prefix: Buffer): Buffer {
  for (let last = prefix.length - 1; last >= 0; last--) {
    if ((prefix[last] as number) < 255) {
      const next = Buffer.from(prefix.subarray(0, last + 1))
      next[last] = (next[last] as number) + 1
      return next
    }
  }
  return Buffer.from([255, 255, 255])
}
