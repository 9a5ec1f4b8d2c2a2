/** A group's committed positions, read. */
import { offsetFetch } from '../wire/09-offset-fetch.ts'
import type { ResponseOf } from '../wire/api.ts'
import type { CommittedOffset, TopicPartition } from './client.ts'
import type { Cluster } from './cluster.ts'
import { byTopic } from './leaders.ts'
import { refusal } from './refusal.ts'

type FetchedTopics = ResponseOf<typeof offsetFetch>['topics']

// From here on requireStable holds back positions that a transaction may still change (KIP-447).
const requireStableSince = 7
const batchedSince = 8
/** A transaction's markers are written within milliseconds; one that hangs ends by its time-out, a minute at most. */
const stableWaitMs = 75_000

/** `partitions` null asks for all that the group has. */
export async function fetchGroupOffsets(
  cluster: Cluster,
  groupId: string,
  partitions: readonly TopicPartition[] | null,
  requireStable: boolean,
): Promise<readonly CommittedOffset[]> {
  if (partitions !== null && partitions.length === 0) return []
  const topics =
    partitions === null
      ? null
      : byTopic(partitions, ({ partition }) => partition).map(({ name, partitions: list }) => ({
          name,
          partitions: list,
        }))
  const fetched = await cluster.atCoordinator(
    'group',
    groupId,
    async (connection) => {
      const batched = connection.version(offsetFetch, requireStableSince) >= batchedSince
      const response = await connection.send(
        offsetFetch,
        batched ? { groups: [{ groupId, topics }], requireStable } : { groupId, topics, requireStable },
        { least: requireStableSince },
      )
      const group = batched ? response.groups[0] : response
      const what = `read the positions of group ${groupId}`
      if (group === undefined) throw refusal(-1, what)
      if (group.errorCode !== 0) throw refusal(group.errorCode, what)
      for (const { name, partitions: list } of group.topics) {
        for (const { partition, errorCode } of list) {
          if (errorCode !== 0)
            throw refusal(errorCode, `${what} in ${name}-${partition}`, { topic: name, partition })
        }
      }
      return group.topics
    },
    requireStable ? { waitMs: stableWaitMs } : {},
  )
  return partitions === null ? all(fetched) : inOrder(fetched, partitions)
}

function all(topics: FetchedTopics): CommittedOffset[] {
  return topics.flatMap(({ name, partitions }) =>
    partitions.map(({ partition, committedOffset, metadata }) => ({
      topic: name,
      partition,
      offset: committedOffset < 0 ? null : committedOffset,
      metadata: metadata ?? '',
    })),
  )
}

function inOrder(topics: FetchedTopics, partitions: readonly TopicPartition[]): CommittedOffset[] {
  const found = new Map(
    all(topics).map((committed) => [`${committed.topic}-${committed.partition}`, committed]),
  )
  return partitions.map(
    ({ topic, partition }) =>
      found.get(`${topic}-${partition}`) ?? { topic, partition, offset: null, metadata: '' },
  )
}
