/** Apache Kafka does what the contract says, so the contract is right. */
import { brokerContract } from '../contract/broker.ts'
import { startKafka } from './launcher.ts'

brokerContract(
  'Apache Kafka',
  async () => ({ address: (process.env['KAFKA_BROKERS'] ?? '').split(',')[0] ?? '', stop: async () => {} }),
  { isEmbedded: false },
)

brokerContract('Apache Kafka 3.9', () => startKafka({ version: '3.9.1', heap: '512m' }), {
  isEmbedded: false,
})
