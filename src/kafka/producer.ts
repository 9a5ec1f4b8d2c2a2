/**
 * Writes record batches, idempotent always and in transactions where there is a transactional id.
 *
 * Promises: batches of a partition are appended in the order given, each once. Several are in flight; where one
 * fails, those behind it wait until all have come back, and go out again in order with the numbers they had. Every
 * error has a verdict: what can work later is tried again until the delivery time-out, the rest fails the call and,
 * in a transaction, everything until `init`.
 *
 * A transaction costs AddPartitionsToTxn for what it writes first, AddOffsetsToTxn and TxnOffsetCommit for its
 * positions, EndTxn for its end. The first two may be announced ahead of the data. Coordinators and leaders are asked on
 * connections of their own, so that none waits behind a batch that is being replicated.
 */
import { assert } from '../base/assert.ts'
import { type Clock, sleep, type Timer } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { produce } from '../wire/00-produce.ts'
import { offsetCommit } from '../wire/08-offset-commit.ts'
import { initProducerId } from '../wire/22-init-producer-id.ts'
import { addPartitionsToTxn } from '../wire/24-add-partitions-to-txn.ts'
import { addOffsetsToTxn } from '../wire/25-add-offsets-to-txn.ts'
import { endTxn } from '../wire/26-end-txn.ts'
import { txnOffsetCommit } from '../wire/28-txn-offset-commit.ts'
import type { ResponseOf } from '../wire/api.ts'
import type { BatchBuilder } from '../wire/batch-builder.ts'
import { kafkaErrors } from '../wire/error-codes.ts'
import { backoffMs } from './backoff.ts'
import type {
  GroupIdentity,
  OffsetToCommit,
  OutgoingBatch,
  ProducedBatch,
  Producer,
  ProducerOptions,
  TopicPartition,
} from './client.ts'
import { type Cluster, isStaleLeader } from './cluster.ts'
import type { Connection } from './connection.ts'
import { byTopic } from './leaders.ts'
import { asStreamsError, isRefusal, refusal } from './refusal.ts'

const requestBytesMaxDefault = 8 * 1024 * 1024
const transactionTimeoutMsDefault = 10_000
/** Longest wait for a generation that the group has and this member doesn't know yet. Below half a transaction's time. */
const generationWaitMsMax = 4_000
const generationPollMs = 5
/** The broker remembers the last five batches of a producer in a partition: more in flight could not be told apart. */
const inFlightMax = 5
/** After its creation a topic takes a moment to be known everywhere; after this it is taken as missing. */
const topicMissingMs = 10_000
const allReplicas = -1
/** How long the broker waits for its replicas: less than what the connection waits for the broker. */
const replicationMs = 20_000
// Own id and epoch in InitProducerId since version 3, member and generation in TxnOffsetCommit since version 3.
const bumpSince = 3
const fencedOffsetsSince = 3

/** The number after `count` more records: it wraps to 0 past the largest int32. */
export function nextSequence(sequence: number, count: number): number {
  return (sequence + count) % 2 ** 31
}

/** One call of `produce`. */
type Delivery = {
  readonly results: ProducedBatch[]
  open: number
  readonly resolve: (batches: readonly ProducedBatch[]) => void
  readonly reject: (error: StreamsError) => void
  timer: Timer | null
}

type Outgoing = {
  readonly lane: Lane
  readonly builder: BatchBuilder
  readonly delivery: Delivery
  readonly index: number
  sequence: number
  /** Sealed with this id and epoch; sealed anew when they change. */
  bytes: Buffer | null
  isInFlight: boolean
}

/** One partition: what waits and what is in flight, in order. */
type Lane = {
  readonly topic: string
  readonly partition: number
  readonly queue: Outgoing[]
  inFlight: number
  sequence: number
  /** The broker has taken a batch of this id and epoch, and checks the numbers of the others against it. */
  isKnown: boolean
  /** One failed: nothing more goes out until all in flight have come back. */
  isRecovering: boolean
  failures: number
  /** No request before this wall-clock time. */
  notBefore: number
  missingSince: number
  /** In the current transaction. */
  membership: 'none' | 'adding' | 'added'
}

