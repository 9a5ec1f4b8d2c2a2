/**
 * What a partition remembers of the producers that write to it: epoch, the last sequence numbers, an open
 * transaction. It tells a resent batch from a new one, and holds back what read_committed may not see yet.
 */
import { type BatchHeader, isTransactional } from './batch-header.ts'
import { Refusal } from './refusal.ts'

/** As many batches as a producer may have in flight: a resent one of these is recognised. */
const rememberedBatches = 5
const sequenceMax = 2 ** 31

export type AppendedBatch = {
  readonly baseSequence: number
  readonly lastSequence: number
  readonly baseOffset: number
  readonly timestamp: number
}

type Producer = { epoch: number; batches: AppendedBatch[] }

export type AbortedRange = {
  readonly producerId: number
  readonly firstOffset: number
  readonly markerOffset: number
}

export class ProducerStates {
  readonly #producers = new Map<number, Producer>()
  /** First offset by producer id. Transactions begin in offset order, so the first entry is the oldest. */
  readonly #open = new Map<number, number>()
  #aborted: AbortedRange[] = []

  /** The batch that this one repeats, if it does; refuses one that leaves a gap or comes from a fenced producer. */
  check(header: BatchHeader): AppendedBatch | null {
    const { producerId, producerEpoch, baseSequence } = header
    if (producerId < 0) return null
    if (!isTransactional(header) && this.#open.has(producerId)) {
      throw new Refusal('INVALID_TXN_STATE', 'a record outside the transaction that its producer has open')
    }
    const producer = this.#producers.get(producerId)
    if (producer === undefined) return null
    if (producerEpoch < producer.epoch) {
      throw new Refusal('INVALID_PRODUCER_EPOCH', `epoch ${producerEpoch} was fenced by ${producer.epoch}`)
    }
    if (producerEpoch > producer.epoch) {
      if (baseSequence === 0) return null
      throw new Refusal('OUT_OF_ORDER_SEQUENCE_NUMBER', `a new epoch begins with sequence ${baseSequence}`)
    }
    const lastSequence = lastSequenceOf(header)
    for (const batch of producer.batches) {
      if (batch.baseSequence === baseSequence && batch.lastSequence === lastSequence) return batch
    }
    const last = producer.batches.at(-1)
    if (last === undefined) {
      // After a marker that raised the epoch the next batch begins anew.
      if (baseSequence === 0) return null
      throw new Refusal('OUT_OF_ORDER_SEQUENCE_NUMBER', `a new epoch begins with sequence ${baseSequence}`)
    }
    const due = (last.lastSequence + 1) % sequenceMax
    if (baseSequence !== due) {
      throw new Refusal('OUT_OF_ORDER_SEQUENCE_NUMBER', `sequence ${baseSequence}, ${due} is due`)
    }
    return null
  }

  appended(header: BatchHeader, timestamp: number): void {
    const { producerId, producerEpoch, baseSequence, baseOffset } = header
    if (producerId < 0) return
    let producer = this.#producers.get(producerId)
    if (producer === undefined || producer.epoch !== producerEpoch) {
      producer = { epoch: producerEpoch, batches: [] }
      this.#producers.set(producerId, producer)
    }
    // A batch that compaction emptied keeps its last sequence in its header, for this.
    producer.batches.push({ baseSequence, lastSequence: lastSequenceOf(header), baseOffset, timestamp })
    if (producer.batches.length > rememberedBatches) producer.batches.shift()
    if (isTransactional(header) && !this.#open.has(producerId)) this.#open.set(producerId, baseOffset)
  }

  /** A transaction of the producer ended at this offset. */
  ended(producerId: number, epoch: number, isCommit: boolean, markerOffset: number): void {
    const producer = this.#producers.get(producerId)
    if (producer === undefined || producer.epoch < epoch)
      this.#producers.set(producerId, { epoch, batches: [] })
    const firstOffset = this.#open.get(producerId)
    if (firstOffset === undefined) return
    this.#open.delete(producerId)
    if (!isCommit) this.#aborted.push({ producerId, firstOffset, markerOffset })
  }

  /** Where the oldest open transaction begins; undefined where none is open. */
  get firstOpenOffset(): number | undefined {
    for (const offset of this.#open.values()) return offset
    return undefined
  }

  hasOpen(producerId: number): boolean {
    return this.#open.has(producerId)
  }

  abortedWithin(from: number, upTo: number): AbortedRange[] {
    return this.#aborted.filter(({ firstOffset, markerOffset }) => markerOffset >= from && firstOffset < upTo)
  }

  forgetAbortedBefore(offset: number): void {
    if (this.#aborted.length > 0)
      this.#aborted = this.#aborted.filter(({ markerOffset }) => markerOffset >= offset)
  }

  forgetAborted(markerOffset: number): void {
    this.#aborted = this.#aborted.filter((range) => range.markerOffset !== markerOffset)
  }
}

function lastSequenceOf({ baseSequence, baseOffset, lastOffset }: BatchHeader): number {
  return (baseSequence + lastOffset - baseOffset) % sequenceMax
}
