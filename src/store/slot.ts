/**
 * What a store keeps one changelog record for: a key, or a key in a window, with its layers. Live on top, changed in
 * place; below it the bytes in flight and the bytes committed but not yet in the engine, as ranges of the batches they
 * were encoded into. A slot leaves memory only when it is clean and in the engine.
 */
import type { Headers } from '../base/headers.ts'

export const flag = {
  /** Changed since the last cut. */
  dirty: 1,
  /** Part of the generation in flight. */
  flying: 2,
  /** Committed, not yet given to the engine. */
  pending: 4,
  /** Being written to the engine. */
  writing: 8,
  /** Changed since the last flush of its cached store. */
  touched: 16,
  /** Not in its store's index: never put, evicted, or hidden by retention. */
  detached: 32,
  /** The changelog may hold a value of it, so that its removal needs a tombstone. */
  logged: 64,
  /** Looked up since the last sweep for room. */
  used: 128,
  /** Had a value at the last flush of its cached store. */
  existed: 256,
  /** Out of retention: what is written to it is not read again. */
  hidden: 512,
  /** The engine may hold a value of it. */
  stored: 1024,
  /** In its index, and the engine has not answered yet what it holds: it is handed out to nobody and never evicted. */
  loading: 2048,
} as const

/** Of an entry that was read back, or of which nobody remembers. */
export const known = flag.logged | flag.stored

/** While any of these is set, memory holds what the engine does not. */
export const unsettled = flag.dirty | flag.flying | flag.pending | flag.writing | flag.touched

/** Whatever owns the bytes of a batch; `buffer` may be replaced as it grows, ranges stay right. */
export type BatchBytes = { readonly buffer: Buffer }

/** A start of -1: a tombstone. */
export class Layers {
  flying: BatchBytes | null = null
  flyingStart = -1
  flyingEnd = -1
  flyingTimestamp = -1
  settled: BatchBytes | null = null
  settledStart = -1
  settledEnd = -1
  settledTimestamp = -1
}

export class Slot {
  flags = 0
  /** Bytes of its value when it was last encoded or read. */
  size = 0
  layers: Layers | null = null
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
