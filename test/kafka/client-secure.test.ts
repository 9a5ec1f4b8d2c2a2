/** TLS and SASL as kafkajs' users configure them, against a real broker that asks for them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { StreamsError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type KafkaClient } from '../../src/kafka/index.ts'
import { batch, reader } from '../contract/client.ts'
import { type RunningKafka, type Secure, startKafka } from './launcher.ts'

let kafka: RunningKafka
let secure: Secure

beforeAll(async () => {
  kafka = await startKafka({ security: true })
  secure = kafka.secure as Secure
})
afterAll(() => kafka?.stop())

function open(broker: string, options: Readonly<Record<string, unknown>>): KafkaClient {
  return connect({
    brokers: [broker],
    clientId: 'secure',
    logger: silentLogger,
    kafka: { retry: { retries: 2 }, ...options },
  })
}

const ways: readonly (readonly [
  string,
  () => { readonly broker: string; readonly options: Record<string, unknown> },
])[] = [
  ['TLS', () => ({ broker: secure.tls, options: { ssl: { ca: secure.ca } } })],
  ['mutual TLS', () => ({ broker: secure.mutualTls, options: { ssl: { ca: secure.ca, ...secure.client } } })],
  [
    'PLAIN over TLS',
    () => ({ broker: secure.saslTls, options: { ssl: { ca: secure.ca }, sasl: login('plain') } }),
  ],
  [
    'SCRAM-SHA-256 over TLS',
    () => ({ broker: secure.saslTls, options: { ssl: { ca: secure.ca }, sasl: login('scram-sha-256') } }),
  ],
  [
    'SCRAM-SHA-512 over TLS',
    () => ({ broker: secure.saslTls, options: { ssl: { ca: secure.ca }, sasl: login('scram-sha-512') } }),
  ],
  [
    'SCRAM-SHA-512 over plain text',
    () => ({ broker: secure.sasl, options: { sasl: login('scram-sha-512') } }),
  ],
  [
    'OAUTHBEARER over TLS',
    () => ({ broker: secure.saslTls, options: { ssl: { ca: secure.ca }, sasl: bearer() } }),
  ],
]

function login(mechanism: string, password: string = secure.password) {
  return { mechanism, username: secure.username, password }
}

/** An unsecured token, as the launcher's broker takes them. */
function bearer() {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const oauthBearerProvider = async () => {
    const now = Math.floor(Date.now() / 1_000)
    return { value: `${part({ alg: 'none' })}.${part({ sub: secure.username, iat: now, exp: now + 600 })}.` }
  }
  return { mechanism: 'oauthbearer', oauthBearerProvider }
}

describe.each(ways)('secure client: %s', (_name, way) => {
  test('most of a megabyte goes in and comes back whole, in a transaction', async () => {
    const { broker, options } = way()
    const client = open(broker, options)
    const topic = `secure-${Date.now()}-${Math.floor(Math.random() * 1e6)}`
    await client.admin.createTopics([{ name: topic, partitions: 1, replicationFactor: 1, configs: {} }])
    const producer = client.producer({
      transactionalId: topic,
      deliveryTimeoutMs: 20_000,
      compression: 'none',
    })
    await producer.init()
    const values = Array.from({ length: 400 }, (_, index) => `${index}`.padEnd(1_000, 'x'))
    await producer.produce([batch(topic, 0, values)])
    await producer.end('commit')
    const { fetcher, records } = reader(client, { partitionBytesMax: 2_000_000 })
    fetcher.add({ topic, partition: 0 }, 0)
    expect((await records.until(({ length }) => length === 400)).map(({ value }) => value)).toEqual(values)
    await client.close()
  })
})

async function failureOf(client: KafkaClient): Promise<StreamsError> {
  const error = await client.admin.topics().then(
    () => undefined,
    (reason: unknown) => reason,
  )
  await client.close()
  expect(error).toBeInstanceOf(StreamsError)
  return error as StreamsError
}

test.each(['plain', 'scram-sha-256', 'scram-sha-512'])(
  'secure client: a wrong %s password, one error says so',
  async (mechanism) => {
    const sasl = login(mechanism, 'guess')
    const error = await failureOf(open(secure.saslTls, { ssl: { ca: secure.ca }, sasl }))
    expect(error).toMatchObject({ code: 'KAFKA_AUTHENTICATION', verdict: 'stop' })
    expect(error.message).toContain(mechanism)
  },
)

test('secure client: a certificate that nobody it trusts has signed, TLS is named', async () => {
  const error = await failureOf(open(secure.tls, { ssl: {} }))
  expect(error).toMatchObject({ code: 'KAFKA_AUTHENTICATION', verdict: 'stop' })
  expect(error.message).toContain('TLS')
})

test('secure client: plain text to a TLS port, it ends in bounded time', async () => {
  const error = await failureOf(open(secure.tls, { retry: { retries: 1 } }))
  expect(error.message).toContain(secure.tls)
})
