import { createRequire } from 'node:module'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ByteWriter } from '../../src/base/bytes.ts'
import { noHeaders } from '../../src/base/headers.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { SchemaRegistry } from '../../src/serde/registry.ts'
import type { Serde } from '../../src/serde/serde.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { TopologyTestDriver } from '../../src/testing/topology-test-driver.ts'
import { type FakeRegistry, startFakeRegistry } from './fake-registry.ts'

let fake: FakeRegistry
let registry: SchemaRegistry
beforeEach(async () => {
  fake = await startFakeRegistry()
  registry = new SchemaRegistry({ url: fake.url, retries: 2, retryTimeMs: 1_000 })
})
afterEach(() => fake.close())

const user = {
  type: 'record',
  name: 'User',
  namespace: 'shop',
  fields: [
    { name: 'name', type: 'string' },
    { name: 'age', type: 'int' },
  ],
}
const proto = 'syntax = "proto3";\npackage shop;\nmessage User {\n  string name = 1;\n  int32 age = 2;\n}\n'
const jsonSchema = {
  title: 'User',
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer' } },
  required: ['name'],
}
const ann = { name: 'Ann', age: 7 }

/** As the engine writes: a promise says that nothing was written yet. */
async function bytesOf<T>(serde: Serde<T>, value: T, topic = 'users'): Promise<Buffer> {
  const to = new ByteWriter()
  for (let waiting = serde.write(value, to, topic, noHeaders); waiting !== undefined; ) {
    await waiting
    expect(to.position).toBe(0)
    waiting = serde.write(value, to, topic, noHeaders)
  }
  return to.copy()
}

const read = <T>(serde: Serde<T>, bytes: Buffer, topic = 'users') =>
  serde.read(bytes, 0, bytes.length, topic, noHeaders)

describe('registry: what is written and read', () => {
  test('registry: Avro, a zero byte, the id, the data; registered under the topic', async () => {
    const serde = registry.avro<typeof ann>({ schema: user })
    const bytes = await bytesOf(serde, ann)
    expect(bytes.toString('hex')).toBe('00000000010641 6e6e0e'.replace(' ', ''))
    expect(fake.requests).toContain('POST /subjects/users-value/versions')
    expect({ ...(await read(serde, bytes)) }).toEqual(ann)
  })

  test('registry: JSON Schema', async () => {
    const serde = registry.json<typeof ann>({ schema: jsonSchema })
    const bytes = await bytesOf(serde, ann)
    expect(bytes.subarray(5).toString()).toBe('{"name":"Ann","age":7}')
    expect(await read(serde, bytes)).toEqual(ann)
  })

  test('registry: Protobuf, with the index of its message, in both forms or without one', async () => {
    const serde = registry.protobuf<typeof ann>({ schema: proto })
    const bytes = await bytesOf(serde, ann)
    expect(bytes.toString('hex')).toBe('0000000001000a03416e6e1007')
    expect(await read(serde, bytes)).toMatchObject(ann)
    expect(await read(serde, Buffer.from('000000000102000a03416e6e1007', 'hex'))).toMatchObject(ann)
    expect(await read(serde, Buffer.from('00000000010a03416e6e1007', 'hex'))).toMatchObject(ann)
    for (const nothing of ['000000000100', '0000000001'])
      expect(await read(serde, Buffer.from(nothing, 'hex'))).toMatchObject({ name: '', age: 0 })
    await expect(async () => read(serde, Buffer.from('000000000102020a03416e6e1007', 'hex'))).rejects.toThrow(
      /only that one can be read/,
    )
  })

  test('registry: once its schema is known, a record costs no promise and no request', async () => {
    const serde = registry.avro<typeof ann>({ schema: user })
    const bytes = await bytesOf(serde, ann)
    const asked = fake.requests.length
    for (let index = 0; index < 100; index++) {
      expect(serde.write(ann, new ByteWriter(), 'users', noHeaders)).toBe(undefined)
      expect(read(serde, bytes)).not.toBeInstanceOf(Promise)
    }
    expect(fake.requests.length).toBe(asked)
  })

  test('registry: many records of an unknown schema at once, it is fetched once', async () => {
    const id = fake.register('users-value', user)
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 0, id]), Buffer.from('06416e6e0e', 'hex')])
    const serde = registry.avro<typeof ann>()
    await Promise.all(Array.from({ length: 20 }, () => read(serde, bytes)))
    expect(fake.requests.filter((request) => request.startsWith('GET /schemas/ids/'))).toHaveLength(1)
  })

  test('registry: an older writer, a newer reader schema fills in its default', async () => {
    const id = fake.register('users-value', user)
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 0, id]), Buffer.from('06416e6e0e', 'hex')])
    const readerSchema = {
      ...user,
      fields: [user.fields[0], { name: 'email', type: 'string', default: 'none' }],
    }
    const serde = registry.avro<{ name: string; email: string }>({ readerSchema })
    expect({ ...(await read(serde, bytes)) }).toEqual({ name: 'Ann', email: 'none' })
  })
})

