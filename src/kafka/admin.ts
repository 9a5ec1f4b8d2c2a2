/** Topics, configurations, offsets and groups, asked for and changed. Everything is tried again while that can help, for half a minute at most. */
import { StreamsError } from '../base/errors.ts'
import { listOffsets } from '../wire/02-list-offsets.ts'
import { offsetCommit } from '../wire/08-offset-commit.ts'
import { leaveGroup } from '../wire/13-leave-group.ts'
import { describeGroups } from '../wire/15-describe-groups.ts'
import { listGroups } from '../wire/16-list-groups.ts'
import { createTopics } from '../wire/19-create-topics.ts'
import { deleteTopics } from '../wire/20-delete-topics.ts'
import { deleteRecords } from '../wire/21-delete-records.ts'
import { describeConfigs } from '../wire/32-describe-configs.ts'
import { createPartitions } from '../wire/37-create-partitions.ts'
import { deleteGroups } from '../wire/42-delete-groups.ts'
import { incrementalAlterConfigs } from '../wire/44-incremental-alter-configs.ts'
import { offsetDelete } from '../wire/47-offset-delete.ts'
import { kafkaErrors } from '../wire/error-codes.ts'
import type { Admin, Isolation, NewTopic, OffsetSpec, TopicDescription, TopicPartition } from './client.ts'
import type { Cluster, Topic } from './cluster.ts'
import type { Connection } from './connection.ts'
import { fetchGroupOffsets } from './group-offsets.ts'
import { askLeaders, byTopic } from './leaders.ts'
import { refusal } from './refusal.ts'

const requestWaitMs = 30_000
const topicResource = 2
const setEntry = 0
const deleteEntry = 1

export const isolationLevel: { readonly [I in Isolation]: number } = {
  read_uncommitted: 0,
  read_committed: 1,
}

/** The numbers that ListOffsets takes in place of a timestamp. */
export function offsetTimestamp(spec: OffsetSpec): number {
  if (spec === 'earliest') return -2
  if (spec === 'latest') return -1
  return spec.timestamp
}

