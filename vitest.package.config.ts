import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/package/pack.test.ts', 'test/package/dockerfile.test.ts'],
    pool: 'forks',
    testTimeout: 120_000,
    hookTimeout: 300_000,
  },
})
