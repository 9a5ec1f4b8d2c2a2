/**
 * A stretch of a partition's log: batches one after another, in memory or in a file, and an index of them. Bytes once
 * written never change, so a slice that was given out stays right, also after the segment was compacted or deleted.
 */
import fs from 'node:fs'
import type { BatchHeader } from './batch-header.ts'

export type SegmentBytes = {
  readonly size: number
  append(bytes: Buffer): void
  read(start: number, end: number): Buffer
  close(): void
  remove(): void
}

const memoryBytesMin = 4_096

export class MemoryBytes implements SegmentBytes {
  size = 0
  #buffer = Buffer.allocUnsafeSlow(memoryBytesMin)

  append(bytes: Buffer): void {
    const needed = this.size + bytes.length
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2))
      this.#buffer.copy(larger, 0, 0, this.size)
      this.#buffer = larger
    }
    this.#buffer.set(bytes, this.size)
    this.size = needed
  }

  read(start: number, end: number): Buffer {
    return this.#buffer.subarray(start, end)
  }

  close(): void {}

  remove(): void {}
}

export class FileBytes implements SegmentBytes {
  size: number
  readonly path: string
  readonly #file: number

  constructor(path: string, size: number) {
    this.path = path
    this.size = size
    this.#file = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT)
  }

  append(bytes: Buffer): void {
    for (let written = 0; written < bytes.length; ) {
      written += fs.writeSync(this.#file, bytes, written, bytes.length - written, this.size + written)
    }
    this.size += bytes.length
  }

  read(start: number, end: number): Buffer {
    const bytes = Buffer.allocUnsafe(end - start)
    for (let done = 0; done < bytes.length; ) {
      const count = fs.readSync(this.#file, bytes, done, bytes.length - done, start + done)
      if (count === 0) throw new Error(`${this.path} ends before ${end}`)
      done += count
    }
    return bytes
  }

  /** Cuts off what is no whole batch. */
  truncate(size: number): void {
    fs.ftruncateSync(this.#file, size)
    this.size = size
  }

  close(): void {
    fs.closeSync(this.#file)
  }

  remove(): void {
    this.close()
    fs.rmSync(this.path, { force: true })
  }
}

export class Segment {
  readonly baseOffset: number
  readonly bytes: SegmentBytes
  readonly createdMs: number
  /** Per batch, in order. */
  readonly #lastOffsets: number[] = []
  readonly #baseOffsets: number[] = []
  readonly #positions: number[] = []
  readonly #maxTimestamps: number[] = []
  maxTimestamp = -1

  constructor(baseOffset: number, bytes: SegmentBytes, createdMs: number) {
    this.baseOffset = baseOffset
    this.bytes = bytes
    this.createdMs = createdMs
  }

  get batches(): number {
    return this.#positions.length
  }

  get size(): number {
    return this.bytes.size
  }

  get lastOffset(): number {
    return this.#lastOffsets.at(-1) ?? this.baseOffset - 1
  }

  append(batch: Buffer, header: BatchHeader): void {
    const position = this.bytes.size
    this.bytes.append(batch)
    this.index(position, header)
  }

  /** Enters a batch that is in the bytes already. */
  index(position: number, { baseOffset, lastOffset, maxTimestamp }: BatchHeader): void {
    this.#positions.push(position)
    this.#baseOffsets.push(baseOffset)
    this.#lastOffsets.push(lastOffset)
    this.#maxTimestamps.push(maxTimestamp)
    if (maxTimestamp > this.maxTimestamp) this.maxTimestamp = maxTimestamp
  }

  positionOf(batch: number): number {
    return this.#positions[batch] ?? this.bytes.size
  }

  batchBytes(batch: number): Buffer {
    return this.bytes.read(this.positionOf(batch), this.positionOf(batch + 1))
  }

  baseOffsetOf(batch: number): number {
    return this.#baseOffsets[batch] as number
  }

  lastOffsetOf(batch: number): number {
    return this.#lastOffsets[batch] as number
  }

  maxTimestampOf(batch: number): number {
    return this.#maxTimestamps[batch] as number
  }

  /** The first batch that ends at or after the offset; as many as there are batches where none does. */
  batchAt(offset: number): number {
    let low = 0
    let high = this.#lastOffsets.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#lastOffsets[middle] as number) < offset) low = middle + 1
      else high = middle
    }
    return low
  }

  /** The batch behind the last one that begins before `upTo` and ends within `bytesMax`; at least one if so wished. */
  batchesWithin(first: number, upTo: number, bytesMax: number, atLeastOne: boolean): number {
    const start = this.positionOf(first)
    let low = first
    let high = this.#positions.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const fits =
        (this.#baseOffsets[middle] as number) < upTo && this.positionOf(middle + 1) - start <= bytesMax
      if (fits) low = middle + 1
      else high = middle
    }
    if (low === first && atLeastOne && first < this.#positions.length && this.baseOffsetOf(first) < upTo)
      return first + 1
    return low
  }
}
