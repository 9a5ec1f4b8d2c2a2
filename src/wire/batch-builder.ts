/**
 * One open record batch (magic 2) of one partition; its grammar is in record-batch.ts. Records are encoded straight
 * into its bytes. What only the moment of sending knows (producer id, epoch, sequence, checksum) is written by `seal`.
 *
 * The ranges of the record just appended (`keyStart` and so on) point into `buffer` and stay right until `reset`,
 * also after `seal`: state may go on reading them. `buffer` itself is replaced as it grows, so hold the builder, or
 * what `bytes()` gives after the last append, rather than an early `buffer`.
 */
import { crc32c } from '@node-rs/crc32'
import { assert } from '../base/assert.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { type Codec, codecNumber, compress } from './compression.ts'
import { batchFlags, batchLayout } from './record-batch.ts'

// Below this a loop in JavaScript beats a call into the runtime.
const copyCallMin = 24
// The varints around key and value at their longest.
const recordOverheadMax = 40

export class BatchBuilder {
  buffer: Buffer
  count = 0
  /** Bytes used so far, the header included. */
  bytes: number = batchLayout.records
  baseTimestamp = -1
  maxTimestamp = -1
  /** Ranges of the last record appended; -1 where null. */
  keyStart = -1
  keyEnd = -1
  valueStart = -1
  valueEnd = -1
  readonly #bytesMax: number

  constructor(bytesMax = 1_000_000, capacity = 16_384) {
    this.#bytesMax = bytesMax
    this.buffer = Buffer.allocUnsafe(Math.max(capacity, batchLayout.records))
  }

  /**
   * Appends a record; false, and nothing is changed, when the batch has records and this one would make it longer
   * than `bytesMax`: seal it and open the next. A record longer than that gets a batch of its own.
   */
  append(
    timestamp: number,
    key: Uint8Array | null,
    keyStart: number,
    keyEnd: number,
    value: Uint8Array | null,
    valueStart: number,
    valueEnd: number,
    headers: Headers,
  ): boolean {
    const { count } = this
    const keyLength = key === null ? -1 : keyEnd - keyStart
    const valueLength = value === null ? -1 : valueEnd - valueStart
    assert(keyLength >= -1 && valueLength >= -1, 'a range ends after it starts')
    const delta = count === 0 ? 0 : timestamp - this.baseTimestamp
    const headersBytes = headersLength(headers)
    const length =
      1 +
      varlongLength(delta) +
      varintLength(count) +
      varintLength(keyLength) +
      Math.max(keyLength, 0) +
      varintLength(valueLength) +
      Math.max(valueLength, 0) +
      headersBytes
    if (count > 0 && this.bytes + length + 5 > this.#bytesMax) return false
    if (this.bytes + length + recordOverheadMax > this.buffer.length) this.#grow(length + recordOverheadMax)

    const { buffer } = this
    let at = writeVarint(buffer, this.bytes, length)
    buffer[at++] = 0
    at = writeVarlong(buffer, at, delta)
    at = writeVarint(buffer, at, count)
    at = writeVarint(buffer, at, keyLength)
    if (key === null) {
      this.keyStart = this.keyEnd = -1
    } else {
      this.keyStart = at
      at = copyRange(key, keyStart, keyEnd, buffer, at)
      this.keyEnd = at
    }
    at = writeVarint(buffer, at, valueLength)
    if (value === null) {
      this.valueStart = this.valueEnd = -1
    } else {
      this.valueStart = at
      at = copyRange(value, valueStart, valueEnd, buffer, at)
      this.valueEnd = at
    }
    if (headers.length === 0) buffer[at++] = 0
    else at = writeHeaders(buffer, at, headers)

    if (count === 0) {
      this.baseTimestamp = timestamp
      this.maxTimestamp = timestamp
    } else if (timestamp > this.maxTimestamp) {
      this.maxTimestamp = timestamp
    }
    this.bytes = at
    this.count = count + 1
    return true
  }

  /**
   * The finished batch. Not compressed, it is a view of `buffer`; with a codec it is new bytes. May be called again
   * with another producer or sequence. `producerId` -1 is for no idempotence.
   */
  seal(
    producerId: number,
    epoch: number,
    baseSequence: number,
    transactional: boolean,
    codec: Codec = 'none',
  ): Buffer {
    assert(this.count > 0, 'an empty batch is not sent')
    let batch = this.buffer.subarray(0, this.bytes)
    if (codec !== 'none') {
      const compressed = compress(codec, this.buffer.subarray(batchLayout.records, this.bytes))
      batch = Buffer.allocUnsafe(batchLayout.records + compressed.length)
      compressed.copy(batch, batchLayout.records)
    }
    writeInt64(batch, batchLayout.baseOffset, 0)
    batch.writeInt32BE(batch.length - batchLayout.afterLength, batchLayout.length)
    batch.writeInt32BE(-1, batchLayout.leaderEpoch)
    batch[batchLayout.magic] = 2
    batch.writeInt16BE(
      codecNumber(codec) | (transactional ? batchFlags.transactional : 0),
      batchLayout.attributes,
    )
    batch.writeInt32BE(this.count - 1, batchLayout.lastOffsetDelta)
    writeInt64(batch, batchLayout.baseTimestamp, this.baseTimestamp)
    writeInt64(batch, batchLayout.maxTimestamp, this.maxTimestamp)
    writeInt64(batch, batchLayout.producerId, producerId)
    batch.writeInt16BE(epoch, batchLayout.producerEpoch)
    batch.writeInt32BE(baseSequence, batchLayout.baseSequence)
    batch.writeInt32BE(this.count, batchLayout.count)
    batch.writeUInt32BE(crc32c(batch.subarray(batchLayout.attributes)), batchLayout.crc)
    return batch
  }

  /** Empties the batch and keeps its memory: all ranges of it die. */
  reset(): void {
    this.count = 0
    this.bytes = batchLayout.records
    this.baseTimestamp = -1
    this.maxTimestamp = -1
    this.keyStart = this.keyEnd = this.valueStart = this.valueEnd = -1
  }

  /** Twice as large, but no larger than a full batch needs; only a record of its own kind is longer than that. */
  #grow(bytes: number): void {
    const twice = Math.min(this.buffer.length * 2, this.#bytesMax + recordOverheadMax)
    const larger = Buffer.allocUnsafe(Math.max(twice, this.bytes + bytes))
    this.buffer.copy(larger, 0, 0, this.bytes)
    this.buffer = larger
  }
}

export function writeInt64(buffer: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 4294967296)
  buffer.writeInt32BE(high, at)
  buffer.writeUInt32BE(value - high * 4294967296, at + 4)
}

