/**
 * Key 9: a group's committed positions. From version 8 on several groups are asked for at once, `groups`
 * stands in for `groupId` and `topics`. Version 10 names topics by id and is not spoken.
 */
import { api } from './api.ts'
import {
  array,
  between,
  bool,
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

export const offsetFetch = api({
  key: 9,
  name: 'OffsetFetch',
  min: 1,
  max: 9,
  flexibleFrom: 6,
  request: struct({
    groupId: between(1, 7, string),
    topics: between(1, 7, nullable(list({ name: string, partitions: array(int32) }), 2)),
    groups: needs(
      8,
      list({
        groupId: string,
        memberId: since(9, nullable(string)),
        memberEpoch: since(9, int32, -1),
        topics: nullable(list({ name: string, partitions: array(int32) })),
      }),
    ),
    requireStable: needs(7, bool),
  }),
  response: struct({
    throttleTimeMs: since(3, int32),
    topics: between(
      1,
      7,
      list({
        name: string,
        partitions: list({
          partition: int32,
          committedOffset: int64,
          committedLeaderEpoch: since(5, int32, -1),
          metadata: nullable(string),
          errorCode: int16,
        }),
      }),
    ),
    errorCode: between(2, 7, int16),
    groups: since(
      8,
      list({
        groupId: string,
        topics: list({
          name: string,
          partitions: list({
            partition: int32,
            committedOffset: int64,
            committedLeaderEpoch: optional(int32, -1),
            metadata: nullable(string),
            errorCode: int16,
          }),
        }),
        errorCode: int16,
      }),
    ),
  }),
})
