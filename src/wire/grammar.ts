/**
 * The words that Kafka's messages are written in here: primitives, nullable, array, struct, and from which version
 * a field is there. A type is data; `bind` makes its codec for one version, once, so a message is read and written
 * without asking for versions again. In flexible versions lengths are compact and structs end in tagged fields;
 * unknown tags are skipped. What a struct decodes to always has every field: one that the version lacks has its
 * fallback. What it encodes from may leave those out.
 */
import type { ByteWriter } from '../base/bytes.ts'
import { type ErrorCode, StreamsError } from '../base/errors.ts'
import { type ByteReader, malformed } from './byte-reader.ts'

export type Codec<Out, In = Out> = {
  read(from: ByteReader): Out
  write(to: ByteWriter, value: In): void
}

/** What a type is made of, for whoever needs to look: tests draw values from it. */
export type Shape =
  | { readonly kind: PrimitiveName }
  | { readonly kind: 'nullable'; readonly of: Shape; readonly since: number }
  | { readonly kind: 'array'; readonly of: Shape }
  | { readonly kind: 'struct'; readonly fields: Fields }

export type PrimitiveName =
  | 'int8'
  | 'int16'
  | 'uint16'
  | 'int32'
  | 'int64'
  | 'float64'
  | 'bool'
  | 'uuid'
  | 'string'
  | 'bytes'
  | 'records'

export type Type<Out, In = Out> = {
  readonly shape: Shape
  /** What a field has in a version that lacks it. */
  readonly fallback: Out
  readonly bind: (version: number, flexible: boolean) => Codec<Out, In>
  /** Set on fields that some versions lack: they are not written or read there. */
  readonly presence?: Presence
}

export type Presence = {
  readonly since: number
  readonly until: number
  /** In the tagged fields at the end of the struct, under this number. */
  readonly tag?: number
  /** A value that differs from the fallback must not be dropped: the version is then too old for the request. */
  readonly strict?: boolean
}

export type OutOf<T> = T extends Type<infer Out, infer _In> ? Out : never
export type InOf<T> = T extends Type<infer _Out, infer In> ? In : never

export type Fields = { readonly [name: string]: Type<unknown, never> }
export type StructOut<F extends Fields> = { readonly [K in keyof F]: OutOf<F[K]> }
export type StructIn<F extends Fields> = {
  readonly [K in keyof F as undefined extends InOf<F[K]> ? never : K]: InOf<F[K]>
} & { readonly [K in keyof F as undefined extends InOf<F[K]> ? K : never]?: InOf<F[K]> }

/** A stretch of a buffer that belongs to someone else. */
export type Range = { readonly buffer: Buffer; readonly start: number; readonly end: number }

function unencodable(what: string): StreamsError {
  return new StreamsError('WIRE_UNENCODABLE', what)
}

/** Names the field that does not fit: `topics[3].partitions[0].offset: …`. */
class FieldError extends StreamsError {
  readonly field: string
  readonly what: string

  constructor(code: ErrorCode, field: string, what: string) {
    super(code, `${field}: ${what}`)
    this.field = field
    this.what = what
  }
}

function inside(error: unknown, name: string): unknown {
  if (error instanceof FieldError) {
    return new FieldError(
      error.code,
      error.field.startsWith('[') ? name + error.field : `${name}.${error.field}`,
      error.what,
    )
  }
  if (error instanceof StreamsError) return new FieldError(error.code, name, error.message)
  return error
}

function primitive<T>(kind: PrimitiveName, fallback: T, codec: Codec<T>): Type<T> {
  return { shape: { kind }, fallback, bind: () => codec }
}

function integer(
  name: PrimitiveName,
  min: number,
  max: number,
  read: (from: ByteReader) => number,
  write: (to: ByteWriter, value: number) => void,
): Type<number> {
  return primitive(name, 0, {
    read,
    write(to, value) {
      if (!Number.isInteger(value) || value < min || value > max)
        throw unencodable(`${value} is not an ${name} from ${min} to ${max}`)
      write(to, value)
    },
  })
}

