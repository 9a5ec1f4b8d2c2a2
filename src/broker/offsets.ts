/**
 * The committed positions of one group, and those that wait for the end of a transaction. A later commit of a
 * partition wins, whichever way it came; pending ones count from when their transaction commits.
 */
import type { StoredOffset } from './journal.ts'

export type CommittedOffset = {
  readonly offset: number
  readonly leaderEpoch: number
  readonly metadata: string | null
}

export class GroupOffsets {
  readonly #committed = new Map<string, Map<number, CommittedOffset>>()
  readonly #pending = new Map<number, StoredOffset[]>()

  get isEmpty(): boolean {
    return this.#committed.size === 0 && this.#pending.size === 0
  }

  get(topic: string, partition: number): CommittedOffset | undefined {
    return this.#committed.get(topic)?.get(partition)
  }

  topics(): ReadonlyMap<string, ReadonlyMap<number, CommittedOffset>> {
    return this.#committed
  }

  /** Whether a transaction that is still open holds a position for this partition. */
  isPending(topic: string, partition: number): boolean {
    for (const offsets of this.#pending.values()) {
      if (offsets.some(([name, index]) => name === topic && index === partition)) return true
    }
    return false
  }

  /** An offset of null deletes. */
  apply(offsets: readonly StoredOffset[]): void {
    for (const [topic, partition, offset, leaderEpoch, metadata] of offsets) {
      let partitions = this.#committed.get(topic)
      if (offset === null) {
        partitions?.delete(partition)
        if (partitions?.size === 0) this.#committed.delete(topic)
        continue
      }
      if (partitions === undefined) {
        partitions = new Map()
        this.#committed.set(topic, partitions)
      }
      partitions.set(partition, { offset, leaderEpoch, metadata })
    }
  }

  hold(producerId: number, offsets: readonly StoredOffset[]): void {
    const held = this.#pending.get(producerId)
    if (held === undefined) this.#pending.set(producerId, [...offsets])
    else held.push(...offsets)
  }

  end(producerId: number, isCommit: boolean): void {
    const offsets = this.#pending.get(producerId)
    if (offsets === undefined) return
    this.#pending.delete(producerId)
    if (isCommit) this.apply(offsets)
  }

  stored(): StoredOffset[] {
    const offsets: StoredOffset[] = []
    for (const [topic, partitions] of this.#committed) {
      for (const [partition, { offset, leaderEpoch, metadata }] of partitions) {
        offsets.push([topic, partition, offset, leaderEpoch, metadata])
      }
    }
    return offsets
  }

  pending(): ReadonlyMap<number, readonly StoredOffset[]> {
    return this.#pending
  }
}
