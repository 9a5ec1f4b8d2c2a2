/**
 * Key 22: a producer id and epoch, fencing whoever held the transactional id. From version 3 on a producer
 * names its own id and epoch to bump it. Version 6 is for two-phase commit and not spoken.
 */
import { api } from './api.ts'
import { int16, int32, int64, needs, nullable, optional, string, struct } from './grammar.ts'

export const initProducerId = api({
  key: 22,
  name: 'InitProducerId',
  min: 0,
  max: 5,
  flexibleFrom: 2,
  request: struct({
    transactionalId: nullable(string),
    transactionTimeoutMs: int32,
    producerId: needs(3, int64, -1),
    producerEpoch: needs(3, int16, -1),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    errorCode: int16,
    producerId: optional(int64, -1),
    producerEpoch: int16,
  }),
})
