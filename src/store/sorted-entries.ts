/**
 * The entries of an index in the order of their keys' bytes. Costs nothing until the first scan asks; from then on each
 * entry that comes or goes is put in its place, in chunks, so that neither costs more for a large index.
 */
import type { LiveEntry } from './slot.ts'

const chunkMax = 512

export class SortedEntries {
  readonly #orderOf: (entry: LiveEntry) => string
  #chunks: LiveEntry[][] | null = null

  constructor(orderOf: (entry: LiveEntry) => string) {
    this.#orderOf = orderOf
  }

  add(entry: LiveEntry): void {
    const chunks = this.#chunks
    if (chunks === null) return
    const order = (entry.order = this.#orderOf(entry))
    if (chunks.length === 0) {
      chunks.push([entry])
      return
    }
    const at = this.#chunkOf(chunks, order)
    const chunk = chunks[at] as LiveEntry[]
    const last = chunk[chunk.length - 1] as LiveEntry
    if ((last.order as string) < order) chunk.push(entry)
    else chunk.splice(lowerBound(chunk, order), 0, entry)
    if (chunk.length > chunkMax) chunks.splice(at + 1, 0, chunk.splice(chunkMax / 2))
  }

  remove(entry: LiveEntry): void {
    const chunks = this.#chunks
    if (chunks === null || chunks.length === 0) return
    const at = this.#chunkOf(chunks, entry.order as string)
    const chunk = chunks[at] as LiveEntry[]
    const index = lowerBound(chunk, entry.order as string)
    if (chunk[index] !== entry) return
    chunk.splice(index, 1)
    if (chunk.length === 0) chunks.splice(at, 1)
  }

  clear(): void {
    this.#chunks = null
  }

  /** Those from `low` to `high`, both included, or those that begin with `prefix`. `entries`: all, for the first time. */
  slice(
    entries: Iterable<LiveEntry>,
    low: string | null,
    high: string | null,
    prefix: string | null,
  ): LiveEntry[] {
    const chunks = (this.#chunks ??= this.#build([...entries]))
    const found: LiveEntry[] = []
    if (chunks.length === 0) return found
    const first = low === null ? 0 : this.#chunkOf(chunks, low)
    for (let at = first; at < chunks.length; at++) {
      const chunk = chunks[at] as LiveEntry[]
      for (
        let index = at === first && low !== null ? lowerBound(chunk, low) : 0;
        index < chunk.length;
        index++
      ) {
        const entry = chunk[index] as LiveEntry
        const order = entry.order as string
        if ((high !== null && order > high) || (prefix !== null && !order.startsWith(prefix))) return found
        found.push(entry)
      }
    }
    return found
  }

  #build(entries: LiveEntry[]): LiveEntry[][] {
    for (const entry of entries) entry.order = this.#orderOf(entry)
    entries.sort(byOrder)
    const chunks: LiveEntry[][] = []
    for (let at = 0; at < entries.length; at += chunkMax / 2)
      chunks.push(entries.slice(at, at + chunkMax / 2))
    return chunks
  }

  /** The last chunk that does not begin after the text, or the first. */
  #chunkOf(chunks: readonly LiveEntry[][], order: string): number {
    let low = 0
    let high = chunks.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((((chunks[middle] as LiveEntry[])[0] as LiveEntry).order as string) <= order) low = middle
      else high = middle - 1
    }
    return low
  }
}

export function byOrder(one: LiveEntry, other: LiveEntry): number {
  const left = one.order as string
  const right = other.order as string
  return left < right ? -1 : left > right ? 1 : 0
}

/** Index of the first entry whose order is not below the text. */
function lowerBound(sorted: readonly LiveEntry[], text: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (((sorted[middle] as LiveEntry).order as string) < text) low = middle + 1
    else high = middle
  }
  return low
}
