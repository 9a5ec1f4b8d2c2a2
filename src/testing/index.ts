/** What users' tests need: `millrace/testing`, every name by hand. */
/// <reference types="node" preserve="true" />

export { type About, type ErrorCode, StreamsError, type Verdict } from '../base/errors.ts'
