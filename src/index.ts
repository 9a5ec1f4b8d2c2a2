/** Every public name of the package, by hand. */
// Public types name Buffer: whoever compiles against them gets Node's types with them.
/// <reference types="node" preserve="true" />

export { type About, type ErrorCode, errorCodes, StreamsError, type Verdict } from './base/errors.ts'
