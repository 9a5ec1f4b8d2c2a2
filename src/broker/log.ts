/**
 * The log of one partition: record batches as they came, in segments. There is one replica, so the high watermark is
 * the end. Appending checks sequence numbers and writes offsets; reading gives slices. Nothing here looks into a
 * batch, except to find a timestamp.
 */
import fs from 'node:fs'
import path from 'node:path'
import type { Clock } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import { writeInt64 } from '../wire/batch-builder.ts'
import { BatchCursor, batchFlags, batchLayout } from '../wire/record-batch.ts'
import {
  type BatchHeader,
  isControl,
  isTransactional,
  markerBatch,
  readBatchHeader,
  writeCrc,
} from './batch-header.ts'
import { type AbortedRange, ProducerStates } from './producer-state.ts'
import { FileBytes, MemoryBytes, Segment, type SegmentBytes } from './segment.ts'
import type { TopicSettings } from './topic-config.ts'

export const leaderEpoch = 0

const memorySegmentBytesMax = 8 << 20
const fileSegmentBytesMax = 64 << 20
const markerTypeAt = batchLayout.records + 8

export type Appended = {
  readonly baseOffset: number
  readonly appendTimeMs: number
  readonly isDuplicate: boolean
}
/** Where bytes to be fetched lie. They are read only when they are sent. */
export type Slice = {
  readonly segment: Segment
  readonly start: number
  readonly end: number
  readonly endOffset: number
}

export class PartitionLog {
  readonly topic: string
  readonly partition: number
  readonly producers = new ProducerStates()
  /** Called whenever there is more to read, or the log is gone. */
  readonly waiters = new Set<() => void>()
  settings: TopicSettings
  startOffset = 0
  endOffset = 0
  isDeleted = false
  /** Up to where each compaction went, and when: tombstones below may go after a while. */
  compactions: { readonly offset: number; readonly atMs: number }[] = []
  #segments: Segment[] = []
  readonly #clock: Clock
  readonly #dir: string | null

  constructor(topic: string, partition: number, settings: TopicSettings, clock: Clock, dir: string | null) {
    this.topic = topic
    this.partition = partition
    this.settings = settings
    this.#clock = clock
    this.#dir = dir
    if (dir !== null) this.#recover(dir)
    if (this.#segments.length === 0) this.#roll()
  }

  /** The end of what read_committed may see. */
  get stableOffset(): number {
    return this.producers.firstOpenOffset ?? this.endOffset
  }

  get size(): number {
    let size = 0
    for (const segment of this.#segments) size += segment.size
    return size
  }

  get segments(): readonly Segment[] {
    return this.#segments
  }

  /** Appends a checked batch, after the check of its sequence. Writes offset, epoch and time into its bytes. */
  append(batch: Buffer, produced: BatchHeader): Appended {
    const duplicate = this.producers.check(produced)
    if (duplicate !== null) return { baseOffset: duplicate.baseOffset, appendTimeMs: -1, isDuplicate: true }
    const now = this.#clock.now()
    const { usesAppendTime } = this.settings
    let { maxTimestamp } = produced
    if (usesAppendTime) {
      maxTimestamp = now
      batch.writeInt16BE(produced.attributes | batchFlags.logAppendTime, batchLayout.attributes)
      writeInt64(batch, batchLayout.maxTimestamp, now)
      writeCrc(batch)
    } else if ((produced.attributes & batchFlags.logAppendTime) !== 0) {
      batch.writeInt16BE(produced.attributes & ~batchFlags.logAppendTime, batchLayout.attributes)
      writeCrc(batch)
    }
    const header = this.#write(batch, { ...produced, maxTimestamp })
    this.producers.appended(header, maxTimestamp)
    this.#changed()
    return { baseOffset: header.baseOffset, appendTimeMs: usesAppendTime ? now : -1, isDuplicate: false }
  }

  /** Ends a transaction here. A marker is written even where the transaction wrote no data. */
  appendMarker(producerId: number, epoch: number, isCommit: boolean): void {
    const batch = markerBatch(producerId, epoch, isCommit, this.#clock.now())
    const { baseOffset } = this.#write(batch, readBatchHeader(batch, 0, batch.length) as BatchHeader)
    this.producers.ended(producerId, epoch, isCommit, baseOffset)
    this.#changed()
  }

  #write(batch: Buffer, produced: BatchHeader): BatchHeader {
    const baseOffset = this.endOffset
    const header = {
      ...produced,
      baseOffset,
      lastOffset: baseOffset + produced.lastOffset - produced.baseOffset,
    }
    writeInt64(batch, batchLayout.baseOffset, baseOffset)
    batch.writeInt32BE(leaderEpoch, batchLayout.leaderEpoch)
    let active = this.#active
    if (active.batches > 0 && (active.size + batch.length > this.#segmentBytesMax || this.#isOld(active))) {
      active = this.#roll()
    }
    active.append(batch, header)
    this.endOffset = header.lastOffset + 1
    return header
  }

  get #active(): Segment {
    return this.#segments[this.#segments.length - 1] as Segment
  }

  get #segmentBytesMax(): number {
    return Math.min(
      this.settings.segmentBytes,
      this.#dir === null ? memorySegmentBytesMax : fileSegmentBytesMax,
    )
  }

  #isOld(segment: Segment): boolean {
    return this.#clock.now() - segment.createdMs >= this.settings.segmentMs
  }

