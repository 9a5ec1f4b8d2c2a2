/** How a test feeds a topic and reads one. */
import { ByteWriter } from '../base/bytes.ts'
import { type Duration, durationMs } from '../base/duration.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { RawTestRecord } from './test-log.ts'

export type TestInputOptions<K, V> = {
  /** Default: those of the source that reads the topic. */
  readonly key?: Serde<K>
  readonly value?: Serde<V>
  /** The timestamp of the first record that isn't given one; default: the wall clock at that moment. */
  readonly startMs?: number
  /** How much later each further one is. */
  readonly advance?: Duration
}

export type PipeOptions = {
  readonly timestamp?: number
  /** As a list, or as names and texts. */
  readonly headers?: Headers | Readonly<Record<string, string | null>>
  /** Default: what the key's hash says; without a key the first. */
  readonly partition?: number
}

/** What a TestInput needs of its driver. */
export type Feed = {
  now(): number
  feed(
    topic: string,
    partition: number | null,
    timestamp: number,
    key: Buffer | null,
    keyHashEnd: number,
    value: Buffer | null,
    headers: Headers,
  ): void
  settle(): Promise<void>
}

export class TestInput<K = unknown, V = unknown> {
  readonly topic: string
  readonly #feed: Feed
  readonly #key: Serde<K>
  readonly #value: Serde<V>
  readonly #advanceMs: number
  #nextMs: number | null

  constructor(topic: string, feed: Feed, key: Serde<K>, value: Serde<V>, options: TestInputOptions<K, V>) {
    this.topic = topic
    this.#feed = feed
    this.#key = key
    this.#value = value
    this.#nextMs = options.startMs ?? null
    this.#advanceMs =
      options.advance === undefined ? 0 : durationMs(options.advance, 'advance of a test input')
  }

  /** Feeds one record; resolves when everything it caused is done. */
  async pipe(key: K | null, value: V | null, options: PipeOptions = {}): Promise<void> {
    await this.#put(key, value, options)
    await this.#feed.settle()
  }

  /** Feeds them one after another, each settled before the next. */
  async pipeAll(
    records: Iterable<readonly [key: K | null, value: V | null, options?: PipeOptions]>,
  ): Promise<void> {
    for (const [key, value, options] of records) await this.pipe(key, value, options)
  }

  /** Feeds values without keys. */
  async pipeValues(values: Iterable<V | null>): Promise<void> {
    for (const value of values) await this.pipe(null, value)
  }

  /** Moves the time of the records that aren't given one. */
  advance(by: Duration): void {
    this.#nextMs = (this.#nextMs ?? this.#feed.now()) + durationMs(by, 'advance of a test input')
  }

  async #put(key: K | null, value: V | null, options: PipeOptions): Promise<void> {
    const headers = headersOf(options.headers)
    const keyBytes = await bytesOf(this.#key, key, this.topic, headers)
    const valueBytes = await bytesOf(this.#value, value, this.topic, headers)
    const timestamp = options.timestamp ?? this.#timestamp()
    this.#feed.feed(
      this.topic,
      options.partition ?? null,
      timestamp,
      keyBytes,
      (keyBytes?.length ?? 0) - (this.#key.windowBytes ?? 0),
      valueBytes,
      headers,
    )
  }

  #timestamp(): number {
    if (this.#nextMs === null) return this.#feed.now()
    const timestamp = this.#nextMs
    this.#nextMs += this.#advanceMs
    return timestamp
  }
}

function headersOf(given: PipeOptions['headers']): Headers {
  if (given === undefined) return noHeaders
  if (Array.isArray(given)) return given as Headers
  return Object.entries(given as Readonly<Record<string, string | null>>).map(([key, text]) => ({
    key,
    value: text === null ? null : Buffer.from(text),
  }))
}

async function bytesOf<T>(
  serde: Serde<T>,
  value: T | null,
  topic: string,
  headers: Headers,
): Promise<Buffer | null> {
  if (value === null) return null
  const writer = new ByteWriter(256)
  const waiting = serde.write(value, writer, topic, headers)
  if (isPromise(waiting)) {
    await waiting
    serde.write(value, writer, topic, headers)
  }
  return writer.copy()
}

export type TestRecord<K = unknown, V = unknown> = {
  readonly key: K | null
  readonly value: V | null
  readonly timestamp: number
  readonly headers: Headers
  readonly partition: number
  readonly offset: number
}

/** What a topic got. Each record is read once, in the order in which they were written. */
export class TestOutput<K = unknown, V = unknown> {
  readonly topic: string
  readonly #records: () => readonly RawTestRecord[]
  readonly #key: Serde<K>
  readonly #value: Serde<V>
  #position = 0

  constructor(topic: string, records: () => readonly RawTestRecord[], key: Serde<K>, value: Serde<V>) {
    this.topic = topic
    this.#records = records
    this.#key = key
    this.#value = value
  }

  /** Records that wait to be read. */
  get size(): number {
    return this.#records().length - this.#position
  }

  get isEmpty(): boolean {
    return this.size === 0
  }

  /** The next record, null where there is none. */
  async read(): Promise<TestRecord<K, V> | null> {
    const raw = this.#records()[this.#position]
    if (raw === undefined) return null
    this.#position++
    const { timestamp, headers, partition, offset } = raw
    const key =
      raw.key === null ? null : await this.#key.read(raw.key, 0, raw.key.length, this.topic, headers)
    const value =
      raw.value === null ? null : await this.#value.read(raw.value, 0, raw.value.length, this.topic, headers)
    return { key, value, timestamp, headers, partition, offset }
  }

  async readAll(): Promise<TestRecord<K, V>[]> {
    const records: TestRecord<K, V>[] = []
    for (let record = await this.read(); record !== null; record = await this.read()) records.push(record)
    return records
  }

  async readKeyValues(): Promise<(readonly [K | null, V | null])[]> {
    return (await this.readAll()).map(({ key, value }) => [key, value] as const)
  }

  async readValues(): Promise<(V | null)[]> {
    return (await this.readAll()).map(({ value }) => value)
  }

  /** The last value of each key, as a table would hold it; keys are told apart as Map does. */
  async readTable(): Promise<Map<K | null, V>> {
    const table = new Map<K | null, V>()
    for (const { key, value } of await this.readAll()) {
      if (value === null) table.delete(key)
      else table.set(key, value)
    }
    return table
  }
}
