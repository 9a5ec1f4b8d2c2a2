/** Key 15: state, protocol and members of groups. */
import { api } from './api.ts'
import { array, bool, bytes, int16, int32, list, needs, nullable, since, string, struct } from './grammar.ts'

export const describeGroups = api({
  key: 15,
  name: 'DescribeGroups',
  min: 0,
  max: 6,
  flexibleFrom: 5,
  request: struct({
    groups: array(string),
    includeAuthorizedOperations: needs(3, bool),
  }),
  response: struct({
    throttleTimeMs: since(1, int32),
    groups: list({
      errorCode: int16,
      errorMessage: since(6, nullable(string)),
      groupId: string,
      groupState: string,
      protocolType: string,
      protocolData: string,
      members: list({
        memberId: string,
        groupInstanceId: since(4, nullable(string)),
        clientId: string,
        clientHost: string,
        memberMetadata: bytes,
        memberAssignment: bytes,
      }),
      authorizedOperations: since(3, int32, -2147483648),
    }),
  }),
})
