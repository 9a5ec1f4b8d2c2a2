/**
 * RocksDB (`rocksdb`, prebuilt for most platforms) and classic-level (prebuilt for all): two shapes of one family. A
 * batch is atomic in both. Every failure of theirs comes out as a StreamsError: locked, corrupt, or failed.
 */
import { createRequire } from 'node:module'
import { StreamsError } from '../base/errors.ts'
import type { Engine, EngineBatch, EngineName, Row, Scan } from './engine.ts'

export type LevelName = Exclude<EngineName, 'memory'>

export type LevelOptions = {
  readonly folder: string
  /** For caches, write buffers and open files together. */
  readonly bytesMax: number
}

const chunkRows = 512
const bytesMin = 256 * 1024
const openFilesMax = 64
const spareBatchesMax = 2
const spareBytesMax = 8 * 1024 * 1024
const viewMax = 64

/** Properties of RocksDB that are numbers, without their prefix `rocksdb.`. */
export const rocksFigures = [
  'background-errors',
  'block-cache-capacity',
  'block-cache-pinned-usage',
  'block-cache-usage',
  'compaction-pending',
  'cur-size-active-mem-table',
  'cur-size-all-mem-tables',
  'estimate-num-keys',
  'estimate-pending-compaction-bytes',
  'estimate-table-readers-mem',
  'live-sst-files-size',
  'mem-table-flush-pending',
  'num-deletes-active-mem-table',
  'num-deletes-imm-mem-tables',
  'num-entries-active-mem-table',
  'num-entries-imm-mem-tables',
  'num-immutable-mem-table',
  'num-live-versions',
  'num-running-compactions',
  'num-running-flushes',
  'size-all-mem-tables',
  'total-sst-files-size',
] as const

type Callback<T = void> = (error: Error | null | undefined, result: T) => void

// The parts of the two packages that are used here; neither has types that fit.
type RocksIterator = {
  cache: Buffer[] | null
  next(callback: (error: Error | null | undefined, key?: Buffer, value?: Buffer) => void): void
  end(callback: Callback): void
}
type ChainedBatch = {
  put(key: Uint8Array, value: Uint8Array): unknown
  del(key: Uint8Array): unknown
}
// Without the underscore a batch can be written once.
type RocksBatch = {
  _put(key: Uint8Array, value: Uint8Array): void
  _del(key: Uint8Array): void
  _clear(): void
  _write(options: object, callback: Callback): void
}
type RocksDb = {
  open(options: object, callback: Callback): void
  close(callback: Callback): void
  getMany(keys: readonly Buffer[], options: object, callback: Callback<(Buffer | undefined)[]>): void
  batch(): RocksBatch
  iterator(options: object): RocksIterator
  clear(options: object, callback: Callback): void
  getProperty(name: string): string
}
type ClassicLevel = {
  open(options: object): Promise<void>
  close(): Promise<void>
  getMany(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]>
  batch(): ChainedBatch & { write(): Promise<void> }
  iterator(options: object): { nextv(size: number): Promise<[Buffer, Buffer][]>; close(): Promise<void> }
  clear(options: object): Promise<void>
}

const require = createRequire(import.meta.url)

/** null: it is not installed, or has no binary for this platform. */
export function loadLevel(name: LevelName): { readonly reason: string } | null {
  try {
    require(name)
    return null
  } catch (error) {
    return { reason: error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error) }
  }
}

export function openLevelEngine(name: LevelName, options: LevelOptions): Promise<Engine> {
  return name === 'rocksdb' ? openRocks(options) : openClassic(options)
}

/** For both. A write buffer that is full is kept until it is a file, beside the one that follows. */
function openOptions(bytesMax: number): object {
  const writeBufferSize = Math.max(bytesMin, Math.floor(bytesMax * 0.4))
  const cacheSize = Math.max(bytesMin, bytesMax - 2 * writeBufferSize)
  return { createIfMissing: true, writeBufferSize, cacheSize, maxOpenFiles: openFilesMax }
}

async function openRocks({ folder, bytesMax }: LevelOptions): Promise<Engine> {
  const open = require('rocksdb') as (folder: string) => RocksDb
  const db = open(folder)
  const guard = guardOf('rocksdb', folder)
  await guard(
    'open',
    call((done) => db.open(openOptions(bytesMax), done)),
  )
  let closed = false
  // The collector does not know how large they are: left to it, they lie around by the gigabyte.
  const spare: RocksBatch[] = []
  return {
    name: 'rocksdb',
    getMany: (keys) =>
      guard(
        'read',
        call((done) => db.getMany(keys, { asBuffer: true }, done)),
      ),
    scan(from, to, reverse = false): Scan {
      // The iterator reads from a snapshot that it takes here, at once.
      const iterator = db.iterator({ gte: from, lt: to, reverse, keyAsBuffer: true, valueAsBuffer: true })
      let ended = false
      return {
        next: () => guard('read', rocksRows(iterator)),
        async close() {
          if (ended) return
          ended = true
          await guard(
            'read',
            call((done) => iterator.end(done)),
          )
        },
      }
    },
    batch() {
      const batch = spare.pop() ?? db.batch()
      let bytes = 0
      const to: ChainedBatch = {
        put(key, value) {
          bytes += key.length + value.length
          batch._put(key, value)
        },
        del(key) {
          bytes += key.length
          batch._del(key)
        },
      }
      return levelBatch(to, async () => {
        await guard(
          'write',
          call((done) => batch._write({}, done)),
        )
        // Cleared, it keeps its memory.
        batch._clear()
        if (bytes <= spareBytesMax && spare.length < spareBatchesMax) spare.push(batch)
      })
    },
    clear: (from, to) =>
      guard(
        'clear',
        call((done) => db.clear({ gte: from, lt: to }, done)),
      ),
    figures() {
      const figures: Record<string, number> = {}
      // The binding does not look whether there still is a database.
      if (closed) return figures
      for (const name of rocksFigures) {
        const text = db.getProperty(`rocksdb.${name}`)
        if (text !== '') figures[name] = Number(text)
      }
      return figures
    },
    close() {
      closed = true
      return guard(
        'close',
        call((done) => db.close(done)),
      )
    },
  }
}

