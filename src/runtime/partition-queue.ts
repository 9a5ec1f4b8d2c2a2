/**
 * One input partition of a task: the fetched chunks that wait, and the record at their head, read and stamped. Nothing
 * is read ahead of the head, so a chunk of 100,000 records costs one cursor.
 */
import type { DropReason } from '../base/drop.ts'
import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { Unread } from '../base/unread.ts'
import type { FetchedChunk } from '../kafka/client.ts'
import { type BoundSource, present, type Use } from '../operator/run.ts'
import type { Serde } from '../serde/serde.ts'
import { BatchCursor } from '../wire/record-batch.ts'

/** The raw bytes of a record that could not be read, for the dead-letter topic. */
export type RawRecord = {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: Headers
}

export type QueueOwner = {
  /** Decides what a record that can't be read becomes: returns to skip it, throws to stop. */
  unreadable(error: unknown, queue: PartitionQueue, raw: RawRecord): MaybePromise<void>
  drop(reason: DropReason, queue: PartitionQueue): void
  wallClock(): number
}

const noKeys: readonly unknown[] = []

export class PartitionQueue {
  readonly topic: string
  readonly partition: number
  readonly source: BoundSource
  /** The order of Java's heap needs to know whether the queue is in it. */
  queued = false

  // The head.
  key: unknown = null
  value: unknown = null
  timestamp = -1
  offset = -1
  headers: Headers = noHeaders
  hasHead = false

  /** The highest timestamp taken from this partition; -1 before any. */
  partitionTime = -1
  /** Everything before it is processed, dropped or no data. */
  position: number
  /** Where the fetch stands: the end of the last chunk. */
  fetchedTo: number
  /** The last stable offset last heard of; -1 before any. */
  endOffset = -1
  records = 0
  /** Offsets that an open transaction holds back from being read, as last heard; -1 before. */
  held = -1
  bytes = 0

  readonly #owner: QueueOwner
  readonly #batchBytesMax: number
  readonly #chunks: FetchedChunk[] = []
  readonly #unreadKey = new Unread()
  readonly #unreadAhead = new Unread()
  readonly #unreadValue = new Unread()
  #chunk: FetchedChunk | null = null
  /** Of chunks that were looked at ahead: lets go of the state that is kept in memory for them. */
  readonly #holds = new Map<FetchedChunk, () => void>()
  /** Their keys, in order, as far as they could be read then. */
  readonly #keysAhead = new Map<FetchedChunk, readonly unknown[]>()
  /** Of the open chunk. */
  #keys: readonly unknown[] = noKeys
  #keysTaken = 0
  #cursor: BatchCursor | null = null

  constructor(
    topic: string,
    partition: number,
    source: BoundSource,
    position: number,
    owner: QueueOwner,
    batchBytesMax: number,
  ) {
    this.topic = topic
    this.partition = partition
    this.source = source
    this.position = position
    this.fetchedTo = position
    this.#owner = owner
    this.#batchBytesMax = batchBytesMax
  }

  /** Chunks not yet walked to their end. */
  get waiting(): boolean {
    return this.#chunk !== null || this.#chunks.length > 0
  }

  enqueue(chunk: FetchedChunk): void {
    this.#chunks.push(chunk)
    this.fetchedTo = chunk.nextOffset
    if (chunk.lastStableOffset > this.endOffset) this.endOffset = chunk.lastStableOffset
  }

