import { afterAll, beforeAll } from 'vitest'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { sameOutput } from '../contract/same-output.ts'

let kafka: EmbeddedKafka
beforeAll(async () => {
  kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
})
afterAll(() => kafka.stop())

sameOutput('embedded Kafka', () => kafka.address)
