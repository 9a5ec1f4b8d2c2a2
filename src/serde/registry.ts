/**
 * Serdes whose schemas live in a schema registry with Confluent's API: Avro, JSON Schema and Protobuf. On the wire: a
 * zero byte, the schema's id (4), for Protobuf the index of the message (a zero: the schema's first), then the data.
 *
 * A schema is fetched or registered once; from then on reading and writing make no promise. A registry that does not
 * answer is asked again for a bounded time; then the record fails, and its handler decides.
 */
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import type avro from 'avsc'
import type { Type as AvroType } from 'avsc'
import { StreamsError } from '../base/errors.ts'
import type { Serde } from './serde.ts'

export type SchemaRegistryOptions = {
  /** Such as `http://localhost:8081`. */
  readonly url: string
  readonly username?: string
  readonly password?: string
  /** How often it is asked again where it does not answer, or says that it can't. Default 3. */
  readonly retries?: number
  /** How long all tries together may take; one of them at most half of it. Default 5 s. */
  readonly retryTimeMs?: number
}

/** `topic`: `<topic>-key` or `<topic>-value`; `record`: the name in the schema; `topic-record`: both. */
export type SubjectStrategy =
  | 'topic'
  | 'record'
  | 'topic-record'
  | ((topic: string, side: 'key' | 'value') => string)

export type RegistrySerdeOptions = {
  /** What values are written with: an object, or text. Registered at first use. Without it, the subject's latest. */
  readonly schema?: object | string
  /** Does not register the schema: it must be there. */
  readonly registered?: boolean
  /** For keys: subjects end in `-key`. */
  readonly key?: boolean
  readonly subject?: SubjectStrategy
}

export type AvroSerdeOptions = RegistrySerdeOptions & {
  /** What values are read as, whatever older or newer schema they were written with. */
  readonly readerSchema?: object
}

/** Read when it is first used: it takes 30 ms, in every thread, and most have no Avro. */
const require = createRequire(import.meta.url)
const avsc = (): typeof avro => require('avsc') as typeof avro

type Format = 'avro' | 'json' | 'protobuf'

const types = { avro: 'AVRO', json: 'JSON', protobuf: 'PROTOBUF' } as const

type ConfluentSchema = { readonly type: (typeof types)[Format]; readonly schema: string | undefined }

/** The client, as far as it is used. Its own types need a browser's, so they are not imported. */
type Client = {
  getSchema(id: number): Promise<Schema>
  getLatestSchemaId(subject: string): Promise<number>
  getRegistryIdBySchema(subject: string, schema: ConfluentSchema): Promise<number>
  register(
    schema: ConfluentSchema,
    options: { subject: string; compatibility?: string },
  ): Promise<{ id: number }>
}

type ClientModule = { readonly SchemaRegistry: new (options: object) => Client }

/** A schema as the client gives it. */
type Schema = {
  toBuffer(value: object): Buffer
  fromBuffer(bytes: Buffer, resolver?: unknown): unknown
  isValid(
    value: object,
    options: { errorHook(path: readonly string[], value: unknown, type?: unknown): void },
  ): boolean
  createResolver?(writer: unknown): unknown
}

type Known = { readonly id: number; readonly subject: string; readonly schema: Schema }
type Writer = Known | Promise<void>

/** A request of the client's, as far as it is used. */
type ClientRequest = {
  method(): string
  context(): Readonly<Record<string, unknown>>
  enhance(extras: { signal: AbortSignal }, context: Readonly<Record<string, unknown>>): ClientRequest
}

const headerBytes = 5
const firstWaitMs = 100
/** A failure is not asked for again so soon: a batch of records would each wait for its retries. */
const failureKeptMs = 1_000

export class SchemaRegistry {
  readonly #client: Client
  readonly #url: string
  readonly #retries: number
  readonly #retryTimeMs: number
  readonly #schemas = new Map<number, Schema>()
  readonly #loading = new Map<number, Promise<void>>()
  readonly #failures = new Map<string, { readonly error: StreamsError; readonly at: number }>()

