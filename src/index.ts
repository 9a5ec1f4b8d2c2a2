/** Every public name of the package, by hand. */
// Public types name Buffer: whoever compiles against them gets Node's types with them.
/// <reference types="node" preserve="true" />

export { type DropReason, dropReasons } from './base/drop.ts'
export type { Duration } from './base/duration.ts'
export { type About, type ErrorCode, errorCodes, StreamsError, type Verdict } from './base/errors.ts'
export { type Header, type Headers, noHeaders } from './base/headers.ts'
export type { GivenLogger, Logger, LogLevel } from './base/logger.ts'
export type { MaybePromise } from './base/maybe-promise.ts'
export { BranchedKStream, type BranchOptions } from './dsl/branched-kstream.ts'
export {
  CogroupedKStream,
  SessionWindowedCogroupedKStream,
  TimeWindowedCogroupedKStream,
} from './dsl/cogrouped-kstream.ts'
export { GlobalKTable } from './dsl/global-ktable.ts'
export type { BuildOptions, Optimisation } from './dsl/graph.ts'
export { KGroupedStream } from './dsl/kgrouped-stream.ts'
export { KGroupedTable } from './dsl/kgrouped-table.ts'
export {
  type GroupedOptions,
  KStream,
  type PrintOptions,
  type ProcessorSource,
  type RepartitionedOptions,
  type StreamJoinOptions,
  type StreamTableJoinOptions,
  type ToOptions,
} from './dsl/kstream.ts'
export { type ForeignKeyJoinOptions, KTable, type TableJoiner } from './dsl/ktable.ts'
export {
  type BuilderOptions,
  type ConsumedOptions,
  StreamsBuilder,
} from './dsl/streams-builder.ts'
export {
  type BufferOptions,
  type Suppression,
  untilTimeLimit,
  untilWindowCloses,
} from './dsl/suppressed.ts'
export type {
  Action,
  Aggregator,
  Gap,
  Joiner,
  KeySelector,
  Mapper,
  Merger,
  NameOption,
  Partitioner,
  Predicate,
  ProcessOptions,
  Reducer,
  SerdeMissing,
  StoreOptions as StateOptions,
  TableOptions,
  TopicExtractor,
  WindowedOptions,
} from './dsl/types.ts'
export { SessionWindowedKStream, TimeWindowedKStream } from './dsl/windowed-kstream.ts'
export {
  customWindows,
  type GraceOption,
  hopping,
  type JoinWindowOptions,
  session,
  sliding,
  tumbling,
  unlimited,
  type Within,
} from './dsl/windows.ts'
export { connectStore, Queries, type StoreLag, type StoreSerdes } from './query/queries.ts'
export type { Copy, RemoteOptions } from './query/remote.ts'
export type { StoreInfo } from './query/router.ts'
export {
  type KeyMetadata,
  type QueryOptions,
  type RangeOptions,
  type Source,
  type StateEntry,
  StateStore,
  type StateVersion,
} from './query/state-store.ts'
export type { Config } from './runtime/options.ts'
export { type ResetOptions, type ResetPlan, type ResetTo, resetApplication } from './runtime/reset.ts'
export type { Position } from './runtime/state-query.ts'
export type { ApplicationState, ApplicationStatus } from './runtime/status.ts'
export type { JsonValue } from './serde/json.ts'
export {
  type AvroSerdeOptions,
  type RegistrySerdeOptions,
  SchemaRegistry,
  type SchemaRegistryOptions,
  type SubjectStrategy,
} from './serde/registry.ts'
export { type Serde, type SerdeFunctions, serde } from './serde/serde.ts'
export { serdes } from './serde/serdes.ts'
export { endOfTime, Windowed } from './serde/windowed.ts'
export { Millrace } from './service/millrace.ts'
export type { JsonNode, JsonStore, JsonTopology } from './topology/describe.ts'
export type { Emission, RecordInfo, TimestampExtractor } from './topology/node.ts'
export type {
  Cancellable,
  FixedKeyProcessor,
  FixedKeyProcessorContext,
  ForwardedRecord,
  KeyValueStore,
  Order,
  Processor,
  ProcessorContext,
  PunctuationType,
  Punctuator,
  RecordMetadata,
  SessionStore,
  SessionStoreWithHeaders,
  StateContext,
  StreamRecord,
  TimestampedKeyValueStore,
  TimestampedKeyValueStoreWithHeaders,
  TimestampedWindowStore,
  TimestampedWindowStoreWithHeaders,
  ValueAndTimestamp,
  ValueTimestampHeaders,
  ValueTransformer,
  VersionedKeyValueStore,
  VersionedRecord,
  WindowStore,
} from './topology/processor.ts'
export type { StoreSpec } from './topology/store-spec.ts'
export { type StoreOptions, stores, type WindowStoreOptions } from './topology/stores.ts'
export { timestamps } from './topology/timestamps.ts'
export {
  type Around,
  type GlobalStoreOptions,
  type MakeProcessor,
  type Partitions,
  type SinkOptions,
  type SourceOptions,
  type TopicOf,
  Topology,
  type Wrap,
} from './topology/topology.ts'
export type {
  CustomWindowsSpec,
  FixedWindowsSpec,
  JoinWindowsSpec,
  SessionWindowsSpec,
  SlidingWindowsSpec,
  TimeWindowsSpec,
  UnlimitedWindowsSpec,
  WindowsSpec,
} from './topology/windows.ts'
