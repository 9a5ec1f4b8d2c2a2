/** Key 42: deletes groups without members. */
import { api } from './api.ts'
import { array, int16, int32, list, optional, string, struct } from './grammar.ts'

export const deleteGroups = api({
  key: 42,
  name: 'DeleteGroups',
  min: 0,
  max: 2,
  flexibleFrom: 2,
  request: struct({ groupsNames: array(string) }),
  response: struct({
    throttleTimeMs: optional(int32),
    results: list({ groupId: string, errorCode: int16 }),
  }),
})
