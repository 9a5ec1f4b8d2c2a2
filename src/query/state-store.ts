/**
 * A store of a running application, to read from: any key, whichever copy has it. What is read is committed, unless
 * asked otherwise. Every call ends within its time, with an answer or a `StreamsError` that says what to do.
 */
import { StreamsError } from '../base/errors.ts'
import { noHeaders } from '../base/headers.ts'
import { changelogTopic } from '../runtime/internal-topics.ts'
import {
  encode,
  type Position,
  queryInvalid,
  type StateQuery,
  type StateRow,
  type TaskAnswer,
  type TaskQuery,
} from '../runtime/state-query.ts'
import { formatTaskId } from '../runtime/task-id.ts'
import { globalTask } from '../runtime/task-queries.ts'
import type { Serde } from '../serde/serde.ts'
import { Windowed } from '../serde/windowed.ts'
import type { Order } from '../store/contract.ts'
import { partitionFor } from '../wire/murmur2.ts'
import { ask, type Network, type StoreInfo, storeInfo } from './router.ts'
import { limitMax } from './wire.ts'

export type QueryOptions = {
  /** 'committed' (default) is what no failure takes back; 'uncommitted' also what was just processed. */
  readonly isolation?: 'committed' | 'uncommitted'
  /** Also a standby may answer, which may be behind. */
  readonly stale?: boolean
  /** Answered only once the input is committed up to here: the offset after what you wrote, by topic and partition. */
  readonly bound?: Position
  /** Only this partition; for one key, where its partition does not follow from its bytes. */
  readonly partition?: number
  /** Default 5,000. */
  readonly timeoutMs?: number
}

export type RangeOptions = QueryOptions & {
  readonly order?: Order
  /** The first so many; without it an answer of more than 10,000 entries is an error. */
  readonly first?: number
}

export type StateEntry<K, V> = { readonly key: K; readonly value: V; readonly timestamp: number }
export type StateVersion<V> = {
  readonly value: V
  readonly timestamp: number
  /** Until when it was valid; null: it still is. */
  readonly validTo: number | null
}

/** Where the answers came from. */
export type Source = {
  readonly partition: number
  readonly role: 'active' | 'standby'
  /** Records by which a standby was behind. */
  readonly lag: number | null
  /** Committed positions of the task's input. */
  readonly position: Position
}

export type KeyMetadata = {
  readonly partition: number
  readonly task: string
  /** null: nobody has it now. `here`: this copy. */
  readonly active: string | 'here' | null
  readonly standbys: readonly (string | 'here')[]
}

const timeoutMsDefault = 5_000
const entriesMax = 10_000
const followWaitMs = 20_000

export class StateStore<K = unknown, V = unknown> {
  readonly name: string
  readonly #network: Network
  readonly #keySerde: Serde<K>
  readonly #valueSerde: Serde<V>
  readonly #topic: string
  /** Of the last answers, for whoever wants to know how old they are. */
  #sources: readonly Source[] = []

  constructor(network: Network, name: string, keySerde: Serde<K>, valueSerde: Serde<V>) {
    this.name = name
    this.#network = network
    this.#keySerde = keySerde
    this.#valueSerde = valueSerde
    this.#topic = changelogTopic(network.applicationId, name)
  }

  /** Where the last answer came from: role, lag and position of each task that was asked. */
  get sources(): readonly Source[] {
    return this.#sources
  }

  // ------------------------------------------------------------------------------------------------ by key

  /** The value of a key, in a versioned store the newest one; null where there is none. */
  async get(key: K, options: QueryOptions = {}): Promise<V | null> {
    return (await this.entry(key, options))?.value ?? null
  }

