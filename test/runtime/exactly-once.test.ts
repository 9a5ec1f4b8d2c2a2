/**
 * The rules of docs/exactly-once.md, on the embedded Kafka: each test breaks where its rule is not kept. What is in the
 * way of a commit at each of its steps is in application.test.ts; the generations of a store in store/generations.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { StreamsError } from '../../src/base/errors.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import type { Millrace } from '../../src/runtime/application.ts'
import type { RestoreProgress } from '../../src/runtime/hooks.ts'
import type { Config } from '../../src/runtime/options.ts'
import { json } from '../../src/serde/json.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { openDiskState, openTaskState } from '../../src/store/task-state.ts'
import type { Processor, ProcessorContext } from '../../src/topology/processor.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import type { Topology } from '../../src/topology/topology.ts'
import {
  applicationId,
  countTopology,
  hold,
  outgoing,
  repartitionedTopology,
  tallyTopology,
  until,
  World,
} from './scenario.ts'

const changelog = 'app-counts-changelog'
const text = serdes.string()

function int64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt(value))
  return bytes
}

function specsOf(topology: Topology): StoreSpec[] {
  return [...topology.graph.stores.values()]
}

/** Runs until the input so far is counted, and closes. */
async function countedOnce(world: World, topology: Topology, records: number): Promise<void> {
  const app = world.app(topology)
  await app.start()
  await world.input(records)
  await world.settled(topology.graph.stores.get('counts')?.kind === 'window' ? 'windows' : 'keys')
  await app.close()
}

test('restore: somebody holds the changelog’s stable end back, it goes to the high watermark all the same', async () => {
  await using world = await World.open()
  const first = world.app(countTopology(), { defaultStore: 'memory' })
  await first.start()
  await world.input(200)
  await world.settled()
  const stranger = await world.stranger('stranger')
  await stranger.produce([0, 1].map((partition) => outgoing(changelog, partition, [['never', 'committed']])))
  await world.input(200)
  await world.settled()
  await first.close()
  const partitions = [0, 1].map((partition) => ({ topic: changelog, partition }))
  const ends = await world.client.admin.offsets(partitions, 'latest', 'read_uncommitted')
  const stable = await world.client.admin.offsets(partitions, 'latest', 'read_committed')
  expect(Number(stable[0]?.offset)).toBeLessThan(Number(ends[0]?.offset))
  const starts: RestoreProgress[] = []
  const second = world.app(
    countTopology(),
    { defaultStore: 'memory' },
    { restore: (progress) => void (progress.phase === 'start' && starts.push(progress)) },
  )
  const started = second.start()
  await until(() => starts.length === 2)
  expect(new Map(starts.map(({ partition, endOffset }) => [partition, endOffset]))).toEqual(
    new Map(ends.map(({ partition, offset }) => [partition, offset])),
  )
  await stranger.end('abort')
  await stranger.close()
  await started
  await world.input(100)
  await world.settled()
})

test('restore: positions are read before the changelogs’ ends, and never after them', async () => {
  await using world = await World.open()
  await countedOnce(world, countTopology(), 200)
  const asked: string[] = []
  using _offsets = world.kafka.intercept('offsetFetch', ({ clientId }) => {
    if (clientId === applicationId) asked.push('positions')
    return undefined
  })
  using _ends = world.kafka.intercept('listOffsets', ({ clientId, body }) => {
    if (clientId === applicationId && body.topics.some(({ name }) => name === changelog)) asked.push('ends')
    return undefined
  })
  // What the leader asked before it handed tasks out does not matter.
  const app = world.app(countTopology(), {}, { taskCreated: () => void asked.splice(0) })
  await app.start()
  await world.input(100)
  await world.settled()
  expect(asked).toContain('positions')
  expect(asked).toContain('ends')
  expect(asked.lastIndexOf('positions')).toBeLessThan(asked.indexOf('ends'))
})

