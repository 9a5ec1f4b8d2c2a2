/**
 * Brings stores to where their changelogs are: for tasks that are about to run, up to the end of the changelog as it
 * is now; for standbys and global stores, on and on. One fetcher serves all of a thread's.
 *
 * The end is the high watermark, not the last stable offset: EndTxn answers before the markers are written, so right
 * after a commit the stable end is still behind, and stopping there gives old state under new offsets. The position
 * that is compared with it counts markers, void data and compaction gaps, so no record is waited for.
 */
import type { ByteWriter } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import type { Logger } from '../base/logger.ts'
import { isPromise } from '../base/maybe-promise.ts'
import type { FetchedChunk, Fetcher, Isolation, KafkaClient, TopicPartition } from '../kafka/client.ts'
import type { ChangelogRecord, TaskState } from '../store/contract.ts'
import { BatchCursor } from '../wire/record-batch.ts'
import type { Hooks } from './hooks.ts'
import { partitionKey } from './partition-key.ts'

export type Changelog = TopicPartition & {
  readonly store: string
  /** A source topic that serves as changelog stops here: beyond it is input that isn't processed. null: its end. */
  readonly limit: number | null
}

export type RestoreOptions = {
  readonly client: KafkaClient
  readonly purpose: 'restore' | 'global'
  readonly isolation: Isolation
  readonly bufferBytesMax: number
  readonly partitionBytesMax: number
  readonly batchBytesMax: number
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: Hooks
}

type Following = {
  readonly changelog: Changelog
  readonly task: string
  readonly state: TaskState
  readonly startOffset: number
  /** Infinity: a standby, which goes on. */
  readonly endOffset: number
  readonly done: (error: StreamsError | null) => void
  position: number
  /** Where the changelog ends, as last heard; -1 before. */
  lastEnd: number
  records: number
  /** Chunks are applied one after another, also where the engine takes its time. */
  applying: Promise<void>
}

/** Says whether the task is still wanted here. */
export type Wanted = () => boolean

const always: Wanted = () => true
/** As many fit into what may be buffered, or reading and writing would wait for each other. */
const portionsBuffered = 4
const noMemory = new ArrayBuffer(0)

export class Restorer {
  readonly #options: RestoreOptions
  readonly #following = new Map<string, Following>()
  #fetcher: Fetcher | null = null

  constructor(options: RestoreOptions) {
    this.#options = options
  }

