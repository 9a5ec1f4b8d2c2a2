/** The launcher itself, seen through a client that the project did not write. */
import { Kafka, logLevel, type SASLOptions } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { kafkaVersions, runJava, startJava } from './java.ts'
import { type RunningKafka, startKafka } from './launcher.ts'

const client = (broker: string, more: { ssl?: object; sasl?: SASLOptions } = {}): Kafka =>
  new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING, retry: { retries: 2 }, ...more })

async function brokersSeenBy(kafka: Kafka): Promise<number> {
  const admin = kafka.admin()
  await admin.connect()
  try {
    return (await admin.describeCluster()).brokers.length
  } finally {
    await admin.disconnect()
  }
}

test('launcher: a test run, is given the address of a Kafka', async () => {
  expect(process.env['KAFKA_BROKERS']).toMatch(/^[\w.-]+:\d+(,[\w.-]+:\d+)*$/)
  expect(
    await brokersSeenBy(client((process.env['KAFKA_BROKERS'] ?? '').split(',')[0] ?? '')),
  ).toBeGreaterThan(0)
})

test('launcher: a missing program, is told with its remedy', async () => {
  const path = process.env['PATH']
  process.env['PATH'] = '/nowhere'
  try {
    await expect(runJava('org.apache.kafka.tools.TopicCommand')).rejects.toThrow(
      /java is not on the path: install a JDK 17 or newer and Maven/,
    )
  } finally {
    process.env['PATH'] = path
  }
})

test('launcher: a Java process whose starter is gone, ends', async () => {
  const idle = await startJava('Guard')
  await idle.said('guarded')
  // What the system does to the pipe when the starter dies.
  idle.closeInput()
  expect(await idle.exited).toBe(143)
})

describe.each(kafkaVersions.map((version) => ({ version })))('launcher: Kafka $version', ({ version }) => {
  let kafka: RunningKafka
  beforeAll(async () => {
    kafka = await startKafka({ version })
  })
  afterAll(() => kafka?.stop())

  test('its tools make a topic that outlives a kill of its broker', async () => {
    const topics = (...args: string[]): Promise<string> =>
      kafka.tool('org.apache.kafka.tools.TopicCommand', ['--bootstrap-server', kafka.address, ...args])
    await topics('--create', '--topic', 'survivor', '--partitions', '3')
    await kafka.kill(1)
    await kafka.restart(1)
    expect((await topics('--list')).split('\n')).toContain('survivor')
  })

  test('its console tools pass input through', async () => {
    const console = (main: string, args: string[], input?: string): Promise<string> =>
      kafka.tool(main, ['--bootstrap-server', kafka.address, ...args], {
        ...(input === undefined ? {} : { input }),
      })
    const producer =
      version === '3.9.1' ? 'kafka.tools.ConsoleProducer' : 'org.apache.kafka.tools.ConsoleProducer'
    await console(producer, ['--topic', 'lines'], 'one\ntwo\n')
    const consumed = await console('org.apache.kafka.tools.consumer.ConsoleConsumer', [
      '--topic',
      'lines',
      '--from-beginning',
      '--max-messages',
      '2',
    ])
    expect(consumed).toBe('one\ntwo\n')
  })
})

test('launcher: three brokers, one is killed and comes back', async () => {
  const kafka = await startKafka({ brokers: 3 })
  try {
    expect(kafka.addresses).toHaveLength(3)
    expect(await brokersSeenBy(client(kafka.address))).toBe(3)
    await kafka.kill(2)
    await kafka.restart(2)
    expect(await brokersSeenBy(client(kafka.addresses[1] ?? ''))).toBe(3)
  } finally {
    await kafka.stop()
  }
})

describe('launcher: a secured Kafka', () => {
  let kafka: RunningKafka
  beforeAll(async () => {
    kafka = await startKafka({ security: true })
  })
  afterAll(() => kafka?.stop())

  const secure = (): NonNullable<RunningKafka['secure']> => {
    if (kafka.secure === undefined) throw new Error('no secure listeners')
    return kafka.secure
  }
  const token = (): string => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const now = Math.floor(Date.now() / 1000)
    return `${part({ alg: 'none' })}.${part({ sub: secure().username, iat: now, exp: now + 600 })}.`
  }
  const logins: { readonly [mechanism: string]: () => SASLOptions } = {
    plain: () => ({ mechanism: 'plain', username: secure().username, password: secure().password }),
    'scram-sha-256': () => ({
      mechanism: 'scram-sha-256',
      username: secure().username,
      password: secure().password,
    }),
    'scram-sha-512': () => ({
      mechanism: 'scram-sha-512',
      username: secure().username,
      password: secure().password,
    }),
    oauthbearer: () => ({ mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: token() }) }),
  }

  test('takes TLS, and refuses a client that does not trust it', async () => {
    expect(await brokersSeenBy(client(secure().tls, { ssl: { ca: secure().ca } }))).toBe(1)
    await expect(brokersSeenBy(client(secure().tls, { ssl: {} }))).rejects.toThrow()
  })

  test('takes a client by its certificate, and refuses one without', async () => {
    const { ca, client: own, mutualTls } = secure()
    expect(await brokersSeenBy(client(mutualTls, { ssl: { ca, ...own } }))).toBe(1)
    await expect(brokersSeenBy(client(mutualTls, { ssl: { ca } }))).rejects.toThrow()
  })

  test.each(Object.keys(logins))('takes %s, over TLS and over plain text', async (mechanism) => {
    const sasl = logins[mechanism]!()
    expect(await brokersSeenBy(client(secure().saslTls, { ssl: { ca: secure().ca }, sasl }))).toBe(1)
    expect(await brokersSeenBy(client(secure().sasl, { sasl }))).toBe(1)
  })

  test('refuses a wrong password', async () => {
    const sasl: SASLOptions = { mechanism: 'scram-sha-256', username: secure().username, password: 'wrong' }
    await expect(brokersSeenBy(client(secure().sasl, { sasl }))).rejects.toThrow(/[Aa]uthentication/)
  })
})
