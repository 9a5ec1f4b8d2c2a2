/** The Kafka of a test run: `KAFKA_BROKERS` where it is set, else one that is started here and stopped at the end. */
import { startKafka } from './launcher.ts'

export default async function setup(): Promise<(() => Promise<void>) | undefined> {
  if (process.env['KAFKA_BROKERS']) return undefined
  const kafka = await startKafka()
  process.env['KAFKA_BROKERS'] = kafka.address
  return async () => {
    delete process.env['KAFKA_BROKERS']
    await kafka.stop()
  }
}
