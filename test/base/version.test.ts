import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { version } from '../../src/base/version.ts'

test('version: the source and package.json agree', () => {
  const { version: packaged } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  ) as {
    version: string
  }
  expect(version).toBe(packaged)
})