  constructor(options: SchemaRegistryOptions) {
    const { url, username, password, retries = 3, retryTimeMs = 5_000 } = options
    if (!/^https?:\/\/.+/.test(url)) {
      throw new StreamsError(
        'CONFIG_INVALID',
        `schema registry: ${JSON.stringify(url)} is no address; give one such as http://localhost:8081`,
      )
    }
    this.#url = url
    this.#retries = retries
    this.#retryTimeMs = retryTimeMs
    const { SchemaRegistry: Client } = require('@kafkajs/confluent-schema-registry') as ClientModule
    this.#client = new Client({
      host: url.replace(/\/$/, ''),
      ...(username === undefined ? {} : { auth: { username, password: password ?? '' } }),
      // Its own retries leave out what is posted, and know no limit of time. They are set for all clients of a
      // process at once, so ours are told apart by their context and others keep theirs.
      retry: {
        enableRetry: (request: ClientRequest) =>
          request.method() === 'get' && request.context()['millrace'] !== true,
      },
      middlewares: [
        () => ({
          request: (request: ClientRequest) =>
            request.enhance({ signal: AbortSignal.timeout(Math.ceil(retryTimeMs / 2)) }, { millrace: true }),
        }),
      ],
    })
  }

  avro<T>(options: AvroSerdeOptions = {}): Serde<T> {
    const { readerSchema } = options
    const reader =
      readerSchema === undefined
        ? null
        : avsc().Type.forSchema(readerSchema as Parameters<typeof avro.Type.forSchema>[0])
    return this.#serde('avro', options, reader)
  }

  json<T>(options: RegistrySerdeOptions = {}): Serde<T> {
    return this.#serde('json', options, null)
  }

  /** The schema's first message. */
  protobuf<T>(options: RegistrySerdeOptions = {}): Serde<T> {
    return this.#serde('protobuf', options, null)
  }

  #serde<T>(format: Format, options: RegistrySerdeOptions, reader: AvroType | null): Serde<T> {
    const side = options.key === true ? 'key' : 'value'
    const writers = new Map<string, Writer>()
    const resolvers = new Map<number, unknown>()
    return {
      name: `registry-${format}`,
      write: (value, to, topic) => {
        const writer = writers.get(topic)
        if (writer === undefined || writer instanceof Promise) {
          return writer ?? this.#prepare(format, options, topic, side, writers)
        }
        const bytes = encoded(writer, value)
        to.int8(0)
        to.int32(writer.id)
        if (format === 'protobuf') to.int8(0)
        to.bytes(bytes)
        return undefined
      },
      read: (from, start, end, topic) => {
        if (end - start < headerBytes || from[start] !== 0) {
          throw failed(
            `topic ${topic}: the ${side} was not written with a schema registry: it must begin with a zero byte and a schema id`,
          )
        }
        const id = from.readInt32BE(start + 1)
        const read = (): T =>
          this.#decode(format, id, from, start + headerBytes, end, topic, side, reader, resolvers) as T
        return this.#schemas.has(id) ? read() : this.#load(id, topic, side).then(read)
      },
    }
  }

  #decode(
    format: Format,
    id: number,
    from: Buffer,
    start: number,
    end: number,
    topic: string,
    side: string,
    reader: AvroType | null,
    resolvers: Map<number, unknown>,
  ): unknown {
    const schema = this.#schemas.get(id) as Schema
    try {
      if (format === 'protobuf') {
        // Its byte fields would be ranges of what they were read from.
        return schema.fromBuffer(Buffer.from(from.subarray(afterMessageIndex(from, start, end), end)))
      }
      const bytes = from.subarray(start, end)
      if (reader === null) return schema.fromBuffer(bytes)
      let resolver = resolvers.get(id)
      if (resolver === undefined)
        resolvers.set(id, (resolver = reader.createResolver(schema as unknown as AvroType)))
      return reader.fromBuffer(bytes, resolver as Parameters<AvroType['fromBuffer']>[1])
    } catch (cause) {
      throw failed(
        `schema ${id}, subject of topic ${topic} (${side}): ${fieldOf(cause)}${messageOf(cause)}`,
        cause,
      )
    }
  }

  #load(id: number, topic: string, side: string): Promise<void> {
    const what = `schema ${id} (topic ${topic}, ${side})`
    const loading = this.#loading.get(id)
    if (loading !== undefined) return loading
    const load = this.#asked(what, async () => {
      this.#schemas.set(id, await this.#client.getSchema(id))
    }).finally(() => this.#loading.delete(id))
    this.#loading.set(id, load)
    return load
  }

  #prepare(
    format: Format,
    options: RegistrySerdeOptions,
    topic: string,
    side: 'key' | 'value',
    writers: Map<string, Writer>,
  ): Promise<void> {
    const subject = subjectOf(format, options, topic, side)
    const { schema } = options
    const text = typeof schema === 'string' ? schema : JSON.stringify(schema)
    const preparing = this.#asked(`subject ${subject}`, async () => {
      const confluent: ConfluentSchema = { type: types[format], schema: text }
      const id =
        schema === undefined
          ? await this.#client.getLatestSchemaId(subject)
          : options.registered === true
            ? await this.#client.getRegistryIdBySchema(subject, confluent)
            : await this.#register(subject, confluent)
      const found = await this.#client.getSchema(id)
      this.#schemas.set(id, found)
      writers.set(topic, { id, subject, schema: found })
    }).catch((error: unknown) => {
      writers.delete(topic)
      throw error
    })
    writers.set(topic, preparing)
    return preparing
  }

  async #register(subject: string, schema: ConfluentSchema): Promise<number> {
    try {
      return (await this.#client.register(schema, { subject })).id
    } catch (error) {
      // The client insists on its own idea of compatibility; the subject's is none of its business.
      const level = /!= ([A-Z_]+)\)/.exec(messageOf(error))?.[1]
      if (level === undefined) throw error
      return (await this.#client.register(schema, { subject, compatibility: level })).id
    }
  }

  async #asked(what: string, ask: () => Promise<void>): Promise<void> {
    const failure = this.#failures.get(what)
    if (failure !== undefined && Date.now() - failure.at < failureKeptMs) throw failure.error
    const deadline = performance.now() + this.#retryTimeMs
    for (let tries = 1; ; tries++) {
      try {
        await within(deadline, ask())
        this.#failures.delete(what)
        return
      } catch (cause) {
        const waitMs = firstWaitMs * 2 ** (tries - 1)
        if (mayPass(cause) && tries <= this.#retries && performance.now() + waitMs < deadline) {
          await sleep(waitMs)
          continue
        }
        const often = tries === 1 ? '' : ` (asked ${tries} times)`
        const error = failed(`schema registry ${this.#url}, ${what}: ${answerOf(cause)}${often}`, cause)
        this.#failures.set(what, { error, at: Date.now() })
        throw error
      }
    }
  }
}

