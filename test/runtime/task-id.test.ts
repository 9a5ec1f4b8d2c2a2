import { expect, test } from 'vitest'
import { compareTaskIds, formatTaskId, parseTaskId } from '../../src/runtime/task-id.ts'

test('task id: written and read, the same', () => {
  expect(formatTaskId(0, 1)).toBe('0_1')
  expect(parseTaskId('12_345')).toEqual({ subtopology: 12, partition: 345 })
})

test.each(['', '0', '0_', '_1', '0_1_2', '00_1', '0_-1', '0_1 ', 'a_b', 'x__0_1', '0_99999999999'])(
  'task id: %j, a typed error that names it',
  (text) => {
    expect(() => parseTaskId(text)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        message: expect.stringContaining(JSON.stringify(text)),
      }),
    )
  },
)

test('task id: sorted, by number and not by text', () => {
  expect(['1_0', '0_10', '10_0', '0_2', '2_1'].sort(compareTaskIds)).toEqual([
    '0_2',
    '0_10',
    '1_0',
    '2_1',
    '10_0',
  ])
})
