/**
 * What a store keeps one changelog record for: a key, or a key in a window. Live, and changed in place; its bytes in
 * flight and those committed but not yet in the engine are in generation.ts. A slot leaves memory only when it is clean
 * and in the engine, or hidden for good.
 */
import type { Headers } from '../base/headers.ts'
import type { Origin } from './contract.ts'

export const flag = {
  /** Changed since the last cut. */
  dirty: 1,
  /** Changed since the last flush of its cached store. */
  touched: 2,
  /** Not in its store's index: never put, evicted, or hidden by retention. */
  detached: 4,
  /** The changelog may hold a value of it, so that its removal needs a tombstone. */
  logged: 8,
  /** Looked up since the last sweep for room. */
  used: 16,
  /** Had a value at the last flush of its cached store. */
  existed: 32,
  /** Out of retention: what is written to it is not read again. */
  hidden: 64,
  /** The engine may hold a value of it. */
  stored: 128,
  /** In its index, and the engine has not answered yet what it holds: it is handed out to nobody and never evicted. */
  loading: 256,
} as const

/** Of an entry that was read back, or of which nobody remembers. */
export const known = flag.logged | flag.stored

/** While any of these is set, the next cut or flush has to do with it. */
export const changed = flag.dirty | flag.touched

export class Slot {
  flags = 0
  /** Bytes of its value when it was last encoded or read. */
  size = 0
  /** Number of the generation that it was last encoded in, and of the one before it; 0: none that counts. */
  cutIn = 0
  cutBefore = 0
}

/** What a cached store knows of an entry besides. */
export class Touch {
  /** Order of the last change. */
  at = 0
  headers: Headers
  topic: string | null = null
  partition = -1
  offset = -1
  /** The value at the flush before: a primitive as it is, anything else as its bytes. */
  old: unknown = null

  constructor(headers: Headers) {
    this.headers = headers
  }

  /** Another change. */
  note(at: number, headers: Headers, record: Origin | undefined): void {
    this.at = at
    this.headers = headers
    if (record === undefined) return
    this.topic = record.topic
    this.partition = record.partition
    this.offset = record.offset
  }
}

/** An `Entry` of the contract, as its store sees it. One class for all entries keeps the hot path monomorphic. */
export class LiveEntry<K = unknown, V = unknown> extends Slot {
  readonly key: K
  readonly start: number
  value: V | null = null
  /** What the changelog record of the last change carries, also of a removal. */
  changedAt = -1
  /** The key in an index: the key itself where it is primitive, else the text of its bytes. */
  readonly id: unknown
  /** Text whose order is that of the key's bytes, once a scan needed it. */
  order: string | null = null
  /** Number of insertion, where a key and start have several values. */
  readonly sequence: number
  touch: Touch | null = null
  /** The last look-ahead that wanted it: while that is open it is not evicted. */
  wantedBy = 0
  // Not the end: numbers beyond 31 bits are objects of their own, and there are millions of entries.
  readonly #length: number

  constructor(key: K, id: unknown, start: number, end: number, sequence: number) {
    super()
    this.key = key
    this.id = id
    this.start = start
    this.#length = end - start
    this.sequence = sequence
  }

  get end(): number {
    return this.start + this.#length
  }

  get timestamp(): number {
    return this.value === null ? -1 : this.changedAt
  }
}
