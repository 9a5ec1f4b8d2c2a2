/**
 * Every error code of the Kafka protocol: its name, and what a client does about it where the request says nothing
 * else. One code can mean different things to different requests; who sends them knows better and asks by name.
 */

/**
 * - `retry`: send it again after a pause, to the same broker
 * - `metadata`: ask who leads now, then send it again
 * - `coordinator`: ask who coordinates now, then send it again
 * - `rejoin`: the group has moved on without this member or this generation
 * - `abort`: the transaction can't commit; abort it and start again from the last commit
 * - `fenced`: somebody else holds this identity now
 * - `record`: what was sent is refused and always will be
 * - `offset`: the position isn't there any more, or not yet
 * - `fatal`: nobody but a person can mend it
 */
export type KafkaErrorClass =
  | 'none'
  | 'retry'
  | 'metadata'
  | 'coordinator'
  | 'rejoin'
  | 'abort'
  | 'fenced'
  | 'record'
  | 'offset'
  | 'fatal'

type Entry = { readonly code: number; readonly class: KafkaErrorClass }

export const kafkaErrors = {
  UNKNOWN_SERVER_ERROR: { code: -1, class: 'fatal' },
  NONE: { code: 0, class: 'none' },
  OFFSET_OUT_OF_RANGE: { code: 1, class: 'offset' },
  CORRUPT_MESSAGE: { code: 2, class: 'retry' },
  UNKNOWN_TOPIC_OR_PARTITION: { code: 3, class: 'metadata' },
  INVALID_FETCH_SIZE: { code: 4, class: 'fatal' },
  LEADER_NOT_AVAILABLE: { code: 5, class: 'metadata' },
  NOT_LEADER_OR_FOLLOWER: { code: 6, class: 'metadata' },
  REQUEST_TIMED_OUT: { code: 7, class: 'retry' },
  BROKER_NOT_AVAILABLE: { code: 8, class: 'metadata' },
  REPLICA_NOT_AVAILABLE: { code: 9, class: 'metadata' },
  MESSAGE_TOO_LARGE: { code: 10, class: 'record' },
  STALE_CONTROLLER_EPOCH: { code: 11, class: 'metadata' },
  OFFSET_METADATA_TOO_LARGE: { code: 12, class: 'fatal' },
  NETWORK_EXCEPTION: { code: 13, class: 'retry' },
  COORDINATOR_LOAD_IN_PROGRESS: { code: 14, class: 'retry' },
  COORDINATOR_NOT_AVAILABLE: { code: 15, class: 'coordinator' },
  NOT_COORDINATOR: { code: 16, class: 'coordinator' },
  INVALID_TOPIC_EXCEPTION: { code: 17, class: 'fatal' },
  RECORD_LIST_TOO_LARGE: { code: 18, class: 'record' },
  NOT_ENOUGH_REPLICAS: { code: 19, class: 'retry' },
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: { code: 20, class: 'retry' },
  INVALID_REQUIRED_ACKS: { code: 21, class: 'fatal' },
  ILLEGAL_GENERATION: { code: 22, class: 'rejoin' },
  INCONSISTENT_GROUP_PROTOCOL: { code: 23, class: 'fatal' },
  INVALID_GROUP_ID: { code: 24, class: 'fatal' },
  UNKNOWN_MEMBER_ID: { code: 25, class: 'rejoin' },
  INVALID_SESSION_TIMEOUT: { code: 26, class: 'fatal' },
  REBALANCE_IN_PROGRESS: { code: 27, class: 'rejoin' },
  INVALID_COMMIT_OFFSET_SIZE: { code: 28, class: 'fatal' },
  TOPIC_AUTHORIZATION_FAILED: { code: 29, class: 'fatal' },
  GROUP_AUTHORIZATION_FAILED: { code: 30, class: 'fatal' },
  CLUSTER_AUTHORIZATION_FAILED: { code: 31, class: 'fatal' },
  INVALID_TIMESTAMP: { code: 32, class: 'record' },
  UNSUPPORTED_SASL_MECHANISM: { code: 33, class: 'fatal' },
  ILLEGAL_SASL_STATE: { code: 34, class: 'fatal' },
  UNSUPPORTED_VERSION: { code: 35, class: 'fatal' },
  TOPIC_ALREADY_EXISTS: { code: 36, class: 'fatal' },
  INVALID_PARTITIONS: { code: 37, class: 'fatal' },
  INVALID_REPLICATION_FACTOR: { code: 38, class: 'fatal' },
  INVALID_REPLICA_ASSIGNMENT: { code: 39, class: 'fatal' },
  INVALID_CONFIG: { code: 40, class: 'fatal' },
  NOT_CONTROLLER: { code: 41, class: 'metadata' },
  INVALID_REQUEST: { code: 42, class: 'fatal' },
  UNSUPPORTED_FOR_MESSAGE_FORMAT: { code: 43, class: 'record' },
  POLICY_VIOLATION: { code: 44, class: 'fatal' },
  OUT_OF_ORDER_SEQUENCE_NUMBER: { code: 45, class: 'abort' },
  DUPLICATE_SEQUENCE_NUMBER: { code: 46, class: 'fatal' },
  INVALID_PRODUCER_EPOCH: { code: 47, class: 'fenced' },
  INVALID_TXN_STATE: { code: 48, class: 'fatal' },
  INVALID_PRODUCER_ID_MAPPING: { code: 49, class: 'abort' },
  INVALID_TRANSACTION_TIMEOUT: { code: 50, class: 'fatal' },
  CONCURRENT_TRANSACTIONS: { code: 51, class: 'retry' },
  TRANSACTION_COORDINATOR_FENCED: { code: 52, class: 'fenced' },
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: { code: 53, class: 'fatal' },
  SECURITY_DISABLED: { code: 54, class: 'fatal' },
  OPERATION_NOT_ATTEMPTED: { code: 55, class: 'fatal' },
  KAFKA_STORAGE_ERROR: { code: 56, class: 'metadata' },
  LOG_DIR_NOT_FOUND: { code: 57, class: 'fatal' },
  SASL_AUTHENTICATION_FAILED: { code: 58, class: 'fatal' },
  UNKNOWN_PRODUCER_ID: { code: 59, class: 'abort' },
  REASSIGNMENT_IN_PROGRESS: { code: 60, class: 'fatal' },
  DELEGATION_TOKEN_AUTH_DISABLED: { code: 61, class: 'fatal' },
  DELEGATION_TOKEN_NOT_FOUND: { code: 62, class: 'fatal' },
  DELEGATION_TOKEN_OWNER_MISMATCH: { code: 63, class: 'fatal' },
  DELEGATION_TOKEN_REQUEST_NOT_ALLOWED: { code: 64, class: 'fatal' },
  DELEGATION_TOKEN_AUTHORIZATION_FAILED: { code: 65, class: 'fatal' },
  DELEGATION_TOKEN_EXPIRED: { code: 66, class: 'fatal' },
  INVALID_PRINCIPAL_TYPE: { code: 67, class: 'fatal' },
  NON_EMPTY_GROUP: { code: 68, class: 'fatal' },
  GROUP_ID_NOT_FOUND: { code: 69, class: 'fatal' },
  FETCH_SESSION_ID_NOT_FOUND: { code: 70, class: 'retry' },
  INVALID_FETCH_SESSION_EPOCH: { code: 71, class: 'retry' },
  LISTENER_NOT_FOUND: { code: 72, class: 'metadata' },
  TOPIC_DELETION_DISABLED: { code: 73, class: 'fatal' },
  FENCED_LEADER_EPOCH: { code: 74, class: 'metadata' },
  UNKNOWN_LEADER_EPOCH: { code: 75, class: 'retry' },
  UNSUPPORTED_COMPRESSION_TYPE: { code: 76, class: 'fatal' },
  STALE_BROKER_EPOCH: { code: 77, class: 'fatal' },
  OFFSET_NOT_AVAILABLE: { code: 78, class: 'retry' },
  MEMBER_ID_REQUIRED: { code: 79, class: 'rejoin' },
  PREFERRED_LEADER_NOT_AVAILABLE: { code: 80, class: 'retry' },
  GROUP_MAX_SIZE_REACHED: { code: 81, class: 'fatal' },
  FENCED_INSTANCE_ID: { code: 82, class: 'fenced' },
  ELIGIBLE_LEADERS_NOT_AVAILABLE: { code: 83, class: 'retry' },
  ELECTION_NOT_NEEDED: { code: 84, class: 'retry' },
  NO_REASSIGNMENT_IN_PROGRESS: { code: 85, class: 'fatal' },
  GROUP_SUBSCRIBED_TO_TOPIC: { code: 86, class: 'fatal' },
  INVALID_RECORD: { code: 87, class: 'record' },
  UNSTABLE_OFFSET_COMMIT: { code: 88, class: 'retry' },
  THROTTLING_QUOTA_EXCEEDED: { code: 89, class: 'retry' },
  PRODUCER_FENCED: { code: 90, class: 'fenced' },
  RESOURCE_NOT_FOUND: { code: 91, class: 'fatal' },
  DUPLICATE_RESOURCE: { code: 92, class: 'fatal' },
  UNACCEPTABLE_CREDENTIAL: { code: 93, class: 'fatal' },
  INCONSISTENT_VOTER_SET: { code: 94, class: 'fatal' },
  INVALID_UPDATE_VERSION: { code: 95, class: 'fatal' },
  FEATURE_UPDATE_FAILED: { code: 96, class: 'fatal' },
  PRINCIPAL_DESERIALIZATION_FAILURE: { code: 97, class: 'fatal' },
  SNAPSHOT_NOT_FOUND: { code: 98, class: 'fatal' },
  POSITION_OUT_OF_RANGE: { code: 99, class: 'offset' },
  UNKNOWN_TOPIC_ID: { code: 100, class: 'metadata' },
  DUPLICATE_BROKER_REGISTRATION: { code: 101, class: 'fatal' },
  BROKER_ID_NOT_REGISTERED: { code: 102, class: 'fatal' },
  INCONSISTENT_TOPIC_ID: { code: 103, class: 'metadata' },
  INCONSISTENT_CLUSTER_ID: { code: 104, class: 'fatal' },
  TRANSACTIONAL_ID_NOT_FOUND: { code: 105, class: 'fatal' },
  FETCH_SESSION_TOPIC_ID_ERROR: { code: 106, class: 'retry' },
  INELIGIBLE_REPLICA: { code: 107, class: 'fatal' },
  NEW_LEADER_ELECTED: { code: 108, class: 'metadata' },
  OFFSET_MOVED_TO_TIERED_STORAGE: { code: 109, class: 'offset' },
  FENCED_MEMBER_EPOCH: { code: 110, class: 'rejoin' },
  UNRELEASED_INSTANCE_ID: { code: 111, class: 'fenced' },
  UNSUPPORTED_ASSIGNOR: { code: 112, class: 'fatal' },
  STALE_MEMBER_EPOCH: { code: 113, class: 'rejoin' },
  MISMATCHED_ENDPOINT_TYPE: { code: 114, class: 'fatal' },
  UNSUPPORTED_ENDPOINT_TYPE: { code: 115, class: 'fatal' },
  UNKNOWN_CONTROLLER_ID: { code: 116, class: 'fatal' },
  UNKNOWN_SUBSCRIPTION_ID: { code: 117, class: 'fatal' },
  TELEMETRY_TOO_LARGE: { code: 118, class: 'fatal' },
  INVALID_REGISTRATION: { code: 119, class: 'fatal' },
  TRANSACTION_ABORTABLE: { code: 120, class: 'abort' },
  INVALID_RECORD_STATE: { code: 121, class: 'fatal' },
  SHARE_SESSION_NOT_FOUND: { code: 122, class: 'retry' },
  INVALID_SHARE_SESSION_EPOCH: { code: 123, class: 'retry' },
  FENCED_STATE_EPOCH: { code: 124, class: 'fatal' },
  INVALID_VOTER_KEY: { code: 125, class: 'fatal' },
  DUPLICATE_VOTER: { code: 126, class: 'fatal' },
  VOTER_NOT_FOUND: { code: 127, class: 'fatal' },
  INVALID_REGULAR_EXPRESSION: { code: 128, class: 'fatal' },
  REBOOTSTRAP_REQUIRED: { code: 129, class: 'metadata' },
  STREAMS_INVALID_TOPOLOGY: { code: 130, class: 'fatal' },
  STREAMS_INVALID_TOPOLOGY_EPOCH: { code: 131, class: 'fatal' },
  STREAMS_TOPOLOGY_FENCED: { code: 132, class: 'fatal' },
  SHARE_SESSION_LIMIT_REACHED: { code: 133, class: 'retry' },
} as const satisfies { readonly [name: string]: Entry }

export type KafkaErrorName = keyof typeof kafkaErrors

const names = new Map<number, KafkaErrorName>()
for (const [name, { code }] of Object.entries(kafkaErrors)) names.set(code, name as KafkaErrorName)

/** A broker newer than this table may answer a code that is not in it: `UNKNOWN_SERVER_ERROR` stands for those. */
export function kafkaErrorName(code: number): KafkaErrorName {
  return names.get(code) ?? 'UNKNOWN_SERVER_ERROR'
}

export function kafkaErrorClass(code: number): KafkaErrorClass {
  return kafkaErrors[kafkaErrorName(code)].class
}

/** For messages: the name, and the number where the name doesn't tell it. */
export function kafkaErrorText(code: number): string {
  return names.get(code) ?? `unknown error code ${code}`
}

export function kafkaCode(name: KafkaErrorName): number {
  return kafkaErrors[name].code
}