  async entry(key: K, options: QueryOptions = {}): Promise<StateEntry<K, V> | null> {
    const bytes = await this.#key(key)
    const [row] = await this.#ofKey(bytes, { kind: 'key', key: bytes }, options)
    return row === undefined ? null : { key, value: await this.#value(row), timestamp: row.timestamp }
  }

  /** The value that was valid at a time, in a versioned store. */
  async getAsOf(key: K, timestamp: number, options: QueryOptions = {}): Promise<StateVersion<V> | null> {
    const bytes = await this.#key(key)
    const [row] = await this.#ofKey(
      bytes,
      { kind: 'as-of', key: bytes, timestamp: this.#time(timestamp) },
      options,
    )
    return row === undefined ? null : this.#version(row)
  }

  /** Versions valid within [from, to], newest first unless `order` says otherwise. */
  async versions(
    key: K,
    from: number,
    to: number,
    options: RangeOptions = {},
  ): Promise<readonly StateVersion<V>[]> {
    const bytes = await this.#key(key)
    const order = options.order ?? 'backward'
    const query = { kind: 'versions', key: bytes, ...this.#span(from, to), order } as const
    return Promise.all((await this.#ofKey(bytes, query, options)).map((row) => this.#version(row)))
  }

  /** Windows of a key that start in [from, to], by start. */
  async windows(
    key: K,
    from: number,
    to: number,
    options: RangeOptions = {},
  ): Promise<readonly StateEntry<Windowed<K>, V>[]> {
    const bytes = await this.#key(key)
    const query = { kind: 'windows', key: bytes, ...this.#span(from, to), order: orderOf(options) } as const
    return this.#windowed(await this.#ofKey(bytes, query, options))
  }

  /** Sessions of a key that end at `from` or later and start at `to` or earlier, by end. */
  async sessions(
    key: K,
    from = 0,
    to: number = Number.MAX_SAFE_INTEGER,
    options: RangeOptions = {},
  ): Promise<readonly StateEntry<Windowed<K>, V>[]> {
    const bytes = await this.#key(key)
    const query = { kind: 'sessions', key: bytes, ...this.#span(from, to), order: orderOf(options) } as const
    return this.#windowed(await this.#ofKey(bytes, query, options))
  }

  /**
   * The value of a key now, and then each time a commit changed it: what changes several times between two looks comes
   * once, as it then is. It goes on, also while the key's task moves, until it is left.
   */
  async *subscribe(
    key: K,
    options: QueryOptions & { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<V | null> {
    const bytes = await this.#key(key)
    const timeoutMs = options.timeoutMs ?? timeoutMsDefault
    let unlike: string | null = null
    let failingSince: number | null = null
    while (options.signal?.aborted !== true) {
      let answer: TaskAnswer
      try {
        const request = await this.#request(bytes, { kind: 'key', key: bytes }, options)
        const waitMs = unlike === null ? timeoutMs : followWaitMs
        answer = await ask(this.#network, { ...request, unlike, waitMs }, waitMs + timeoutMs)
        failingSince = null
      } catch (error) {
        if (!(error instanceof StreamsError) || error.verdict !== 'retry') throw error
        failingSince ??= Date.now()
        if (Date.now() - failingSince > 6 * timeoutMs) throw error
        continue
      }
      if (answer.digest === unlike) continue
      unlike = answer.digest
      const [row] = answer.rows
      yield row === undefined ? null : await this.#value(row)
    }
  }

  /** Which partition and task a key belongs to, and which copies have that. */
  async metadataForKey(key: K, options: Pick<QueryOptions, 'partition'> = {}): Promise<KeyMetadata> {
    const info = await storeInfo(this.#network, this.name, timeoutMsDefault)
    const partition = this.#partitionOf(await this.#key(key), info, options)
    const task = taskOf(info, partition)
    const { active, standbys } = await this.#network.find(task, timeoutMsDefault)
    const shown = ({ endpoint }: { readonly endpoint: string | null }) => endpoint ?? 'here'
    return { partition, task, active: active === null ? null : shown(active), standbys: standbys.map(shown) }
  }

  // ------------------------------------------------------------------------------------------------ by range

  /** Keys in [from, to], in the order of their bytes; null is open. All copies are asked. */
  async range(
    from: K | null,
    to: K | null,
    options: RangeOptions = {},
  ): Promise<readonly StateEntry<K, V>[]> {
    const query = {
      kind: 'range',
      from: await this.#bound(from),
      to: await this.#bound(to),
      order: orderOf(options),
    } as const
    return this.#entries(await this.#ofAll(query, options, byKey))
  }

  all(options: RangeOptions = {}): Promise<readonly StateEntry<K, V>[]> {
    return this.range(null, null, options)
  }

  /** Keys whose bytes begin so. */
  async prefix(
    prefix: Uint8Array | string,
    options: Omit<RangeOptions, 'order'> = {},
  ): Promise<readonly StateEntry<K, V>[]> {
    return this.#entries(await this.#ofAll({ kind: 'prefix', prefix: Buffer.from(prefix) }, options, byKey))
  }

  /** Windows of keys in [fromKey, toKey] that start in [from, to], by start, then key. */
  async windowRange(
    fromKey: K | null,
    toKey: K | null,
    from: number,
    to: number,
    options: RangeOptions = {},
  ): Promise<readonly StateEntry<Windowed<K>, V>[]> {
    const query = {
      kind: 'window-range',
      from: await this.#bound(fromKey),
      to: await this.#bound(toKey),
      ...this.#span(from, to),
      order: orderOf(options),
    } as const
    return this.#windowed(await this.#ofAll(query, options, byStart))
  }

  /** Sessions of keys in [fromKey, toKey], by end, start and key. */
  async sessionRange(
    fromKey: K | null,
    toKey: K | null,
    options: RangeOptions = {},
  ): Promise<readonly StateEntry<Windowed<K>, V>[]> {
    const query = {
      kind: 'session-range',
      from: await this.#bound(fromKey),
      to: await this.#bound(toKey),
      order: orderOf(options),
    } as const
    return this.#windowed(await this.#ofAll(query, options, byEnd))
  }

  // ------------------------------------------------------------------------------------------------ asking

  async #ofKey(bytes: Uint8Array, query: StateQuery, options: RangeOptions): Promise<readonly StateRow[]> {
    const request = await this.#request(bytes, query, options)
    const answer = await ask(this.#network, request, request.waitMs)
    this.#sources = [sourceOf(request, answer)]
    return answer.rows
  }

  async #ofAll(
    query: StateQuery,
    options: RangeOptions,
    compare: (left: StateRow, right: StateRow) => number,
  ): Promise<readonly StateRow[]> {
    const { info, left } = await this.#info(options)
    const partitions =
      options.partition === undefined
        ? Array.from({ length: info.partitions }, (_, index) => index)
        : [this.#checkPartition(options.partition, info)]
    const requests = partitions.map((partition) => this.#requestOf(taskOf(info, partition), query, left))
    const answers = await Promise.all(requests.map((request) => ask(this.#network, request, request.waitMs)))
    this.#sources = answers.map((answer, index) => sourceOf(requests[index] as TaskQuery, answer))
    const rows = answers.flatMap((answer) => answer.rows).sort(compare)
    if (orderOf(options) === 'backward') rows.reverse()
    const limit = options.first ?? entriesMax
    if (rows.length <= limit) return rows
    if (options.first !== undefined) return rows.slice(0, limit)
    throw new StreamsError(
      'QUERY_TOO_LARGE',
      `store ${this.name}: the answer has more than ${limit} entries; ask for a smaller range, or for the first ones with { first: n }`,
      { store: this.name },
    )
  }

  async #request(bytes: Uint8Array, query: StateQuery, options: RangeOptions): Promise<TaskQuery> {
    const { info, left } = await this.#info(options)
    return this.#requestOf(taskOf(info, this.#partitionOf(bytes, info, options)), query, left)
  }

  /** What the store is, and what is left of the time. */
  async #info(options: RangeOptions): Promise<{ readonly info: StoreInfo; readonly left: RangeOptions }> {
    const timeoutMs = options.timeoutMs ?? timeoutMsDefault
    const started = Date.now()
    const info = await storeInfo(this.#network, this.name, timeoutMs)
    return { info, left: { ...options, timeoutMs: Math.max(1, timeoutMs - (Date.now() - started)) } }
  }

  #requestOf(task: string, query: StateQuery, options: RangeOptions): TaskQuery {
    const { first } = options
    if (first !== undefined && (!Number.isSafeInteger(first) || first < 1 || first > limitMax))
      throw queryInvalid(`store ${this.name}: first must be from 1 to ${limitMax}`, this.name)
    return {
      task,
      store: this.name,
      query,
      isolation: options.isolation ?? 'committed',
      stale: options.stale ?? false,
      bound: options.bound ?? {},
      unlike: null,
      limit: first ?? entriesMax,
      cut: first !== undefined,
      waitMs: options.timeoutMs ?? timeoutMsDefault,
    }
  }

  #partitionOf(bytes: Uint8Array, info: StoreInfo, { partition }: Pick<QueryOptions, 'partition'>): number {
    if (partition !== undefined) return this.#checkPartition(partition, info)
    if (info.partitions === 0)
      throw new StreamsError(
        'QUERY_NOT_READY',
        `store ${this.name}: its tasks are not known yet; ask again`,
        { store: this.name },
      )
    return partitionFor(bytes, 0, bytes.length - (this.#keySerde.windowBytes ?? 0), info.partitions)
  }

  #checkPartition(partition: number, { partitions }: StoreInfo): number {
    if (Number.isInteger(partition) && partition >= 0 && partition < partitions) return partition
    throw queryInvalid(
      `store ${this.name} has partitions 0 to ${partitions - 1}, and no ${partition}`,
      this.name,
    )
  }

  // ------------------------------------------------------------------------------------------------ bytes

  async #key(key: K): Promise<Uint8Array> {
    if (key === null || key === undefined)
      throw queryInvalid(`store ${this.name}: the key is ${String(key)}`, this.name)
    try {
      return await encode(this.#keySerde as Serde<unknown>, key, this.#topic)
    } catch (cause) {
      throw new StreamsError(
        'QUERY_INVALID',
        `store ${this.name}: ${typeof key} is no key for it; its keys are of type ${this.#keySerde.name}`,
        { store: this.name, cause },
      )
    }
  }

  async #bound(key: K | null): Promise<Uint8Array | null> {
    return key === null ? null : this.#key(key)
  }

  #time(time: number): number {
    if (Number.isSafeInteger(time)) return time
    throw queryInvalid(
      `store ${this.name}: ${String(time)} is no time; times are whole milliseconds`,
      this.name,
    )
  }

  #span(from: number, to: number): { readonly timeFrom: number; readonly timeTo: number } {
    if (this.#time(from) > this.#time(to))
      throw queryInvalid(
        `store ${this.name}: nothing is from ${from} to ${to}; the first time must not be the later`,
        this.name,
      )
    return { timeFrom: from, timeTo: to }
  }

  async #value({ value }: StateRow): Promise<V> {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.length)
    return this.#valueSerde.read(bytes, 0, bytes.length, this.#topic, noHeaders)
  }

  async #keyOf({ key }: StateRow): Promise<K> {
    const bytes = Buffer.from(key.buffer, key.byteOffset, key.length)
    return this.#keySerde.read(bytes, 0, bytes.length, this.#topic, noHeaders)
  }

  #entries(rows: readonly StateRow[]): Promise<readonly StateEntry<K, V>[]> {
    return Promise.all(
      rows.map(async (row) => ({
        key: await this.#keyOf(row),
        value: await this.#value(row),
        timestamp: row.timestamp,
      })),
    )
  }

  #windowed(rows: readonly StateRow[]): Promise<readonly StateEntry<Windowed<K>, V>[]> {
    return Promise.all(
      rows.map(async (row) => ({
        key: new Windowed(await this.#keyOf(row), row.start, row.end),
        value: await this.#value(row),
        timestamp: row.timestamp,
      })),
    )
  }

  async #version(row: StateRow): Promise<StateVersion<V>> {
    return { value: await this.#value(row), timestamp: row.timestamp, validTo: row.end < 0 ? null : row.end }
  }
}

function orderOf({ order }: RangeOptions): Order {
  return order ?? 'forward'
}

function taskOf({ subtopology }: StoreInfo, partition: number): string {
  return subtopology < 0 ? globalTask : formatTaskId(subtopology, partition)
}

function sourceOf({ task }: TaskQuery, { role, lag, position }: TaskAnswer): Source {
  return {
    partition: task === globalTask ? 0 : Number(task.slice(task.indexOf('_') + 1)),
    role,
    lag,
    position,
  }
}

function byKey(left: StateRow, right: StateRow): number {
  return Buffer.compare(left.key, right.key)
}

function byStart(left: StateRow, right: StateRow): number {
  return left.start - right.start || byKey(left, right)
}

function byEnd(left: StateRow, right: StateRow): number {
  return left.end - right.end || left.start - right.start || byKey(left, right)
}
