/** ListOffsets, OffsetForLeaderEpoch, DeleteRecords: where logs begin and end. */
import { kafkaCode } from '../../wire/error-codes.ts'
import type { Broker } from '../broker.ts'
import { leaderEpoch, type PartitionLog } from '../log.ts'
import { codeOf, Refusal } from '../refusal.ts'
import { leaderEpochError } from './fetch.ts'
import type { Handler } from './handler.ts'

const latest = -1
const earliest = -2
const maxTimestamp = -3
const earliestLocal = -4

export const listOffsets: Handler<'listOffsets'> = (broker, { isolationLevel, topics }) => ({
  topics: topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partition, currentLeaderEpoch, timestamp }) => {
      try {
        const log = logOf(broker, name, partition)
        const epochError = leaderEpochError(currentLeaderEpoch)
        if (epochError !== 'NONE') throw new Refusal(epochError)
        return { partition, errorCode: 0, leaderEpoch, ...find(log, timestamp, isolationLevel === 1) }
      } catch (error) {
        return { partition, errorCode: codeOf(error) }
      }
    }),
  })),
})

function find(
  log: PartitionLog,
  timestamp: number,
  isCommitted: boolean,
): { offset: number; timestamp: number } {
  const end = isCommitted ? log.stableOffset : log.endOffset
  switch (timestamp) {
    case latest:
      return { offset: end, timestamp: -1 }
    case earliest:
    case earliestLocal:
      return { offset: log.startOffset, timestamp: -1 }
    default: {
      if (timestamp < maxTimestamp) throw new Refusal('UNSUPPORTED_VERSION', `timestamp ${timestamp}`)
      const found = timestamp === maxTimestamp ? log.offsetOfMaxTimestamp() : log.offsetOf(timestamp)
      return found === null || found.offset >= end ? { offset: -1, timestamp: -1 } : found
    }
  }
}

export const offsetForLeaderEpoch: Handler<'offsetForLeaderEpoch'> = (broker, { topics }) => ({
  topics: topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partition, currentLeaderEpoch, leaderEpoch: asked }) => {
      try {
        const log = logOf(broker, name, partition)
        const epochError = leaderEpochError(currentLeaderEpoch)
        if (epochError !== 'NONE') throw new Refusal(epochError)
        if (asked !== leaderEpoch) return { errorCode: 0, partition, leaderEpoch: -1, endOffset: -1 }
        return { errorCode: 0, partition, leaderEpoch, endOffset: log.endOffset }
      } catch (error) {
        return { errorCode: codeOf(error), partition }
      }
    }),
  })),
})

const toHighWatermark = -1

export const deleteRecords: Handler<'deleteRecords'> = (broker, { topics }) => ({
  topics: topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partition, offset }) => {
      try {
        const log = logOf(broker, name, partition)
        if (!log.settings.deletes) throw new Refusal('POLICY_VIOLATION', 'cleanup.policy has no "delete"')
        const start = offset === toHighWatermark ? log.endOffset : offset
        if (start < 0 || start > log.endOffset) throw new Refusal('OFFSET_OUT_OF_RANGE')
        if (start > log.startOffset) broker.topics.deleteRecords(log, start)
        return { partition, lowWatermark: log.startOffset, errorCode: kafkaCode('NONE') }
      } catch (error) {
        return { partition, lowWatermark: -1, errorCode: codeOf(error) }
      }
    }),
  })),
})

function logOf(broker: Broker, topic: string, partition: number): PartitionLog {
  const log = broker.topics.log(topic, partition)
  if (log === undefined) throw new Refusal('UNKNOWN_TOPIC_OR_PARTITION')
  return log
}
