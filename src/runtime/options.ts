/**
 * Every setting of an application, declared once. `Config` is what people write, `EngineOptions` what the engine gets;
 * docs/configuration.md, `--help`, the flags and the environment names come from this table.
 */
import type { Registry } from 'prom-client'
import { type GivenLogger, isLogger, logLevels } from '../base/logger.ts'
import {
  bytes,
  code,
  defineOptions,
  duration,
  either,
  func,
  type InputOf,
  integer,
  isPlainObject,
  list,
  nullable,
  object,
  oneOf,
  type Resolved,
  resolveOptions,
  shape,
  text,
  textMap,
  toggle,
  type ValuesOf,
} from '../base/options.ts'
import type { OffsetReset } from '../kafka/client.ts'
import type { FailedRecord, HandlerAnswer } from './handlers.ts'
import type { Hooks } from './hooks.ts'

/** What happens to the application when a stream thread ends with an error nobody handled. */
export type UncaughtAnswer = 'replace-thread' | 'shutdown-client' | 'shutdown-application'

type RecordHandler = (error: Error, record: FailedRecord) => HandlerAnswer

const topicName = text(
  'a name of letters, digits, dots, underscores and dashes, at most 249 long',
  /^[A-Za-z0-9._-]+$/,
  249,
)

const offsetReset = code<OffsetReset>('{ byDurationMs: milliseconds }', (value) => {
  return (
    isPlainObject(value) &&
    Number.isSafeInteger(value['byDurationMs']) &&
    (value['byDurationMs'] as number) >= 0
  )
})

const handler = (what: string) =>
  either(oneOf(['fail', 'continue']), func<RecordHandler>(`a function ${what}`))

const ms = (name: string, values: Readonly<Record<string, unknown>>) => values[name] as number

