/** Key 60: brokers, controller and id of the cluster. Endpoint type 1 is brokers, 2 controllers. */
import { api } from './api.ts'
import {
  bool,
  int8,
  int16,
  int32,
  list,
  needs,
  nullable,
  optional,
  since,
  string,
  struct,
} from './grammar.ts'

export const describeCluster = api({
  key: 60,
  name: 'DescribeCluster',
  min: 0,
  max: 2,
  flexibleFrom: 0,
  request: struct({
    includeClusterAuthorizedOperations: bool,
    endpointType: needs(1, int8, 1),
    includeFencedBrokers: needs(2, bool),
  }),
  response: struct({
    throttleTimeMs: optional(int32),
    errorCode: int16,
    errorMessage: optional(nullable(string)),
    endpointType: since(1, int8, 1),
    clusterId: string,
    controllerId: optional(int32, -1),
    brokers: list({
      brokerId: int32,
      host: string,
      port: int32,
      rack: optional(nullable(string)),
      isFenced: since(2, bool),
    }),
    clusterAuthorizedOperations: optional(int32, -2147483648),
  }),
})
