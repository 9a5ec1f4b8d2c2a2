/** The harness of the type tests: a message that lacks its word is found, and so is an error that is not there. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { checkMessages } from '../../scripts/type-messages.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(root, 'node_modules', '.types-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('type messages: right, wrong and missing errors, are told apart', () => {
  const lines = [
    'declare function count(name: string): void',
    '// @ts-expect-error: number, string',
    'count(1)',
    '// @ts-expect-error: groupByKey',
    'count(2)',
    '// @ts-expect-error: string',
    "count('three')",
    '// @ts-expect-error',
    'count(4)',
    'export {}',
  ]
  writeFileSync(join(folder, 'sample.test-d.ts'), lines.join('\n'))
  const { files, expected, wrong } = checkMessages(folder, root)
  expect({ files, expected }).toEqual({ files: 1, expected: 3 })
  expect(wrong).toEqual([
    expect.stringMatching(/sample\.test-d\.ts:5: the error does not say groupByKey:\n.*'number'.*'string'/),
    expect.stringMatching(/sample\.test-d\.ts:7: no error here/),
  ])
  expect(readdirSync(folder)).toEqual(['sample.test-d.ts'])
})