  /** Resolves when every changelog is read to the end that it has now. */
  async restore(
    task: string,
    state: TaskState,
    changelogs: readonly Changelog[],
    wanted: Wanted = always,
  ): Promise<void> {
    if (changelogs.length === 0) return
    const { admin } = this.#options.client
    const [ends, starts] = await Promise.all([
      admin.offsets(changelogs, 'latest', 'read_uncommitted'),
      admin.offsets(changelogs, 'earliest', 'read_uncommitted'),
    ])
    if (!wanted()) throw givenUp(task)
    const positions = new Map(state.positions().map(({ store, offset }) => [store, offset]))
    await this.#all(
      task,
      changelogs.map(async (changelog, index) => {
        const logStart = starts[index]?.offset ?? 0
        const highWatermark = ends[index]?.offset ?? 0
        const end = changelog.limit === null ? highWatermark : Math.min(highWatermark, changelog.limit)
        const position = positions.get(changelog.store) ?? null
        if (position !== null && (position < logStart || position > highWatermark)) {
          throw new StreamsError(
            'RESTORE_FAILED',
            `task ${task}, store ${changelog.store}: the local state stands at offset ${position} of ${changelog.topic}-${changelog.partition}, which has ${logStart} to ${highWatermark}; the state is of another time`,
            { task, store: changelog.store, topic: changelog.topic, partition: changelog.partition },
          )
        }
        const start = position ?? logStart
        if (start < end) await this.#follow(task, state, changelog, start, end)
      }),
    )
  }

  /** A standby: follows from where the state stands until `stop`. Rejects only where it can't go on. */
  async follow(
    task: string,
    state: TaskState,
    changelogs: readonly Changelog[],
    wanted: Wanted = always,
  ): Promise<void> {
    const starts = await this.#options.client.admin.offsets(changelogs, 'earliest', 'read_uncommitted')
    // Stopped while there was nothing to stop yet.
    if (!wanted()) throw givenUp(task)
    const positions = new Map(state.positions().map(({ store, offset }) => [store, offset]))
    await this.#all(
      task,
      changelogs.map((changelog, index) => {
        const start = positions.get(changelog.store) ?? starts[index]?.offset ?? 0
        return this.#follow(task, state, changelog, start, Number.POSITIVE_INFINITY)
      }),
    )
  }

  /** Where one store fails nothing more is applied to the others: their state is about to be closed. */
  async #all(task: string, stores: readonly Promise<void>[]): Promise<void> {
    try {
      await Promise.all(stores)
    } catch (error) {
      await this.stop(task)
      throw error
    }
  }

  /** Ends all of a task's; what was applied stays. */
  async stop(task: string): Promise<void> {
    const stopped = [...this.#following.values()].filter((following) => following.task === task)
    for (const following of stopped) this.#leave(following)
    await Promise.all(stopped.map((following) => following.applying.catch(() => undefined)))
    for (const following of stopped) {
      this.#report(following, 'suspended')
      following.done(
        new StreamsError(
          'TASK_GIVEN_UP',
          `task ${task}: stopped while its stores were read from ${following.changelog.topic}`,
          { task },
        ),
      )
    }
  }

  /** Records of a task's changelogs that are not applied, as far as is known; null: not yet. */
  lag(task: string): number | null {
    let lag = 0
    let isKnown = false
    for (const following of this.#following.values()) {
      if (following.task !== task) continue
      const end = Math.min(
        following.endOffset,
        following.lastEnd < 0 ? Number.POSITIVE_INFINITY : following.lastEnd,
      )
      if (end === Number.POSITIVE_INFINITY) return null
      isKnown = true
      lag += Math.max(0, end - following.position)
    }
    return isKnown ? lag : null
  }

  /** Of a task's stores that are being read: how far, and where their changelogs end as far as is known. */
  ends(
    task: string,
  ): { readonly store: string; readonly offset: number; readonly endOffset: number | null }[] {
    return [...this.#following.values()]
      .filter((following) => following.task === task)
      .map(({ changelog, position, endOffset, lastEnd }) => ({
        store: changelog.store,
        offset: position,
        endOffset: endOffset === Number.POSITIVE_INFINITY ? (lastEnd < 0 ? null : lastEnd) : endOffset,
      }))
  }

  async close(): Promise<void> {
    for (const task of new Set([...this.#following.values()].map((following) => following.task)))
      await this.stop(task)
    await this.#fetcher?.close()
    this.#fetcher = null
  }

  #follow(task: string, state: TaskState, changelog: Changelog, start: number, end: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const following: Following = {
        changelog,
        task,
        state,
        startOffset: start,
        endOffset: end,
        done: (error) => (error === null ? resolve() : reject(error)),
        position: start,
        lastEnd: -1,
        records: 0,
        applying: Promise.resolve(),
      }
      this.#following.set(partitionKey(changelog), following)
      this.#report(following, 'start')
      this.#open().add(changelog, start)
    })
  }

  #open(): Fetcher {
    const { bufferBytesMax, partitionBytesMax } = this.#options
    // Of each portion of input twice as much: no record of a changelog is waited for by itself.
    const room = Math.floor(bufferBytesMax / portionsBuffered)
    this.#fetcher ??= this.#options.client.fetcher({
      purpose: this.#options.purpose,
      isolation: this.#options.isolation,
      bufferBytesMax,
      partitionBytesMax: Math.max(partitionBytesMax, Math.min(partitionBytesMax * 2, room)),
      waitMs: 100,
      offsetReset: () => 'none',
      onChunk: (chunk) => this.#onChunk(chunk),
      onEnds: (partition, highWatermark) => {
        const following = this.#following.get(partitionKey(partition))
        if (following !== undefined) following.lastEnd = highWatermark
      },
      onReset: () => {},
      onError: (error, partition) => this.#onError(error, partition),
    })
    return this.#fetcher
  }

  #onChunk(chunk: FetchedChunk): void {
    const following = this.#following.get(partitionKey(chunk))
    if (following === undefined) {
      chunk.release()
      return
    }
    following.applying = following.applying.then(() => this.#apply(following, chunk))
  }

  async #apply(following: Following, chunk: FetchedChunk): Promise<void> {
    if (this.#following.get(partitionKey(chunk)) !== following) {
      chunk.release()
      return
    }
    let isApplied = false
    try {
      const { changelog, state, endOffset } = following
      const records = new ChangelogWalk(chunk, endOffset, this.#options.batchBytesMax)
      // Beyond the end is what others write meanwhile: it is theirs.
      const next = Math.min(chunk.nextOffset, endOffset)
      const applied = state.restore(changelog.store, records, next)
      if (isPromise(applied)) await applied
      isApplied = true
      following.position = next
      following.records += records.count
      this.#report(following, 'batch')
      if (next >= endOffset) {
        this.#leave(following)
        this.#report(following, 'end')
        following.done(null)
      }
    } catch (error) {
      this.#leave(following)
      following.done(
        error instanceof StreamsError
          ? error
          : new StreamsError(
              'RESTORE_FAILED',
              `task ${following.task}, store ${following.changelog.store}: ${String(error)}`,
              {
                task: following.task,
                store: following.changelog.store,
                cause: error,
              },
            ),
      )
    } finally {
      // Stores have copied what they keep: its memory may be used again.
      chunk.release(isApplied)
    }
  }

  #onError(error: StreamsError, partition: TopicPartition | null): void {
    const hit = [...this.#following.values()].filter(
      ({ changelog }) => partition === null || partitionKey(changelog) === partitionKey(partition),
    )
    for (const following of hit) {
      this.#leave(following)
      // A position that the changelog doesn't have is no reason to stop: the state is rebuilt from its start.
      const verdict = error.code === 'KAFKA_OFFSET_OUT_OF_RANGE' ? 'restore' : error.verdict
      following.done(
        new StreamsError(
          'RESTORE_FAILED',
          `task ${following.task}, store ${following.changelog.store}: ${error.message}`,
          {
            ...error.about,
            task: following.task,
            store: following.changelog.store,
            cause: error,
            verdict,
          },
        ),
      )
    }
  }

  #leave(following: Following): void {
    if (this.#following.get(partitionKey(following.changelog)) !== following) return
    this.#following.delete(partitionKey(following.changelog))
    this.#fetcher?.remove(following.changelog)
  }

  #report(following: Following, phase: 'start' | 'batch' | 'end' | 'suspended'): void {
    const { changelog, task, startOffset, endOffset, position, records } = following
    this.#options.hooks.restore?.({
      task,
      store: changelog.store,
      topic: changelog.topic,
      partition: changelog.partition,
      phase,
      startOffset,
      offset: position,
      endOffset,
      records,
    })
  }
}

