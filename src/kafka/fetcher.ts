/**
 * Reads partitions from their leaders. Each broker has one request in flight while the last response is processed;
 * a second, on a connection of its own, goes out only for partitions that the first, an idle long poll, left out.
 *
 * Back-pressure is by bytes: near `bufferBytesMax` unreleased bytes nothing is asked for until there is room for several
 * partitions again, since each request names them all. Where the reader says that it is starved, because what is
 * buffered waits for something, partitions of which nothing is buffered are asked for all the same, in small portions.
 * What moves (leaders, offsets out of range) is followed here; what can't be mended goes to `onError`, once.
 */
import { sleep } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { fetch } from '../wire/01-fetch.ts'
import type { ResponseOf } from '../wire/api.ts'
import { kafkaErrorClass, kafkaErrors } from '../wire/error-codes.ts'
import { batchLayout, int64At } from '../wire/record-batch.ts'
import { fetchOffsets, isolationLevel } from './admin.ts'
import { backoffMs } from './backoff.ts'
import type {
  AbortedTransaction,
  FetchedChunk,
  Fetcher,
  FetcherOptions,
  OffsetSpec,
  TopicPartition,
} from './client.ts'
import { type Cluster, isStaleLeader, type Lane } from './cluster.ts'
import type { Connection } from './connection.ts'
import { byTopic } from './leaders.ts'
import { asStreamsError, refusal } from './refusal.ts'

const responseBytesMax = 50 * 1024 * 1024
const starvedBytesMax = 64 * 1024
/** Of the buffer: with less room than that nothing is asked for. */
const roomShareMin = 1 / 4
const topicMissingMs = 10_000
const corruptTriesMax = 5
/** A chunk this small would keep a response this many times its size alive: it is copied out. */
const smallChunkBytes = 64 * 1024
const smallChunkShare = 8

type FetchResponse = ResponseOf<typeof fetch>
type PartitionResponse = FetchResponse['topics'][number]['partitions'][number]

/** A partition that is fetched. After `remove` and `seek` there is another object, so that late answers find nothing. */
type Position = TopicPartition & {
  readonly key: string
  offset: number
  isPaused: boolean
  /** In a request, or its offset is being reset. */
  isBusy: boolean
  bufferedBytes: number
  failures: number
  /** CORRUPT_MESSAGE in a row. */
  corruptions: number
  missingSince: number
  /** Not before this wall-clock time. */
  notBefore: number
}

export function createFetcher(cluster: Cluster, options: FetcherOptions, logger: Logger): Fetcher {
  return new KafkaFetcher(cluster, options, logger)
}

class KafkaFetcher implements Fetcher {
  readonly #cluster: Cluster
  readonly #options: FetcherOptions
  readonly #logger: Logger
  /** In the order in which they are asked for: those that gave data go to the end. */
  readonly #positions = new Map<string, Position>()
  readonly #polling = new Set<string>()
  #bufferedBytes = 0
  /** Said since the last request. */
  #isStarved = false
  #isPumping = false
  #wakeAt = Number.POSITIVE_INFINITY
  #wake: { cancel(): void } | null = null
  #isRefreshing = false
  #isClosed = false

  constructor(cluster: Cluster, options: FetcherOptions, logger: Logger) {
    this.#cluster = cluster
    this.#options = options
    this.#logger = logger
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes
  }

