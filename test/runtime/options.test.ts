import { expect, test } from 'vitest'
import { type Config, options, resolveConfig } from '../../src/runtime/options.ts'

const least: Config = { applicationId: 'app', brokers: ['localhost:9092'] }

test('config: the least that is needed, the defaults are those of Kafka Streams where it has them', () => {
  expect(resolveConfig(least)).toMatchObject({
    applicationId: 'app',
    clientId: 'app',
    guarantee: 'exactly_once',
    commitIntervalMs: 100,
    cacheMaxBytes: 10 * 1024 * 1024,
    threads: 1,
    acceptableRecoveryLag: 10_000,
    warmupReplicasMax: 2,
    standbyReplicas: 0,
    maxTaskIdleMs: 0,
    taskTimeoutMs: 300_000,
    probingRebalanceIntervalMs: 600_000,
    stateCleanupDelayMs: 600_000,
    repartitionPurgeIntervalMs: 30_000,
    sessionTimeoutMs: 45_000,
    // A third of Kafka Streams': a copy hears of a rebalance in the answer to a heartbeat.
    heartbeatIntervalMs: 1_000,
    transactionTimeoutMs: 10_000,
    http: { host: '127.0.0.1', port: null, token: null },
  })
})

test('config: at least once, the commit interval is 30 s unless given', () => {
  expect(resolveConfig({ ...least, guarantee: 'at_least_once' }).commitIntervalMs).toBe(30_000)
  expect(
    resolveConfig({ ...least, guarantee: 'at_least_once', commitIntervalMs: '1s' }).commitIntervalMs,
  ).toBe(1_000)
})

test("config: Java's dotted names, refused with ours", () => {
  const given = {
    ...least,
    'num.stream.threads': 4,
    numStandbyReplicas: 1,
    'processing.guarantee': 'exactly_once_v2',
  }
  expect(() => resolveConfig(given)).toThrow(
    /num\.stream\.threads: no such setting; here it is called threads; numStandbyReplicas: no such setting; here it is called standbyReplicas; processing\.guarantee: no such setting; here it is called guarantee/,
  )
})

test('config: a name that Kafka Streams locks, the answer says why', () => {
  expect(() => resolveConfig({ ...least, 'enable.auto.commit': true } as Config)).toThrow(
    'the engine commits by itself',
  )
})

test('config: heartbeats too rare for the session, refused', () => {
  expect(() => resolveConfig({ ...least, sessionTimeoutMs: 2_000 })).toThrow(
    /more than a third of sessionTimeoutMs/,
  )
})

test('config: handlers, a name or a function', () => {
  const onError = () => 'continue' as const
  expect(resolveConfig({ ...least, processingHandler: onError }).processingHandler).toBe(onError)
  expect(resolveConfig({ ...least, processingHandler: 'continue' }).processingHandler).toBe('continue')
  expect(() => resolveConfig({ ...least, processingHandler: 'ignore' as 'fail' })).toThrow(
    `give 'fail' or 'continue', or a function (error, record) => answer`,
  )
})

test('config: http, off or in parts', () => {
  expect(resolveConfig({ ...least, http: false }).http).toBe(false)
  expect(resolveConfig({ ...least, http: { port: 0 } }).http).toEqual({
    host: '127.0.0.1',
    port: 0,
    token: null,
  })
  expect(() => resolveConfig({ ...least, http: { port: 70_000 } })).toThrow('http.port: 70000 is not allowed')
})

test('config: every setting has a doc, a section and a default that passes its check', () => {
  for (const [name, setting] of Object.entries(options.settings)) {
    expect(setting.doc, name).toMatch(/\.$/)
    expect(setting.group, name).toBeTruthy()
    if ('default' in setting) expect(setting.check.accept(setting.default), name).not.toBeUndefined()
    else expect('derive' in setting || 'required' in setting, name).toBe(true)
  }
})

test('config: every setting of Kafka Streams 4.3 that people set, answered by name', () => {
  const names = [
    'application.id',
    'bootstrap.servers',
    'num.standby.replicas',
    'state.dir',
    'acceptable.recovery.lag',
    'statestore.cache.max.bytes',
    'cache.max.bytes.buffering',
    'client.id',
    'deserialization.exception.handler',
    'default.key.serde',
    'default.value.serde',
    'default.timestamp.extractor',
    'max.task.idle.ms',
    'max.warmup.replicas',
    'num.stream.threads',
    'processing.exception.handler',
    'processing.guarantee',
    'production.exception.handler',
    'replication.factor',
    'security.protocol',
    'task.timeout.ms',
    'topology.optimization',
    'group.protocol',
    'application.server',
    'buffered.records.per.partition',
    'commit.interval.ms',
    'repartition.purge.interval.ms',
    'default.dsl.store',
    'metrics.recording.level',
    'poll.ms',
    'probing.rebalance.interval.ms',
    'processor.wrapper.class',
    'request.timeout.ms',
    'rocksdb.config.setter',
    'state.cleanup.delay.ms',
    'upgrade.from',
    'windowstore.changelog.additional.retention.ms',
    'log.summary.interval.ms',
    'consumer.max.poll.records',
    'producer.linger.ms',
    'topic.retention.ms',
    'client.tag.zone',
    'rack.aware.assignment.tags',
    'errors.dead.letter.queue.topic.name',
    'ensure.explicit.internal.resource.naming',
  ]
  for (const name of names) {
    const given = { ...least, [name]: 'x' }
    expect(() => resolveConfig(given), name).toThrow(/no such setting; (?!did you mean|there are)/)
  }
})