export const int8 = integer(
  'int8',
  -128,
  127,
  (from) => from.int8(),
  (to, value) => to.int8(value),
)
export const int16 = integer(
  'int16',
  -32768,
  32767,
  (from) => from.int16(),
  (to, value) => to.int16(value),
)
export const uint16 = integer(
  'uint16',
  0,
  65535,
  (from) => from.uint16(),
  (to, value) => to.int16(value),
)
export const int32 = integer(
  'int32',
  -2147483648,
  2147483647,
  (from) => from.int32(),
  (to, value) => to.int32(value),
)
export const int64 = integer(
  'int64',
  Number.MIN_SAFE_INTEGER,
  Number.MAX_SAFE_INTEGER,
  (from) => from.int64(),
  (to, value) => to.int64(value),
)

export const float64: Type<number> = primitive('float64', 0, {
  read: (from) => from.float64(),
  write: (to, value) => to.float64(value),
})

export const bool: Type<boolean> = primitive('bool', false, {
  read: (from) => from.int8() !== 0,
  write: (to, value) => to.int8(value ? 1 : 0),
})

/** Sixteen bytes as Kafka prints them: URL-safe base64 without padding. */
export const noUuid = 'AAAAAAAAAAAAAAAAAAAAAA'
export const uuid: Type<string> = primitive('uuid', noUuid, {
  read(from) {
    const at = from.take(16)
    return from.buffer.toString('base64url', at, at + 16)
  },
  write(to, value) {
    const bytes = Buffer.from(value, 'base64url')
    if (bytes.length !== 16) throw unencodable(`${JSON.stringify(value)} is not a uuid`)
    to.bytes(bytes)
  },
})

type Length = {
  /** The length that follows, -1 for null. */
  read(from: ByteReader): number
  write(to: ByteWriter, length: number): void
}

const compactLength: Length = {
  read: (from) => from.uvarint() - 1,
  write: (to, length) => to.uvarint(length + 1),
}
const shortLength: Length = {
  read: (from) => from.int16(),
  write(to, length) {
    if (length > 32767) throw unencodable(`a text of ${length} bytes; 32767 are allowed`)
    to.int16(length)
  },
}
const intLength: Length = {
  read: (from) => from.int32(),
  write: (to, length) => to.int32(length),
}

/** A value with its length before it, where length -1 stands for null. */
type Measured<Out, In> = Type<Out, In> & {
  readonly measure: (version: number, flexible: boolean) => Codec<Out | null, In | null>
}

function measured<Out, In>(
  shape: Shape,
  fallback: Out,
  measure: (version: number, flexible: boolean) => Codec<Out | null, In | null>,
): Measured<Out, In> {
  return {
    shape,
    fallback,
    measure,
    bind(version, flexible) {
      const { read, write } = measure(version, flexible)
      return {
        read(from) {
          const value = read(from)
          if (value === null) throw malformed('null where a value is due')
          return value
        },
        write(to, value) {
          if (value === null || value === undefined) throw unencodable(`${value} where a value is due`)
          write(to, value)
        },
      }
    },
  }
}

/** Null is allowed, in versions before `since` it is not. */
export function nullable<Out, In>(type: Measured<Out, In>, since = 0): Type<Out | null, In | null> {
  return {
    shape: { kind: 'nullable', of: type.shape, since },
    fallback: null,
    bind: (version, flexible) =>
      version >= since
        ? type.measure(version, flexible)
        : (type.bind(version, flexible) as Codec<Out | null, In | null>),
  }
}

function lengthOf(from: ByteReader, length: Length): number {
  const value = length.read(from)
  if (value < -1 || value > from.remaining) {
    throw malformed(`a length of ${value} at ${from.position}, ${from.remaining} bytes are left`)
  }
  return value
}

export const string: Measured<string, string> = measured({ kind: 'string' }, '', (_version, flexible) => {
  const length = flexible ? compactLength : shortLength
  return {
    read(from) {
      const bytes = lengthOf(from, length)
      return bytes < 0 ? null : from.utf8(bytes)
    },
    write(to, value) {
      if (value === null) return length.write(to, -1)
      if (typeof value !== 'string') throw unencodable(`${typeof value} where text is due`)
      length.write(to, Buffer.byteLength(value))
      to.utf8(value)
    },
  }
})

