/** Key 25: names the group whose offsets a transaction is about to commit. */
import { api } from './api.ts'
import { int16, int32, int64, optional, string, struct } from './grammar.ts'

export const addOffsetsToTxn = api({
  key: 25,
  name: 'AddOffsetsToTxn',
  min: 0,
  max: 4,
  flexibleFrom: 3,
  request: struct({
    transactionalId: string,
    producerId: int64,
    producerEpoch: int16,
    groupId: string,
  }),
  response: struct({ throttleTimeMs: optional(int32), errorCode: int16 }),
})
