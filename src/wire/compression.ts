/**
 * The codecs of record batches, both ways, as the Java client reads and writes them: gzip, snappy (raw, and in the
 * xerial frame that Java uses), lz4 frames, zstd frames. `decompress` works out from the frame how large the result
 * can get, and refuses before it allocates: a few kilobytes from a stranger can not claim gigabytes.
 * Zstandard is Node's own where it has one (22.15 and later), else a prebuilt binding.
 */
import { createRequire } from 'node:module'
import zlib from 'node:zlib'
import type * as Lz4 from 'lz4-napi'
import type * as Snappy from 'snappy'

/** Bindings are loaded when they are first used: that takes each of them 10 to 20 ms, in every thread. */
const require = createRequire(import.meta.url)
const lz4 = (): typeof Lz4 => require('lz4-napi') as typeof Lz4
const snappy = (): typeof Snappy => require('snappy') as typeof Snappy

export const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const

export type Codec = (typeof codecs)[number]

/** Why bytes could not be decompressed. Who knows topic and offset makes a StreamsError of it. */
export class CompressionError extends Error {
  override readonly name = 'CompressionError'
  readonly tooLarge: boolean

  constructor(message: string, tooLarge = false, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.tooLarge = tooLarge
  }
}

export function codecNumber(codec: Codec): number {
  return codecs.indexOf(codec)
}

export function compress(codec: Codec, bytes: Buffer): Buffer {
  switch (codec) {
    case 'none':
      return bytes
    case 'gzip':
      return zlib.gzipSync(bytes)
    case 'snappy':
      return snappyFrame(bytes)
    case 'lz4':
      return lz4().compressFrameSync(bytes)
    case 'zstd':
      return zstd().compress(bytes)
  }
}

/** Decompresses to at most `bytesMax` bytes. */
export function decompress(codec: Codec, bytes: Buffer, bytesMax: number): Buffer {
  try {
    switch (codec) {
      case 'none':
        return bytes
      case 'gzip':
        return zlib.gunzipSync(bytes, { maxOutputLength: bytesMax })
      case 'snappy':
        return isXerial(bytes) ? snappyUnframe(bytes, bytesMax) : snappyBlock(bytes, bytesMax)
      case 'lz4':
        refuseAbove(bytesMax, lz4BytesMax(bytes, bytesMax))
        return lz4().decompressFrameSync(bytes)
      case 'zstd':
        return zstdUnframe(bytes, bytesMax)
    }
  } catch (error) {
    if (error instanceof CompressionError) throw error
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') {
      throw new CompressionError(`more than the ${bytesMax} bytes allowed`, true, error)
    }
    throw new CompressionError(`${codec}: ${(error as Error).message}`, false, error)
  }
}

function refuseAbove(bytesMax: number, bytes: number): void {
  if (bytes > bytesMax) throw new CompressionError(`up to ${bytes} bytes, of ${bytesMax} allowed`, true)
}

// Snappy. Raw: a varint with the decompressed size, then the data. Xerial: an 8-byte magic, version and
// compatible version (int32 each), then blocks of an int32 length and a raw block.

const xerialHeader = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])
const xerialMagicBytes = 8
const snappyBlockBytes = 65_536

function isXerial(bytes: Buffer): boolean {
  return (
    bytes.length >= xerialHeader.length &&
    bytes.compare(xerialHeader, 0, xerialMagicBytes, 0, xerialMagicBytes) === 0
  )
}

function snappyFrame(bytes: Buffer): Buffer {
  const parts: Buffer[] = [xerialHeader]
  for (let start = 0; start < bytes.length; start += snappyBlockBytes) {
    const block = snappy().compressSync(bytes.subarray(start, start + snappyBlockBytes))
    const length = Buffer.allocUnsafe(4)
    length.writeInt32BE(block.length)
    parts.push(length, block)
  }
  return Buffer.concat(parts)
}

function snappyUnframe(bytes: Buffer, bytesMax: number): Buffer {
  const parts: Buffer[] = []
  let total = 0
  let at = xerialHeader.length
  while (at < bytes.length) {
    if (at + 4 > bytes.length) throw new CompressionError('snappy: a block length is cut off')
    const length = bytes.readInt32BE(at)
    at += 4
    if (length < 0 || at + length > bytes.length)
      throw new CompressionError(`snappy: a block of ${length} bytes`)
    const part = snappyBlock(bytes.subarray(at, at + length), bytesMax - total)
    parts.push(part)
    total += part.length
    at += length
  }
  return Buffer.concat(parts, total)
}

function snappyBlock(block: Buffer, bytesMax: number): Buffer {
  let size = 0
  let factor = 1
  for (let index = 0; ; index++) {
    const byte = block[index]
    if (byte === undefined || index > 4) throw new CompressionError('snappy: no decompressed size')
    size += (byte & 127) * factor
    factor *= 128
    if (byte < 128) break
  }
  refuseAbove(bytesMax, size)
  return snappy().uncompressSync(block) as Buffer
}

// LZ4: frame descriptor (flags, largest block size, optional content size and dictionary id, checksum), then blocks
// of a little-endian length, whose top bit says "stored". A block holds at most the largest block size, which may
// be 4 MiB; where that is too rough a guess the block itself tells.

