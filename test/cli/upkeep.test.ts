import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Kafka } from 'kafkajs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { runCommand } from '../../src/cli/program.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { TopologyTestDriver } from '../../src/testing/topology-test-driver.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { command, makeConsole } from './console.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-upkeep-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const countWords = `import { serdes, StreamsBuilder } from 'millrace'
const b = new StreamsBuilder()
b.stream('words', { keySerde: serdes.string(), valueSerde: serdes.string() })
  .groupBy((word) => word, { name: 'by-word', keySerde: serdes.string() })
  .count({ as: 'counted' }).toStream().to('counts')
export const config = { applicationId: 'words', http: { port: 0 }, logLevel: 'silent', stateDir: 'state' }
export default b.build()
`

/** Words in, and the counts as a reader would have them. */
async function project(kafka: EmbeddedKafka, words: readonly string[]): Promise<void> {
  await writeFile(join(folder, 'topology.ts'), countWords)
  await writeFile(join(folder, 'millrace.json'), JSON.stringify({ brokers: kafka.address }))
  kafka.createTopic('words', 2)
  kafka.createTopic('counts', 2)
  await send(kafka, words)
}

async function send(kafka: EmbeddedKafka, words: readonly string[]): Promise<void> {
  const producer = new Kafka({ brokers: [kafka.address], logLevel: 0 }).producer()
  await producer.connect()
  await producer.send({ topic: 'words', messages: words.map((value) => ({ value })) })
  await producer.disconnect()
}

/** Runs the application until a topic has so many records and `isThere` finds what it looks for, then ends it by a signal. */
async function runUntil(
  line: string,
  topic: string,
  records: number,
  isThere: () => boolean = () => true,
): Promise<string> {
  const console = makeConsole({ cwd: folder })
  const running = runCommand(line.split(' '), console.io)
  const tailed = await command(`tail ${topic} --from beginning --count ${records} --value long --json`, {
    cwd: folder,
  })
  // The updates of a key may be of two commits.
  await expect.poll(isThere, { timeout: 10_000 }).toBe(true)
  console.signal()
  expect(console.err()).toBe('')
  expect(await running).toBe(0)
  expect(tailed.code).toBe(0)
  return console.out()
}

const tasksOnDisk = async (): Promise<readonly string[]> =>
  (await readdir(join(folder, 'state', 'words'))).filter((name) => /^\d+_\d+$/.test(name))

const latest = (kafka: EmbeddedKafka, topic: string): Record<string, number> =>
  Object.fromEntries(
    kafka.records(topic).map(({ key, value }) => [String(key), Number(value?.readBigInt64BE())]),
  )

describe('init', () => {
  test('init: a new project, its topology and its test work as they are', async () => {
    const { code, out } = await command('init shop', { cwd: folder })
    expect(code).toBe(0)
    expect(out).toContain('cd shop && npm install')
    const at = (name: string) => join(folder, 'shop', name)
    const { default: topology } = (await import(pathToFileURL(at('topology.ts')).href)) as {
      default: Topology
    }
    const driver = await TopologyTestDriver.start(topology)
    await driver.input('orders').pipe('order-1', { product: 'tea', pieces: 2 }, { timestamp: 1_000 })
    expect(await driver.output('sold-per-minute').readValues()).toEqual([2])
    await driver.close()
    expect(JSON.parse(await readFile(at('package.json'), 'utf8'))).toMatchObject({
      name: 'shop',
      type: 'module',
    })
    const config = await command('config topology.ts --changed --json', { cwd: join(folder, 'shop') })
    expect(JSON.parse(config.out)).toMatchObject({
      applicationId: { value: 'shop' },
      brokers: { value: ['localhost:9092'] },
    })
  })

  test('init: millrace from a file, named as seen from the project; a file that is not there, exit code 2', async () => {
    await writeFile(join(folder, 'millrace-0.1.0.tgz'), '')
    expect(await command('init apps/shop --package millrace-0.1.0.tgz', { cwd: folder })).toMatchObject({
      code: 0,
    })
    expect(JSON.parse(await readFile(join(folder, 'apps/shop/package.json'), 'utf8'))).toMatchObject({
      dependencies: { millrace: 'file:../../millrace-0.1.0.tgz' },
    })
    expect(await command('init other --package nowhere.tgz', { cwd: folder })).toMatchObject({
      code: 2,
      err: expect.stringContaining('no such file; npm pack makes one'),
    })
    expect(existsSync(join(folder, 'other'))).toBe(false)
  })

  test('init: a folder that has one of the files, nothing is written, exit code 1', async () => {
    await mkdir(join(folder, 'shop'))
    await writeFile(join(folder, 'shop', 'topology.ts'), 'mine')
    const { code, err } = await command('init shop', { cwd: folder })
    expect(code).toBe(1)
    expect(err).toContain('topology.ts already')
    expect(existsSync(join(folder, 'shop', 'package.json'))).toBe(false)
    expect(await readFile(join(folder, 'shop', 'topology.ts'), 'utf8')).toBe('mine')
  })
})

