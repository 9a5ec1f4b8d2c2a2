import { expect, test } from 'vitest'
import { allHooks } from '../../src/runtime/hooks.ts'

test('hooks: a watcher that throws is left out of the call, never of the work', () => {
  const seen: string[] = []
  const one = allHooks([
    {
      commitFailed: () => {
        throw new Error('a metric is broken')
      },
    },
  ])
  expect(() => one.commitFailed?.('thread-1', 'UNEXPECTED')).not.toThrow()
  const two = allHooks([
    {
      commitFailed: () => {
        throw new Error('a metric is broken')
      },
    },
    { commitFailed: (thread) => void seen.push(thread) },
  ])
  two.commitFailed?.('thread-1', 'UNEXPECTED')
  expect(seen).toEqual(['thread-1'])
  expect(allHooks([]).batch).toBeUndefined()
})