function copyRange(
  source: Uint8Array,
  start: number,
  end: number,
  target: Buffer,
  targetStart: number,
): number {
  let at = targetStart
  if (end - start < copyCallMin) {
    for (let from = start; from < end; from++) target[at++] = source[from] as number
    return at
  }
  target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at)
  return at + end - start
}

function varintLength(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0
  if (zigzag < 128) return 1
  if (zigzag < 16_384) return 2
  if (zigzag < 2_097_152) return 3
  return zigzag < 268_435_456 ? 4 : 5
}

function writeVarint(buffer: Buffer, start: number, value: number): number {
  let at = start
  let zigzag = ((value << 1) ^ (value >> 31)) >>> 0
  while (zigzag > 127) {
    buffer[at++] = (zigzag & 127) | 128
    zigzag >>>= 7
  }
  buffer[at++] = zigzag
  return at
}

const smallMax = 0x3fffffff
// Doubling stays exact up to here; beyond, the arithmetic is BigInt's.
const doubleMax = 2 ** 52

function varlongLength(value: number): number {
  if (value <= smallMax && value >= -smallMax) return varintLength(value)
  if (value < doubleMax && value > -doubleMax) {
    let length = 1
    for (let rest = value >= 0 ? value * 2 : -value * 2 - 1; rest > 127; rest = Math.floor(rest / 128))
      length++
    return length
  }
  let length = 1
  for (let rest = zigzagOf(value); rest > 127n; rest >>= 7n) length++
  return length
}

function writeVarlong(buffer: Buffer, start: number, value: number): number {
  if (value <= smallMax && value >= -smallMax) return writeVarint(buffer, start, value)
  let at = start
  if (value < doubleMax && value > -doubleMax) {
    let rest = value >= 0 ? value * 2 : -value * 2 - 1
    for (; rest > 127; rest = Math.floor(rest / 128)) buffer[at++] = (rest % 128) | 128
    buffer[at++] = rest
    return at
  }
  let rest = zigzagOf(value)
  for (; rest > 127n; rest >>= 7n) buffer[at++] = Number(rest & 127n) | 128
  buffer[at++] = Number(rest)
  return at
}

function zigzagOf(value: number): bigint {
  const exact = BigInt(value)
  return exact >= 0n ? exact * 2n : -exact * 2n - 1n
}

/** Bytes of a record's headers. */
export function headersLength(headers: Headers): number {
  if (headers.length === 0) return 1
  let length = varintLength(headers.length)
  for (const { key, value } of headers) {
    const keyLength = Buffer.byteLength(key)
    length += varintLength(keyLength) + keyLength
    length += value === null ? 1 : varintLength(value.length) + value.length
  }
  return length
}

function writeHeaders(buffer: Buffer, start: number, headers: Headers): number {
  let at = writeVarint(buffer, start, headers.length)
  for (const { key, value } of headers) {
    at = writeVarint(buffer, at, Buffer.byteLength(key))
    at += buffer.write(key, at)
    at = writeVarint(buffer, at, value === null ? -1 : value.length)
    if (value !== null) at = copyRange(value, 0, value.length, buffer, at)
  }
  return at
}

/** A whole batch of few records in one call, for what is not hot: markers, tests, the broker's own topics. */
export function encodeBatch(
  records: readonly {
    readonly timestamp: number
    readonly key: Uint8Array | null
    readonly value: Uint8Array | null
    readonly headers?: Headers
  }[],
  codec: Codec = 'none',
): Buffer {
  const builder = new BatchBuilder(Number.MAX_SAFE_INTEGER, 1_024)
  for (const { timestamp, key, value, headers } of records) {
    builder.append(timestamp, key, 0, key?.length ?? 0, value, 0, value?.length ?? 0, headers ?? noHeaders)
  }
  return builder.seal(-1, -1, -1, false, codec)
}
