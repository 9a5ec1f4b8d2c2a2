/** The client on the oldest Apache Kafka that is promised. */
import { clientContract } from '../contract/client.ts'
import { startKafka } from './launcher.ts'

clientContract('Apache Kafka 3.9', async () => {
  const kafka = await startKafka({ version: '3.9.1' })
  return { brokers: [kafka.address], stop: kafka.stop }
})
