/** Batches as the builder writes them, read back by the cursor; and what a broker may put in the way. */
import { crc32c } from '@node-rs/crc32'
import { describe, expect, test } from 'vitest'
import { StreamsError } from '../../src/base/errors.ts'
import { type Headers, noHeaders } from '../../src/base/headers.ts'
import { BatchBuilder, encodeBatch, writeInt64 } from '../../src/wire/batch-builder.ts'
import { codecs } from '../../src/wire/compression.ts'
import { type AbortedTransaction, BatchCursor, batchFlags, batchLayout } from '../../src/wire/record-batch.ts'

type Plain = { timestamp: number; key: string | null; value: string | null; headers?: Headers }

function batchOf(
  baseOffset: number,
  records: readonly Plain[],
  change: (batch: Buffer) => void = () => {},
): Buffer {
  const batch = encodeBatch(
    records.map(({ timestamp, key, value, headers }) => ({
      timestamp,
      key: key === null ? null : Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
      headers: headers ?? noHeaders,
    })),
  )
  return patched(batch, (bytes) => {
    writeInt64(bytes, batchLayout.baseOffset, baseOffset)
    change(bytes)
  })
}

/** Changes bytes of a batch and makes its checksum right again. */
function patched(batch: Buffer, change: (batch: Buffer) => void): Buffer {
  const copy = Buffer.from(batch)
  change(copy)
  copy.writeUInt32BE(crc32c(copy.subarray(batchLayout.attributes)), batchLayout.crc)
  return copy
}

function controlBatch(offset: number, producerId: number, type: 'abort' | 'commit'): Buffer {
  const key = Buffer.from([0, 0, 0, type === 'abort' ? 0 : 1])
  return patched(encodeBatch([{ timestamp: 1, key, value: Buffer.alloc(6) }]), (batch) => {
    writeInt64(batch, batchLayout.baseOffset, offset)
    writeInt64(batch, batchLayout.producerId, producerId)
    batch.writeInt16BE(batchFlags.control | batchFlags.transactional, batchLayout.attributes)
  })
}

function transactional(offset: number, producerId: number, values: readonly string[]): Buffer {
  const records = values.map((value) => ({ timestamp: 1, key: null, value }))
  return batchOf(offset, records, (batch) => {
    writeInt64(batch, batchLayout.producerId, producerId)
    batch.writeInt16BE(batchFlags.transactional, batchLayout.attributes)
  })
}

function cursorOver(
  bytes: Buffer,
  {
    fromOffset = 0,
    aborted = null,
    batchBytesMax = 1 << 20,
  }: { fromOffset?: number; aborted?: AbortedTransaction[] | null; batchBytesMax?: number } = {},
): BatchCursor {
  // Other bytes around those of the partition: nothing may be read from them.
  const buffer = Buffer.concat([Buffer.alloc(5, 0xff), bytes, Buffer.alloc(70, 0xff)])
  const end = 5 + bytes.length
  return new BatchCursor({
    topic: 'orders',
    partition: 3,
    buffer,
    start: 5,
    end,
    fromOffset,
    aborted,
    batchBytesMax,
  })
}

function read(
  cursor: BatchCursor,
): { offset: number; timestamp: number; key: string | null; value: string | null; headers: Headers }[] {
  const records = []
  while (cursor.next()) {
    const { offset, timestamp, buffer } = cursor
    records.push({
      offset,
      timestamp,
      key: cursor.keyStart < 0 ? null : buffer.toString('utf8', cursor.keyStart, cursor.keyEnd),
      value: cursor.valueStart < 0 ? null : buffer.toString('utf8', cursor.valueStart, cursor.valueEnd),
      headers: cursor.headers(),
    })
  }
  return records
}

