/**
 * A growing run of bytes that keys, values and requests are written into, one after another, without a buffer each.
 * Whoever writes remembers `position` before and after: that range is the value. `reset` starts over and keeps the
 * memory, so ranges die with it.
 */
import { assert } from './assert.ts'

const longWordMin = 24

export class ByteWriter {
  buffer: Buffer
  position = 0

  constructor(capacity = 1024) {
    this.buffer = Buffer.allocUnsafe(capacity)
  }

  reset(): void {
    this.position = 0
  }

  /** Room for `bytes` more. Call before writing to `buffer` by hand. */
  ensure(bytes: number): void {
    const needed = this.position + bytes
    if (needed <= this.buffer.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, needed))
    this.buffer.copy(larger, 0, 0, this.position)
    this.buffer = larger
  }

  int8(value: number): void {
    this.ensure(1)
    this.buffer[this.position++] = value
  }

  int16(value: number): void {
    this.ensure(2)
    this.buffer[this.position++] = value >> 8
    this.buffer[this.position++] = value
  }

  int32(value: number): void {
    this.ensure(4)
    const { buffer } = this
    let at = this.position
    buffer[at++] = value >>> 24
    buffer[at++] = value >>> 16
    buffer[at++] = value >>> 8
    buffer[at++] = value
    this.position = at
  }

  /** A safe integer as a 64-bit big-endian one. */
  int64(value: number): void {
    const high = Math.floor(value / 4294967296)
    this.int32(high)
    this.int32(value - high * 4294967296)
  }

  bigint64(value: bigint): void {
    this.ensure(8)
    this.position = this.buffer.writeBigInt64BE(BigInt.asIntN(64, value), this.position)
  }

  float32(value: number): void {
    this.ensure(4)
    this.position = this.buffer.writeFloatBE(value, this.position)
  }

  float64(value: number): void {
    this.ensure(8)
    this.position = this.buffer.writeDoubleBE(value, this.position)
  }

  bytes(source: Uint8Array): void {
    this.range(source, 0, source.length)
  }

  /** Copies `source[start, end)`. Short runs byte by byte: a call into the runtime costs more than they do. */
  range(source: Uint8Array, start: number, end: number): void {
    const length = end - start
    assert(length >= 0, 'a range ends after it starts')
    this.ensure(length)
    const { buffer } = this
    let at = this.position
    if (length < longWordMin) {
      for (let from = start; from < end; from++) buffer[at++] = source[from] as number
    } else {
      buffer.set(length === source.length ? source : source.subarray(start, end), at)
    }
    this.position += length
  }

  /** As `range`, of memory by itself: a view of it costs a third of one of a buffer. */
  memory(source: ArrayBufferLike, start: number, end: number): void {
    const length = end - start
    this.ensure(length)
    this.buffer.set(new Uint8Array(source, start, length), this.position)
    this.position += length
  }

  /** Text as UTF-8. Short ASCII, the common key, is written without leaving JavaScript. */
  utf8(text: string): void {
    const { length } = text
    this.ensure(length * 3)
    const { buffer } = this
    if (length < longWordMin) {
      const start = this.position
      let at = start
      let index = 0
      for (; index < length; index++) {
        const code = text.charCodeAt(index)
        if (code > 127) break
        buffer[at++] = code
      }
      if (index === length) {
        this.position = at
        return
      }
    }
    this.position += buffer.write(text, this.position, 'utf8')
  }

  /** Zigzag variable-length integer of the record format, 32 bits. */
  varint(value: number): void {
    this.ensure(5)
    const { buffer } = this
    let rest = ((value << 1) ^ (value >> 31)) >>> 0
    while (rest >= 128) {
      buffer[this.position++] = (rest & 127) | 128
      rest >>>= 7
    }
    buffer[this.position++] = rest
  }

  /** Zigzag variable-length integer of a safe integer. */
  varlong(value: number): void {
    if (value >= -0x40000000 && value < 0x40000000) {
      this.varint(value)
      return
    }
    this.ensure(10)
    const { buffer } = this
    // Beyond 2^52 doubling leaves the safe integers, so the arithmetic is BigInt's.
    let rest = value >= 0 ? BigInt(value) << 1n : (BigInt(-value) << 1n) - 1n
    while (rest >= 128n) {
      buffer[this.position++] = Number(rest & 127n) | 128
      rest >>= 7n
    }
    buffer[this.position++] = Number(rest)
  }

  /** Unsigned variable-length integer of flexible requests. */
  uvarint(value: number): void {
    this.ensure(5)
    const { buffer } = this
    let rest = value >>> 0
    while (rest >= 128) {
      buffer[this.position++] = (rest & 127) | 128
      rest >>>= 7
    }
    buffer[this.position++] = rest
  }

  /** What was written so far, as a view: it lives until the next write or reset. */
  view(start = 0, end: number = this.position): Buffer {
    return this.buffer.subarray(start, end)
  }

  /** A copy that outlives the writer. */
  copy(start = 0, end: number = this.position): Buffer {
    return Buffer.from(this.buffer.subarray(start, end))
  }
}
