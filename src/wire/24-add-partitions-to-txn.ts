/**
 * Key 24: names the partitions that a transaction is about to write. Versions from 4 on are between brokers.
 */
import { api } from './api.ts'
import { array, int16, int32, int64, list, optional, string, struct } from './grammar.ts'

export const addPartitionsToTxn = api({
  key: 24,
  name: 'AddPartitionsToTxn',
  min: 0,
  max: 3,
  flexibleFrom: 3,
  request: struct({
    transactionalId: string,
    producerId: int64,
    producerEpoch: int16,
    topics: list({ name: string, partitions: array(int32) }),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    topics: list({
      name: string,
      partitions: list({ partition: int32, errorCode: int16 }),
    }),
  }),
})
