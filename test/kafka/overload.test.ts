/** Fifteen seconds of overload. `npm run overload` is the same for minutes; docs/operations.md has its numbers. */
import { expect, test } from 'vitest'
import { runOverload } from '../overload/overload.ts'

const fetchBufferBytes = 8 << 20

test('overload: input ten times faster than it is processed waits in Kafka, not in memory, and all is counted', async () => {
  const result = await runOverload({
    seconds: 15,
    valueBytes: 10_000,
    brokers: process.env['KAFKA_BROKERS'] ?? '',
    config: { fetchBufferBytes },
  })
  console.log(JSON.stringify(result))
  expect(result.writtenBytes).toBeGreaterThan(20 * fetchBufferBytes)
  expect(result.processed).toBeLessThan(result.written / 5)
  expect(result).toMatchObject({ counted: result.written, wrongKeys: 0 })
  expect(result.mostRssBytes).toBeLessThan(300e6)
})
