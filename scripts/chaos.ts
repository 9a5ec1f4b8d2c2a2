/**
 * `npm run chaos -- --minutes M --seed S [--brokers LIST]`: see test/chaos/chaos.ts. Without brokers it starts a real
 * Kafka of its own, and restarts that, too. Prints what happens on the standard error and one line of JSON at the end.
 */
import { parseArgs } from 'node:util'
import { runChaos } from '../test/chaos/chaos.ts'
import { startKafka } from '../test/kafka/launcher.ts'

const { values } = parseArgs({
  options: { minutes: { type: 'string' }, seed: { type: 'string' }, brokers: { type: 'string' } },
})
const minutes = Number(values.minutes ?? 2)
const seed = Number(values.seed ?? Date.now() % 100_000)
const say = (line: string) => process.stderr.write(`${line}\n`)
const kafka = values.brokers === undefined ? await startKafka({ brokers: 1 }) : null
try {
  const result = await runChaos({
    minutes,
    seed,
    brokers: values.brokers ?? (kafka?.address as string),
    ...(kafka === null
      ? {}
      : {
          restartBroker: async () => {
            await kafka.kill(1)
            await kafka.restart(1)
          },
        }),
    say,
  })
  process.stdout.write(`${JSON.stringify(result)}\n`)
  process.exitCode = result.duplicates + result.losses === 0 ? 0 : 1
} finally {
  await kafka?.stop()
}
