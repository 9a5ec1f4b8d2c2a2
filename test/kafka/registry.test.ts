/**
 * The serdes of a schema registry against a real one and a real Kafka. The other end is the registry's own client:
 * what it writes is read, and it reads what is written, in topics and in a changelog.
 */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import kafkajs, { type Producer } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { connect } from '../../src/kafka/index.ts'
import { Millrace } from '../../src/runtime/application.ts'
import type { Config } from '../../src/runtime/options.ts'
import { SchemaRegistry } from '../../src/serde/registry.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { type RunningRegistry, startSchemaRegistry } from './schema-registry.ts'

type Client = {
  register(schema: object, options: { subject: string }): Promise<{ id: number }>
  encode(id: number, value: object): Promise<Buffer>
  decode(bytes: Buffer): Promise<unknown>
}
type Received = { readonly key: Buffer | null; readonly value: Buffer | null; readonly headers: object }

const { SchemaRegistry: ConfluentClient } = createRequire(import.meta.url)(
  '@kafkajs/confluent-schema-registry',
) as { readonly SchemaRegistry: new (options: { host: string }) => Client }

const brokers = (process.env['KAFKA_BROKERS'] as string).split(',')
const prefix = `registry-${randomUUID().slice(0, 8)}`
const user = {
  type: 'record',
  name: 'User',
  namespace: 'shop',
  fields: [
    { name: 'name', type: 'string' },
    { name: 'age', type: 'int' },
  ],
}
type User = { readonly name: string; readonly age: number }
const userJson = {
  title: 'User',
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer' } },
  required: ['name', 'age'],
}
const userProto =
  'syntax = "proto3";\npackage shop;\nmessage User {\n  string name = 1;\n  int32 age = 2;\n}\n'
const userId = { type: 'record', name: 'UserId', namespace: 'shop', fields: [{ name: 'id', type: 'string' }] }
type UserId = { readonly id: string }

let real: RunningRegistry
let registry: SchemaRegistry
let client: Client
let producer: Producer
let folder = ''
const kafka = new kafkajs.Kafka({ brokers, clientId: prefix, logLevel: kafkajs.logLevel.NOTHING })
const ours = connect({ brokers, clientId: prefix, logger: silentLogger })
const running: Millrace[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-registry-'))
  real = await startSchemaRegistry()
  // Its first answers take seconds on a busy machine.
  registry = new SchemaRegistry({ url: real.url, retryTimeMs: 30_000 })
  client = new ConfluentClient({ host: real.url })
  producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  await producer.connect()
}, 300_000)

afterAll(async () => {
  await Promise.all(running.map((application) => application.close()))
  await Promise.all([producer?.disconnect(), ours.close(), real?.stop()])
  await rm(folder, { recursive: true, force: true })
})

const makeTopics = (...names: string[]) =>
  ours.admin.createTopics(names.map((name) => ({ name, partitions: 1, replicationFactor: 1, configs: {} })))

async function run(topology: Topology, name: string, config: Partial<Config> = {}): Promise<Millrace> {
  const application = new Millrace(topology, {
    applicationId: `${prefix}-${name}`,
    brokers,
    stateDir: join(folder, name),
    logger: silentLogger,
    ...config,
  })
  running.push(application)
  await application.start()
  return application
}

