/** Key 13: members leave their group; from version 3 on several, by id or by instance. */
import { api } from './api.ts'
import { between, int16, int32, list, needs, nullable, optional, since, string, struct } from './grammar.ts'

export const leaveGroup = api({
  key: 13,
  name: 'LeaveGroup',
  min: 0,
  max: 5,
  flexibleFrom: 4,
  request: struct({
    groupId: string,
    memberId: between(0, 2, string),
    members: needs(
      3,
      list({
        memberId: string,
        groupInstanceId: optional(nullable(string)),
        reason: since(5, nullable(string)),
      }),
    ),
  }),
  response: struct({
    throttleTimeMs: since(1, int32),
    errorCode: int16,
    members: since(
      3,
      list({
        memberId: string,
        groupInstanceId: nullable(string),
        errorCode: int16,
      }),
    ),
  }),
})
