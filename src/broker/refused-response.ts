/** The response to a request that failed as a whole: the error code wherever the API has a place for one. */
import type { RequestOf, ResponseInOf } from '../wire/api.ts'
import { noUuid } from '../wire/grammar.ts'
import type { ApiName, Apis } from './faults.ts'

type Refuse<N extends ApiName> = (
  request: RequestOf<Apis[N]>,
  errorCode: number,
  version: number,
) => ResponseInOf<Apis[N]>

type Partitioned<P> = readonly { readonly name: string; readonly partitions: readonly P[] }[]

function perPartition<P, R>(topics: Partitioned<P>, answer: (partition: P) => R) {
  return { topics: topics.map(({ name, partitions }) => ({ name, partitions: partitions.map(answer) })) }
}

const noBytes = Buffer.alloc(0)
const noRange = { buffer: noBytes, start: 0, end: 0 }

const refusals: { readonly [N in ApiName]: Refuse<N> } = {
  produce: ({ topics }, errorCode) =>
    perPartition(topics, ({ partition }) => ({
      partition,
      errorCode,
      baseOffset: -1,
      recordErrors: [],
      errorMessage: null,
    })),
  fetch: ({ topics }, errorCode) => ({
    errorCode: 0,
    sessionId: 0,
    ...perPartition(topics, ({ partition }) => ({
      partition,
      errorCode,
      highWatermark: -1,
      abortedTransactions: null,
      records: noRange,
    })),
  }),
  listOffsets: ({ topics }, errorCode) => perPartition(topics, ({ partition }) => ({ partition, errorCode })),
  metadata: ({ topics }, errorCode) => ({
    brokers: [],
    clusterId: null,
    topics: (topics ?? []).map(({ name, topicId }) => ({ errorCode, name, topicId, partitions: [] })),
  }),
  offsetCommit: ({ topics }, errorCode) =>
    perPartition(topics, ({ partition }) => ({ partition, errorCode })),
  offsetFetch: ({ groups, topics }, errorCode) => ({
    errorCode,
    topics: perPartition(topics ?? [], (partition) => ({
      partition,
      committedOffset: -1,
      metadata: '',
      errorCode,
    })).topics,
    groups: groups.map(({ groupId }) => ({ groupId, errorCode, topics: [] })),
  }),
  findCoordinator: ({ coordinatorKeys }, errorCode) => ({
    errorCode,
    errorMessage: null,
    nodeId: -1,
    host: '',
    port: -1,
    coordinators: coordinatorKeys.map((key) => ({
      key,
      nodeId: -1,
      host: '',
      port: -1,
      errorCode,
      errorMessage: null,
    })),
  }),
  joinGroup: ({ memberId }, errorCode, version) => ({
    errorCode,
    protocolType: null,
    protocolName: version >= 7 ? null : '',
    leader: '',
    memberId,
    members: [],
  }),
  heartbeat: (_request, errorCode) => ({ errorCode }),
  leaveGroup: ({ members }, errorCode) => ({
    errorCode,
    members: members.map(({ memberId, groupInstanceId }) => ({ memberId, groupInstanceId, errorCode })),
  }),
  syncGroup: (_request, errorCode) => ({ errorCode, assignment: noBytes }),
  describeGroups: ({ groups }, errorCode) => ({
    groups: groups.map((groupId) => ({
      errorCode,
      groupId,
      groupState: '',
      protocolType: '',
      protocolData: '',
      members: [],
    })),
  }),
  listGroups: (_request, errorCode) => ({ errorCode, groups: [] }),
  saslHandshake: (_request, errorCode) => ({ errorCode, mechanisms: [] }),
  apiVersions: (_request, errorCode) => ({ errorCode, apiKeys: [] }),
  createTopics: ({ topics }, errorCode) => ({
    topics: topics.map(({ name }) => ({
      name,
      topicId: noUuid,
      errorCode,
      errorMessage: null,
      configs: null,
    })),
  }),
  deleteTopics: ({ topics, topicNames }, errorCode, version) => ({
    responses: (version >= 6 ? topics : topicNames.map((name) => ({ name, topicId: noUuid }))).map(
      ({ name, topicId }) => ({
        name,
        topicId,
        errorCode,
        errorMessage: null,
      }),
    ),
  }),
  deleteRecords: ({ topics }, errorCode) =>
    perPartition(topics, ({ partition }) => ({ partition, lowWatermark: -1, errorCode })),
  initProducerId: (_request, errorCode) => ({ errorCode, producerEpoch: -1 }),
  offsetForLeaderEpoch: ({ topics }, errorCode) =>
    perPartition(topics, ({ partition }) => ({ partition, errorCode })),
  addPartitionsToTxn: ({ topics }, errorCode) =>
    perPartition(topics, (partition) => ({ partition, errorCode })),
  addOffsetsToTxn: (_request, errorCode) => ({ errorCode }),
  endTxn: (_request, errorCode) => ({ errorCode }),
  txnOffsetCommit: ({ topics }, errorCode) =>
    perPartition(topics, ({ partition }) => ({ partition, errorCode })),
  describeConfigs: ({ resources }, errorCode) => ({
    results: resources.map(({ resourceType, resourceName }) => ({
      errorCode,
      errorMessage: null,
      resourceType,
      resourceName,
      configs: [],
    })),
  }),
  alterConfigs: ({ resources }, errorCode) => ({
    responses: resources.map(({ resourceType, resourceName }) => ({
      errorCode,
      errorMessage: null,
      resourceType,
      resourceName,
    })),
  }),
  saslAuthenticate: (_request, errorCode) => ({ errorCode, errorMessage: null, authBytes: noBytes }),
  createPartitions: ({ topics }, errorCode) => ({ results: topics.map(({ name }) => ({ name, errorCode })) }),
  deleteGroups: ({ groupsNames }, errorCode) => ({
    results: groupsNames.map((groupId) => ({ groupId, errorCode })),
  }),
  incrementalAlterConfigs: ({ resources }, errorCode) => ({
    responses: resources.map(({ resourceType, resourceName }) => ({
      errorCode,
      errorMessage: null,
      resourceType,
      resourceName,
    })),
  }),
  offsetDelete: (_request, errorCode) => ({ errorCode, topics: [] }),
  describeCluster: (_request, errorCode) => ({ errorCode, clusterId: '', brokers: [] }),
}

export function refusedResponse<N extends ApiName>(
  api: N,
  request: RequestOf<Apis[N]>,
  errorCode: number,
  version: number,
): ResponseInOf<Apis[N]> {
  return (refusals[api] as Refuse<N>)(request, errorCode, version)
}
