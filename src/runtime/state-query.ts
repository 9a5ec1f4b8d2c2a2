/**
 * Queries of state as they travel: from whoever asks to the copy, the thread and the store that answers. Keys and
 * values are bytes on the way, so that threads and processes pass them on without knowing their types.
 */
import { unreachable } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import { noHeaders } from '../base/headers.ts'
import type { Serde } from '../serde/serde.ts'
import type { Entry, Order, Store, Version } from '../store/contract.ts'
import { bareValue } from '../store/kept-headers.ts'

/** What is asked of one store. Bounds are inclusive, null is open. */
export type StateQuery =
  /** A key-value store's value, a versioned store's newest version. */
  | { readonly kind: 'key'; readonly key: Uint8Array }
  | {
      readonly kind: 'range'
      readonly from: Uint8Array | null
      readonly to: Uint8Array | null
      readonly order: Order
    }
  | { readonly kind: 'prefix'; readonly prefix: Uint8Array }
  /** Windows that start in [timeFrom, timeTo], of one key. */
  | {
      readonly kind: 'windows'
      readonly key: Uint8Array
      readonly timeFrom: number
      readonly timeTo: number
      readonly order: Order
    }
  /** The same of a range of keys. */
  | {
      readonly kind: 'window-range'
      readonly from: Uint8Array | null
      readonly to: Uint8Array | null
      readonly timeFrom: number
      readonly timeTo: number
      readonly order: Order
    }
  /** Sessions of one key that end at timeFrom or later and start at timeTo or earlier. */
  | {
      readonly kind: 'sessions'
      readonly key: Uint8Array
      readonly timeFrom: number
      readonly timeTo: number
      readonly order: Order
    }
  | {
      readonly kind: 'session-range'
      readonly from: Uint8Array | null
      readonly to: Uint8Array | null
      readonly order: Order
    }
  /** The version that was valid at a time. */
  | { readonly kind: 'as-of'; readonly key: Uint8Array; readonly timestamp: number }
  | {
      readonly kind: 'versions'
      readonly key: Uint8Array
      readonly timeFrom: number
      readonly timeTo: number
      readonly order: Order
    }

/** Committed positions of input: by `topic`, then by partition. */
export type Position = Readonly<Record<string, Readonly<Record<string, number>>>>

export type TaskQuery = {
  readonly task: string
  readonly store: string
  readonly query: StateQuery
  /** 'uncommitted' sees what the task has just processed, and may still be rolled back. */
  readonly isolation: 'committed' | 'uncommitted'
  /** Also a standby answers. */
  readonly stale: boolean
  /** Answered only once the input of the task is committed up to here. */
  readonly bound: Position
  /** Answered only once the rows are others than those with this digest. */
  readonly unlike: string | null
  /** More rows are an error, unless `cut` takes the first of them. */
  readonly limit: number
  readonly cut: boolean
  readonly waitMs: number
}

export type StateRow = {
  readonly key: Uint8Array
  /** Of a window or a session; of a version, from when and (`end`, -1 for still) until when it is valid. */
  readonly start: number
  readonly end: number
  readonly value: Uint8Array
  readonly timestamp: number
}

export type TaskAnswer = {
  readonly rows: readonly StateRow[]
  readonly digest: string
  /** Of a standby's answer: records by which it was behind, null for not known. */
  readonly role: 'active' | 'standby'
  readonly lag: number | null
  readonly position: Position
}

/** Of one answer, keys and values together. */
export const answerBytesMax = 16_777_216

export function queryInvalid(message: string, store: string): StreamsError {
  return new StreamsError('QUERY_INVALID', message, { store })
}

/** Reads one store; `topic` is what its serdes are told. */
export async function readState(
  store: Store,
  topic: string,
  query: StateQuery,
  limit: number,
  cut: boolean,
): Promise<readonly StateRow[]> {
  const reading = new Reading(store, topic, limit, cut)
  return reading.run(query)
}

class Reading {
  readonly #store: Store
  readonly #topic: string
  readonly #limit: number
  readonly #cut: boolean
  readonly #rows: StateRow[] = []
  #bytes = 0

  constructor(store: Store, topic: string, limit: number, cut: boolean) {
    this.#store = store
    this.#topic = topic
    this.#limit = limit
    this.#cut = cut
  }

