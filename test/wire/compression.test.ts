/** The codecs beyond what a batch shows: other writers' frames, limits, and input that is none. */
import zlib from 'node:zlib'
import { compressSync as snappyRaw } from 'snappy'
import { describe, expect, test } from 'vitest'
import { type Codec, CompressionError, codecs, compress, decompress } from '../../src/wire/compression.ts'

const real = codecs.slice(1) as Codec[]
const text = Buffer.from('to be or not to be, '.repeat(20_000))
const noise = Buffer.from(
  Array.from({ length: 300_000 }, (_, index) => (Math.imul(index, 2654435761) >>> 13) & 255),
)

function failure(run: () => unknown): CompressionError {
  try {
    run()
  } catch (error) {
    if (error instanceof CompressionError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe.each(real)('%s', (codec) => {
  test.each([
    ['nothing', Buffer.alloc(0)],
    ['one byte', Buffer.from('x')],
    ['text', text],
    ['noise', noise],
    ['zeros', Buffer.alloc(1 << 20)],
  ])('%s comes back as it was', (_what, bytes) => {
    expect(decompress(codec, compress(codec, bytes), 2 << 20).equals(bytes)).toBe(true)
  })

  test('a limit that is just enough is enough, and one far below refuses', () => {
    const bytes = compress(codec, text)
    expect(decompress(codec, bytes, text.length + (128 << 10)).equals(text)).toBe(true)
    expect(failure(() => decompress(codec, bytes, 100_000)).tooLarge).toBe(true)
  })

  test('cut off anywhere it is an error, never less than was written', () => {
    const bytes = compress(codec, Buffer.from(text.subarray(0, 100_000)))
    for (let cut = 1; cut < bytes.length; cut += 1 + (bytes.length >> 6)) {
      expect(
        failure(() => decompress(codec, Buffer.from(bytes.subarray(0, bytes.length - cut)), 1 << 20)),
      ).toBeInstanceOf(CompressionError)
    }
  })
})

test('snappy: a raw block, as librdkafka writes it', () => {
  expect(decompress('snappy', snappyRaw(text), text.length).equals(text)).toBe(true)
})

test('snappy: a raw block that claims gigabytes is refused unseen', () => {
  const claim = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0])
  expect(failure(() => decompress('snappy', claim, 1 << 20))).toMatchObject({ tooLarge: true })
})

test('snappy: xerial blocks of 32 KiB, as Java writes them', () => {
  const parts: Buffer[] = [Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])]
  for (let at = 0; at < text.length; at += 32_768) {
    const block = snappyRaw(text.subarray(at, at + 32_768))
    const length = Buffer.alloc(4)
    length.writeInt32BE(block.length)
    parts.push(length, block)
  }
  expect(decompress('snappy', Buffer.concat(parts), text.length).equals(text)).toBe(true)
})

test('lz4: a limit within the largest block, the block tells its size', () => {
  const bytes = compress('lz4', text)
  expect(decompress('lz4', bytes, text.length).equals(text)).toBe(true)
  expect(failure(() => decompress('lz4', bytes, text.length - 1)).tooLarge).toBe(true)
})

test('zstd: a frame that claims gigabytes is refused unseen', () => {
  const claim = Buffer.from('28b52ffde0ffffffffff000000010000', 'hex')
  expect(failure(() => decompress('zstd', claim, 1 << 20)).tooLarge).toBe(true)
})

test('gzip: several members one after another', () => {
  const two = Buffer.concat([zlib.gzipSync('one '), zlib.gzipSync('two')])
  expect(decompress('gzip', two, 100).toString()).toBe('one two')
})

test('zstd: several frames one after another', () => {
  const two = Buffer.concat([compress('zstd', Buffer.from('one ')), compress('zstd', Buffer.from('two'))])
  expect(decompress('zstd', two, 1 << 20).toString()).toBe('one two')
})