test('restore: a source topic that serves as changelog, up to the committed position and not beyond; no standby reads it', async () => {
  await using world = await World.open({ prices: 1, out: 1 })
  const table = () => {
    const builder = new StreamsBuilder()
    builder.table('prices', { keySerde: text, valueSerde: text, as: 'prices' }).toStream().to('out')
    return builder.build({ optimize: ['reuse-table-sources'] })
  }
  const input = await world.stranger()
  const first = world.app(table(), { defaultStore: 'memory' })
  await first.start()
  await input.produce([
    outgoing('prices', 0, [
      ['a', '1'],
      ['b', '2'],
    ]),
  ])
  await until(() => world.kafka.committedOffset(applicationId, 'prices', 0) === 2)
  await first.close()
  await input.produce([
    outgoing('prices', 0, [
      ['a', '3'],
      ['b', '4'],
      ['c', '5'],
    ]),
  ])
  const starts: RestoreProgress[] = []
  const restore = (progress: RestoreProgress) => void (progress.phase === 'start' && starts.push(progress))
  const config = { defaultStore: 'memory', standbyReplicas: 1 } as const
  const second = world.app(table(), config, { restore })
  await second.start()
  expect(starts.map(({ startOffset, endOffset }) => [startOffset, endOffset])).toEqual([[0, 2]])
  await until(() => world.kafka.records('out').length === 5)
  const other = world.app(table(), { ...config, stateDir: `${world.stateDir}/other` }, { restore })
  await other.start()
  const isStandby = ({ role, state }: { role: string; state: string }) =>
    role === 'standby' && state === 'running'
  await until(() => other.status().threads.some(({ tasks }) => tasks.some(isStandby)))
  await input.produce([outgoing('prices', 0, [['d', '6']])])
  await until(() => world.kafka.records('out').length === 6)
  expect(starts).toHaveLength(1)
  await input.close()
})

test('restore: what an aborted transaction wrote to a changelog is in no state', async () => {
  await using world = await World.open()
  await countedOnce(world, tallyTopology(), 70)
  const stranger = await world.stranger('stranger')
  await stranger.produce(
    [0, 1].map((partition) => outgoing(changelog, partition, [['k0', int64(1_000_000)]])),
  )
  await stranger.end('abort')
  await stranger.close()
  const app = world.app(tallyTopology(), { defaultStore: 'memory' })
  await app.start()
  await world.input(70)
  await world.settled('keys')
})

test('local state: of a changelog that was deleted and made anew, it is dropped for what the new one says', async () => {
  await using world = await World.open()
  await countedOnce(world, tallyTopology(), 70)
  const { admin } = world.client
  await admin.deleteTopics([changelog])
  await admin.createTopics([
    { name: changelog, partitions: 2, replicationFactor: 1, configs: { 'cleanup.policy': 'compact' } },
  ])
  const stranger = await world.stranger()
  // More than the old one held: by offsets alone the local state could be part of it, and would not see the first.
  const others = Array.from({ length: 500 }, (_, index) => [`other${index}`, int64(1)] as const)
  await stranger.produce([outgoing(changelog, 0, [['k0', int64(1_000)], ...others])])
  await stranger.close()
  const app = world.app(tallyTopology())
  await app.start()
  await world.one('k0', 'x')
  await until(() => world.counts().get('k0') === 1_001)
})

test.each([
  { written: 'nothing', records: [], isKept: true },
  { written: 'a value', records: [['other', int64(1)] as const], isKept: false },
])(
  'local state: older than the changelog keeps tombstones and $written was written since, it is kept: $isKept',
  async ({ records, isKept }) => {
    await using world = await World.open()
    await countedOnce(world, tallyTopology(), 70)
    const { offset } = (
      await world.client.admin.offsets([{ topic: changelog, partition: 0 }], 'latest', 'read_uncommitted')
    )[0] as { offset: number }
    if (records.length > 0) {
      const stranger = await world.stranger()
      await stranger.produce([outgoing(changelog, 0, records)])
      await stranger.close()
    }
    const past = { ...systemClock, now: () => Date.now() - 2 * 86_400_000 }
    const state = await openTaskState({
      application: applicationId,
      taskId: '0_0',
      stateDir: world.stateDir,
      stores: specsOf(tallyTopology()),
      context: { changelogTopic: () => changelog, drop: () => {} },
      cacheBytesMax: 0,
      clock: past,
    })
    // Where a last record's successor is: the marker of its transaction.
    await state.restore('counts', [], isKept ? offset - 1 : offset)
    await state.close('clean')
    const starts: RestoreProgress[] = []
    const app = world.app(
      tallyTopology(),
      {},
      { restore: (progress) => void (progress.phase === 'start' && starts.push(progress)) },
    )
    await app.start()
    expect(starts.filter(({ task }) => task === '0_0').map(({ startOffset }) => startOffset)).toEqual([
      isKept ? offset - 1 : 0,
    ])
    await world.input(70)
    await world.settled('keys')
  },
)

