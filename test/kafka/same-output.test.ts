import { sameOutput } from '../contract/same-output.ts'

sameOutput('Apache Kafka', () => (process.env['KAFKA_BROKERS'] as string).split(',')[0] as string)
