/**
 * Key 0: appends record batches. The records stay a range of the buffer at both ends. Version 12 means the
 * second transaction protocol (KIP-890), which is slower back to back, and 13 topic ids; neither is spoken.
 */
import { api } from './api.ts'
import {
  int16,
  int32,
  int64,
  list,
  nullable,
  optional,
  records,
  since,
  string,
  struct,
  tagged,
} from './grammar.ts'

export const produce = api({
  key: 0,
  name: 'Produce',
  min: 3,
  max: 11,
  flexibleFrom: 9,
  request: struct({
    transactionalId: optional(nullable(string)),
    acks: int16,
    timeoutMs: int32,
    topics: list({
      name: string,
      partitions: list({ partition: int32, records: nullable(records) }),
    }),
  }),
  response: struct({
    topics: list({
      name: string,
      partitions: list({
        partition: int32,
        errorCode: int16,
        baseOffset: int64,
        logAppendTimeMs: optional(int64, -1),
        logStartOffset: since(5, int64, -1),
        recordErrors: since(
          8,
          list({
            batchIndex: int32,
            batchIndexErrorMessage: optional(nullable(string)),
          }),
        ),
        errorMessage: since(8, nullable(string)),
        currentLeader: tagged(
          0,
          10,
          struct({
            leaderId: optional(int32, -1),
            leaderEpoch: optional(int32, -1),
          }),
        ),
      }),
    }),
    throttleTimeMs: optional(int32),
    nodeEndpoints: tagged(
      0,
      10,
      list({
        nodeId: int32,
        host: string,
        port: int32,
        rack: optional(nullable(string)),
      }),
    ),
  }),
})
