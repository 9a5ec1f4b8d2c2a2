/**
 * Key 8: commits a group's positions. Retention time (v2-v4) is read and ignored by the embedded broker.
 * Version 10 names topics by id and is not spoken.
 */
import { api } from './api.ts'
import {
  between,
  int16,
  int32,
  int64,
  list,
  needs,
  nullable,
  optional,
  since,
  string,
  struct,
} from './grammar.ts'

export const offsetCommit = api({
  key: 8,
  name: 'OffsetCommit',
  min: 2,
  max: 9,
  flexibleFrom: 8,
  request: struct({
    groupId: string,
    generationId: optional(int32, -1),
    memberId: string,
    groupInstanceId: needs(7, nullable(string)),
    retentionTimeMs: between(2, 4, int64, -1),
    topics: list({
      name: string,
      partitions: list({
        partition: int32,
        committedOffset: int64,
        committedLeaderEpoch: since(6, int32, -1),
        committedMetadata: nullable(string),
      }),
    }),
  }),
  response: struct({
    throttleTimeMs: since(3, int32),
    topics: list({
      name: string,
      partitions: list({ partition: int32, errorCode: int16 }),
    }),
  }),
})