test.each([
  ['beyond its end', 10, 3, 0],
  ['before its start', 2, 5, 4],
])(
  'local state: stands %s of its changelog, it is refused with the verdict restore',
  async (_, at, written, start) => {
    await using world = await World.open({ log: 1 })
    const stranger = await world.stranger()
    await stranger.produce([
      outgoing(
        'log',
        0,
        Array.from({ length: written }, () => ['k', int64(1)] as const),
      ),
    ])
    await stranger.close()
    if (start > 0) await world.client.admin.deleteRecords([{ topic: 'log', partition: 0, offset: start }])
    const state = await openDiskState(
      {
        stores: specsOf(tallyTopology()),
        context: { changelogTopic: () => 'log', drop: () => {} },
        cacheBytesMax: 0,
      },
      new MemoryDisk(),
    )
    await state.restore('counts', [], at)
    const restorer = world.restorer('read_committed')
    await expect(
      restorer.restore('0_0', state, [{ topic: 'log', partition: 0, store: 'counts', limit: null }]),
    ).rejects.toMatchObject({ code: 'RESTORE_FAILED', verdict: 'restore' })
    await restorer.close()
    await state.close('dirty')
  },
)

// ------------------------------------------------------------------------------------------- hand-over and fencing

/** Everything is processed, and nothing is committed but by need: at a revocation, at the end. */
const seldom = { commitIntervalMs: 60_000, commitMinIntervalMs: 60_000 } as const

function running(app: Millrace): string[] {
  return app
    .status()
    .threads.flatMap(({ tasks }) =>
      tasks.filter(({ state, role }) => state === 'running' && role === 'active'),
    )
    .map(({ task }) => task)
}

test('hand-over: a task that leaves is committed first, with all that was processed', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  let processed = 0
  const config = { ...seldom, acceptableRecoveryLag: 1_000_000 }
  const one = world.app(
    countTopology(),
    { ...config, stateDir: `${world.stateDir}/one` },
    { batch: ({ records }) => void (processed += records) },
  )
  await one.start()
  await world.input(100, 'events', 4)
  await until(() => processed === 100)
  await world.input(100, 'events', 4)
  await until(() => processed === 200)
  const two = world.app(countTopology(), { ...config, stateDir: `${world.stateDir}/two` })
  await two.start()
  await until(() => running(one).length === 2 && running(two).length === 2)
  await world.settled()
})

test('hand-over: it waits for the commit in flight, and nothing is aborted', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  let aborts = 0
  let processed = 0
  const one = world.app(
    countTopology(),
    { clientId: 'one', stateDir: `${world.stateDir}/one` },
    { commitFailed: () => void aborts++, batch: ({ records }) => void (processed += records) },
  )
  await one.start()
  await world.input(100, 'events', 4)
  await world.settled()
  const commit = hold(world, 'endTxn', 'one')
  await world.input(100, 'events', 4)
  await until(() => commit.held > 0)
  // The generation after the one in flight.
  await world.input(100, 'events', 4)
  await until(() => processed === 300)
  let synced = 0
  using _sync = world.kafka.intercept('syncGroup', ({ clientId }) => {
    if (clientId === 'one') synced++
    return undefined
  })
  const two = world.app(countTopology(), {
    clientId: 'two',
    stateDir: `${world.stateDir}/two`,
    acceptableRecoveryLag: 1_000_000,
  })
  const started = two.start()
  await until(() => synced > 0)
  // Were the revocation not to wait, it would fail by now.
  await new Promise((resolve) => setTimeout(resolve, 100))
  commit.release()
  await started
  await world.settled()
  expect(aborts).toBe(0)
})

test('generation: one that moved in the middle of a commit is no reason to abort, it is resent with the new one', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  let aborts = 0
  const one = world.app(
    countTopology(),
    { clientId: 'one', stateDir: `${world.stateDir}/one` },
    { commitFailed: () => void aborts++ },
  )
  await one.start()
  await world.input(100, 'events', 4)
  await world.settled()
  const before = one.status().member?.generation as number
  let refused = 0
  using _refusal = world.kafka.intercept('txnOffsetCommit', ({ clientId, body }) => {
    if (clientId !== 'one' || body.generationId > before) return undefined
    refused++
    return { error: 'ILLEGAL_GENERATION' }
  })
  await world.input(100, 'events', 4)
  await until(() => refused > 0)
  await world.app(countTopology(), { clientId: 'two', stateDir: `${world.stateDir}/two` }).start()
  await world.settled()
  expect(aborts).toBe(0)
})

test('fence: whoever takes over the tasks of a silent member ends its open transaction at once', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  const config = { acceptableRecoveryLag: 1_000_000, transactionTimeoutMs: 60_000 }
  const silent = world.app(countTopology(), {
    ...config,
    clientId: 'silent',
    stateDir: `${world.stateDir}/silent`,
    sessionTimeoutMs: 1_000,
    heartbeatIntervalMs: 200,
  })
  await silent.start()
  const other = world.app(countTopology(), { ...config, stateDir: `${world.stateDir}/other` })
  await other.start()
  await until(() => running(silent).length === 2 && running(other).length === 2)
  await world.input(100, 'events', 4)
  await world.settled()
  using commit = hold(world, 'endTxn', 'silent')
  await world.input(100, 'events', 4)
  await until(() => commit.held > 0)
  using _heartbeats = hold(world, 'heartbeat', 'silent')
  using _joins = world.kafka.intercept('joinGroup', ({ clientId }) =>
    clientId === 'silent' ? { error: 'COORDINATOR_NOT_AVAILABLE' } : undefined,
  )
  await until(() => running(other).length === 4)
  await world.settled()
})