export function createAdmin(cluster: Cluster): Admin {
  const retrying = cluster.retrying.bind(cluster)

  /** Requests that only the controller takes; with KRaft any broker passes them on. */
  const atController = <T>(attempt: (connection: Connection) => Promise<T>): Promise<T> =>
    retrying(async () => {
      try {
        return await attempt(await cluster.controller())
      } catch (error) {
        cluster.forgetController()
        throw error
      }
    })

  const awaitLeaders = (names: readonly string[], partitionsMin: (name: string) => number): Promise<void> =>
    retrying(async () => {
      await cluster.refresh(names)
      for (const name of names) {
        for (let partition = 0; partition < partitionsMin(name); partition++) {
          if (cluster.leader({ topic: name, partition }) === undefined)
            throw cluster.noLeader({ topic: name, partition })
        }
      }
    })

  return {
    async topics(names) {
      if (names === undefined) return (await cluster.allTopics()).map(describe)
      if (names.length === 0) return []
      return retrying(async () => {
        await cluster.refresh(names)
        const found: TopicDescription[] = []
        for (const name of names) {
          const topic = cluster.topic(name)
          if (topic === undefined || topic.errorCode === kafkaErrors.UNKNOWN_TOPIC_OR_PARTITION.code) continue
          if (topic.errorCode !== 0) throw refusal(topic.errorCode, `describe topic ${name}`, { topic: name })
          found.push(describe(topic))
        }
        return found
      })
    },

    async createTopics(topics) {
      if (topics.length === 0) return { created: [] }
      const created: string[] = []
      let open: readonly NewTopic[] = topics
      await atController(async (connection) => {
        const response = await connection.send(
          createTopics,
          {
            topics: open.map(({ name, partitions, replicationFactor, configs }) => ({
              name,
              numPartitions: partitions,
              replicationFactor,
              assignments: [],
              configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
            })),
            timeoutMs: requestWaitMs,
          },
          { least: 4, waitMs: requestWaitMs },
        )
        const failures: StreamsError[] = []
        for (const { name, errorCode, errorMessage } of response.topics) {
          if (errorCode === 0) created.push(name)
          if (errorCode === 0 || errorCode === kafkaErrors.TOPIC_ALREADY_EXISTS.code) {
            open = open.filter((topic) => topic.name !== name)
          } else {
            failures.push(refusal(errorCode, `create topic ${name}`, { topic: name, text: errorMessage }))
          }
        }
        if (failures.length > 0) throw failures.find(({ verdict }) => verdict !== 'retry') ?? failures[0]
      })
      const partitions = new Map(topics.map((topic) => [topic.name, topic.partitions]))
      await awaitLeaders([...partitions.keys()], (name) =>
        created.includes(name) ? Math.max(1, partitions.get(name) as number) : 1,
      )
      return { created }
    },

    async createPartitions(topic, count) {
      await atController(async (connection) => {
        const { results } = await connection.send(
          createPartitions,
          {
            topics: [{ name: topic, count, assignments: null }],
            timeoutMs: requestWaitMs,
            validateOnly: false,
          },
          { waitMs: requestWaitMs },
        )
        for (const { errorCode, errorMessage } of results) {
          if (errorCode !== 0)
            throw refusal(errorCode, `grow topic ${topic} to ${count} partitions`, {
              topic,
              text: errorMessage,
            })
        }
      })
      await awaitLeaders([topic], () => count)
    },

    async deleteTopics(names) {
      if (names.length === 0) return
      let open = [...names]
      let isFirst = true
      await atController(async (connection) => {
        const version = connection.version(deleteTopics)
        const { responses } = await connection.send(
          deleteTopics,
          version >= 6
            ? { topics: open.map((name) => ({ name })), timeoutMs: requestWaitMs }
            : { topicNames: open, timeoutMs: requestWaitMs },
          { waitMs: requestWaitMs },
        )
        const failures: StreamsError[] = []
        for (const { name, errorCode, errorMessage } of responses) {
          // Asked a second time, the first may have done it.
          const isGone = errorCode === kafkaErrors.UNKNOWN_TOPIC_OR_PARTITION.code && !isFirst
          if (errorCode === 0 || isGone) open = open.filter((topic) => topic !== name)
          else if (errorCode === kafkaErrors.UNKNOWN_TOPIC_OR_PARTITION.code)
            failures.push(missing(name ?? ''))
          else
            failures.push(
              refusal(errorCode, `delete topic ${name}`, { topic: name ?? '', text: errorMessage }),
            )
        }
        isFirst = false
        if (failures.length > 0) throw failures.find(({ verdict }) => verdict !== 'retry') ?? failures[0]
      })
      // The broker that is asked next may not have heard of it yet.
      await retrying(async () => {
        await cluster.refresh(names)
        for (const name of names) {
          if (cluster.topic(name)?.errorCode === 0) {
            throw new StreamsError('KAFKA_TIMEOUT', `topic ${name} was deleted, but is still there`, {
              topic: name,
            })
          }
        }
      })
    },

    async configs(topic) {
      return retrying(async () => {
        const { results } = await (await cluster.any()).send(describeConfigs, {
          resources: [{ resourceType: topicResource, resourceName: topic, configurationKeys: null }],
        })
        const configs: { [name: string]: string } = {}
        for (const { errorCode, errorMessage, configs: entries } of results) {
          if (errorCode === kafkaErrors.UNKNOWN_TOPIC_OR_PARTITION.code) throw missing(topic)
          if (errorCode !== 0)
            throw refusal(errorCode, `read the configuration of topic ${topic}`, {
              topic,
              text: errorMessage,
            })
          for (const { name, value } of entries) if (value !== null) configs[name] = value
        }
        return configs
      })
    },

    async alterConfigs(topic, configs) {
      await atController(async (connection) => {
        const { responses } = await connection.send(incrementalAlterConfigs, {
          resources: [
            {
              resourceType: topicResource,
              resourceName: topic,
              configs: Object.entries(configs).map(([name, value]) => ({
                name,
                configOperation: value === null ? deleteEntry : setEntry,
                value,
              })),
            },
          ],
          validateOnly: false,
        })
        for (const { errorCode, errorMessage } of responses) {
          if (errorCode === kafkaErrors.UNKNOWN_TOPIC_OR_PARTITION.code) throw missing(topic)
          if (errorCode !== 0)
            throw refusal(errorCode, `change the configuration of topic ${topic}`, {
              topic,
              text: errorMessage,
            })
        }
      })
    },

    offsets: (partitions, spec, isolation) => fetchOffsets(cluster, partitions, () => spec, isolation),

    async deleteRecords(before) {
      await askLeaders(cluster, before, 'delete records', async (connection, group) => {
        const { topics } = await connection.send(
          deleteRecords,
          {
            topics: byTopic(group, ({ partition, offset }) => ({ partition, offset })),
            timeoutMs: requestWaitMs,
          },
          { waitMs: requestWaitMs },
        )
        return topics.flatMap(({ name, partitions }) =>
          partitions.map(({ partition, errorCode }) => ({ topic: name, partition, errorCode, value: null })),
        )
      })
    },

    groupOffsets: (groupId) => fetchGroupOffsets(cluster, groupId, null, false),

    async alterGroupOffsets(groupId, offsets) {
      if (offsets.length === 0) return
      await cluster.atCoordinator('group', groupId, async (connection) => {
        const { topics } = await connection.send(offsetCommit, {
          groupId,
          generationId: -1,
          memberId: '',
          topics: byTopic(offsets, ({ partition, offset, metadata }) => ({
            partition,
            committedOffset: offset,
            committedMetadata: metadata,
          })),
        })
        for (const { name, partitions } of topics) {
          for (const { partition, errorCode } of partitions) {
            if (errorCode !== 0)
              throw groupRefusal(errorCode, `set the position of group ${groupId} in ${name}-${partition}`)
          }
        }
      })
    },

    async deleteGroupOffsets(groupId, partitions) {
      if (partitions.length === 0) return
      await cluster.atCoordinator('group', groupId, async (connection) => {
        const { errorCode, topics } = await connection.send(offsetDelete, {
          groupId,
          topics: byTopic(partitions, ({ partition }) => ({ partition })),
        })
        if (errorCode !== 0) throw groupRefusal(errorCode, `delete positions of group ${groupId}`)
        for (const { name, partitions: list } of topics) {
          for (const { partition, errorCode: code } of list) {
            if (code !== 0)
              throw groupRefusal(code, `delete the position of group ${groupId} in ${name}-${partition}`)
          }
        }
      })
    },

    async groups() {
      await retrying(() => cluster.refresh([]))
      const nodeIds = cluster.nodeIds()
      const lists = await Promise.all(
        nodeIds.map((nodeId) =>
          retrying(async () => {
            const { errorCode, groups } = await (await cluster.node(nodeId)).send(listGroups, {})
            if (errorCode !== 0) throw refusal(errorCode, 'list groups')
            return groups
          }),
        ),
      )
      return lists
        .flat()
        .map(({ groupId, protocolType, groupState }) => ({ groupId, protocolType, state: groupState }))
    },

    async describeGroup(groupId) {
      return cluster.atCoordinator('group', groupId, async (connection) => {
        const { groups } = await connection.send(describeGroups, {
          groups: [groupId],
          includeAuthorizedOperations: false,
        })
        const group = groups[0]
        if (group === undefined || group.errorCode === kafkaErrors.GROUP_ID_NOT_FOUND.code) {
          return { state: 'Dead', protocol: '', members: [] }
        }
        if (group.errorCode !== 0) throw refusal(group.errorCode, `describe group ${groupId}`)
        return {
          state: group.groupState,
          protocol: group.protocolData,
          members: group.members.map(({ memberId, clientId, clientHost, memberAssignment }) => ({
            memberId,
            clientId,
            host: clientHost,
            assignment: memberAssignment,
          })),
        }
      })
    },

    async removeMember(groupId, memberId) {
      await cluster.atCoordinator('group', groupId, async (connection) => {
        const { errorCode, members } = await connection.send(
          leaveGroup,
          { groupId, members: [{ memberId, groupInstanceId: null, reason: 'its process is gone' }] },
          { least: 3 },
        )
        const code = errorCode === 0 ? (members[0]?.errorCode ?? 0) : errorCode
        if (code !== 0 && code !== kafkaErrors.UNKNOWN_MEMBER_ID.code)
          throw groupRefusal(code, `remove member ${memberId} of group ${groupId}`)
      })
    },

    async deleteGroup(groupId) {
      let isFirst = true
      await cluster.atCoordinator('group', groupId, async (connection) => {
        const { results } = await connection.send(deleteGroups, { groupsNames: [groupId] })
        const code = results[0]?.errorCode ?? 0
        const isGone = code === kafkaErrors.GROUP_ID_NOT_FOUND.code && !isFirst
        isFirst = false
        if (code !== 0 && !isGone) throw groupRefusal(code, `delete group ${groupId}`)
      })
    },
  }
}

