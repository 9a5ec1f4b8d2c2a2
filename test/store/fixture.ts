/** What tests of stores need around a task's state: specs, a changelog that is a list, serdes of different kinds. */
import type { ByteWriter } from '../../src/base/bytes.ts'
import { type Headers, noHeaders } from '../../src/base/headers.ts'
import type { Serde } from '../../src/serde/serde.ts'
import type { ChangelogRecord, ChangelogWriter, StoreContext, TaskState } from '../../src/store/contract.ts'
import type {
  KeyValueStoreSpec,
  OuterJoinStoreSpec,
  SessionStoreSpec,
  StoreSpec,
  VersionedStoreSpec,
  WindowStoreSpec,
} from '../../src/topology/store-spec.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'

export const text: Serde<string> = {
  name: 'text',
  primitive: true,
  write(value: string, to: ByteWriter) {
    to.utf8(value)
  },
  read: (from, start, end) => from.toString('utf8', start, end),
}

/** Not primitive: its keys are known by their bytes, its values are objects. */
export const json: Serde<unknown> = {
  name: 'json',
  write(value: unknown, to: ByteWriter) {
    to.utf8(JSON.stringify(value))
  },
  read: (from, start, end) => JSON.parse(from.toString('utf8', start, end)) as unknown,
}

export const long: Serde<number> = {
  name: 'long',
  primitive: true,
  immediate: true,
  numeric: true,
  write(value: number, to: ByteWriter) {
    to.int64(value)
  },
  read: (from, start) => Number(from.readBigInt64BE(start)),
}

/** Waits now and then, as a serde does that fetches a schema first. */
export function waiting<T>(serde: Serde<T>): Serde<T> {
  let ready = false
  const settle = async (): Promise<void> => {
    await Promise.resolve()
    ready = true
  }
  return {
    name: `waiting ${serde.name}`,
    write(value, to, topic, headers) {
      if (!ready) return settle()
      ready = false
      return serde.write(value, to, topic, headers)
    },
    async read(from, start, end, topic, headers) {
      const copy = Buffer.from(from.subarray(start, end))
      await Promise.resolve()
      return serde.read(copy, 0, copy.length, topic, headers)
    },
  }
}

const common = {
  engine: 'persistent',
  changelog: { sourceTopic: null, configs: {} },
  cached: false,
} as const

export function keyValue(name: string, more: Partial<KeyValueStoreSpec> = {}): KeyValueStoreSpec {
  return {
    ...common,
    kind: 'key-value',
    name,
    keySerde: text as Serde<unknown>,
    valueSerde: json,
    timestamped: true,
    ...more,
  }
}

export function window(name: string, more: Partial<WindowStoreSpec> = {}): WindowStoreSpec {
  return {
    ...common,
    kind: 'window',
    name,
    keySerde: text as Serde<unknown>,
    valueSerde: json,
    timestamped: true,
    windowSizeMs: 10,
    retentionMs: 100,
    segmentIntervalMs: 50,
    retainDuplicates: false,
    emitOnClose: false,
    ...more,
  }
}

export function session(name: string, more: Partial<SessionStoreSpec> = {}): SessionStoreSpec {
  return {
    ...common,
    kind: 'session',
    name,
    keySerde: text as Serde<unknown>,
    valueSerde: json,
    retentionMs: 100,
    segmentIntervalMs: 50,
    emitOnClose: false,
    ...more,
  }
}

export function versioned(name: string, more: Partial<VersionedStoreSpec> = {}): VersionedStoreSpec {
  return {
    ...common,
    kind: 'versioned',
    name,
    keySerde: text as Serde<unknown>,
    valueSerde: json,
    historyRetentionMs: 100,
    segmentIntervalMs: 30,
    ...more,
  }
}

export function suppress(name: string): StoreSpec {
  return { ...common, kind: 'suppress-buffer', name, keySerde: text as Serde<unknown>, valueSerde: json }
}

export function joinBuffer(name: string, graceMs = 10): StoreSpec {
  return {
    ...common,
    kind: 'join-buffer',
    name,
    keySerde: text as Serde<unknown>,
    valueSerde: json,
    graceMs,
    retentionMs: 1000,
  }
}

export function outerJoin(name: string, more: Partial<OuterJoinStoreSpec> = {}): OuterJoinStoreSpec {
  return {
    ...common,
    kind: 'outer-join',
    name,
    keySerde: text as Serde<unknown>,
    valueSerde: json,
    rightValueSerde: text as Serde<unknown>,
    retentionMs: 1000,
    ...more,
  }
}

