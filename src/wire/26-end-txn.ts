/**
 * Key 26: commits or aborts a transaction. Version 5 bumps the epoch each time (KIP-890) and is not spoken.
 */
import { api } from './api.ts'
import { bool, int16, int32, int64, optional, string, struct } from './grammar.ts'

export const endTxn = api({
  key: 26,
  name: 'EndTxn',
  min: 0,
  max: 4,
  flexibleFrom: 3,
  request: struct({
    transactionalId: string,
    producerId: int64,
    producerEpoch: int16,
    committed: bool,
  }),
  response: struct({ throttleTimeMs: optional(int32), errorCode: int16 }),
})
