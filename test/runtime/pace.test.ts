/** When a thread commits. */
import { expect, test } from 'vitest'
import { CommitPace } from '../../src/runtime/pace.ts'

const settings = { intervalMs: 100, minIntervalMs: 10, markersPerSecondMax: 1_000 }

/** Commits that take so long each, one as soon as it may after the other; the waits from start to start. */
function waits(pace: CommitPace, tookMs: readonly number[], partitions = 1, start = 0): number[] {
  let now = start
  return tookMs.map((took) => {
    pace.started(now)
    pace.ended(now + took, partitions)
    const wait = pace.earliestAt - now
    now += wait
    return wait
  })
}

test('pace: quick commits follow each other at the least interval', () => {
  expect(waits(new CommitPace(settings, 0), [1, 2, 3, 1])).toEqual([10, 10, 10, 10])
})

test('pace: where commits are slow, a drained input waits three times as long, and no longer than the interval', () => {
  expect(waits(new CommitPace(settings, 0), [20, 20, 20])).toEqual([60, 60, 60])
  expect(waits(new CommitPace(settings, 0), [200, 200])).toEqual([100, 100])
})

test('pace: one slow commit among quick ones holds up little', () => {
  const [, , slow = 0, after = 0] = waits(new CommitPace(settings, 0), [4, 4, 40, 4])
  expect(slow).toBeGreaterThan(12)
  expect(slow).toBeLessThan(25)
  expect(after).toBeLessThan(slow)
})

test('pace: commits that stay slow are believed, and again when they are quick', () => {
  const paced = waits(new CommitPace(settings, 0), [4, ...new Array<number>(30).fill(25), 4, 4, 4, 4])
  expect(paced[30]).toBeGreaterThan(65)
  expect(paced.at(-1)).toBeLessThan(20)
})

test('pace: many partitions spare the broker their markers', () => {
  expect(waits(new CommitPace(settings, 0), [1, 1], 50)).toEqual([50, 50])
})

test('pace: without a least interval a drained input commits at once', () => {
  const pace = new CommitPace({ ...settings, minIntervalMs: 0 }, 0)
  expect(waits(pace, [20, 50], 400)).toEqual([0, 0])
})

test('pace: while a commit is in flight only the interval counts', () => {
  const pace = new CommitPace(settings, 0)
  pace.started(5)
  expect(pace.earliestAt).toBe(105)
  expect(pace.dueAt).toBe(105)
})

test('pace: a busy thread commits at the interval, and where slow commits write to many partitions, half of the time', () => {
  const pace = new CommitPace(settings, 0)
  const due = (tookMs: number, partitions: number): number => {
    const at = pace.dueAt
    pace.started(at)
    pace.ended(at + tookMs, partitions)
    return pace.dueAt - at
  }
  expect(due(20, 400)).toBe(100)
  // Of what is slow because it is large, fewer would be larger.
  for (let count = 0; count < 40; count++) expect(due(200, 10)).toBe(100)
  const slow = Array.from({ length: 40 }, () => due(200, 400))
  expect(slow.at(-1)).toBeGreaterThan(380)
  expect(slow.at(-1)).toBeLessThanOrEqual(400)
  // What comes in while nothing waits to be read need not wait so long.
  expect(pace.earliestAt).toBeLessThan(pace.dueAt)
})