/** Decodes to a view of the buffer it was read from. */
export const bytes: Measured<Buffer, Uint8Array> = measured(
  { kind: 'bytes' },
  Buffer.alloc(0),
  (_version, flexible) => {
    const length = flexible ? compactLength : intLength
    return {
      read(from) {
        const size = lengthOf(from, length)
        if (size < 0) return null
        const at = from.take(size)
        return from.buffer.subarray(at, at + size)
      },
      write(to, value) {
        if (value === null) return length.write(to, -1)
        length.write(to, value.length)
        to.bytes(value)
      },
    }
  },
)

/** Record batches, never copied when read: a range of the buffer. Several ranges are written as one. */
export const records: Measured<Range, Range | readonly Range[]> = measured(
  { kind: 'records' },
  { buffer: Buffer.alloc(0), start: 0, end: 0 } as Range,
  (_version, flexible) => {
    const length = flexible ? compactLength : intLength
    return {
      read(from) {
        const size = lengthOf(from, length)
        if (size < 0) return null
        const start = from.take(size)
        return { buffer: from.buffer, start, end: start + size }
      },
      write(to, value) {
        if (value === null) return length.write(to, -1)
        const ranges = Array.isArray(value) ? (value as readonly Range[]) : [value as Range]
        let size = 0
        for (const { start, end } of ranges) size += end - start
        length.write(to, size)
        for (const { buffer, start, end } of ranges) to.range(buffer, start, end)
      },
    }
  },
)

export function array<Out, In>(type: Type<Out, In>): Measured<readonly Out[], readonly In[]> {
  return measured<readonly Out[], readonly In[]>(
    { kind: 'array', of: type.shape },
    [],
    (version, flexible) => {
      const length = flexible ? compactLength : intLength
      const element = type.bind(version, flexible)
      return {
        read(from) {
          const count = lengthOf(from, length)
          if (count < 0) return null
          const values: Out[] = []
          try {
            while (values.length < count) values.push(element.read(from))
          } catch (error) {
            throw inside(error, `[${values.length}]`)
          }
          return values
        },
        write(to, values) {
          if (values === null) return length.write(to, -1)
          length.write(to, values.length)
          let index = 0
          try {
            for (; index < values.length; index++) element.write(to, values[index] as In)
          } catch (error) {
            throw inside(error, `[${index}]`)
          }
        },
      }
    },
  )
}

/** An array of structs. */
export function list<const F extends Fields>(
  fields: F,
): Measured<readonly StructOut<F>[], readonly StructIn<F>[]> {
  return array(struct(fields))
}

/** May be left out when encoding. */
export function optional<Out, In>(
  type: Type<Out, In>,
  fallback: Out = type.fallback,
): Type<Out, In | undefined> {
  return between(0, Number.POSITIVE_INFINITY, type, fallback)
}

/** There from a version on; dropped in older ones. */
export function since<Out, In>(
  version: number,
  type: Type<Out, In>,
  fallback: Out = type.fallback,
): Type<Out, In | undefined> {
  return between(version, Number.POSITIVE_INFINITY, type, fallback)
}

/** There from a version on; a request that needs it can't be sent in an older one. */
export function needs<Out, In>(
  version: number,
  type: Type<Out, In>,
  fallback: Out = type.fallback,
): Type<Out, In | undefined> {
  return present({ since: version, until: Number.POSITIVE_INFINITY, strict: true }, type, fallback)
}

/** There in the versions from `first` to `last`, both included. */
export function between<Out, In>(
  first: number,
  last: number,
  type: Type<Out, In>,
  fallback: Out = type.fallback,
): Type<Out, In | undefined> {
  return present({ since: first, until: last }, type, fallback)
}

/** A tagged field: written only where a value is given. Null stands for its absence. */
export function tagged<Out, In>(
  tag: number,
  version: number,
  type: Type<Out, In>,
  fallback: Out | null = null,
): Type<Out | null, In | null | undefined> {
  return present(
    { since: version, until: Number.POSITIVE_INFINITY, tag },
    type as Type<Out | null, In | null>,
    fallback,
  )
}