  #roll(): Segment {
    const segment = new Segment(this.endOffset, this.newBytes(this.endOffset), this.#clock.now())
    this.#segments.push(segment)
    return segment
  }

  newBytes(baseOffset: number, suffix = ''): SegmentBytes {
    if (this.#dir === null) return new MemoryBytes()
    return new FileBytes(this.#pathOf(baseOffset) + suffix, 0)
  }

  /** The bytes of a file that is there already. */
  openBytes(baseOffset: number): SegmentBytes {
    const file = this.#pathOf(baseOffset)
    return new FileBytes(file, fs.statSync(file).size)
  }

  #pathOf(baseOffset: number): string {
    return path.join(this.#dir as string, `${String(baseOffset).padStart(20, '0')}.log`)
  }

  /** Closes the active segment to writing, so that it can be deleted or compacted. */
  roll(): void {
    if (this.#active.batches > 0) this.#roll()
  }

  /** What is to be read from an offset on, below `upTo`; null where there is nothing. Of one segment at most. */
  locate(fromOffset: number, upTo: number, bytesMax: number, atLeastOne: boolean): Slice | null {
    for (let index = this.#segmentAt(fromOffset); index < this.#segments.length; index++) {
      const segment = this.#segments[index] as Segment
      const first = segment.batchAt(fromOffset)
      if (first === segment.batches) continue
      const last = segment.batchesWithin(first, upTo, bytesMax, atLeastOne)
      if (last === first) return null
      return {
        segment,
        start: segment.positionOf(first),
        end: segment.positionOf(last),
        endOffset: segment.lastOffsetOf(last - 1) + 1,
      }
    }
    return null
  }

  /** The last segment that begins at or before the offset. */
  #segmentAt(offset: number): number {
    let low = 0
    let high = this.#segments.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((this.#segments[middle] as Segment).baseOffset <= offset) low = middle
      else high = middle - 1
    }
    return low
  }

  aborted(fromOffset: number, upTo: number): AbortedRange[] {
    return this.producers.abortedWithin(fromOffset, upTo)
  }

  /** The first record at or after a timestamp. */
  offsetOf(timestamp: number): { readonly offset: number; readonly timestamp: number } | null {
    for (const segment of this.#segments) {
      if (segment.maxTimestamp < timestamp) continue
      for (let batch = 0; batch < segment.batches; batch++) {
        if (segment.maxTimestampOf(batch) < timestamp) continue
        const cursor = this.cursorOver(segment, batch)
        while (cursor.next()) {
          if (cursor.timestamp >= timestamp) return { offset: cursor.offset, timestamp: cursor.timestamp }
        }
      }
    }
    return null
  }

  /** The first record that has the largest timestamp. */
  offsetOfMaxTimestamp(): { readonly offset: number; readonly timestamp: number } | null {
    let max = -1
    for (const segment of this.#segments) max = Math.max(max, segment.maxTimestamp)
    return max < 0 ? null : this.offsetOf(max)
  }

  cursorOver(segment: Segment, batch: number): BatchCursor {
    const buffer = segment.batchBytes(batch)
    const { topic, partition, startOffset } = this
    return new BatchCursor({
      topic,
      partition,
      buffer,
      start: 0,
      end: buffer.length,
      fromOffset: startOffset,
      aborted: null,
    })
  }

  /** Moves the start of the log; records below are gone. After a restart the log has its start from the broker's journal. */
  deleteBefore(offset: number): void {
    if (offset <= this.startOffset) return
    this.startOffset = offset
    while (this.#segments.length > 1 && this.#active !== this.#segments[0]) {
      const first = this.#segments[0] as Segment
      if (first.lastOffset >= offset) break
      first.bytes.remove()
      this.#segments.shift()
    }
    if (this.#active.batches > 0 && this.#active.lastOffset < offset) {
      const old = this.#active
      this.#roll()
      this.#segments.shift()
      old.bytes.remove()
    }
    this.producers.forgetAbortedBefore(offset)
  }

  /** Deletes whole segments for age and size. The new start where it moved, else null. */
  enforceRetention(): number | null {
    const { deletes, retentionMs, retentionBytes } = this.settings
    if (!deletes) return null
    const oldest = this.#clock.now() - retentionMs
    let size = this.size
    let start = this.startOffset
    const active = this.#active
    if (active.batches > 0 && active.maxTimestamp < oldest && active.lastOffset < this.stableOffset)
      this.#roll()
    for (const segment of this.#segments) {
      if (segment === this.#active || segment.lastOffset >= this.stableOffset) break
      const isTooMuch = size - segment.size >= retentionBytes
      if (segment.maxTimestamp >= oldest && !isTooMuch) break
      size -= segment.size
      start = segment.lastOffset + 1
    }
    if (start === this.startOffset) return null
    this.deleteBefore(start)
    return start
  }

  /** Puts what a compaction made in the place of the segments it read: never the active one. */
  replace(old: readonly Segment[], next: readonly Segment[]): void {
    const at = this.#segments.indexOf(old[0] as Segment)
    this.#segments.splice(at, old.length, ...next)
  }

  pathOf(baseOffset: number): string | null {
    return this.#dir === null ? null : this.#pathOf(baseOffset)
  }

  #changed(): void {
    for (const waiter of this.waiters) waiter()
  }

  /** The topic is deleted: nothing can be read or written here any more. */
  delete(): void {
    this.isDeleted = true
    for (const segment of this.#segments) segment.bytes.remove()
    if (this.#dir !== null) fs.rmSync(this.#dir, { recursive: true, force: true })
    this.#changed()
  }

  close(): void {
    for (const segment of this.#segments) segment.bytes.close()
  }

  #recover(dir: string): void {
    fs.mkdirSync(dir, { recursive: true })
    const files = fs.readdirSync(dir)
    for (const file of files) if (file.endsWith('.cleaned')) fs.rmSync(path.join(dir, file))
    const logs = files.filter((file) => file.endsWith('.log')).sort()
    for (const [index, file] of logs.entries()) {
      const isLast = index === logs.length - 1
      const full = path.join(dir, file)
      const bytes = fs.readFileSync(full)
      const fileBytes = new FileBytes(full, bytes.length)
      const segment = new Segment(Number(file.slice(0, -4)), fileBytes, this.#clock.now())
      this.endOffset = Math.max(this.endOffset, segment.baseOffset)
      let at = 0
      while (at < bytes.length) {
        const header = readBatchHeader(bytes, at, bytes.length)
        if (header === null) {
          if (!isLast) {
            throw new StreamsError(
              'BROKER_FOLDER_DAMAGED',
              `${full}: no record batch at byte ${at}; the folder is damaged`,
              {
                topic: this.topic,
                partition: this.partition,
                offset: this.endOffset,
              },
            )
          }
          fileBytes.truncate(at)
          break
        }
        // A crash between the steps of a compaction leaves batches twice; the compacted ones come first.
        if (header.baseOffset >= this.endOffset) {
          segment.index(at, header)
          this.#restore(header, bytes[at + markerTypeAt] === 1)
        }
        at += header.size
      }
      if (segment.batches > 0 || isLast) this.#segments.push(segment)
      else fileBytes.remove()
    }
  }

  #restore(header: BatchHeader, isCommit: boolean): void {
    this.endOffset = header.lastOffset + 1
    if (isControl(header)) {
      if (isTransactional(header))
        this.producers.ended(header.producerId, header.producerEpoch, isCommit, header.baseOffset)
    } else {
      this.producers.appended(header, header.maxTimestamp)
    }
  }
}
