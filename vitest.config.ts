import { defineConfig } from 'vitest/config'

export default defineConfig({
  // Topologies name the package as users do; here they get its source.
  resolve: {
    alias: [
      { find: /^millrace$/, replacement: new URL('./src/index.ts', import.meta.url).pathname },
      {
        find: /^millrace\/testing$/,
        replacement: new URL('./src/testing/index.ts', import.meta.url).pathname,
      },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    // Those two need a real Kafka and a package registry: test:kafka, test:package.
    exclude: ['test/kafka/**', 'test/package/{pack,dockerfile}.test.ts', '**/node_modules/**'],
    pool: 'forks',
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
})
