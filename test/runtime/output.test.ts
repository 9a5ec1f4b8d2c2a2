/** The open batches of a stream thread. */
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { Output } from '../../src/runtime/output.ts'

test.each([{ bytes: 28 }, { bytes: 200 }])(
  'output: a changelog batch that is nearly full, has room for $bytes bytes or is another one',
  ({ bytes }) => {
    const output = new Output(
      { partitionCount: async () => 1, batchBytesMax: 1_000, recordBytesMax: 10_000 },
      new Map(),
    )
    const record = Buffer.alloc(bytes)
    const keyEnd = bytes >> 1
    for (let count = 0; count < 200; count++) {
      const builder = output.changelog('changelog', 0, bytes)
      // Far apart, so that each record's time is at its longest.
      const time = count % 2 === 0 ? 0 : Number.MAX_SAFE_INTEGER
      expect(builder.append(time, record, 0, keyEnd, record, keyEnd, bytes, noHeaders)).toBe(true)
    }
    const { batches, records } = output.take()
    expect(records).toBe(200)
    expect(batches.length).toBeGreaterThan(1)
  },
)
