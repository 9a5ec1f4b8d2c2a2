import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { topicsOnBroker } from './topics-on-broker.ts'

topicsOnBroker('the embedded broker', async () => {
  const kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
  return { brokers: [kafka.address], stop: () => kafka.stop() }
})
