/**
 * What a Kafka broker does, request by request: the embedded one must do what Apache Kafka does. The suite runs on
 * both; where one of them is passed over, the test says why.
 */
import { crc32c } from '@node-rs/crc32'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import type { RequestInOf, ResponseOf } from '../../src/wire/api.ts'
import { apis } from '../../src/wire/apis.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { type Codec, codecs } from '../../src/wire/compression.ts'
import { kafkaErrorName } from '../../src/wire/error-codes.ts'
import { BatchCursor, batchFlags, batchLayout } from '../../src/wire/record-batch.ts'
import { type ApiName, settled, WireClient } from './wire-client.ts'

type Sent = { readonly key?: string | null; readonly value?: string | null; readonly timestamp?: number }
type Producer = {
  readonly producerId: number
  readonly epoch: number
  readonly sequence: number
  readonly isTransactional?: boolean
}

/** A consumer's metadata, version 0: one topic, no user data. Apache Kafka reads it, and stalls on anything else. */
function subscription(topic: string): string {
  const bytes = Buffer.alloc(2 + 4 + 2 + topic.length + 4)
  bytes.writeInt32BE(1, 2)
  bytes.writeInt16BE(topic.length, 6)
  bytes.write(topic, 8)
  return bytes.toString('latin1')
}

export type BrokerUnderTest = { readonly address: string; readonly stop: () => Promise<void> }

