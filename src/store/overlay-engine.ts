/**
 * An engine with what is committed but not yet persisted laid over it: what the task's state is as of the last commit,
 * for those who only read.
 */
import { AssertionError } from '../base/assert.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Engine, EngineBatch, Row, Scan } from './engine.ts'

/** Rows by the text of their keys; null: removed. */
export type Overlay = Map<string, Buffer | null>

/** Collects what stores would write. */
export function overlayBatch(overlay: Overlay): EngineBatch {
  return {
    get size() {
      return overlay.size
    },
    put(from, keyStart, keyEnd, valueStart, valueEnd) {
      overlay.set(from.toString('latin1', keyStart, keyEnd), Buffer.from(from.subarray(valueStart, valueEnd)))
    },
    remove(from, keyStart, keyEnd) {
      overlay.set(from.toString('latin1', keyStart, keyEnd), null)
    },
    write() {},
  }
}

export function overlayEngine(engine: Engine, overlay: Overlay): Engine {
  const sorted = [...overlay.keys()].sort()
  return {
    name: engine.name,
    getMany(keys) {
      return chain(engine.getMany(keys), (found) =>
        found.map((value, index) => {
          const laid = overlay.get((keys[index] as Buffer).toString('latin1'))
          return laid === undefined ? value : (laid ?? undefined)
        }),
      )
    },
    scan(from, to, reverse = false) {
      const [low, high] = [from.toString('latin1'), to.toString('latin1')]
      const keys = sorted.filter((key) => key >= low && key < high)
      if (reverse) keys.reverse()
      return overlayScan(engine.scan(from, to, reverse), overlay, keys, reverse)
    },
    batch() {
      return readOnly()
    },
    clear() {
      return readOnly()
    },
    async close() {},
  }
}

function overlayScan(below: Scan, overlay: Overlay, keys: readonly string[], reverse: boolean): Scan {
  let at = 0
  let ended = false
  const laid = (rows: Row[], key: string): void => {
    const value = overlay.get(key)
    if (value !== null && value !== undefined) rows.push({ key: Buffer.from(key, 'latin1'), value })
  }
  const merge = (chunk: readonly Row[] | null): readonly Row[] | null => {
    const rows: Row[] = []
    if (chunk === null) {
      if (ended) return null
      ended = true
      for (; at < keys.length; at++) laid(rows, keys[at] as string)
      return rows
    }
    for (const row of chunk) {
      const text = row.key.toString('latin1')
      for (; at < keys.length; at++) {
        const key = keys[at] as string
        if (reverse ? key <= text : key >= text) break
        laid(rows, key)
      }
      if (keys[at] === text) laid(rows, keys[at++] as string)
      else rows.push(row)
    }
    return rows
  }
  return {
    next(): MaybePromise<readonly Row[] | null> {
      if (ended) return null
      const chunk = below.next()
      return isPromise(chunk) ? chunk.then(merge) : merge(chunk)
    },
    close: () => below.close(),
  }
}

function readOnly(): never {
  throw new AssertionError('the view of committed state is for reading')
}