test('fence: somebody else runs under the same transactional id, a new one is taken and all goes on', async () => {
  await using world = await World.open()
  const failures: string[] = []
  const app = world.app(countTopology(), {}, { commitFailed: (_thread, code) => void failures.push(code) })
  await app.start()
  await world.input(100)
  await world.settled()
  const before = app.status().threads[0]?.transactionalId as string
  const twin = await world.stranger(before)
  await world.input(100)
  await world.settled()
  expect(app.status().threads[0]?.transactionalId).not.toBe(before)
  expect(failures).toEqual(['KAFKA_PRODUCER_FENCED'])
  await twin.close()
})

// ------------------------------------------------------------------------------------------------------ the commit

test('commit: until it is decided nothing of it is on disk, and an abort takes back both generations', async () => {
  await using world = await World.open()
  let processed = 0
  const app = world.app(
    tallyTopology(),
    { persistIntervalMs: 10, cacheMaxBytes: 0 },
    { batch: ({ records }) => void (processed += records) },
  )
  await app.start()
  await world.input(70)
  await world.settled('keys')
  using commit = hold(world, 'endTxn', applicationId)
  processed = 0
  await world.input(70)
  await until(() => commit.held > 0)
  await world.input(70)
  await until(() => processed === 140)
  // Time for many a write of what is not committed.
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(world.kafka.expireTransaction(app.status().threads[0]?.transactionalId as string)).toBe(true)
  commit.release()
  await world.settled('keys')
  expect(world.kafka.records('counts')).toHaveLength(210)
})

test('commit: a clean restart finds its state where the changelog ends, and reads no record of it', async () => {
  await using world = await World.open()
  await countedOnce(world, tallyTopology(), 300)
  let read = 0
  const app = world.app(tallyTopology(), {}, { restore: ({ records }) => void (read += records) })
  await app.start()
  expect(read).toBe(0)
  await world.input(70)
  await world.settled('keys')
})

test('commit: the disk stands still, the input waits before memory is full, and goes on with the disk', async () => {
  await using world = await World.open({ events: 1, last: 1 })
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .reduce((_before, value) => value, { as: 'last', keySerde: text, valueSerde: text })
    .toStream()
    .to('last')
  let processed = 0
  const app = world.app(
    builder.build(),
    { pendingBytesMax: 65_536, uncommittedBytesMax: 65_536, persistIntervalMs: 10 },
    { batch: ({ records }) => void (processed += records) },
  )
  await app.start()
  await world.one('first', 'x')
  await until(() => processed === 1)
  const release = await stopThreadPool()
  try {
    const value = 'x'.repeat(1_000)
    for (let index = 0; index < 20; index++)
      await Promise.all(Array.from({ length: 100 }, (_, of) => world.one(`key-${index}-${of}`, value)))
    await until(() => processed > 60)
    // Time for all of it, were it not to wait.
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(processed).toBeLessThan(1_000)
  } finally {
    release()
  }
  await until(() => processed === 2_001)
})

/** Engines write in libuv's four threads: each of them is made to open a pipe that nobody writes to. */
async function stopThreadPool(): Promise<() => void> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-'))
  const pipes = Array.from({ length: 4 }, (_, index) => join(folder, `pipe-${index}`))
  execFileSync('mkfifo', pipes)
  const opened = pipes.map((pipe) => open(pipe, 'r'))
  return () => {
    for (const pipe of pipes) closeSync(openSync(pipe, 'r+'))
    void Promise.all(opened.map(async (file) => (await file).close())).then(() =>
      rm(folder, { recursive: true }),
    )
  }
}

