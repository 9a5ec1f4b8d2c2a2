/** Key 21: moves the start of partitions up to an offset; -1 is the high watermark. */
import { api } from './api.ts'
import { int16, int32, int64, list, optional, string, struct } from './grammar.ts'

export const deleteRecords = api({
  key: 21,
  name: 'DeleteRecords',
  min: 0,
  max: 2,
  flexibleFrom: 2,
  request: struct({
    topics: list({
      name: string,
      partitions: list({ partition: int32, offset: int64 }),
    }),
    timeoutMs: int32,
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    topics: list({
      name: string,
      partitions: list({ partition: int32, lowWatermark: int64, errorCode: int16 }),
    }),
  }),
})
