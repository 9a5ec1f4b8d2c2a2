/** The client on Apache Kafka. */
import { clientContract } from '../contract/client.ts'

clientContract('Apache Kafka', async () => ({ brokers: (process.env['KAFKA_BROKERS'] ?? '').split(',') }))