function lz4BytesMax(bytes: Buffer, bytesMax: number): number {
  if (bytes.length < 7 || bytes.readUInt32LE(0) !== 0x184d2204) throw new CompressionError('lz4: not a frame')
  const flags = bytes[4] as number
  const sizeCode = ((bytes[5] as number) >> 4) & 7
  if (sizeCode < 4) throw new CompressionError(`lz4: block size code ${sizeCode}`)
  const blockMax = 1 << (8 + 2 * sizeCode)
  const checksumBytes = (flags & 16) !== 0 ? 4 : 0
  let at = 7 + ((flags & 8) !== 0 ? 8 : 0) + ((flags & 1) !== 0 ? 4 : 0)
  let total = 0
  for (;;) {
    if (at + 4 > bytes.length) throw new CompressionError('lz4: the frame has no end')
    const word = bytes.readUInt32LE(at)
    if (word === 0) return total
    const length = word & 0x7fffffff
    if (length > blockMax) throw new CompressionError(`lz4: a block of ${length} bytes`)
    const isStored = word !== length
    const guess = isStored ? length : Math.min(blockMax, length * 255)
    total += total + guess > bytesMax && !isStored ? lz4BlockBytes(bytes, at + 4, at + 4 + length) : guess
    if (total > bytesMax) return total
    at += 4 + length + checksumBytes
  }
}

/** What a block decompresses to, from its sequences alone: token, literals, distance, match. */
function lz4BlockBytes(bytes: Buffer, start: number, end: number): number {
  let total = 0
  let at = start
  const extended = (nibble: number): number => {
    let length = nibble
    if (nibble < 15) return length
    for (let byte = 255; byte === 255 && at < end; ) {
      byte = bytes[at++] as number
      length += byte
    }
    return length
  }
  while (at < end) {
    const token = bytes[at++] as number
    const literals = extended(token >> 4)
    total += literals
    at += literals
    if (at >= end) break
    at += 2
    total += extended(token & 15) + 4
  }
  return total
}

// Zstandard: a frame header, then blocks with a 3-byte header: last, type, size. Stored and run blocks say their
// size; a compressed block gives at most the window or 128 KiB. Streams such as Java's carry no content size.

const zstdBlockBytesMax = 131_072

/** Frame by frame: Node's own decoder ends, in silence, after the first. */
function zstdUnframe(bytes: Buffer, bytesMax: number): Buffer {
  const frames: { readonly start: number; readonly end: number }[] = []
  let total = 0
  let at = 0
  do {
    if (at + 6 > bytes.length) throw new CompressionError('zstd: the frame is cut off')
    const start = at
    const magic = bytes.readUInt32LE(at)
    if (magic >>> 4 === 0x184d2a5) {
      if (at + 8 > bytes.length) throw new CompressionError('zstd: the frame is cut off')
      at += 8 + bytes.readUInt32LE(at + 4)
      continue
    }
    if (magic !== 0xfd2fb528) throw new CompressionError('zstd: not a frame')
    const descriptor = bytes[at + 4] as number
    const single = (descriptor & 32) !== 0
    const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] as number
    at += 5 + (single ? 0 : 1) + ([0, 1, 2, 4][descriptor & 3] as number)
    if (at + sizeBytes > bytes.length) throw new CompressionError('zstd: the frame is cut off')
    // A decoder may allocate what the frame claims, so the claim counts as well.
    refuseAbove(bytesMax, claimedBytes(bytes, at, sizeBytes))
    at += sizeBytes
    for (let last = false; !last; ) {
      if (at + 3 > bytes.length) throw new CompressionError('zstd: the frame is cut off')
      const header = bytes.readUIntLE(at, 3)
      last = (header & 1) !== 0
      const type = (header >> 1) & 3
      const size = header >> 3
      total += type === 2 ? zstdBlockBytesMax : size
      at += 3 + (type === 1 ? 1 : size)
    }
    if ((descriptor & 4) !== 0) at += 4
    if (at > bytes.length) throw new CompressionError('zstd: the frame is cut off')
    frames.push({ start, end: at })
  } while (at < bytes.length)
  refuseAbove(bytesMax, total)
  const parts = frames.map(({ start, end }) => zstd().decompress(bytes.subarray(start, end), bytesMax))
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
}

function claimedBytes(bytes: Buffer, at: number, sizeBytes: number): number {
  if (sizeBytes === 0) return 0
  return sizeBytes === 8 ? Number(bytes.readBigUInt64LE(at)) : bytes.readUIntLE(at, sizeBytes)
}

type Zstd = { compress(bytes: Buffer): Buffer; decompress(bytes: Buffer, bytesMax: number): Buffer }

/** What newer versions of Node have, and the types of the oldest supported one don't. */
type ZstdOfNode = {
  readonly zstdCompressSync?: (bytes: Buffer) => Buffer
  readonly zstdDecompressSync?: (bytes: Buffer, options: { readonly maxOutputLength: number }) => Buffer
}

type ZstdBinding = {
  readonly Encoder: new (level: number) => { encodeSync(bytes: Buffer): Buffer }
  readonly Decoder: new () => { decodeSync(bytes: Buffer): Buffer }
}

let loadedZstd: Zstd | undefined

function zstd(): Zstd {
  loadedZstd ??= loadZstd()
  return loadedZstd
}

function loadZstd(): Zstd {
  const { zstdCompressSync, zstdDecompressSync } = zlib as ZstdOfNode
  if (zstdCompressSync !== undefined && zstdDecompressSync !== undefined) {
    return {
      compress: (bytes) => zstdCompressSync(bytes),
      decompress: (bytes, bytesMax) => zstdDecompressSync(bytes, { maxOutputLength: bytesMax }),
    }
  }
  const binding = require('@toondepauw/node-zstd') as ZstdBinding
  const encoder = new binding.Encoder(3)
  const decoder = new binding.Decoder()
  return { compress: (bytes) => encoder.encodeSync(bytes), decompress: (bytes) => decoder.decodeSync(bytes) }
}