test('commit: with nothing but punctuations in it, it carries positions of a live member all the same', async () => {
  await using world = await World.open({ events: 1, out: 1 })
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .process<string, string>(() => ({
      init(context) {
        context.schedule(20, 'wall-clock', (timestamp) =>
          context.forward({ key: 'tick', value: 'x', timestamp }),
        )
      },
      process() {},
    }))
    .to('out', { keySerde: text, valueSerde: text })
  const log: string[] = []
  using _offsets = world.kafka.intercept('txnOffsetCommit', ({ body }) => {
    log.push(body.generationId > 0 && body.memberId !== '' ? 'positions' : 'positions of nobody')
    return undefined
  })
  using _ends = world.kafka.intercept('endTxn', ({ body }) => {
    if (body.committed) log.push('commit')
    return undefined
  })
  await world.app(builder.build()).start()
  await until(() => world.kafka.records('out').length >= 3)
  const commits = log.flatMap((entry, index) => (entry === 'commit' ? [log[index - 1]] : []))
  expect(commits.length).toBeGreaterThan(0)
  expect(new Set(commits)).toEqual(new Set(['positions']))
})

test('commit: a processor’s wish is heard as soon as its record is done, not after the input that is there', async () => {
  await using world = await World.open({ events: 1 })
  await world.input(300, 'events', 1)
  const builder = new StreamsBuilder()
  const wishes = (): Processor<string, string> => {
    let context: ProcessorContext
    let seen = 0
    return {
      init(given) {
        context = given
      },
      process() {
        if (++seen === 120) context.commit()
      },
    }
  }
  builder.stream('events', { keySerde: text, valueSerde: text }).process(wishes)
  const positions: number[] = []
  using _offsets = world.kafka.intercept('txnOffsetCommit', ({ body }) => {
    for (const { partitions } of body.topics)
      for (const { committedOffset } of partitions) positions.push(Number(committedOffset))
    return undefined
  })
  await world.app(builder.build(), { commitIntervalMs: 60_000 }).start()
  await until(() => positions.at(-1) === 300)
  expect(positions).toEqual([120, 300])
})

test('abort: processors begin anew, with their fields from init and stream time from the last commit', async () => {
  await using world = await World.open({ events: 1, out: 1 })
  const began: number[] = []
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .process<string, string>(() => {
      let seen = 0
      let forward: (value: string) => void
      return {
        init(context) {
          began.push(context.streamTime())
          forward = (value) => void context.forward({ key: 'k', value })
        },
        process: ({ value }) => forward(`${value}${++seen}`),
      }
    })
    .to('out', { keySerde: text, valueSerde: text })
  const out = () => world.kafka.records('out').map(({ value }) => String(value))
  const input = await world.stranger()
  const app = world.app(builder.build())
  await app.start()
  await input.produce([
    outgoing('events', 0, [
      ['k', 'a', 1_000],
      ['k', 'b', 5_000],
      ['k', 'c', 2_000],
    ]),
  ])
  await until(() => out().length === 3)
  let refused = 0
  using _refusal = world.kafka.intercept('produce', ({ clientId }) =>
    clientId === applicationId && refused++ === 0 ? { error: 'INVALID_PRODUCER_EPOCH' } : undefined,
  )
  await input.produce([
    outgoing('events', 0, [
      ['k', 'd', 3_000],
      ['k', 'e', 9_000],
    ]),
  ])
  await until(() => out().length === 5)
  expect(refused).toBeGreaterThan(1)
  expect(out()).toEqual(['a1', 'b2', 'c3', 'd1', 'e2'])
  expect(began).toEqual([-1, 5_000])
  await input.close()
})

test('restart: a window that was closed and emitted is not emitted again', async () => {
  await using world = await World.open({ events: 1, out: 1 })
  const topology = () => {
    const builder = new StreamsBuilder()
    builder
      .stream('events', { keySerde: text, valueSerde: text })
      .groupByKey()
      .windowedBy(tumbling(10))
      .emitStrategy('on-close')
      .count({ as: 'counts' })
      .toStream((_count, windowed) => `${windowed.key}@${windowed.start}`, { keySerde: text })
      .to('out', { valueSerde: serdes.long() })
    return builder.build()
  }
  const keys = () => world.kafka.records('out').map(({ key }) => String(key))
  const input = await world.stranger()
  const first = world.app(topology(), { emitIntervalMs: 0 })
  await first.start()
  await input.produce([
    outgoing('events', 0, [
      ['k', 'a', 1],
      ['k', 'b', 10],
    ]),
  ])
  await until(() => keys().length === 1)
  await first.close()
  const second = world.app(topology(), { emitIntervalMs: 0 })
  await second.start()
  await input.produce([
    outgoing('events', 0, [
      ['k', 'c', 10],
      ['k', 'd', 20],
    ]),
  ])
  await until(() => keys().includes('k@10'))
  expect(keys()).toEqual(['k@0', 'k@10'])
  await input.close()
})

// ------------------------------------------------------------------------------------------------- topics and time

