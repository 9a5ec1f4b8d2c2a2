/**
 * Values by key and session. A session that grows is removed and put anew, for its window is part of its key.
 * changelog: the key's bytes, end (8), start (8); its records carry the session's end.
 */
import type { Headers } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { SessionStoreSpec } from '../topology/store-spec.ts'
import type { Entry, Order, SessionStore } from './contract.ts'
import { LiveEntry } from './slot.ts'
import { TimedStore } from './timed-store.ts'

export class SessionEntries extends TimedStore implements SessionStore {
  readonly kind = 'session'
  declare readonly spec: SessionStoreSpec
  protected readonly discriminatorBytes = 8

  protected timeOf(entry: LiveEntry): number {
    return entry.end
  }

  protected discriminatorOf(entry: LiveEntry): number {
    return entry.start
  }

  protected make(key: unknown, id: unknown, time: number, discriminator: number): LiveEntry {
    return new LiveEntry(key, id, discriminator, time, 0)
  }

  find(
    key: unknown,
    earliestEnd: number,
    latestStart: number,
    order: Order = 'forward',
  ): MaybePromise<readonly Entry[]> {
    const passes = (entry: LiveEntry): boolean => entry.start <= latestStart
    return this.fetchKey(key, earliestEnd, Number.POSITIVE_INFINITY, order, passes)
  }

  findEnding(fromEnd: number, toEnd: number): MaybePromise<readonly Entry[]> {
    return this.fetchTimes(fromEnd, toEnd, 'forward', null, byEndStartAndKey)
  }

  entry(key: unknown, start: number, end: number): MaybePromise<LiveEntry> {
    const id = this.idOf(key)
    return isPromise(id)
      ? id.then((text) => this.handle(key, text, end, start))
      : this.handle(key, id, end, start)
  }

  set(entry: Entry, value: unknown, headers: Headers): boolean {
    // Removing what is gone already is no loss.
    if (value === null && !this.isLive(entry.end)) {
      this.observe(entry.end)
      return true
    }
    return this.write(entry, value, entry.end, headers)
  }

  async *fetchRange(fromKey: unknown, toKey: unknown, order: Order = 'forward'): AsyncGenerator<Entry> {
    const passes = await this.keysWithin(fromKey, toKey)
    const all = await this.fetchTimes(
      this.visibleFrom,
      Number.POSITIVE_INFINITY,
      order,
      passes,
      byEndStartAndKey,
    )
    for (const entry of all) if (entry.value !== null) yield entry
  }
}

function byEndStartAndKey(one: LiveEntry, other: LiveEntry): number {
  if (one.end !== other.end) return one.end - other.end
  if (one.start !== other.start) return one.start - other.start
  const left = one.order as string
  const right = other.order as string
  return left < right ? -1 : left > right ? 1 : 0
}