/** One native call brings many rows; the binding hands them out one a tick, so the rest is taken from it at once. */
function rocksRows(iterator: RocksIterator): Promise<readonly Row[] | null> {
  return new Promise((resolve, reject) => {
    iterator.next((error, key, value) => {
      if (error) {
        reject(error)
        return
      }
      if (key === undefined || value === undefined) {
        resolve(null)
        return
      }
      const rows: Row[] = [{ key, value }]
      const { cache } = iterator
      while (cache !== null && cache.length > 1) {
        const nextKey = cache.pop() as Buffer
        rows.push({ key: nextKey, value: cache.pop() as Buffer })
      }
      resolve(rows)
    })
  })
}

async function openClassic({ folder, bytesMax }: LevelOptions): Promise<Engine> {
  const { ClassicLevel } = require('classic-level') as {
    ClassicLevel: new (folder: string, options: object) => ClassicLevel
  }
  const db = new ClassicLevel(folder, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  const guard = guardOf('classic-level', folder)
  await guard('open', db.open(openOptions(bytesMax)))
  return {
    name: 'classic-level',
    getMany: (keys) => guard('read', db.getMany(keys)),
    scan(from, to, reverse = false): Scan {
      const iterator = db.iterator({ gte: from, lt: to, reverse })
      return {
        async next() {
          const rows = await guard('read', iterator.nextv(chunkRows))
          return rows.length === 0 ? null : rows.map(([key, value]) => ({ key, value }))
        },
        close: () => guard('read', iterator.close()),
      }
    },
    batch() {
      const batch = db.batch()
      return levelBatch(batch, () => guard('write', batch.write()))
    },
    clear: (from, to) => guard('clear', db.clear({ gte: from, lt: to })),
    close: () => guard('close', db.close()),
  }
}

/**
 * Short keys and values are handed over in the same memory again and again: a view of it for each length. Longer ones
 * are views of where they lie, which takes a third of the time of a buffer.
 */
class Views {
  readonly #bytes = Buffer.allocUnsafeSlow(viewMax)
  readonly #views: (Buffer | undefined)[] = new Array<Buffer | undefined>(viewMax + 1)
  /** The last long one was in this buffer, which is slow to say where its memory is. */
  #from: Buffer = this.#bytes
  #memory: ArrayBufferLike = this.#bytes.buffer
  #memoryStart = this.#bytes.byteOffset

  of(from: Buffer, start: number, end: number): Uint8Array {
    const length = end - start
    if (length > viewMax) {
      if (from !== this.#from) {
        this.#from = from
        this.#memory = from.buffer
        this.#memoryStart = from.byteOffset
      }
      return new Uint8Array(this.#memory, this.#memoryStart + start, length)
    }
    const bytes = this.#bytes
    for (let at = 0; at < length; at++) bytes[at] = from[start + at] as number
    return (this.#views[length] ??= bytes.subarray(0, length))
  }
}

const keyViews = new Views()
const valueViews = new Views()

/** Both copy keys and values when they are put. */
function levelBatch(batch: ChainedBatch, write: () => Promise<void>): EngineBatch {
  let size = 0
  return {
    get size() {
      return size
    },
    put(from, keyStart, keyEnd, valueStart, valueEnd) {
      size++
      batch.put(keyViews.of(from, keyStart, keyEnd), valueViews.of(from, valueStart, valueEnd))
    },
    remove(from, keyStart, keyEnd) {
      size++
      batch.del(keyViews.of(from, keyStart, keyEnd))
    },
    write,
  }
}

function call<T = void>(run: (done: Callback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    run((error, result) => (error ? reject(error) : resolve(result)))
  })
}

function guardOf(name: LevelName, folder: string): <T>(what: string, waiting: Promise<T>) => Promise<T> {
  return async (what, waiting) => {
    try {
      return await waiting
    } catch (error) {
      throw failure(name, folder, what, error)
    }
  }
}

function failure(name: LevelName, folder: string, what: string, error: unknown): StreamsError {
  const reason = reasonOf(error)
  if (what === 'open' && /lock/i.test(reason)) {
    return new StreamsError('STATE_LOCKED', `state folder ${folder} is open elsewhere: ${reason}`, {
      cause: error,
    })
  }
  if (/corrupt/i.test(reason)) {
    return new StreamsError('STATE_CORRUPT', `state folder ${folder}: ${name} found damage: ${reason}`, {
      cause: error,
    })
  }
  return new StreamsError(
    'STATE_FAILED',
    `state folder ${folder}: ${name} failed to ${what}: ${reason}. Check free space, permissions and the disk; what was committed is in Kafka, and what the folder holds is whole`,
    { cause: error },
  )
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code } = error as { code?: unknown }
  const cause = error.cause === undefined ? '' : `: ${reasonOf(error.cause)}`
  return `${typeof code === 'string' ? `${code} ` : ''}${error.message}${cause}`
}