describe('registry: subjects', () => {
  test.each([
    ['topic, of a value', {}, 'users-value'],
    ['topic, of a key', { key: true }, 'users-key'],
    ['record', { subject: 'record' as const }, 'shop.User'],
    ['topic and record', { subject: 'topic-record' as const }, 'users-shop.User'],
    ['a function', { subject: (topic: string) => `my-${topic}` }, 'my-users'],
  ])('registry: by %s', async (_, options, subject) => {
    await bytesOf(registry.avro<typeof ann>({ schema: user, ...options }), ann)
    expect(fake.requests).toContain(`POST /subjects/${subject}/versions`)
  })

  test('registry: no schema given, the latest of the subject; not registered, an error', async () => {
    fake.register('users-value', user)
    expect((await bytesOf(registry.avro<typeof ann>(), ann)).readInt32BE(1)).toBe(1)
    await expect(bytesOf(registry.avro<typeof ann>(), ann, 'others')).rejects.toThrow(/subject others-value/)
    await expect(
      bytesOf(registry.avro<typeof ann>({ schema: { ...user, name: 'X' }, registered: true }), ann),
    ).rejects.toMatchObject({ code: 'SERDE_FAILED' })
  })
})

describe('registry: what goes wrong', () => {
  test('registry: a value that does not fit, the error names schema id, subject and field', async () => {
    const serde = registry.avro<{ name: string; age: unknown }>({ schema: user })
    await bytesOf(serde, ann)
    await expect(bytesOf(serde, { name: 'Ann', age: 'seven' })).rejects.toThrow(
      /schema 1, subject users-value: field age/,
    )
    const json = registry.json<object>({ schema: jsonSchema })
    await bytesOf(json, ann, 'j')
    await expect(bytesOf(json, { name: 5 }, 'j')).rejects.toThrow(/subject j-value: field \/name/)
  })

  test('registry: bytes that no registry wrote, an error that says so', () => {
    expect(() => read(registry.avro(), Buffer.from('{"a":1}'))).toThrow(
      /was not written with a schema registry/,
    )
    expect(() => read(registry.avro(), Buffer.alloc(2))).toThrow(/was not written with a schema registry/)
  })

  test('registry: it is down, bounded tries, then an error for the handler; back again, it works', async () => {
    const id = fake.register('users-value', user)
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 0, id]), Buffer.from('06416e6e0e', 'hex')])
    const serde = registry.avro<typeof ann>()
    fake.down = 503
    const startedAt = performance.now()
    await expect(async () => read(serde, bytes)).rejects.toMatchObject({
      code: 'SERDE_FAILED',
      verdict: 'skip',
    })
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    const tried = fake.requests.length
    expect(tried).toBeGreaterThan(1)
    // A batch of such records does not wait for its retries one by one.
    await expect(async () => read(serde, bytes)).rejects.toThrow(
      `schema registry ${fake.url}, schema 1 (topic users, value)`,
    )
    expect(fake.requests.length).toBe(tried)
    fake.down = null
    await new Promise((resolve) => setTimeout(resolve, 1_050))
    expect({ ...(await read(serde, bytes)) }).toEqual(ann)
  })

  test('registry: it takes requests and never answers, the time of all tries holds', async () => {
    const id = fake.register('users-value', user)
    const bytes = Buffer.concat([Buffer.from([0, 0, 0, 0, id]), Buffer.from('06416e6e0e', 'hex')])
    fake.down = 'mute'
    const startedAt = performance.now()
    await expect(async () => read(registry.avro(), bytes)).rejects.toThrow(/schema 1 .*no answer/)
    await expect(bytesOf(registry.avro({ schema: user }), ann)).rejects.toThrow(
      /subject users-value: no answer/,
    )
    expect(performance.now() - startedAt).toBeLessThan(6_000)
    expect(fake.requests.length).toBeGreaterThan(1)
  })

  test('registry: nobody listens there, the error says so in words', async () => {
    const { url } = fake
    await fake.close()
    await expect(bytesOf(registry.avro({ schema: user }), ann)).rejects.toThrow(
      `schema registry ${url}, subject users-value: no answer: connect ECONNREFUSED`,
    )
  })

  test('registry: it answers no, it is not asked again', async () => {
    await expect(async () =>
      read(registry.avro(), Buffer.from('000000000906416e6e0e', 'hex')),
    ).rejects.toThrow('schema 9 (topic users, value): Schema not found')
    expect(fake.requests).toEqual(['GET /schemas/ids/9'])
  })

  test('registry: it is down for a moment while a schema is registered, that is tried again', async () => {
    fake.down = 503
    const written = bytesOf(registry.avro<typeof ann>({ schema: user }), ann)
    await fake.seen(1)
    fake.down = null
    expect((await written).readInt32BE(1)).toBe(1)
  })

  test('registry: another client of this process, it keeps its own retries', async () => {
    const { SchemaRegistry: Client } = createRequire(import.meta.url)(
      '@kafkajs/confluent-schema-registry',
    ) as {
      readonly SchemaRegistry: new (options: { host: string }) => { getSchema(id: number): Promise<unknown> }
    }
    fake.down = 503
    await expect(new Client({ host: fake.url }).getSchema(1)).rejects.toThrow(/down/)
    expect(fake.requests.length).toBe(4)
  })

  test('registry: an address that is none, refused', () => {
    expect(() => new SchemaRegistry({ url: 'localhost:8081' })).toThrow(/give one such as http/)
  })
})

describe('registry: in a store', () => {
  const usersTopology = () => {
    const builder = new StreamsBuilder()
    const valueSerde = registry.avro<typeof ann>({ schema: user })
    builder
      .stream('users', { keySerde: serdes.string(), valueSerde })
      .groupByKey()
      .reduce((_before, now) => now, { as: 'latest', valueSerde })
      .toStream()
      .to('out')
    return builder.build()
  }

  test("registry: of a class, as Avro's values are, the store's subject is its changelog's and no other", async () => {
    const driver = await TopologyTestDriver.start(usersTopology(), { applicationId: 'app' })
    for (const age of [7, 8]) await driver.input<string, typeof ann>('users').pipe('a', { ...ann, age })
    expect((await driver.output('out').readValues()).map((value) => ({ ...(value as object) }))).toEqual([
      { name: 'Ann', age: 7 },
      { name: 'Ann', age: 8 },
    ])
    await driver.close()
    const registered = fake.requests.filter((request) => request.startsWith('POST'))
    expect(registered.sort()).toEqual([
      'POST /subjects/app-latest-changelog-value/versions',
      'POST /subjects/out-value/versions',
      'POST /subjects/users-value/versions',
    ])
  })
})
