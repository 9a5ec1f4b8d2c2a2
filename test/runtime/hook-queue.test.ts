/** What a worker's watchers are told, on its way to the main thread. */
import { expect, test } from 'vitest'
import { HookQueue } from '../../src/runtime/hook-queue.ts'
import type { LagSeen } from '../../src/runtime/hooks.ts'
import type { HookCall } from '../../src/runtime/worker-protocol.ts'
import { ManualClock } from '../../src/testing/manual-clock.ts'

const lag = (partition: number, records: number): LagSeen => ({
  task: `0_${partition}`,
  topic: 'in',
  partition,
  records,
  position: 0,
  endOffset: records,
})

function queue() {
  const clock = new ManualClock(0)
  const sent: (readonly HookCall[])[] = []
  const calls = new HookQueue(['commitFailed', 'latency', 'lag'], clock, (some) => sent.push(some))
  return { clock, sent, calls }
}

test('hook queue: calls go over together, in order, and soon', () => {
  const { clock, sent, calls } = queue()
  calls.hooks.latency?.('0_0', 5)
  calls.hooks.commitFailed?.('thread-1', 'UNEXPECTED')
  calls.hooks.latency?.('0_0', 7)
  expect(sent).toEqual([])
  clock.advance(20)
  expect(sent).toEqual([
    [
      { name: 'latency', args: ['0_0', 5] },
      { name: 'commitFailed', args: ['thread-1', 'UNEXPECTED'] },
      { name: 'latency', args: ['0_0', 7] },
    ],
  ])
  clock.advance(1_000)
  expect(sent.length).toBe(1)
})

test('hook queue: of the lags of a partition only the last goes over', () => {
  const { sent, calls } = queue()
  for (let records = 9; records >= 0; records--) {
    calls.hooks.lag?.(lag(0, records))
    calls.hooks.lag?.(lag(1, records * 2))
  }
  calls.flush()
  expect(sent.flat().map(({ args }) => args[0])).toEqual([lag(0, 0), lag(1, 0)])
})

test('hook queue: what nobody listens to is no hook, and a flush of nothing sends nothing', () => {
  const { sent, calls } = queue()
  expect(calls.hooks.batch).toBeUndefined()
  calls.flush()
  expect(sent).toEqual([])
})

test('hook queue: a flood goes over without waiting for its time', () => {
  const { sent, calls } = queue()
  for (let age = 0; age < 2_500; age++) calls.hooks.latency?.('0_0', age)
  expect(sent.map((some) => some.length)).toEqual([1_000, 1_000])
  calls.flush()
  expect(sent.flat().map(({ args }) => args[1])).toEqual(Array.from({ length: 2_500 }, (_, age) => age))
})