function failure(run: () => unknown): StreamsError {
  try {
    run()
  } catch (error) {
    if (error instanceof StreamsError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

const plain: Plain[] = [
  { timestamp: 1_700_000_000_000, key: 'a', value: 'one' },
  {
    timestamp: 1_700_000_000_500,
    key: null,
    value: 'a value of more than twenty-four bytes, copied by a call',
  },
  { timestamp: 1_600_000_000_000, key: '', value: null },
  {
    timestamp: -1,
    key: 'ключ',
    value: '',
    headers: [
      { key: 'trace', value: Buffer.from([0, 255]) },
      { key: 'trace', value: null },
      { key: 'ü', value: Buffer.alloc(300, 7) },
    ],
  },
]

describe('record batch', () => {
  test.each(codecs)('what the builder wrote is read back, codec %s', (codec) => {
    const records = plain.map((record) => ({
      timestamp: record.timestamp,
      key: record.key === null ? null : Buffer.from(record.key),
      value: record.value === null ? null : Buffer.from(record.value),
      headers: record.headers ?? noHeaders,
    }))
    const cursor = cursorOver(encodeBatch(records, codec))
    expect(read(cursor)).toEqual(plain.map((record, offset) => ({ headers: noHeaders, ...record, offset })))
    expect(cursor.nextOffset).toBe(4)
  })

  test.each([
    0,
    63,
    64,
    -64,
    -65,
    8191,
    8192,
    2 ** 30 - 1,
    2 ** 30,
    -(2 ** 30),
    2 ** 31,
    2 ** 40,
    -(2 ** 40),
    2 ** 52,
    -(2 ** 52),
    2 ** 53 - 1,
  ])('a timestamp %d away from the first survives', (delta) => {
    const records = [0, delta].map((timestamp) => ({ timestamp, key: null, value: 'x' }))
    expect(read(cursorOver(batchOf(0, records))).map((record) => record.timestamp)).toEqual([0, delta])
  })

  test('a timestamp that is no safe integer reads as NaN, the record is given', () => {
    const batch = batchOf(0, [{ timestamp: 0, key: null, value: 'x' }], (bytes) => {
      bytes.writeBigInt64BE(2n ** 63n - 1n, batchLayout.baseTimestamp)
    })
    expect(read(cursorOver(batch)).map((record) => record.timestamp)).toEqual([Number.NaN])
  })

  test('log-append time: every record has the largest timestamp of its batch', () => {
    const batch = batchOf(0, plain, (bytes) => {
      bytes.writeInt16BE(batchFlags.logAppendTime, batchLayout.attributes)
      writeInt64(bytes, batchLayout.maxTimestamp, 1234)
    })
    expect(new Set(read(cursorOver(batch)).map((record) => record.timestamp))).toEqual(new Set([1234]))
  })

  test('a fetch from the middle of a batch, records before it are passed over', () => {
    const bytes = Buffer.concat([batchOf(0, plain), batchOf(4, plain), batchOf(8, plain)])
    expect(read(cursorOver(bytes, { fromOffset: 6 })).map((record) => record.offset)).toEqual([
      6, 7, 8, 9, 10, 11,
    ])
  })

  test('positions: behind each record, behind a batch whose last records were compacted away', () => {
    const gap = batchOf(10, plain, (bytes) => bytes.writeInt32BE(9, batchLayout.lastOffsetDelta))
    const cursor = cursorOver(Buffer.concat([gap, batchOf(20, plain.slice(0, 1))]), { fromOffset: 7 })
    const positions = [cursor.nextOffset]
    while (cursor.next()) positions.push(cursor.nextOffset)
    expect(positions).toEqual([7, 11, 12, 13, 20, 21])
  })

  test('a batch that compaction emptied moves the position only', () => {
    const empty = patched(batchOf(0, plain.slice(0, 1)).subarray(0, batchLayout.records), (bytes) => {
      bytes.writeInt32BE(batchLayout.records - batchLayout.afterLength, batchLayout.length)
      bytes.writeInt32BE(5, batchLayout.lastOffsetDelta)
      bytes.writeInt32BE(0, batchLayout.count)
    })
    const cursor = cursorOver(empty)
    expect(cursor.next()).toBe(false)
    expect(cursor.nextOffset).toBe(6)
  })

  test('a response that ends inside a batch, the cut one is left to the next fetch', () => {
    const [first, second] = [batchOf(0, plain), batchOf(4, plain)]
    for (let cut = 0; cut < second.length; cut++) {
      const cursor = cursorOver(Buffer.concat([first, second.subarray(0, cut)]))
      expect(read(cursor)).toHaveLength(4)
      expect(cursor.nextOffset).toBe(4)
    }
  })
})

describe('transactions', () => {
  const log = Buffer.concat([
    transactional(0, 1, ['committed']),
    transactional(1, 2, ['aborted']),
    batchOf(2, [{ timestamp: 1, key: null, value: 'plain' }]),
    controlBatch(3, 1, 'commit'),
    controlBatch(4, 2, 'abort'),
    transactional(5, 2, ['committed later']),
    controlBatch(6, 2, 'commit'),
  ])

  test('read committed: aborted data is passed over, until the abort marker of its producer', () => {
    const cursor = cursorOver(log, { aborted: [{ producerId: 2, firstOffset: 1 }] })
    expect(read(cursor).map((record) => record.value)).toEqual(['committed', 'plain', 'committed later'])
    expect(cursor.nextOffset).toBe(7)
  })

  test('read uncommitted: all data, no control record', () => {
    const values = read(cursorOver(log)).map((record) => record.value)
    expect(values).toEqual(['committed', 'aborted', 'plain', 'committed later'])
  })

  test('two aborted transactions of one producer, in any order in the list', () => {
    const bytes = Buffer.concat([
      transactional(0, 9, ['a']),
      controlBatch(1, 9, 'abort'),
      transactional(2, 9, ['b']),
      controlBatch(3, 9, 'commit'),
      transactional(4, 9, ['c']),
      controlBatch(5, 9, 'abort'),
    ])
    const aborted = [4, 0].map((firstOffset) => ({ producerId: 9, firstOffset }))
    expect(read(cursorOver(bytes, { aborted })).map((record) => record.value)).toEqual(['b'])
  })

  test('the position stands behind void data and markers only once next() passed them', () => {
    const cursor = cursorOver(log, { aborted: [{ producerId: 2, firstOffset: 1 }] })
    const positions = []
    while (cursor.next()) positions.push(cursor.nextOffset)
    positions.push(cursor.nextOffset)
    expect(positions).toEqual([1, 3, 6, 7])
  })
})

describe('bad input', () => {
  const good = batchOf(0, plain)
  const at = batchLayout

  test.each<[string, Buffer, string]>([
    ['a flipped bit', withByte(good, 80, good[80]! ^ 1), 'checksum'],
    ['a wrong checksum', withByte(good, at.crc, good[at.crc]! ^ 1), 'checksum'],
    ['a negative length', patched(good, (bytes) => bytes.writeInt32BE(-1, at.length)), 'length -1'],
    [
      'a length shorter than the header',
      patched(good, (bytes) => bytes.writeInt32BE(10, at.length)),
      'length 10',
    ],
    [
      'a length beyond the response',
      patched(good, (bytes) => bytes.writeInt32BE(1 << 30, at.length)),
      'no whole batch',
    ],
    ['a first batch that is cut off', good.subarray(0, good.length - 1), 'no whole batch'],
    ['a few stray bytes', good.subarray(0, 3), 'no whole batch'],
    ['a negative base offset', patched(good, (bytes) => writeInt64(bytes, 0, -1)), 'base offset -1'],
    ['a negative count', patched(good, (bytes) => bytes.writeInt32BE(-5, at.count)), '-5 records'],
    ['a count too large', patched(good, (bytes) => bytes.writeInt32BE(0x7fffffff, at.count)), 'length'],
    ['a count too small', patched(good, (bytes) => bytes.writeInt32BE(1, at.count)), 'left over'],
    ['a count of none', patched(good, (bytes) => bytes.writeInt32BE(0, at.count)), 'no records'],
    [
      'a last offset too small',
      patched(good, (bytes) => bytes.writeInt32BE(1, at.lastOffsetDelta)),
      'offset 2',
    ],
    [
      'a negative last offset',
      patched(good, (bytes) => bytes.writeInt32BE(-1, at.lastOffsetDelta)),
      'ends -1',
    ],
    ['a record length without end', patched(good, (bytes) => bytes.fill(0xff, at.records)), 'length'],
    ['a negative record length', patched(good, (bytes) => bytes.writeUInt8(1, at.records)), 'length is -1'],
    [
      'a key beyond the record',
      patched(good, (bytes) => bytes.writeUInt8(126, at.records + 4)),
      'key length 63',
    ],
    ['a key length of -2', patched(good, (bytes) => bytes.writeUInt8(3, at.records + 4)), 'key length -2'],
    ['an offset that goes back', patched(good, (bytes) => bytes.writeUInt8(1, at.records + 3)), 'offset -1'],
    ['compressed nonsense', patched(good, (bytes) => bytes.writeInt16BE(1, at.attributes)), 'gzip'],
    ['nonsense as snappy', patched(good, (bytes) => bytes.writeInt16BE(2, at.attributes)), 'snappy'],
    ['nonsense as lz4', patched(good, (bytes) => bytes.writeInt16BE(3, at.attributes)), 'lz4'],
    ['nonsense as zstd', patched(good, (bytes) => bytes.writeInt16BE(4, at.attributes)), 'zstd'],
  ])('%s is an error that names topic, partition and offset', (_name, bytes, says) => {
    const cursor = cursorOver(bytes)
    const error = failure(() => read(cursor))
    expect(error.code).toBe('BATCH_CORRUPT')
    expect(error.message).toContain('orders-3 at offset ')
    expect(error.message).toContain(says)
    expect(error.about).toMatchObject({ topic: 'orders', partition: 3, offset: cursor.nextOffset })
    expect(failure(() => read(cursor)).message).toBe(error.message)
  })

  test.each([
    [0, 'message format 0'],
    [1, 'message format 1'],
    [3, 'magic 3'],
    [255, 'magic 255'],
  ])('magic %d is refused by name', (magic, says) => {
    const error = failure(() => read(cursorOver(withByte(good, at.magic, magic))))
    expect(error.code).toBe('BATCH_UNSUPPORTED')
    expect(error.message).toContain(says)
  })

  test('a codec of the future is refused by its number', () => {
    const error = failure(() =>
      read(cursorOver(patched(good, (bytes) => bytes.writeInt16BE(7, at.attributes)))),
    )
    expect(error).toMatchObject({ code: 'BATCH_UNSUPPORTED' })
    expect(error.message).toContain('compression 7')
  })

  test('the error is at the bad record, those before it are given', () => {
    const second = batchOf(4, plain)
    const cursor = cursorOver(Buffer.concat([good, withByte(second, 90, second[90]! ^ 4)]))
    for (let index = 0; index < 4; index++) expect(cursor.next()).toBe(true)
    expect(failure(() => cursor.next()).about.offset).toBe(4)
  })

  test.each(codecs.slice(1))('a bomb in %s is refused before it is allocated', (codec) => {
    const bomb = encodeBatch([{ timestamp: 0, key: null, value: Buffer.alloc(64 << 20) }], codec)
    const before = process.memoryUsage().rss
    const error = failure(() => read(cursorOver(bomb)))
    expect(error.code).toBe('BATCH_TOO_LARGE')
    expect(error.message).toContain(codec)
    expect(process.memoryUsage().rss - before).toBeLessThan(32 << 20)
  })

  test('a batch that goes back behind the one before it is an error', () => {
    const cursor = cursorOver(Buffer.concat([good, batchOf(3, plain)]))
    for (let index = 0; index < 4; index++) expect(cursor.next()).toBe(true)
    expect(failure(() => cursor.next()).message).toContain('goes back to offset 3, 4 or later is due')
  })

  test('headers that run beyond their record are an error when asked for', () => {
    const withHeader = batchOf(0, [
      { timestamp: 0, key: null, value: '', headers: [{ key: 'k', value: Buffer.from('v') }] },
    ])
    const cursor = cursorOver(patched(withHeader, (bytes) => bytes.writeUInt8(126, bytes.length - 2)))
    expect(cursor.next()).toBe(true)
    const error = failure(() => cursor.headers())
    expect(error).toMatchObject({ code: 'BATCH_CORRUPT', about: { offset: 0 } })
  })

  function withByte(bytes: Buffer, index: number, value: number): Buffer {
    const copy = Buffer.from(bytes)
    copy[index] = value
    return copy
  }
})

describe('batch builder', () => {
  test('a record that would pass the limit is not appended, and nothing has changed', () => {
    const builder = new BatchBuilder(200)
    const value = Buffer.alloc(60, 1)
    expect(builder.append(1, null, 0, 0, value, 0, 60, noHeaders)).toBe(true)
    expect(builder.append(2, null, 0, 0, value, 0, 60, noHeaders)).toBe(true)
    const { bytes, count, maxTimestamp } = builder
    expect(builder.append(3, null, 0, 0, value, 0, 60, noHeaders)).toBe(false)
    expect(builder).toMatchObject({ bytes, count, maxTimestamp })
    expect(bytes).toBeLessThanOrEqual(200)
    expect(read(cursorOver(builder.seal(-1, -1, -1, false)))).toHaveLength(2)
  })

  test('a record above the limit gets a batch of its own', () => {
    const builder = new BatchBuilder(200)
    expect(builder.append(1, null, 0, 0, Buffer.alloc(5000), 0, 5000, noHeaders)).toBe(true)
    expect(read(cursorOver(builder.seal(-1, -1, -1, false)))).toHaveLength(1)
  })

  test('ranges of appended records hold as the batch grows', () => {
    const builder = new BatchBuilder(1 << 20, 64)
    const source = Buffer.from('..key..value..')
    const ranges: number[][] = []
    for (let index = 0; index < 1000; index++) {
      builder.append(index, source, 2, 5, source, 7, 12, noHeaders)
      ranges.push([builder.keyStart, builder.keyEnd, builder.valueStart, builder.valueEnd])
    }
    builder.seal(1, 2, 3, true)
    for (const [keyStart, keyEnd, valueStart, valueEnd] of ranges) {
      expect(builder.buffer.toString('utf8', keyStart, keyEnd)).toBe('key')
      expect(builder.buffer.toString('utf8', valueStart, valueEnd)).toBe('value')
    }
  })

  test('sealing writes producer, epoch, sequence and the transactional flag; again with others', () => {
    const builder = new BatchBuilder()
    builder.append(1, null, 0, 0, null, 0, 0, noHeaders)
    for (const [producerId, epoch, sequence, flag] of [
      [4_294_967_297, 7, 99, true],
      [5, 8, 0, false],
    ] as const) {
      const batch = builder.seal(producerId, epoch, sequence, flag)
      expect(Number(batch.readBigInt64BE(batchLayout.producerId))).toBe(producerId)
      expect(batch.readInt16BE(batchLayout.producerEpoch)).toBe(epoch)
      expect(batch.readInt32BE(batchLayout.baseSequence)).toBe(sequence)
      expect(batch.readInt16BE(batchLayout.attributes)).toBe(flag ? batchFlags.transactional : 0)
      expect(read(cursorOver(batch))).toHaveLength(1)
    }
  })

  test('after reset the memory is used again', () => {
    const builder = new BatchBuilder()
    builder.append(9, null, 0, 0, null, 0, 0, noHeaders)
    const { buffer } = builder
    builder.reset()
    expect(builder).toMatchObject({ count: 0, bytes: batchLayout.records, buffer })
    builder.append(3, null, 0, 0, null, 0, 0, noHeaders)
    expect(read(cursorOver(builder.seal(-1, -1, -1, false))).map((record) => record.timestamp)).toEqual([3])
  })
})
