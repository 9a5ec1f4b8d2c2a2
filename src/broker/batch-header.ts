/** The header of a record batch, as far as a log needs it; and the checks of a batch that a producer sent. */
import { crc32c } from '@node-rs/crc32'
import { writeInt64 } from '../wire/batch-builder.ts'
import { batchFlags, batchLayout, int64At } from '../wire/record-batch.ts'
import { Refusal } from './refusal.ts'

export type BatchHeader = {
  /** Of the whole batch, its own length field included. */
  readonly size: number
  readonly baseOffset: number
  readonly lastOffset: number
  readonly attributes: number
  readonly maxTimestamp: number
  readonly producerId: number
  readonly producerEpoch: number
  readonly baseSequence: number
  readonly count: number
}

/** Null where no whole batch with a right checksum begins at `start`. */
export function readBatchHeader(buffer: Buffer, start: number, end: number): BatchHeader | null {
  if (end - start < batchLayout.records || buffer[start + batchLayout.magic] !== 2) return null
  const size = buffer.readInt32BE(start + batchLayout.length) + batchLayout.afterLength
  if (size < batchLayout.records || size > end - start) return null
  const crc = buffer.readUInt32BE(start + batchLayout.crc)
  if (crc32c(buffer.subarray(start + batchLayout.attributes, start + size)) !== crc) return null
  return headerAt(buffer, start, size)
}

export function headerAt(buffer: Buffer, start: number, size: number): BatchHeader {
  const baseOffset = int64At(buffer, start)
  return {
    size,
    baseOffset,
    lastOffset: baseOffset + buffer.readInt32BE(start + batchLayout.lastOffsetDelta),
    attributes: buffer.readInt16BE(start + batchLayout.attributes),
    maxTimestamp: int64At(buffer, start + batchLayout.maxTimestamp),
    producerId: int64At(buffer, start + batchLayout.producerId),
    producerEpoch: buffer.readInt16BE(start + batchLayout.producerEpoch),
    baseSequence: buffer.readInt32BE(start + batchLayout.baseSequence),
    count: buffer.readInt32BE(start + batchLayout.count),
  }
}

/** Exactly one batch, whole, of the supported format, with the offsets a producer must give. */
export function checkProduced(buffer: Buffer, start: number, end: number): BatchHeader {
  if (end - start <= batchLayout.magic) throw new Refusal('INVALID_RECORD', 'no record batch')
  const magic = buffer[start + batchLayout.magic]
  if (magic !== 2) throw new Refusal('INVALID_RECORD', `message format ${magic}, 2 is due`)
  if (end - start < batchLayout.records) throw new Refusal('CORRUPT_MESSAGE', 'a record batch is cut off')
  const size = buffer.readInt32BE(start + batchLayout.length) + batchLayout.afterLength
  if (size > batchLayout.records - 1 && size < end - start) {
    throw new Refusal('INVALID_RECORD', 'more than one record batch for one partition')
  }
  const header = readBatchHeader(buffer, start, end)
  if (header === null) throw new Refusal('CORRUPT_MESSAGE', 'a record batch has a wrong length or checksum')
  if (isControl(header)) throw new Refusal('INVALID_RECORD', 'control batches are the broker’s own')
  const offsets = header.lastOffset - header.baseOffset + 1
  if (header.count < 1 || header.count !== offsets) {
    throw new Refusal('INVALID_RECORD', `a batch of ${header.count} records over ${offsets} offsets`)
  }
  return header
}

export function isControl({ attributes }: BatchHeader): boolean {
  return (attributes & batchFlags.control) !== 0
}

export function isTransactional({ attributes }: BatchHeader): boolean {
  return (attributes & batchFlags.transactional) !== 0
}

export function writeCrc(batch: Buffer): void {
  batch.writeUInt32BE(crc32c(batch.subarray(batchLayout.attributes)), batchLayout.crc)
}

/** The control batch that ends a transaction in one partition. */
export function markerBatch(producerId: number, epoch: number, isCommit: boolean, timestamp: number): Buffer {
  // One record: attributes, timestamp delta, offset delta, key (version 0, type), value (version 0, epoch 0), no headers.
  const record = [0, 0, 0, 8, 0, 0, 0, isCommit ? 1 : 0, 12, 0, 0, 0, 0, 0, 0, 0]
  const batch = Buffer.alloc(batchLayout.records + 1 + record.length)
  batch.writeInt32BE(batch.length - batchLayout.afterLength, batchLayout.length)
  batch[batchLayout.magic] = 2
  batch.writeInt16BE(batchFlags.control | batchFlags.transactional, batchLayout.attributes)
  writeInt64(batch, batchLayout.baseTimestamp, timestamp)
  writeInt64(batch, batchLayout.maxTimestamp, timestamp)
  writeInt64(batch, batchLayout.producerId, producerId)
  batch.writeInt16BE(epoch, batchLayout.producerEpoch)
  batch.writeInt32BE(-1, batchLayout.baseSequence)
  batch.writeInt32BE(1, batchLayout.count)
  batch[batchLayout.records] = record.length * 2
  batch.set(record, batchLayout.records + 1)
  writeCrc(batch)
  return batch
}
