/**
 * Key 3: brokers, topics, partitions and their leaders. Null topics ask for all, an empty list for none
 * (version 1); version 0 has no null, there an empty list asks for all.
 */
import { api } from './api.ts'
import {
  array,
  between,
  bool,
  int16,
  int32,
  list,
  needs,
  nullable,
  since,
  string,
  struct,
  uuid,
} from './grammar.ts'

export const metadata = api({
  key: 3,
  name: 'Metadata',
  min: 0,
  max: 12,
  flexibleFrom: 9,
  request: struct({
    topics: nullable(list({ topicId: since(10, uuid), name: nullable(string, 10) }), 1),
    allowAutoTopicCreation: needs(4, bool, true),
    includeClusterAuthorizedOperations: between(8, 10, bool),
    includeTopicAuthorizedOperations: needs(8, bool),
  }),
  response: struct({
    throttleTimeMs: since(3, int32),
    brokers: list({
      nodeId: int32,
      host: string,
      port: int32,
      rack: since(1, nullable(string)),
    }),
    clusterId: since(2, nullable(string)),
    controllerId: since(1, int32, -1),
    topics: list({
      errorCode: int16,
      name: nullable(string, 12),
      topicId: since(10, uuid),
      isInternal: since(1, bool),
      partitions: list({
        errorCode: int16,
        partition: int32,
        leaderId: int32,
        leaderEpoch: since(7, int32, -1),
        replicaNodes: array(int32),
        isrNodes: array(int32),
        offlineReplicas: since(5, array(int32)),
      }),
      topicAuthorizedOperations: since(8, int32, -2147483648),
    }),
    clusterAuthorizedOperations: between(8, 10, int32, -2147483648),
  }),
})
