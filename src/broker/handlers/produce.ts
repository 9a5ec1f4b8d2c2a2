/** Produce: each batch is checked and appended on its own; an error concerns its partition only. */
import type { Range } from '../../wire/grammar.ts'
import { BatchCursor } from '../../wire/record-batch.ts'
import { type BatchHeader, checkProduced } from '../batch-header.ts'
import type { Broker } from '../broker.ts'
import type { PartitionLog } from '../log.ts'
import { codeOf, Refusal } from '../refusal.ts'
import type { Handler } from './handler.ts'

export const produce: Handler<'produce'> = (broker, { acks, topics }, { version }) => {
  const isValid = acks === 0 || acks === 1 || acks === -1
  let failed = false
  const answers = topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partition, records }) => {
      try {
        if (!isValid) throw new Refusal('INVALID_REQUIRED_ACKS')
        const log = broker.topics.log(name, partition)
        if (log === undefined) throw new Refusal('UNKNOWN_TOPIC_OR_PARTITION')
        const { baseOffset, appendTimeMs } = append(broker, log, records, version >= abortableSince)
        return {
          partition,
          errorCode: 0,
          baseOffset,
          logAppendTimeMs: appendTimeMs,
          logStartOffset: log.startOffset,
          recordErrors: [],
        }
      } catch (error) {
        failed = true
        if (!(error instanceof Refusal))
          broker.options.logger.error(`embedded Kafka: ${name}-${partition}: ${String(error)}`)
        const errorMessage = error instanceof Refusal ? error.message : 'the broker failed'
        return {
          partition,
          errorCode: codeOf(error),
          baseOffset: -1,
          logStartOffset: -1,
          recordErrors: [],
          errorMessage,
        }
      }
    }),
  }))
  if (acks !== 0) return { topics: answers }
  // Nobody waits for an answer: a closed connection is how the producer hears of a failure.
  if (failed) throw new Refusal('UNKNOWN_SERVER_ERROR', 'a batch without acknowledgement was refused')
  return null
}

const abortableSince = 11

function append(
  broker: Broker,
  log: PartitionLog,
  records: Range | null,
  knowsAbortable: boolean,
): { baseOffset: number; appendTimeMs: number } {
  if (records === null) throw new Refusal('INVALID_RECORD', 'no record batch')
  const { buffer, start, end } = records
  const header = checkProduced(buffer, start, end)
  const { settings } = log
  if (header.size > settings.messageBytesMax) {
    throw new Refusal(
      'MESSAGE_TOO_LARGE',
      `a batch of ${header.size} bytes, max.message.bytes is ${settings.messageBytesMax}`,
    )
  }
  broker.transactions.checkProduced(header, log.topic, log.partition, knowsAbortable)
  checkTime(broker, log, header, records)
  if (settings.compacts) checkKeys(log, records)
  return log.append(buffer.subarray(start, end), header)
}

function checkTime(broker: Broker, log: PartitionLog, header: BatchHeader, records: Range): void {
  const { usesAppendTime, timestampAfterMaxMs, timestampBeforeMaxMs } = log.settings
  if (usesAppendTime) return
  const now = broker.options.clock.now()
  if (!Number.isSafeInteger(header.maxTimestamp) || header.maxTimestamp - now > timestampAfterMaxMs) {
    throw new Refusal(
      'INVALID_TIMESTAMP',
      `timestamp ${header.maxTimestamp} is more than ${timestampAfterMaxMs} ms ahead of the broker's clock, ${now}`,
    )
  }
  if (timestampBeforeMaxMs === Number.POSITIVE_INFINITY) return
  const cursor = cursorOver(log, records)
  while (cursor.next()) {
    if (now - cursor.timestamp > timestampBeforeMaxMs) {
      throw new Refusal(
        'INVALID_TIMESTAMP',
        `timestamp ${cursor.timestamp} is more than ${timestampBeforeMaxMs} ms old`,
      )
    }
  }
}

/** A compacted topic lives by its keys. Reading the records also refuses malformed ones here already. */
function checkKeys(log: PartitionLog, records: Range): void {
  const cursor = cursorOver(log, records)
  while (readNext(cursor)) {
    if (cursor.keyStart < 0)
      throw new Refusal('INVALID_RECORD', 'Compacted topic cannot accept message without key.')
  }
}

function readNext(cursor: BatchCursor): boolean {
  try {
    return cursor.next()
  } catch (error) {
    throw new Refusal('CORRUPT_MESSAGE', (error as Error).message)
  }
}

function cursorOver({ topic, partition }: PartitionLog, { buffer, start, end }: Range): BatchCursor {
  return new BatchCursor({ topic, partition, buffer, start, end, fromOffset: 0, aborted: null })
}
