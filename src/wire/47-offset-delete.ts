/** Key 47: deletes a group's positions of topics nobody in it subscribes. Never flexible. */
import { api } from './api.ts'
import { int16, int32, list, optional, string, struct } from './grammar.ts'

export const offsetDelete = api({
  key: 47,
  name: 'OffsetDelete',
  min: 0,
  max: 0,
  request: struct({
    groupId: string,
    topics: list({ name: string, partitions: list({ partition: int32 }) }),
  }),
  response: struct({
    errorCode: int16,
    throttleTimeMs: optional(int32),
    topics: list({
      name: string,
      partitions: list({ partition: int32, errorCode: int16 }),
    }),
  }),
})