type Identity = { readonly id: number; readonly epoch: number }

export function createProducer(cluster: Cluster, options: ProducerOptions, logger: Logger): Producer {
  return new KafkaProducer(cluster, options, logger)
}

class KafkaProducer implements Producer {
  readonly #cluster: Cluster
  readonly #clock: Clock
  readonly #options: ProducerOptions
  readonly #logger: Logger
  readonly #transactionalId: string | null
  readonly #requestBytesMax: number
  readonly #lanes = new Map<string, Lane>()
  /** Lanes that have something queued. */
  readonly #busy = new Set<Lane>()
  readonly #inFlightByNode = new Map<number, number>()
  #inFlight = 0
  #identity: Identity | null = null
  /** Why nothing works until `init`. */
  #failure: StreamsError | null = null
  #isPumping = false
  #wakeAt = Number.POSITIVE_INFINITY
  #wake: Timer | null = null
  #isRefreshing = false
  #adding: Promise<void> | null = null
  /** Not in the transaction yet, and nothing of them is queued. */
  readonly #announced = new Set<Lane>()
  #isTransactionOpen = false
  #group: { readonly id: string; readonly added: Promise<void> } | null = null
  #reset: Promise<void> | null = null
  #drained: (() => void)[] = []
  /** Wait for what is queued for a broker. */
  #written: (() => void)[] = []
  #isClosed = false

  constructor(cluster: Cluster, options: ProducerOptions, logger: Logger) {
    this.#cluster = cluster
    this.#clock = cluster.clock
    this.#options = options
    this.#logger = logger
    this.#transactionalId = options.transactionalId ?? null
    this.#requestBytesMax = options.requestBytesMax ?? requestBytesMaxDefault
  }

  // ---------------------------------------------------------------------------------------------- identity

