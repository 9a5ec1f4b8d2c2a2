/**
 * Reading record batches (magic 2) where they lie, in the bytes of a Fetch response. The cursor stands on one record
 * at a time and says where its parts are; it makes no object and no copy per record.
 *
 *   batch  = baseOffset:int64 length:int32 leaderEpoch:int32 magic:int8 crc:uint32 attributes:int16
 *            lastOffsetDelta:int32 baseTimestamp:int64 maxTimestamp:int64 producerId:int64 producerEpoch:int16
 *            baseSequence:int32 count:int32 record*            (crc32c of all from attributes on)
 *   record = length:varint attributes:int8 timestampDelta:varlong offsetDelta:varint
 *            keyLength:varint key valueLength:varint value headerCount:varint header*
 *   header = keyLength:varint key valueLength:varint value     (a length of -1 is null)
 *   attributes: 0-2 codec, 3 log-append time, 4 transactional, 5 control, 6 base timestamp is a delete horizon
 *
 * The promises: each batch's checksum is checked before its first record is given; nothing malformed goes by in
 * silence, it is a StreamsError with topic, partition and offset; and asking again gives the same error. Control
 * batches and, where the aborted transactions are given, their data are passed over. A timestamp that is no safe
 * integer reads as NaN: the record is given, and its owner's timestamp handling refuses it.
 *
 * Left out: magic 0 and 1 (Kafka 4 no longer serves them), refused by name.
 */
import { crc32c } from '@node-rs/crc32'
import { type ErrorCode, StreamsError } from '../base/errors.ts'
import { type Header, type Headers, noHeaders } from '../base/headers.ts'
import { type Codec, CompressionError, codecs, decompress } from './compression.ts'

/** Where the fields of a batch's header are. */
export const batchLayout = {
  baseOffset: 0,
  length: 8,
  leaderEpoch: 12,
  magic: 16,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  baseSequence: 53,
  count: 57,
  records: 61,
  /** `length` counts from here. */
  afterLength: 12,
} as const

export const batchFlags = {
  codec: 7,
  logAppendTime: 8,
  transactional: 16,
  control: 32,
  deleteHorizon: 64,
} as const

/** A transaction that ended in an abort: data of this producer from this offset to its abort marker is void. */
export type AbortedTransaction = { readonly producerId: number; readonly firstOffset: number }

export type BatchSource = {
  readonly topic: string
  readonly partition: number
  /** The response, and in it the record bytes of this partition. */
  readonly buffer: Buffer
  readonly start: number
  readonly end: number
  /** The offset that was asked for: records below it are passed over. */
  readonly fromOffset: number
  /** The response's list under read_committed; null reads uncommitted. */
  readonly aborted: readonly AbortedTransaction[] | null
  /** Largest size that a batch may decompress to. */
  readonly batchBytesMax?: number
}

export const batchBytesMaxDefault = 100 * 1024 * 1024

/** A 64-bit big-endian integer as a number: exact while safe, checked by whoever needs it to be. */
export function int64At(buffer: Uint8Array, at: number): number {
  const high =
    ((buffer[at] as number) << 24) |
    ((buffer[at + 1] as number) << 16) |
    ((buffer[at + 2] as number) << 8) |
    (buffer[at + 3] as number)
  return high * 4294967296 + uint32At(buffer, at + 4)
}

function uint32At(buffer: Uint8Array, at: number): number {
  return (
    (((buffer[at] as number) << 24) |
      ((buffer[at + 1] as number) << 16) |
      ((buffer[at + 2] as number) << 8) |
      (buffer[at + 3] as number)) >>>
    0
  )
}

// Where the last variable-length integer ended. One that does not end within its width moves this beyond any
// buffer, so that the caller's one check of the record's end catches it.
let after = 0
const nowhere = 0x7fffffff

function varint(buffer: Uint8Array, start: number): number {
  let at = start
  let byte = buffer[at++] as number
  let zigzag = byte & 127
  for (let shift = 7; byte > 127; shift += 7) {
    if (shift > 28) {
      after = nowhere
      return 0
    }
    byte = buffer[at++] as number
    zigzag |= (byte & 127) << shift
  }
  after = at
  return (zigzag >>> 1) ^ -(zigzag & 1)
}

