/** The Kafka of a test run: `KAFKA_BROKERS` where it is set, else one that is started here and stopped at the end. */
import { kafkaJars, kafkaVersions } from './java.ts'
import { startKafka } from './launcher.ts'

export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  // Before any test, since what the first run on a machine fetches would not fit into a test's time.
  const fetched = (async () => {
    for (const version of kafkaVersions) await kafkaJars(version)
  })()
  if (process.env['KAFKA_BROKERS']) {
    // Tests against a given Kafka run without Java and Maven; those that need them say so.
    await fetched.catch(() => {})
    return undefined
  }
  await fetched
  const kafka = await startKafka()
  process.env['KAFKA_BROKERS'] = kafka.address
  return async () => {
    delete process.env['KAFKA_BROKERS']
    await kafka.stop()
  }
}
