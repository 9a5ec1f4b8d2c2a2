/** The contracts of engines and stores, on each of them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLevelEngine } from '../../src/store/level-engine.ts'
import { MemoryDisk, openMemoryEngine } from '../../src/store/memory-engine.ts'
import { openDiskState, openMemoryState, openTaskState } from '../../src/store/task-state.ts'
import { engineContract } from '../contract/engine.ts'
import { storeContract } from '../contract/store.ts'

const levels = ['rocksdb', 'classic-level'] as const

function folder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'millrace-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}

engineContract('memory', () => {
  const disk = new MemoryDisk()
  return { open: async () => openMemoryEngine(disk), remove() {} }
})

for (const level of levels) {
  engineContract(level, () => {
    const { path, remove } = folder()
    return { open: () => openLevelEngine(level, { folder: path, bytesMax: 1_000_000 }), remove }
  })
}

storeContract('memory only', () => ({
  open: async (stores, { context }) => openMemoryState({ stores, context, cacheBytesMax: 0 }),
  remove() {},
}))

storeContract('a disk in memory', () => {
  const disk = new MemoryDisk()
  return {
    open: (stores, { context }) => openDiskState({ stores, context, cacheBytesMax: 0 }, disk),
    remove() {},
  }
})

for (const engine of levels) {
  storeContract(engine, () => {
    const { path, remove } = folder()
    const task = { application: 'app', taskId: '0_0', stateDir: path, engine, cacheBytesMax: 0 } as const
    return { open: (stores, { context }) => openTaskState({ ...task, stores, context }), remove }
  })
}
