/**
 * What a broker with a folder remembers beside its logs: topics, positions, groups, transactions. One event a line,
 * each with its checksum, appended before the answer goes out. A kill -9 leaves at worst half a line at the end,
 * which is cut off. At each start the journal is written anew, with what still counts.
 */
import fs from 'node:fs'
import path from 'node:path'
import { crc32c } from '@node-rs/crc32'
import { StreamsError } from '../base/errors.ts'

export type StoredMember = {
  readonly id: string
  readonly instanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly protocols: readonly (readonly [name: string, metadata: string])[]
  readonly assignment: string
}

export type StoredOffset = readonly [
  topic: string,
  partition: number,
  offset: number | null,
  leaderEpoch: number,
  metadata: string | null,
]

export type JournalEvent =
  | { readonly kind: 'cluster'; readonly clusterId: string }
  | {
      readonly kind: 'topic'
      readonly name: string
      readonly id: string
      readonly partitions: number
      readonly configs: { readonly [name: string]: string }
    }
  | { readonly kind: 'topicDeleted'; readonly name: string }
  | { readonly kind: 'logStart'; readonly topic: string; readonly partition: number; readonly offset: number }
  | { readonly kind: 'offsets'; readonly group: string; readonly offsets: readonly StoredOffset[] }
  | {
      readonly kind: 'pendingOffsets'
      readonly group: string
      readonly producerId: number
      readonly offsets: readonly StoredOffset[]
    }
  | { readonly kind: 'endedOffsets'; readonly producerId: number; readonly isCommit: boolean }
  | {
      readonly kind: 'group'
      readonly group: string
      readonly generation: number
      readonly protocolType: string | null
      readonly protocolName: string | null
      readonly leader: string | null
      readonly members: readonly StoredMember[]
    }
  | { readonly kind: 'groupDeleted'; readonly group: string }
  | { readonly kind: 'producerId'; readonly next: number }
  | {
      readonly kind: 'transaction'
      readonly id: string
      readonly producerId: number
      readonly epoch: number
      readonly lastEpoch: number
      readonly timeoutMs: number
      readonly state: string
      readonly startedMs: number
      readonly partitions: readonly (readonly [topic: string, partition: number])[]
      readonly groups: readonly string[]
    }

const fileName = 'journal.jsonl'
/** Rewritten when it has grown by this much since it was last written anew. */
const growthBytesMax = 16 << 20

export class Journal {
  readonly #path: string
  readonly #lock: string
  #file = -1
  #size = 0
  #sizeAtRewrite = 0

  constructor(dir: string) {
    fs.mkdirSync(dir, { recursive: true })
    this.#path = path.join(dir, fileName)
    this.#lock = path.join(dir, 'lock')
    this.#takeLock(dir)
  }

  /** The events of before, in order. */
  read(): JournalEvent[] {
    if (!fs.existsSync(this.#path)) return []
    const lines = fs.readFileSync(this.#path, 'utf8').split('\n')
    const events: JournalEvent[] = []
    for (const [index, line] of lines.entries()) {
      if (line === '') continue
      const text = line.slice(9)
      if (line[8] !== ' ' || crc32c(text).toString(16).padStart(8, '0') !== line.slice(0, 8)) {
        if (index >= lines.length - 1) break
        throw new StreamsError('BROKER_FOLDER_DAMAGED', `${this.#path}: line ${index + 1} is damaged`)
      }
      events.push(JSON.parse(text) as JournalEvent)
    }
    return events
  }

  /** Replaces the journal by these events. */
  rewrite(events: Iterable<JournalEvent>): void {
    const next = `${this.#path}.next`
    let text = ''
    for (const event of events) text += lineOf(event)
    fs.writeFileSync(next, text)
    if (this.#file >= 0) fs.closeSync(this.#file)
    fs.renameSync(next, this.#path)
    this.#file = fs.openSync(this.#path, 'a')
    this.#size = this.#sizeAtRewrite = Buffer.byteLength(text)
  }

  append(event: JournalEvent): void {
    const line = Buffer.from(lineOf(event))
    try {
      for (let written = 0; written < line.length; ) written += fs.writeSync(this.#file, line, written)
    } catch (error) {
      // A full disk must not leave half a line in the middle.
      fs.ftruncateSync(this.#file, this.#size)
      throw error
    }
    this.#size += line.length
  }

  get isLong(): boolean {
    return this.#size > 2 * this.#sizeAtRewrite + growthBytesMax
  }

  close(): void {
    if (this.#file >= 0) fs.closeSync(this.#file)
    this.#file = -1
    fs.rmSync(this.#lock, { force: true })
    openFolders.delete(this.#lock)
  }

  /** Two brokers on one folder would destroy it. A lock whose process is gone does not count. */
  #takeLock(dir: string): void {
    const owner = fs.existsSync(this.#lock) ? Number(fs.readFileSync(this.#lock, 'utf8')) : 0
    if (owner > 0 && owner !== process.pid && isAlive(owner)) {
      throw new StreamsError(
        'BROKER_FOLDER_IN_USE',
        `${dir} is in use by process ${owner}; stop that one, or give another folder`,
      )
    }
    if (owner === process.pid && openFolders.has(this.#lock)) {
      throw new StreamsError('BROKER_FOLDER_IN_USE', `${dir} is in use by another broker of this process`)
    }
    openFolders.add(this.#lock)
    fs.writeFileSync(this.#lock, String(process.pid))
  }
}

const openFolders = new Set<string>()

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function lineOf(event: JournalEvent): string {
  const text = JSON.stringify(event)
  return `${crc32c(text).toString(16).padStart(8, '0')} ${text}\n`
}
