/** What was kept in memory for a chunk that was looked at ahead is let go with the chunk, however that ends. */
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import type { FetchedChunk } from '../../src/kafka/client.ts'
import type { BoundSource } from '../../src/operator/run.ts'
import { PartitionQueue } from '../../src/runtime/partition-queue.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'

const text = serdes.string()

class Holder {
  readonly events: string[] = []
  readonly queue: PartitionQueue
  readonly #unreadable: boolean

  constructor(unreadable = false) {
    this.#unreadable = unreadable
    const source = {
      node: { name: 'source', timestampExtractor: null },
      keySerde: text,
      valueSerde: unreadable
        ? {
            ...text,
            read: () => {
              throw new Error('not readable')
            },
          }
        : text,
      keyUse: 'read',
      valueUse: 'read',
      run: () => undefined,
      prefetch: () => {},
    } as unknown as BoundSource
    const owner = {
      unreadable: (error: unknown) => {
        if (this.#unreadable) return
        throw error
      },
      drop: () => {},
      wallClock: () => 0,
    }
    this.queue = new PartitionQueue('t', 0, source, 0, owner, 1 << 20)
  }

  /** A chunk of so many records, looked at ahead. */
  add(name: string, from: number, count: number): void {
    const builder = new BatchBuilder()
    for (let index = 0; index < count; index++) {
      const bytes = Buffer.from('kv')
      builder.append(1_000, bytes, 0, 1, bytes, 1, 2, noHeaders)
    }
    const buffer = Buffer.from(builder.seal(-1, -1, -1, false))
    buffer.writeBigInt64BE(BigInt(from), 0)
    const chunk: FetchedChunk = {
      topic: 't',
      partition: 0,
      buffer,
      start: 0,
      end: buffer.length,
      fetchOffset: from,
      nextOffset: from + count,
      highWatermark: from + count,
      lastStableOffset: from + count,
      logStartOffset: 0,
      aborted: null,
      release: (walked = false) => this.events.push(`${name} released${walked ? ', walked' : ''}`),
    }
    this.queue.enqueue(chunk)
    this.queue.prefetch(chunk)
    this.queue.hold(chunk, () => this.events.push(`${name} let go`))
  }
}

test('queue: a chunk that is walked to its end lets go of what was held for it, and of nothing else', () => {
  const holder = new Holder()
  holder.add('first', 0, 2)
  holder.add('second', 2, 1)
  expect([holder.queue.advance(), holder.queue.advance()]).toEqual([true, true])
  expect(holder.events).toEqual([])
  expect(holder.queue.advance()).toBe(true)
  expect(holder.events).toEqual(['first let go', 'first released, walked'])
  expect(holder.queue.advance()).toBe(false)
  expect(holder.events.slice(2)).toEqual(['second let go', 'second released, walked'])
  holder.queue.clear()
  expect(holder.events).toHaveLength(4)
})

test('queue: cleared with a record at its head and a chunk behind it, it lets go of both, once', () => {
  const holder = new Holder()
  holder.add('first', 0, 2)
  holder.add('second', 2, 1)
  expect(holder.queue.advance()).toBe(true)
  holder.queue.clear()
  expect([...holder.events].sort()).toEqual([
    'first let go',
    'first released',
    'second let go',
    'second released',
  ])
  holder.queue.clear()
  expect(holder.events).toHaveLength(4)
})

test('queue: a chunk of which no record can be read lets go all the same', () => {
  const holder = new Holder(true)
  holder.add('first', 0, 3)
  expect(holder.queue.advance()).toBe(false)
  expect(holder.events).toEqual(['first let go', 'first released, walked'])
})
