/** A broker in a folder: what was acknowledged is there after a stop, after a copy taken at any moment, after a kill -9. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { kafkaErrorName } from '../../src/wire/error-codes.ts'
import { WireClient } from '../contract/wire-client.ts'

const root = mkdtempSync(path.join(tmpdir(), 'millrace-folder-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let folders = 0
const folder = () => path.join(root, String(++folders))

type Producer = {
  readonly producerId: number
  readonly epoch: number
  readonly sequence: number
  readonly transactionalId?: string
}

async function produce(
  client: WireClient,
  topic: string,
  values: readonly string[],
  producer?: Producer,
): Promise<string> {
  const builder = new BatchBuilder()
  for (const value of values)
    builder.append(Date.now(), null, 0, 0, Buffer.from(value), 0, value.length, noHeaders)
  const { producerId = -1, epoch = -1, sequence = -1, transactionalId } = producer ?? {}
  const buffer = builder.seal(producerId, epoch, sequence, transactionalId !== undefined)
  const { topics } = await client.call('produce', {
    transactionalId: transactionalId ?? null,
    acks: -1,
    timeoutMs: 1000,
    topics: [
      { name: topic, partitions: [{ partition: 0, records: { buffer, start: 0, end: buffer.length } }] },
    ],
  })
  return kafkaErrorName(topics[0]!.partitions[0]!.errorCode)
}

const values = (kafka: EmbeddedKafka, topic: string) => kafka.records(topic).map(({ value }) => String(value))

function logFiles(dir: string, topic: string): string[] {
  const topics = path.join(dir, 'topics')
  const name = readdirSync(topics).find((each) => each.startsWith(`${topic}-`))!
  const partition = path.join(topics, name, '0')
  return readdirSync(partition)
    .sort()
    .map((file) => path.join(partition, file))
}

describe('a broker in a folder', () => {
  test('topics, settings, data, positions, groups and ids are there after a restart', async () => {
    const dir = folder()
    const first = await EmbeddedKafka.start({ dir })
    const { clusterId } = first
    first.createTopic('orders', 2, { 'retention.ms': '-1' })
    first.createTopic('gone')
    let joined: { memberId: string; generationId: number }
    {
      using client = await WireClient.open(first.address)
      expect(await produce(client, 'orders', ['a', 'b'])).toBe('NONE')
      const group = {
        groupId: 'g',
        sessionTimeoutMs: 60_000,
        rebalanceTimeoutMs: 1000,
        groupInstanceId: null,
        protocolType: 'consumer',
        protocols: [{ name: 'p', metadata: Buffer.from('m') }],
      }
      const { memberId } = await client.call('joinGroup', { ...group, memberId: '' })
      joined = await client.call('joinGroup', { ...group, memberId })
      const { generationId } = joined
      await client.call('syncGroup', {
        groupId: 'g',
        generationId,
        memberId,
        groupInstanceId: null,
        protocolType: 'consumer',
        protocolName: 'p',
        assignments: [{ memberId, assignment: Buffer.from('mine') }],
      })
      await client.call('offsetCommit', {
        groupId: 'g',
        generationId,
        memberId,
        topics: [
          { name: 'orders', partitions: [{ partition: 1, committedOffset: 7, committedMetadata: 'note' }] },
        ],
      })
      await client.call('deleteRecords', {
        topics: [{ name: 'orders', partitions: [{ partition: 0, offset: 1 }] }],
        timeoutMs: 100,
      })
      await client.call('createPartitions', {
        topics: [{ name: 'orders', count: 3, assignments: null }],
        timeoutMs: 100,
        validateOnly: false,
      })
      await client.call('deleteTopics', { topics: [{ name: 'gone' }], timeoutMs: 100 })
    }
    await first.stop()

    await using second = await EmbeddedKafka.start({ dir })
    using client = await WireClient.open(second.address)
    expect(second.clusterId).toBe(clusterId)
    expect(second.topics()).toEqual({ orders: 3 })
    expect(values(second, 'orders')).toEqual(['b'])
    expect(second.committedOffset('g', 'orders', 1)).toBe(7)
    const { results } = await client.call('describeConfigs', {
      resources: [{ resourceType: 2, resourceName: 'orders', configurationKeys: ['retention.ms'] }],
      includeSynonyms: false,
    })
    expect(results[0]!.configs[0]!.value).toBe('-1')
    const { errorCode } = await client.call('heartbeat', {
      groupId: 'g',
      generationId: joined.generationId,
      memberId: joined.memberId,
    })
    expect(errorCode).toBe(0)
    const { groups } = await client.call('describeGroups', { groups: ['g'] })
    expect(groups[0]).toMatchObject({ groupState: 'Stable', members: [{ memberId: joined.memberId }] })
    expect(await produce(client, 'orders', ['c'])).toBe('NONE')
    expect(values(second, 'orders')).toEqual(['b', 'c'])
  })

  test('a copy taken in a transaction: it is open, goes on, and its producer can commit it', async () => {
    const [dir, copy] = [folder(), folder()]
    await using kafka = await EmbeddedKafka.start({ dir, topics: { orders: 1 } })
    using client = await WireClient.open(kafka.address)
    const { producerId, producerEpoch } = await client.call('initProducerId', {
      transactionalId: 't',
      transactionTimeoutMs: 60_000,
    })
    const held = { transactionalId: 't', producerId, producerEpoch }
    const producer = { producerId, epoch: producerEpoch, transactionalId: 't' }
    await client.call('addPartitionsToTxn', { ...held, topics: [{ name: 'orders', partitions: [0] }] })
    expect(await produce(client, 'orders', ['a'], { ...producer, sequence: 0 })).toBe('NONE')
    await client.call('addOffsetsToTxn', { ...held, groupId: 'g' })
    await client.call('txnOffsetCommit', {
      ...held,
      groupId: 'g',
      topics: [
        { name: 'orders', partitions: [{ partition: 0, committedOffset: 5, committedMetadata: null }] },
      ],
    })
    cpSync(dir, copy, { recursive: true })
    rmSync(path.join(copy, 'lock'))

    await using again = await EmbeddedKafka.start({ dir: copy })
    using other = await WireClient.open(again.address)
    expect(values(again, 'orders')).toEqual([])
    expect(again.committedOffset('g', 'orders', 0)).toBeNull()
    expect(await produce(other, 'orders', ['a'], { ...producer, sequence: 0 })).toBe('NONE')
    expect(await produce(other, 'orders', ['b'], { ...producer, sequence: 1 })).toBe('NONE')
    expect((await other.call('endTxn', { ...held, committed: true })).errorCode).toBe(0)
    expect(values(again, 'orders')).toEqual(['a', 'b'])
    expect(again.committedOffset('g', 'orders', 0)).toBe(5)
  })

  test('a copy taken between decision and markers: the decision is carried out', async () => {
    const [dir, copy] = [folder(), folder()]
    await using kafka = await EmbeddedKafka.start({
      dir,
      topics: { orders: 1 },
      transactionMarkerDelayMs: 60_000,
    })
    using client = await WireClient.open(kafka.address)
    const { producerId, producerEpoch } = await client.call('initProducerId', {
      transactionalId: 't',
      transactionTimeoutMs: 60_000,
    })
    const held = { transactionalId: 't', producerId, producerEpoch }
    await client.call('addPartitionsToTxn', { ...held, topics: [{ name: 'orders', partitions: [0] }] })
    await produce(client, 'orders', ['a'], {
      producerId,
      epoch: producerEpoch,
      transactionalId: 't',
      sequence: 0,
    })
    await client.call('endTxn', { ...held, committed: true })
    expect(values(kafka, 'orders')).toEqual([])
    cpSync(dir, copy, { recursive: true })
    rmSync(path.join(copy, 'lock'))
    await using again = await EmbeddedKafka.start({ dir: copy })
    expect(values(again, 'orders')).toEqual(['a'])
  })

  test('a log that ends inside a batch, at any byte, is cut to the last whole one', async () => {
    const dir = folder()
    const kafka = await EmbeddedKafka.start({ dir, topics: { orders: 1 } })
    {
      using client = await WireClient.open(kafka.address)
      for (const value of ['a', 'b', 'c']) await produce(client, 'orders', [value])
    }
    await kafka.stop()
    const size = statSync(logFiles(dir, 'orders')[0]!).size
    for (let cut = 1; cut < size; cut += 13) {
      const copy = folder()
      cpSync(dir, copy, { recursive: true })
      truncateSync(logFiles(copy, 'orders')[0]!, size - cut)
      await using again = await EmbeddedKafka.start({ dir: copy })
      const left = Math.floor(((size - cut) / size) * 3)
      expect(values(again, 'orders')).toEqual(['a', 'b', 'c'].slice(0, left))
      using client = await WireClient.open(again.address)
      expect(await produce(client, 'orders', ['next'])).toBe('NONE')
      expect(values(again, 'orders')).toEqual([...['a', 'b', 'c'].slice(0, left), 'next'])
    }
  })

  test('half a line at the end of the journal is cut off, a damaged line inside is refused', async () => {
    const dir = folder()
    await (await EmbeddedKafka.start({ dir, topics: { orders: 1 } })).stop()
    const journal = path.join(dir, 'journal.jsonl')
    const whole = readFileSync(journal, 'utf8')
    appendFileSync(journal, '0badc0de {"kind":"topic","na')
    await (await EmbeddedKafka.start({ dir })).stop()
    expect(readFileSync(journal, 'utf8')).not.toContain('0badc0de')
    writeFileSync(journal, `x${whole}`)
    await expect(EmbeddedKafka.start({ dir })).rejects.toMatchObject({
      code: 'BROKER_FOLDER_DAMAGED',
      message: `${journal}: line 1 is damaged`,
    })
  })

  test('the journal is written anew when it has grown, and nothing in it is lost', async () => {
    const dir = folder()
    const kafka = await EmbeddedKafka.start({ dir, topics: { orders: 1 } })
    const committedMetadata = 'x'.repeat(4000)
    let largest = 0
    {
      using client = await WireClient.open(kafka.address)
      for (let offset = 0; offset < 150; offset++) {
        const groups = Array.from({ length: 30 }, (_, index) =>
          client.call('offsetCommit', {
            groupId: `g${index}`,
            memberId: '',
            topics: [
              { name: 'orders', partitions: [{ partition: 0, committedOffset: offset, committedMetadata }] },
            ],
          }),
        )
        await Promise.all(groups)
        largest = Math.max(largest, statSync(path.join(dir, 'journal.jsonl')).size)
      }
    }
    await kafka.stop()
    expect(largest).toBeGreaterThan(15_000_000)
    expect(statSync(path.join(dir, 'journal.jsonl')).size).toBeLessThan(10_000_000)
    await using again = await EmbeddedKafka.start({ dir })
    for (let index = 0; index < 30; index++) expect(again.committedOffset(`g${index}`, 'orders', 0)).toBe(149)
  })

  test('one folder has one broker', async () => {
    const dir = folder()
    await using _ = await EmbeddedKafka.start({ dir })
    await expect(EmbeddedKafka.start({ dir })).rejects.toMatchObject({ code: 'BROKER_FOLDER_IN_USE' })
    const other = folder()
    await (await EmbeddedKafka.start({ dir: other })).stop()
    writeFileSync(path.join(other, 'lock'), String(process.ppid))
    await expect(EmbeddedKafka.start({ dir: other })).rejects.toThrow(`in use by process ${process.ppid}`)
    // A process that is gone holds nothing.
    writeFileSync(path.join(other, 'lock'), '999999999')
    await (await EmbeddedKafka.start({ dir: other })).stop()
    expect(existsSync(path.join(other, 'lock'))).toBe(false)
  })
})

describe('kill -9', () => {
  const project = fileURLToPath(new URL('../..', import.meta.url))
  const built = path.join(root, 'built')

  function build(): string {
    const { status, stdout } = spawnSync(
      process.execPath,
      [
        path.join(project, 'node_modules/typescript/bin/tsc'),
        '-p',
        'tsconfig.build.json',
        '--noEmit',
        'false',
        '--outDir',
        built,
      ],
      { cwd: project, encoding: 'utf8' },
    )
    if (!existsSync(path.join(built, 'testing/embedded-kafka.js')))
      throw new Error(`the build failed (${status}): ${stdout}`)
    writeFileSync(path.join(built, 'package.json'), '{"type":"module"}')
    symlinkSync(path.join(project, 'node_modules'), path.join(built, 'node_modules'))
    const script = path.join(built, 'broker.js')
    writeFileSync(
      script,
      `import { EmbeddedKafka } from './testing/embedded-kafka.js'
const kafka = await EmbeddedKafka.start({ dir: process.argv[2], topics: { orders: 1 } })
console.log(kafka.address)
process.stdin.on('end', () => process.exit()).resume()
`,
    )
    return script
  }

  async function start(script: string, dir: string): Promise<{ child: ChildProcess; address: string }> {
    const child = spawn(process.execPath, [script, dir], { stdio: ['pipe', 'pipe', 'inherit'] })
    const address = await new Promise<string>((resolve, reject) => {
      child.stdout?.setEncoding('utf8').once('data', (text: string) => resolve(text.trim()))
      child.once('exit', (code) => reject(new Error(`the broker ended with ${code}`)))
    })
    return { child, address }
  }

  test('every acknowledged batch and position survives, whenever it comes', { timeout: 60_000 }, async () => {
    const script = build()
    const dir = folder()
    const acknowledged: string[] = []
    let position = -1
    for (let round = 0; round < 5; round++) {
      const { child, address } = await start(script, dir)
      using client = await WireClient.open(address)
      const exited = new Promise((resolve) => child.once('exit', resolve))
      setTimeout(() => child.kill('SIGKILL'), 60 + round * 37)
      try {
        for (let index = 0; ; index++) {
          const value = `${round}-${index}`
          expect(await produce(client, 'orders', [value])).toBe('NONE')
          acknowledged.push(value)
          await client.call('offsetCommit', {
            groupId: 'g',
            memberId: '',
            topics: [
              {
                name: 'orders',
                partitions: [{ partition: 0, committedOffset: acknowledged.length, committedMetadata: null }],
              },
            ],
          })
          position = acknowledged.length
        }
      } catch (error) {
        if (!(error as Error).message.includes('clos')) throw error
      }
      await exited
    }
    await using kafka = await EmbeddedKafka.start({ dir })
    const found = values(kafka, 'orders')
    // A batch whose answer was on its way may be there as well: at most one a round.
    const isUnanswered = (value: string) => !acknowledged.includes(value)
    expect(found.filter((value) => !isUnanswered(value))).toEqual(acknowledged)
    expect(found.filter(isUnanswered).length).toBeLessThanOrEqual(5)
    expect(kafka.committedOffset('g', 'orders', 0)).toBeGreaterThanOrEqual(position)
    expect(acknowledged.length).toBeGreaterThan(50)
  })
})
