/** What users' tests need: `millrace/testing`, every name by hand. */
/// <reference types="node" preserve="true" />

export { type About, type ErrorCode, StreamsError, type Verdict } from '../base/errors.ts'
export type { ApiName, InterceptedRequest, Interception, Interceptor, Reaction } from '../broker/faults.ts'
export { EmbeddedKafka, type EmbeddedKafkaOptions, type KafkaRecord } from './embedded-kafka.ts'
export { type Generate, type GenerateContext, type GeneratedRecord, seededContext } from './generator.ts'
export {
  type CapturedForward,
  type CapturedPunctuator,
  type MockContextOptions,
  MockProcessorContext,
} from './mock-processor-context.ts'
export {
  type PipeOptions,
  TestInput,
  type TestInputOptions,
  TestOutput,
  type TestRecord,
} from './test-topics.ts'
export {
  type DriverMetrics,
  TopologyTestDriver,
  type TopologyTestDriverOptions,
} from './topology-test-driver.ts'
