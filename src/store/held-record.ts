/**
 * The bytes in which Kafka Streams' buffers keep a record with its context (format 3 of the suppress changelog):
 *   context = timestamp:int64 offset:int64 topic:text partition:int32 headerCount:int32 (name:text value:blob)*
 *   record  = context prior:blob old:blob value:blob time:int64
 * text and blob are length:int32 and bytes; a length of -1 is null; for `old`, -2 is "as prior".
 * `prior` is what downstream last saw, `old` what the change itself calls its old value.
 */
import type { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import { type Header, type Headers, noHeaders } from '../base/headers.ts'
import { int64At } from '../wire/record-batch.ts'
import type { Origin } from './contract.ts'

export type HeldRecord = {
  readonly timestamp: number
  readonly headers: Headers
  readonly origin: Origin
  readonly prior: Buffer | null
  readonly old: Buffer | null
  readonly value: Buffer | null
  readonly time: number
}

export function writeHeldRecord(held: HeldRecord, to: ByteWriter): void {
  const { origin, headers } = held
  to.int64(held.timestamp)
  to.int64(origin.offset)
  writeText(origin.topic ?? '', to)
  to.int32(origin.partition)
  writeHeaders(headers, to)
  writeBlob(held.prior, to)
  if (held.old !== null && held.prior?.equals(held.old) === true) to.int32(-2)
  else writeBlob(held.old, to)
  writeBlob(held.value, to)
  to.int64(held.time)
}

export function readHeldRecord(from: Buffer, start: number, end: number, store: string): HeldRecord {
  let at = start
  const int32 = (): number => {
    at += 4
    return from.readInt32BE(at - 4)
  }
  const int64 = (): number => {
    at += 8
    return int64At(from, at - 8)
  }
  const bytes = (length: number): Buffer | null => {
    if (length < 0) return null
    at += length
    if (at > end) throw new RangeError(`a length of ${length} is past the end`)
    return Buffer.from(from.subarray(at - length, at))
  }
  try {
    const timestamp = int64()
    const offset = int64()
    const topic = bytes(int32())?.toString('utf8') ?? null
    const partition = int32()
    const { headers, next } = readHeaders(from, at, end)
    at = next
    const prior = bytes(int32())
    const oldLength = int32()
    const old = oldLength === -2 ? prior : bytes(oldLength)
    const value = bytes(int32())
    const time = at + 8 <= end ? int64() : timestamp
    return { timestamp, headers, origin: { topic, partition, offset }, prior, old, value, time }
  } catch (error) {
    throw new StreamsError('STATE_CORRUPT', `store ${store}: a buffered record can't be read`, {
      store,
      cause: error,
    })
  }
}

export function writeHeaders(headers: Headers, to: ByteWriter): void {
  to.int32(headers.length)
  for (const { key, value } of headers) {
    writeText(key, to)
    writeBlob(value, to)
  }
}

/** `next`: where the bytes go on after them. */
export function readHeaders(from: Buffer, start: number, end: number): { headers: Headers; next: number } {
  const count = from.readInt32BE(start)
  let at = start + 4
  if (count <= 0) return { headers: noHeaders, next: at }
  const blob = (): Buffer | null => {
    const length = from.readInt32BE(at)
    at += 4
    if (length < 0) return null
    at += length
    if (at > end) throw new RangeError(`a header of ${length} bytes is past the end`)
    return Buffer.from(from.subarray(at - length, at))
  }
  const headers: Header[] = []
  for (let index = 0; index < count; index++)
    headers.push({ key: blob()?.toString('utf8') ?? '', value: blob() })
  return { headers, next: at }
}

/** What Kafka Streams counts against a buffer's limit of bytes. */
export function heldBytes(keyLength: number, { prior, old, value, origin, headers }: HeldRecord): number {
  let bytes = 8 + keyLength + 20 + (origin.topic?.length ?? 0)
  if (prior !== null) bytes += prior.length
  if (old !== null && (prior === null || !prior.equals(old))) bytes += old.length
  if (value !== null) bytes += value.length
  for (const header of headers) bytes += header.key.length + (header.value?.length ?? 0)
  return bytes
}

function writeText(text: string, to: ByteWriter): void {
  const lengthAt = to.position
  to.int32(0)
  to.utf8(text)
  to.buffer.writeInt32BE(to.position - lengthAt - 4, lengthAt)
}

function writeBlob(bytes: Uint8Array | null, to: ByteWriter): void {
  if (bytes === null) {
    to.int32(-1)
    return
  }
  to.int32(bytes.length)
  to.bytes(bytes)
}
