/** InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn. */
import { kafkaCode } from '../../wire/error-codes.ts'
import { codeOf } from '../refusal.ts'
import type { Handler } from './handler.ts'

/** Producers that are too old to know PRODUCER_FENCED hear of it under the name that it had. */
function codeFor(error: unknown, version: number, fencedSince: number): number {
  const code = codeOf(error)
  return code === kafkaCode('PRODUCER_FENCED') && version < fencedSince
    ? kafkaCode('INVALID_PRODUCER_EPOCH')
    : code
}

export const initProducerId: Handler<'initProducerId'> = (broker, request, { version }) => {
  const { transactionalId, transactionTimeoutMs, producerId, producerEpoch } = request
  try {
    if (transactionalId === null) {
      return { errorCode: 0, producerId: broker.transactions.newProducerId(), producerEpoch: 0 }
    }
    const expected = producerId < 0 ? null : { producerId, epoch: producerEpoch }
    const transaction = broker.transactions.init(transactionalId, transactionTimeoutMs, expected)
    return { errorCode: 0, producerId: transaction.producerId, producerEpoch: transaction.epoch }
  } catch (error) {
    return { errorCode: codeFor(error, version, 4), producerId: -1, producerEpoch: -1 }
  }
}

export const addPartitionsToTxn: Handler<'addPartitionsToTxn'> = (broker, request, { version }) => {
  const { transactionalId, producerId, producerEpoch, topics } = request
  const isKnown = (topic: string, partition: number) => broker.topics.log(topic, partition) !== undefined
  const partitions = topics.flatMap(({ name, partitions: indexes }) =>
    indexes.map((partition) => [name, partition] as const),
  )
  const answerAll = (code: (topic: string, partition: number) => number) => ({
    topics: topics.map(({ name, partitions: indexes }) => ({
      name,
      partitions: indexes.map((partition) => ({ partition, errorCode: code(name, partition) })),
    })),
  })
  if (!partitions.every(([topic, partition]) => isKnown(topic, partition))) {
    // All or none: a transaction is not begun with half of its partitions.
    return answerAll((topic, partition) =>
      kafkaCode(isKnown(topic, partition) ? 'OPERATION_NOT_ATTEMPTED' : 'UNKNOWN_TOPIC_OR_PARTITION'),
    )
  }
  try {
    broker.transactions.addPartitions(transactionalId, producerId, producerEpoch, partitions)
    return answerAll(() => 0)
  } catch (error) {
    const code = codeFor(error, version, 2)
    return answerAll(() => code)
  }
}

export const addOffsetsToTxn: Handler<'addOffsetsToTxn'> = (broker, request, { version }) => {
  const { transactionalId, producerId, producerEpoch, groupId } = request
  try {
    broker.transactions.addGroup(transactionalId, producerId, producerEpoch, groupId)
    return { errorCode: 0 }
  } catch (error) {
    return { errorCode: codeFor(error, version, 2) }
  }
}

export const endTxn: Handler<'endTxn'> = (broker, request, { version }) => {
  const { transactionalId, producerId, producerEpoch, committed } = request
  try {
    broker.transactions.end(transactionalId, producerId, producerEpoch, committed)
    return { errorCode: 0 }
  } catch (error) {
    return { errorCode: codeFor(error, version, 2) }
  }
}
