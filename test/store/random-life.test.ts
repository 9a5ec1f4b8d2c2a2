/**
 * Random lives of a task's state on every engine. A failure prints its seed: `SEED=n npx vitest run random-life`, or
 * `SEED=n-m` for many.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'vitest'
import type { Serde } from '../../src/serde/serde.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { openDiskState, openMemoryState, openTaskState } from '../../src/store/task-state.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import { drawFrom } from '../wire/draw.ts'
import * as fixture from './fixture.ts'
import {
  DuplicatesModel,
  JoinBufferModel,
  KeyValueModel,
  type Model,
  numbers,
  OuterJoinModel,
  SessionModel,
  SubscriptionModel,
  SuppressModel,
  VersionedModel,
  WindowModel,
} from './models.ts'
import { type Home, randomLife } from './random-runs.ts'

const bytesText: Serde<unknown> = {
  ...(fixture.text as Serde<unknown>),
  name: 'text by bytes',
  primitive: false,
}

function world(): { specs: StoreSpec[]; models: Model<unknown>[] } {
  const slow = { keySerde: fixture.waiting(bytesText), valueSerde: fixture.waiting(fixture.json) }
  const windows = fixture.window('windows')
  const closing = fixture.window('closing', { emitOnClose: true, retentionMs: 60, keySerde: bytesText })
  const duplicates = fixture.window('duplicates', { retainDuplicates: true, segmentIntervalMs: 40 })
  const slowDuplicates = fixture.window('slow-duplicates', { retainDuplicates: true, ...slow })
  const sessions = fixture.session('sessions')
  const closingSessions = fixture.session('closing-sessions', { emitOnClose: true, keySerde: bytesText })
  const versions = fixture.versioned('versions')
  const specs: StoreSpec[] = [
    fixture.keyValue('table'),
    fixture.keyValue('slow-table', slow),
    windows,
    fixture.window('slow-windows', slow),
    closing,
    duplicates,
    slowDuplicates,
    sessions,
    closingSessions,
    versions,
    fixture.suppress('suppress'),
    fixture.joinBuffer('join-buffer'),
    fixture.outerJoin('outer-join'),
    fixture.subscription('subscriptions'),
  ]
  const models = [
    new KeyValueModel('table'),
    new KeyValueModel('slow-table'),
    new WindowModel(windows),
    new WindowModel(fixture.window('slow-windows', slow)),
    new WindowModel(closing),
    new DuplicatesModel(duplicates),
    new DuplicatesModel(slowDuplicates),
    new SessionModel(sessions),
    new SessionModel(closingSessions),
    new VersionedModel(versions),
    new SuppressModel('suppress'),
    new JoinBufferModel('join-buffer', 10),
    new OuterJoinModel('outer-join'),
    new SubscriptionModel('subscriptions'),
  ]
  return { specs, models: models as unknown as Model<unknown>[] }
}

/** Stores of joins by themselves, so that each sees many steps. */
function joinWorld(): { specs: StoreSpec[]; models: Model<unknown>[] } {
  const slow = { keySerde: fixture.waiting(bytesText), valueSerde: fixture.waiting(fixture.json) }
  const specs = [
    fixture.window('plain', { retainDuplicates: true }),
    fixture.window('slow', { retainDuplicates: true, segmentIntervalMs: 40, ...slow }),
  ]
  return { specs, models: specs.map((spec) => new DuplicatesModel(spec)) as unknown as Model<unknown>[] }
}

/** History goes back with what is undone, and that needs its steps close together. */
function versionWorld(): { specs: StoreSpec[]; models: Model<unknown>[] } {
  const slow = { keySerde: fixture.waiting(bytesText), valueSerde: fixture.waiting(fixture.json) }
  const specs = [fixture.versioned('plain'), fixture.versioned('slow', slow)]
  return { specs, models: specs.map((spec) => new VersionedModel(spec)) as unknown as Model<unknown>[] }
}

/** Windows in strips: dense ones, and ones of which most start in between. */
function stripWorld(): { specs: StoreSpec[]; models: Model<unknown>[] } {
  const slow = { keySerde: fixture.waiting(bytesText), valueSerde: fixture.waiting(fixture.json) }
  const specs = [
    fixture.window('dense', { windowSizeMs: 20, advanceMs: 1 }),
    fixture.window('dense-and-long', { windowSizeMs: 20, advanceMs: 1, retentionMs: 400 }),
    fixture.window('mixed', { windowSizeMs: 60, advanceMs: 3, retentionMs: 60, keySerde: bytesText }),
    fixture.window('closing', { windowSizeMs: 20, advanceMs: 1, emitOnClose: true, retentionMs: 60 }),
    fixture.window('slow', { windowSizeMs: 40, advanceMs: 2, ...slow }),
  ]
  return { specs, models: specs.map((spec) => new WindowModel(spec)) as unknown as Model<unknown>[] }
}

/** Counts: rows in place of entries. Some keys are longer than the room that rows have at first. */
function numberWorld(): { specs: StoreSpec[]; models: Model<unknown>[] } {
  const valueSerde = fixture.long as Serde<unknown>
  const specs: StoreSpec[] = []
  const models: unknown[] = []
  for (const bytes of [0, 30, 100]) {
    const name = `counts-${bytes}`
    specs.push(
      fixture.keyValue(name, {
        valueSerde,
        keySerde: { ...(fixture.text as Serde<unknown>), ...lengthened(bytes) },
      }),
    )
    models.push(
      new KeyValueModel(name, numbers, (key) => Buffer.concat([Buffer.from(key), Buffer.alloc(bytes)])),
    )
  }
  const windows = [
    fixture.window('tumbling', { valueSerde, advanceMs: 10 }),
    fixture.window('hopping', { valueSerde, advanceMs: 5, segmentIntervalMs: 40 }),
    fixture.window('every', { valueSerde, advanceMs: 1, retentionMs: 60 }),
  ]
  for (const spec of windows) {
    specs.push(spec)
    models.push(new WindowModel(spec, numbers))
  }
  return { specs, models: models as Model<unknown>[] }
}