function varlong(buffer: Uint8Array, start: number): number {
  let at = start
  let byte = buffer[at++] as number
  let zigzag = byte & 127
  let factor = 128
  for (let count = 1; byte > 127; count++) {
    if (count > 9) {
      after = nowhere
      return 0
    }
    byte = buffer[at++] as number
    zigzag += (byte & 127) * factor
    factor *= 128
  }
  after = at
  return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2
}

export class BatchCursor {
  readonly topic: string
  readonly partition: number
  /** What the ranges below refer to: the response, or a batch's decompressed bytes. */
  buffer: Buffer
  offset = -1
  timestamp = -1
  /** -1 where the key is null. */
  keyStart = -1
  keyEnd = -1
  /** -1 where the value is null. */
  valueStart = -1
  valueEnd = -1
  headerCount = 0
  headersStart = 0
  /** The whole record, from its length on: what a compaction copies. */
  recordStart = 0
  recordEnd = 0
  /** Where to go on reading: after this record, and after all control batches, void data and gaps before it. */
  nextOffset: number
  readonly #response: Buffer
  readonly #end: number
  readonly #fromOffset: number
  readonly #batchBytesMax: number
  /** By first offset; those before `#abortedNext` are in `#abortedIds` or over. */
  readonly #aborted: readonly AbortedTransaction[] | null
  #abortedNext = 0
  #abortedIds: Set<number> | null = null
  /** Start of the next batch in the response. */
  #nextBatch: number
  /** The open batch: next record, end, records to come. */
  #at = 0
  #batchEnd = 0
  #remaining = 0
  #baseOffset = 0
  #lastOffset = 0
  #baseTimestamp = 0
  #appendTimestamp = 0
  #usesAppendTime = false
  #lastDelta = -1
  #sawBatch = false
  /** Behind the last batch that was opened. */
  #dueOffset = 0

  constructor(source: BatchSource) {
    this.topic = source.topic
    this.partition = source.partition
    this.buffer = source.buffer
    this.nextOffset = source.fromOffset
    this.#response = source.buffer
    this.#end = source.end
    this.#fromOffset = source.fromOffset
    this.#batchBytesMax = source.batchBytesMax ?? batchBytesMaxDefault
    this.#aborted =
      source.aborted === null ? null : source.aborted.toSorted((a, b) => a.firstOffset - b.firstOffset)
    this.#nextBatch = source.start
  }