describe('reset', () => {
  test('reset: dry run changes nothing; executed, the next run counts anew from the beginning', async () => {
    await using kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
    await project(kafka, ['a', 'b', 'a'])
    await runUntil('run topology.ts', 'counts', 2, () => latest(kafka, 'counts')['a'] === 2)
    expect(latest(kafka, 'counts')).toEqual({ a: 2, b: 1 })
    expect(Object.keys(kafka.topics())).toContain('words-counted-changelog')

    const dry = await command('reset topology.ts', { cwd: folder })
    expect(dry.code).toBe(0)
    expect(dry.out).toContain('delete topic words-counted-changelog')
    expect(dry.out).toContain('delete topic words-by-word-repartition')
    expect(dry.out).toContain('add --execute')
    expect(await tasksOnDisk()).not.toEqual([])
    expect(Object.keys(kafka.topics())).toContain('words-counted-changelog')

    const refused = await command('reset topology.ts --execute', { cwd: folder, answers: ['no'] })
    expect(refused).toMatchObject({ code: 1, err: expect.stringContaining('nothing was changed') })

    const done = await command('reset topology.ts --execute --yes --json', { cwd: folder })
    expect(done.err).toBe('')
    expect(JSON.parse(done.out)).toMatchObject({ applicationId: 'words', execute: true })
    expect(await tasksOnDisk()).toEqual([])
    expect(Object.keys(kafka.topics())).not.toContain('words-counted-changelog')

    const before = kafka.records('counts').length
    await runUntil('run topology.ts', 'counts', before + 2)
    // Not 4 and 2: the state began anew too.
    expect(latest(kafka, 'counts')).toEqual({ a: 2, b: 1 })
  })

  test('reset: to an offset and by a shift, within what there is', async () => {
    await using kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
    await project(kafka, ['a', 'b', 'a', 'c'])
    await runUntil('run topology.ts', 'counts', 3)
    const plan = async (how: string) => {
      const { out } = await command(`reset topology.ts ${how} --json`, { cwd: folder })
      return (
        JSON.parse(out) as { offsets: { topic: string; partition: number; from: number; to: number }[] }
      ).offsets
    }
    const ends = (await plan('--to-latest')).map(({ to }) => to)
    expect(ends.reduce((sum, end) => sum + end, 0)).toBe(4)
    expect((await plan('--to-earliest')).map(({ to }) => to)).toEqual([0, 0])
    expect((await plan('--to-offset 99')).map(({ to }) => to)).toEqual(ends)
    expect((await plan('--shift -1')).map(({ to }) => to)).toEqual(ends.map((end) => Math.max(0, end - 1)))
    expect((await plan('--to-datetime 1h')).map(({ to }) => to)).toEqual([0, 0])
    expect((await plan('--to-datetime 2099-01-01')).map(({ to }) => to)).toEqual(ends)
    const both = await command('reset topology.ts --to-latest --to-earliest', { cwd: folder })
    expect(both).toMatchObject({ code: 2, err: expect.stringContaining('give only one of') })
  })

  test('reset: without the topology file, the topics are found by name; with --keep-state only offsets move', async () => {
    await using kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
    await project(kafka, ['a', 'b', 'a'])
    await runUntil('run topology.ts', 'counts', 2)
    const config = `--application-id words --brokers ${kafka.address} --state-dir state`
    expect(await command(`reset ${config}`, { cwd: folder })).toMatchObject({
      code: 2,
      err: expect.stringContaining('--input-topics'),
    })
    expect(await command(`reset ${config} --input-topics words,nowhere`, { cwd: folder })).toMatchObject({
      code: 1,
      err: expect.stringContaining('nowhere'),
    })
    const planOf = async (line: string) =>
      JSON.parse((await command(`reset ${line} --json`, { cwd: folder })).out) as Record<string, unknown>
    const byName = await planOf(`${config} --input-topics words`)
    expect(byName).toEqual(await planOf('topology.ts'))
    expect(byName['deletedTopics']).toEqual([
      'words-by-word-repartition',
      'words-counted-changelog',
      'words-millrace-topology',
    ])
    expect(await planOf('topology.ts --keep-state')).toEqual({
      ...byName,
      deletedTopics: [],
      deletedTasks: [],
    })
  })

  test('reset: the application still runs, refused with its members', async () => {
    await using kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
    await project(kafka, ['a'])
    const console = makeConsole({ cwd: folder })
    const running = runCommand(['run', 'topology.ts'], console.io)
    await command('tail counts --from beginning --count 1', { cwd: folder })
    const { code, err } = await command('reset topology.ts --execute --yes', { cwd: folder })
    expect(code).toBe(1)
    expect(err).toMatch(/^error: words has 1 running copy \(.+\): stop it first; .* \(RESET_REFUSED\)\n$/)
    console.signal()
    await running
  })
})