test('repartition topic: records go once they are committed, and not before', async () => {
  await using world = await World.open()
  const topic = 'app-by-letter-repartition'
  let processed = 0
  const app = world.app(
    repartitionedTopology(),
    { repartitionPurgeIntervalMs: 20 },
    { batch: ({ task, records }) => void (processed += task.startsWith('1_') ? records : 0) },
  )
  await app.start()
  await world.input(200)
  await world.settled('letters')
  using commit = hold(world, 'endTxn', applicationId)
  let purges = 0
  const early: string[] = []
  using _purges = world.kafka.intercept('deleteRecords', ({ body }) => {
    purges++
    for (const { partitions } of body.topics) {
      for (const { partition, offset } of partitions) {
        const committed = world.kafka.committedOffset(applicationId, topic, partition) ?? -1
        if (Number(offset) > committed) early.push(`${partition}: ${offset}, committed is ${committed}`)
      }
    }
    return undefined
  })
  const stranger = await world.stranger()
  processed = 0
  await stranger.produce([0, 1].map((partition) => outgoing(topic, partition, [['a', 'x']])))
  await until(() => commit.held > 0 && processed === 2)
  const before = purges
  await until(() => purges > before + 1)
  expect(early).toEqual([])
  commit.release()
  await stranger.close()
})

test('input: an open transaction on one topic does not hold up the records of another', async () => {
  await using world = await World.open({ left: 1, right: 1, out: 1 })
  const builder = new StreamsBuilder()
  const options = { keySerde: text, valueSerde: text }
  builder.stream('left', options).merge(builder.stream('right', options)).to('out')
  const stranger = await world.stranger('stranger')
  await stranger.produce([outgoing('right', 0, [['k', 'open']])])
  const input = await world.stranger()
  await input.produce([outgoing('left', 0, [['k', 'a']])])
  await world.app(builder.build()).start()
  await until(() => world.kafka.records('out').length === 1)
  await stranger.end('commit')
  await until(() => world.kafka.records('out').length === 2)
  await stranger.close()
  await input.close()
})

test('input: markers and aborted data alone move the position, and make no commit', async () => {
  await using world = await World.open()
  let commits = 0
  const app = world.app(tallyTopology(), {}, { committed: () => void commits++ })
  await app.start()
  await world.input(70)
  await world.settled('keys')
  const stranger = await world.stranger('stranger')
  await stranger.produce([outgoing('events', 0, [['k0', 'void']])])
  await stranger.end('abort')
  await stranger.close()
  const [end] = await world.client.admin.offsets(
    [{ topic: 'events', partition: 0 }],
    'latest',
    'read_committed',
  )
  const position = () =>
    app.status().threads[0]?.tasks.find(({ task }) => task === '0_0')?.inputs[0]?.position
  await until(() => position() === end?.offset)
  const before = commits
  // Several times the longest pause before a commit of drained input.
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(commits).toBe(before)
})

// ------------------------------------------------------------------------------------------------------- refusals

/** Grows one value per key: `a`, `ab`, … */
function growing(handler?: 'continue'): { topology: Topology; config: Partial<Config> } {
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .reduce((before, value) => before + value, { as: 'texts' })
    .toStream()
    .mapValues((value) => String(value.length), { valueSerde: text })
    .to('out')
  return {
    topology: builder.build(),
    config: { recordBytesMax: 2_000, ...(handler && { productionHandler: handler }) },
  }
}

async function failed(app: Millrace): Promise<StreamsError> {
  await until(() => app.state === 'error')
  return app.error as StreamsError
}

test('refusal: a record over the size limit is its handler’s affair, before any transaction', async () => {
  await using world = await World.open({ events: 1, out: 1 })
  const topology = () => {
    const builder = new StreamsBuilder()
    builder.stream('events', { keySerde: text, valueSerde: text }).to('out')
    return builder.build()
  }
  const input = await world.stranger()
  const long = 'x'.repeat(5_000)
  const send = (...values: string[]) =>
    input.produce([
      outgoing(
        'events',
        0,
        values.map((value) => ['k', value] as const),
      ),
    ])
  const out = () => world.kafka.records('out').map(({ value }) => String(value))
  await send('a', long, 'b')
  const asked: unknown[] = []
  const lenient = world.app(topology(), {
    recordBytesMax: 2_000,
    productionHandler: (error, record) => {
      asked.push((error as StreamsError).code, record.topic, record.offset, record.value)
      return 'continue'
    },
  })
  await lenient.start()
  await until(() => out().length === 2)
  expect(out()).toEqual(['a', 'b'])
  expect(asked).toEqual(['RECORD_TOO_LARGE', 'events', 1, long])
  await lenient.close()
  const strict = world.app(topology(), { recordBytesMax: 2_000 })
  await strict.start()
  await send('c', long)
  const error = await failed(strict)
  expect(error.code).toBe('RECORD_TOO_LARGE')
  expect(error.message).toMatch(
    /value can not be written to topic out: a record of 5001 bytes .* limit of 2000/,
  )
  expect(out().filter((value) => value.length > 1)).toEqual([])
  await input.close()
})