function present<Out, In>(presence: Presence, type: Type<Out, In>, fallback: Out): Type<Out, In | undefined> {
  return {
    shape: type.shape,
    fallback,
    presence,
    bind(version, flexible) {
      const { read, write } = type.bind(version, flexible)
      return {
        read,
        write: (to, value) => write(to, value === undefined ? (fallback as unknown as In) : value),
      }
    },
  }
}

type BoundField = {
  readonly name: string
  readonly codec: Codec<unknown, unknown>
}
type Values = { [name: string]: unknown }

export function struct<const F extends Fields>(fields: F): Type<StructOut<F>, StructIn<F>> {
  const names = Object.keys(fields)
  const fallback: Values = {}
  for (const name of names) fallback[name] = (fields[name] as Type<unknown>).fallback
  return {
    shape: { kind: 'struct', fields },
    fallback: fallback as StructOut<F>,
    bind(version, flexible) {
      const plain: BoundField[] = []
      const tags = new Map<number, BoundField>()
      const strict: string[] = []
      const missing: string[] = []
      for (const name of names) {
        const type = fields[name] as unknown as Type<unknown, unknown>
        const { presence } = type
        const there = presence === undefined || (version >= presence.since && version <= presence.until)
        if (!there || (presence?.tag !== undefined && !flexible)) {
          missing.push(name)
          if (presence?.strict) strict.push(name)
        } else {
          const field = { name, codec: type.bind(version, flexible) }
          if (presence?.tag === undefined) plain.push(field)
          else tags.set(presence.tag, field)
        }
      }
      const absent: Values = {}
      for (const name of missing) absent[name] = fallback[name]
      for (const { name } of tags.values()) absent[name] = fallback[name]
      const hasAbsent = Object.keys(absent).length > 0

      const read = (from: ByteReader): StructOut<F> => {
        const value: Values = {}
        let name = ''
        try {
          for (const field of plain) {
            name = field.name
            value[name] = field.codec.read(from)
          }
          if (hasAbsent) Object.assign(value, absent)
          if (flexible) {
            for (let count = from.uvarint(); count > 0; count--) {
              name = 'tags'
              const tag = from.uvarint()
              const size = from.uvarint()
              const start = from.take(size)
              const field = tags.get(tag)
              if (field === undefined) continue
              name = field.name
              from.position = start
              value[name] = field.codec.read(from)
              if (from.position !== start + size) {
                throw malformed(
                  `tag ${tag} at ${start} has ${size} bytes, ${from.position - start} were read`,
                )
              }
            }
          }
        } catch (error) {
          throw inside(error, name)
        }
        return value as StructOut<F>
      }

      const write = (to: ByteWriter, input: StructIn<F>): void => {
        const value = input as Values
        let name = ''
        try {
          for (name of strict) {
            const given = value[name]
            if (isGiven(given) && given !== fallback[name] && !(Array.isArray(given) && given.length === 0)) {
              throw new StreamsError('WIRE_VERSION', `version ${version} has no such field`)
            }
          }
          for (const field of plain) {
            name = field.name
            field.codec.write(to, value[name])
          }
          if (flexible) {
            name = 'tags'
            let count = 0
            for (const field of tags.values()) if (isGiven(value[field.name])) count++
            to.uvarint(count)
            for (const [tag, field] of tags) {
              if (!isGiven(value[field.name])) continue
              name = field.name
              to.uvarint(tag)
              writeSized(to, field.codec, value[name])
            }
          }
        } catch (error) {
          throw inside(error, name)
        }
      }
      return { read, write }
    },
  }
}

function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null
}

const sizeBytesMax = 5

/** The size stands before the value and is known after it: write, then move the value back to its place. */
function writeSized(to: ByteWriter, codec: Codec<unknown, unknown>, value: unknown): void {
  const start = to.position
  to.ensure(sizeBytesMax)
  to.position = start + sizeBytesMax
  codec.write(to, value)
  const end = to.position
  const size = end - start - sizeBytesMax
  to.position = start
  to.uvarint(size)
  to.buffer.copyWithin(to.position, start + sizeBytesMax, end)
  to.position += size
}