export const options = defineOptions(
  {
    // ---------------------------------------------------------------------------------------- the application
    applicationId: {
      group: 'Application',
      required: true,
      check: topicName,
      java: ['application.id', 'group.id'],
      doc: 'Names the application: its consumer group, the prefix of its internal topics, its state folder. Copies that share it share the work.',
    },
    brokers: {
      group: 'Application',
      required: true,
      check: list(text("addresses such as 'localhost:9092'", /^[^\s,]+:\d{1,5}$/), 1),
      java: ['bootstrap.servers'],
      doc: 'Where Kafka is: one broker is enough to find the others, two or three survive its absence.',
    },
    clientId: {
      group: 'Application',
      check: text(),
      derive: { from: (values) => values['applicationId'], doc: 'the applicationId' },
      java: ['client.id'],
      doc: "What Kafka's logs and quotas call this client.",
    },
    instanceId: {
      group: 'Application',
      default: null,
      check: nullable(text()),
      java: ['group.instance.id'],
      doc: 'Makes this copy a static member: a restart within sessionTimeoutMs moves no task. Each copy needs one of its own.',
    },
    threads: {
      group: 'Application',
      default: 1,
      check: integer({ min: 1, max: 256 }),
      java: ['num.stream.threads'],
      doc: 'Stream threads of this copy. More than one needs the topology as a module (a URL), because each is a worker.',
    },
    guarantee: {
      group: 'Application',
      default: 'exactly_once',
      check: oneOf(['exactly_once', 'at_least_once', 'at_most_once']),
      java: ['processing.guarantee'],
      doc: "What a failure may do to results: nothing, repeat some, or lose some. Kafka Streams' exactly_once_v2 is exactly_once here.",
    },
    optimize: {
      group: 'Application',
      default: false,
      check: toggle(),
      java: ['topology.optimization'],
      doc: 'Hands `optimize` to a topology function: source topics as changelogs, merged repartitions, one store for a self-join. A topology that was built without it is refused.',
    },
    requireNames: {
      group: 'Application',
      default: false,
      check: toggle(),
      java: ['ensure.explicit.internal.resource.naming'],
      doc: 'Refuses a topology whose stores or internal topics have generated names, which a change of the topology would shift.',
    },
    kafka: {
      group: 'Application',
      default: {},
      secret: false,
      check: object("kafkajs' own client options: ssl, sasl, connectionTimeout, requestTimeout, retry"),
      java: [
        'security.protocol',
        'sasl.',
        'ssl.',
        'request.timeout.ms',
        'reconnect.backoff.ms',
        'reconnect.backoff.max.ms',
        'retry.backoff.ms',
      ],
      doc: 'Handed to kafkajs as it is: TLS, SASL, timeouts, retries. Passwords may be { "file": "/run/secrets/…" }.',
    },
    unreachableTimeoutMs: {
      group: 'Application',
      default: 60_000,
      check: duration({ min: 1 }),
      java: ['default.api.timeout.ms', 'max.block.ms'],
      doc: 'How long a start waits where no broker can be reached. What runs goes back to its last commit after it, and goes on trying for ever. `kafka.retry` overrides it.',
    },

    // ---------------------------------------------------------------------------------------- state
    stateDir: {
      group: 'State',
      default: '.millrace/state',
      check: text('the path of a folder'),
      java: ['state.dir'],
      doc: 'Where stores keep their files, one folder per application and task. Keep it over restarts, or all state is restored.',
    },
    cacheMaxBytes: {
      group: 'State',
      default: 10_485_760,
      check: bytes(),
      java: ['statestore.cache.max.bytes', 'cache.max.bytes.buffering'],
      doc: 'Results that are held back until the next commit, so that each key is forwarded once. 0 forwards every update.',
    },
    storeCacheBytesMax: {
      group: 'State',
      default: 134_217_728,
      check: bytes({ min: 65_536 }),
      doc: 'What each thread keeps of its stores in memory, in front of the disk; as much again for its global tables.',
    },
    uncommittedBytesMax: {
      group: 'State',
      default: 16_777_216,
      check: bytes({ min: 65_536 }),
      doc: 'Changes and output that wait for a commit, per thread. Reaching it commits at once.',
    },
    pendingBytesMax: {
      group: 'State',
      default: 67_108_864,
      check: bytes({ min: 65_536 }),
      doc: 'Committed changes that are not on disk yet, per thread. Reaching it writes them at once.',
    },
    persistIntervalMs: {
      group: 'State',
      default: 1_000,
      check: duration({ min: 10 }),
      doc: 'How often committed changes go to disk. What a crash must replay is at most this old.',
    },
    allowStateLoss: {
      group: 'State',
      default: [],
      check: list(text('names of stores and topics, or all')),
      doc: "Stores and internal topics of the deployed topology whose state or records may be lost by this one; 'all' for any.",
    },
    stateCleanupDelayMs: {
      group: 'State',
      default: 600_000,
      check: duration(),
      java: ['state.cleanup.delay.ms'],
      doc: 'How long the folder of a task that moved away is kept, in case it comes back. Looked at after the start, then at this interval.',
    },
    defaultStore: {
      group: 'State',
      default: 'rocksdb',
      check: oneOf(['rocksdb', 'memory']),
      java: ['default.dsl.store', 'dsl.store.suppliers.class'],
      doc: 'Where stores live that the topology does not say it of. In memory means a restore at each start.',
    },

    // ---------------------------------------------------------------------------------------- commit
    commitIntervalMs: {
      group: 'Commit',
      check: duration({ min: 1 }),
      derive: {
        from: (values) => (values['guarantee'] === 'exactly_once' ? 100 : 30_000),
        doc: '100 under exactly_once, else 30000',
      },
      java: ['commit.interval.ms'],
      doc: 'Longest time a processed record waits for a commit; where commits write to hundreds of partitions and take longer than half of it, twice what they take. A drained input commits earlier.',
    },
    commitMinIntervalMs: {
      group: 'Commit',
      default: 10,
      check: duration(),
      doc: 'Shortest time between two commits of a thread, to spare the broker. 0 takes all pacing off. at_most_once needs none: its output goes out as soon as the input is drained.',
    },
    commitMarkersPerSecondMax: {
      group: 'Commit',
      default: 1_000,
      check: integer({ min: 1 }),
      doc: 'Most transaction markers a second that early commits may cause; each commit writes one per partition written.',
    },
    transactionTimeoutMs: {
      group: 'Commit',
      default: 10_000,
      check: duration({ min: 1_000 }),
      java: ['transaction.timeout.ms'],
      doc: 'After this the broker aborts a transaction that was left open.',
    },
    emitIntervalMs: {
      group: 'Commit',
      default: 1_000,
      check: duration(),
      java: [
        '__emit.interval.ms.kstreams.windowed.aggregation__',
        '__emit.interval.ms.kstreams.outer.join.spurious.results.fix__',
      ],
      doc: 'How often, by the wall clock, closed windows and unmatched records of outer joins are looked for. 0: at each record.',
    },

    // ---------------------------------------------------------------------------------------- reading
    autoOffsetReset: {
      group: 'Reading',
      default: 'earliest',
      check: either(oneOf(['earliest', 'latest', 'none']), offsetReset),
      java: ['auto.offset.reset'],
      doc: 'Where a partition without a committed offset begins, unless its source says otherwise.',
    },
    maxTaskIdleMs: {
      group: 'Reading',
      default: 0,
      check: integer({ min: -1 }),
      java: ['max.task.idle.ms'],
      doc: 'How long a task waits for an empty input, so that records join in time order. 0: while the broker has more; -1: never.',
    },
    fetchBufferBytes: {
      group: 'Reading',
      default: 8_388_608,
      check: bytes({ min: 1_048_576 }),
      java: ['fetch.max.bytes', 'buffered.records.per.partition'],
      doc: 'Fetched bytes that wait to be processed, per thread. Near this bound nothing more is asked for.',
    },
    partitionFetchBytes: {
      group: 'Reading',
      default: 1_048_576,
      check: bytes({ min: 1_024 }),
      java: ['max.partition.fetch.bytes'],
      doc: 'Most bytes of one partition in one response; a restore asks for twice as much, where four times that fit into fetchBufferBytes. A single larger batch still gets through.',
    },
    fetchWaitMs: {
      group: 'Reading',
      default: 500,
      check: duration({ max: 30_000 }),
      java: ['fetch.max.wait.ms'],
      doc: 'How long a broker holds a fetch that has no data.',
    },
    batchBytesMax: {
      group: 'Reading',
      default: 104_857_600,
      check: bytes({ min: 1_024 }),
      doc: 'Largest record batch that is read, decompressed. A larger one is an error, not an allocation.',
    },

    // ---------------------------------------------------------------------------------------- writing
    compression: {
      group: 'Writing',
      default: 'none',
      check: oneOf(['none', 'gzip', 'snappy', 'lz4', 'zstd']),
      java: ['compression.type'],
      doc: 'How output, repartition and changelog batches are compressed.',
    },
    outputBatchBytesMax: {
      group: 'Writing',
      default: 524_288,
      check: bytes({ min: 1_024 }),
      java: ['batch.size'],
      doc: 'Size at which an open batch is closed and the next begun.',
    },
    recordBytesMax: {
      group: 'Writing',
      default: 1_048_576,
      check: bytes({ min: 1_024 }),
      java: ['max.request.size'],
      doc: "Largest record that is written; a larger one goes to the productionHandler. The topic's max.message.bytes must allow it.",
    },
    deliveryTimeoutMs: {
      group: 'Writing',
      default: 120_000,
      check: duration({ min: 1_000 }),
      java: ['delivery.timeout.ms'],
      doc: 'How long a batch may take to be acknowledged, resends included.',
    },

    // ---------------------------------------------------------------------------------------- internal topics
    replicationFactor: {
      group: 'Internal topics',
      default: -1,
      check: integer({ min: -1, max: 32_767 }),
      java: ['replication.factor'],
      doc: "Replicas of repartition and changelog topics. -1: the broker's default.",
    },
    topicConfigs: {
      group: 'Internal topics',
      default: {},
      check: textMap(),
      java: ['topic.'],
      doc: 'Kafka settings for all internal topics, over the defaults and under those of a single store.',
    },
    windowChangelogExtraRetentionMs: {
      group: 'Internal topics',
      default: 86_400_000,
      check: duration(),
      java: ['windowstore.changelog.additional.retention.ms'],
      doc: 'Added to the retention of window and session changelogs, so that no record goes before its time.',
    },
    repartitionPurgeIntervalMs: {
      group: 'Internal topics',
      default: 30_000,
      check: duration({ min: 1 }),
      java: ['repartition.purge.interval.ms'],
      doc: 'How often processed records are deleted from repartition topics.',
    },

    // ---------------------------------------------------------------------------------------- the group
    sessionTimeoutMs: {
      group: 'Group',
      default: 45_000,
      check: duration({ min: 1_000 }),
      java: ['session.timeout.ms'],
      doc: 'After this long without a heartbeat the group takes a copy for dead.',
    },
    heartbeatIntervalMs: {
      group: 'Group',
      default: 1_000,
      check: duration({ min: 100 }),
      java: ['heartbeat.interval.ms'],
      doc: 'How often a copy tells the group that it lives, and so hears of changes. At most a third of sessionTimeoutMs.',
    },
    rebalanceTimeoutMs: {
      group: 'Group',
      default: 60_000,
      check: duration({ min: 1_000 }),
      doc: 'How long the group waits for a copy to finish its commit and join a rebalance.',
    },
    patternIntervalMs: {
      group: 'Group',
      default: 10_000,
      check: duration({ min: 100 }),
      java: ['metadata.max.age.ms'],
      doc: 'How often it is looked for new topics that match the pattern of a source.',
    },
    maxPollIntervalMs: {
      group: 'Group',
      default: 300_000,
      check: duration({ min: 1_000 }),
      java: ['max.poll.interval.ms'],
      doc: 'After this long on one record a thread counts as stuck: the log names the record, and its tasks are handed on.',
    },
    standbyReplicas: {
      group: 'Group',
      default: 0,
      check: integer({ min: 0 }),
      java: ['num.standby.replicas'],
      doc: 'Copies of the state of each task on other instances, ready to take over.',
    },
    warmupReplicasMax: {
      group: 'Group',
      default: 2,
      check: integer({ min: 1 }),
      java: ['max.warmup.replicas'],
      doc: 'How many tasks at a time are prepared elsewhere before they move.',
    },
    acceptableRecoveryLag: {
      group: 'Group',
      default: 10_000,
      check: integer({ min: 1 }),
      java: ['acceptable.recovery.lag'],
      doc: 'Records of changelog that a copy may lack and still count as caught up.',
    },
    probingRebalanceIntervalMs: {
      group: 'Group',
      default: 600_000,
      check: duration({ min: 1_000 }),
      java: ['probing.rebalance.interval.ms'],
      doc: 'How often it is asked whether a prepared task has caught up and can move.',
    },
    clientTags: {
      group: 'Group',
      default: {},
      check: textMap(),
      java: ['client.tag.'],
      doc: 'Where this copy is, such as { zone: "a" }; at most five. Standbys go where the tags differ.',
    },
    rackAwareTags: {
      group: 'Group',
      default: [],
      check: list(text()),
      java: ['rack.aware.assignment.tags'],
      doc: 'Names of the clientTags that standbys are spread over.',
    },
    advertisedAddress: {
      group: 'Group',
      default: null,
      check: nullable(text("an address such as 'host:4040'", /^[^\s,]+:\d{1,5}$/)),
      java: ['application.server'],
      doc: 'Where other copies reach the HTTP service of this one for queries.',
    },

    // ---------------------------------------------------------------------------------------- errors
    deserializationHandler: {
      group: 'Errors',
      default: 'fail',
      check: handler('(error, record) => answer'),
      java: ['default.deserialization.exception.handler', 'deserialization.exception.handler'],
      doc: 'What happens to a record that can not be read: fail stops the thread, continue drops and counts it.',
    },
    processingHandler: {
      group: 'Errors',
      default: 'fail',
      check: handler('(error, record) => answer'),
      java: ['processing.exception.handler'],
      doc: 'What happens to a record on which a function of the topology throws.',
    },
    productionHandler: {
      group: 'Errors',
      default: 'fail',
      check: handler('(error, record) => answer'),
      java: ['default.production.exception.handler', 'production.exception.handler'],
      doc: 'What happens to a result that can not be written: too large, refused by the broker, not serialisable.',
    },
    deadLetterTopic: {
      group: 'Errors',
      default: null,
      check: nullable(topicName),
      java: ['errors.dead.letter.queue.topic.name', 'errors.deadletterqueue.topic.name'],
      doc: 'Gets the bytes of every record that a handler saw, with the cause in its headers.',
    },
    uncaughtHandler: {
      group: 'Errors',
      default: 'shutdown-client',
      check: either(
        oneOf(['replace-thread', 'shutdown-client', 'shutdown-application']),
        func<(error: Error) => UncaughtAnswer>('a function (error) => answer'),
      ),
      doc: 'What follows when a thread ends with an error: a new thread, this copy stops, or all copies stop.',
    },
    taskTimeoutMs: {
      group: 'Errors',
      default: 300_000,
      check: duration(),
      java: ['task.timeout.ms'],
      doc: 'How long a task retries what Kafka does not answer before it gives up.',
    },

    // ---------------------------------------------------------------------------------------- observing
    logLevel: {
      group: 'Observing',
      default: 'info',
      live: true,
      check: oneOf(logLevels),
      doc: 'The least serious lines that are logged.',
    },
    logger: {
      group: 'Observing',
      default: null,
      check: nullable(
        code<GivenLogger>('pino, the console, or an object with debug, info, warn and error', isLogger),
      ),
      doc: "The service's own logger. Without one, lines go to the standard error: JSON, or text on a terminal.",
    },
    logSummaryIntervalMs: {
      group: 'Observing',
      default: 120_000,
      check: duration(),
      java: ['log.summary.interval.ms'],
      doc: 'How often one line sums up what was processed. 0: never.',
    },
    metricsLevel: {
      group: 'Observing',
      default: 'info',
      check: oneOf(['info', 'debug']),
      java: ['metrics.recording.level'],
      doc: 'debug adds series per node, per store and for the latency of each task.',
    },
    registry: {
      group: 'Observing',
      default: null,
      check: nullable(
        code<Registry>("prom-client's Registry", (value) => {
          const { registerMetric, metrics } = (value ?? {}) as { registerMetric?: unknown; metrics?: unknown }
          return typeof registerMetric === 'function' && typeof metrics === 'function'
        }),
      ),
      java: ['metric.reporters'],
      doc: "Where the metrics are registered: the service's own prom-client registry, or one made for this application.",
    },
    http: {
      group: 'Observing',
      default: { host: '127.0.0.1', port: null, token: null },
      check: either(
        code<false>('false', (value) => value === false),
        shape({
          host: {
            default: '127.0.0.1',
            check: text('an address to listen on'),
            doc: '0.0.0.0 for all interfaces.',
          },
          port: {
            default: null,
            check: nullable(integer({ min: 0, max: 65_535 })),
            doc: 'null: 4040, or the next free one after it. 0: any free one.',
          },
          token: {
            default: null,
            secret: true,
            check: nullable(text()),
            doc: 'Asked for as `Authorization: Bearer …`, but by /live and /ready.',
          },
        }),
      ),
      doc: 'The HTTP service with metrics, health, topology and state; false for none.',
    },
    hooks: {
      group: 'Observing',
      default: null,
      check: nullable(code<Hooks>('an object of functions, as in hooks.ts', isPlainObject)),
      doc: 'Functions that are told of batches, commits, restores, drops and states.',
    },
    closeTimeoutMs: {
      group: 'Observing',
      default: 30_000,
      check: duration({ min: 100 }),
      doc: 'How long a stop may take before it is abandoned; the next start repeats what was not committed.',
    },
  },
  {
    foreign: {
      'default.key.serde':
        'give each source, sink and store its serde in the topology; the compiler says where one is missing',
      'default.value.serde':
        'give each source, sink and store its serde in the topology; the compiler says where one is missing',
      'default.timestamp.extractor': 'give the source its own: stream(topic, { timestamp })',
      'enable.auto.commit': 'the engine commits by itself',
      'allow.auto.create.topics': 'the engine creates its internal topics and no others',
      'isolation.level': 'it follows from guarantee',
      'enable.idempotence': 'it is always on',
      'max.in.flight.requests.per.connection': 'the engine sets it',
      'transactional.id': 'it follows from applicationId and is published to the group',
      acks: 'it is always all',
      'group.protocol': 'the group protocol is the library’s own',
      'rocksdb.config.setter': 'memory is divided by storeCacheBytesMax and pendingBytesMax',
      'upgrade.from': 'every version opens the state of the one before it',
      'max.poll.records': 'batches have no fixed number of records; see fetchBufferBytes',
      'poll.ms': 'nothing polls; see fetchWaitMs',
      'linger.ms': 'batches go out at each commit; see commitIntervalMs',
      'interceptor.classes': 'use hooks',
      'processor.wrapper.class': 'use hooks',
      'consumer.': 'see the settings of reading and of the group',
      'main.consumer.': 'see the settings of reading and of the group',
      'restore.consumer.': 'see the settings of reading',
      'global.consumer.': 'see the settings of reading',
      'producer.': 'see the settings of writing and of the commit',
      'admin.': 'see kafka',
      'rack.aware.assignment.': 'see rackAwareTags',
    },
    agree(values) {
      const mistakes: string[] = []
      if (ms('heartbeatIntervalMs', values) * 3 > ms('sessionTimeoutMs', values)) {
        mistakes.push(
          `heartbeatIntervalMs: ${ms('heartbeatIntervalMs', values)} is more than a third of sessionTimeoutMs (${ms('sessionTimeoutMs', values)}); make it smaller`,
        )
      }
      const tags = values['clientTags'] as Readonly<Record<string, string>>
      if (Object.keys(tags).length > 5) mistakes.push('clientTags: at most five tags are allowed')
      for (const name of values['rackAwareTags'] as readonly string[]) {
        if (!Object.hasOwn(tags, name))
          mistakes.push(`rackAwareTags: ${name} is not among the clientTags; add it there`)
      }
      return mistakes
    },
  },
)

/** What people write: `applicationId` and `brokers`, and whatever differs from the defaults. */
export type Config = InputOf<typeof options>

/** What the engine gets: every setting, checked. */
export type EngineOptions = ValuesOf<typeof options>

/** The configuration of an application made in code. */
export function resolveConfig(config: Config): EngineOptions {
  return resolveLayers([{ origin: 'config', values: config }]).values
}

export function resolveLayers(layers: Parameters<typeof resolveOptions>[1]): Resolved<typeof options> {
  return resolveOptions(options, layers)
}
