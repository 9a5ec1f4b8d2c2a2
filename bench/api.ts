/** What the benchmarks use of Millrace: public names only. */
export { StreamsBuilder } from '../src/dsl/streams-builder.ts'
export { hopping, session, tumbling } from '../src/dsl/windows.ts'
export { Millrace } from '../src/runtime/application.ts'
export type { Hooks } from '../src/runtime/hooks.ts'
export type { Config } from '../src/runtime/options.ts'
export { serdes } from '../src/serde/serdes.ts'
