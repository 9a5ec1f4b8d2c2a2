/**
 * Key 11: a member joins its group; the answer comes when all have joined. Metadata of a protocol is a view
 * of the buffer.
 */
import { api } from './api.ts'
import {
  bool,
  bytes,
  int16,
  int32,
  list,
  needs,
  nullable,
  optional,
  since,
  string,
  struct,
} from './grammar.ts'

export const joinGroup = api({
  key: 11,
  name: 'JoinGroup',
  min: 0,
  max: 9,
  flexibleFrom: 6,
  request: struct({
    groupId: string,
    sessionTimeoutMs: int32,
    rebalanceTimeoutMs: since(1, int32, -1),
    memberId: string,
    groupInstanceId: needs(5, nullable(string)),
    protocolType: string,
    protocols: list({ name: string, metadata: bytes }),
    reason: since(8, nullable(string)),
  }),
  response: struct({
    throttleTimeMs: since(2, int32),
    errorCode: int16,
    generationId: optional(int32, -1),
    protocolType: since(7, nullable(string)),
    protocolName: nullable(string, 7),
    leader: string,
    skipAssignment: since(9, bool),
    memberId: string,
    members: list({
      memberId: string,
      groupInstanceId: since(5, nullable(string)),
      metadata: bytes,
    }),
  }),
})