  async init(): Promise<void> {
    this.#assertOpen()
    await this.#untilDrained()
    this.#identity = await this.#initProducerId(
      this.#transactionalId,
      this.#transactionalId === null ? null : this.#identity,
    )
    for (const lane of this.#lanes.values()) {
      assert(lane.queue.length === 0, 'nothing is queued when a producer is initialised')
      lane.sequence = 0
      lane.isKnown = false
    }
    this.#failure = null
    this.#leaveTransaction()
  }

  async fence(transactionalId: string): Promise<void> {
    this.#assertOpen()
    await this.#initProducerId(transactionalId, null)
  }

  async #initProducerId(transactionalId: string | null, own: Identity | null): Promise<Identity> {
    const attempt = async (connection: Connection): Promise<Identity> => {
      const response = await connection.send(
        initProducerId,
        {
          transactionalId,
          transactionTimeoutMs: this.#options.transactionTimeoutMs ?? transactionTimeoutMsDefault,
          producerId: own?.id ?? -1,
          producerEpoch: own?.epoch ?? -1,
        },
        { least: bumpSince },
      )
      const { errorCode, producerId, producerEpoch } = response
      if (errorCode !== 0)
        throw refusal(errorCode, `initialise producer ${transactionalId ?? '(idempotent)'}`)
      return { id: producerId, epoch: producerEpoch }
    }
    const waitMs = this.#options.deliveryTimeoutMs
    return transactionalId === null
      ? this.#cluster.retrying(async () => attempt(await this.#cluster.any()), waitMs)
      : this.#cluster.atCoordinator('transaction', transactionalId, attempt, { waitMs, lane: 'second' })
  }

  // --------------------------------------------------------------------------------------------- producing

  produce(batches: readonly OutgoingBatch[]): Promise<readonly ProducedBatch[]> {
    return new Promise((resolve, reject) => {
      this.#assertOpen()
      if (this.#failure !== null) throw this.#failure
      assert(this.#identity !== null, 'init() is awaited before produce()')
      if (batches.length === 0) {
        resolve([])
        return
      }
      const delivery: Delivery = { results: [], open: batches.length, resolve, reject, timer: null }
      delivery.timer = this.#clock.after(this.#options.deliveryTimeoutMs, () => this.#expire(delivery))
      batches.forEach(({ topic, partition, builder }, index) => {
        assert(builder.count > 0, 'an empty batch is not produced')
        const lane = this.#lane(topic, partition)
        lane.queue.push({ lane, builder, delivery, index, sequence: -1, bytes: null, isInFlight: false })
        this.#busy.add(lane)
      })
      if (this.#transactionalId !== null) this.#addPartitions(this.#transactionalId)
      this.#pumpSoon()
    })
  }

  #lane(topic: string, partition: number): Lane {
    const key = `${topic}-${partition}`
    let lane = this.#lanes.get(key)
    if (lane === undefined) {
      lane = {
        topic,
        partition,
        queue: [],
        inFlight: 0,
        sequence: 0,
        isKnown: false,
        isRecovering: false,
        failures: 0,
        notBefore: 0,
        missingSince: 0,
        membership: 'none',
      }
      this.#lanes.set(key, lane)
    }
    return lane
  }

  /** Requests go out together for all that was handed in before the next microtask. */
  #pumpSoon(): void {
    if (this.#isPumping) return
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
    this.#wake = this.#clock.after(Math.max(1, time - this.#clock.now()), () => {
      this.#wakeAt = Number.POSITIVE_INFINITY
      this.#wake = null
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#failure !== null || this.#reset !== null || this.#isClosed) return
    const now = this.#clock.now()
    const byNode = new Map<number, Outgoing[]>()
    const leaderless = new Set<string>()
    // As long as a lane has more to send and its broker takes more, another request is put together.
    for (;;) {
      byNode.clear()
      for (const lane of this.#busy) {
        const outgoing = this.#next(lane, now)
        if (outgoing === undefined) continue
        const leader = this.#cluster.leader(lane)
        if (leader === undefined) {
          leaderless.add(lane.topic)
          continue
        }
        if ((this.#inFlightByNode.get(leader.nodeId) ?? 0) >= inFlightMax) continue
        const others = byNode.get(leader.nodeId)
        if (others === undefined) byNode.set(leader.nodeId, [outgoing])
        else others.push(outgoing)
      }
      if (byNode.size === 0) break
      for (const [nodeId, outgoing] of byNode) this.#sendSome(nodeId, outgoing)
    }
    if (leaderless.size > 0) void this.#refresh(leaderless)
  }

  #next(lane: Lane, now: number): Outgoing | undefined {
    if (this.#transactionalId !== null && lane.membership !== 'added') return undefined
    // A broker that knows nothing of a producer takes any number from it: the first batch goes alone, or a second
    // one could be taken in its place.
    if (lane.isRecovering || lane.inFlight >= (lane.isKnown ? inFlightMax : 1)) return undefined
    if (lane.notBefore > now) {
      this.#pumpAt(lane.notBefore)
      return undefined
    }
    return lane.queue[lane.inFlight]
  }

  /** One request of at most `requestBytesMax`, or of one batch that is larger; what is left waits for the next. */
  #sendSome(nodeId: number, candidates: readonly Outgoing[]): void {
    const { id, epoch } = this.#identity as Identity
    const request: Outgoing[] = []
    let bytes = 0
    for (const outgoing of candidates) {
      if (request.length > 0 && bytes + outgoing.builder.bytes > this.#requestBytesMax) break
      const { lane, builder } = outgoing
      if (outgoing.sequence < 0) {
        outgoing.sequence = lane.sequence
        lane.sequence = nextSequence(lane.sequence, builder.count)
      }
      outgoing.bytes ??= builder.seal(
        id,
        epoch,
        outgoing.sequence,
        this.#transactionalId !== null,
        this.#options.compression,
      )
      outgoing.isInFlight = true
      lane.inFlight++
      bytes += outgoing.bytes.length
      request.push(outgoing)
    }
    this.#inFlight++
    this.#inFlightByNode.set(nodeId, (this.#inFlightByNode.get(nodeId) ?? 0) + 1)
    void this.#exchange(nodeId, request).finally(() => {
      this.#inFlight--
      this.#inFlightByNode.set(nodeId, (this.#inFlightByNode.get(nodeId) ?? 1) - 1)
      if (this.#inFlight === 0) for (const resolve of this.#drained.splice(0)) resolve()
      this.#pumpSoon()
    })
  }

  async #exchange(nodeId: number, request: readonly Outgoing[]): Promise<void> {
    let answers: Map<string, ResponseOf<typeof produce>['topics'][number]['partitions'][number]>
    try {
      const connection = await this.#cluster.node(nodeId)
      const { topics } = await connection.send(produce, {
        transactionalId: this.#transactionalId,
        acks: allReplicas,
        timeoutMs: Math.min(this.#options.deliveryTimeoutMs, replicationMs),
        topics: byTopic(
          request.map((outgoing) => ({ ...outgoing.lane, outgoing })),
          ({ partition, outgoing }) => {
            const buffer = outgoing.bytes as Buffer
            return { partition, records: { buffer, start: 0, end: buffer.length } }
          },
        ),
      })
      answers = new Map()
      for (const { name, partitions } of topics) {
        for (const answer of partitions) answers.set(`${name}-${answer.partition}`, answer)
      }
    } catch (error) {
      const failure = asStreamsError(error, 'produce')
      for (const outgoing of request) this.#cameBack(outgoing)
      for (const outgoing of request) this.#failed(outgoing, failure)
      if (isStaleLeader(failure)) void this.#refresh(new Set(request.map(({ lane }) => lane.topic)))
      return
    }
    for (const outgoing of request) this.#cameBack(outgoing)
    const stale = new Set<string>()
    for (const outgoing of request) {
      const { topic, partition } = outgoing.lane
      const answer = answers.get(`${topic}-${partition}`)
      const code = answer?.errorCode ?? kafkaErrors.UNKNOWN_SERVER_ERROR.code
      if (answer !== undefined && code === 0) {
        this.#delivered(outgoing, answer.baseOffset)
        continue
      }
      const record = answer?.recordErrors[0]
      const error = refusal(code, `produce to ${topic}-${partition}`, {
        topic,
        partition,
        text: answer?.errorMessage ?? record?.batchIndexErrorMessage ?? null,
      })
      if (isStaleLeader(error)) stale.add(topic)
      this.#failed(outgoing, error)
    }
    if (stale.size > 0) void this.#refresh(stale)
  }

  #cameBack(outgoing: Outgoing): void {
    outgoing.isInFlight = false
    outgoing.lane.inFlight--
  }

  #delivered(outgoing: Outgoing, baseOffset: number): void {
    const { lane, delivery, index } = outgoing
    const at = lane.queue.indexOf(outgoing)
    if (at < 0) return
    lane.queue.splice(at, 1)
    lane.isKnown = true
    lane.failures = 0
    lane.missingSince = 0
    this.#settleLane(lane)
    delivery.results[index] = { topic: lane.topic, partition: lane.partition, baseOffset }
    if (--delivery.open === 0) {
      delivery.timer?.cancel()
      delivery.resolve(delivery.results)
    }
  }

  #settleLane(lane: Lane): void {
    if (lane.inFlight === 0) lane.isRecovering = false
    if (lane.queue.length > 0) return
    this.#busy.delete(lane)
    for (const resolve of this.#written.splice(0)) resolve()
  }

  /**
   * Before its first write in a transaction a broker asks the coordinator about it, for each transactional id one
   * question at a time: of two writes side by side the first is refused, with an answer that says to try again. So the
   * positions wait for data that goes to the same broker.
   */
  async #untilWritten(nodeId: number | undefined): Promise<void> {
    const waits = (): boolean => {
      for (const lane of this.#busy)
        if ((this.#cluster.leader(lane)?.nodeId ?? nodeId) === nodeId) return true
      return false
    }
    while (this.#failure === null && waits())
      await new Promise<void>((resolve) => {
        this.#written.push(resolve)
      })
    if (this.#failure !== null) throw this.#failure
  }

  #failed(outgoing: Outgoing, error: StreamsError): void {
    const { lane } = outgoing
    if (!lane.queue.includes(outgoing)) {
      this.#settleLane(lane)
      return
    }
    if (isRefusal(error, 'DUPLICATE_SEQUENCE_NUMBER') && this.#transactionalId === null) {
      // It is there, longer ago than the broker remembers offsets.
      this.#delivered(outgoing, -1)
      return
    }
    // Behind a batch that failed, the numbers of those that follow do not fit: they go again with it.
    const isFollower = isRefusal(error, 'OUT_OF_ORDER_SEQUENCE_NUMBER') && lane.isRecovering
    if (error.verdict !== 'retry' && !isFollower) {
      this.#giveUp(this.#judged(error))
      return
    }
    const now = this.#clock.now()
    if (isRefusal(error, 'UNKNOWN_TOPIC_OR_PARTITION') && this.#staysAway(lane)) {
      this.#giveUp(missingTopic(lane))
      return
    }
    lane.isRecovering = lane.inFlight > 0 || isFollower
    if (!isFollower) {
      lane.failures++
      this.#logger.debug(`${error.message}; trying again`)
    }
    lane.notBefore = now + backoffMs(lane.failures)
    this.#settleLane(lane)
    this.#pumpAt(lane.notBefore)
  }

  /** A topic that was just made may take a moment to be known. */
  #staysAway(lane: Lane): boolean {
    const now = this.#clock.now()
    if (lane.missingSince === 0) lane.missingSince = now
    return now - lane.missingSince > topicMissingMs
  }

  /**
   * An epoch that is too old can mean that the transaction timed out: giving it up and `init` tells whether somebody
   * else has the id. Sequence errors end a transaction, too; without one they are the broker's word against ours.
   */
  #judged(error: StreamsError): StreamsError {
    if (
      this.#transactionalId !== null &&
      isRefusal(error, 'INVALID_PRODUCER_EPOCH', 'DUPLICATE_SEQUENCE_NUMBER')
    ) {
      return new StreamsError('KAFKA_TRANSACTION_LOST', error.message, error.about)
    }
    return error
  }

  async #refresh(topics: ReadonlySet<string>): Promise<void> {
    if (this.#isRefreshing) return
    this.#isRefreshing = true
    let failures = 0
    const open = new Set(topics)
    try {
      while (!this.#isClosed && this.#failure === null && open.size > 0) {
        try {
          await this.#cluster.refresh(open)
        } catch (error) {
          const failure = asStreamsError(error, 'look up leaders')
          if (failure.verdict !== 'retry') {
            this.#giveUp(failure)
            return
          }
        }
        open.clear()
        for (const lane of this.#busy) {
          if (this.#cluster.leader(lane) !== undefined) continue
          const error = this.#cluster.noLeader(lane)
          if (error.verdict !== 'retry') {
            this.#giveUp(error)
            return
          }
          if (error.code === 'KAFKA_TOPIC_MISSING' && this.#staysAway(lane)) {
            this.#giveUp(missingTopic(lane))
            return
          }
          open.add(lane.topic)
        }
        this.#pumpSoon()
        if (open.size > 0) await sleep(this.#clock, backoffMs(++failures, 20))
      }
    } finally {
      this.#isRefreshing = false
    }
  }

  #expire(delivery: Delivery): void {
    delivery.timer = null
    const lane = [...this.#busy].find(({ queue }) => queue.some((outgoing) => outgoing.delivery === delivery))
    const where = lane === undefined ? '' : ` to ${lane.topic}-${lane.partition}`
    this.#giveUp(
      new StreamsError(
        'KAFKA_TIMEOUT',
        `records${where} were not acknowledged within ${this.#options.deliveryTimeoutMs} ms`,
        { ...(lane && { topic: lane.topic, partition: lane.partition }), ...this.#abortVerdict() },
      ),
    )
  }

  #abortVerdict(): { readonly verdict?: 'abort' } {
    return this.#transactionalId === null ? {} : { verdict: 'abort' }
  }

  /**
   * Fails everything that is under way. In a transaction nothing works until it is aborted and `init` gave a new
   * epoch; without one a new producer id is taken, because a gap in the sequences would stop the partition for good.
   */
  #giveUp(error: StreamsError): void {
    if (this.#failure !== null) return
    const deliveries = new Set<Delivery>()
    for (const lane of this.#busy) {
      for (const { delivery } of lane.queue) deliveries.add(delivery)
      lane.queue.length = 0
      lane.failures = 0
      lane.missingSince = 0
      lane.notBefore = 0
      lane.isRecovering = false
    }
    this.#busy.clear()
    if (this.#transactionalId !== null || error.verdict === 'stop') this.#failure = error
    else this.#renew()
    for (const resolve of this.#written.splice(0)) resolve()
    for (const delivery of deliveries) {
      delivery.timer?.cancel()
      delivery.reject(error)
    }
  }

  #renew(): void {
    if (this.#reset !== null) return
    const reset = this.#untilDrained()
      .then(() => this.#initProducerId(null, null))
      .then(
        (identity) => {
          this.#identity = identity
          for (const lane of this.#lanes.values()) {
            lane.sequence = 0
            lane.isKnown = false
            for (const outgoing of lane.queue) {
              outgoing.sequence = -1
              outgoing.bytes = null
            }
          }
        },
        (error: unknown) => {
          this.#reset = null
          this.#giveUp(asStreamsError(error, 'initialise the producer'))
        },
      )
      .finally(() => {
        // Where it failed another is under way, and nothing goes out before that.
        if (this.#reset === reset) this.#reset = null
        this.#pumpSoon()
      })
    this.#reset = reset
  }

  #untilDrained(): Promise<void> {
    if (this.#inFlight === 0) return Promise.resolve()
    return new Promise((resolve) => this.#drained.push(resolve))
  }

  // ------------------------------------------------------------------------------------------ transactions

  announce(groupId: string, partitions: Iterable<TopicPartition>): void {
    this.#assertOpen()
    const transactionalId = this.#transactionalId
    if (transactionalId === null || this.#failure !== null) return
    assert(this.#identity !== null, 'init() is awaited before announce()')
    for (const { topic, partition } of partitions) {
      const lane = this.#lane(topic, partition)
      if (lane.membership === 'none') this.#announced.add(lane)
    }
    this.#addPartitions(transactionalId)
    this.#groupAdded(transactionalId, groupId).catch((error) =>
      this.#giveUp(
        this.#inTransaction(this.#judged(asStreamsError(error, 'add offsets to the transaction'))),
      ),
    )
  }

  #addPartitions(transactionalId: string): void {
    this.#isTransactionOpen = true
    if (this.#adding !== null) return
    const lanes = [...new Set([...this.#busy, ...this.#announced])].filter(
      ({ membership }) => membership === 'none',
    )
    this.#announced.clear()
    if (lanes.length === 0) return
    for (const lane of lanes) lane.membership = 'adding'
    this.#adding = this.#addToTransaction(transactionalId, lanes).then(
      () => {
        this.#adding = null
        for (const lane of lanes) {
          lane.membership = 'added'
          lane.missingSince = 0
        }
        this.#pumpSoon()
        if (this.#failure === null) this.#addPartitions(transactionalId)
      },
      (error: unknown) => {
        this.#adding = null
        for (const lane of lanes) lane.membership = 'none'
        this.#giveUp(this.#inTransaction(asStreamsError(error, 'add partitions to the transaction')))
      },
    )
  }

  async #addToTransaction(transactionalId: string, lanes: readonly Lane[]): Promise<void> {
    const { id, epoch } = this.#identity as Identity
    const request = {
      transactionalId,
      producerId: id,
      producerEpoch: epoch,
      topics: byTopic(lanes, ({ partition }) => partition),
    }
    await this.#atTransactionCoordinator(async (connection) => {
      const { topics } = await connection.send(addPartitionsToTxn, request)
      let skipped: StreamsError | undefined
      for (const { name, partitions } of topics) {
        for (const { partition, errorCode: code } of partitions) {
          if (code === 0) continue
          const error = refusal(code, `add ${name}-${partition} to the transaction of ${transactionalId}`, {
            topic: name,
            partition,
          })
          const lane = this.#lane(name, partition)
          if (isRefusal(error, 'UNKNOWN_TOPIC_OR_PARTITION') && this.#staysAway(lane))
            throw missingTopic(lane)
          // Where one partition is refused, the others are answered with this.
          if (!isRefusal(error, 'OPERATION_NOT_ATTEMPTED')) throw error
          skipped = error
        }
      }
      if (skipped !== undefined) throw skipped
    })
  }

  #atTransactionCoordinator<T>(attempt: (connection: Connection) => Promise<T>): Promise<T> {
    return this.#cluster.atCoordinator('transaction', this.#transactionalId as string, attempt, {
      waitMs: this.#options.deliveryTimeoutMs,
      lane: 'second',
    })
  }

  /** What was tried long enough in a transaction is over with it. */
  #inTransaction(error: StreamsError): StreamsError {
    if (error.verdict !== 'retry') return error
    return new StreamsError(error.code, error.message, { ...error.about, cause: error, verdict: 'abort' })
  }

  async commitOffsets(identity: () => GroupIdentity, offsets: readonly OffsetToCommit[]): Promise<void> {
    this.#assertOpen()
    if (this.#failure !== null) throw this.#failure
    if (offsets.length === 0) return
    if (this.#transactionalId === null) {
      await this.#commitGroupOffsets(identity, offsets)
      return
    }
    assert(this.#identity !== null, 'init() is awaited before commitOffsets()')
    this.#isTransactionOpen = true
    try {
      await this.#groupAdded(this.#transactionalId, identity().groupId)
      await this.#commitTransactionOffsets(this.#transactionalId, identity, offsets)
    } catch (error) {
      throw this.#inTransaction(this.#judged(asStreamsError(error, 'commit offsets')))
    }
  }

  /** Once in a transaction. */
  #groupAdded(transactionalId: string, groupId: string): Promise<void> {
    if (this.#group?.id !== groupId) {
      const added = this.#addGroup(transactionalId, groupId)
      this.#group = { id: groupId, added }
    }
    return this.#group.added
  }

  async #addGroup(transactionalId: string, groupId: string): Promise<void> {
    const { id, epoch } = this.#identity as Identity
    await this.#atTransactionCoordinator(async (connection) => {
      const { errorCode } = await connection.send(addOffsetsToTxn, {
        transactionalId,
        producerId: id,
        producerEpoch: epoch,
        groupId,
      })
      if (errorCode !== 0)
        throw refusal(errorCode, `add group ${groupId} to the transaction of ${transactionalId}`)
    })
  }

  async #commitTransactionOffsets(
    transactionalId: string,
    identity: () => GroupIdentity,
    offsets: readonly OffsetToCommit[],
  ): Promise<void> {
    const { id, epoch } = this.#identity as Identity
    const topics = byTopic(offsets, ({ partition, offset, metadata }) => ({
      partition,
      committedOffset: offset,
      committedMetadata: metadata,
    }))
    await this.#withGeneration(
      identity,
      async (connection, { groupId, generation, memberId, instanceId }) => {
        await this.#untilWritten(this.#cluster.coordinatorNode('group', groupId))
        const response = await connection.send(
          txnOffsetCommit,
          {
            transactionalId,
            groupId,
            producerId: id,
            producerEpoch: epoch,
            generationId: generation,
            memberId,
            groupInstanceId: instanceId,
            topics,
          },
          { least: fencedOffsetsSince },
        )
        return response.topics
      },
    )
  }

  async #commitGroupOffsets(
    identity: () => GroupIdentity,
    offsets: readonly OffsetToCommit[],
  ): Promise<void> {
    const topics = byTopic(offsets, ({ partition, offset, metadata }) => ({
      partition,
      committedOffset: offset,
      committedMetadata: metadata,
    }))
    await this.#withGeneration(
      identity,
      async (connection, { groupId, generation, memberId, instanceId }) => {
        const response = await connection.send(
          offsetCommit,
          { groupId, generationId: generation, memberId, groupInstanceId: instanceId, topics },
          { least: 7 },
        )
        return response.topics
      },
    )
  }

  /** A generation that has moved on meanwhile is no failure: the request goes again with the new one. */
  async #withGeneration(
    identity: () => GroupIdentity,
    send: (
      connection: Connection,
      identity: GroupIdentity,
    ) => Promise<
      readonly {
        readonly name: string
        readonly partitions: readonly { readonly partition: number; readonly errorCode: number }[]
      }[]
    >,
  ): Promise<void> {
    const startedAt = this.#cluster.clock.now()
    for (;;) {
      const current = identity()
      try {
        await this.#cluster.atCoordinator(
          'group',
          current.groupId,
          async (connection) => {
            for (const { name, partitions } of await send(connection, current)) {
              for (const { partition, errorCode } of partitions) {
                if (errorCode === 0) continue
                throw refusal(
                  errorCode,
                  `commit the position of group ${current.groupId} in ${name}-${partition}`,
                  {
                    topic: name,
                    partition,
                  },
                )
              }
            }
          },
          { waitMs: this.#options.deliveryTimeoutMs, lane: 'second' },
        )
        return
      } catch (error) {
        if (!isRefusal(error, 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID', 'REBALANCE_IN_PROGRESS')) throw error
        // Between two generations this member hears of the new one in a moment, or that it is out.
        const hasMoved = (): boolean => {
          const { generation, memberId } = identity()
          return generation !== current.generation || memberId !== current.memberId
        }
        while (!hasMoved()) {
          const isOut = isRefusal(error, 'UNKNOWN_MEMBER_ID')
          if (isOut || this.#cluster.clock.now() - startedAt > generationWaitMsMax) throw error
          await sleep(this.#cluster.clock, generationPollMs)
        }
      }
    }
  }

  async end(decision: 'commit' | 'abort'): Promise<void> {
    this.#assertOpen()
    assert(this.#transactionalId !== null, 'only a transaction has an end')
    if (decision === 'abort') {
      this.#giveUp(new StreamsError('KAFKA_TRANSACTION_LOST', 'the transaction was aborted'))
    } else if (this.#failure !== null) {
      throw this.#failure
    }
    while (this.#adding !== null) await this.#adding.catch(() => {})
    await this.#group?.added.catch(() => {})
    await this.#untilDrained()
    if (decision === 'commit' && this.#failure !== null) throw this.#failure
    assert(decision === 'abort' || this.#busy.size === 0, 'all batches are acknowledged before a commit')
    if (!this.#isTransactionOpen) return
    const { id, epoch } = this.#identity as Identity
    const transactionalId = this.#transactionalId
    try {
      await this.#atTransactionCoordinator(async (connection) => {
        const { errorCode } = await connection.send(endTxn, {
          transactionalId,
          producerId: id,
          producerEpoch: epoch,
          committed: decision === 'commit',
        })
        if (errorCode !== 0) throw refusal(errorCode, `${decision} the transaction of ${transactionalId}`)
      })
    } catch (error) {
      const failure = asStreamsError(error, `${decision} the transaction`)
      this.#failure =
        failure.verdict === 'retry' || isRefusal(failure, 'INVALID_TXN_STATE')
          ? new StreamsError(
              'KAFKA_TRANSACTION_LOST',
              `the transaction's outcome is not known: ${failure.message}`,
              {
                ...failure.about,
                verdict: 'abort',
                cause: failure,
              },
            )
          : failure
      throw this.#failure
    }
    this.#leaveTransaction()
  }

  #leaveTransaction(): void {
    this.#isTransactionOpen = false
    this.#group = null
    this.#announced.clear()
    for (const lane of this.#lanes.values()) lane.membership = 'none'
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#giveUp(new StreamsError('KAFKA_CLOSED', 'the producer was closed'))
    this.#isClosed = true
    this.#wake?.cancel()
    await this.#cluster.close()
    await this.#reset
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new StreamsError('KAFKA_CLOSED', 'the producer is closed')
  }
}

function missingTopic({ topic, partition }: TopicPartition): StreamsError {
  return new StreamsError(
    'KAFKA_TOPIC_MISSING',
    `produce: topic ${topic} has no partition ${partition}; create it, or restore it where it was deleted`,
    { topic, partition },
  )
}
