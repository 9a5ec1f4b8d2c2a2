/**
 * One request of Kafka's protocol and its answer, at the versions that are spoken here. Both ends use the same
 * definition: the client encodes the request and decodes the response, the broker the reverse.
 */
import type { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import { ByteReader, malformed } from './byte-reader.ts'
import type { Codec, InOf, OutOf, Type } from './grammar.ts'

export type Api<Request extends Type<unknown, never>, Response extends Type<unknown, never>> = {
  readonly key: number
  readonly name: string
  readonly min: number
  readonly max: number
  readonly flexibleFrom: number
  readonly request: Request
  readonly response: Response
  isFlexible(version: number): boolean
  encodeRequest(version: number, to: ByteWriter, request: InOf<Request>): void
  /** Decodes exactly `buffer[start, end)`: bytes left over are an error, too. */
  decodeRequest(version: number, buffer: Buffer, start?: number, end?: number): OutOf<Request>
  encodeResponse(version: number, to: ByteWriter, response: InOf<Response>): void
  decodeResponse(version: number, buffer: Buffer, start?: number, end?: number): OutOf<Response>
}

export type AnyApi = Api<Type<unknown, never>, Type<unknown, never>>

/** What the broker reads, and what the client writes. */
export type RequestOf<A> = A extends Api<infer Request, infer _R> ? OutOf<Request> : never
export type RequestInOf<A> = A extends Api<infer Request, infer _R> ? InOf<Request> : never
/** What the client reads, and what the broker writes. */
export type ResponseOf<A> = A extends Api<infer _R, infer Response> ? OutOf<Response> : never
export type ResponseInOf<A> = A extends Api<infer _R, infer Response> ? InOf<Response> : never

export function api<Request extends Type<unknown, never>, Response extends Type<unknown, never>>({
  key,
  name,
  min,
  max,
  flexibleFrom = Number.POSITIVE_INFINITY,
  request,
  response,
}: {
  readonly key: number
  readonly name: string
  readonly min: number
  readonly max: number
  /** From this version on lengths are compact and there are tagged fields; left out where no version has them. */
  readonly flexibleFrom?: number
  readonly request: Request
  readonly response: Response
}): Api<Request, Response> {
  const isFlexible = (version: number) => version >= flexibleFrom
  const bound = (type: Type<unknown, never>): ((version: number) => Codec<unknown, never>) => {
    const codecs: (Codec<unknown, never> | undefined)[] = []
    return (version) => {
      if (!(version >= min && version <= max)) {
        throw new StreamsError(
          'WIRE_VERSION',
          `${name} version ${version}: ${min} to ${max} are spoken here`,
          {
            api: name,
          },
        )
      }
      return (codecs[version] ??= type.bind(version, isFlexible(version)))
    }
  }
  const requestAt = bound(request)
  const responseAt = bound(response)
  const within = (error: unknown, what: string, version: number): unknown =>
    error instanceof StreamsError && error.code.startsWith('WIRE_') && error.about.api === undefined
      ? new StreamsError(error.code, `${name} ${what} v${version}, ${error.message}`, {
          ...error.about,
          api: name,
        })
      : error
  const decode = (
    codec: Codec<unknown, never>,
    what: string,
    version: number,
    buffer: Buffer,
    start: number,
    end: number,
  ): unknown => {
    try {
      const from = new ByteReader(buffer, start, end)
      const value = codec.read(from)
      if (from.remaining > 0) throw malformed(`${from.remaining} bytes too many`)
      return value
    } catch (error) {
      throw within(error, what, version)
    }
  }
  const encode = (
    codec: Codec<unknown, never>,
    what: string,
    version: number,
    to: ByteWriter,
    value: never,
  ) => {
    try {
      codec.write(to, value)
    } catch (error) {
      throw within(error, what, version)
    }
  }
  return {
    key,
    name,
    min,
    max,
    flexibleFrom,
    request,
    response,
    isFlexible,
    encodeRequest: (version, to, value) => encode(requestAt(version), 'request', version, to, value as never),
    decodeRequest: (version, buffer, start = 0, end = buffer.length) =>
      decode(requestAt(version), 'request', version, buffer, start, end) as OutOf<Request>,
    encodeResponse: (version, to, value) =>
      encode(responseAt(version), 'response', version, to, value as never),
    decodeResponse: (version, buffer, start = 0, end = buffer.length) =>
      decode(responseAt(version), 'response', version, buffer, start, end) as OutOf<Response>,
  }
}
