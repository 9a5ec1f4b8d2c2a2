/** Task folders: who may open them, what is refused and how, what is cleaned, and a folder written by version 1. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { KeyValueStore, TaskState, WindowStore } from '../../src/store/contract.ts'
import { cleanFolders, localTasks } from '../../src/store/folder.ts'
import { openTaskState, type TaskStateOptions } from '../../src/store/task-state.ts'
import { Changelogs, keyValue, window } from './fixture.ts'

let stateDir: string
const open: TaskState[] = []

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'millrace-'))
})

afterEach(async () => {
  for (const state of open.splice(0)) await state.close('dirty')
  rmSync(stateDir, { recursive: true, force: true })
})

async function start(more: Partial<TaskStateOptions> = {}, logs = new Changelogs()): Promise<TaskState> {
  const state = await openTaskState({
    application: 'app',
    taskId: '0_0',
    stateDir,
    stores: [keyValue('s')],
    context: logs.context,
    cacheBytesMax: 0,
    ...more,
  })
  open.push(state)
  return state
}

function folder(...parts: string[]): string {
  return join(stateDir, 'app', '0_0', ...parts)
}

async function fill(state: TaskState, logs: Changelogs): Promise<void> {
  await (state.store('s') as KeyValueStore).put('a', { n: 1 }, 1)
  await logs.commitAll(state)
  await state.close('clean')
}

test('folder: it is the application and the task, and says what wrote it', async () => {
  await start()
  expect(JSON.parse(readFileSync(folder('state.json'), 'utf8'))).toEqual({
    format: 1,
    application: 'app',
    engine: 'rocksdb',
  })
  expect(JSON.parse(readFileSync(folder('lock'), 'utf8'))).toMatchObject({ pid: process.pid })
  expect(readdirSync(folder()).sort()).toEqual(['lock', 'rocksdb', 'state.json'])
})

test('folder: open already in this thread, it is refused', async () => {
  const state = await start()
  await expect(start()).rejects.toMatchObject({ code: 'STATE_LOCKED', verdict: 'stop' })
  await state.close('clean')
  expect(existsSync(folder('lock'))).toBe(false)
  await start()
})

test.each(['rocksdb', 'classic-level'] as const)(
  'folder: open in another process, it is refused with its number, and free when that is killed (%s)',
  async (engine) => {
    const script = `
      const { createRequire } = require('node:module')
      const { mkdirSync, writeFileSync, readFileSync } = require('node:fs')
      const [folder, engine] = process.argv.slice(1)
      mkdirSync(folder, { recursive: true })
      const ready = (error) => { if (error) throw error; process.stdout.write('open'); setInterval(() => {}, 1000) }
      let startedAt = null
      try {
        const stat = readFileSync('/proc/self/stat', 'utf8')
        startedAt = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
      } catch {}
      writeFileSync(folder + '/lock', JSON.stringify({ pid: process.pid, startedAt, host: require('node:os').hostname() }))
      if (engine === 'rocksdb') require('rocksdb')(folder + '/rocksdb').open({}, ready)
      else { const { ClassicLevel } = require('classic-level'); new ClassicLevel(folder + '/classic-level').open().then(() => ready(), ready) }`
    const child: ChildProcess = spawn(process.execPath, ['-e', script, folder(), engine], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exited = once(child, 'exit')
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    try {
      await expect(start({ engine })).rejects.toThrow(`is open in process ${child.pid}`)
      // Where nobody can be named, the engine's own lock still holds.
      rmSync(folder('lock'))
      await expect(start({ engine })).rejects.toMatchObject({ code: 'STATE_LOCKED' })
    } finally {
      child.kill('SIGKILL')
      await exited
    }
    await start({ engine })
  },
)

test('folder: open in another thread, it is refused, and free when that is terminated', async () => {
  const script = `
    const { parentPort, workerData } = require('node:worker_threads')
    require('node:fs').mkdirSync(workerData.folder, { recursive: true })
    const { createRequire } = require('node:module')
    globalThis.db = createRequire(workerData.from)('rocksdb')(workerData.folder + '/rocksdb')
    db.open({}, (error) => parentPort.postMessage(String(error)))
    setInterval(() => {}, 1000)`
  const worker = new Worker(script, { eval: true, workerData: { folder: folder(), from: import.meta.url } })
  await once(worker, 'message')
  await expect(start()).rejects.toMatchObject({ code: 'STATE_LOCKED' })
  await worker.terminate()
  await start()
})

test('folder: the lock of a process that is gone is taken over', async () => {
  mkdirSync(folder(), { recursive: true })
  writeFileSync(folder('lock'), JSON.stringify({ pid: 2 ** 22 - 3, startedAt: '1', host: 'h' }))
  const state = await start()
  await state.close('clean')
  // Cut short by a crash, it names nobody.
  writeFileSync(folder('lock'), '{"pi')
  await start()
})

describe('folder: what it must not open', () => {
  test('another application is refused, and nothing is deleted', async () => {
    const logs = new Changelogs()
    await fill(await start({}, logs), logs)
    const manifest = folder('state.json')
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"app"', '"other"'))
    await expect(start()).rejects.toMatchObject({
      code: 'STATE_FOREIGN',
      message: expect.stringMatching(
        /belongs to the application other, not to app\. Give this one another stateDir/,
      ) as string,
    })
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"other"', '"app"'))
    expect(await (await start({}, logs)).store('s')).toBeDefined()
    expect(open.at(-1)?.positions()).toMatchObject([{ offset: 1 }])
  })

  test('another engine is refused; without a wish, the one that wrote it is used', async () => {
    const logs = new Changelogs()
    await fill(await start({ engine: 'classic-level' }, logs), logs)
    await expect(start({ engine: 'rocksdb' })).rejects.toMatchObject({
      code: 'STATE_FOREIGN',
      message: expect.stringMatching(
        /was written by classic-level, and rocksdb is asked for\. Ask for classic-level, or delete the folder: its content is restored from Kafka$/,
      ) as string,
    })
    const state = await start()
    expect(await (state.store('s') as KeyValueStore).get('a')).toEqual({ n: 1 })
  })

  test('a newer format is refused, and nothing is deleted', async () => {
    const logs = new Changelogs()
    await fill(await start({}, logs), logs)
    const manifest = folder('state.json')
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"format":1', '"format":2'))
    await expect(start()).rejects.toMatchObject({
      code: 'STATE_FORMAT',
      message: expect.stringMatching(
        /has format 2; this version reads up to 1\. Run the newer version, or delete the folder/,
      ) as string,
    })
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"format":2', '"format":1'))
    expect(await (await start({}, logs)).store('s')).toBeDefined()
    expect(open.at(-1)?.positions(), 'nothing was deleted').toMatchObject([{ offset: 1 }])
  })

  test('a file where the folder should be, and a manifest that is none, are named', async () => {
    mkdirSync(join(stateDir, 'app'))
    writeFileSync(folder(), 'x')
    await expect(start()).rejects.toMatchObject({ code: 'STATE_FAILED' })
    rmSync(folder())
    mkdirSync(folder())
    writeFileSync(folder('state.json'), 'x')
    await expect(start()).rejects.toMatchObject({ code: 'STATE_FOREIGN' })
  })

  test('a damaged engine asks for a restore', async () => {
    const logs = new Changelogs()
    await fill(await start({}, logs), logs)
    for (const name of readdirSync(folder('rocksdb'))) {
      if (name.startsWith('MANIFEST')) writeFileSync(folder('rocksdb', name), 'garbage that is no manifest')
    }
    await expect(start()).rejects.toMatchObject({ code: 'STATE_CORRUPT', verdict: 'restore' })
  })
})

test('folder: stores keep their rows when others come and go, and start over when their shape changes', async () => {
  const logs = new Changelogs()
  let state = await start({ stores: [keyValue('one'), window('two')] }, logs)
  await (state.store('one') as KeyValueStore).put('a', 1, 1)
  const windows = state.store('two') as WindowStore
  windows.set(await windows.entry('a', 10), 2, 10, [])
  await logs.commitAll(state)
  await state.close('clean')

  state = await start({ stores: [keyValue('zero'), keyValue('one')] }, logs)
  await (state.store('zero') as KeyValueStore).put('a', 0, 1)
  await logs.commitAll(state)
  expect(await (state.store('one') as KeyValueStore).get('a')).toBe(1)
  await state.close('clean')

  // Another segment interval: the old rows can't be found again, so they go, and the changelog is read anew.
  const changed = window('two', { segmentIntervalMs: 60 })
  state = await start({ stores: [keyValue('zero'), keyValue('one'), changed] }, logs)
  expect(state.positions().map(({ offset }) => offset)).toEqual([1, 1, null])
  await logs.restore(state)
  expect((await (state.store('two') as WindowStore).fetchAll(0, 100)).map(({ value }) => value)).toEqual([2])
  expect(await (state.store('zero') as KeyValueStore).get('a')).toBe(0)
})

test('folder: positions carry the id of the topic and the time of the last write', async () => {
  const logs = new Changelogs()
  const clock = { now: () => 5000, after: () => ({ cancel() {} }) }
  await fill(await start({ clock }, logs), logs)
  const state = await start({}, logs)
  expect(state.positions()).toEqual([{ store: 's', offset: 1, topicId: 'id of s', persistedAt: 5000 }])
})

test('folder: state that was not changed for long is confirmed where nobody else can have changed it', async () => {
  const logs = new Changelogs()
  let now = 5_000
  const clock = { now: () => now, after: () => ({ cancel() {} }) }
  await fill(await start({ clock }, logs), logs)
  const persistedAt = async (how: 'confirmed' | 'only read') => {
    const state = await start({ clock }, logs)
    if (how === 'confirmed') state.confirm()
    await state.close('clean')
    const again = await start({ clock }, logs)
    const [position] = again.positions()
    expect(position?.offset).toBe(1)
    expect(await (again.store('s') as KeyValueStore).get('a')).not.toBe(null)
    await again.close('dirty')
    return position?.persistedAt
  }
  now = 200_000_000
  expect(await persistedAt('only read')).toBe(5_000)
  expect(await persistedAt('confirmed')).toBe(200_000_000)
})

test('folder: left-over ones are cleaned, those in use, young, or not ours stay', async () => {
  for (const taskId of ['0_0', '0_1', '0_2', '0_3']) await (await start({ taskId })).close('clean')
  const kept = await start({ taskId: '0_1' })
  const old = new Date(Date.now() - 60_000)
  const age = (path: string): void => {
    for (const name of readdirSync(path, { recursive: true })) utimesSync(join(path, String(name)), old, old)
    utimesSync(path, old, old)
  }
  for (const taskId of ['0_0', '0_1', '0_2']) age(join(stateDir, 'app', taskId))
  mkdirSync(join(stateDir, 'app', 'notes'))
  const options = { stateDir, application: 'app', keep: new Set(['0_2']), olderThanMs: 30_000 }
  expect(await cleanFolders(options)).toEqual(['0_0'])
  expect((await localTasks(stateDir, 'app')).sort()).toEqual(['0_1', '0_2', '0_3'])
  expect(existsSync(join(stateDir, 'app', 'notes'))).toBe(true)
  await kept.close('clean')
  expect(await cleanFolders({ ...options, stateDir: join(stateDir, 'nowhere') })).toEqual([])
})

describe('folder: format 1', () => {
  const fixtures = fileURLToPath(new URL('fixtures', import.meta.url))
  const stores = [keyValue('table'), window('windows', { retentionMs: 100_000, segmentIntervalMs: 60_000 })]

  test.each(['rocksdb', 'classic-level'] as const)('what %s wrote then opens now', async (engine) => {
    const source = join(fixtures, `format-1-${engine}`)
    if (process.env['WRITE_FIXTURES'] !== undefined) {
      const logs = new Changelogs()
      const clock = { now: () => 1_700_000_000_000, after: () => ({ cancel() {} }) }
      const state = await start({ stores, engine, clock }, logs)
      const table = state.store('table') as KeyValueStore
      const windows = state.store('windows') as WindowStore
      for (let n = 0; n < 20; n++) {
        await table.put(`key-${n}`, { n }, 1000 + n)
        windows.set(await windows.entry(`key-${n % 5}`, n * 5000), { n }, n * 5000 + 1, [])
      }
      await table.put('key-7', null, 2000)
      await logs.commitAll(state)
      await state.close('clean')
      // Opened once more, the engine turns its log into tables.
      await (await start({ stores, engine }, logs)).close('clean')
      rmSync(source, { recursive: true, force: true })
      cpSync(folder(), source, {
        recursive: true,
        filter: (path) => !/\/(LOG|LOCK|lock|LOG\.old.*|OPTIONS.*|IDENTITY|\d+\.log)$/.test(path),
      })
      rmSync(folder(), { recursive: true })
    }
    cpSync(source, folder(), { recursive: true })
    const state = await start({ stores })
    expect(state.positions()).toEqual([
      { store: 'table', offset: 19, topicId: 'id of table', persistedAt: 1_700_000_000_000 },
      { store: 'windows', offset: 20, topicId: 'id of windows', persistedAt: 1_700_000_000_000 },
    ])
    const table = state.store('table') as KeyValueStore
    expect(await table.get('key-3')).toEqual({ n: 3 })
    expect(await table.get('key-7')).toBe(null)
    expect(await table.list(null, null)).toHaveLength(19)
    const windows = state.store('windows') as WindowStore
    expect(windows.observedTime).toBe(95_000)
    expect((await windows.fetch('key-2', 0, 100_000)).map(({ start, value }) => [start, value])).toEqual([
      [10_000, { n: 2 }],
      [35_000, { n: 7 }],
      [60_000, { n: 12 }],
      [85_000, { n: 17 }],
    ])
  })
})
