/** Every request that the broker answers, by name. SASL is the connection's own. */
import type { ApiName } from '../faults.ts'
import { apiVersions, describeCluster, findCoordinator, metadata } from './cluster.ts'
import { alterConfigs, describeConfigs, incrementalAlterConfigs } from './configs.ts'
import { fetch } from './fetch.ts'
import { offsetCommit, offsetDelete, offsetFetch, txnOffsetCommit } from './group-offsets.ts'
import {
  deleteGroups,
  describeGroups,
  heartbeat,
  joinGroup,
  leaveGroup,
  listGroups,
  syncGroup,
} from './groups.ts'
import type { Handler } from './handler.ts'
import { deleteRecords, listOffsets, offsetForLeaderEpoch } from './offsets-of-log.ts'
import { produce } from './produce.ts'
import { createPartitions, createTopics, deleteTopics } from './topics.ts'
import { addOffsetsToTxn, addPartitionsToTxn, endTxn, initProducerId } from './transactions.ts'

type Handled = Exclude<ApiName, 'saslHandshake' | 'saslAuthenticate'>

export const handlers: { readonly [N in Handled]: Handler<N> } = {
  produce,
  fetch,
  listOffsets,
  metadata,
  offsetCommit,
  offsetFetch,
  findCoordinator,
  joinGroup,
  heartbeat,
  leaveGroup,
  syncGroup,
  describeGroups,
  listGroups,
  apiVersions,
  createTopics,
  deleteTopics,
  deleteRecords,
  initProducerId,
  offsetForLeaderEpoch,
  addPartitionsToTxn,
  addOffsetsToTxn,
  endTxn,
  txnOffsetCommit,
  describeConfigs,
  alterConfigs,
  createPartitions,
  deleteGroups,
  incrementalAlterConfigs,
  offsetDelete,
  describeCluster,
}
