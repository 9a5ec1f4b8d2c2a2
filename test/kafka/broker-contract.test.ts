/** Apache Kafka does what the contract says, so the contract is right. */
import { brokerContract } from '../contract/broker.ts'

brokerContract(
  'Apache Kafka',
  async () => ({ address: (process.env['KAFKA_BROKERS'] ?? '').split(',')[0] ?? '', stop: async () => {} }),
  { isEmbedded: false },
)
