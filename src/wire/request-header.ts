/**
 * What stands before every request and response. Header 1 is key, version, correlation id and client id; header 2,
 * of flexible versions, adds tagged fields. A response has the correlation id, and tagged fields in flexible
 * versions, except that of ApiVersions. No tag is known here: all are skipped.
 */
import type { ByteWriter } from '../base/bytes.ts'
import { apiVersions } from './18-api-versions.ts'
import type { AnyApi } from './api.ts'
import { apiOf } from './apis.ts'
import { ByteReader, malformed } from './byte-reader.ts'

export type RequestHeader = {
  readonly apiKey: number
  readonly apiVersion: number
  readonly correlationId: number
  readonly clientId: string | null
  /** Undefined where the request is not spoken here, in any version. */
  readonly api: AnyApi | undefined
  /** Where the body begins. */
  readonly bodyStart: number
}

type Spoken = Pick<AnyApi, 'key' | 'isFlexible'>

export function hasResponseTags(api: Spoken, version: number): boolean {
  return api.key !== apiVersions.key && api.isFlexible(version)
}

export function writeRequestHeader(
  to: ByteWriter,
  api: Spoken,
  version: number,
  correlationId: number,
  clientId: string | null,
): void {
  to.int16(api.key)
  to.int16(version)
  to.int32(correlationId)
  if (clientId === null) {
    to.int16(-1)
  } else {
    to.int16(Buffer.byteLength(clientId))
    to.utf8(clientId)
  }
  if (api.isFlexible(version)) to.uvarint(0)
}

/** A version that is not spoken still gives a header, so that it can be refused by name; its tags are not skipped. */
export function readRequestHeader(buffer: Buffer, start = 0, end: number = buffer.length): RequestHeader {
  const from = new ByteReader(buffer, start, end)
  const apiKey = from.int16()
  const apiVersion = from.int16()
  const correlationId = from.int32()
  const length = from.int16()
  if (length < -1) throw malformed(`a client id of ${length} bytes`)
  const clientId = length < 0 ? null : from.utf8(length)
  const api = apiOf(apiKey)
  if (api?.isFlexible(apiVersion) && apiVersion <= api.max) skipTags(from)
  return { apiKey, apiVersion, correlationId, clientId, api, bodyStart: from.position }
}

export function writeResponseHeader(
  to: ByteWriter,
  api: Spoken,
  version: number,
  correlationId: number,
): void {
  to.int32(correlationId)
  if (hasResponseTags(api, version)) to.uvarint(0)
}

/** Where the body of a response begins, for one whose correlation id was read already. */
export function responseBodyStart(api: Spoken, version: number, buffer: Buffer, start = 0): number {
  if (!hasResponseTags(api, version)) return start
  const from = new ByteReader(buffer, start)
  skipTags(from)
  return from.position
}

function skipTags(from: ByteReader): void {
  for (let count = from.uvarint(); count > 0; count--) {
    from.uvarint()
    from.take(from.uvarint())
  }
}
