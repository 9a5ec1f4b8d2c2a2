import { expect, test } from 'vitest'
import { UsualPartitions } from '../../src/runtime/usual-partitions.ts'

const at = (...partitions: number[]) => partitions.map((partition) => ({ topic: 'out', partition }))

test('what most of the last commits wrote to is usual, from its second commit on', () => {
  const usual = new UsualPartitions()
  usual.wrote(at(0, 1))
  expect([...usual]).toEqual([])
  usual.wrote(at(0, 1, 1))
  expect([...usual]).toEqual(at(0, 1))
  // Left out once it stays usual, as at few records a second; left out for long it does not.
  for (let commit = 0; commit < 10; commit++) usual.wrote(at(0, 1))
  usual.wrote(at(0))
  usual.wrote(at(0))
  expect([...usual]).toEqual(at(0, 1))
  usual.wrote(at(0))
  expect([...usual]).toEqual(at(0))
})

test('where each commit writes to a few of many partitions, none is usual', () => {
  const usual = new UsualPartitions()
  for (let commit = 0; commit < 1_000; commit++) {
    usual.wrote(at(commit % 100, (commit + 50) % 100))
    expect([...usual]).toEqual([])
  }
  // Twice in a row is enough; until it is missing.
  usual.wrote(at(7))
  usual.wrote(at(7))
  expect([...usual]).toEqual(at(7))
  usual.wrote(at(8))
  expect([...usual]).toEqual([])
})

test('partitions that left are forgotten', () => {
  const usual = new UsualPartitions()
  usual.wrote(at(0))
  usual.wrote(at(0))
  usual.clear()
  expect([...usual]).toEqual([])
  usual.wrote(at(0))
  expect([...usual]).toEqual([])
})