  /** Moves to the next record; false at the end of the response's bytes. */
  next(): boolean {
    for (;;) {
      if (this.#remaining === 0) {
        if (this.#openBatch()) continue
        return false
      }
      const { buffer } = this
      const batchEnd = this.#batchEnd
      const length = varint(buffer, this.#at)
      const end = after + length
      if (length < 0 || end > batchEnd) this.#corrupt(`a record's length is ${length}`)
      const timestampDelta = varlong(buffer, after + 1)
      const delta = varint(buffer, after)
      const keyLength = varint(buffer, after)
      const keyStart = after
      const keyEnd = keyLength < 0 ? keyStart : keyStart + keyLength
      const valueLength = varint(buffer, keyEnd)
      const valueStart = after
      const valueEnd = valueLength < 0 ? valueStart : valueStart + valueLength
      const headerCount = varint(buffer, valueEnd)
      // Starts and ends only grow up to here, so this one comparison covers them all.
      if (after > end || (headerCount === 0 ? after !== end : headerCount < 0)) {
        this.#corrupt(
          `a record of ${length} bytes has key length ${keyLength}, value length ${valueLength}, header count ${headerCount}`,
        )
      }
      if (keyLength < -1 || valueLength < -1) {
        this.#corrupt(`a record has key length ${keyLength}, value length ${valueLength}`)
      }
      const offset = this.#baseOffset + delta
      if (delta <= this.#lastDelta || offset > this.#lastOffset) {
        this.#corrupt(
          `a record has offset ${offset}, in a batch from ${this.#baseOffset} to ${this.#lastOffset}`,
        )
      }
      if (--this.#remaining === 0) {
        if (end !== batchEnd) {
          this.#remaining = 1
          this.#corrupt(`${batchEnd - end} bytes are left over`)
        }
        if (this.#lastOffset >= this.nextOffset) this.nextOffset = this.#lastOffset + 1
      } else if (offset >= this.nextOffset) {
        this.nextOffset = offset + 1
      }
      this.recordStart = this.#at
      this.#lastDelta = delta
      this.#at = end
      if (offset < this.#fromOffset) continue
      const timestamp = this.#usesAppendTime ? this.#appendTimestamp : this.#baseTimestamp + timestampDelta
      this.timestamp =
        timestamp <= Number.MAX_SAFE_INTEGER && timestamp >= Number.MIN_SAFE_INTEGER ? timestamp : Number.NaN
      this.offset = offset
      this.keyStart = keyLength < 0 ? -1 : keyStart
      this.keyEnd = keyLength < 0 ? -1 : keyEnd
      this.valueStart = valueLength < 0 ? -1 : valueStart
      this.valueEnd = valueLength < 0 ? -1 : valueEnd
      this.headerCount = headerCount
      this.headersStart = after
      this.recordEnd = end
      return true
    }
  }

  /** The headers of the record that the cursor stands on. Their values are copies. */
  headers(): Headers {
    if (this.headerCount === 0) return noHeaders
    const headers: Header[] = []
    const { buffer } = this
    const end = this.recordEnd
    let at = this.headersStart
    for (let index = 0; index < this.headerCount; index++) {
      const keyLength = varint(buffer, at)
      const keyStart = after
      const valueLength = varint(buffer, keyStart + keyLength)
      const valueStart = after
      at = valueLength < 0 ? valueStart : valueStart + valueLength
      if (keyLength < 0 || valueLength < -1 || at > end) this.#corruptHeaders()
      const value = valueLength < 0 ? null : Buffer.from(buffer.subarray(valueStart, at))
      headers.push({ key: buffer.toString('utf8', keyStart, keyStart + keyLength), value })
    }
    if (at !== end) this.#corruptHeaders()
    return headers
  }

  /** Opens the next batch that has data to give; false at the end. */
  #openBatch(): boolean {
    const response = this.#response
    for (;;) {
      const start = this.#nextBatch
      const available = this.#end - start
      if (available < batchLayout.magic + 1) return this.#endsInside(available)
      const baseOffset = int64At(response, start)
      const magic = response[start + batchLayout.magic] as number
      if (!Number.isSafeInteger(baseOffset) || baseOffset < 0)
        this.#corrupt(`a batch has base offset ${baseOffset}`)
      if (magic < 2) {
        this.#fail(
          'BATCH_UNSUPPORTED',
          `message format ${magic} of old brokers is not supported; write the topic anew in record batches (message format 2, Kafka 0.11 and later)`,
        )
      }
      if (magic > 2) this.#fail('BATCH_UNSUPPORTED', `unknown record batch format (magic ${magic})`)
      const length = response.readInt32BE(start + batchLayout.length)
      if (length < batchLayout.records - batchLayout.afterLength)
        this.#corrupt(`a batch has length ${length}`)
      const end = start + batchLayout.afterLength + length
      if (end > this.#end) return this.#endsInside(available)

      const crc = uint32At(response, start + batchLayout.crc)
      if (crc32c(response.subarray(start + batchLayout.attributes, end)) !== crc)
        this.#corrupt('the checksum of a batch is wrong')
      const attributes = response.readInt16BE(start + batchLayout.attributes)
      const lastOffsetDelta = response.readInt32BE(start + batchLayout.lastOffsetDelta)
      const lastOffset = baseOffset + lastOffsetDelta
      const count = response.readInt32BE(start + batchLayout.count)
      if (lastOffsetDelta < 0 || !Number.isSafeInteger(lastOffset))
        this.#corrupt(`a batch ends ${lastOffsetDelta} after its base offset ${baseOffset}`)
      if (baseOffset < this.#dueOffset) {
        this.#corrupt(`a batch goes back to offset ${baseOffset}, ${this.#dueOffset} or later is due`)
      }
      if (count < 0) this.#corrupt(`a batch has ${count} records`)
      const producerId = int64At(response, start + batchLayout.producerId)

      if (lastOffset < this.#fromOffset || this.#isVoid(attributes, producerId, lastOffset, start, end)) {
        this.#leaveBatch(end, lastOffset)
        continue
      }
      const codec = codecs[attributes & batchFlags.codec]
      if (codec === undefined)
        this.#fail('BATCH_UNSUPPORTED', `unknown compression ${attributes & batchFlags.codec}`)
      if (codec === 'none') {
        this.buffer = response
        this.#at = start + batchLayout.records
        this.#batchEnd = end
      } else {
        this.buffer = this.#decompress(codec, response.subarray(start + batchLayout.records, end))
        this.#at = 0
        this.#batchEnd = this.buffer.length
      }
      if (count === 0 && this.#at !== this.#batchEnd)
        this.#corrupt('a batch of no records has bytes for some')
      this.#baseTimestamp = int64At(response, start + batchLayout.baseTimestamp)
      this.#appendTimestamp = int64At(response, start + batchLayout.maxTimestamp)
      this.#usesAppendTime = (attributes & batchFlags.logAppendTime) !== 0
      this.#baseOffset = baseOffset
      this.#lastOffset = lastOffset
      this.#lastDelta = -1
      this.#remaining = count
      this.#nextBatch = end
      this.#sawBatch = true
      this.#dueOffset = lastOffset + 1
      if (count > 0) return true
      this.#leaveBatch(end, lastOffset)
    }
  }

  #leaveBatch(end: number, lastOffset: number): void {
    this.#nextBatch = end
    this.#sawBatch = true
    this.#dueOffset = lastOffset + 1
    if (lastOffset >= this.nextOffset) this.nextOffset = lastOffset + 1
  }

  /**
   * Control batches carry no data, and a batch may belong to an aborted transaction. As in the Java consumer: a
   * transaction becomes aborted where its first offset comes into view, and is over at the producer's abort marker.
   */
  #isVoid(attributes: number, producerId: number, lastOffset: number, start: number, end: number): boolean {
    const isControl = (attributes & batchFlags.control) !== 0
    const aborted = this.#aborted
    if (aborted === null || aborted.length === 0 || producerId < 0) return isControl
    this.#abortedIds ??= new Set()
    for (let next = aborted[this.#abortedNext]; next !== undefined && next.firstOffset <= lastOffset; ) {
      this.#abortedIds.add(next.producerId)
      next = aborted[++this.#abortedNext]
    }
    if (isControl) {
      if (isAbortMarker(this.#response, start, end)) this.#abortedIds.delete(producerId)
      return true
    }
    return (attributes & batchFlags.transactional) !== 0 && this.#abortedIds.has(producerId)
  }

  #decompress(codec: Codec, bytes: Buffer): Buffer {
    try {
      return decompress(codec, bytes, this.#batchBytesMax)
    } catch (error) {
      if (!(error instanceof CompressionError)) throw error
      if (error.tooLarge) {
        this.#fail(
          'BATCH_TOO_LARGE',
          `a ${codec} batch of ${bytes.length} bytes decompresses to ${error.message}; raise maxBatchBytes if that is meant`,
          error,
        )
      }
      this.#corrupt(`a ${codec} batch can not be decompressed: ${error.message}`, error)
    }
  }

  /** A response may end inside a batch, which the next fetch then begins with; the first must be whole. */
  #endsInside(available: number): false {
    if (available > 0 && !this.#sawBatch)
      this.#corrupt(`the ${available} bytes of the response hold no whole batch`)
    return false
  }

  #corruptHeaders(): never {
    return this.#fail(
      'BATCH_CORRUPT',
      `the headers of the record at offset ${this.offset} can not be read`,
      undefined,
      this.offset,
    )
  }

  #corrupt(what: string, cause?: unknown): never {
    return this.#fail('BATCH_CORRUPT', what, cause)
  }

  #fail(code: ErrorCode, what: string, cause?: unknown, offset: number = this.nextOffset): never {
    const { topic, partition } = this
    const about = { topic, partition, offset }
    throw new StreamsError(
      code,
      `${topic}-${partition} at offset ${offset}: ${what}`,
      cause === undefined ? about : { ...about, cause },
    )
  }
}

/** A control record's key is version:int16 type:int16; type 0 aborts, 1 commits. Control batches hold one, as is. */
function isAbortMarker(buffer: Buffer, start: number, end: number): boolean {
  varint(buffer, start + batchLayout.records)
  varlong(buffer, after + 1)
  varint(buffer, after)
  const keyLength = varint(buffer, after)
  return keyLength >= 4 && after + keyLength <= end && buffer.readInt16BE(after + 2) === 0
}