/** Offsets in the order of `partitions`; null where no record is that young. */
export async function fetchOffsets<P extends TopicPartition>(
  cluster: Cluster,
  partitions: readonly P[],
  specOf: (partition: P) => OffsetSpec,
  isolation: Isolation,
): Promise<readonly (TopicPartition & { readonly offset: number | null; readonly timestamp: number })[]> {
  return askLeaders(cluster, partitions, 'list offsets', async (connection, group) => {
    const { topics } = await connection.send(
      listOffsets,
      {
        replicaId: -1,
        isolationLevel: isolationLevel[isolation],
        topics: byTopic(group, (partition) => ({
          partition: partition.partition,
          currentLeaderEpoch: cluster.leader(partition)?.epoch ?? -1,
          timestamp: offsetTimestamp(specOf(partition)),
        })),
      },
      { least: 2 },
    )
    return topics.flatMap(({ name, partitions: list }) =>
      list.map(({ partition, errorCode, offset, timestamp }) => ({
        topic: name,
        partition,
        errorCode,
        value: { topic: name, partition, offset: offset < 0 ? null : offset, timestamp },
      })),
    )
  })
}

function describe({ name, id, internal, partitions }: Topic): TopicDescription {
  return {
    name,
    id,
    internal,
    partitions: partitions.map(({ partition, leader, replicas }) => ({ partition, leader, replicas })),
  }
}

function missing(topic: string): StreamsError {
  return new StreamsError('KAFKA_TOPIC_MISSING', `topic ${topic} does not exist`, {
    topic,
    kafkaCode: kafkaErrors.UNKNOWN_TOPIC_OR_PARTITION.code,
  })
}

/** From outside, a group with members can't be changed: no member of ours has to rejoin anything. */
function groupRefusal(code: number, what: string): StreamsError {
  const isBusy = code === kafkaErrors.UNKNOWN_MEMBER_ID.code || code === kafkaErrors.NON_EMPTY_GROUP.code
  const error = refusal(code, what, { text: isBusy ? 'the group has members; stop them first' : null })
  if (error.verdict === 'retry') return error
  return new StreamsError('KAFKA_REFUSED', error.message, { ...error.about, verdict: 'stop' })
}
