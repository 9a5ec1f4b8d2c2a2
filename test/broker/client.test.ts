/** The client on the embedded Kafka. */
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { clientContract } from '../contract/client.ts'

clientContract('the embedded Kafka', async () => {
  const kafka = await EmbeddedKafka.start()
  return { brokers: [kafka.address], stop: () => kafka.stop() }
})
