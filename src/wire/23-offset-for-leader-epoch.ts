/** Key 23: where a leader's epoch ends, to find divergence after a leader change. */
import { api } from './api.ts'
import { int16, int32, int64, list, optional, since, string, struct } from './grammar.ts'

export const offsetForLeaderEpoch = api({
  key: 23,
  name: 'OffsetForLeaderEpoch',
  min: 2,
  max: 4,
  flexibleFrom: 4,
  request: struct({
    replicaId: since(3, int32, -2),
    topics: list({
      name: string,
      partitions: list({
        partition: int32,
        currentLeaderEpoch: optional(int32, -1),
        leaderEpoch: int32,
      }),
    }),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    topics: list({
      name: string,
      partitions: list({
        errorCode: int16,
        partition: int32,
        leaderEpoch: optional(int32, -1),
        endOffset: optional(int64, -1),
      }),
    }),
  }),
})
