/**
 * Reads Kafka's primitives from a stretch of a buffer. Every read is checked against the end, every length before
 * anything is allocated for it, so hostile bytes give WIRE_MALFORMED and never a crash or a hang.
 */
import { StreamsError } from '../base/errors.ts'

export function malformed(what: string): StreamsError {
  return new StreamsError('WIRE_MALFORMED', what)
}

export class ByteReader {
  readonly buffer: Buffer
  readonly end: number
  position: number

  constructor(buffer: Buffer, start = 0, end: number = buffer.length) {
    if (!(start >= 0 && start <= end && end <= buffer.length)) {
      throw malformed(`bytes ${start} to ${end} are not inside a buffer of ${buffer.length}`)
    }
    this.buffer = buffer
    this.position = start
    this.end = end
  }

  get remaining(): number {
    return this.end - this.position
  }

  /** Moves over `bytes` and returns where they start. */
  take(bytes: number): number {
    const { position } = this
    if (!(bytes >= 0 && bytes <= this.end - position)) {
      throw malformed(`${bytes} bytes are due at ${position}, ${this.end - position} are left`)
    }
    this.position = position + bytes
    return position
  }

  int8(): number {
    return ((this.buffer[this.take(1)] as number) << 24) >> 24
  }

  int16(): number {
    const at = this.take(2)
    return (((this.buffer[at] as number) << 24) >> 16) | (this.buffer[at + 1] as number)
  }

  uint16(): number {
    return this.int16() & 0xffff
  }

  int32(): number {
    const at = this.take(4)
    const { buffer } = this
    return (
      ((buffer[at] as number) << 24) |
      ((buffer[at + 1] as number) << 16) |
      ((buffer[at + 2] as number) << 8) |
      (buffer[at + 3] as number)
    )
  }

  /** Kafka's int64 as a number; one beyond the safe integers is refused, not rounded. */
  int64(): number {
    const at = this.position
    const high = this.int32()
    const value = high * 4294967296 + (this.int32() >>> 0)
    if (!Number.isSafeInteger(value)) throw malformed(`the 64-bit number at ${at} is not a safe integer`)
    return value
  }

  float64(): number {
    return this.buffer.readDoubleBE(this.take(8))
  }

  /** Unsigned variable-length integer, at most five bytes and 31 bits: lengths and tags are never larger. */
  uvarint(): number {
    const start = this.position
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.buffer[this.take(1)] as number
      if (shift === 28 && byte > 7) break
      value |= (byte & 127) << shift
      if (byte < 128) return value
    }
    throw malformed(`the variable-length integer at ${start} has more than 31 bits`)
  }

  utf8(bytes: number): string {
    const at = this.take(bytes)
    return this.buffer.toString('utf8', at, at + bytes)
  }
}
