import { expect, test } from 'vitest'
import type { DropReason } from '../../src/base/drop.ts'
import { Gauge } from '../../src/cli/gauge.ts'
import { droppedText } from '../../src/cli/view.ts'

test('gauge: dropped records, counted and with their reasons, the most frequent first', () => {
  const gauge = new Gauge(() => 0)
  expect(droppedText(gauge.sample())).toBe('0')
  const drop = (reason: DropReason) =>
    gauge.hooks.dropped?.({ reason, task: '0_0', node: 'n', topic: null, partition: 0, offset: 0 })
  drop('null-key')
  drop('expired-window')
  drop('expired-window')
  expect(droppedText(gauge.sample())).toBe('3 (expired-window, null-key)')
})
