/** `connect` gives the client of client.ts, over connections that kafkajs opens. */
import { systemClock } from '../base/clock.ts'
import { createAdmin } from './admin.ts'
import type { ClientOptions, KafkaClient } from './client.ts'
import { Cluster, connectPatienceMs } from './cluster.ts'
import { createFetcher } from './fetcher.ts'
import { createGroupMember } from './group-member.ts'
import { fetchGroupOffsets } from './group-offsets.ts'
import { createProducer } from './producer.ts'
import { Reach } from './reach.ts'

export type * from './client.ts'

/** Opens nothing yet: each part connects when it is first used, on connections of its own. */
export function connect(options: ClientOptions): KafkaClient {
  const { brokers, clientId, logger, clock = systemClock, kafka = {} } = options
  const { retry } = kafka
  const unreachableTimeoutMs =
    (retry === undefined ? options.unreachableTimeoutMs : undefined) ?? connectPatienceMs(retry)
  const reach = new Reach(clock, logger)
  const open = (): Cluster =>
    new Cluster({ brokers, clientId, logger, clock, kafka, unreachableTimeoutMs, reach })
  const shared = open()
  const parts = new Set<{ close(): Promise<void> }>([shared])
  /** Until it is closed, closing the client closes it. */
  const keep = <P extends { close(): Promise<void> }>(part: P): P => {
    const close = part.close.bind(part)
    part.close = async () => {
      parts.delete(part)
      await close()
    }
    parts.add(part)
    return part
  }
  return {
    admin: createAdmin(shared),
    reach: () => shared.retrying(() => shared.refresh([])),
    fetcher: (fetcher) => keep(createFetcher(open(), fetcher, logger)),
    producer: (producer) => keep(createProducer(open(), producer, logger)),
    member: (member) => keep(createGroupMember(open(), member, logger)),
    committed: (groupId, partitions) => fetchGroupOffsets(shared, groupId, partitions, true),
    async close() {
      await Promise.all(Array.from(parts, (part) => part.close()))
    },
  }
}
