/**
 * Key 14: the leader hands out the assignment, the others get theirs. The assignment is a view of the
 * buffer.
 */
import { api } from './api.ts'
import { bytes, int16, int32, list, needs, nullable, since, string, struct } from './grammar.ts'

export const syncGroup = api({
  key: 14,
  name: 'SyncGroup',
  min: 0,
  max: 5,
  flexibleFrom: 4,
  request: struct({
    groupId: string,
    generationId: int32,
    memberId: string,
    groupInstanceId: needs(3, nullable(string)),
    protocolType: since(5, nullable(string)),
    protocolName: since(5, nullable(string)),
    assignments: list({ memberId: string, assignment: bytes }),
  }),
  response: struct({
    throttleTimeMs: since(1, int32),
    errorCode: int16,
    protocolType: since(5, nullable(string)),
    protocolName: since(5, nullable(string)),
    assignment: bytes,
  }),
})
