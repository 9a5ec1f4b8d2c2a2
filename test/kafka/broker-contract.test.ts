/** Apache Kafka does what the contract says, so the contract is right. */
import { brokerContract } from '../contract/broker.ts'
import { startKafka } from './launcher.ts'

const atHand = async () => ({
  address: (process.env['KAFKA_BROKERS'] ?? '').split(',')[0] ?? '',
  stop: async () => {},
})

brokerContract('Apache Kafka', atHand, { isEmbedded: false })

const older = () => startKafka({ version: '3.9.1', heap: '512m' })

brokerContract('Apache Kafka 3.9', older, { isEmbedded: false, isBefore4: true })
