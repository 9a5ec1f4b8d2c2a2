/** The bar that `run` draws on a terminal while local state is restored. */
import { expect, test } from 'vitest'
import { RestoreBar } from '../../src/cli/restore-bar.ts'
import type { RestoreProgress } from '../../src/runtime/hooks.ts'

function bar() {
  const clock = { at: 0 }
  const written: string[] = []
  const made = new RestoreBar(
    (text) => written.push(text),
    () => clock.at,
  )
  const tell = (phase: RestoreProgress['phase'], offset: number, of: Partial<RestoreProgress> = {}) =>
    made.hooks.restore?.({
      task: '0_0',
      store: 'counts',
      topic: 'app-counts-changelog',
      partition: 0,
      phase,
      startOffset: 100,
      offset,
      endOffset: 1_100,
      records: 0,
      ...of,
    })
  return { clock, written, tell }
}

test('restore bar: stores together, how far and how long, and gone with the last', () => {
  const { clock, written, tell } = bar()
  tell('start', 100)
  tell('start', 0, { task: '0_1', startOffset: 0, endOffset: 3_000 })
  clock.at = 1_000
  tell('batch', 600)
  expect(written.at(-1)).toBe(
    `\r${'█'.repeat(3)}${'░'.repeat(21)} 12 % of 4,000 restored, 2 stores to go, 7 s left\u001b[K\r`,
  )
  // Not more often than five times a second.
  tell('batch', 700)
  expect(written.length).toBe(1)
  clock.at = 2_000
  tell('end', 1_100)
  expect(written.at(-1)).toMatch(/^\r█{6}░{18} 25 % of 4,000 restored, 1 store to go, 6 s left/)
  tell('end', 3_000, { task: '0_1', startOffset: 0, endOffset: 3_000 })
  expect(written.at(-1)).toBe('\r\u001b[K')
})

test('restore bar: a short restore and a standby draw nothing, one that is given up leaves nothing', () => {
  const { clock, written, tell } = bar()
  clock.at = 4_000
  tell('start', 100)
  clock.at = 4_100
  tell('batch', 600)
  tell('end', 1_100)
  clock.at = 5_000
  tell('start', 0, { endOffset: Number.POSITIVE_INFINITY })
  tell('batch', 10, { endOffset: Number.POSITIVE_INFINITY })
  expect(written).toEqual([])
  tell('start', 100)
  clock.at = 6_000
  tell('batch', 200)
  tell('suspended', 200)
  expect(written.at(-1)).toBe('\r\u001b[K')
})
