/**
 * Compaction: of records with the same key the latest stays. Reads only closed segments below the last stable
 * offset, so no transaction is cut in two. Data of aborted transactions goes; a tombstone,
 * and the marker of a transaction without data, goes when it was first compacted `delete.retention.ms` ago. Offsets
 * never change. The last batch of a
 * producer stays, emptied if need be, so that its sequence is known after a restart.
 */
import fs from 'node:fs'
import { codecs, compress } from '../wire/compression.ts'
import { BatchCursor, batchFlags, batchLayout } from '../wire/record-batch.ts'
import { type BatchHeader, headerAt, isControl, isTransactional, writeCrc } from './batch-header.ts'
import type { PartitionLog } from './log.ts'
import { Segment, type SegmentBytes } from './segment.ts'

/** Below this much that could be cleaned, rewriting is not worth it. */
const dirtyBytesMin = 64 << 10
const segmentBytesMax = 8 << 20

/** Whether the log's settings ask for a compaction at this time. */
export function isDirty(log: PartitionLog, nowMs: number): boolean {
  const { compacts, dirtyRatioMin, compactionLagMaxMs } = log.settings
  if (!compacts) return false
  const cleanedUpTo = log.compactions.at(-1)?.offset ?? log.startOffset
  let dirty = 0
  let total = 0
  let oldest = nowMs
  for (const segment of log.segments) {
    total += segment.size
    if (segment.lastOffset < cleanedUpTo) continue
    dirty += segment.size
    oldest = Math.min(oldest, segment.createdMs)
  }
  if (dirty === 0) return false
  if (nowMs - oldest > compactionLagMaxMs) return true
  return dirty >= dirtyBytesMin && dirty / total >= dirtyRatioMin
}

export function compact(log: PartitionLog, nowMs: number): void {
  log.roll()
  const youngest = nowMs - log.settings.compactionLagMinMs
  const old: Segment[] = []
  for (const segment of log.segments) {
    const isActive = segment === log.segments.at(-1)
    if (isActive || segment.lastOffset >= log.stableOffset) break
    if (log.settings.compactionLagMinMs > 0 && segment.maxTimestamp > youngest) break
    old.push(segment)
  }
  if (old.length === 0) return
  const upTo = (old.at(-1) as Segment).lastOffset + 1

  const latest = new Map<string, number>()
  const lastBatches = new Map<string, number>()
  for (const { header, bytes } of batchesOf(old)) {
    if (header.producerId >= 0) lastBatches.set(kindOf(header), header.baseOffset)
    if (isControl(header) || isAborted(log, header)) continue
    const cursor = cursorOf(log, bytes)
    while (cursor.next()) {
      if (cursor.keyStart >= 0)
        latest.set(cursor.buffer.toString('latin1', cursor.keyStart, cursor.keyEnd), cursor.offset)
    }
  }

  const { deleteRetentionMs } = log.settings
  let tombstonesBefore = -1
  for (const { offset, atMs } of log.compactions)
    if (nowMs - atMs >= deleteRetentionMs) tombstonesBefore = offset

  const writer = new SegmentWriter(log, (old[0] as Segment).baseOffset, nowMs)
  /** Producers whose current transaction has data that stays. */
  const withData = new Set<number>()
  for (const { header, bytes } of batchesOf(old)) {
    const { producerId, baseOffset } = header
    const isLastOfProducer = lastBatches.get(kindOf(header)) === baseOffset
    if (isControl(header)) {
      // A marker is needed as long as a reader may meet data of its transaction.
      const isNeeded = withData.delete(producerId) || isLastOfProducer || baseOffset >= tombstonesBefore
      if (isNeeded) writer.append(bytes, header)
      else log.producers.forgetAborted(baseOffset)
      continue
    }
    const kept = isAborted(log, header) ? null : filter(log, header, bytes, latest, tombstonesBefore)
    if (kept !== null) {
      writer.append(kept, header)
      if (isTransactional(header)) withData.add(producerId)
    } else if (isLastOfProducer && producerId >= 0) {
      writer.append(emptied(bytes), header)
      if (isTransactional(header)) withData.add(producerId)
    }
  }
  const next = writer.finish(old)
  log.replace(old, next)
  log.compactions = [
    ...log.compactions.filter(({ offset }) => offset > tombstonesBefore),
    { offset: upTo, atMs: nowMs },
  ]
}

/** The last data tells a producer's sequence, the last marker its epoch. */
function kindOf(header: BatchHeader): string {
  return `${isControl(header) ? 'marker' : 'data'} ${header.producerId}`
}

function* batchesOf(
  segments: readonly Segment[],
): Generator<{ readonly header: BatchHeader; readonly bytes: Buffer }> {
  for (const segment of segments) {
    for (let batch = 0; batch < segment.batches; batch++) {
      const bytes = segment.batchBytes(batch)
      yield { header: headerAt(bytes, 0, bytes.length), bytes }
    }
  }
}

