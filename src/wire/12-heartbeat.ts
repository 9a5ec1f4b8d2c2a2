/** Key 12: a member says that it lives, and hears of rebalances. */
import { api } from './api.ts'
import { int16, int32, needs, nullable, since, string, struct } from './grammar.ts'

export const heartbeat = api({
  key: 12,
  name: 'Heartbeat',
  min: 0,
  max: 4,
  flexibleFrom: 4,
  request: struct({
    groupId: string,
    generationId: int32,
    memberId: string,
    groupInstanceId: needs(3, nullable(string)),
  }),
  response: struct({ throttleTimeMs: since(1, int32), errorCode: int16 }),
})
