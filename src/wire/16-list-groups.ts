/** Key 16: the groups of one coordinator. */
import { api } from './api.ts'
import { array, int16, int32, list, needs, since, string, struct } from './grammar.ts'

export const listGroups = api({
  key: 16,
  name: 'ListGroups',
  min: 0,
  max: 5,
  flexibleFrom: 3,
  request: struct({
    statesFilter: needs(4, array(string)),
    typesFilter: needs(5, array(string)),
  }),
  response: struct({
    throttleTimeMs: since(1, int32),
    errorCode: int16,
    groups: list({
      groupId: string,
      protocolType: string,
      groupState: since(4, string),
      groupType: since(5, string),
    }),
  }),
})
