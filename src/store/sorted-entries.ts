/**
 * The entries of an index in the order of their keys' bytes. Costs nothing until the first scan asks; from then on each
 * entry that comes or goes is put in its place, in chunks, so that neither costs more for a large index.
 */

const chunkMax = 512

/** Entries, or the numbers of rows: their text is asked for whenever it is needed. */
export class SortedEntries<E> {
  readonly #orderOf: (entry: E) => string
  #chunks: E[][] | null = null

  constructor(orderOf: (entry: E) => string) {
    this.#orderOf = orderOf
  }

  add(entry: E): void {
    const chunks = this.#chunks
    if (chunks === null) return
    if (chunks.length === 0) {
      chunks.push([entry])
      return
    }
    const order = this.#orderOf(entry)
    const at = this.#chunkOf(chunks, order)
    const chunk = chunks[at] as E[]
    if (this.#orderOf(chunk[chunk.length - 1] as E) < order) chunk.push(entry)
    else chunk.splice(this.#lowerBound(chunk, order), 0, entry)
    if (chunk.length > chunkMax) chunks.splice(at + 1, 0, chunk.splice(chunkMax / 2))
  }

  remove(entry: E): void {
    const chunks = this.#chunks
    if (chunks === null || chunks.length === 0) return
    const order = this.#orderOf(entry)
    const at = this.#chunkOf(chunks, order)
    const chunk = chunks[at] as E[]
    const index = this.#lowerBound(chunk, order)
    if (chunk[index] !== entry) return
    chunk.splice(index, 1)
    if (chunk.length === 0) chunks.splice(at, 1)
  }

  clear(): void {
    this.#chunks = null
  }

  /** Those from `low` to `high`, both included, or those that begin with `prefix`. `entries`: all, for the first time. */
  slice(entries: Iterable<E>, low: string | null, high: string | null, prefix: string | null): E[] {
    const chunks = (this.#chunks ??= this.#build(entries))
    const found: E[] = []
    if (chunks.length === 0) return found
    const first = low === null ? 0 : this.#chunkOf(chunks, low)
    for (let at = first; at < chunks.length; at++) {
      const chunk = chunks[at] as E[]
      for (
        let index = at === first && low !== null ? this.#lowerBound(chunk, low) : 0;
        index < chunk.length;
        index++
      ) {
        const entry = chunk[index] as E
        const order = this.#orderOf(entry)
        if ((high !== null && order > high) || (prefix !== null && !order.startsWith(prefix))) return found
        found.push(entry)
      }
    }
    return found
  }

  #build(entries: Iterable<E>): E[][] {
    const sorted = Array.from(entries, (entry) => ({ entry, order: this.#orderOf(entry) }))
    sorted.sort((one, other) => (one.order < other.order ? -1 : one.order > other.order ? 1 : 0))
    const chunks: E[][] = []
    for (let at = 0; at < sorted.length; at += chunkMax / 2)
      chunks.push(sorted.slice(at, at + chunkMax / 2).map(({ entry }) => entry))
    return chunks
  }

  /** The last chunk that does not begin after the text, or the first. */
  #chunkOf(chunks: readonly E[][], order: string): number {
    let low = 0
    let high = chunks.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.#orderOf((chunks[middle] as E[])[0] as E) <= order) low = middle
      else high = middle - 1
    }
    return low
  }

  /** Index of the first entry whose order is not below the text. */
  #lowerBound(sorted: readonly E[], text: string): number {
    let low = 0
    let high = sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#orderOf(sorted[middle] as E) < text) low = middle + 1
      else high = middle
    }
    return low
  }
}