  add({ topic, partition }: TopicPartition, offset: number): void {
    const key = `${topic}-${partition}`
    this.#positions.set(key, {
      topic,
      partition,
      key,
      offset,
      isPaused: false,
      isBusy: false,
      bufferedBytes: 0,
      failures: 0,
      corruptions: 0,
      missingSince: 0,
      notBefore: 0,
    })
    this.#pumpSoon()
  }

  remove({ topic, partition }: TopicPartition): void {
    this.#positions.delete(`${topic}-${partition}`)
  }

  seek(partition: TopicPartition, offset: number): void {
    const before = this.#positions.get(`${partition.topic}-${partition.partition}`)
    this.add(partition, offset)
    if (before?.isPaused) this.pause(partition)
  }

  pause({ topic, partition }: TopicPartition): void {
    const position = this.#positions.get(`${topic}-${partition}`)
    if (position !== undefined) position.isPaused = true
  }

  resume({ topic, partition }: TopicPartition): void {
    const position = this.#positions.get(`${topic}-${partition}`)
    if (position === undefined || !position.isPaused) return
    position.isPaused = false
    this.#pumpSoon()
  }

  starved(): void {
    if (this.#isStarved || !this.#isFull) return
    this.#isStarved = true
    this.#pumpSoon()
  }

  get #isFull(): boolean {
    const { bufferBytesMax } = this.#options
    return bufferBytesMax - this.#bufferedBytes < bufferBytesMax * roomShareMin
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#positions.clear()
    this.#wake?.cancel()
    await this.#cluster.close()
  }

  // ------------------------------------------------------------------------------------------------ requests

  /** What changes in one turn of the event loop goes into one request. */
  #pumpSoon(): void {
    if (this.#isPumping || this.#isClosed) return
    this.#isPumping = true
    queueMicrotask(() => {
      this.#isPumping = false
      this.#pump()
    })
  }

  #pumpAt(time: number): void {
    if (time >= this.#wakeAt) return
    this.#wake?.cancel()
    this.#wakeAt = time
    this.#wake = this.#cluster.clock.after(Math.max(1, time - this.#cluster.clock.now()), () => {
      this.#wakeAt = Number.POSITIVE_INFINITY
      this.#wake = null
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#isClosed) return
    const now = this.#cluster.clock.now()
    const isFull = this.#isFull
    if (!isFull) this.#isStarved = false
    else if (!this.#isStarved) return
    const byNode = new Map<number, Position[]>()
    let isLeaderless = false
    for (const position of this.#positions.values()) {
      if (position.isPaused || position.isBusy) continue
      if (isFull && position.bufferedBytes > 0) continue
      if (position.notBefore > now) {
        this.#pumpAt(position.notBefore)
        continue
      }
      const leader = this.#cluster.leader(position)
      if (leader === undefined) {
        isLeaderless = true
        continue
      }
      const others = byNode.get(leader.nodeId)
      if (others === undefined) byNode.set(leader.nodeId, [position])
      else others.push(position)
    }
    // What there is room for is shared among the requests that may fill it.
    const share = byNode.size + this.#polling.size
    for (const [nodeId, positions] of byNode) {
      const lane = (['main', 'second'] as const).find((name) => !this.#polling.has(`${nodeId}/${name}`))
      if (lane === undefined) continue
      this.#isStarved = false
      void this.#poll(nodeId, lane, positions, isFull, share)
    }
    if (isLeaderless) void this.#refresh()
  }

  async #poll(
    nodeId: number,
    lane: Lane,
    positions: readonly Position[],
    isFull: boolean,
    share: number,
  ): Promise<void> {
    const slot = `${nodeId}/${lane}`
    this.#polling.add(slot)
    const { bufferBytesMax, partitionBytesMax, waitMs, isolation } = this.#options
    const asked = new Map<string, { readonly position: Position; readonly offset: number }>()
    for (const position of positions) {
      position.isBusy = true
      asked.set(position.key, { position, offset: position.offset })
    }
    const roomBytes = Math.max(partitionBytesMax, Math.floor((bufferBytesMax - this.#bufferedBytes) / share))
    try {
      const connection = await this.#cluster.node(nodeId, lane)
      const response = await connection.send(
        fetch,
        {
          maxWaitMs: waitMs,
          minBytes: 1,
          maxBytes: isFull ? starvedBytesMax : Math.min(responseBytesMax, roomBytes),
          isolationLevel: isolationLevel[isolation],
          topics: byTopic(positions, (position) => ({
            partition: position.partition,
            currentLeaderEpoch: this.#cluster.leader(position)?.epoch ?? -1,
            fetchOffset: position.offset,
            partitionMaxBytes: isFull ? Math.min(starvedBytesMax, partitionBytesMax) : partitionBytesMax,
          })),
        },
        { waitMs },
      )
      if (response.errorCode !== 0) throw refusal(response.errorCode, 'fetch')
      for (const { position } of asked.values()) position.isBusy = false
      const frame = new Frame(connection)
      this.#take(response, asked, frame)
      frame.taken()
    } catch (error) {
      const failure = asStreamsError(error, 'fetch')
      for (const { position } of asked.values()) position.isBusy = false
      if (!this.#isClosed) this.#requestFailed(failure, positions)
    } finally {
      this.#polling.delete(slot)
      this.#pumpSoon()
    }
  }

  #requestFailed(failure: StreamsError, positions: readonly Position[]): void {
    if (failure.verdict !== 'retry') {
      this.#positions.clear()
      this.#options.onError(failure, null)
      return
    }
    this.#logger.debug(`fetch: ${failure.message}; trying again`)
    for (const position of positions) this.#backOff(position)
    if (isStaleLeader(failure)) void this.#refresh(positions)
  }

  #backOff(position: Position): void {
    position.notBefore = this.#cluster.clock.now() + backoffMs(++position.failures, 10)
  }

  // ----------------------------------------------------------------------------------------------- responses

  #take(
    response: FetchResponse,
    asked: Map<string, { readonly position: Position; readonly offset: number }>,
    frame: Frame,
  ): void {
    const stale: Position[] = []
    for (const { name, partitions } of response.topics) {
      for (const found of partitions) {
        const request = asked.get(`${name}-${found.partition}`)
        if (request === undefined) continue
        asked.delete(request.position.key)
        const { position, offset } = request
        // Removed, sought elsewhere, or the fetcher was closed by a callback before.
        if (this.#positions.get(position.key) !== position) continue
        if (found.errorCode === 0) this.#takeRecords(position, offset, found, frame)
        else this.#partitionFailed(position, found.errorCode, stale)
      }
    }
    // What was asked for and not answered is asked for again, but not at once and for ever.
    for (const { position } of asked.values()) this.#backOff(position)
    if (stale.length > 0) void this.#refresh(stale)
  }

  #takeRecords(position: Position, fetchOffset: number, found: PartitionResponse, frame: Frame): void {
    const { topic, partition, key } = position
    const { highWatermark, lastStableOffset, logStartOffset, records } = found
    position.failures = 0
    position.corruptions = 0
    position.missingSince = 0
    if (records !== null && records.end > records.start) {
      const end = wholeBatchesEnd(records.buffer, records.start, records.end)
      const nextOffset =
        end > records.start ? nextOffsetAfter(records.buffer, records.start, end) : fetchOffset
      if (nextOffset === undefined || end === records.start || nextOffset <= fetchOffset) {
        this.#stop(
          position,
          new StreamsError(
            'BATCH_CORRUPT',
            `${topic}-${partition} at offset ${fetchOffset}: the ${records.end - records.start} bytes fetched hold no whole batch that goes on from there`,
            { topic, partition, offset: fetchOffset },
          ),
        )
        return
      }
      position.offset = nextOffset
      // Who gave data is asked last, or a few busy partitions would fill every response.
      this.#positions.delete(key)
      this.#positions.set(key, position)
      this.#give(position, found, fetchOffset, nextOffset, records.buffer, records.start, end, frame)
    }
    if (this.#positions.get(key) !== position) return
    this.#options.onEnds(position, highWatermark, lastStableOffset, logStartOffset)
  }

  #give(
    position: Position,
    found: PartitionResponse,
    fetchOffset: number,
    nextOffset: number,
    response: Buffer,
    start: number,
    end: number,
    frame: Frame,
  ): void {
    const bytes = end - start
    const isSmall = bytes < smallChunkBytes && bytes * smallChunkShare < response.length
    const isReadCommitted = this.#options.isolation === 'read_committed'
    this.#bufferedBytes += bytes
    position.bufferedBytes += bytes
    let isReleased = false
    if (!isSmall) frame.lend(response)
    const chunk: FetchedChunk = {
      topic: position.topic,
      partition: position.partition,
      buffer: isSmall ? Buffer.from(response.subarray(start, end)) : response,
      start: isSmall ? 0 : start,
      end: isSmall ? bytes : end,
      fetchOffset,
      nextOffset,
      highWatermark: found.highWatermark,
      lastStableOffset: found.lastStableOffset,
      logStartOffset: found.logStartOffset,
      aborted: isReadCommitted ? ((found.abortedTransactions ?? []) as readonly AbortedTransaction[]) : null,
      release: (walked = false) => {
        if (isReleased) return
        isReleased = true
        if (!isSmall) frame.released(walked)
        this.#bufferedBytes -= bytes
        position.bufferedBytes -= bytes
        this.#pumpSoon()
      },
    }
    this.#options.onChunk(chunk)
  }

  #partitionFailed(position: Position, code: number, stale: Position[]): void {
    const { topic, partition, offset } = position
    const error = refusal(code, `fetch ${topic}-${partition} at offset ${offset}`, {
      topic,
      partition,
      offset,
    })
    if (code === kafkaErrors.OFFSET_OUT_OF_RANGE.code) {
      void this.#reset(position, error)
      return
    }
    if (error.verdict !== 'retry') {
      this.#stop(position, error)
      return
    }
    this.#logger.debug(`${error.message}; trying again`)
    this.#backOff(position)
    position.corruptions = code === kafkaErrors.CORRUPT_MESSAGE.code ? position.corruptions + 1 : 0
    if (position.corruptions > corruptTriesMax) {
      this.#stop(position, new StreamsError('BATCH_CORRUPT', error.message, error.about))
      return
    }
    const isStale = kafkaErrorClass(code) === 'metadata' || code === kafkaErrors.UNKNOWN_LEADER_EPOCH.code
    if (isStale) stale.push(position)
  }

  #stop(position: Position, error: StreamsError): void {
    this.#positions.delete(position.key)
    this.#options.onError(error, { topic: position.topic, partition: position.partition })
  }

  // -------------------------------------------------------------------------------- what moves underneath

  async #reset(position: Position, error: StreamsError): Promise<void> {
    const { topic, partition, offset } = position
    const policy = this.#options.offsetReset(position)
    if (policy === 'none') {
      this.#stop(
        position,
        new StreamsError(
          'KAFKA_OFFSET_OUT_OF_RANGE',
          `${topic}-${partition} has no offset ${offset}, and its reset policy is none: set a policy, or the group's position`,
          error.about,
        ),
      )
      return
    }
    position.isBusy = true
    try {
      const to = await this.#resetOffset(position, policy)
      if (this.#positions.get(position.key) !== position) return
      position.offset = to
      position.failures = 0
      this.#options.onReset(position, offset, to)
    } catch (cause) {
      const failure = asStreamsError(cause, 'reset the offset')
      if (this.#positions.get(position.key) !== position) return
      if (failure.verdict === 'retry') this.#backOff(position)
      else this.#stop(position, failure)
    } finally {
      position.isBusy = false
      this.#pumpSoon()
    }
  }

  async #resetOffset(
    position: Position,
    policy: Exclude<ReturnType<FetcherOptions['offsetReset']>, 'none'>,
  ): Promise<number> {
    const ask = async (spec: OffsetSpec): Promise<number | null> =>
      (await fetchOffsets(this.#cluster, [position], () => spec, this.#options.isolation))[0]?.offset ?? null
    if (typeof policy === 'string') return (await ask(policy)) ?? 0
    const timestamp = Math.max(0, this.#cluster.clock.now() - policy.byDurationMs)
    return (await ask({ timestamp })) ?? (await ask('latest')) ?? 0
  }

  /** Looks up leaders until each partition has one; `stale` ones are looked up even where one is known. */
  async #refresh(stale: readonly Position[] = []): Promise<void> {
    if (this.#isRefreshing) return
    this.#isRefreshing = true
    const open = new Set(stale.map(({ topic }) => topic))
    try {
      for (let failures = 0; !this.#isClosed; ) {
        for (const position of this.#positions.values()) {
          if (this.#cluster.leader(position) === undefined) open.add(position.topic)
        }
        if (open.size === 0) return
        if (failures > 0) await sleep(this.#cluster.clock, backoffMs(failures, 20))
        failures++
        try {
          await this.#cluster.refresh(open)
        } catch (error) {
          const failure = asStreamsError(error, 'look up leaders')
          if (this.#isClosed) return
          if (failure.verdict === 'retry') {
            if (failures === 1) this.#logger.debug(`fetch: ${failure.message}; trying again`)
            continue
          }
          this.#positions.clear()
          this.#options.onError(failure, null)
          return
        }
        open.clear()
        this.#judgeLeaderless()
        this.#pumpSoon()
      }
    } finally {
      this.#isRefreshing = false
    }
  }

  /** A topic that stays away is an error; one that was just made may take a moment to be known. */
  #judgeLeaderless(): void {
    const now = this.#cluster.clock.now()
    for (const position of [...this.#positions.values()]) {
      if (this.#cluster.leader(position) !== undefined) {
        position.missingSince = 0
        continue
      }
      const error = this.#cluster.noLeader(position)
      if (error.verdict !== 'retry') {
        this.#stop(position, error)
      } else if (error.code === 'KAFKA_TOPIC_MISSING') {
        if (position.missingSince === 0) position.missingSince = now
        if (now - position.missingSince > topicMissingMs) {
          this.#stop(
            position,
            new StreamsError('KAFKA_TOPIC_MISSING', error.message, { ...error.about, verdict: 'stop' }),
          )
        }
      }
    }
  }
}

/** One response, whose memory goes back to its connection when all chunks of it were walked to their end. */
class Frame {
  readonly #connection: Connection
  #buffer: Buffer | null = null
  /** One of them is the taking of it. */
  #open = 1
  #isReadable = false

  constructor(connection: Connection) {
    this.#connection = connection
  }

  lend(buffer: Buffer): void {
    this.#buffer = buffer
    this.#open++
  }

  taken(): void {
    this.#done()
  }

  released(walked: boolean): void {
    if (!walked) this.#isReadable = true
    this.#done()
  }

  #done(): void {
    if (--this.#open > 0 || this.#isReadable || this.#buffer === null) return
    this.#connection.reuse(this.#buffer)
    this.#buffer = null
  }
}

/** Where the last whole batch ends: a response may end inside one. */
function wholeBatchesEnd(buffer: Buffer, start: number, end: number): number {
  let at = start
  while (end - at > batchLayout.afterLength) {
    const length = buffer.readInt32BE(at + batchLayout.length)
    // A length that can't be is left for the reader of the batch, which says so.
    if (length < batchLayout.records - batchLayout.afterLength) return end
    if (at + batchLayout.afterLength + length > end) break
    at += batchLayout.afterLength + length
  }
  return at
}

/** The offset after the last batch; undefined where the headers make no sense. */
function nextOffsetAfter(buffer: Buffer, start: number, end: number): number | undefined {
  let at = start
  let next: number | undefined
  while (end - at >= batchLayout.records) {
    const length = buffer.readInt32BE(at + batchLayout.length)
    if (length < batchLayout.records - batchLayout.afterLength) return undefined
    const lastOffset =
      int64At(buffer, at + batchLayout.baseOffset) + buffer.readInt32BE(at + batchLayout.lastOffsetDelta)
    if (!Number.isSafeInteger(lastOffset) || lastOffset < 0) return undefined
    next = lastOffset + 1
    at += batchLayout.afterLength + length
  }
  return next
}
