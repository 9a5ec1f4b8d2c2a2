/** Key 20: deletes topics, by name, from version 6 on by name or id. */
import { api } from './api.ts'
import {
  array,
  between,
  int16,
  int32,
  list,
  needs,
  nullable,
  optional,
  since,
  string,
  struct,
  uuid,
} from './grammar.ts'

export const deleteTopics = api({
  key: 20,
  name: 'DeleteTopics',
  min: 1,
  max: 6,
  flexibleFrom: 4,
  request: struct({
    topics: needs(6, list({ name: optional(nullable(string)), topicId: optional(uuid) })),
    topicNames: between(1, 5, array(string)),
    timeoutMs: int32,
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    responses: list({
      name: nullable(string, 6),
      topicId: since(6, uuid),
      errorCode: int16,
      errorMessage: since(5, nullable(string)),
    }),
  }),
})
