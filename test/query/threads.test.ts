/**
 * Queries of an application whose tasks are in worker threads, or that is a process of its own: compiled first, for Node
 * 20 loads no TypeScript there.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { get, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { writeQuery } from '../../src/query/wire.ts'
import type { Position } from '../../src/runtime/state-query.ts'
import type { Millrace } from '../../src/service/millrace.ts'
import { compile } from '../chaos/compile.ts'
import { applicationId, World } from '../runtime/scenario.ts'
import topology from './totals.ts'

let folder = ''
let module: URL
let Application: typeof Millrace

beforeAll(async () => {
  folder = await compile(['src/runtime/worker.ts', 'test/query/copy.ts'])
  module = pathToFileURL(join(folder, 'test/query/totals.js'))
  ;({ Millrace: Application } = await import(
    /* @vite-ignore */ pathToFileURL(join(folder, 'src/service/millrace.js')).href
  ))
}, 60_000)
afterAll(() => rm(folder, { recursive: true, force: true }))

test('queries: worker threads answer in parts for the tasks that they have', async () => {
  await using world = await World.open({ events: 2, counts: 2, names: 1 })
  await world.input(1_400)
  const app = new Application(module, {
    applicationId,
    brokers: [world.kafka.address],
    stateDir: world.stateDir,
    logger: silentLogger,
    fetchWaitMs: 50,
    http: false,
    threads: 2,
  })
  await app.start()
  try {
    const ends = [0, 1].map(
      (partition) => world.kafka.records('events').filter((record) => record.partition === partition).length,
    )
    const bound = { events: Object.fromEntries(ends.entries()) }
    const totals = app.store<string, number>('totals')
    for (let key = 0; key < 7; key++)
      expect(await totals.get(`k${key}`, { partition: key % 2, bound })).toBe(200)
    expect((await totals.all()).map(({ value }) => value)).toEqual(Array.from({ length: 7 }, () => 200))
    // Behind a repartition topic: the bound on the input says nothing of when it gets there.
    const values = app.store('values')
    const deadline = Date.now() + 10_000
    while ((await values.all()).length < 1_400 && Date.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 20))
    expect((await values.all()).length).toBe(1_400)
    expect(await app.store('names').get('nobody')).toBe(null)
    await expect(totals.windows('k0', 0, 1)).rejects.toMatchObject({ code: 'QUERY_INVALID' })
  } finally {
    await app.close()
  }
})

test('queries: a copy that was stopped for longer than a session, it answers nothing before it hears of the group', {
  timeout: 60_000,
}, async () => {
  await using world = await World.open({ events: 2, counts: 2, names: 1 })
  await world.input(140)
  const config = {
    applicationId,
    brokers: [world.kafka.address],
    sessionTimeoutMs: 3_000,
    heartbeatIntervalMs: 500,
  }
  const http = { port: 0, host: '127.0.0.1' }
  const zombie = spawn(
    process.execPath,
    [
      join(folder, 'test/query/copy.js'),
      JSON.stringify({ ...config, http, stateDir: `${world.stateDir}/zombie`, logLevel: 'error' }),
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  try {
    const ended = once(zombie, 'exit').then(() => Promise.reject(new Error('it ended before it ran')))
    ended.catch(() => undefined)
    const [said] = (await Promise.race([once(zombie.stdout, 'data'), ended])) as [Buffer]
    const address = said.toString().trim()
    const ask = async (bound: Position) => {
      const query = writeQuery({
        ...{ task: '0_0', store: 'totals', query: { kind: 'key', key: Buffer.from('k0') }, unlike: null },
        ...{ isolation: 'committed', stale: false, bound, limit: 1, cut: false, waitMs: 5_000 },
      })
      // A connection of its own: one that was kept is closed by who has slept.
      const asked = get(`${address}/state/totals?ask=${query}`, { agent: false })
      const [response] = (await once(asked, 'response')) as [IncomingMessage]
      return { status: response.statusCode, body: (await json(response)) as Record<string, unknown> }
    }
    const end = world.kafka.records('events').filter(({ partition }) => partition === 0).length
    expect(await ask({ events: { 0: end } })).toMatchObject({
      status: 200,
      body: { position: { events: { 0: end } } },
    })
    zombie.kill('SIGSTOP')
    const successor = world.app(topology, { ...config, stateDir: `${world.stateDir}/successor` })
    await successor.start()
    const tasks = () => successor.status().threads.flatMap((thread) => thread.tasks)
    const deadline = Date.now() + 30_000
    while (tasks().filter(({ task, state }) => task.startsWith('0_') && state === 'running').length < 2) {
      if (Date.now() > deadline) throw new Error(`nobody took over: ${JSON.stringify(tasks())}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    // It lies in the zombie's socket before anything of the group does, and still counts to 20 there.
    const late = ask({})
    await new Promise((resolve) => setTimeout(resolve, 100))
    zombie.kill('SIGCONT')
    expect(await late).toMatchObject({ body: { code: 'QUERY_MOVED' } })
  } finally {
    zombie.kill('SIGKILL')
  }
})
