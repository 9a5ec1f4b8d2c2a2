/**
 * The transaction coordinator: who holds a transactional id, which partitions and groups its transaction touches,
 * and how it ends. A higher epoch fences the older one everywhere. Ending is two steps, as in Kafka: the decision is
 * recorded and answered, then markers are written. Here the second follows at once, unless `markerDelayMs` asks for
 * the gap that clients of a real cluster meet (CONCURRENT_TRANSACTIONS, unstable offsets).
 *
 *   empty -> ongoing -> prepareCommit -> completeCommit -> ongoing …       (and the same with Abort)
 */
import type { Clock, Timer } from '../base/clock.ts'
import type { KafkaErrorName } from '../wire/error-codes.ts'
import { type BatchHeader, isTransactional } from './batch-header.ts'
import type { Groups } from './groups.ts'
import type { JournalEvent } from './journal.ts'
import { Refusal } from './refusal.ts'
import type { Topics } from './topics.ts'

export type TransactionState =
  | 'empty'
  | 'ongoing'
  | 'prepareCommit'
  | 'prepareAbort'
  | 'completeCommit'
  | 'completeAbort'

export type Transaction = {
  readonly id: string
  producerId: number
  epoch: number
  /** The epoch before the last bump by its own producer, so that a repeated request is recognised. */
  lastEpoch: number
  timeoutMs: number
  state: TransactionState
  startedMs: number
  readonly partitions: Map<string, readonly [topic: string, partition: number]>
  readonly groups: Set<string>
  timer: Timer | null
}

const epochMax = 32_766
export const transactionTimeoutMaxMs = 900_000

export class Transactions {
  readonly #byId = new Map<string, Transaction>()
  readonly #byProducer = new Map<number, Transaction>()
  #nextProducerId = 0
  readonly #clock: Clock
  readonly #topics: Topics
  readonly #groups: Groups
  readonly #record: (event: JournalEvent) => void
  markerDelayMs: number

  constructor(
    clock: Clock,
    topics: Topics,
    groups: Groups,
    record: (event: JournalEvent) => void,
    markerDelayMs: number,
  ) {
    this.#clock = clock
    this.#topics = topics
    this.#groups = groups
    this.#record = record
    this.markerDelayMs = markerDelayMs
  }

  get(id: string): Transaction | undefined {
    return this.#byId.get(id)
  }

  /** A producer id for idempotence alone. */
  newProducerId(): number {
    const id = this.#nextProducerId++
    this.#record({ kind: 'producerId', next: this.#nextProducerId })
    return id
  }

  /** Gives the id to a producer, fencing whoever had it. `expected` is what the producer says it holds. */
  init(
    id: string,
    timeoutMs: number,
    expected: { readonly producerId: number; readonly epoch: number } | null,
  ): Transaction {
    if (id === '') throw new Refusal('INVALID_REQUEST', 'an empty transactional id')
    if (timeoutMs <= 0 || timeoutMs > transactionTimeoutMaxMs)
      throw new Refusal('INVALID_TRANSACTION_TIMEOUT')
    let transaction = this.#byId.get(id)
    if (transaction === undefined) {
      transaction = {
        id,
        producerId: this.newProducerId(),
        epoch: 0,
        lastEpoch: -1,
        timeoutMs,
        state: 'empty',
        startedMs: -1,
        partitions: new Map(),
        groups: new Set(),
        timer: null,
      }
      this.#byId.set(id, transaction)
      this.#byProducer.set(transaction.producerId, transaction)
      this.#store(transaction)
      return transaction
    }
    if (expected !== null && expected.producerId !== transaction.producerId)
      throw new Refusal('PRODUCER_FENCED')
    if (isEnding(transaction)) throw new Refusal('CONCURRENT_TRANSACTIONS')
    if (transaction.state === 'ongoing') {
      if (expected !== null && expected.epoch !== transaction.epoch) throw new Refusal('PRODUCER_FENCED')
      this.#fence(transaction)
      if (expected !== null || isEnding(transaction)) throw new Refusal('CONCURRENT_TRANSACTIONS')
    }
    if (expected !== null && expected.epoch !== transaction.epoch) {
      // The answer to this very request may have been lost.
      if (expected.epoch !== transaction.lastEpoch) throw new Refusal('PRODUCER_FENCED')
      return transaction
    }
    transaction.lastEpoch = expected === null ? -1 : transaction.epoch
    this.#bump(transaction)
    transaction.timeoutMs = timeoutMs
    transaction.state = 'empty'
    this.#store(transaction)
    return transaction
  }

