/** What the benchmark suite judges by: its checks of an output, and the order of the guarantees. */
import { expect, test } from 'vitest'
import { type Check, checkOf } from '../../bench/checks.ts'
import { startTime } from '../../bench/input.ts'
import { disorderOf } from '../../bench/plans.ts'
import { SystemProcess } from '../../bench/process.ts'
import { ended } from '../../bench/suite.ts'
import { noHeaders } from '../../src/base/headers.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'

function long(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt(value))
  return bytes
}

/** Records as a reader has them. */
function records(all: readonly (readonly [key: string, value: Buffer])[]): BatchCursor {
  const builder = new BatchBuilder()
  for (const [key, value] of all) {
    const bytes = Buffer.from(key)
    builder.append(startTime, bytes, 0, bytes.length, value, 0, value.length, noHeaders)
  }
  const buffer = builder.seal(-1, -1, -1, false, 'none')
  return new BatchCursor({
    buffer,
    start: 0,
    end: buffer.length,
    topic: 'in',
    partition: 0,
    fromOffset: 0,
    aborted: null,
  })
}

/** Of `times` records of one key. */
function repartitioned(times: number): Check {
  const check = checkOf('repartition', { records: times, keys: 10 })
  const input = records(Array.from({ length: times }, () => ['car-5', Buffer.from('{}')]))
  while (input.next()) check.input(0, input)
  check.seal()
  return check
}

function write(check: Check, ...counts: readonly number[]): void {
  const output = records(counts.map((count) => [`gr-5@${startTime}`, long(count)]))
  while (output.next()) check.output(output)
}

test('bench: a repartition that was cut short, what is still between is not missed and not rated', () => {
  const check = repartitioned(115)
  write(check, 1, 2, 73)
  expect(check.counted?.()).toBe(73)
  expect(check.verdict(true)).toBeNull()
  write(check, 73)
  expect(check.verdict(false)).toBe(`gr-5@${startTime} has 73, 115 was due`)
})

test('bench: a repartition that was cut short, a count that is too high is wrong all the same', () => {
  const check = repartitioned(3)
  write(check, 4)
  expect(check.verdict(true)).toBe(`gr-5@${startTime} has 4, no more than 3 was due`)
})

test.each([
  [{ at_most_once: 100, at_least_once: 100, exactly_once: 90 }, null],
  [{ at_most_once: 97, at_least_once: 100, exactly_once: 103 }, null],
  [{ at_least_once: 100, exactly_once: 90 }, null],
  [
    { at_most_once: 90, at_least_once: 100, exactly_once: 90 },
    'at_most_once (90/s) is slower than at_least_once (100/s)',
  ],
  [
    { at_most_once: 100, at_least_once: 80, exactly_once: 100 },
    'at_least_once (80/s) is slower than exactly_once (100/s)',
  ],
  [{ at_most_once: 100, at_least_once: 100, exactly_once: 79 }, 'exactly_once is under 0.8 of at_least_once'],
])('bench: the order of the guarantees, %j', (figures, note) => {
  expect(disorderOf(figures)).toBe(note)
})

test('bench: a measurement that does not end is failed in time, and its systems with it', async () => {
  const subject = new SystemProcess('sleeper', process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {})
  await expect(ended(subject.said(/never/, 60_000), 200)).rejects.toThrow('did not end within 0.2 s')
  await expect(subject.said(/never/, 60_000)).rejects.toThrow('ended')
})
