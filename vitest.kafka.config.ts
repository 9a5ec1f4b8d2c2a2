import { defineConfig } from 'vitest/config'
import unit from './vitest.config.ts'

export default defineConfig({
  // As in the others, `millrace` is its source: nothing has to be built first.
  ...(unit.resolve && { resolve: unit.resolve }),
  test: {
    include: ['test/kafka/**/*.test.ts'],
    globalSetup: ['test/kafka/global-setup.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
