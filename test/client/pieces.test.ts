/** The small parts of the client. */
import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { backoffMs, retrying } from '../../src/kafka/backoff.ts'
import { nextSequence } from '../../src/kafka/producer.ts'
import { isRefusal, refusal } from '../../src/kafka/refusal.ts'
import { ScatterWriter } from '../../src/kafka/scatter-writer.ts'

test('sequence: numbers of a partition wrap to 0 past the largest int32', () => {
  expect(nextSequence(0, 10)).toBe(10)
  expect(nextSequence(2 ** 31 - 1, 1)).toBe(0)
  expect(nextSequence(2 ** 31 - 3, 10)).toBe(7)
  expect(nextSequence(2 ** 31 - 2, 1)).toBe(2 ** 31 - 1)
})

test('back-off: milliseconds at first, half a second at most', () => {
  const waits = Array.from({ length: 60 }, (_, index) => backoffMs(index + 1))
  expect(Math.max(...waits.slice(0, 6))).toBeLessThanOrEqual(5)
  expect(Math.max(...waits)).toBeLessThanOrEqual(600)
  expect(Math.min(...waits)).toBeGreaterThanOrEqual(1)
  expect(Math.min(...waits.slice(40))).toBeGreaterThanOrEqual(400)
})

test('back-off: what can not work later is not tried again, what can is until the deadline', async () => {
  let tries = 0
  const attempt = (name: 'INVALID_CONFIG' | 'NOT_COORDINATOR') => async (): Promise<never> => {
    tries++
    throw refusal(name === 'INVALID_CONFIG' ? 40 : 16, 'try')
  }
  const deadline = Date.now() + 60
  const patience = { clock: systemClock, deadline: () => deadline }
  await expect(retrying(patience, attempt('INVALID_CONFIG'))).rejects.toSatisfy((error) =>
    isRefusal(error, 'INVALID_CONFIG'),
  )
  expect(tries).toBe(1)
  await expect(retrying(patience, attempt('NOT_COORDINATOR'))).rejects.toMatchObject({ verdict: 'retry' })
  expect(tries).toBeGreaterThan(5)
})

test.each([
  ['NONE', 0, 'stop'],
  ['NOT_LEADER_OR_FOLLOWER', 6, 'retry'],
  ['MESSAGE_TOO_LARGE', 10, 'skip'],
  ['ILLEGAL_GENERATION', 22, 'rejoin'],
  ['INVALID_TIMESTAMP', 32, 'skip'],
  ['OUT_OF_ORDER_SEQUENCE_NUMBER', 45, 'abort'],
  ['CONCURRENT_TRANSACTIONS', 51, 'retry'],
  ['UNSTABLE_OFFSET_COMMIT', 88, 'retry'],
  ['PRODUCER_FENCED', 90, 'rejoin'],
  ['unknown error code 999', 999, 'stop'],
])('refusal: %s has a verdict', (name, code, verdict) => {
  const error = refusal(code, 'do something', { topic: 't', text: 'why' })
  expect(error).toMatchObject({ verdict, about: { topic: 't', kafkaCode: code } })
  expect(error.message).toBe(`do something: ${name} (why)`)
})

test('scatter writer: large ranges stay where they are, the rest is put together', () => {
  const large = Buffer.alloc(5_000, 7)
  const to = new ScatterWriter(8)
  to.int32(1)
  to.range(large, 0, 5_000)
  to.utf8('between, and longer than the first buffer was')
  to.range(large, 10, 20)
  to.range(large, 1_000, 4_000)
  to.int8(9)
  const pieces = to.pieces()
  expect(pieces.map(({ length }) => length)).toEqual([4, 5_000, 55, 3_000, 1])
  expect(pieces[1]?.buffer).toBe(large.buffer)
  expect(to.size).toBe(8_060)
  const expected = Buffer.concat([
    Buffer.from([0, 0, 0, 1]),
    large,
    Buffer.from('between, and longer than the first buffer was'),
    large.subarray(10, 20),
    large.subarray(1_000, 4_000),
    Buffer.from([9]),
  ])
  expect(Buffer.concat(pieces).equals(expected)).toBe(true)
})
