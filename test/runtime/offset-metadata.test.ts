/** `fixtures/offset-metadata.json` is what Kafka Streams 4.3.0's own class wrote for these times and processors. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeOffsetMetadata,
  encodeOffsetMetadata,
  mergeProcessors,
} from '../../src/runtime/offset-metadata.ts'

type Recorded = { partitionTime: number; processors: [string, number][]; encoded: string }

const recorded = JSON.parse(
  readFileSync(fileURLToPath(new URL('./fixtures/offset-metadata.json', import.meta.url)), 'utf8'),
) as Recorded[]

test.each(recorded)('offset metadata: $processors.length processors, equal to what Java wrote', (row) => {
  const metadata = { partitionTime: row.partitionTime, processors: new Map(row.processors) }
  expect(encodeOffsetMetadata(metadata)).toBe(row.encoded)
  expect(decodeOffsetMetadata(row.encoded)).toEqual(metadata)
})

test('offset metadata: magic 1 of an older Kafka Streams, only the time is there', () => {
  const bytes = Buffer.alloc(9)
  bytes[0] = 1
  bytes.writeBigInt64BE(1700000000123n, 1)
  expect(decodeOffsetMetadata(bytes.toString('base64'))).toEqual({
    partitionTime: 1700000000123,
    processors: new Map(),
  })
})

test.each(['', 'hello world', 'AAAA', 'Av', 'Av//', '====', 'AwAAAYvP5Wh7', 'AgAAAYvP5Wh7/////w=='])(
  'offset metadata: %j of somebody else, reads as none',
  (text) => {
    expect(decodeOffsetMetadata(text)).toEqual({ partitionTime: -1, processors: new Map() })
  },
)

test('offset metadata: a time beyond the safe integers, reads as none', () => {
  const bytes = Buffer.alloc(9, 0x7f)
  bytes[0] = 2
  expect(decodeOffsetMetadata(bytes.toString('base64')).partitionTime).toBe(-1)
})

test('offset metadata: any bytes, never throws', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const read = decodeOffsetMetadata(Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 1, ...bytes]).toString('base64'))
      expect(read.partitionTime).toBeGreaterThanOrEqual(-1)
    }),
  )
})

test('offset metadata: two partitions of a task, the later time of each processor counts', () => {
  const merged = mergeProcessors([
    {
      partitionTime: 1,
      processors: new Map([
        ['a', 5],
        ['b', 2],
      ]),
    },
    {
      partitionTime: 2,
      processors: new Map([
        ['a', 3],
        ['c', 9],
      ]),
    },
  ])
  expect(merged).toEqual(
    new Map([
      ['a', 5],
      ['b', 2],
      ['c', 9],
    ]),
  )
})
