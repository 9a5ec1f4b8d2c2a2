/**
 * Rows in memory: for tests, and for tasks without a state folder. What it holds outlives the task that closed it, for
 * as long as somebody keeps its `MemoryDisk`.
 */
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Engine, EngineBatch, Row, Scan } from './engine.ts'

/** What a folder is to the other engines. */
export class MemoryDisk {
  /** By the text of the key's bytes. */
  readonly rows = new Map<string, Buffer>()
  sorted: string[] | null = null
  /** Set, it fails the next write: a full disk. */
  fault: Error | null = null
  /** Set, reads and writes take as long as it says: a disk. */
  wait: (() => Promise<void>) | null = null
}

const chunkRows = 16

export function openMemoryEngine(disk: MemoryDisk): Engine {
  return {
    name: 'memory',
    getMany(keys) {
      const found = keys.map((key) => disk.rows.get(key.toString('latin1')))
      return disk.wait === null ? found : disk.wait().then(() => found)
    },
    scan(from, to, reverse = false) {
      return memoryScan(disk, from.toString('latin1'), to.toString('latin1'), reverse)
    },
    batch() {
      return memoryBatch(disk)
    },
    clear(from, to) {
      const keys = keysFrom(disk, from.toString('latin1'), to.toString('latin1'))
      const remove = (): void => {
        for (const key of keys) disk.rows.delete(key)
        disk.sorted = null
      }
      return disk.wait === null ? remove() : disk.wait().then(remove)
    },
    async close() {},
  }
}

function keysFrom(disk: MemoryDisk, low: string, high: string): string[] {
  const sorted = (disk.sorted ??= [...disk.rows.keys()].sort())
  const first = lowerBound(sorted, low)
  return sorted.slice(first, Math.max(first, lowerBound(sorted, high)))
}

/** Values are never changed in place, so the rows of the moment are a snapshot. */
function memoryScan(disk: MemoryDisk, low: string, high: string, reverse: boolean): Scan {
  const keys = keysFrom(disk, low, high)
  if (reverse) keys.reverse()
  const rows: Row[] = keys.map((key) => ({
    key: Buffer.from(key, 'latin1'),
    value: disk.rows.get(key) as Buffer,
  }))
  let at = 0
  return {
    next(): MaybePromise<readonly Row[] | null> {
      at += chunkRows
      const chunk = at - chunkRows >= rows.length ? null : rows.slice(at - chunkRows, at)
      return disk.wait === null ? chunk : disk.wait().then(() => chunk)
    },
    close() {},
  }
}

function memoryBatch(disk: MemoryDisk): EngineBatch {
  const keys: string[] = []
  const values: (Buffer | null)[] = []
  return {
    get size() {
      return keys.length
    },
    put(from, keyStart, keyEnd, valueStart, valueEnd) {
      keys.push(from.toString('latin1', keyStart, keyEnd))
      values.push(Buffer.from(from.subarray(valueStart, valueEnd)))
    },
    remove(from, keyStart, keyEnd) {
      keys.push(from.toString('latin1', keyStart, keyEnd))
      values.push(null)
    },
    write(): MaybePromise<void> {
      return disk.wait === null ? apply() : disk.wait().then(apply)
    },
  }

  function apply(): void {
    const { fault } = disk
    if (fault !== null) {
      disk.fault = null
      throw fault
    }
    for (let index = 0; index < keys.length; index++) {
      const value = values[index] as Buffer | null
      const key = keys[index] as string
      if (value === null) disk.rows.delete(key)
      else disk.rows.set(key, value)
    }
    disk.sorted = null
  }
}

function lowerBound(sorted: readonly string[], text: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle] as string) < text) low = middle + 1
    else high = middle
  }
  return low
}
