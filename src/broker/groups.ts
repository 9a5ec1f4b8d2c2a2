/** All groups of the broker, by their id, and what a transaction does to their positions. */
import { Group, type GroupOptions } from './group.ts'
import type { JournalEvent, StoredOffset } from './journal.ts'
import { Refusal } from './refusal.ts'

export class Groups {
  readonly #groups = new Map<string, Group>()
  readonly #options: GroupOptions

  constructor(options: GroupOptions) {
    this.#options = options
  }

  get(id: string): Group | undefined {
    return this.#groups.get(id)
  }

  all(): Group[] {
    return [...this.#groups.values()]
  }

  open(id: string): Group {
    let group = this.#groups.get(id)
    if (group === undefined) {
      group = new Group(id, this.#options)
      this.#groups.set(id, group)
    }
    return group
  }

  delete(id: string): void {
    const group = this.#groups.get(id)
    if (group === undefined) throw new Refusal('GROUP_ID_NOT_FOUND')
    if (group.state !== 'empty' || group.members.size > 0) throw new Refusal('NON_EMPTY_GROUP')
    group.close()
    this.#groups.delete(id)
    this.#options.record({ kind: 'groupDeleted', group: id })
  }

  commit(group: Group, offsets: readonly StoredOffset[]): void {
    if (offsets.length === 0) return
    this.#options.record({ kind: 'offsets', group: group.id, offsets })
    group.offsets.apply(offsets)
  }

  /** Positions of a transaction: they count when it commits. */
  hold(group: Group, producerId: number, offsets: readonly StoredOffset[]): void {
    if (offsets.length === 0) return
    this.#options.record({ kind: 'pendingOffsets', group: group.id, producerId, offsets })
    group.offsets.hold(producerId, offsets)
  }

  endTransaction(producerId: number, isCommit: boolean): void {
    this.#options.record({ kind: 'endedOffsets', producerId, isCommit })
    for (const group of this.#groups.values()) group.offsets.end(producerId, isCommit)
  }

  /** A deleted topic takes the positions in it along. */
  topicDeleted(topic: string): void {
    for (const group of this.#groups.values()) {
      const partitions = group.offsets.topics().get(topic)
      if (partitions === undefined) continue
      this.commit(
        group,
        [...partitions.keys()].map((partition) => [topic, partition, null, -1, null] as const),
      )
    }
  }

  close(): void {
    for (const group of this.#groups.values()) group.close()
  }

  restore(event: JournalEvent): void {
    switch (event.kind) {
      case 'group':
        this.open(event.group).restore(event)
        return
      case 'groupDeleted':
        this.#groups.get(event.group)?.close()
        this.#groups.delete(event.group)
        return
      case 'offsets':
        this.open(event.group).offsets.apply(event.offsets)
        return
      case 'pendingOffsets':
        this.open(event.group).offsets.hold(event.producerId, event.offsets)
        return
      case 'endedOffsets':
        for (const group of this.#groups.values()) group.offsets.end(event.producerId, event.isCommit)
        return
      default:
        return
    }
  }

  *events(): Generator<JournalEvent> {
    for (const group of this.#groups.values()) {
      yield group.event()
      const offsets = group.offsets.stored()
      if (offsets.length > 0) yield { kind: 'offsets', group: group.id, offsets }
      for (const [producerId, pending] of group.offsets.pending()) {
        yield { kind: 'pendingOffsets', group: group.id, producerId, offsets: pending }
      }
    }
  }
}
