/**
 * Where commits write. What most of the last ones wrote to, the next one will write to, too: it is announced before
 * anything for it is there. A partition that is announced and not written costs a marker; one that is written and was
 * not announced, an answer of the coordinator's and a produce of its own.
 */
import type { TopicPartition } from '../kafka/client.ts'
import { partitionKey } from './partition-key.ts'

/** How far one commit moves the share of those that wrote to a partition: it looks back on a handful of them. */
const newsShare = 0.25
/** Above this it is usual: a new partition is from its second commit on. */
const usualShare = 0.5

export class UsualPartitions {
  readonly #written = new Map<string, { readonly partition: TopicPartition; share: number }>()

  /** One commit wrote there; a partition may stand there several times. */
  wrote(batches: Iterable<TopicPartition>): void {
    for (const [key, one] of this.#written) {
      one.share *= 1 - newsShare
      if (one.share < newsShare / 2) this.#written.delete(key)
    }
    const seen = new Set<string>()
    for (const batch of batches) {
      const key = partitionKey(batch)
      if (seen.has(key)) continue
      seen.add(key)
      const one = this.#written.get(key)
      const { topic, partition } = batch
      if (one !== undefined) one.share += newsShare
      else this.#written.set(key, { partition: { topic, partition }, share: usualShare })
    }
  }

  *[Symbol.iterator](): Iterator<TopicPartition> {
    for (const { partition, share } of this.#written.values()) if (share > usualShare) yield partition
  }

  clear(): void {
    this.#written.clear()
  }
}
