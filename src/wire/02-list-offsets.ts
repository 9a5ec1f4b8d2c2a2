/**
 * Key 2: the first, the last, or the offset of a timestamp. Timestamps -2 (earliest), -1 (latest), -3 (the
 * record with the largest timestamp, version 7), -4 (earliest local, version 8).
 */
import { api } from './api.ts'
import { int8, int16, int32, int64, list, needs, optional, since, string, struct } from './grammar.ts'

export const listOffsets = api({
  key: 2,
  name: 'ListOffsets',
  min: 1,
  max: 8,
  flexibleFrom: 6,
  request: struct({
    replicaId: int32,
    isolationLevel: needs(2, int8),
    topics: list({
      name: string,
      partitions: list({
        partition: int32,
        currentLeaderEpoch: since(4, int32, -1),
        timestamp: int64,
      }),
    }),
  }),
  response: struct({
    throttleTimeMs: since(2, int32),
    topics: list({
      name: string,
      partitions: list({
        partition: int32,
        errorCode: int16,
        timestamp: optional(int64, -1),
        offset: optional(int64, -1),
        leaderEpoch: since(4, int32, -1),
      }),
    }),
  }),
})