/** The committed records of a topic, as soon as there are so many or the last one is the one that is waited for. */
async function receive(
  topic: string,
  until: number | ((last: Received) => Promise<boolean>),
): Promise<readonly Received[]> {
  const consumer = kafka.consumer({ groupId: `${topic}-${randomUUID()}`, retry: { retries: 20 } })
  await consumer.connect()
  try {
    await consumer.subscribe({ topic, fromBeginning: true })
    const received: Received[] = []
    await new Promise<void>((resolve, reject) => {
      consumer
        .run({
          eachMessage: async ({ message }) => {
            const one = { key: message.key, value: message.value, headers: message.headers ?? {} }
            received.push(one)
            if (typeof until === 'number' ? received.length === until : await until(one)) resolve()
          },
        })
        .catch(reject)
    })
    return received
  } finally {
    await consumer.disconnect()
  }
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

describe('schema registry: what its own client writes and reads', () => {
  test.each([
    ['Avro', 'AVRO', JSON.stringify(user), () => registry.avro<User>({ schema: user })],
    ['JSON Schema', 'JSON', JSON.stringify(userJson), () => registry.json<User>({ schema: userJson })],
    ['Protobuf', 'PROTOBUF', userProto, () => registry.protobuf<User>({ schema: userProto })],
  ] as const)(
    'schema registry: %s, through topics, a store and its changelog',
    async (_, type, schema, serde) => {
      const name = type.toLowerCase()
      const [input, output] = [`${prefix}-${name}-in`, `${prefix}-${name}-out`]
      await makeTopics(input, output)
      const keySerde = registry.avro<UserId>({ schema: userId, key: true })
      const valueSerde = serde()
      const builder = new StreamsBuilder()
      builder
        .stream(input, { keySerde, valueSerde })
        .groupByKey()
        .reduce((_before, now) => ({ name: now.name, age: now.age + 1 }), { as: 'users', valueSerde })
        .toStream()
        .to(output, { keySerde, valueSerde })
      const keyId = await client.register(
        { type: 'AVRO', schema: JSON.stringify(userId) },
        { subject: `${input}-key` },
      )
      const valueId = await client.register({ type, schema }, { subject: `${input}-value` })
      const key = await client.encode(keyId.id, { id: 'u1' })
      for (const age of [7, 8]) {
        const value = await client.encode(valueId.id, { name: 'Ann', age })
        await producer.send({ topic: input, messages: [{ key, value }] })
      }
      await run(builder.build(), name)
      const changelog = `${prefix}-${name}-users-changelog`
      const reduced = JSON.stringify({ name: 'Ann', age: 9 })
      for (const topic of [output, changelog]) {
        // How many there are before it depends on when commits fall.
        const all = await receive(
          topic,
          async ({ value }) => JSON.stringify(await client.decode(value as Buffer)) === reduced,
        )
        expect(plain(await client.decode(all.at(-1)?.key as Buffer)), topic).toEqual({ id: 'u1' })
      }
      const subjects = (await (await fetch(`${real.url}/subjects`)).json()) as string[]
      expect(subjects).not.toContain('users-value')
      expect(subjects).toEqual(
        expect.arrayContaining([`${output}-key`, `${output}-value`, `${changelog}-value`]),
      )
    },
  )
})

describe('schema registry: schemas that change', () => {
  test('schema registry: records of an old and a new schema, both are read as the reader wants them', async () => {
    const [input, output] = [`${prefix}-evolution-in`, `${prefix}-evolution-out`]
    await makeTopics(input, output)
    const newer = { ...user, fields: [...user.fields, { name: 'email', type: 'string', default: 'none' }] }
    const subject = `${input}-value`
    const versions = []
    for (const schema of [user, newer])
      versions.push(await client.register({ type: 'AVRO', schema: JSON.stringify(schema) }, { subject }))
    const [first, second] = versions.map(({ id }) => id) as [number, number]
    expect(first).not.toBe(second)
    await producer.send({
      topic: input,
      messages: [
        { key: 'a', value: await client.encode(first, { name: 'Ann', age: 7 }) },
        { key: 'b', value: await client.encode(second, { name: 'Bob', age: 8, email: 'b@c.d' }) },
      ],
    })
    const text = serdes.string()
    const builder = new StreamsBuilder()
    for (const [readerSchema, of] of [
      [newer, 'newer'],
      [user, 'older'],
    ] as const) {
      builder
        .stream(of === 'newer' ? input : `${input}-again`, {
          keySerde: text,
          valueSerde: registry.avro<object>({ readerSchema }),
        })
        .mapValues((value) => `${of}: ${JSON.stringify(value)}`, { valueSerde: text })
        .to(output)
    }
    await makeTopics(`${input}-again`)
    await producer.send({
      topic: `${input}-again`,
      messages: [
        { key: 'a', value: await client.encode(first, { name: 'Ann', age: 7 }) },
        { key: 'b', value: await client.encode(second, { name: 'Bob', age: 8, email: 'b@c.d' }) },
      ],
    })
    await run(builder.build(), 'evolution')
    expect((await receive(output, 4)).map(({ value }) => String(value)).sort()).toEqual([
      'newer: {"name":"Ann","age":7,"email":"none"}',
      'newer: {"name":"Bob","age":8,"email":"b@c.d"}',
      'older: {"name":"Ann","age":7}',
      'older: {"name":"Bob","age":8}',
    ])
  })

  test('schema registry: a schema that it refuses, the record fails with subject and reason', async () => {
    const [input, output] = [`${prefix}-refused-in`, `${prefix}-refused-out`]
    await makeTopics(input, output)
    const subject = `${output}-value`
    await client.register({ type: 'AVRO', schema: JSON.stringify(user) }, { subject })
    await fetch(`${real.url}/config/${subject}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
      body: '{"compatibility":"BACKWARD"}',
    })
    const other = { ...user, fields: [...user.fields, { name: 'email', type: 'string' }] }
    const builder = new StreamsBuilder()
    builder
      .stream(input, { keySerde: serdes.string(), valueSerde: serdes.json<object>() })
      .to(output, { valueSerde: registry.avro<object>({ schema: other }) })
    await producer.send({
      topic: input,
      messages: [{ key: 'a', value: '{"name":"Ann","age":7,"email":"x"}' }],
    })
    const application = await run(builder.build(), 'refused')
    await new Promise<void>((resolve) => {
      application.onState((state) => {
        if (state === 'error') resolve()
      })
      if (application.state === 'error') resolve()
    })
    expect(application.error).toMatchObject({ code: 'SERDE_FAILED', verdict: 'stop' })
    expect(application.error?.message).toContain(`subject ${subject}: `)
    expect(application.error?.message).toMatch(/compatib/i)
  })
})

test('schema registry: it does not answer, the record goes to the handler in time; then it does, and records go on', async () => {
  const [input, output, dead] = ['in', 'out', 'dead'].map((topic) => `${prefix}-down-${topic}`) as [
    string,
    string,
    string,
  ]
  await makeTopics(input, output, dead)
  const { id } = await client.register(
    { type: 'AVRO', schema: JSON.stringify(user) },
    { subject: `${input}-value` },
  )
  const value = await client.encode(id, { name: 'Ann', age: 7 })
  const text = serdes.string()
  const builder = new StreamsBuilder()
  const reading = new SchemaRegistry({ url: real.url, retryTimeMs: 1_000 })
  builder
    .stream(input, { keySerde: text, valueSerde: reading.avro<User>() })
    .mapValues(({ name, age }) => `${name} ${age}`, { valueSerde: text })
    .to(output)
  await run(builder.build(), 'down', { deserializationHandler: 'continue', deadLetterTopic: dead })
  real.freeze()
  let answered: Received
  try {
    const sentAt = performance.now()
    await producer.send({ topic: input, messages: [{ key: 'lost', value }] })
    answered = (await receive(dead, 1))[0] as Received
    // The retries' time, and what a new consumer takes to join.
    expect(performance.now() - sentAt).toBeLessThan(15_000)
  } finally {
    real.goOn()
  }
  expect(String(answered.key)).toBe('lost')
  expect(answered.value).toEqual(value)
  const why = (answered.headers as Record<string, Buffer>)['__streams.errors.message']
  expect(String(why)).toMatch(new RegExp(`schema registry ${real.url}, schema ${id} .*: no answer`))
  // What failed is remembered for a second.
  for (let sent = 0; ; sent++) {
    await producer.send({ topic: input, messages: [{ key: 'found', value }] })
    const ends = await ours.admin.offsets([{ topic: output, partition: 0 }], 'latest', 'read_committed')
    if ((ends[0]?.offset ?? 0) > 0 || sent === 100) break
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  expect(String((await receive(output, 1))[0]?.value)).toBe('Ann 7')
}, 60_000)