export function givenUp(task: string): StreamsError {
  return new StreamsError('TASK_GIVEN_UP', `task ${task}: given up while it was opened`, { task })
}

/** The records of a chunk up to an offset: one object, which is each of them in turn. */
class ChangelogWalk implements ChangelogRecord, IterableIterator<ChangelogRecord> {
  count = 0
  readonly #cursor: BatchCursor
  readonly #endOffset: number
  readonly #next: IteratorYieldResult<ChangelogRecord> = { done: false, value: this }
  /** The memory of `#buffer`, which the buffer itself is slow to say. */
  #buffer: Buffer | null = null
  #memory: ArrayBufferLike = noMemory
  #memoryStart = 0

  constructor(chunk: FetchedChunk, endOffset: number, batchBytesMax: number) {
    this.#cursor = new BatchCursor({
      topic: chunk.topic,
      partition: chunk.partition,
      buffer: chunk.buffer,
      start: chunk.start,
      end: chunk.end,
      fromOffset: chunk.fetchOffset,
      aborted: chunk.aborted,
      batchBytesMax,
    })
    this.#endOffset = endOffset
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<ChangelogRecord, undefined> {
    const cursor = this.#cursor
    while (cursor.next() && cursor.offset < this.#endOffset) {
      // No store has a null key; a changelog that holds one was written by somebody else.
      if (cursor.keyStart < 0) continue
      this.count++
      if (cursor.buffer !== this.#buffer) {
        this.#buffer = cursor.buffer
        this.#memory = cursor.buffer.buffer
        this.#memoryStart = cursor.buffer.byteOffset
      }
      return this.#next
    }
    return { done: true, value: undefined }
  }

  get isTombstone(): boolean {
    return this.#cursor.valueStart < 0
  }

  get key(): Buffer {
    const { buffer, keyStart, keyEnd } = this.#cursor
    return buffer.subarray(keyStart, keyEnd)
  }

  get value(): Buffer | null {
    const { buffer, valueStart, valueEnd } = this.#cursor
    return valueStart < 0 ? null : buffer.subarray(valueStart, valueEnd)
  }

  get timestamp(): number {
    return this.#cursor.timestamp
  }

  get headers(): Headers {
    return this.#cursor.headerCount === 0 ? noHeaders : this.#cursor.headers()
  }

  writeKey(to: ByteWriter): void {
    const { buffer, keyStart, keyEnd } = this.#cursor
    to.range(buffer, keyStart, keyEnd)
  }

  writeValue(to: ByteWriter): void {
    const { valueStart, valueEnd } = this.#cursor
    to.memory(this.#memory, this.#memoryStart + valueStart, this.#memoryStart + valueEnd)
  }
}