/** Keys with so many bytes behind them; they sort as the keys do. */
function lengthened(bytes: number): Pick<Serde<unknown>, 'write' | 'read'> {
  return {
    write(value, to) {
      to.utf8(value as string)
      for (let left = bytes; left > 0; left--) to.int8(0)
    },
    read: (from, start, end) => from.toString('utf8', start, end - bytes),
  }
}

function inMemory(specs: StoreSpec[]): Home {
  return {
    hasEngine: false,
    open: async (logs) => openMemoryState({ stores: specs, context: logs.context, cacheBytesMax: 0 }),
    wipe: (state) => state.wipe(),
  }
}

/** Answers come in any order, and writes take their time, with steps of operators in between. */
function slowly(seed: number): () => Promise<void> {
  const draw = drawFrom(seed)
  return async () => {
    for (let turns = Math.floor(draw() * 12); turns > 0; turns--) await Promise.resolve()
    if (draw() < 0.1) await new Promise((resolve) => setImmediate(resolve))
  }
}

function onMemoryDisk(specs: StoreSpec[], wait: (() => Promise<void>) | null): Home {
  let disk = new MemoryDisk()
  return {
    hasEngine: true,
    open(logs) {
      disk.wait = wait
      return openDiskState({ stores: specs, context: logs.context, cacheBytesMax: 0 }, disk)
    },
    async crash() {
      const left = new MemoryDisk()
      for (const [key, value] of disk.rows) left.rows.set(key, value)
      disk = left
    },
    wipe: (state) => state.wipe(),
  }
}

function inFolder(specs: StoreSpec[], stateDir: string, engine: 'rocksdb' | 'classic-level'): Home {
  return {
    hasEngine: true,
    open: (logs) =>
      openTaskState({
        application: 'app',
        taskId: '0_1',
        stateDir,
        engine,
        stores: specs,
        context: logs.context,
        cacheBytesMax: 0,
      }),
    wipe: (state) => state.wipe(),
  }
}

const [first = 1, last = first] = (process.env['SEED'] ?? '').split('-').filter(Boolean).map(Number)

function seeds(count: number): number[] {
  const end = process.env['SEED'] === undefined ? count : last
  return Array.from({ length: end - first + 1 }, (_, index) => first + index)
}

describe('store: random lives agree with plain models', () => {
  test.each(seeds(2))('in memory only, seed %i', async (seed) => {
    const { specs, models } = world()
    await randomLife(seed, 3000, inMemory(specs), new fixture.Changelogs(2000), models)
  })

  test.each(seeds(4))('on a disk in memory with crashes, seed %i', async (seed) => {
    const { specs, models } = world()
    await randomLife(seed, 3000, onMemoryDisk(specs, null), new fixture.Changelogs(2000), models)
  })

  test.each(seeds(6))('on a slow disk in memory with crashes, seed %i', async (seed) => {
    const { specs, models } = world()
    await randomLife(seed, 3000, onMemoryDisk(specs, slowly(seed)), new fixture.Changelogs(2000), models)
  })

  test.each(seeds(3))('stores with duplicates alone, on a slow disk with crashes, seed %i', async (seed) => {
    const { specs, models } = joinWorld()
    await randomLife(seed, 2000, onMemoryDisk(specs, slowly(seed)), new fixture.Changelogs(2000), models)
  })

  test.each(seeds(3))('stores of versions alone, on a slow disk with crashes, seed %i', async (seed) => {
    const { specs, models } = versionWorld()
    await randomLife(seed, 2000, onMemoryDisk(specs, slowly(seed)), new fixture.Changelogs(2000), models)
  })

  test.each(seeds(4))('windows in strips alone, on a slow disk with crashes, seed %i', async (seed) => {
    const { specs, models } = stripWorld()
    await randomLife(seed, 1500, onMemoryDisk(specs, slowly(seed)), new fixture.Changelogs(2000), models)
  })

  test.each(seeds(2))('windows in strips alone, in memory only, seed %i', async (seed) => {
    const { specs, models } = stripWorld()
    await randomLife(seed, 1000, inMemory(specs), new fixture.Changelogs(2000), models)
  })

  test.each(seeds(6))('numbers alone, on a slow disk with crashes, seed %i', async (seed) => {
    const { specs, models } = numberWorld()
    await randomLife(seed, 2000, onMemoryDisk(specs, slowly(seed)), new fixture.Changelogs(2000), models)
  })

  for (const engine of ['rocksdb', 'classic-level'] as const) {
    test.each(seeds(2))(`on ${engine}, seed %i`, async (seed) => {
      const stateDir = mkdtempSync(join(tmpdir(), 'millrace-'))
      try {
        const { specs, models } = world()
        await randomLife(seed, 1200, inFolder(specs, stateDir, engine), new fixture.Changelogs(2000), models)
      } finally {
        rmSync(stateDir, { recursive: true, force: true })
      }
    })
  }
})