  /** Tells the source's stores which keys a chunk holds. What can't be read is left for when it is its turn. */
  prefetch(chunk: FetchedChunk): void {
    const { prefetch, keySerde, keyUse } = this.source
    if (prefetch === null) return
    const keys: unknown[] = []
    // An object is the user's to change: each record has its own.
    if (keyUse === 'read' && keySerde.primitive === true) this.#keysAhead.set(chunk, keys)
    const cursor = this.#cursorOver(chunk)
    try {
      while (cursor.next()) {
        if (cursor.keyStart < 0) continue
        const { buffer, keyStart, keyEnd } = cursor
        if (keyUse === 'written' && keySerde.roundTrips?.(buffer, keyStart, keyEnd) === true) {
          prefetch(this.#unreadAhead.of(buffer, keyStart, keyEnd), cursor.timestamp)
          continue
        }
        const headers = cursor.headerCount === 0 ? noHeaders : cursor.headers()
        const key = keySerde.read(buffer, keyStart, keyEnd, this.topic, headers)
        if (isPromise(key)) return
        if (keyUse === 'read') keys.push(key)
        prefetch(key, cursor.timestamp)
      }
    } catch {
      // The record loop meets the same error, and has a handler for it.
    }
  }

  /** Until the chunk is through, or given back. */
  hold(chunk: FetchedChunk, letGo: () => void): void {
    this.#holds.set(chunk, letGo)
  }

  /** Puts the next record at the head. False: there is none (yet). */
  advance(): MaybePromise<boolean> {
    this.hasHead = false
    while (true) {
      if (this.#cursor === null && !this.#open()) return false
      const cursor = this.#cursor as BatchCursor
      if (!cursor.next()) {
        this.#finish()
        continue
      }
      const read = this.#read(cursor)
      if (read === true) return true
      if (isPromise(read)) return read.then((found) => found || this.advance())
    }
  }

  /** Gives all buffered bytes back. */
  clear(): void {
    this.hasHead = false
    this.#cursor = null
    this.#chunk?.release()
    this.#chunk = null
    for (const chunk of this.#chunks.splice(0)) chunk.release()
    for (const letGo of this.#holds.values()) letGo()
    this.#holds.clear()
    this.#keysAhead.clear()
    this.#keys = noKeys
  }

  /** The bytes of the head, as long as the next one isn't read. */
  raw(): RawRecord | null {
    return this.#cursor === null ? null : this.#raw(this.#cursor)
  }

  #raw(cursor: BatchCursor): RawRecord {
    const { buffer, keyStart, keyEnd, valueStart, valueEnd } = cursor
    return {
      key: keyStart < 0 ? null : Buffer.from(buffer.subarray(keyStart, keyEnd)),
      value: valueStart < 0 ? null : Buffer.from(buffer.subarray(valueStart, valueEnd)),
      headers: this.headers,
    }
  }

  #open(): boolean {
    const chunk = this.#chunks.shift()
    if (chunk === undefined) return false
    this.#chunk = chunk
    this.#cursor = this.#cursorOver(chunk)
    this.#keys = this.#keysAhead.get(chunk) ?? noKeys
    this.#keysTaken = 0
    this.#keysAhead.delete(chunk)
    return true
  }

  #cursorOver(chunk: FetchedChunk): BatchCursor {
    return new BatchCursor({
      topic: this.topic,
      partition: this.partition,
      buffer: chunk.buffer,
      start: chunk.start,
      end: chunk.end,
      fromOffset: chunk.fetchOffset,
      aborted: chunk.aborted,
      batchBytesMax: this.#batchBytesMax,
    })
  }

  #finish(): void {
    const chunk = this.#chunk as FetchedChunk
    this.position = chunk.nextOffset
    this.bytes += chunk.end - chunk.start
    this.#cursor = null
    this.#chunk = null
    this.#keys = noKeys
    this.#holds.get(chunk)?.()
    this.#holds.delete(chunk)
    chunk.release(true)
  }

