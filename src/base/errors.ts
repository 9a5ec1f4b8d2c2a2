/**
 * The one error of the library. `code` is stable, `verdict` says what the stream loop does about it,
 * `about` names the thing. Thrown where the fact is known, judged once, in the stream loop.
 */

/**
 * - `retry`: the same request may work later
 * - `abort`: the transaction is given up, its tasks start again from the last commit
 * - `rejoin`: this member lost its tasks; drop them and join the group again
 * - `restore`: local state can't be trusted; wipe it and restore from the changelog
 * - `skip`: this record can't be processed; the handler decides whether the rest goes on
 * - `stop`: nobody but a person can mend it
 */
export type Verdict = 'retry' | 'abort' | 'rejoin' | 'restore' | 'skip' | 'stop'

export type About = {
  readonly task?: string
  readonly node?: string
  readonly store?: string
  readonly topic?: string
  readonly partition?: number
  readonly offset?: number
  readonly broker?: string
  readonly api?: string
  readonly kafkaCode?: number
  readonly config?: string
}

export const errorCodes = {
  CONFIG_INVALID: { verdict: 'stop', doc: 'A setting or an option has a value that is not allowed.' },
  TOPOLOGY_INVALID: { verdict: 'stop', doc: 'The topology can not work as it was written.' },
  PROMISE_NOT_ALLOWED: { verdict: 'stop', doc: 'A function that must be synchronous returned a promise.' },
  UNDEFINED_NOT_ALLOWED: {
    verdict: 'stop',
    doc: 'A function returned undefined where a value is due; only null is a tombstone.',
  },
  SERDE_FAILED: { verdict: 'skip', doc: 'A key or a value could not be read from or written to bytes.' },
  WIRE_MALFORMED: { verdict: 'stop', doc: 'Bytes from the network are not what the Kafka protocol says.' },
  WIRE_UNENCODABLE: {
    verdict: 'stop',
    doc: 'A value does not fit the field of the Kafka protocol it is meant for.',
  },
  WIRE_VERSION: {
    verdict: 'stop',
    doc: 'A Kafka request needs a newer or older version than the other side speaks.',
  },
  KAFKA_UNREACHABLE: { verdict: 'retry', doc: 'No broker could be reached, or a connection broke.' },
  KAFKA_TIMEOUT: { verdict: 'retry', doc: 'Kafka did not answer, or did not do what was asked, in time.' },
  KAFKA_AUTHENTICATION: {
    verdict: 'stop',
    doc: 'The broker refused the credentials, or TLS could not be agreed on.',
  },
  KAFKA_VERSION: { verdict: 'stop', doc: 'The broker does not speak a version of a request that is needed.' },
  KAFKA_REFUSED: {
    verdict: 'stop',
    doc: 'Kafka answered a request with an error; the message has its name.',
  },
  KAFKA_CLOSED: { verdict: 'stop', doc: 'The client was closed while something was asked of it.' },
  KAFKA_TOPIC_MISSING: { verdict: 'stop', doc: 'A topic or a partition does not exist.' },
  KAFKA_RECORD_REFUSED: {
    verdict: 'skip',
    doc: 'Kafka will never take a record: too large, a timestamp out of bounds, or invalid.',
  },
  KAFKA_OFFSET_OUT_OF_RANGE: {
    verdict: 'stop',
    doc: 'A position is not in the partition, and no reset policy says where to go on.',
  },
  KAFKA_PRODUCER_FENCED: { verdict: 'rejoin', doc: 'A newer producer took over the transactional id.' },
  KAFKA_TRANSACTION_LOST: {
    verdict: 'abort',
    doc: 'The transaction can not commit, or its outcome is not known.',
  },
  KAFKA_GROUP_MOVED: { verdict: 'rejoin', doc: 'The group goes on without this member or this generation.' },
  KAFKA_MEMBER_FENCED: { verdict: 'stop', doc: 'Another member runs under the same group instance id.' },
  PROCESSING_FAILED: { verdict: 'skip', doc: 'A function of the topology threw.' },
  TOPICS_NOT_COPARTITIONED: {
    verdict: 'stop',
    doc: 'Topics that are joined or merged by key have different numbers of partitions.',
  },
  PARTITIONS_UNKNOWN: {
    verdict: 'stop',
    doc: 'How many partitions an internal topic needs does not follow from the topology.',
  },
  INTERNAL_TOPIC_MISMATCH: {
    verdict: 'stop',
    doc: 'An internal topic exists with other partitions or settings than the topology needs.',
  },
  INTERNAL_TOPIC_LOST: {
    verdict: 'stop',
    doc: 'An internal topic that held state or records of the application is gone.',
  },
  TOPOLOGY_LOSES_STATE: {
    verdict: 'stop',
    doc: 'The topology that was deployed has state or records that this one would not find again.',
  },
  GROUP_DATA_MALFORMED: {
    verdict: 'stop',
    doc: 'What a member of the group says of itself, or was assigned, can not be read.',
  },
  GROUP_DATA_VERSION: {
    verdict: 'stop',
    doc: 'A member of the group runs a version whose data this one can not read.',
  },
  BATCH_CORRUPT: {
    verdict: 'stop',
    doc: 'A record batch can not be read: bad checksum, impossible length, or broken compression.',
  },
  BATCH_TOO_LARGE: { verdict: 'stop', doc: 'A record batch would need more memory than the limit allows.' },
  BATCH_UNSUPPORTED: {
    verdict: 'stop',
    doc: 'A record batch has a format or a compression that is not supported.',
  },
  RECORD_TOO_LARGE: { verdict: 'skip', doc: 'A record is larger than the limit for one record.' },
  TASK_STUCK: {
    verdict: 'stop',
    doc: 'A record took longer than maxPollIntervalMs; its thread is replaced.',
  },
  TASK_GIVEN_UP: {
    verdict: 'retry',
    doc: 'A task was taken away, or its thread went back, while it was opened.',
  },
  TOPIC_MISSING: { verdict: 'stop', doc: 'A topic that the topology reads does not exist.' },
  OFFSETS_MISSING: {
    verdict: 'stop',
    doc: 'The group has no offset for a partition and autoOffsetReset is none.',
  },
  RESTORE_FAILED: {
    verdict: 'restore',
    doc: 'A changelog could not be read to its end; the local state is rebuilt.',
  },
  BROKER_FOLDER_DAMAGED: {
    verdict: 'stop',
    doc: 'The folder of the embedded Kafka can not be read. Restore it, or start with an empty one.',
  },
  BROKER_FOLDER_IN_USE: { verdict: 'stop', doc: 'Another embedded Kafka uses this folder.' },
  BROKER_PORT_IN_USE: { verdict: 'stop', doc: 'The port that the embedded Kafka was given is taken.' },
  STATE_LOCKED: { verdict: 'stop', doc: 'Another process or thread has the state folder of the task open.' },
  STATE_FOREIGN: {
    verdict: 'stop',
    doc: 'The state folder belongs to another application or another engine.',
  },
  STATE_FORMAT: { verdict: 'stop', doc: 'The state folder was written by a newer version.' },
  STATE_FAILED: {
    verdict: 'stop',
    doc: 'The engine of local state failed: a full disk, no permission, a damaged file.',
  },
  STATE_CORRUPT: {
    verdict: 'restore',
    doc: 'Local state can not be read; it is wiped and restored from the changelog.',
  },
  QUERY_STORE_UNKNOWN: { verdict: 'stop', doc: 'A query names a store that the topology has not.' },
  QUERY_INVALID: {
    verdict: 'stop',
    doc: 'A query can not be answered: a key of another type, another kind of store, bounds that make no sense.',
  },
  QUERY_TOO_LARGE: { verdict: 'stop', doc: 'The answer to a query is larger than it may be; ask for less.' },
  QUERY_MOVED: {
    verdict: 'retry',
    doc: 'The task that a query asks for is on another copy, or on none yet.',
  },
  QUERY_NOT_READY: {
    verdict: 'retry',
    doc: 'The state that a query asks for is being restored, or has not come as far as the query demands.',
  },
  QUERY_UNREACHABLE: { verdict: 'retry', doc: 'The copy that would answer a query can not be reached.' },
  RESET_REFUSED: { verdict: 'stop', doc: 'An application can not be reset while copies of it run.' },
  UNEXPECTED: { verdict: 'stop', doc: 'An error that the library does not know; its cause says more.' },
} as const satisfies { readonly [code: string]: { readonly verdict: Verdict; readonly doc: string } }

export type ErrorCode = keyof typeof errorCodes

export class StreamsError extends Error {
  override readonly name = 'StreamsError'
  readonly code: ErrorCode
  readonly verdict: Verdict
  readonly about: About

  constructor(
    code: ErrorCode,
    message: string,
    about: About & { readonly cause?: unknown; readonly verdict?: Verdict } = {},
  ) {
    const { cause, verdict, ...rest } = about
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.verdict = verdict ?? errorCodes[code].verdict
    this.about = rest
  }
}
