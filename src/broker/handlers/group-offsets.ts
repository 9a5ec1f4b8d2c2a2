/** OffsetCommit, OffsetFetch, OffsetDelete, TxnOffsetCommit: the positions of groups. */
import { type KafkaErrorName, kafkaCode } from '../../wire/error-codes.ts'
import type { Broker } from '../broker.ts'
import type { Group } from '../group.ts'
import type { StoredOffset } from '../journal.ts'
import { codeOf, Refusal } from '../refusal.ts'
import type { Handler } from './handler.ts'

type Committed = {
  readonly partition: number
  readonly committedOffset: number
  readonly committedLeaderEpoch: number
  readonly committedMetadata: string | null
}
type CommittedTopics = readonly { readonly name: string; readonly partitions: readonly Committed[] }[]

const metadataBytesMax = 4096

export const offsetCommit: Handler<'offsetCommit'> = (broker, request, { version }) => {
  const { groupId, generationId, memberId, groupInstanceId, topics } = request
  return committed(broker, topics, () => {
    const group = groupFor(
      broker,
      groupId,
      generationId,
      version >= 9 ? 'GROUP_ID_NOT_FOUND' : 'ILLEGAL_GENERATION',
    )
    group.checkCommit(memberId, groupInstanceId, generationId, false)
    return (offsets) => broker.groups.commit(group, offsets)
  })
}

export const txnOffsetCommit: Handler<'txnOffsetCommit'> = (broker, request, { version }) => {
  const {
    transactionalId,
    groupId,
    producerId,
    producerEpoch,
    generationId,
    memberId,
    groupInstanceId,
    topics,
  } = request
  return committed(broker, topics, () => {
    broker.transactions.checkOffsets(transactionalId, producerId, producerEpoch, groupId, version >= 4)
    const group = groupFor(broker, groupId, generationId, 'ILLEGAL_GENERATION')
    group.checkCommit(memberId, groupInstanceId, generationId, true)
    return (offsets) => broker.groups.hold(group, producerId, offsets)
  })
}

function groupFor(broker: Broker, groupId: string, generation: number, ifMissing: KafkaErrorName): Group {
  if (groupId === '') throw new Refusal('INVALID_GROUP_ID')
  if (generation >= 0 && broker.groups.get(groupId) === undefined) throw new Refusal(ifMissing)
  return broker.groups.open(groupId)
}

function committed(broker: Broker, topics: CommittedTopics, check: () => (offsets: StoredOffset[]) => void) {
  let refused = 0
  let accept: (offsets: StoredOffset[]) => void = () => {}
  try {
    accept = check()
  } catch (error) {
    refused = codeOf(error)
  }
  const offsets: StoredOffset[] = []
  const answers = topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partition, committedOffset, committedLeaderEpoch, committedMetadata }) => {
      if (refused !== 0) return { partition, errorCode: refused }
      if (broker.topics.log(name, partition) === undefined) {
        return { partition, errorCode: kafkaCode('UNKNOWN_TOPIC_OR_PARTITION') }
      }
      if (Buffer.byteLength(committedMetadata ?? '') > metadataBytesMax) {
        return { partition, errorCode: kafkaCode('OFFSET_METADATA_TOO_LARGE') }
      }
      offsets.push([name, partition, committedOffset, committedLeaderEpoch, committedMetadata])
      return { partition, errorCode: 0 }
    }),
  }))
  accept(offsets)
  return { topics: answers }
}

type AskedTopics = readonly { readonly name: string; readonly partitions: readonly number[] }[]

export const offsetFetch: Handler<'offsetFetch'> = (broker, request, { version }) => {
  const { groupId, topics, groups, requireStable } = request
  if (version >= 8) {
    return {
      groups: groups.map((group) => ({
        groupId: group.groupId,
        errorCode: 0,
        topics: positions(broker, group.groupId, group.topics, requireStable),
      })),
    }
  }
  return { errorCode: 0, topics: positions(broker, groupId, topics, requireStable) }
}

function positions(broker: Broker, groupId: string, asked: AskedTopics | null, requireStable: boolean) {
  const offsets = broker.groups.get(groupId)?.offsets
  const wanted =
    asked ??
    [...(offsets?.topics() ?? [])].map(([name, partitions]) => ({ name, partitions: [...partitions.keys()] }))
  return wanted.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map((partition) => {
      if (requireStable && offsets?.isPending(name, partition)) {
        return {
          partition,
          committedOffset: -1,
          committedLeaderEpoch: -1,
          metadata: '',
          errorCode: kafkaCode('UNSTABLE_OFFSET_COMMIT'),
        }
      }
      const found = offsets?.get(name, partition)
      return {
        partition,
        committedOffset: found?.offset ?? -1,
        committedLeaderEpoch: found?.leaderEpoch ?? -1,
        metadata: found?.metadata ?? '',
        errorCode: 0,
      }
    }),
  }))
}

export const offsetDelete: Handler<'offsetDelete'> = (broker, { groupId, topics }) => {
  const group = broker.groups.get(groupId)
  if (group === undefined) return { errorCode: kafkaCode('GROUP_ID_NOT_FOUND'), topics: [] }
  if (group.state !== 'empty' && group.protocolType !== 'consumer') {
    return { errorCode: kafkaCode('NON_EMPTY_GROUP'), topics: [] }
  }
  const subscribed = subscribedTopics(group)
  const gone: StoredOffset[] = []
  const answers = topics.map(({ name, partitions }) => ({
    name,
    partitions: partitions.map(({ partition }) => {
      if (subscribed.has(name)) return { partition, errorCode: kafkaCode('GROUP_SUBSCRIBED_TO_TOPIC') }
      if (broker.topics.log(name, partition) === undefined) {
        return { partition, errorCode: kafkaCode('UNKNOWN_TOPIC_OR_PARTITION') }
      }
      gone.push([name, partition, null, -1, null])
      return { partition, errorCode: 0 }
    }),
  }))
  broker.groups.commit(group, gone)
  return { errorCode: 0, topics: answers }
}

/** The topics in the members' metadata, whose beginning is version:int16 topics:array of string. */
function subscribedTopics(group: Group): Set<string> {
  const topics = new Set<string>()
  for (const { protocols } of group.members.values()) {
    for (const { metadata } of protocols) {
      if (metadata.length < 6) continue
      let at = 6
      for (let count = metadata.readInt32BE(2); count > 0 && at + 2 <= metadata.length; count--) {
        const length = metadata.readInt16BE(at)
        if (length < 0) break
        topics.add(metadata.toString('utf8', at + 2, at + 2 + length))
        at += 2 + length
      }
    }
  }
  return topics
}