  async run(query: StateQuery): Promise<readonly StateRow[]> {
    const store = this.#store
    switch (query.kind) {
      case 'key': {
        const key = await this.#key(query.key)
        if (store.kind === 'versioned') await this.#versions(query.key, [await store.get(key)])
        else if (store.kind === 'key-value') {
          // Not `entry`: looking must not make it the one used last.
          for (const entry of await store.list(key, key)) await this.#add(entry)
        } else throw this.#wrongKind(query.kind)
        break
      }
      case 'range': {
        if (store.kind !== 'key-value') throw this.#wrongKind(query.kind)
        await this.#all(store.range(await this.#key(query.from), await this.#key(query.to), query.order))
        break
      }
      case 'prefix':
        if (store.kind !== 'key-value') throw this.#wrongKind(query.kind)
        await this.#all(store.prefix(query.prefix))
        break
      case 'windows': {
        if (store.kind !== 'window') throw this.#wrongKind(query.kind)
        const { timeFrom, timeTo, order } = query
        await this.#all(await store.fetch(await this.#key(query.key), timeFrom, timeTo, order))
        break
      }
      case 'window-range': {
        if (store.kind !== 'window') throw this.#wrongKind(query.kind)
        const { timeFrom, timeTo, order } = query
        const [from, to] = [await this.#key(query.from), await this.#key(query.to)]
        await this.#all(store.fetchRange(from, to, timeFrom, timeTo, order))
        break
      }
      case 'sessions': {
        if (store.kind !== 'session') throw this.#wrongKind(query.kind)
        const { timeFrom, timeTo, order } = query
        await this.#all(await store.find(await this.#key(query.key), timeFrom, timeTo, order))
        break
      }
      case 'session-range': {
        if (store.kind !== 'session') throw this.#wrongKind(query.kind)
        await this.#all(store.fetchRange(await this.#key(query.from), await this.#key(query.to), query.order))
        break
      }
      case 'as-of':
        if (store.kind !== 'versioned') throw this.#wrongKind(query.kind)
        await this.#versions(query.key, [await store.getAsOf(await this.#key(query.key), query.timestamp)])
        break
      case 'versions': {
        if (store.kind !== 'versioned') throw this.#wrongKind(query.kind)
        const { key, timeFrom, timeTo, order } = query
        await this.#versions(key, await store.history(await this.#key(key), timeFrom, timeTo, order))
        break
      }
      default:
        unreachable(query)
    }
    return this.#rows
  }

  async #all(entries: AsyncIterable<Entry> | Iterable<Entry>): Promise<void> {
    for await (const entry of entries) if (!(await this.#add(entry))) return
  }

  async #add({ key, start, end, value, timestamp }: Entry): Promise<boolean> {
    if (value === null) return true
    if (this.#isFull()) return false
    // Both are encoded before anything else happens: an aggregator may change its object in place.
    const bytes = this.#write(this.#store.spec.valueSerde, bareValue(value))
    const keyBytes = this.#write(this.#store.spec.keySerde, key)
    this.#push({ key: await keyBytes, start, end, value: await bytes, timestamp })
    return true
  }

  async #versions(key: Uint8Array, versions: readonly (Version<unknown> | null)[]): Promise<void> {
    for (const version of versions) {
      if (version === null) continue
      if (this.#isFull()) return
      const value = await this.#write(this.#store.spec.valueSerde, version.value)
      const { timestamp, validTo } = version
      this.#push({ key, start: timestamp, end: validTo ?? -1, value, timestamp })
    }
  }

  #isFull(): boolean {
    if (this.#rows.length < this.#limit) return false
    if (this.#cut) return true
    throw this.#tooLarge(`more than ${this.#limit} entries`)
  }

  #push(row: StateRow): void {
    this.#bytes += row.key.length + row.value.length
    if (this.#bytes > answerBytesMax) throw this.#tooLarge(`more than ${answerBytesMax} bytes`)
    this.#rows.push(row)
  }

  #tooLarge(what: string): StreamsError {
    const { name } = this.#store
    return new StreamsError(
      'QUERY_TOO_LARGE',
      `store ${name}: the answer has ${what}; ask for a smaller range, or for the first ones with { first: n }`,
      { store: name },
    )
  }

  #wrongKind(kind: StateQuery['kind']): StreamsError {
    const { name, kind: is } = this.#store
    return queryInvalid(
      `store ${name} is a ${is} store, which has no answer to '${kind}'; ${remedies[is] ?? 'its content is not for queries'}`,
      name,
    )
  }

  async #key(bytes: Uint8Array | null): Promise<unknown> {
    if (bytes === null) return null
    const { name, spec } = this.#store
    const buffer = Buffer.from(bytes)
    try {
      return await spec.keySerde.read(buffer, 0, buffer.length, this.#topic, noHeaders)
    } catch (cause) {
      throw new StreamsError(
        'QUERY_INVALID',
        `store ${name}: ${buffer.length} bytes are no key of type ${spec.keySerde.name}`,
        { store: name, cause },
      )
    }
  }

  #write(serde: Serde<unknown>, value: unknown): Uint8Array | Promise<Uint8Array> {
    return encode(serde, value, this.#topic)
  }
}

const remedies: { readonly [kind: string]: string } = {
  'key-value': 'use get, range, prefix or all',
  window: 'use windows or windowRange',
  session: 'use sessions or sessionRange',
  versioned: 'use get, getAsOf or versions',
}

export function encode(
  serde: Serde<unknown>,
  value: unknown,
  topic: string,
): Uint8Array | Promise<Uint8Array> {
  const to = new ByteWriter(128)
  const waiting = serde.write(value, to, topic, noHeaders)
  if (waiting === undefined) return to.copy()
  return waiting.then(() => encode(serde, value, topic))
}
