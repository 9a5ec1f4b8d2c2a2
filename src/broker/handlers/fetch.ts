/**
 * Fetch, with long poll: it answers as soon as there are `minBytes`, an error, or `maxWaitMs` have passed. The first
 * batch of an answer is given whole, however long (KIP-74). Fetch sessions are refused: every fetch is a full one.
 */
import type { RequestOf, ResponseInOf } from '../../wire/api.ts'
import { type KafkaErrorName, kafkaCode } from '../../wire/error-codes.ts'
import type { Broker } from '../broker.ts'
import type { Apis } from '../faults.ts'
import { leaderEpoch, type PartitionLog, type Slice } from '../log.ts'
import type { Handler } from './handler.ts'

type Request = RequestOf<Apis['fetch']>
type Response = ResponseInOf<Apis['fetch']>
type Wanted = Request['topics'][number]['partitions'][number]

type Found = {
  readonly wanted: Wanted
  readonly log: PartitionLog | undefined
  readonly error: KafkaErrorName
  readonly slice: Slice | null
}
type Round = {
  readonly topics: { readonly name: string; readonly found: Found[] }[]
  readonly bytes: number
  readonly hasError: boolean
}

const noRecords = { buffer: Buffer.alloc(0), start: 0, end: 0 }

export const fetch: Handler<'fetch'> = (broker, request, { onClose }) => {
  if (request.sessionId !== 0) {
    return { errorCode: kafkaCode('FETCH_SESSION_ID_NOT_FOUND'), sessionId: 0, topics: [] }
  }
  const round = look(broker, request)
  if (isEnough(round, request)) return answer(round, request)

  return new Promise((resolve) => {
    const logs = new Set<PartitionLog>()
    for (const { found } of round.topics) for (const { log } of found) if (log !== undefined) logs.add(log)
    let isScheduled = false
    let isDone = false
    const finish = (last: Round | null) => {
      if (isDone) return
      isDone = true
      timer.cancel()
      for (const log of logs) log.waiters.delete(wake)
      resolve(last === null ? null : answer(last, request))
    }
    // Many appends of one turn of the event loop are looked at once.
    const wake = () => {
      if (isScheduled) return
      isScheduled = true
      setImmediate(() => {
        isScheduled = false
        if (isDone) return
        const again = look(broker, request)
        if (isEnough(again, request)) finish(again)
      })
    }
    const timer = broker.options.clock.after(request.maxWaitMs, () => finish(look(broker, request)))
    for (const log of logs) log.waiters.add(wake)
    onClose(() => finish(null))
  })
}

function isEnough({ bytes, hasError, topics }: Round, { minBytes, maxWaitMs }: Request): boolean {
  return bytes >= minBytes || hasError || maxWaitMs <= 0 || topics.length === 0
}

function look(broker: Broker, { topics, maxBytes, isolationLevel }: Request): Round {
  let bytes = 0
  let hasError = false
  const round = topics.map(({ name, partitions }) => ({
    name,
    found: partitions.map((wanted): Found => {
      const log = broker.topics.log(name, wanted.partition)
      const error = errorOf(log, wanted)
      if (log === undefined || error !== 'NONE') {
        hasError = true
        return { wanted, log, error, slice: null }
      }
      const upTo = isolationLevel === 1 ? log.stableOffset : log.endOffset
      const left = Math.min(wanted.partitionMaxBytes, maxBytes - bytes)
      const slice = left > 0 || bytes === 0 ? log.locate(wanted.fetchOffset, upTo, left, bytes === 0) : null
      if (slice !== null) bytes += slice.end - slice.start
      return { wanted, log, error, slice }
    }),
  }))
  return { topics: round, bytes, hasError }
}

function errorOf(log: PartitionLog | undefined, { fetchOffset, currentLeaderEpoch }: Wanted): KafkaErrorName {
  if (log === undefined) return 'UNKNOWN_TOPIC_OR_PARTITION'
  const epochError = leaderEpochError(currentLeaderEpoch)
  if (epochError !== 'NONE') return epochError
  return fetchOffset < log.startOffset || fetchOffset > log.endOffset ? 'OFFSET_OUT_OF_RANGE' : 'NONE'
}

/** What a client believes of the leader: -1 for nothing. */
export function leaderEpochError(believed: number): KafkaErrorName {
  if (believed === -1 || believed === leaderEpoch) return 'NONE'
  return believed < leaderEpoch ? 'FENCED_LEADER_EPOCH' : 'UNKNOWN_LEADER_EPOCH'
}

function answer({ topics }: Round, { isolationLevel }: Request): Response {
  return {
    errorCode: 0,
    sessionId: 0,
    topics: topics.map(({ name, found }) => ({
      name,
      partitions: found.map(({ wanted, log, error, slice }) => {
        const { partition, fetchOffset } = wanted
        if (log === undefined || error !== 'NONE') {
          return {
            partition,
            errorCode: kafkaCode(error),
            highWatermark: -1,
            logStartOffset: -1,
            abortedTransactions: null,
            records: noRecords,
          }
        }
        const { endOffset, stableOffset, startOffset } = log
        return {
          partition,
          errorCode: 0,
          highWatermark: endOffset,
          lastStableOffset: stableOffset,
          logStartOffset: startOffset,
          abortedTransactions:
            isolationLevel === 1 ? log.aborted(fetchOffset, endOf(slice, fetchOffset)) : null,
          records: slice === null ? noRecords : rangeOf(slice),
        }
      }),
    })),
  }
}

function rangeOf({ segment, start, end }: Slice): { buffer: Buffer; start: number; end: number } {
  const buffer = segment.bytes.read(start, end)
  return { buffer, start: 0, end: buffer.length }
}

function endOf(slice: Slice | null, fetchOffset: number): number {
  return slice === null ? fetchOffset : slice.endOffset
}