test('refusal: an entry of state over the limit stops with its topic named; no handler may leave it out', async () => {
  await using world = await World.open({ events: 1, out: 1 })
  const { topology, config } = growing('continue')
  const input = await world.stranger()
  await input.produce([outgoing('events', 0, [['k', 'x'.repeat(1_500)]])])
  const app = world.app(topology, config)
  await app.start()
  await until(() => world.kafka.records('out').length === 1)
  let produced = 0
  using _produced = world.kafka.intercept('produce', ({ clientId }) => {
    if (clientId === applicationId) produced++
    return undefined
  })
  await input.produce([outgoing('events', 0, [['k', 'y'.repeat(1_500)]])])
  const error = await failed(app)
  expect(error.code).toBe('RECORD_TOO_LARGE')
  expect(error.message).toMatch(
    /entry of state of 3001 bytes for topic app-texts-changelog is over the limit of 2000/,
  )
  expect(produced).toBe(0)
  expect(world.kafka.records('out').map(({ value }) => String(value))).toEqual(['1500'])
  await input.close()
})

test.each([
  ['larger than its topic takes', 'x'.repeat(5_000), 0, 'MESSAGE_TOO_LARGE'],
  ['of a time further ahead than its topic takes', 'x', 7 * 86_400_000, 'INVALID_TIMESTAMP'],
])(
  'refusal: Kafka refuses a record %s, it is asked once and the application ends with the reason',
  async (_, value, ahead, code) => {
    await using world = await World.open({ events: 1 })
    world.kafka.createTopic('out', 1, {
      'max.message.bytes': '2000',
      'message.timestamp.after.max.ms': '3600000',
    })
    const builder = new StreamsBuilder()
    builder.stream('events', { keySerde: text, valueSerde: text }).to('out')
    const app = world.app(builder.build())
    await app.start()
    let produced = 0
    let commits = 0
    using _produced = world.kafka.intercept('produce', ({ clientId }) => {
      if (clientId === applicationId) produced++
      return undefined
    })
    using _commits = world.kafka.intercept('endTxn', ({ body }) => {
      if (body.committed) commits++
      return undefined
    })
    const input = await world.stranger()
    // The input topic takes times of its own.
    await world.client.admin.alterConfigs('events', {
      'message.timestamp.after.max.ms': String(30 * 86_400_000),
    })
    await input.produce([outgoing('events', 0, [['k', value, Date.now() + ahead]])])
    const error = await failed(app)
    expect(error.message).toContain(code)
    expect([produced, commits]).toEqual([1, 0])
    await input.close()
  },
)

test('refusal: an aggregator changed its accumulator in place and threw, the record alone is left out', async () => {
  await using world = await World.open({ events: 1, out: 1 })
  type Bag = { items: string[] }
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .aggregate(
      (): Bag => ({ items: [] }),
      (bag, value) => {
        bag.items.push(value)
        if (value.startsWith('bad')) throw new Error('boom')
        return bag
      },
      { valueSerde: json<Bag>(), as: 'bags' },
    )
    .toStream()
    .mapValues((bag) => bag.items.join(), { valueSerde: text })
    .to('out')
  const drops: number[] = []
  const failures: string[] = []
  const app = world.app(
    builder.build(),
    { processingHandler: 'continue', cacheMaxBytes: 0 },
    {
      dropped: ({ offset }) => void drops.push(offset),
      commitFailed: (_thread, code) => void failures.push(code),
    },
  )
  await app.start()
  const input = await world.stranger()
  const out = () => world.kafka.records('out').map(({ value }) => String(value))
  const send = (...values: string[]) =>
    input.produce([
      outgoing(
        'events',
        0,
        values.map((value) => ['k', value] as const),
      ),
    ])
  await send('a', 'bad1', 'b', 'bad2', 'c')
  await until(() => out().length >= 3)
  await send('bad3', 'd')
  await until(() => out().length >= 4)
  expect(out()).toEqual(['a', 'a,b', 'a,b,c', 'a,b,c,d'])
  expect(drops).toEqual([1, 3, 5])
  // It goes back once: from then on the node gets copies.
  expect(failures).toEqual(['PROCESSING_FAILED'])
  await input.close()
})

// ------------------------------------------------------------------------------------------- nothing waits for ever