  /** False: the record was dropped. */
  #read(cursor: BatchCursor): MaybePromise<boolean> {
    const { source, topic } = this
    this.offset = cursor.offset
    this.timestamp = cursor.timestamp
    this.position = cursor.offset
    this.headers = cursor.headerCount === 0 ? noHeaders : cursor.headers()
    this.records++
    try {
      const { buffer, keyStart, keyEnd, valueStart, valueEnd } = cursor
      const key =
        keyStart < 0
          ? null
          : source.keyUse === 'read'
            ? this.#keysTaken < this.#keys.length
              ? this.#keys[this.#keysTaken++]
              : source.keySerde.read(buffer, keyStart, keyEnd, topic, this.headers)
            : this.#leave(source.keyUse, source.keySerde, this.#unreadKey, buffer, keyStart, keyEnd)
      const value =
        valueStart < 0
          ? null
          : source.valueUse === 'read'
            ? source.valueSerde.read(buffer, valueStart, valueEnd, topic, this.headers)
            : this.#leave(source.valueUse, source.valueSerde, this.#unreadValue, buffer, valueStart, valueEnd)
      if (isPromise(key) || isPromise(value)) return this.#await(cursor, key, value)
      return this.#stamp(key, value)
    } catch (error) {
      return this.#unreadable(error, cursor)
    }
  }

  /** Nobody looks at it. Bytes that the serde would refuse or change are read all the same. */
  #leave(
    use: Exclude<Use, 'read'>,
    serde: Serde<unknown>,
    unread: Unread,
    buffer: Buffer,
    start: number,
    end: number,
  ): MaybePromise<unknown> {
    if (use === 'present' && serde.total) return present
    if (!serde.roundTrips?.(buffer, start, end))
      return serde.read(buffer, start, end, this.topic, this.headers)
    return use === 'present' ? present : unread.of(buffer, start, end)
  }

  async #await(cursor: BatchCursor, key: unknown, value: unknown): Promise<boolean> {
    let both: [unknown, unknown]
    try {
      both = await Promise.all([key, value])
    } catch (error) {
      return this.#unreadable(error, cursor)
    }
    return this.#stamp(both[0], both[1])
  }

  #stamp(key: unknown, value: unknown): boolean {
    const extractor = this.source.node.timestampExtractor
    if (extractor !== null) this.timestamp = this.#extract(extractor, key, value)
    if (!(this.timestamp >= 0)) {
      this.#owner.drop('invalid-timestamp', this)
      return false
    }
    this.key = key
    this.value = value
    this.hasHead = true
    return true
  }

  #extract(
    extractor: NonNullable<BoundSource['node']['timestampExtractor']>,
    key: unknown,
    value: unknown,
  ): number {
    const { topic, partition, offset, timestamp, headers, partitionTime } = this
    let extracted: unknown
    try {
      const record = { topic, partition, offset, timestamp, headers }
      extracted = extractor(value, key, record, partitionTime, this.#owner.wallClock())
    } catch (cause) {
      throw this.#fatal(
        `the timestamp extractor threw: ${cause instanceof Error ? cause.message : String(cause)}`,
        cause,
      )
    }
    if (isPromise(extracted)) {
      throw new StreamsError(
        'PROMISE_NOT_ALLOWED',
        `${this.source.node.name}: the timestamp extractor returned a promise; extractors are synchronous`,
        { node: this.source.node.name },
      )
    }
    if (typeof extracted !== 'number' || (!Number.isSafeInteger(extracted) && !Number.isNaN(extracted))) {
      throw this.#fatal(
        `the timestamp extractor returned ${String(extracted)}; it must return milliseconds since the epoch as a whole number`,
        undefined,
      )
    }
    return extracted
  }

  #fatal(what: string, cause: unknown): StreamsError {
    const { topic, partition, offset } = this
    return new StreamsError(
      'PROCESSING_FAILED',
      `${this.source.node.name}: ${what} (topic ${topic}, partition ${partition}, offset ${offset})`,
      { node: this.source.node.name, topic, partition, offset, cause, verdict: 'stop' },
    )
  }

  #unreadable(error: unknown, cursor: BatchCursor): MaybePromise<boolean> {
    if (error instanceof StreamsError && error.verdict === 'stop') throw error
    const decided = this.#owner.unreadable(error, this, this.#raw(cursor))
    return isPromise(decided) ? decided.then(() => false) : false
  }
}
