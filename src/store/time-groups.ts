/** Entries in groups of like time, oldest first: what expires, and what is read by time, is found without a search. */
import { flag, type LiveEntry } from './slot.ts'

type Group = { entries: LiveEntry[]; dropped: number }

export class TimeGroups {
  readonly #spanMs: number
  readonly #groups = new Map<number, Group>()
  /** Sorted. Times mostly grow, so that a new one goes to the end. */
  #ids: number[] = []
  #last: Group | null = null
  #lastId = Number.NaN

  constructor(spanMs: number) {
    this.#spanMs = spanMs
  }

  add(time: number, entry: LiveEntry): void {
    const id = Math.floor(time / this.#spanMs)
    if (id === this.#lastId) {
      ;(this.#last as Group).entries.push(entry)
      return
    }
    let group = this.#groups.get(id)
    if (group === undefined) {
      group = { entries: [], dropped: 0 }
      this.#groups.set(id, group)
      const ids = this.#ids
      if (ids.length === 0 || (ids[ids.length - 1] as number) < id) ids.push(id)
      else ids.splice(this.#position(id), 0, id)
    }
    group.entries.push(entry)
    this.#last = group
    this.#lastId = id
  }

  /** An entry of this time left its index, and is detached or will be before the next read. */
  drop(time: number): void {
    const id = Math.floor(time / this.#spanMs)
    const group = this.#groups.get(id)
    if (group === undefined) return
    group.dropped++
    if (group.dropped === group.entries.length) {
      // Empty, it stays until it expires: sessions come and go at the same times.
      group.entries = []
      group.dropped = 0
    } else if (group.dropped > 32 && group.dropped * 2 > group.entries.length) {
      // The one that is leaving is not marked yet: it stays until the next time.
      group.entries = group.entries.filter(isAttached)
      group.dropped = 1
    }
  }

  /** Takes out what is wholly before a time. */
  *takeBefore(time: number): Generator<LiveEntry> {
    let gone = 0
    while (gone < this.#ids.length && ((this.#ids[gone] as number) + 1) * this.#spanMs <= time) gone++
    if (gone === 0) return
    const ids = this.#ids.splice(0, gone)
    this.#lastId = Number.NaN
    this.#last = null
    for (const id of ids) {
      const group = this.#groups.get(id) as Group
      this.#groups.delete(id)
      yield* group.entries
    }
  }

  /** Entries of the groups that overlap [from, to]; those in them may still be outside of it. */
  visit(from: number, to: number, visit: (entry: LiveEntry) => void): void {
    const last = Math.floor(to / this.#spanMs)
    for (let at = this.#position(Math.floor(from / this.#spanMs)); at < this.#ids.length; at++) {
      const id = this.#ids[at] as number
      if (id > last) return
      for (const entry of (this.#groups.get(id) as Group).entries) if (isAttached(entry)) visit(entry)
    }
  }

  /** Groups that lie wholly before a time; all where none is given. */
  *oldestFirst(before = Number.POSITIVE_INFINITY): Generator<readonly LiveEntry[]> {
    for (const id of [...this.#ids]) {
      if ((id + 1) * this.#spanMs > before) return
      const group = this.#groups.get(id)
      if (group !== undefined) yield group.entries
    }
  }

  #position(id: number): number {
    const ids = this.#ids
    let low = 0
    let high = ids.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((ids[middle] as number) < id) low = middle + 1
      else high = middle
    }
    return low
  }
}

function isAttached(entry: LiveEntry): boolean {
  return (entry.flags & flag.detached) === 0
}
