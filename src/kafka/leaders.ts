/**
 * Asking the leaders of many partitions at once: one request for each broker, and again only for the partitions
 * whose leader moved or was not there yet.
 */
import type { TopicPartition } from './client.ts'
import type { Cluster } from './cluster.ts'
import type { Connection } from './connection.ts'
import { isRetriable, refusal } from './refusal.ts'

export type Answer<T> = TopicPartition & { readonly errorCode: number; readonly value: T }

/** Answers in the order of `partitions`. `what` is for messages: 'list offsets'. */
export async function askLeaders<P extends TopicPartition, T>(
  cluster: Cluster,
  partitions: readonly P[],
  what: string,
  ask: (connection: Connection, partitions: readonly P[]) => Promise<readonly Answer<T>[]>,
): Promise<readonly T[]> {
  const answered = new Map<string, T>()
  const keyOf = ({ topic, partition }: TopicPartition) => `${topic}-${partition}`
  await cluster.retrying(async () => {
    const open = partitions.filter((partition) => !answered.has(keyOf(partition)))
    const split = await cluster.byLeader(open)
    const failures: unknown[] = []
    await Promise.all(
      Array.from(split, async ([nodeId, group]) => {
        try {
          for (const answer of await ask(await cluster.node(nodeId), group)) {
            const { topic, partition, errorCode } = answer
            if (errorCode === 0) answered.set(keyOf(answer), answer.value)
            else failures.push(refusal(errorCode, `${what} of ${topic}-${partition}`, { topic, partition }))
          }
        } catch (error) {
          failures.push(error)
        }
      }),
    )
    if (failures.length === 0) return
    for (const { topic } of open) cluster.forgetTopic(topic)
    throw failures.find((failure) => !isRetriable(failure)) ?? failures[0]
  })
  return partitions.map((partition) => answered.get(keyOf(partition)) as T)
}

/** Partitions as most requests name them: by topic. */
export function byTopic<P extends TopicPartition, T>(
  partitions: Iterable<P>,
  of: (partition: P) => T,
): { readonly name: string; readonly partitions: T[] }[] {
  const topics = new Map<string, T[]>()
  for (const partition of partitions) {
    const others = topics.get(partition.topic)
    if (others === undefined) topics.set(partition.topic, [of(partition)])
    else others.push(of(partition))
  }
  return Array.from(topics, ([name, list]) => ({ name, partitions: list }))
}