export function subscription(name: string): StoreSpec {
  return {
    ...common,
    kind: 'subscription',
    name,
    keySerde: text as Serde<unknown>,
    primaryKeySerde: text as Serde<unknown>,
    valueSerde: json,
  }
}

/** A changelog per store, as a broker would keep it: what commits appended. */
export class Changelogs {
  readonly topics = new Map<string, ChangelogRecord[]>()
  readonly #batchBytesMax: number
  #open = new Map<string, BatchBuilder[]>()

  constructor(batchBytesMax = 1_000_000) {
    this.#batchBytesMax = batchBytesMax
  }

  readonly context: StoreContext = {
    changelogTopic: (store) => `app-${store}-changelog`,
    changelogTopicId: (store) => `id of ${store}`,
    record: { topic: 'in', partition: 3, offset: 42 },
    drop() {},
  }

  readonly writer: ChangelogWriter = {
    builder: (store) => {
      const builder = new BatchBuilder(this.#batchBytesMax, 256)
      const builders = this.#open.get(store)
      if (builders === undefined) this.#open.set(store, [builder])
      else builders.push(builder)
      return builder
    },
  }

  /** What the generation in flight wrote. */
  inFlight(): Map<string, ChangelogRecord[]> {
    const found = new Map<string, ChangelogRecord[]>()
    for (const [store, builders] of this.#open) {
      found.set(
        store,
        builders.flatMap((builder) => recordsOf(builder)),
      )
    }
    return found
  }

  /** The transaction commits: returns where each changelog goes on. */
  commit(): Map<string, number> {
    const offsets = new Map<string, number>()
    for (const [store, records] of this.inFlight()) {
      const topic = this.of(store)
      topic.push(...records)
      offsets.set(store, topic.length)
    }
    this.#open = new Map()
    return offsets
  }

  abort(): void {
    this.#open = new Map()
  }

  of(store: string): ChangelogRecord[] {
    let topic = this.topics.get(store)
    if (topic === undefined) {
      topic = []
      this.topics.set(store, topic)
    }
    return topic
  }

  /** Replays what local state lacks. */
  async restore(state: TaskState): Promise<number> {
    let replayed = 0
    for (const { store, offset } of state.positions()) {
      const topic = this.of(store)
      if (topic.length === 0 || offset === topic.length) continue
      const rest = topic.slice(offset ?? 0)
      replayed += rest.length
      await state.restore(store, rest, topic.length)
    }
    return replayed
  }

  /** Cut, commit, settle. */
  async commitAll(state: TaskState): Promise<void> {
    await state.flush()
    await state.cut(this.writer)
    state.settle(this.commit())
  }
}

export function recordsOf(builder: BatchBuilder): ChangelogRecord[] {
  if (builder.count === 0) return []
  const buffer = Buffer.from(builder.seal(-1, -1, -1, false))
  const cursor = new BatchCursor({
    topic: 't',
    partition: 0,
    buffer,
    start: 0,
    end: buffer.length,
    fromOffset: 0,
    aborted: null,
  })
  const records: ChangelogRecord[] = []
  while (cursor.next()) {
    const { keyStart, keyEnd, valueStart, valueEnd, timestamp } = cursor
    const headers: Headers = cursor.headers()
    records.push(
      changelogRecord(
        Buffer.from(cursor.buffer.subarray(keyStart, keyEnd)),
        valueStart < 0 ? null : Buffer.from(cursor.buffer.subarray(valueStart, valueEnd)),
        timestamp,
        headers.length === 0 ? noHeaders : headers,
      ),
    )
  }
  return records
}

class HeldRecord implements ChangelogRecord {
  readonly key: Buffer
  readonly value: Buffer | null
  readonly timestamp: number
  readonly headers: Headers

  constructor(key: Buffer, value: Buffer | null, timestamp: number, headers: Headers) {
    this.key = key
    this.value = value
    this.timestamp = timestamp
    this.headers = headers
  }

  get isTombstone(): boolean {
    return this.value === null
  }

  writeKey(to: ByteWriter): void {
    to.bytes(this.key)
  }

  writeValue(to: ByteWriter): void {
    if (this.value !== null) to.bytes(this.value)
  }
}

export function changelogRecord(
  key: Buffer,
  value: Buffer | null,
  timestamp: number,
  headers: Headers,
): ChangelogRecord {
  return new HeldRecord(key, value, timestamp, headers)
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}
