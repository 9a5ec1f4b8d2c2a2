/**
 * Whether local state is young enough to be brought up to date from its topic. A compacted topic keeps a tombstone for
 * `delete.retention.ms`; state that was written longer ago may hold rows whose removal nobody can tell it of any more.
 */
import type { Admin, KafkaClient, TopicPartition } from '../kafka/client.ts'
import { holdsRecords } from './topology-memory.ts'

/** No broker drops tombstones sooner. */
const alwaysGoodMs = 60_000
const deleteRetentionMsDefault = 86_400_000

/**
 * Whether nobody has written to the partition since `offset`, where the state stands: then it is whole, however old. The
 * log's end counts what compaction took, too. Of what is before it only the last offset is looked at, where a
 * transaction has its marker: it is in the active segment, which is never compacted.
 */
export async function isUntouched(
  client: KafkaClient,
  partition: TopicPartition,
  offset: number,
): Promise<boolean> {
  const [last] = await client.admin.offsets([partition], 'latest', 'read_uncommitted')
  const end = last?.offset ?? null
  if (end === null || end < offset || end > offset + 1) return false
  return end === offset || !(await holdsRecords(client, partition, offset, end))
}

/** null: young enough; else for how long the topic keeps tombstones. */
export async function outlived(admin: Admin, topic: string, ageMs: number): Promise<number | null> {
  if (ageMs < alwaysGoodMs) return null
  const configs = await admin.configs(topic)
  const keptMs = Number(configs['delete.retention.ms'] ?? deleteRetentionMsDefault)
  return ageMs > keptMs ? keptMs : null
}