test('stuck: a promise that never settles holds up neither a commit nor a hand-over, and its thread is replaced', async () => {
  await using world = await World.open()
  let armed = true
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .mapValues((value) =>
      value === 'wait' && armed ? new Promise<string>(() => undefined) : Promise.resolve(value),
    )
    .groupByKey()
    .count({ as: 'counts' })
    .toStream()
    .to('counts', { valueSerde: serdes.long() })
  const codes: string[] = []
  const app = world.app(
    builder.build(),
    { maxPollIntervalMs: 1_000, commitIntervalMs: 50 },
    { commitFailed: (_thread, code) => void codes.push(code) },
  )
  await app.start()
  await world.one('k0', 'wait')
  await world.input(70)
  await until(() => codes.length > 0)
  armed = false
  expect(codes).toEqual(['TASK_STUCK'])
  await world.settled('keys')
  expect(app.status().threads.map(({ thread }) => thread)).toEqual(['app-thread-2'])
})

test('stuck: a punctuation that never settles, its thread is replaced, too', async () => {
  await using world = await World.open({ events: 1, out: 1 })
  let armed = true
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .process<string, string>(() => ({
      init(context) {
        context.schedule(20, 'wall-clock', (timestamp) => {
          if (armed) return new Promise<void>(() => undefined)
          return context.forward({ key: 'tick', value: 'x', timestamp })
        })
      },
      process() {},
    }))
    .to('out', { keySerde: text, valueSerde: text })
  const codes: string[] = []
  const app = world.app(
    builder.build(),
    { maxPollIntervalMs: 1_000 },
    { commitFailed: (_thread, code) => void codes.push(code) },
  )
  await app.start()
  await until(() => codes.length > 0)
  armed = false
  expect(codes).toEqual(['TASK_STUCK'])
  await until(() => world.kafka.records('out').length > 0)
})

test.each([50, 20_000])(
  'stuck: a promise between the announcement of a commit and the commit, its transaction ends in good time (commits each %i ms)',
  async (commitIntervalMs) => {
    await using world = await World.open()
    let isAnnounced = false
    let withdrawn = 0
    const held: (() => void)[] = []
    const builder = new StreamsBuilder()
    const stream = builder.stream('events', { keySerde: text, valueSerde: text })
    stream.groupByKey().count({ as: 'counts' }).toStream().to('counts', { valueSerde: serdes.long() })
    stream.process(() => ({
      init(context) {
        // Until the transaction ends, which a commit would do, or the thread because no commit comes.
        context.schedule(1, 'wall-clock', () =>
          isAnnounced ? new Promise<void>((resolve) => void held.push(resolve)) : undefined,
        )
      },
      process() {},
    }))
    using _announced = world.kafka.intercept('addOffsetsToTxn', ({ clientId }) => {
      if (clientId === applicationId) isAnnounced = true
      return undefined
    })
    let hasPositions = false
    using _positions = world.kafka.intercept('txnOffsetCommit', () => {
      hasPositions = true
      return undefined
    })
    using _ended = world.kafka.intercept('endTxn', () => {
      if (!hasPositions) withdrawn++
      hasPositions = isAnnounced = false
      setImmediate(() => held.splice(0).map((release) => release()))
      return undefined
    })
    const codes: string[] = []
    const app = world.app(
      builder.build(),
      { commitIntervalMs, commitMinIntervalMs: 20, transactionTimeoutMs: 1_000 },
      { commitFailed: (_thread, code) => void codes.push(code) },
    )
    await app.start()
    const deadline = Date.now() + 15_000
    while (withdrawn === 0 && Date.now() < deadline) {
      await world.input(2)
      await new Promise((resolve) => setTimeout(resolve, 3))
    }
    expect(withdrawn).toBeGreaterThan(0)
    await world.settled('keys')
    expect(codes).toEqual([])
  },
)

test('slow records: the thread is not blocked for longer than a few of them take', async () => {
  await using world = await World.open({ events: 1, counts: 1 })
  await world.input(200, 'events', 1)
  let first = 0
  let last = 0
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .peek(() => {
      first ||= performance.now()
      while (performance.now() < Math.max(first, last) + 10);
      last = performance.now()
    })
    .groupByKey()
    .count({ as: 'counts' })
    .toStream()
    .to('counts', { valueSerde: serdes.long() })
  let seen = performance.now()
  let longest = 0
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - seen)
    seen = performance.now()
  }, 5)
  // Not lost to the group while it is blocked: then all would begin anew.
  await world.app(builder.build(), { sessionTimeoutMs: 30_000 }).start()
  await world.settled('keys', 15_000)
  clearInterval(timer)
  // Heartbeats wait as long: a thread that is silent for all of them is dead to Kafka.
  expect(longest).toBeLessThan((last - first) / 2)
})