/** A request has its own limit; what is asked may be several of them. */
async function within(deadline: number, asked: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const left = Math.max(0, deadline - performance.now())
    timer = setTimeout(() => reject(new Error('no answer in time')), left)
  })
  try {
    await Promise.race([asked, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Where no answer came the client says 400 and puts what happened into the message, behind that number. */
const noAnswer = /^.* - Error, status 400: /

/**
 * Asked again it may answer: it was not reached, was busy, or had a trouble of its own. A conflict (409) is a schema that
 * is refused, but also one that another copy registers at this very moment.
 */
function mayPass(error: unknown): boolean {
  const status = (error as { status?: unknown } | null)?.status
  if (typeof status !== 'number') return false
  return status >= 500 || [408, 409, 429].includes(status) || noAnswer.test(messageOf(error))
}

function answerOf(error: unknown): string {
  return messageOf(error)
    .replace(noAnswer, 'no answer: ')
    .replace(/^Confluent_Schema_Registry - /, '')
}

function encoded(writer: Known, value: unknown): Buffer {
  try {
    return writer.schema.toBuffer(value as object)
  } catch (cause) {
    const paths: string[] = []
    try {
      writer.schema.isValid(value as object, { errorHook: (path) => void paths.push(path.join('.')) })
    } catch {
      // The first error says enough.
    }
    const field = paths.length === 0 ? fieldOf(cause) : `field ${paths.join(', ')}: `
    throw failed(`schema ${writer.id}, subject ${writer.subject}: ${field}${messageOf(cause)}`, cause)
  }
}

/**
 * The index of a message is a list of zigzag integers: its length, then the way down; a lone zero is the first message.
 * The registry's client for Node writes none. No field has number 0, so the data of a message never begin with a byte
 * below 8, which every index of up to three steps does.
 */
function afterMessageIndex(from: Buffer, start: number, end: number): number {
  const first = from[start] ?? 0
  if (start >= end || first >= 8) return start
  if (first === 0) return start + 1
  if (first === 2 && from[start + 1] === 0) return start + 2
  throw new Error('it is not the first message of its schema; only that one can be read')
}

function subjectOf(
  format: Format,
  options: RegistrySerdeOptions,
  topic: string,
  side: 'key' | 'value',
): string {
  const { subject = 'topic', schema } = options
  if (typeof subject === 'function') return subject(topic, side)
  if (subject === 'topic') return `${topic}-${side}`
  const name = recordName(format, schema)
  if (name === null) {
    throw failed(
      `topic ${topic}: the subject strategy '${subject}' needs a schema with a name: a record, a title or a message`,
    )
  }
  return subject === 'record' ? name : `${topic}-${name}`
}

function recordName(format: Format, schema: object | string | undefined): string | null {
  if (schema === undefined) return null
  if (format === 'protobuf') {
    const text = String(schema)
    const scope = /^\s*package\s+([\w.]+)\s*;/m.exec(text)?.[1]
    const message = /^\s*message\s+(\w+)/m.exec(text)?.[1]
    return message === undefined ? null : scope === undefined ? message : `${scope}.${message}`
  }
  const parsed = (typeof schema === 'string' ? JSON.parse(schema) : schema) as Readonly<
    Record<string, unknown>
  >
  if (format === 'json') return typeof parsed['title'] === 'string' ? parsed['title'] : null
  const { name, namespace } = parsed
  if (typeof name !== 'string') return null
  return typeof namespace === 'string' ? `${namespace}.${name}` : name
}

function failed(message: string, cause?: unknown): StreamsError {
  if (cause instanceof StreamsError) return cause
  return new StreamsError('SERDE_FAILED', message, cause === undefined ? {} : { cause })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The client's errors carry the paths of what does not fit. */
function fieldOf(error: unknown): string {
  const paths = (error as { paths?: unknown } | null)?.paths
  return Array.isArray(paths) && paths.length > 0 ? `field ${paths.flat().map(String).join(', ')}: ` : ''
}
