/** Key 37: adds partitions to topics; `count` is the new total. */
import { api } from './api.ts'
import { array, bool, int16, int32, list, nullable, optional, string, struct } from './grammar.ts'

export const createPartitions = api({
  key: 37,
  name: 'CreatePartitions',
  min: 0,
  max: 3,
  flexibleFrom: 2,
  request: struct({
    topics: list({
      name: string,
      count: int32,
      assignments: nullable(list({ brokerIds: array(int32) })),
    }),
    timeoutMs: int32,
    validateOnly: optional(bool),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    results: list({
      name: string,
      errorCode: int16,
      errorMessage: optional(nullable(string)),
    }),
  }),
})
