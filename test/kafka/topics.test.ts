/** Internal topics and the memory of the topology, on Apache Kafka. */
import { topicsOnBroker } from '../runtime/topics-on-broker.ts'

topicsOnBroker('Apache Kafka', async () => ({ brokers: (process.env['KAFKA_BROKERS'] ?? '').split(',') }))
