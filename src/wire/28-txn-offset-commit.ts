/**
 * Key 28: commits positions in a transaction, fenced by member and generation from version 3 on (KIP-447).
 * Version 5 is for the second transaction protocol and not spoken.
 */
import { api } from './api.ts'
import { int16, int32, int64, list, needs, nullable, optional, since, string, struct } from './grammar.ts'

export const txnOffsetCommit = api({
  key: 28,
  name: 'TxnOffsetCommit',
  min: 0,
  max: 4,
  flexibleFrom: 3,
  request: struct({
    transactionalId: string,
    groupId: string,
    producerId: int64,
    producerEpoch: int16,
    generationId: needs(3, int32, -1),
    memberId: needs(3, string),
    groupInstanceId: needs(3, nullable(string)),
    topics: list({
      name: string,
      partitions: list({
        partition: int32,
        committedOffset: int64,
        committedLeaderEpoch: since(2, int32, -1),
        committedMetadata: nullable(string),
      }),
    }),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    topics: list({
      name: string,
      partitions: list({ partition: int32, errorCode: int16 }),
    }),
  }),
})
