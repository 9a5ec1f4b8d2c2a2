/**
 * The settings of a topic: Kafka's names, defaults and types. All of them are kept, described and checked; those
 * that the embedded broker acts on are fields of `TopicSettings`. A name that Kafka lacks is refused.
 */
import { Refusal } from './refusal.ts'

export type ConfigKind = 'boolean' | 'string' | 'int' | 'long' | 'double' | 'list'

type Definition = { readonly kind: ConfigKind; readonly value: string; readonly oneOf?: readonly string[] }

const longMax = '9223372036854775807'

export const topicConfigs: { readonly [name: string]: Definition } = {
  'cleanup.policy': { kind: 'list', value: 'delete', oneOf: ['delete', 'compact'] },
  'compression.gzip.level': { kind: 'int', value: '-1' },
  'compression.lz4.level': { kind: 'int', value: '9' },
  'compression.type': {
    kind: 'string',
    value: 'producer',
    oneOf: ['producer', 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd'],
  },
  'compression.zstd.level': { kind: 'int', value: '3' },
  'delete.retention.ms': { kind: 'long', value: '86400000' },
  'file.delete.delay.ms': { kind: 'long', value: '60000' },
  'flush.messages': { kind: 'long', value: longMax },
  'flush.ms': { kind: 'long', value: longMax },
  'follower.replication.throttled.replicas': { kind: 'list', value: '' },
  'index.interval.bytes': { kind: 'int', value: '4096' },
  'leader.replication.throttled.replicas': { kind: 'list', value: '' },
  'local.retention.bytes': { kind: 'long', value: '-2' },
  'local.retention.ms': { kind: 'long', value: '-2' },
  'max.compaction.lag.ms': { kind: 'long', value: longMax },
  'max.message.bytes': { kind: 'int', value: '1048588' },
  'message.timestamp.after.max.ms': { kind: 'long', value: '3600000' },
  'message.timestamp.before.max.ms': { kind: 'long', value: longMax },
  'message.timestamp.type': { kind: 'string', value: 'CreateTime', oneOf: ['CreateTime', 'LogAppendTime'] },
  'min.cleanable.dirty.ratio': { kind: 'double', value: '0.5' },
  'min.compaction.lag.ms': { kind: 'long', value: '0' },
  'min.insync.replicas': { kind: 'int', value: '1' },
  preallocate: { kind: 'boolean', value: 'false' },
  'remote.log.copy.disable': { kind: 'boolean', value: 'false' },
  'remote.log.delete.on.disable': { kind: 'boolean', value: 'false' },
  'remote.storage.enable': { kind: 'boolean', value: 'false' },
  'retention.bytes': { kind: 'long', value: '-1' },
  'retention.ms': { kind: 'long', value: '604800000' },
  'segment.bytes': { kind: 'int', value: '1073741824' },
  'segment.index.bytes': { kind: 'int', value: '10485760' },
  'segment.jitter.ms': { kind: 'long', value: '0' },
  'segment.ms': { kind: 'long', value: '604800000' },
  'unclean.leader.election.enable': { kind: 'boolean', value: 'false' },
}

/** The numbers that DescribeConfigs gives to kinds and sources. */
export const configKindNumber: { readonly [K in ConfigKind]: number } = {
  boolean: 1,
  string: 2,
  int: 3,
  long: 5,
  double: 6,
  list: 7,
}
export const configSource = { topic: 1, staticBroker: 4, default: 5 } as const

export type ConfigMap = { readonly [name: string]: string }

export type TopicSettings = {
  readonly compacts: boolean
  readonly deletes: boolean
  /** Infinite where records are never deleted for their age or for the topic's size. */
  readonly retentionMs: number
  readonly retentionBytes: number
  readonly segmentBytes: number
  readonly segmentMs: number
  readonly messageBytesMax: number
  readonly usesAppendTime: boolean
  readonly timestampBeforeMaxMs: number
  readonly timestampAfterMaxMs: number
  readonly deleteRetentionMs: number
  readonly dirtyRatioMin: number
  readonly compactionLagMinMs: number
  readonly compactionLagMaxMs: number
}

/** Checks what was given, refusing with Kafka's code, and works out what the broker acts on. */
export function settingsOf(given: ConfigMap): TopicSettings {
  for (const [name, value] of Object.entries(given)) check(name, value)
  const text = (name: string) => given[name] ?? (topicConfigs[name] as Definition).value
  const bounded = (name: string) => {
    const value = Number(text(name))
    return Number.isSafeInteger(value) ? value : Number.POSITIVE_INFINITY
  }
  const unlessNegative = (name: string) => {
    const value = bounded(name)
    return value < 0 ? Number.POSITIVE_INFINITY : value
  }
  const policies = listOf(text('cleanup.policy'))
  return {
    compacts: policies.includes('compact'),
    deletes: policies.includes('delete'),
    retentionMs: unlessNegative('retention.ms'),
    retentionBytes: unlessNegative('retention.bytes'),
    segmentBytes: bounded('segment.bytes'),
    segmentMs: bounded('segment.ms'),
    messageBytesMax: bounded('max.message.bytes'),
    usesAppendTime: text('message.timestamp.type') === 'LogAppendTime',
    timestampBeforeMaxMs: bounded('message.timestamp.before.max.ms'),
    timestampAfterMaxMs: bounded('message.timestamp.after.max.ms'),
    deleteRetentionMs: bounded('delete.retention.ms'),
    dirtyRatioMin: bounded('min.cleanable.dirty.ratio') === 0 ? 0 : Number(text('min.cleanable.dirty.ratio')),
    compactionLagMinMs: bounded('min.compaction.lag.ms'),
    compactionLagMaxMs: bounded('max.compaction.lag.ms'),
  }
}

export function definitionOf(name: string): Definition | undefined {
  return Object.hasOwn(topicConfigs, name) ? topicConfigs[name] : undefined
}

export function listOf(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

function check(name: string, value: string): void {
  const definition = definitionOf(name)
  if (definition === undefined) throw new Refusal('INVALID_CONFIG', `Unknown topic config name: ${name}`)
  const { kind, oneOf } = definition
  const isValid =
    kind === 'boolean'
      ? /^(true|false)$/i.test(value)
      : kind === 'int' || kind === 'long'
        ? /^-?\d{1,19}$/.test(value)
        : kind === 'double'
          ? value !== '' && Number.isFinite(Number(value))
          : oneOf === undefined ||
            (kind === 'list' ? listOf(value) : [value]).every((part) => oneOf.includes(part))
  if (!isValid) throw new Refusal('INVALID_CONFIG', `Invalid value ${value} for configuration ${name}`)
}
