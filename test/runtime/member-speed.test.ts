import { expect, test } from 'vitest'
import { MemberSpeed } from '../../src/runtime/member-speed.ts'
import type { TaskStatus } from '../../src/runtime/status.ts'

/** One thread that has processed so much, with so many records waiting. */
function thread(records: number, busyMs: number, waiting = 0) {
  const input = { topic: 'in', partition: 0, position: 100, endOffset: 100 + waiting }
  return [{ records, busyMs, tasks: [{ inputs: [input] } as unknown as TaskStatus] }]
}

test('member speed: the first moments of a process say nothing', () => {
  const speed = new MemberSpeed()
  speed.sample(thread(3, 400, 1_200))
  speed.sample(thread(500, 1_000, 1_200))
  expect([speed.perSecond, speed.behindMs]).toEqual([0, 0])
  speed.sample(thread(1_000, 2_000, 1_000))
  expect([speed.perSecond, speed.behindMs]).toEqual([500, 2_000])
})

test('member speed: what was long ago is forgotten, an idle member keeps what it had', () => {
  const speed = new MemberSpeed()
  let records = 0
  let busyMs = 0
  const run = (seconds: number, perSecond: number) => {
    for (let second = 0; second < seconds; second++) {
      records += perSecond
      busyMs += perSecond === 0 ? 0 : 1_000
      speed.sample(thread(records, busyMs, perSecond === 0 ? 0 : 300))
    }
  }
  run(20, 1_000)
  expect([speed.perSecond, speed.behindMs]).toEqual([1_000, 300])
  run(8, 50)
  expect([speed.perSecond, speed.behindMs]).toEqual([50, 6_000])
  run(20, 0)
  expect([speed.perSecond, speed.behindMs]).toEqual([50, 0])
})

test('member speed: a thread that was replaced starts anew', () => {
  const speed = new MemberSpeed()
  for (let second = 1; second <= 10; second++) speed.sample(thread(second * 100, second * 1_000))
  for (let second = 1; second <= 10; second++) speed.sample(thread(second * 10, second * 1_000))
  expect(speed.perSecond).toBe(10)
})

test('member speed: what was asked with is said until there is an answer', () => {
  const speed = new MemberSpeed()
  for (let second = 1; second <= 5; second++) speed.sample(thread(second * 10, second * 1_000, 105))
  expect(speed.saidBehindMs).toBe(10_500)
  speed.asked()
  speed.sample(thread(60, 6_000, 95))
  expect([speed.behindMs, speed.saidBehindMs]).toEqual([9_500, 10_500])
  speed.answered()
  expect(speed.saidBehindMs).toBe(9_500)
})