function cursorOf(log: PartitionLog, buffer: Buffer): BatchCursor {
  const { topic, partition } = log
  return new BatchCursor({
    topic,
    partition,
    buffer,
    start: 0,
    end: buffer.length,
    fromOffset: 0,
    aborted: null,
  })
}

function isAborted(log: PartitionLog, header: BatchHeader): boolean {
  if (!isTransactional(header)) return false
  return log
    .aborted(header.baseOffset, header.lastOffset + 1)
    .some(
      ({ producerId, firstOffset, markerOffset }) =>
        producerId === header.producerId &&
        firstOffset <= header.baseOffset &&
        markerOffset > header.lastOffset,
    )
}

/** The batch with the records that stay; null where none does. Records are copied as they are, in their old offsets. */
function filter(
  log: PartitionLog,
  header: BatchHeader,
  bytes: Buffer,
  latest: ReadonlyMap<string, number>,
  tombstonesBefore: number,
): Buffer | null {
  const parts: Buffer[] = []
  let kept = 0
  let maxTimestamp = -1
  const cursor = cursorOf(log, bytes)
  while (cursor.next()) {
    const { offset, buffer, keyStart, valueStart } = cursor
    const isLatest =
      keyStart >= 0 && latest.get(buffer.toString('latin1', keyStart, cursor.keyEnd)) === offset
    if (!isLatest || (valueStart < 0 && offset < tombstonesBefore)) continue
    parts.push(buffer.subarray(cursor.recordStart, cursor.recordEnd))
    maxTimestamp = Math.max(maxTimestamp, cursor.timestamp)
    kept++
  }
  if (kept === 0) return null
  if (kept === header.count) return bytes
  const codec = codecs[header.attributes & batchFlags.codec] ?? 'none'
  const batch = Buffer.concat([bytes.subarray(0, batchLayout.records), compress(codec, Buffer.concat(parts))])
  if (maxTimestamp >= 0) batch.writeBigInt64BE(BigInt(maxTimestamp), batchLayout.maxTimestamp)
  return resized(batch, kept)
}

function emptied(bytes: Buffer): Buffer {
  const batch = resized(Buffer.from(bytes.subarray(0, batchLayout.records)), 0)
  batch.writeInt16BE(batch.readInt16BE(batchLayout.attributes) & ~batchFlags.codec, batchLayout.attributes)
  writeCrc(batch)
  return batch
}

function resized(batch: Buffer, count: number): Buffer {
  batch.writeInt32BE(batch.length - batchLayout.afterLength, batchLayout.length)
  batch.writeInt32BE(count, batchLayout.count)
  writeCrc(batch)
  return batch
}

/** Writes compacted batches into few segments. On disk they come to be by rename, the first before the old are deleted. */
class SegmentWriter {
  readonly #log: PartitionLog
  readonly #firstOffset: number
  readonly #nowMs: number
  readonly #written: {
    readonly baseOffset: number
    readonly bytes: SegmentBytes
    readonly headers: [number, BatchHeader][]
  }[] = []

  constructor(log: PartitionLog, firstOffset: number, nowMs: number) {
    this.#log = log
    this.#firstOffset = firstOffset
    this.#nowMs = nowMs
  }

  append(batch: Buffer, header: BatchHeader): void {
    let current = this.#written.at(-1)
    if (current === undefined || current.bytes.size + batch.length > segmentBytesMax) {
      const baseOffset = current === undefined ? this.#firstOffset : header.baseOffset
      current = { baseOffset, bytes: this.#log.newBytes(baseOffset, '.cleaned'), headers: [] }
      this.#written.push(current)
    }
    const { bytes, headers } = current
    headers.push([
      bytes.size,
      { ...headerAt(batch, 0, batch.length), baseOffset: header.baseOffset, lastOffset: header.lastOffset },
    ])
    bytes.append(batch)
  }

  /** The order matters for a crash: a log that is read again has each batch, old or compacted, at least once. */
  finish(old: readonly Segment[]): Segment[] {
    const log = this.#log
    const segments: Segment[] = []
    const taken = new Set<number>()
    for (const { baseOffset, bytes, headers } of this.#written) {
      let final = bytes
      const path = log.pathOf(baseOffset)
      if (path !== null) {
        bytes.close()
        fs.renameSync(`${path}.cleaned`, path)
        final = log.openBytes(baseOffset)
      }
      const segment = new Segment(baseOffset, final, this.#nowMs)
      for (const [position, header] of headers) segment.index(position, header)
      segments.push(segment)
      taken.add(baseOffset)
    }
    for (const segment of old) {
      if (taken.has(segment.baseOffset)) segment.bytes.close()
      else segment.bytes.remove()
    }
    return segments
  }
}
