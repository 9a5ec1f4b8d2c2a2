/**
 * Stream threads in workers, on the embedded Kafka. Node 20 can't load TypeScript in a worker, so the engine is compiled
 * first, and what runs here is what a user's process would run.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Millrace } from '../../src/runtime/application.ts'
import type { Hooks } from '../../src/runtime/hooks.ts'
import type { Config } from '../../src/runtime/options.ts'
import { compile } from '../chaos/compile.ts'
import { hold, until, World } from './scenario.ts'

let folder = ''
let module: URL
let Application: typeof Millrace

beforeAll(async () => {
  folder = await compile([
    'src/runtime/application.ts',
    'src/runtime/worker.ts',
    'test/runtime/count-module.ts',
  ])
  module = pathToFileURL(join(folder, 'test/runtime/count-module.js'))
  ;({ Millrace: Application } = await import(
    /* @vite-ignore */ pathToFileURL(join(folder, 'src/runtime/application.js')).href
  ))
}, 60_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

const lines: string[] = []
const logger = {
  debug() {},
  info: (message: string) => void lines.push(message),
  warn: (message: string) => void lines.push(message),
  error: (message: string) => void lines.push(message),
  child: () => logger,
}

async function running(world: World, config: Partial<Config> = {}, hooks: Hooks = {}): Promise<Millrace> {
  const app = new Application(module, {
    applicationId: 'app',
    brokers: [world.kafka.address],
    stateDir: world.stateDir,
    logger,
    hooks,
    threads: 2,
    heartbeatIntervalMs: 100,
    sessionTimeoutMs: 5_000,
    fetchWaitMs: 50,
    ...config,
  })
  world.adopt(app)
  await app.start()
  return app
}

test('threads: two workers share four partitions, and count exactly', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  await world.input(400, 'events', 4)
  let committed = 0
  const app = await running(world, {}, { committed: ({ inputRecords }) => (committed += inputRecords) })
  expect(app.status().threads).toHaveLength(2)
  await world.input(400, 'events', 4)
  await world.settled()
  // What a worker tells of a commit comes by message, after the commit.
  await expect.poll(() => committed).toBe(800)
})

test('threads: added and removed while running, nothing is lost or doubled', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  await world.input(200, 'events', 4)
  const app = await running(world)
  expect(await app.addThread()).toBe('app-thread-3')
  await world.input(200, 'events', 4)
  expect(await app.removeThread()).toBe('app-thread-3')
  await world.input(200, 'events', 4)
  await world.settled()
})

test('threads: an error that nobody handles replaces the thread where the handler says so', async () => {
  process.env['TRAP'] = 'armed'
  try {
    await using world = await World.open({ events: 2, counts: 2 })
    const app = await running(world, { uncaughtHandler: 'replace-thread' })
    await world.input(100)
    await world.settled()
    await world.one('k0', 'throw once')
    // The new worker has not thrown yet and throws, too; the record is disarmed for the one after.
    await new Promise((resolve) => setTimeout(resolve, 300))
    delete process.env['TRAP']
    await world.input(100)
    await world.settled()
    expect(app.state).not.toBe('error')
    expect(lines.join('\n')).toContain('thrown once')
  } finally {
    delete process.env['TRAP']
  }
})

test('watchdog: an endless loop is named by task, topic, partition and offset, and its thread is replaced', async () => {
  process.env['TRAP'] = 'armed'
  try {
    await using world = await World.open({ events: 2, counts: 2 })
    await running(world, { maxPollIntervalMs: 1_000 })
    await world.input(100)
    await world.settled()
    await world.one('k0', 'loop for ever')
    delete process.env['TRAP']
    await world.input(100)
    await world.settled('windows', 20_000)
    expect(lines.join('\n')).toMatch(
      /task 0_\d is on one record for more than 1000 ms: topic events, partition \d, offset \d+/,
    )
  } finally {
    delete process.env['TRAP']
  }
}, 40_000)

test('watchdog: a thread that is ended in the middle of a commit is fenced, nobody waits for its transaction', async () => {
  process.env['TRAP'] = 'armed'
  try {
    await using world = await World.open({ events: 2, counts: 2 })
    await running(world, { maxPollIntervalMs: 1_000, transactionTimeoutMs: 60_000 })
    await world.input(100)
    await world.settled()
    using commits = hold(world, 'endTxn', 'app')
    await world.input(100)
    await until(() => commits.held === 2)
    lines.length = 0
    await world.one('k0', 'loop for ever')
    delete process.env['TRAP']
    await until(() => lines.some((line) => line.includes('is on one record for more than')))
    commits.release()
    await world.input(100)
    await world.settled('windows', 20_000)
  } finally {
    delete process.env['TRAP']
  }
}, 60_000)