describe('reprocess', () => {
  test('reprocess: beside the old one into a new topic, switch says yes, the old one goes', async () => {
    await using kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
    await project(kafka, ['a', 'b', 'a'])
    await runUntil('run topology.ts', 'counts', 2, () => latest(kafka, 'counts')['a'] === 2)
    await send(kafka, ['a'])

    const early = await command('reprocess topology.ts --switch', { cwd: folder })
    expect(early).toMatchObject({ code: 1, out: expect.stringContaining('has committed nothing yet') })

    const console = makeConsole({ cwd: folder })
    const running = runCommand(['reprocess', 'topology.ts'], console.io)
    await console.says('caught up')
    console.signal()
    expect(await running).toBe(0)
    // From the beginning, also what the old one has not seen.
    expect(latest(kafka, 'counts-next')).toEqual({ a: 3, b: 1 })
    expect(latest(kafka, 'counts')).toEqual({ a: 2, b: 1 })

    const ready = await command('reprocess topology.ts --switch', { cwd: folder })
    expect(ready).toMatchObject({ code: 0, out: expect.stringContaining('go on with counts-next') })

    const asked = await command('reprocess topology.ts --drop-old', { cwd: folder, answers: [''] })
    expect(asked.code).toBe(1)
    expect(Object.keys(kafka.topics())).toContain('counts')
    expect(await command('reprocess topology.ts --drop-old', { cwd: folder, answers: ['y'] })).toMatchObject({
      code: 0,
    })
    expect(Object.keys(kafka.topics())).not.toContain('counts')
    expect(Object.keys(kafka.topics())).not.toContain('words-counted-changelog')
    expect(Object.keys(kafka.topics())).toContain('words-next-counted-changelog')
  })

  test('reprocess: abandoned, the new topics, state and group go, the old ones stay', async () => {
    await using kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
    await project(kafka, ['a'])
    const console = makeConsole({ cwd: folder })
    const running = runCommand(['reprocess', 'topology.ts', '--as', 'v2'], console.io)
    await console.says('caught up')
    console.signal()
    await running
    expect(Object.keys(kafka.topics())).toContain('counts-v2')
    expect(await command('reprocess topology.ts --as v2 --abandon --yes', { cwd: folder })).toMatchObject({
      code: 0,
    })
    expect(Object.keys(kafka.topics()).sort()).toEqual(expect.arrayContaining(['counts', 'words']))
    expect(Object.keys(kafka.topics()).filter((topic) => topic.includes('v2'))).toEqual([])
    expect(existsSync(join(folder, 'state', 'words-v2'))).toBe(false)
  })
})
