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

test('output: its bytes are those of the records since the last cut, over full batches and topics', () => {
  const output = new Output(
    { partitionCount: async () => 1, batchBytesMax: 1_000, recordBytesMax: 10_000 },
    new Map(),
  )
  const record = Buffer.alloc(100)
  const fill = (count: number) => {
    for (let index = 0; index < count; index++)
      output.append(`topic-${index % 2}`, index % 3, 0, record, 0, 20, record, 20, 100, noHeaders)
  }
  for (const count of [200, 1, 0, 50]) {
    fill(count)
    const { bytes } = output
    expect(bytes).toBeGreaterThanOrEqual(count * 100)
    expect(bytes).toBeLessThanOrEqual(count * 120)
    expect(output.take().records).toBe(count)
    expect(output.bytes).toBe(0)
  }
})

test('output: delivered batches are filled anew, those that state refers to never', () => {
  const output = new Output(
    { partitionCount: async () => 1, batchBytesMax: 1_000, recordBytesMax: 10_000 },
    new Map(),
  )
  const write = (text: string) => {
    const bytes = Buffer.from(text)
    output.append('out', 0, 1, null, 0, 0, bytes, 0, bytes.length, noHeaders)
    const builder = output.changelog('changelog', 0, bytes.length)
    builder.append(1, null, 0, 0, bytes, 0, bytes.length, noHeaders)
    return builder.buffer.subarray(builder.valueStart, builder.valueEnd)
  }
  const kept = write('first')
  const first = output.take()
  expect(first.batches.map(({ topic }) => topic)).toEqual(['out', 'changelog'])
  const [sent] = first.spare
  expect(first.spare).toEqual([first.batches[0]?.builder])
  // Not delivered yet: the next generation has memory of its own.
  write('second')
  const second = output.take()
  expect(second.spare).not.toContain(sent)
  output.reuse(first.spare)
  write('third')
  const third = output.take()
  expect(third.spare).toEqual([sent])
  expect(sent?.count).toBe(1)
  expect(String(sent?.buffer.subarray(sent.valueStart, sent.valueEnd))).toBe('third')
  expect(String(kept)).toBe('first')
})

test('output: no more than so many bytes are kept to be filled anew', () => {
  const output = new Output(
    { partitionCount: async () => 1, batchBytesMax: 1_000_000, recordBytesMax: 10_000_000 },
    new Map(),
  )
  const record = Buffer.alloc(900_000)
  const fill = () => {
    for (let count = 0; count < 40; count++)
      output.append('out', 0, 1, null, 0, 0, record, 0, record.length, noHeaders)
    return output.take().spare
  }
  const before = fill()
  output.reuse(before)
  const again = fill().filter((builder) => before.includes(builder))
  expect(again.length).toBeGreaterThan(5)
  expect(again.length).toBeLessThan(10)
})
