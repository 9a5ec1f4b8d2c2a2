/** A few seconds of hostile input for each target; `FUZZ_SECONDS` for more, `SEED` for the same again. */
import { describe, expect, test } from 'vitest'
import { fuzz } from './fuzz.ts'
import { targets } from './targets.ts'

const seconds = Number(process.env['FUZZ_SECONDS'] ?? 3)
const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000_000)

describe('fuzz', () => {
  test.each(Object.keys(targets))(
    `%s: seed ${seed}, no promise is broken`,
    { timeout: seconds * 2000 + 10_000 },
    (name) => {
      const runs = fuzz(name, { seed, seconds: seconds / Object.keys(targets).length })
      expect(runs).toBeGreaterThan(100)
    },
  )
})
