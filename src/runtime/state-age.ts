/**
 * Whether local state is young enough to be brought up to date from its topic. A compacted topic keeps a tombstone for
 * `delete.retention.ms`; state that was written longer ago may hold rows whose removal nobody can tell it of any more.
 */
import type { Admin } from '../kafka/client.ts'

/** No broker drops tombstones sooner. */
const alwaysGoodMs = 60_000
const deleteRetentionMsDefault = 86_400_000

/** null: young enough; else for how long the topic keeps tombstones. */
export async function outlived(admin: Admin, topic: string, ageMs: number): Promise<number | null> {
  if (ageMs < alwaysGoodMs) return null
  const configs = await admin.configs(topic)
  const keptMs = Number(configs['delete.retention.ms'] ?? deleteRetentionMsDefault)
  return ageMs > keptMs ? keptMs : null
}