export function brokerContract(
  name: string,
  start: () => Promise<BrokerUnderTest>,
  { isEmbedded, isBefore4 = false }: { readonly isEmbedded: boolean; readonly isBefore4?: boolean },
): void {
  describe(`broker contract: ${name}`, () => {
    let broker: BrokerUnderTest
    let client: WireClient
    const others: WireClient[] = []
    let count = 0
    const run = `${process.pid}-${Date.now()}`
    const unique = (what: string) => `${what}-${run}-${++count}`

    beforeAll(async () => {
      broker = await start()
      client = await WireClient.open(broker.address)
    })
    afterAll(async () => {
      client?.close()
      for (const other of others) other.close()
      await broker?.stop()
    })

    /** A second connection: requests on one are answered in order. */
    async function another(): Promise<WireClient> {
      const other = await WireClient.open(broker.address)
      others.push(other)
      return other
    }

    async function topic(partitions = 1, configs: Record<string, string> = {}): Promise<string> {
      const created = unique('topic')
      const answer = await createTopic(created, { numPartitions: partitions, configs: pairs(configs) })
      expect(answer.errorCode).toBe(0)
      await settled(
        () =>
          client.call('listOffsets', {
            replicaId: -1,
            topics: [{ name: created, partitions: [{ partition: partitions - 1, timestamp: -1 }] }],
          }),
        (offsets) => offsets.topics[0]?.partitions[0]?.errorCode ?? 0,
      )
      return created
    }

    async function createTopic(
      topicName: string,
      {
        numPartitions = 1,
        replicationFactor = 1,
        configs = [],
        validateOnly = false,
      }: {
        numPartitions?: number
        replicationFactor?: number
        configs?: { name: string; value: string }[]
        validateOnly?: boolean
      } = {},
    ) {
      const { topics } = await client.call('createTopics', {
        topics: [{ name: topicName, numPartitions, replicationFactor, assignments: [], configs }],
        validateOnly,
      })
      return { ...topics[0]!, error: kafkaErrorName(topics[0]!.errorCode) }
    }

    function pairs(configs: Record<string, string>) {
      return Object.entries(configs).map(([config, value]) => ({ name: config, value }))
    }

    function batch(records: readonly Sent[], producer?: Producer, codec: Codec = 'none'): Buffer {
      const builder = new BatchBuilder(Number.MAX_SAFE_INTEGER)
      for (const { key = null, value = null, timestamp = Date.now() } of records) {
        const keyBytes = key === null ? null : Buffer.from(key)
        const valueBytes = value === null ? null : Buffer.from(value)
        builder.append(
          timestamp,
          keyBytes,
          0,
          keyBytes?.length ?? 0,
          valueBytes,
          0,
          valueBytes?.length ?? 0,
          noHeaders,
        )
      }
      const { producerId = -1, epoch = -1, sequence = -1, isTransactional = false } = producer ?? {}
      return builder.seal(producerId, epoch, sequence, isTransactional, codec)
    }

    async function produce(
      topicName: string,
      bytes: Buffer,
      {
        acks = -1,
        transactionalId = null,
        version,
      }: { acks?: number; transactionalId?: string | null; version?: number | undefined } = {},
    ) {
      const records = { buffer: bytes, start: 0, end: bytes.length }
      const topics = [{ name: topicName, partitions: [{ partition: 0, records }] }]
      const { topics: answers } = await client.call(
        'produce',
        { transactionalId, acks, timeoutMs: 10_000, topics },
        version,
      )
      const answer = answers[0]!.partitions[0]!
      return { ...answer, error: kafkaErrorName(answer.errorCode) }
    }

    type Asked = {
      from?: number
      partition?: number
      isCommitted?: boolean
      maxWaitMs?: number
      minBytes?: number
      partitionMaxBytes?: number
      on?: WireClient
      version?: number
    }

    async function fetchBytes(
      topicName: string,
      {
        from = 0,
        partition = 0,
        isCommitted = false,
        maxWaitMs = 0,
        minBytes = 1,
        partitionMaxBytes = 1 << 20,
        on = client,
        version,
      }: Asked = {},
    ) {
      const request: RequestInOf<typeof apis.fetch> = {
        maxWaitMs,
        minBytes,
        isolationLevel: isCommitted ? 1 : 0,
        topics: [{ name: topicName, partitions: [{ partition, fetchOffset: from, partitionMaxBytes }] }],
      }
      const { topics } = await on.call('fetch', request, version)
      return topics[0]!.partitions[0]!
    }

    async function fetch(topicName: string, asked: Asked = {}) {
      const answer = await fetchBytes(topicName, asked)
      const { buffer, start, end } = answer.records ?? { buffer: Buffer.alloc(0), start: 0, end: 0 }
      const cursor = new BatchCursor({
        topic: topicName,
        partition: 0,
        buffer,
        start,
        end,
        fromOffset: asked.from ?? 0,
        aborted: asked.isCommitted ? (answer.abortedTransactions ?? []) : null,
      })
      const records = []
      while (cursor.next()) {
        const { offset, timestamp, keyStart, keyEnd, valueStart, valueEnd } = cursor
        const key = keyStart < 0 ? null : cursor.buffer.toString('utf8', keyStart, keyEnd)
        records.push({
          offset,
          timestamp,
          key,
          value: valueStart < 0 ? null : cursor.buffer.toString('utf8', valueStart, valueEnd),
        })
      }
      return {
        ...answer,
        error: kafkaErrorName(answer.errorCode),
        values: records.map(({ value }) => value),
        found: records,
        nextOffset: cursor.nextOffset,
      }
    }

    async function offsetAt(topicName: string, timestamp: number, isCommitted = false) {
      const { topics } = await client.call('listOffsets', {
        replicaId: -1,
        isolationLevel: isCommitted ? 1 : 0,
        topics: [{ name: topicName, partitions: [{ partition: 0, timestamp }] }],
      })
      return topics[0]!.partitions[0]!
    }

    function patched(bytes: Buffer, change: (bytes: Buffer) => void): Buffer {
      const copy = Buffer.from(bytes)
      change(copy)
      copy.writeUInt32BE(crc32c(copy.subarray(batchLayout.attributes)), batchLayout.crc)
      return copy
    }

    describe('cluster', () => {
      test('every API of the wire layer is spoken, at a version that both know', () => {
        const missing = (Object.keys(apis) as ApiName[]).filter((api) => client.versions(api).length === 0)
        expect(missing).toEqual([])
      })

      test('a client from the future asks for versions, it is told them in the oldest format', async () => {
        using bare = await WireClient.openBare(broker.address)
        const request = Buffer.from('0012000f0000000700046d696c6c00', 'hex')
        const length = Buffer.alloc(4)
        length.writeInt32BE(request.length)
        bare.raw(Buffer.concat([length, request]))
        const answer = await bare.nextFrame()
        expect(answer.readInt32BE(0)).toBe(7)
        expect(kafkaErrorName(answer.readInt16BE(4))).toBe('UNSUPPORTED_VERSION')
      })

      test('the node of Metadata is that of DescribeCluster and of FindCoordinator', async () => {
        const { brokers, clusterId } = await client.call('metadata', {
          topics: [],
          allowAutoTopicCreation: false,
        })
        const described = await client.call('describeCluster', { includeClusterAuthorizedOperations: false })
        const ids = brokers.map(({ nodeId }) => nodeId)
        expect(described.clusterId).toBe(clusterId)
        expect(described.brokers.map(({ brokerId }) => brokerId)).toEqual(ids)
        for (const keyType of [0, 1]) {
          const key = unique('key')
          const { coordinators } = await settled(
            () => client.call('findCoordinator', { keyType, coordinatorKeys: [key] }),
            (answer) => answer.coordinators[0]?.errorCode ?? 0,
          )
          expect(coordinators).toMatchObject([{ key, errorCode: 0 }])
          expect(ids).toContain(coordinators[0]?.nodeId)
        }
      })

      test('metadata at every version, the same topic', async () => {
        const name = await topic(2)
        for (const version of client.versions('metadata')) {
          const { topics } = await client.call(
            'metadata',
            { topics: [{ name }], allowAutoTopicCreation: version < 4 },
            version,
          )
          expect(topics).toMatchObject([{ name, errorCode: 0 }])
          expect(topics[0]!.partitions.map(({ partition }) => partition).toSorted()).toEqual([0, 1])
        }
      })
    })

    describe('topics', () => {
      test('a topic is created, found by name and by id, listed, deleted', async () => {
        const name = await topic(3)
        const { topics } = await client.call('metadata', {
          topics: [{ name }],
          allowAutoTopicCreation: false,
        })
        expect(topics).toMatchObject([{ name, errorCode: 0, isInternal: false }])
        expect(topics[0]!.partitions).toHaveLength(3)
        const byId = await client.call('metadata', {
          topics: [{ topicId: topics[0]!.topicId, name: null }],
          allowAutoTopicCreation: false,
        })
        expect(byId.topics).toMatchObject([{ name, errorCode: 0 }])
        const all = await client.call('metadata', { topics: null, allowAutoTopicCreation: false })
        expect(all.topics.map((each) => each.name)).toContain(name)
        const deleted = await client.call('deleteTopics', { topics: [{ name }], timeoutMs: 10_000 })
        expect(deleted.responses).toMatchObject([{ name, errorCode: 0 }])
        await expect
          .poll(
            async () =>
              (await client.call('metadata', { topics: [{ name }], allowAutoTopicCreation: false })).topics[0]
                ?.errorCode,
          )
          .toBe(3)
      })

      test('what can not be created is refused by its reason', async () => {
        const existing = await topic()
        expect((await createTopic(existing)).error).toBe('TOPIC_ALREADY_EXISTS')
        expect((await createTopic('not a name')).error).toBe('INVALID_TOPIC_EXCEPTION')
        expect((await createTopic('..')).error).toBe('INVALID_TOPIC_EXCEPTION')
        expect((await createTopic('x'.repeat(250))).error).toBe('INVALID_TOPIC_EXCEPTION')
        expect((await createTopic(unique('t'), { numPartitions: 0 })).error).toBe('INVALID_PARTITIONS')
        expect((await createTopic(unique('t'), { replicationFactor: 9 })).error).toBe(
          'INVALID_REPLICATION_FACTOR',
        )
        expect((await createTopic(unique('t'), { configs: pairs({ 'no.such': '1' }) })).error).toBe(
          'INVALID_CONFIG',
        )
        expect((await createTopic(unique('t'), { configs: pairs({ constructor: '1' }) })).error).toBe(
          'INVALID_CONFIG',
        )
        expect((await createTopic(unique('t'), { configs: pairs({ 'retention.ms': 'soon' }) })).error).toBe(
          'INVALID_CONFIG',
        )
        expect((await createTopic(unique('t'), { configs: pairs({ 'cleanup.policy': 'burn' }) })).error).toBe(
          'INVALID_CONFIG',
        )
      })

      test('a topic that is only validated does not come to be', async () => {
        const name = unique('t')
        expect((await createTopic(name, { validateOnly: true })).error).toBe('NONE')
        const { topics } = await client.call('metadata', {
          topics: [{ name }],
          allowAutoTopicCreation: false,
        })
        expect(kafkaErrorName(topics[0]!.errorCode)).toBe('UNKNOWN_TOPIC_OR_PARTITION')
      })

      test('partitions are added, never taken away', async () => {
        const name = await topic(2)
        const grow = async (to: number, validateOnly = false) => {
          const { results } = await client.call('createPartitions', {
            topics: [{ name, count: to, assignments: null }],
            timeoutMs: 10_000,
            validateOnly,
          })
          return kafkaErrorName(results[0]!.errorCode)
        }
        expect(await grow(4)).toBe('NONE')
        expect(await grow(3)).toBe('INVALID_PARTITIONS')
        await expect
          .poll(
            async () =>
              (await client.call('metadata', { topics: [{ name }], allowAutoTopicCreation: false })).topics[0]
                ?.partitions.length,
          )
          .toBe(4)
      })

      test('settings are replaced as a whole: what is not named goes back to its default', async () => {
        const name = await topic(1, { 'retention.ms': '5000' })
        const resource = { resourceType: 2, resourceName: name }
        const configs = pairs({ 'max.message.bytes': '2000' })
        const { responses } = await client.call('alterConfigs', {
          resources: [{ ...resource, configs }],
          validateOnly: false,
        })
        expect(responses).toMatchObject([{ errorCode: 0, ...resource }])
        const own = async () => {
          const { results } = await client.call('describeConfigs', {
            resources: [{ ...resource, configurationKeys: null }],
            includeSynonyms: false,
          })
          return results[0]!.configs
            .filter(({ configSource }) => configSource === 1)
            .map(({ name: key, value }) => [key, value])
        }
        await expect.poll(own).toEqual([['max.message.bytes', '2000']])
        const nowhere = { resourceType: 2, resourceName: unique('none'), configs: [] }
        const missing = await client.call('alterConfigs', { resources: [nowhere], validateOnly: true })
        expect(kafkaErrorName(missing.responses[0]!.errorCode)).toBe('UNKNOWN_TOPIC_OR_PARTITION')
      })

      test('settings: defaults and own values are told apart, changed one by one, unknown ones refused', async () => {
        const name = await topic(1, { 'cleanup.policy': 'compact' })
        const read = async (key: string) => {
          const { results } = await client.call('describeConfigs', {
            resources: [{ resourceType: 2, resourceName: name, configurationKeys: [key] }],
            includeSynonyms: true,
          })
          const config = results[0]!.configs[0]!
          return { value: config.value, isDefault: config.configSource === 5 }
        }
        const change = async (key: string, configOperation: number, value: string | null) => {
          const { responses } = await client.call('incrementalAlterConfigs', {
            resources: [
              { resourceType: 2, resourceName: name, configs: [{ name: key, configOperation, value }] },
            ],
            validateOnly: false,
          })
          return kafkaErrorName(responses[0]!.errorCode)
        }
        expect(await read('cleanup.policy')).toEqual({ value: 'compact', isDefault: false })
        expect(await read('max.message.bytes')).toEqual({ value: '1048588', isDefault: true })
        expect(await change('cleanup.policy', 2, 'delete')).toBe('NONE')
        await expect.poll(() => read('cleanup.policy')).toEqual({ value: 'compact,delete', isDefault: false })
        expect(await change('cleanup.policy', 3, 'compact')).toBe('NONE')
        await expect.poll(() => read('cleanup.policy')).toEqual({ value: 'delete', isDefault: false })
        expect(await change('cleanup.policy', 1, null)).toBe('NONE')
        await expect.poll(() => read('cleanup.policy')).toEqual({ value: 'delete', isDefault: true })
        expect(await change('no.such', 0, '1')).toBe('INVALID_CONFIG')
        expect(await change('retention.ms', 0, 'x')).toBe('INVALID_CONFIG')
      })
    })

    describe('produce and fetch', () => {
      test('batches get offsets in order and are given back as they were', async () => {
        const name = await topic()
        expect(await produce(name, batch([{ key: 'a', value: '1' }, { value: '2' }]))).toMatchObject({
          error: 'NONE',
          baseOffset: 0,
          logStartOffset: 0,
        })
        expect(await produce(name, batch([{ key: 'b' }]))).toMatchObject({ error: 'NONE', baseOffset: 2 })
        const got = await fetch(name)
        expect(got.found.map(({ offset, key, value }) => [offset, key, value])).toEqual([
          [0, 'a', '1'],
          [1, null, '2'],
          [2, 'b', null],
        ])
        expect(got).toMatchObject({ highWatermark: 3, logStartOffset: 0, nextOffset: 3 })
      })

      test('at every version of Fetch and of Produce', async () => {
        const name = await topic()
        const bytes = batch([{ value: 'x' }])
        for (const version of client.versions('produce')) {
          const { topics } = await client.call(
            'produce',
            {
              acks: -1,
              timeoutMs: 1000,
              topics: [
                {
                  name,
                  partitions: [{ partition: 0, records: { buffer: bytes, start: 0, end: bytes.length } }],
                },
              ],
            },
            version,
          )
          expect(topics[0]!.partitions[0]!.errorCode).toBe(0)
        }
        const total = client.versions('produce').length
        for (const version of client.versions('fetch'))
          expect((await fetch(name, { version })).values).toHaveLength(total)
      })

      test.each(codecs)('codec %s passes through', async (codec) => {
        const name = await topic()
        const values = Array.from({ length: 50 }, (_, index) => `value ${index % 7} `.repeat(20))
        expect(
          (
            await produce(
              name,
              batch(
                values.map((value) => ({ value })),
                undefined,
                codec,
              ),
            )
          ).error,
        ).toBe('NONE')
        expect((await fetch(name)).values).toEqual(values)
      })

      test('a fetch from inside a batch gets the whole batch', async () => {
        const name = await topic()
        await produce(name, batch([{ value: '0' }, { value: '1' }, { value: '2' }]))
        expect((await fetch(name, { from: 1 })).values).toEqual(['1', '2'])
      })

      test('beyond the end, and in no partition, are errors', async () => {
        const name = await topic()
        await produce(name, batch([{ value: '0' }]))
        expect((await fetch(name, { from: 1 })).error).toBe('NONE')
        expect((await fetch(name, { from: 2 })).error).toBe('OFFSET_OUT_OF_RANGE')
        expect((await fetch(name, { partition: 5 })).error).toBe('UNKNOWN_TOPIC_OR_PARTITION')
        expect((await fetch(unique('none'))).error).toBe('UNKNOWN_TOPIC_OR_PARTITION')
        expect((await produce(unique('none'), batch([{ value: '0' }]))).error).toBe(
          'UNKNOWN_TOPIC_OR_PARTITION',
        )
      })

      test('an idle fetch waits for data, and is woken by it', async () => {
        const name = await topic()
        const waiting = fetch(name, { maxWaitMs: 15_000, on: await another() })
        const start = Date.now()
        await produce(name, batch([{ value: 'woken' }]))
        expect((await waiting).values).toEqual(['woken'])
        expect(Date.now() - start).toBeLessThan(5000)
      })

      test('an idle fetch ends when its time is over', async () => {
        const name = await topic()
        const start = performance.now()
        expect((await fetch(name, { maxWaitMs: 120 })).values).toEqual([])
        expect(performance.now() - start).toBeGreaterThan(100)
      })

      test('a fetch waits until there are as many bytes as it wants', async () => {
        const name = await topic()
        const first = batch([{ value: 'a' }])
        await produce(name, first)
        const waiting = fetch(name, { maxWaitMs: 15_000, minBytes: first.length + 1, on: await another() })
        await produce(name, batch([{ value: 'b' }]))
        expect((await waiting).values).toEqual(['a', 'b'])
      })

      test('the first batch is given whole, however little is asked for', async () => {
        const name = await topic()
        await produce(name, batch([{ value: 'x'.repeat(5000) }]))
        await produce(name, batch([{ value: 'y' }]))
        expect((await fetch(name, { partitionMaxBytes: 10 })).values[0]).toHaveLength(5000)
      })

      test('log-append time: the broker gives the time', async () => {
        const name = await topic(1, { 'message.timestamp.type': 'LogAppendTime' })
        const before = Date.now()
        const { error, logAppendTimeMs } = await produce(name, batch([{ value: 'x', timestamp: 5 }]))
        expect(error).toBe('NONE')
        expect(logAppendTimeMs).toBeGreaterThanOrEqual(before - 1000)
        expect((await fetch(name)).found.map(({ timestamp }) => timestamp)).toEqual([logAppendTimeMs])
      })

      test('acks 0: no answer, the data is there', async () => {
        const name = await topic()
        const bytes = batch([{ value: 'unasked' }])
        const other = await another()
        void other
          .call('produce', {
            acks: 0,
            timeoutMs: 1000,
            topics: [
              {
                name,
                partitions: [{ partition: 0, records: { buffer: bytes, start: 0, end: bytes.length } }],
              },
            ],
          })
          .catch(() => {})
        await expect.poll(async () => (await fetch(name)).values).toEqual(['unasked'])
      })

      const good = () => batch([{ key: 'a', value: '1' }])
      test.each<[string, () => Buffer, string, Record<string, string>]>([
        [
          'a wrong checksum',
          () => Buffer.concat([good().subarray(0, 65), Buffer.from([0xff]), good().subarray(66)]),
          'CORRUPT_MESSAGE',
          {},
        ],
        ['two batches', () => Buffer.concat([good(), good()]), 'INVALID_RECORD', {}],
        [
          'a control batch',
          () => patched(good(), (bytes) => bytes.writeInt16BE(batchFlags.control, batchLayout.attributes)),
          'INVALID_RECORD',
          {},
        ],
        [
          'a count that is not that of its offsets',
          () => patched(good(), (bytes) => bytes.writeInt32BE(5, batchLayout.lastOffsetDelta)),
          'INVALID_RECORD',
          {},
        ],
        [
          'a batch that is too large',
          () => batch([{ value: 'x'.repeat(3000) }]),
          'MESSAGE_TOO_LARGE',
          { 'max.message.bytes': '2000' },
        ],
        [
          'a timestamp from the future',
          () => batch([{ value: 'x', timestamp: Date.now() + 7_200_000 }]),
          'INVALID_TIMESTAMP',
          { 'message.timestamp.after.max.ms': '3600000' },
        ],
        [
          'no key where the topic compacts',
          () => batch([{ value: 'x' }]),
          'INVALID_RECORD',
          { 'cleanup.policy': 'compact' },
        ],
      ])('%s is refused', async (_what, bytes, error, configs) => {
        const name = await topic(1, configs)
        expect((await produce(name, bytes())).error).toBe(error)
        expect((await offsetAt(name, -1)).offset).toBe(0)
      })

      test('offsets are found by time', async () => {
        const name = await topic()
        const base = Date.now() - 10_000
        await produce(
          name,
          batch([
            { value: '0', timestamp: base },
            { value: '1', timestamp: base + 10 },
          ]),
        )
        await produce(
          name,
          batch([
            { value: '2', timestamp: base + 30 },
            { value: '3', timestamp: base + 20 },
          ]),
        )
        expect(await offsetAt(name, -2)).toMatchObject({ offset: 0 })
        expect(await offsetAt(name, -1)).toMatchObject({ offset: 4 })
        expect(await offsetAt(name, -3)).toMatchObject({ offset: 2, timestamp: base + 30 })
        expect(await offsetAt(name, base - 5)).toMatchObject({ offset: 0, timestamp: base })
        expect(await offsetAt(name, base + 5)).toMatchObject({ offset: 1, timestamp: base + 10 })
        expect(await offsetAt(name, base + 15)).toMatchObject({ offset: 2, timestamp: base + 30 })
        expect(await offsetAt(name, base + 31)).toMatchObject({ offset: -1, timestamp: -1 })
      })

      test('deleted records move the start, reading below it is out of range', async () => {
        const name = await topic()
        for (const value of ['0', '1', '2']) await produce(name, batch([{ value }]))
        const remove = async (offset: number) => {
          const { topics } = await client.call('deleteRecords', {
            topics: [{ name, partitions: [{ partition: 0, offset }] }],
            timeoutMs: 5000,
          })
          const { errorCode, lowWatermark } = topics[0]!.partitions[0]!
          return [kafkaErrorName(errorCode), lowWatermark]
        }
        expect(await remove(2)).toEqual(['NONE', 2])
        expect((await fetch(name, { from: 1 })).error).toBe('OFFSET_OUT_OF_RANGE')
        expect((await fetch(name, { from: 2 })).values).toEqual(['2'])
        expect(await offsetAt(name, -2)).toMatchObject({ offset: 2 })
        expect((await remove(9))[0]).toBe('OFFSET_OUT_OF_RANGE')
        expect(await remove(-1)).toEqual(['NONE', 3])
        expect(await produce(name, batch([{ value: '3' }]))).toMatchObject({
          baseOffset: 3,
          logStartOffset: 3,
        })
      })

      test('the leader epoch that a client believes in is checked', async () => {
        const name = await topic()
        await produce(name, batch([{ value: '0' }]))
        const { topics } = await client.call('offsetForLeaderEpoch', {
          topics: [{ name, partitions: [{ partition: 0, leaderEpoch: 0 }] }],
        })
        expect(topics[0]!.partitions).toMatchObject([{ errorCode: 0, leaderEpoch: 0, endOffset: 1 }])
        const { topics: future } = await client.call('offsetForLeaderEpoch', {
          topics: [{ name, partitions: [{ partition: 0, currentLeaderEpoch: 7, leaderEpoch: 0 }] }],
        })
        expect(kafkaErrorName(future[0]!.partitions[0]!.errorCode)).toBe('UNKNOWN_LEADER_EPOCH')
      })
    })

    async function initProducer(
      transactionalId: string | null,
      held?: { producerId: number; epoch: number },
      timeoutMs = 60_000,
    ) {
      const answer = await settled(
        () =>
          client.call('initProducerId', {
            transactionalId,
            transactionTimeoutMs: timeoutMs,
            ...(held === undefined ? {} : { producerId: held.producerId, producerEpoch: held.epoch }),
          }),
        ({ errorCode }) => errorCode,
      )
      return {
        error: kafkaErrorName(answer.errorCode),
        producerId: answer.producerId,
        epoch: answer.producerEpoch,
      }
    }

    describe('idempotent producer', () => {
      test('a batch sent again is kept once, and answered with the offset it has', async () => {
        const name = await topic()
        const { producerId, epoch } = await initProducer(null)
        const send = (sequence: number, values: string[]) =>
          produce(
            name,
            batch(
              values.map((value) => ({ value })),
              { producerId, epoch, sequence },
            ),
          )
        expect(await send(0, ['a', 'b'])).toMatchObject({ error: 'NONE', baseOffset: 0 })
        expect(await send(2, ['c'])).toMatchObject({ error: 'NONE', baseOffset: 2 })
        expect(await send(0, ['a', 'b'])).toMatchObject({ error: 'NONE', baseOffset: 0 })
        expect(await send(2, ['c'])).toMatchObject({ error: 'NONE', baseOffset: 2 })
        expect((await fetch(name)).values).toEqual(['a', 'b', 'c'])
      })

      test('a gap in the sequence is refused, and the gap can still be filled', async () => {
        const name = await topic()
        const { producerId, epoch } = await initProducer(null)
        const send = (sequence: number) =>
          produce(name, batch([{ value: String(sequence) }], { producerId, epoch, sequence }))
        expect((await send(0)).error).toBe('NONE')
        expect((await send(2)).error).toBe('OUT_OF_ORDER_SEQUENCE_NUMBER')
        expect((await send(1)).error).toBe('NONE')
        expect((await send(2)).error).toBe('NONE')
      })

      test('sequence numbers go on at 0 behind the largest', async () => {
        const name = await topic()
        const { producerId, epoch } = await initProducer(null)
        const send = (sequence: number, size: number) =>
          produce(
            name,
            batch(
              Array.from({ length: size }, () => ({ value: 'x' })),
              { producerId, epoch, sequence },
            ),
          )
        expect((await send(2 ** 31 - 2, 4)).error).toBe('NONE')
        expect((await send(2, 1)).error).toBe('NONE')
        expect((await send(2 ** 31 - 2, 4)).baseOffset).toBe(0)
      })

      test('an older epoch is refused, a newer one begins at 0', async () => {
        const name = await topic()
        const { producerId, epoch } = await initProducer(null)
        const send = (at: number, sequence: number) =>
          produce(name, batch([{ value: 'x' }], { producerId, epoch: at, sequence }))
        expect((await send(epoch + 1, 0)).error).toBe('NONE')
        expect((await send(epoch, 1)).error).toBe('INVALID_PRODUCER_EPOCH')
        expect((await send(epoch + 2, 1)).error).toBe('OUT_OF_ORDER_SEQUENCE_NUMBER')
        expect((await send(epoch + 2, 0)).error).toBe('NONE')
      })
    })

    type Held = { readonly id: string; readonly producerId: number; readonly epoch: number }

    async function transactional(id = unique('transaction'), timeoutMs?: number): Promise<Held> {
      const { error, producerId, epoch } = await initProducer(id, undefined, timeoutMs)
      expect(error).toBe('NONE')
      return { id, producerId, epoch }
    }

    async function addPartition({ id, producerId, epoch }: Held, name: string) {
      const { topics } = await settled(
        () =>
          client.call('addPartitionsToTxn', {
            transactionalId: id,
            producerId,
            producerEpoch: epoch,
            topics: [{ name, partitions: [0] }],
          }),
        (answer) => answer.topics[0]!.partitions[0]!.errorCode,
      )
      return kafkaErrorName(topics[0]!.partitions[0]!.errorCode)
    }

    async function end({ id, producerId, epoch }: Held, committed: boolean) {
      const { errorCode } = await settled(
        () => client.call('endTxn', { transactionalId: id, producerId, producerEpoch: epoch, committed }),
        (answer) => answer.errorCode,
      )
      return kafkaErrorName(errorCode)
    }

    function sendIn(
      { id, producerId, epoch }: Held,
      name: string,
      sequence: number,
      value: string,
      version?: number,
    ) {
      return produce(name, batch([{ value }], { producerId, epoch, sequence, isTransactional: true }), {
        transactionalId: id,
        version,
      })
    }

    /** Markers are written a moment after EndTxn was answered. */
    async function stable(name: string, offset: number) {
      await expect.poll(async () => (await offsetAt(name, -1, true)).offset).toBe(offset)
    }

    describe('transactions', () => {
      test('an open transaction is held back from read_committed, and given when committed', async () => {
        const name = await topic()
        const held = await transactional()
        await produce(name, batch([{ value: 'before' }]))
        expect(await addPartition(held, name)).toBe('NONE')
        expect((await sendIn(held, name, 0, 'inside')).error).toBe('NONE')
        await produce(name, batch([{ value: 'after' }]))
        expect(await fetch(name, { isCommitted: true })).toMatchObject({
          values: ['before'],
          lastStableOffset: 1,
          highWatermark: 3,
        })
        expect((await fetch(name)).values).toEqual(['before', 'inside', 'after'])
        expect(await offsetAt(name, -1, true)).toMatchObject({ offset: 1 })
        expect(await end(held, true)).toBe('NONE')
        await stable(name, 4)
        expect(await fetch(name, { isCommitted: true })).toMatchObject({
          values: ['before', 'inside', 'after'],
          nextOffset: 4,
          abortedTransactions: [],
        })
      })

      test('an aborted transaction is named in the fetch, and its data passed over', async () => {
        const name = await topic()
        const held = await transactional()
        await addPartition(held, name)
        await sendIn(held, name, 0, 'void')
        await produce(name, batch([{ value: 'plain' }]))
        expect(await end(held, false)).toBe('NONE')
        await stable(name, 3)
        expect(await fetch(name, { isCommitted: true })).toMatchObject({
          values: ['plain'],
          nextOffset: 3,
          abortedTransactions: [{ producerId: held.producerId, firstOffset: 0 }],
        })
        expect((await fetch(name)).values).toEqual(['void', 'plain'])
        expect((await fetch(name, { isCommitted: true, from: 3 })).abortedTransactions ?? []).toEqual([])
      })

      test('a read_committed fetch that waits is woken by the commit', async () => {
        const name = await topic()
        const held = await transactional()
        await addPartition(held, name)
        await sendIn(held, name, 0, 'inside')
        const waiting = fetch(name, { isCommitted: true, maxWaitMs: 15_000, on: await another() })
        expect(await end(held, true)).toBe('NONE')
        expect((await waiting).values).toEqual(['inside'])
      })

      test('sequences go on over transactions of one epoch', async () => {
        const name = await topic()
        const held = await transactional()
        for (const [sequence, value] of ['a', 'b', 'c'].entries()) {
          await addPartition(held, name)
          expect((await sendIn(held, name, sequence, value)).error).toBe('NONE')
          expect(await end(held, true)).toBe('NONE')
        }
        await stable(name, 6)
        expect((await fetch(name, { isCommitted: true })).values).toEqual(['a', 'b', 'c'])
      })

      test('a second producer of the same id fences the first and aborts what it had open', async () => {
        const name = await topic()
        const first = await transactional()
        await addPartition(first, name)
        await sendIn(first, name, 0, 'void')
        const second = await transactional(first.id)
        expect(second.producerId).toBe(first.producerId)
        expect(second.epoch).toBeGreaterThan(first.epoch)
        await stable(name, 2)
        expect((await fetch(name, { isCommitted: true })).values).toEqual([])
        expect((await sendIn(first, name, 1, 'late')).error).toBe('INVALID_PRODUCER_EPOCH')
        expect(await addPartition(first, name)).toBe('PRODUCER_FENCED')
        expect(await end(first, true)).toBe('PRODUCER_FENCED')
        expect((await initProducer(first.id, first)).error).toBe('PRODUCER_FENCED')
      })

      test('a producer takes a new epoch for itself, the answer may be asked for again', async () => {
        const held = await transactional()
        const next = await initProducer(held.id, held)
        expect(next).toEqual({ error: 'NONE', producerId: held.producerId, epoch: held.epoch + 1 })
        expect(await initProducer(held.id, held)).toEqual(next)
      })

      test('ending again the same way is fine, the other way is not', async () => {
        const name = await topic()
        const held = await transactional()
        expect(await end(held, true)).toBe('INVALID_TXN_STATE')
        await addPartition(held, name)
        expect(await end(held, true)).toBe('NONE')
        expect(await end(held, true)).toBe('NONE')
        expect(await end(held, false)).toBe('INVALID_TXN_STATE')
      })

      test('data in a partition that was not added is refused', async () => {
        const name = await topic()
        const held = await transactional()
        expect((await sendIn(held, name, 0, 'x')).error).toBe('TRANSACTION_ABORTABLE')
        expect((await sendIn(held, name, 0, 'x', 10)).error).toBe('INVALID_TXN_STATE')
      })

      test('a transaction with an unknown partition is not begun', async () => {
        const name = await topic()
        const held = await transactional()
        const answer = await client.call('addPartitionsToTxn', {
          transactionalId: held.id,
          producerId: held.producerId,
          producerEpoch: held.epoch,
          topics: [
            { name, partitions: [0] },
            { name: unique('none'), partitions: [0] },
          ],
        })
        const errors = answer.topics.flatMap(({ partitions }) =>
          partitions.map(({ errorCode }) => kafkaErrorName(errorCode)),
        )
        expect(errors.toSorted()).toEqual(['OPERATION_NOT_ATTEMPTED', 'UNKNOWN_TOPIC_OR_PARTITION'])
      })

      test('an unknown id and a wrong producer id are refused', async () => {
        const held = await transactional()
        expect(await end({ ...held, id: unique('none') }, true)).toBe('INVALID_PRODUCER_ID_MAPPING')
        expect(await end({ ...held, producerId: held.producerId + 1000 }, true)).toBe(
          'INVALID_PRODUCER_ID_MAPPING',
        )
        expect((await initProducer('')).error).toBe('INVALID_REQUEST')
        expect((await initProducer(unique('t'), undefined, 1_000_000_000)).error).toBe(
          'INVALID_TRANSACTION_TIMEOUT',
        )
      })

      // Apache Kafka looks for overdue transactions every ten seconds.
      test('a transaction out of time is aborted, its producer fenced', { timeout: 40_000 }, async () => {
        const name = await topic()
        const held = await transactional(undefined, isEmbedded ? 50 : 1000)
        await addPartition(held, name)
        await sendIn(held, name, 0, 'void')
        await expect.poll(async () => (await offsetAt(name, -1, true)).offset, { timeout: 30_000 }).toBe(2)
        expect((await fetch(name, { isCommitted: true })).values).toEqual([])
        expect((await sendIn(held, name, 1, 'late')).error).toBe('INVALID_PRODUCER_EPOCH')
        expect(await end(held, true)).toBe('PRODUCER_FENCED')
      })
    })

    type Joined = ResponseOf<typeof apis.joinGroup> & { readonly error: string }

    type Joining = {
      memberId?: string
      instanceId?: string | null
      metadata?: string
      protocol?: string
      protocolType?: string
      on?: WireClient
      version?: number
      rebalanceTimeoutMs?: number
      sessionTimeoutMs?: number
    }

    async function joinOnce(
      groupId: string,
      {
        memberId = '',
        instanceId = null,
        metadata = '',
        protocol = 'mine',
        protocolType = 'consumer',
        on = client,
        version,
        rebalanceTimeoutMs = 30_000,
        sessionTimeoutMs = 30_000,
      }: Joining = {},
    ): Promise<Joined> {
      const answer = await settled(
        () =>
          on.call(
            'joinGroup',
            {
              groupId,
              sessionTimeoutMs,
              rebalanceTimeoutMs,
              memberId,
              groupInstanceId: instanceId,
              protocolType,
              protocols: [{ name: protocol, metadata: Buffer.from(metadata) }],
            },
            version,
          ),
        ({ errorCode }) => errorCode,
      )
      return { ...answer, error: kafkaErrorName(answer.errorCode) }
    }

    /** As a client does: the first answer may only say who it is. */
    async function join(groupId: string, joining: Joining = {}): Promise<Joined> {
      const first = await joinOnce(groupId, joining)
      return first.error === 'MEMBER_ID_REQUIRED'
        ? joinOnce(groupId, { ...joining, memberId: first.memberId })
        : first
    }

    async function sync(
      groupId: string,
      { memberId, generationId }: { memberId: string; generationId: number },
      assignments: Record<string, string> = {},
      on = client,
      instanceId: string | null = null,
    ) {
      const answer = await on.call('syncGroup', {
        groupId,
        generationId,
        memberId,
        groupInstanceId: instanceId,
        protocolType: 'consumer',
        protocolName: 'mine',
        assignments: Object.entries(assignments).map(([member, assignment]) => ({
          memberId: member,
          assignment: Buffer.from(assignment),
        })),
      })
      return { error: kafkaErrorName(answer.errorCode), assignment: answer.assignment.toString() }
    }

    async function beat(
      groupId: string,
      { memberId, generationId }: { memberId: string; generationId: number },
      instanceId: string | null = null,
    ) {
      const { errorCode } = await client.call('heartbeat', {
        groupId,
        generationId,
        memberId,
        groupInstanceId: instanceId,
      })
      return kafkaErrorName(errorCode)
    }

    async function leave(groupId: string, memberId: string, groupInstanceId: string | null = null) {
      const { errorCode, members } = await client.call('leaveGroup', {
        groupId,
        members: [{ memberId, groupInstanceId }],
      })
      return kafkaErrorName(errorCode === 0 ? members[0]!.errorCode : errorCode)
    }

    /** One member, alone, with its assignment. */
    async function member(groupId: string, joining: Joining = {}): Promise<Joined> {
      const joined = await join(groupId, joining)
      expect(joined.error).toBe('NONE')
      expect(
        (await sync(groupId, joined, { [joined.memberId]: 'all' }, client, joining.instanceId ?? null))
          .assignment,
      ).toBe('all')
      return joined
    }

    describe('groups', () => {
      test('a first member leads, and assigns to itself', async () => {
        const group = unique('group')
        const joined = await join(group, { metadata: subscription('orders') })
        expect(joined).toMatchObject({
          error: 'NONE',
          generationId: 1,
          protocolName: 'mine',
          protocolType: 'consumer',
          leader: joined.memberId,
          skipAssignment: false,
        })
        expect(joined.members.map(({ memberId, metadata }) => [memberId, metadata.toString()])).toEqual([
          [joined.memberId, subscription('orders')],
        ])
        expect(await beat(group, joined)).toBe('NONE')
        expect(await sync(group, joined, { [joined.memberId]: 'everything' })).toEqual({
          error: 'NONE',
          assignment: 'everything',
        })
        expect(await sync(group, joined)).toEqual({ error: 'NONE', assignment: 'everything' })
        expect(await beat(group, joined)).toBe('NONE')
      })

      test('a new member is told its id first, an old version joins at once', async () => {
        const group = unique('group')
        const first = await joinOnce(group)
        expect(first).toMatchObject({ error: 'MEMBER_ID_REQUIRED' })
        expect(first.memberId).not.toBe('')
        const old = await joinOnce(unique('group'), {
          version: Math.max(2, client.versions('joinGroup')[0]!),
        })
        expect(old.error).toBe('NONE')
      })

      test('a second member makes the first join again, both get what the leader says', async () => {
        const group = unique('group')
        const first = await member(group)
        const other = await another()
        const joining = join(group, { on: other })
        await expect.poll(() => beat(group, first)).toBe('REBALANCE_IN_PROGRESS')
        const again = await join(group, { memberId: first.memberId })
        const second = await joining
        expect([again.generationId, second.generationId]).toEqual([2, 2])
        expect(second.leader).toBe(first.memberId)
        expect(second.members).toEqual([])
        expect(again.members.map(({ memberId }) => memberId).toSorted()).toEqual(
          [first.memberId, second.memberId].toSorted(),
        )
        const waiting = sync(group, second, {}, other)
        expect(
          (await sync(group, again, { [first.memberId]: 'left', [second.memberId]: 'right' })).assignment,
        ).toBe('left')
        expect((await waiting).assignment).toBe('right')
        expect(await beat(group, { memberId: first.memberId, generationId: 1 })).toBe('ILLEGAL_GENERATION')

        expect(await leave(group, second.memberId)).toBe('NONE')
        expect(await beat(group, again)).toBe('REBALANCE_IN_PROGRESS')
        expect(await beat(group, second)).toBe('UNKNOWN_MEMBER_ID')
        expect(await join(group, { memberId: first.memberId })).toMatchObject({
          error: 'NONE',
          generationId: 3,
        })
      })

      test('a follower whose metadata is the same gets the same generation, a leader starts a new one', async () => {
        const group = unique('group')
        const first = await member(group)
        const other = await another()
        const joining = join(group, { on: other })
        await expect.poll(() => beat(group, first)).toBe('REBALANCE_IN_PROGRESS')
        const again = await join(group, { memberId: first.memberId })
        const second = await joining
        const waiting = sync(group, second, {}, other)
        await sync(group, again, { [first.memberId]: 'a', [second.memberId]: 'b' })
        await waiting
        expect(await join(group, { memberId: second.memberId, on: other })).toMatchObject({
          error: 'NONE',
          generationId: 2,
        })
        expect(await beat(group, again)).toBe('NONE')
        const third = join(group, { memberId: first.memberId })
        await expect
          .poll(async () =>
            kafkaErrorName(
              (await other.call('heartbeat', { groupId: group, generationId: 2, memberId: second.memberId }))
                .errorCode,
            ),
          )
          .toBe('REBALANCE_IN_PROGRESS')
        expect(await join(group, { memberId: second.memberId, on: other })).toMatchObject({ generationId: 3 })
        expect(await third).toMatchObject({ generationId: 3 })
      })

      test('a member that does not come back in time is out', async () => {
        const group = unique('group')
        const first = await member(group, { rebalanceTimeoutMs: 300 })
        const second = await join(group, { on: await another(), rebalanceTimeoutMs: 300 })
        expect(second).toMatchObject({ error: 'NONE', generationId: 2, leader: second.memberId })
        expect(await beat(group, first)).toBe('UNKNOWN_MEMBER_ID')
      })

      test('a silent member is out when its session is over', { timeout: 30_000 }, async () => {
        const group = unique('group')
        const joined = await member(group, { sessionTimeoutMs: isEmbedded ? 150 : 6000 })
        await expect
          .poll(() => describeGroup(group), { timeout: 20_000, interval: 100 })
          .toMatchObject({ groupState: 'Empty', members: [] })
        expect(await beat(group, joined)).toBe('UNKNOWN_MEMBER_ID')
      })

      test('who speaks another protocol is not let in', async () => {
        const group = unique('group')
        await member(group)
        expect((await join(group, { protocol: 'other' })).error).toBe('INCONSISTENT_GROUP_PROTOCOL')
        expect((await join(group, { protocolType: 'connect' })).error).toBe('INCONSISTENT_GROUP_PROTOCOL')
      })

      test('unknown groups and members are refused', async () => {
        const group = unique('group')
        const nobody = { memberId: 'nobody', generationId: 1 }
        expect((await join(group, { memberId: 'nobody' })).error).toBe('UNKNOWN_MEMBER_ID')
        expect(await beat(group, nobody)).toBe('UNKNOWN_MEMBER_ID')
        expect((await sync(group, nobody)).error).toBe('UNKNOWN_MEMBER_ID')
        expect(await leave(group, 'nobody')).toBe('UNKNOWN_MEMBER_ID')
        expect((await join('')).error).toBe('INVALID_GROUP_ID')
      })

      test('static members: one that returns keeps its place, the old connection is fenced', async () => {
        const group = unique('group')
        const instanceId = unique('instance')
        const joined = await member(group, { instanceId })
        const back = await join(group, { instanceId })
        expect(back).toMatchObject({ error: 'NONE', generationId: 1, skipAssignment: true })
        expect(back.memberId).not.toBe(joined.memberId)
        expect(await sync(group, back, {}, client, instanceId)).toEqual({ error: 'NONE', assignment: 'all' })
        expect(await beat(group, joined, instanceId)).toBe('FENCED_INSTANCE_ID')
        expect(await beat(group, back, instanceId)).toBe('NONE')
        expect((await describeGroup(group)).members).toMatchObject([
          { groupInstanceId: instanceId, memberId: back.memberId },
        ])
        expect(await leave(group, '', instanceId)).toBe('NONE')
        expect((await describeGroup(group)).members).toEqual([])
      })

      test('groups are listed, described and deleted, but not with members', async () => {
        const group = unique('group')
        const joined = await member(group)
        const list = async (statesFilter: string[] = []) =>
          (await client.call('listGroups', { statesFilter })).groups.filter(
            ({ groupId }) => groupId === group,
          )
        expect(await list()).toMatchObject([
          { protocolType: 'consumer', groupState: 'Stable', groupType: 'classic' },
        ])
        expect(await list(['Empty'])).toEqual([])
        expect(await describeGroup(group)).toMatchObject({
          errorCode: 0,
          groupState: 'Stable',
          protocolType: 'consumer',
          protocolData: 'mine',
          members: [{ memberId: joined.memberId, clientId: 'wire-client' }],
        })
        const remove = async () =>
          kafkaErrorName((await client.call('deleteGroups', { groupsNames: [group] })).results[0]!.errorCode)
        expect(await remove()).toBe('NON_EMPTY_GROUP')
        await leave(group, joined.memberId)
        expect(await list(['Empty'])).toHaveLength(1)
        expect(await remove()).toBe('NONE')
        expect(await remove()).toBe('GROUP_ID_NOT_FOUND')
        expect(await describeGroup(group)).toMatchObject({ groupState: 'Dead' })
      })
    })

    async function describeGroup(group: string) {
      const { groups } = await client.call('describeGroups', { groups: [group] })
      return groups[0]!
    }

    type Committer = { readonly memberId?: string; readonly generationId?: number }

    async function commit(
      group: string,
      name: string,
      offset: number,
      { memberId = '', generationId = -1 }: Committer = {},
      version?: number,
    ) {
      const partitions = [{ partition: 0, committedOffset: offset, committedMetadata: 'note' }]
      const request = { groupId: group, generationId, memberId, topics: [{ name, partitions }] }
      const { topics } = await client.call('offsetCommit', request, version)
      return kafkaErrorName(topics[0]!.partitions[0]!.errorCode)
    }

    async function position(group: string, name: string, requireStable = false) {
      const { groups } = await client.call('offsetFetch', {
        groups: [{ groupId: group, topics: [{ name, partitions: [0] }] }],
        requireStable,
      })
      const found = groups[0]!.topics[0]!.partitions[0]!
      return found.errorCode === 0 ? found.committedOffset : kafkaErrorName(found.errorCode)
    }

    async function coordinator(group: string) {
      await settled(
        () => client.call('findCoordinator', { keyType: 0, coordinatorKeys: [group] }),
        ({ coordinators }) => coordinators[0]!.errorCode,
      )
    }

    describe('positions', () => {
      test('a group without members takes commits from anyone', async () => {
        const [group, name] = [unique('group'), await topic()]
        await coordinator(group)
        expect(await position(group, name)).toBe(-1)
        expect(await commit(group, name, 5)).toBe('NONE')
        expect(await position(group, name)).toBe(5)
        const { groups } = await client.call('offsetFetch', {
          groups: [{ groupId: group, topics: null }],
          requireStable: false,
        })
        expect(groups[0]!.topics).toMatchObject([
          { name, partitions: [{ partition: 0, committedOffset: 5, metadata: 'note' }] },
        ])
      })

      test('at every version of OffsetFetch', async () => {
        const [group, name] = [unique('group'), await topic()]
        await coordinator(group)
        await commit(group, name, 7)
        for (const version of client.versions('offsetFetch')) {
          const topics = [{ name, partitions: [0] }]
          const answer = await client.call(
            'offsetFetch',
            version < 8 ? { groupId: group, topics } : { groups: [{ groupId: group, topics }] },
            version,
          )
          const found = version < 8 ? answer.topics : answer.groups[0]!.topics
          expect(found).toMatchObject([{ partitions: [{ committedOffset: 7, metadata: 'note' }] }])
        }
      })

      test('a group with members takes commits of its members and generation only', async () => {
        const [group, name] = [unique('group'), await topic()]
        const joined = await member(group)
        expect(await commit(group, name, 1)).toBe('UNKNOWN_MEMBER_ID')
        expect(await commit(group, name, 1, { memberId: 'nobody', generationId: 1 })).toBe(
          'UNKNOWN_MEMBER_ID',
        )
        expect(await commit(group, name, 1, { memberId: joined.memberId, generationId: 9 })).toBe(
          'ILLEGAL_GENERATION',
        )
        expect(await commit(group, name, 1, joined)).toBe('NONE')
        const missing = isBefore4 ? 'ILLEGAL_GENERATION' : 'GROUP_ID_NOT_FOUND'
        expect(await commit(unique('group'), name, 1, joined)).toBe(missing)
        expect(await commit(unique('group'), name, 1, joined, 8)).toBe('ILLEGAL_GENERATION')
        expect(await position(group, name)).toBe(1)
      })

      test('positions are deleted, but not of a topic that is subscribed', async () => {
        const [group, name] = [unique('group'), await topic()]
        await coordinator(group)
        await commit(group, name, 3)
        const remove = async () => {
          const { errorCode, topics } = await client.call('offsetDelete', {
            groupId: group,
            topics: [{ name, partitions: [{ partition: 0 }] }],
          })
          return kafkaErrorName(errorCode === 0 ? topics[0]!.partitions[0]!.errorCode : errorCode)
        }
        const joined = await member(group, { metadata: subscription(name) })
        expect(await remove()).toBe('GROUP_SUBSCRIBED_TO_TOPIC')
        await leave(group, joined.memberId)
        expect(await remove()).toBe('NONE')
        expect(await position(group, name)).toBe(-1)
      })

      async function addGroup({ id, producerId, epoch }: Held, group: string) {
        const { errorCode } = await settled(
          () =>
            client.call('addOffsetsToTxn', {
              transactionalId: id,
              producerId,
              producerEpoch: epoch,
              groupId: group,
            }),
          (answer) => answer.errorCode,
        )
        return kafkaErrorName(errorCode)
      }

      async function commitIn(
        { id, producerId, epoch }: Held,
        group: string,
        name: string,
        offset: number,
        { memberId = '', generationId = -1 }: Committer = {},
        version?: number,
      ) {
        const request = {
          transactionalId: id,
          groupId: group,
          producerId,
          producerEpoch: epoch,
          generationId,
          memberId,
          topics: [
            { name, partitions: [{ partition: 0, committedOffset: offset, committedMetadata: null }] },
          ],
        }
        const { topics } = await settled(
          () => client.call('txnOffsetCommit', request, version),
          (answer) => answer.topics[0]!.partitions[0]!.errorCode,
        )
        return kafkaErrorName(topics[0]!.partitions[0]!.errorCode)
      }

      test('positions in a transaction count when it commits, and are unstable until then', async () => {
        const [group, name, held] = [unique('group'), await topic(), await transactional()]
        await coordinator(group)
        await commit(group, name, 1)
        expect(await addGroup(held, group)).toBe('NONE')
        expect(await commitIn(held, group, name, 8)).toBe('NONE')
        expect(await position(group, name)).toBe(1)
        expect(await position(group, name, true)).toBe('UNSTABLE_OFFSET_COMMIT')
        expect(await end(held, true)).toBe('NONE')
        await expect.poll(() => position(group, name, true)).toBe(8)
        expect(await addGroup(held, group)).toBe('NONE')
        expect(await commitIn(held, group, name, 9)).toBe('NONE')
        expect(await end(held, false)).toBe('NONE')
        await expect.poll(() => position(group, name, true)).toBe(8)
      })

      test('positions in a transaction are fenced by member and generation', async () => {
        const [group, name, held] = [unique('group'), await topic(), await transactional()]
        const joined = await member(group)
        expect(await addGroup(held, group)).toBe('NONE')
        expect(
          await commitIn(held, group, name, 1, { memberId: 'nobody', generationId: joined.generationId }),
        ).toBe('UNKNOWN_MEMBER_ID')
        expect(await commitIn(held, group, name, 1, { memberId: joined.memberId, generationId: 7 })).toBe(
          'ILLEGAL_GENERATION',
        )
        expect(await commitIn(held, group, name, 1, joined)).toBe('NONE')
        const other = await another()
        const joining = join(group, { on: other })
        await expect.poll(() => beat(group, joined)).toBe('REBALANCE_IN_PROGRESS')
        expect(await commitIn(held, group, name, 2, joined)).toBe('NONE')
        const again = await join(group, { memberId: joined.memberId })
        expect((await joining).error).toBe('NONE')
        expect(await commitIn(held, group, name, 3, joined)).toBe('ILLEGAL_GENERATION')
        expect(await commitIn(held, group, name, 3, again)).toBe('NONE')
        expect(await commitIn(held, group, name, 3)).toBe('NONE')
        expect(await end(held, true)).toBe('NONE')
        await expect.poll(() => position(group, name, true)).toBe(3)
      })

      test('positions of a fenced producer, and of a group that was not added, are refused', async () => {
        const [group, name, first] = [unique('group'), await topic(), await transactional()]
        await coordinator(group)
        const second = await transactional(first.id)
        expect(await commitIn(second, group, name, 1)).toBe('TRANSACTION_ABORTABLE')
        expect(await commitIn(second, group, name, 1, {}, 3)).toBe('INVALID_TXN_STATE')
        expect(await addGroup(first, group)).toBe('PRODUCER_FENCED')
        expect(await addGroup(second, group)).toBe('NONE')
        expect(await commitIn(first, group, name, 1)).toBe('INVALID_PRODUCER_EPOCH')
        expect(await commitIn(second, group, name, 1)).toBe('NONE')
      })
    })

    describe('framing', () => {
      test('requests that come in pieces, and several at once, are answered in order', async () => {
        using bare = await WireClient.openBare(broker.address)
        const request = { topics: [], allowAutoTopicCreation: false }
        const three = Buffer.concat([1, 2, 3].map(() => bare.encode('metadata', request, 9)))
        const ids: number[] = []
        let expected = 1
        for (let cut = 1; cut < three.length; cut += 7) {
          bare.raw(three.subarray(0, cut))
          await new Promise((resolve) => setImmediate(resolve))
          bare.raw(three.subarray(cut))
          for (let index = 0; index < 3; index++) ids.push((await bare.nextFrame()).readInt32BE(0))
          expected++
        }
        expect(ids).toEqual(Array.from({ length: (expected - 1) * 3 }, (_, index) => 1 + (index % 3)))
      })

      test('a request that comes byte by byte is answered', async () => {
        using bare = await WireClient.openBare(broker.address)
        for (const byte of bare.encode('metadata', { topics: [], allowAutoTopicCreation: false }, 9)) {
          bare.raw(Buffer.from([byte]))
          await new Promise((resolve) => setImmediate(resolve))
        }
        expect((await bare.nextFrame()).readInt32BE(0)).toBe(1)
      })
    })

    describe('hostile input', () => {
      test.each([
        ['a negative length', Buffer.from('ffffffff', 'hex')],
        ['a length of gigabytes', Buffer.from('7fffffff', 'hex')],
        ['an unknown API', Buffer.from('0000000a7fff0000000000010000', 'hex')],
        ['a body that is cut off', Buffer.from('0000000c0003000900000001ffff0005', 'hex')],
      ])('%s closes the connection, and the broker goes on', async (_what, bytes) => {
        const bare = await WireClient.openBare(broker.address)
        bare.raw(bytes)
        await bare.closed
        expect(
          (await client.call('metadata', { topics: [], allowAutoTopicCreation: false })).brokers,
        ).toHaveLength(1)
      })
    })
  })
}
