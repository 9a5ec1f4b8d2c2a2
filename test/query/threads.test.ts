/** Queries of an application whose tasks are in worker threads: compiled first, for Node 20 loads no TypeScript there. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import type { Millrace } from '../../src/service/millrace.ts'
import { compile } from '../chaos/compile.ts'
import { applicationId, World } from '../runtime/scenario.ts'

let folder = ''
let module: URL
let Application: typeof Millrace

beforeAll(async () => {
  folder = await compile(['src/service/millrace.ts', 'src/runtime/worker.ts', 'test/query/totals.ts'])
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
