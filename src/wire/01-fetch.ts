/**
 * Key 1: reads record batches. The records stay a range of the response. Versions from 13 on name topics by
 * id and are not spoken; `replicaId`, sessions and forgotten topics are for completeness, both ends fetch
 * without a session.
 */
import { api } from './api.ts'
import {
  array,
  int8,
  int16,
  int32,
  int64,
  list,
  needs,
  nullable,
  optional,
  records,
  since,
  string,
  struct,
  tagged,
} from './grammar.ts'

export const fetch = api({
  key: 1,
  name: 'Fetch',
  min: 4,
  max: 12,
  flexibleFrom: 12,
  request: struct({
    clusterId: tagged(0, 12, nullable(string)),
    replicaId: optional(int32, -1),
    maxWaitMs: int32,
    minBytes: int32,
    maxBytes: optional(int32, 2147483647),
    isolationLevel: int8,
    sessionId: since(7, int32),
    sessionEpoch: since(7, int32, -1),
    topics: list({
      name: string,
      partitions: list({
        partition: int32,
        currentLeaderEpoch: since(9, int32, -1),
        fetchOffset: int64,
        lastFetchedEpoch: needs(12, int32, -1),
        logStartOffset: since(5, int64, -1),
        partitionMaxBytes: int32,
      }),
    }),
    forgottenTopics: needs(7, list({ name: string, partitions: array(int32) })),
    rackId: since(11, string),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    errorCode: since(7, int16),
    sessionId: since(7, int32),
    topics: list({
      name: string,
      partitions: list({
        partition: int32,
        errorCode: int16,
        highWatermark: int64,
        lastStableOffset: optional(int64, -1),
        logStartOffset: since(5, int64, -1),
        divergingEpoch: tagged(
          0,
          12,
          struct({
            epoch: optional(int32, -1),
            endOffset: optional(int64, -1),
          }),
        ),
        currentLeader: tagged(
          1,
          12,
          struct({
            leaderId: optional(int32, -1),
            leaderEpoch: optional(int32, -1),
          }),
        ),
        snapshotId: tagged(
          2,
          12,
          struct({
            endOffset: optional(int64, -1),
            epoch: optional(int32, -1),
          }),
        ),
        abortedTransactions: nullable(list({ producerId: int64, firstOffset: int64 })),
        preferredReadReplica: since(11, int32, -1),
        records: nullable(records),
      }),
    }),
  }),
})
