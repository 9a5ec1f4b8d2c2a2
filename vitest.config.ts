import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Those two need a real Kafka and a package registry: test:kafka, test:package.
    exclude: ['test/kafka/**', 'test/package/pack.test.ts', '**/node_modules/**'],
    pool: 'forks',
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
})
