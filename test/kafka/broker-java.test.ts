/**
 * The embedded Kafka under clients that no one here wrote: Kafka's own command-line tools, and an application of
 * Kafka Streams with exactly_once_v2, which uses nearly everything that a broker has.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { codecs } from '../../src/wire/compression.ts'
import { WireClient } from '../contract/wire-client.ts'
import { kafkaVersions, runJava, startJava } from './java.ts'

const home = mkdtempSync(path.join(tmpdir(), 'millrace-tools-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

describe.each(kafkaVersions.map((version) => ({ version })))(
  'tools of Kafka $version on the embedded Kafka',
  ({ version }) => {
    let kafka: EmbeddedKafka
    beforeAll(async () => {
      kafka = await EmbeddedKafka.start()
    })
    afterAll(() => kafka?.stop())

    const isOld = version.startsWith('3.')
    const groupTool = 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand'

    function tool(main: string, args: readonly string[], input?: string): Promise<string> {
      const options = input === undefined ? { version } : { version, input }
      return runJava(main, ['--bootstrap-server', kafka.address, ...args], options)
    }

    test('topics are created, described, altered, deleted', async () => {
      const topics = (...args: string[]) => tool('org.apache.kafka.tools.TopicCommand', args)
      expect(
        await topics(
          '--create',
          '--topic',
          'made',
          '--partitions',
          '3',
          '--config',
          'cleanup.policy=compact',
        ),
      ).toContain('Created topic made.')
      const described = await topics('--describe', '--topic', 'made')
      expect(described).toMatch(/PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: cleanup.policy=compact/)
      expect(described).toMatch(/Partition: 2\s+Leader: 1\s+Replicas: 1\s+Isr: 1/)
      await topics('--alter', '--topic', 'made', '--partitions', '5')
      expect(kafka.topics()).toMatchObject({ made: 5 })
      await topics('--delete', '--topic', 'made')
      expect(kafka.topics()).not.toHaveProperty('made')
    })

    test('settings are changed and described', async () => {
      kafka.createTopic('configured')
      const configs = (...args: string[]) =>
        tool('kafka.admin.ConfigCommand', ['--entity-type', 'topics', '--entity-name', 'configured', ...args])
      await configs('--alter', '--add-config', 'retention.ms=1234,cleanup.policy=[compact,delete]')
      const described = await configs('--describe')
      expect(described).toContain('retention.ms=1234')
      expect(described).toContain('cleanup.policy=compact,delete')
      await configs('--alter', '--delete-config', 'retention.ms')
      expect(await configs('--describe')).not.toContain('retention.ms')
      await expect(configs('--alter', '--add-config', 'no.such=1')).rejects.toThrow(
        'Unknown topic config name',
      )
    })

    test.each(codecs)('the console producer and consumer, codec %s', async (codec) => {
      const producer = isOld ? 'kafka.tools.ConsoleProducer' : 'org.apache.kafka.tools.ConsoleProducer'
      const topic = `console-${codec}`
      kafka.createTopic(topic)
      const lines = Array.from(
        { length: 300 },
        (_, index) => `k${index}:value ${index} ${'again '.repeat(20)}`,
      )
      await tool(
        producer,
        [
          '--topic',
          topic,
          '--compression-codec',
          codec,
          '--property',
          'parse.key=true',
          '--property',
          'key.separator=:',
        ],
        `${lines.join('\n')}\n`,
      )
      expect(kafka.records(topic).map(({ key, value }) => `${key}:${value}`)).toEqual(lines)

      // And the other way: batches written here are read there.
      using client = await WireClient.open(kafka.address)
      const builder = new BatchBuilder()
      for (const line of lines)
        builder.append(Date.now(), null, 0, 0, Buffer.from(line), 0, Buffer.byteLength(line), noHeaders)
      const buffer = builder.seal(-1, -1, -1, false, codec)
      kafka.createTopic(`${topic}-ours`)
      await client.call('produce', {
        acks: -1,
        timeoutMs: 1000,
        topics: [
          {
            name: `${topic}-ours`,
            partitions: [{ partition: 0, records: { buffer, start: 0, end: buffer.length } }],
          },
        ],
      })
      const consumed = await tool('org.apache.kafka.tools.consumer.ConsoleConsumer', [
        '--topic',
        `${topic}-ours`,
        '--from-beginning',
        '--max-messages',
        '300',
        '--timeout-ms',
        '30000',
      ])
      expect(consumed.replace(/\n$/, '').split('\n')).toEqual(lines)
    })

    test('groups are listed, described, reset, deleted', async () => {
      kafka.createTopic('grouped')
      using client = await WireClient.open(kafka.address)
      const builder = new BatchBuilder()
      for (let index = 0; index < 10; index++)
        builder.append(Date.now(), null, 0, 0, Buffer.from('x'), 0, 1, noHeaders)
      const buffer = builder.seal(-1, -1, -1, false)
      await client.call('produce', {
        acks: -1,
        timeoutMs: 1000,
        topics: [
          {
            name: 'grouped',
            partitions: [{ partition: 0, records: { buffer, start: 0, end: buffer.length } }],
          },
        ],
      })
      await tool('org.apache.kafka.tools.consumer.ConsoleConsumer', [
        '--topic',
        'grouped',
        '--group',
        'readers',
        '--from-beginning',
        '--max-messages',
        '10',
        '--timeout-ms',
        '30000',
      ])
      expect(await tool(groupTool, ['--list'])).toContain('readers')
      expect(await tool(groupTool, ['--describe', '--group', 'readers'])).toMatch(
        /readers\s+grouped\s+0\s+10\s+10\s+0/,
      )
      expect(await tool(groupTool, ['--describe', '--group', 'readers', '--state'])).toMatch(
        /readers.*Empty\s+0/,
      )
      await tool(groupTool, [
        '--group',
        'readers',
        '--topic',
        'grouped',
        '--reset-offsets',
        '--to-offset',
        '4',
        '--execute',
      ])
      expect(kafka.committedOffset('readers', 'grouped', 0)).toBe(4)
      await tool(groupTool, ['--delete', '--group', 'readers'])
      expect(await tool(groupTool, ['--list'])).not.toContain('readers')
    })

    test('offsets are asked for, records deleted', async () => {
      kafka.createTopic('short')
      using client = await WireClient.open(kafka.address)
      const builder = new BatchBuilder()
      for (let index = 0; index < 5; index++)
        builder.append(Date.now(), null, 0, 0, Buffer.from('x'), 0, 1, noHeaders)
      const buffer = builder.seal(-1, -1, -1, false)
      await client.call('produce', {
        acks: -1,
        timeoutMs: 1000,
        topics: [
          {
            name: 'short',
            partitions: [{ partition: 0, records: { buffer, start: 0, end: buffer.length } }],
          },
        ],
      })
      expect(await tool('org.apache.kafka.tools.GetOffsetShell', ['--topic', 'short'])).toContain('short:0:5')
      const file = path.join(home, 'delete.json')
      writeFileSync(
        file,
        JSON.stringify({ version: 1, partitions: [{ topic: 'short', partition: 0, offset: 3 }] }),
      )
      expect(
        await tool('org.apache.kafka.tools.DeleteRecordsCommand', ['--offset-json-file', file]),
      ).toContain('low_watermark: 3')
    })
  },
)

describe('Kafka Streams on the embedded Kafka', () => {
  test('an application with exactly_once_v2 is killed, its successor counts on: each word once', async () => {
    await using kafka = await EmbeddedKafka.start({
      topics: { words: 3, counts: 2 },
      transactionMarkerDelayMs: 3,
    })
    using client = await WireClient.open(kafka.address)
    const words = Array.from({ length: 11 }, (_, index) => `word-${index}`)
    let sent = 0
    const send = async (count: number) => {
      const builder = new BatchBuilder()
      for (let index = 0; index < count; index++) {
        const word = words[sent++ % words.length] as string
        builder.append(Date.now(), null, 0, 0, Buffer.from(word), 0, word.length, noHeaders)
      }
      const buffer = builder.seal(-1, -1, -1, false)
      await client.call('produce', {
        acks: -1,
        timeoutMs: 1000,
        topics: [
          {
            name: 'words',
            partitions: [{ partition: sent % 3, records: { buffer, start: 0, end: buffer.length } }],
          },
        ],
      })
    }
    /** Every update of a count that was ever committed, in order, by word. */
    const updates = () => {
      const byWord = new Map<string, number[]>()
      for (const { key, value } of kafka.records('counts')) {
        const word = String(key)
        byWord.set(word, [...(byWord.get(word) ?? []), Number(value)])
      }
      return byWord
    }
    const total = () => [...updates().values()].reduce((sum, counts) => sum + counts.length, 0)
    const start = (name: string) =>
      startJava('ExactlyOnceCount', [kafka.address, 'counter', 'words', 'counts', path.join(home, name)])

    const first = await start('one')
    for (let round = 0; round < 10; round++) await send(55)
    await expect.poll(total, { timeout: 60_000 }).toBeGreaterThan(100)
    await first.end('SIGKILL')
    for (let round = 0; round < 10; round++) await send(55)
    const second = await start('two')
    await expect.poll(total, { timeout: 90_000, interval: 200 }).toBe(sent)
    await second.end('SIGTERM')
    for (const [word, counts] of updates()) {
      expect(counts, word).toEqual(Array.from({ length: sent / words.length }, (_, index) => index + 1))
    }
    expect(Object.keys(kafka.topics()).toSorted()).toEqual([
      'counter-counts-changelog',
      'counter-counts-repartition',
      'counts',
      'words',
    ])
  })
})
