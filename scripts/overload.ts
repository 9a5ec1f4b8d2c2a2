/**
 * `npm run overload -- [--minutes M] [--brokers LIST]`: see test/overload/overload.ts. Without brokers it starts a real
 * Kafka of its own. Prints what happens on the standard error and one line of JSON at the end.
 */
import { parseArgs } from 'node:util'
import { startKafka } from '../test/kafka/launcher.ts'
import { runOverload } from '../test/overload/overload.ts'

const { values } = parseArgs({ options: { minutes: { type: 'string' }, brokers: { type: 'string' } } })
// What docs/operations.md promises.
const rssBytesMax = 400e6
const kafka = values.brokers === undefined ? await startKafka({ brokers: 1 }) : null
try {
  const result = await runOverload({
    seconds: Number(values.minutes ?? 5) * 60,
    brokers: values.brokers ?? (kafka?.address as string),
    say: (line) => process.stderr.write(`${line}\n`),
  })
  process.stdout.write(`${JSON.stringify(result)}\n`)
  process.exitCode = result.wrongKeys === 0 && result.mostRssBytes < rssBytesMax ? 0 : 1
} finally {
  await kafka?.stop()
}
