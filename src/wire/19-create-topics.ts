/** Key 19: creates topics. Null config values take the broker's default. */
import { api } from './api.ts'
import {
  array,
  bool,
  int8,
  int16,
  int32,
  list,
  nullable,
  optional,
  since,
  string,
  struct,
  tagged,
  uuid,
} from './grammar.ts'

export const createTopics = api({
  key: 19,
  name: 'CreateTopics',
  min: 2,
  max: 7,
  flexibleFrom: 5,
  request: struct({
    topics: list({
      name: string,
      numPartitions: int32,
      replicationFactor: int16,
      assignments: list({ partition: int32, brokerIds: array(int32) }),
      configs: list({ name: string, value: nullable(string) }),
    }),
    timeoutMs: optional(int32, 60000),
    validateOnly: optional(bool),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    topics: list({
      name: string,
      topicId: since(7, uuid),
      errorCode: int16,
      errorMessage: nullable(string),
      topicConfigErrorCode: tagged(0, 5, int16),
      numPartitions: since(5, int32, -1),
      replicationFactor: since(5, int16, -1),
      configs: since(
        5,
        nullable(
          list({
            name: string,
            value: nullable(string),
            readOnly: bool,
            configSource: optional(int8, -1),
            isSensitive: bool,
          }),
        ),
      ),
    }),
  }),
})