  #bump(transaction: Transaction): void {
    if (transaction.epoch < epochMax) {
      transaction.epoch++
      return
    }
    this.#byProducer.delete(transaction.producerId)
    transaction.producerId = this.newProducerId()
    transaction.epoch = 0
    transaction.lastEpoch = -1
    this.#byProducer.set(transaction.producerId, transaction)
  }

  addPartitions(
    id: string,
    producerId: number,
    epoch: number,
    partitions: readonly (readonly [string, number])[],
  ): void {
    const transaction = this.#held(id, producerId, epoch)
    let isNew = transaction.state !== 'ongoing'
    this.#begin(transaction)
    for (const [topic, partition] of partitions) {
      const key = `${topic}/${partition}`
      if (transaction.partitions.has(key)) continue
      transaction.partitions.set(key, [topic, partition])
      isNew = true
    }
    if (isNew) this.#store(transaction)
  }

  addGroup(id: string, producerId: number, epoch: number, group: string): void {
    const transaction = this.#held(id, producerId, epoch)
    const isNew = transaction.state !== 'ongoing' || !transaction.groups.has(group)
    this.#begin(transaction)
    transaction.groups.add(group)
    if (isNew) this.#store(transaction)
  }

  #begin(transaction: Transaction): void {
    if (transaction.state === 'ongoing') return
    transaction.state = 'ongoing'
    transaction.startedMs = this.#clock.now()
    this.#watch(transaction, transaction.timeoutMs)
  }

  #watch(transaction: Transaction, delayMs: number): void {
    transaction.timer?.cancel()
    transaction.timer = this.#clock.after(delayMs, () => this.expire(transaction.id))
  }

  end(id: string, producerId: number, epoch: number, isCommit: boolean): void {
    const transaction = this.#owned(id, producerId, epoch)
    const { state } = transaction
    switch (state) {
      case 'ongoing':
        this.#decide(transaction, isCommit)
        return
      case 'completeCommit':
      case 'completeAbort':
        if ((state === 'completeCommit') !== isCommit) throw new Refusal('INVALID_TXN_STATE')
        return
      case 'prepareCommit':
      case 'prepareAbort':
        throw new Refusal(
          (state === 'prepareCommit') === isCommit ? 'CONCURRENT_TRANSACTIONS' : 'INVALID_TXN_STATE',
        )
      case 'empty':
        throw new Refusal('INVALID_TXN_STATE')
    }
  }

  /** As if the transaction had run out of time: it is aborted and its producer fenced. False where none is open. */
  expire(id: string): boolean {
    const transaction = this.#byId.get(id)
    if (transaction?.state !== 'ongoing') return false
    this.#fence(transaction)
    return true
  }

  #fence(transaction: Transaction): void {
    transaction.lastEpoch = -1
    transaction.epoch++
    this.#decide(transaction, false)
  }

  #decide(transaction: Transaction, isCommit: boolean): void {
    transaction.state = isCommit ? 'prepareCommit' : 'prepareAbort'
    transaction.timer?.cancel()
    transaction.timer = null
    this.#store(transaction)
    if (this.markerDelayMs > 0)
      transaction.timer = this.#clock.after(this.markerDelayMs, () => this.#complete(transaction))
    else this.#complete(transaction)
  }

  #complete(transaction: Transaction): void {
    const { producerId, epoch } = transaction
    const isCommit = transaction.state === 'prepareCommit'
    transaction.timer = null
    for (const [topic, partition] of transaction.partitions.values()) {
      this.#topics.log(topic, partition)?.appendMarker(producerId, epoch, isCommit)
    }
    if (transaction.groups.size > 0) this.#groups.endTransaction(producerId, isCommit)
    transaction.partitions.clear()
    transaction.groups.clear()
    transaction.state = isCommit ? 'completeCommit' : 'completeAbort'
    if (transaction.epoch > epochMax) this.#bump(transaction)
    this.#store(transaction)
  }

  /** May this batch be written? One of a transaction only by its holder, and where it was announced. */
  checkProduced(header: BatchHeader, topic: string, partition: number, knowsAbortable: boolean): void {
    if (!isTransactional(header)) return
    const transaction = this.#byProducer.get(header.producerId)
    if (transaction === undefined) throw new Refusal('INVALID_PRODUCER_ID_MAPPING')
    if (transaction.epoch !== header.producerEpoch) throw new Refusal('INVALID_PRODUCER_EPOCH')
    if (transaction.state !== 'ongoing' || !transaction.partitions.has(`${topic}/${partition}`)) {
      throw new Refusal(notPartOf(knowsAbortable), 'the partition is not part of an open transaction')
    }
  }

  checkOffsets(id: string, producerId: number, epoch: number, group: string, knowsAbortable: boolean): void {
    const transaction = this.#byId.get(id)
    if (transaction === undefined || transaction.producerId !== producerId) {
      throw new Refusal('INVALID_PRODUCER_ID_MAPPING')
    }
    if (transaction.epoch !== epoch) throw new Refusal('INVALID_PRODUCER_EPOCH')
    if (transaction.state !== 'ongoing' || !transaction.groups.has(group)) {
      throw new Refusal(notPartOf(knowsAbortable), 'the group is not part of an open transaction')
    }
  }

  #owned(id: string, producerId: number, epoch: number): Transaction {
    if (id === '') throw new Refusal('INVALID_REQUEST', 'an empty transactional id')
    const transaction = this.#byId.get(id)
    if (transaction === undefined || transaction.producerId !== producerId)
      throw new Refusal('INVALID_PRODUCER_ID_MAPPING')
    if (transaction.epoch !== epoch) throw new Refusal('PRODUCER_FENCED')
    return transaction
  }

  #held(id: string, producerId: number, epoch: number): Transaction {
    const transaction = this.#owned(id, producerId, epoch)
    if (isEnding(transaction)) throw new Refusal('CONCURRENT_TRANSACTIONS')
    return transaction
  }

  close(): void {
    for (const { timer } of this.#byId.values()) timer?.cancel()
  }

  restore(event: JournalEvent): void {
    if (event.kind === 'producerId') {
      this.#nextProducerId = Math.max(this.#nextProducerId, event.next)
    } else if (event.kind === 'transaction') {
      const { id, producerId, epoch, lastEpoch, timeoutMs, startedMs } = event
      const old = this.#byId.get(id)
      if (old !== undefined) this.#byProducer.delete(old.producerId)
      const transaction: Transaction = {
        id,
        producerId,
        epoch,
        lastEpoch,
        timeoutMs,
        startedMs,
        state: event.state as TransactionState,
        partitions: new Map(
          event.partitions.map(([topic, partition]) => [`${topic}/${partition}`, [topic, partition]]),
        ),
        groups: new Set(event.groups),
        timer: null,
      }
      this.#byId.set(id, transaction)
      this.#byProducer.set(producerId, transaction)
    }
  }

  /** After a restart: decisions are carried out, clocks run on. A marker that was written already changes nothing. */
  resume(): void {
    for (const transaction of this.#byId.values()) {
      if (isEnding(transaction)) this.#complete(transaction)
      else if (transaction.state === 'ongoing') {
        this.#watch(
          transaction,
          Math.max(0, transaction.startedMs + transaction.timeoutMs - this.#clock.now()),
        )
      }
    }
  }

  *events(): Generator<JournalEvent> {
    yield { kind: 'producerId', next: this.#nextProducerId }
    for (const transaction of this.#byId.values()) yield eventOf(transaction)
  }

  #store(transaction: Transaction): void {
    this.#record(eventOf(transaction))
  }
}

/** What was not announced to the coordinator: newer clients have a code of its own for it. */
function notPartOf(knowsAbortable: boolean): KafkaErrorName {
  return knowsAbortable ? 'TRANSACTION_ABORTABLE' : 'INVALID_TXN_STATE'
}

function isEnding({ state }: Transaction): boolean {
  return state === 'prepareCommit' || state === 'prepareAbort'
}

function eventOf(transaction: Transaction): JournalEvent {
  const { id, producerId, epoch, lastEpoch, timeoutMs, state, startedMs, partitions, groups } = transaction
  return {
    kind: 'transaction',
    id,
    producerId,
    epoch,
    lastEpoch,
    timeoutMs,
    state,
    startedMs,
    partitions: [...partitions.values()],
    groups: [...groups],
  }
}
