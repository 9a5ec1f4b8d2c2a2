/**
 * What members of a consumer group tell each other through the coordinator, which passes it on unread: what they
 * subscribe and own, and what the leader assigns. Kafka's own tools read it, too. A version comes first; one that is
 * newer than known is read as the newest known, its further fields are left.
 */
import { ByteWriter } from '../base/bytes.ts'
import { ByteReader } from './byte-reader.ts'
import { array, bytes, int16, int32, list, nullable, type OutOf, since, string, struct } from './grammar.ts'

export const consumerProtocolType = 'consumer'

const subscription = struct({
  topics: array(string),
  userData: nullable(bytes),
  ownedPartitions: since(1, list({ topic: string, partitions: array(int32) })),
  generationId: since(2, int32, -1),
  rackId: since(3, nullable(string)),
})

const assignment = struct({
  assignedPartitions: list({ topic: string, partitions: array(int32) }),
  userData: nullable(bytes),
})

export type ConsumerSubscription = OutOf<typeof subscription>
export type ConsumerAssignment = OutOf<typeof assignment>

const subscriptionVersion = 2
const subscriptionVersionMax = 3
const assignmentVersion = 1

export function encodeSubscription(value: Omit<ConsumerSubscription, 'rackId'>): Buffer {
  const to = new ByteWriter()
  int16.bind(0, false).write(to, subscriptionVersion)
  subscription.bind(subscriptionVersion, false).write(to, value)
  return to.copy()
}

export function decodeSubscription(buffer: Buffer): ConsumerSubscription {
  const from = new ByteReader(buffer)
  const version = Math.max(0, Math.min(subscriptionVersionMax, from.int16()))
  return subscription.bind(version, false).read(from)
}

export function encodeAssignment(value: ConsumerAssignment): Buffer {
  const to = new ByteWriter()
  int16.bind(0, false).write(to, assignmentVersion)
  assignment.bind(assignmentVersion, false).write(to, value)
  return to.copy()
}

/** No bytes at all are an empty assignment: a member that the leader did not know gets those. */
export function decodeAssignment(buffer: Buffer): ConsumerAssignment {
  if (buffer.length === 0) return { assignedPartitions: [], userData: null }
  const from = new ByteReader(buffer)
  from.int16()
  return assignment.bind(assignmentVersion, false).read(from)
}
