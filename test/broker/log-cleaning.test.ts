/** Retention and compaction of one partition's log, in memory and in files. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { checkProduced } from '../../src/broker/batch-header.ts'
import { compact, isDirty } from '../../src/broker/compaction.ts'
import { PartitionLog } from '../../src/broker/log.ts'
import { settingsOf } from '../../src/broker/topic-config.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { type Codec, codecs } from '../../src/wire/compression.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'
import { ManualClock } from './manual-clock.ts'

const root = mkdtempSync(path.join(tmpdir(), 'millrace-log-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let folders = 0

type Pair = readonly [key: string, value: string | null]
type From = {
  readonly producerId?: number
  readonly sequence?: number
  readonly isTransactional?: boolean
  readonly codec?: Codec
}

class Bench {
  readonly clock = new ManualClock()
  readonly dir: string | null
  readonly configs: Record<string, string>
  log: PartitionLog

  constructor(where: 'memory' | 'files', configs: Record<string, string>) {
    this.dir = where === 'memory' ? null : path.join(root, String(folders++))
    this.configs = configs
    this.log = this.#open()
  }

  #open(): PartitionLog {
    return new PartitionLog('table', 0, settingsOf(this.configs), this.clock, this.dir)
  }

  /** As after a restart of the broker; nothing in memory. */
  reopen(): void {
    if (this.dir === null) return
    const { startOffset } = this.log
    this.log.close()
    this.log = this.#open()
    this.log.deleteBefore(startOffset)
  }

  append(
    pairs: readonly Pair[],
    { producerId = -1, sequence = -1, isTransactional = false, codec = 'none' }: From = {},
  ): void {
    const builder = new BatchBuilder()
    for (const [key, value] of pairs) {
      const bytes = value === null ? null : Buffer.from(value)
      builder.append(
        this.clock.now(),
        Buffer.from(key),
        0,
        key.length,
        bytes,
        0,
        bytes?.length ?? 0,
        noHeaders,
      )
    }
    const batch = builder.seal(producerId, producerId < 0 ? -1 : 0, sequence, isTransactional, codec)
    this.log.append(batch, checkProduced(batch, 0, batch.length))
  }

  read(): { offset: number; key: string; value: string | null }[] {
    const { log } = this
    const records = []
    for (let from = log.startOffset; from < log.stableOffset; ) {
      const slice = log.locate(from, log.stableOffset, 1 << 20, true)
      if (slice === null) break
      const buffer = slice.segment.bytes.read(slice.start, slice.end)
      const cursor = new BatchCursor({
        topic: 'table',
        partition: 0,
        buffer,
        start: 0,
        end: buffer.length,
        fromOffset: from,
        aborted: log.aborted(from, slice.endOffset),
      })
      while (cursor.next()) {
        const key = cursor.buffer.toString('utf8', cursor.keyStart, cursor.keyEnd)
        records.push({
          offset: cursor.offset,
          key,
          value:
            cursor.valueStart < 0 ? null : cursor.buffer.toString('utf8', cursor.valueStart, cursor.valueEnd),
        })
      }
      expect(cursor.nextOffset).toBe(slice.endOffset)
      from = slice.endOffset
    }
    return records
  }

  table(): Map<string, string | null> {
    return new Map(this.read().map(({ key, value }) => [key, value]))
  }

  compact(): void {
    compact(this.log, this.clock.now())
  }
}

describe.each(['memory', 'files'] as const)('compaction in %s', (where) => {
  const compacting = { 'cleanup.policy': 'compact', 'delete.retention.ms': '1000' }

  test.each(codecs)('the latest record of each key stays, at its offset, codec %s', (codec) => {
    const bench = new Bench(where, compacting)
    bench.append(
      [
        ['a', '1'],
        ['b', '1'],
        ['a', '2'],
      ],
      { codec },
    )
    bench.append(
      [
        ['c', '1'],
        ['b', '2'],
      ],
      { codec },
    )
    bench.compact()
    const kept = [
      { offset: 2, key: 'a', value: '2' },
      { offset: 3, key: 'c', value: '1' },
      { offset: 4, key: 'b', value: '2' },
    ]
    expect(bench.read()).toEqual(kept)
    bench.reopen()
    expect(bench.read()).toEqual(kept)
    expect(bench.log.endOffset).toBe(5)
    bench.append([['d', '1']], { codec })
    expect(bench.read().at(-1)).toEqual({ offset: 5, key: 'd', value: '1' })
  })

  test('a tombstone stays for its time, then goes', () => {
    const bench = new Bench(where, compacting)
    bench.append([
      ['a', '1'],
      ['b', '1'],
    ])
    bench.append([['a', null]])
    bench.compact()
    expect(bench.table()).toEqual(
      new Map([
        ['b', '1'],
        ['a', null],
      ]),
    )
    bench.clock.advance(999)
    bench.compact()
    expect(bench.table().has('a')).toBe(true)
    bench.append([['c', '1']])
    bench.clock.advance(1)
    bench.compact()
    expect(bench.table()).toEqual(
      new Map([
        ['b', '1'],
        ['c', '1'],
      ]),
    )
  })

  test('aborted data does not replace what was there', () => {
    const bench = new Bench(where, compacting)
    bench.append([['a', 'good']])
    bench.append([['a', 'void']], { producerId: 7, sequence: 0, isTransactional: true })
    bench.log.appendMarker(7, 0, false)
    bench.append([['b', 'later']], { producerId: 7, sequence: 1, isTransactional: true })
    bench.log.appendMarker(7, 0, true)
    for (let round = 0; round < 3; round++) {
      bench.compact()
      bench.reopen()
      expect(bench.table()).toEqual(
        new Map([
          ['a', 'good'],
          ['b', 'later'],
        ]),
      )
      bench.clock.advance(2000)
      bench.append([['x', String(round)]], { producerId: 8, sequence: round, isTransactional: true })
      bench.log.appendMarker(8, 0, true)
      expect(bench.log.stableOffset).toBe(bench.log.endOffset)
      bench.append([['x', null]])
      bench.compact()
      bench.clock.advance(2000)
      bench.append([['y', 'z']])
      bench.compact()
      bench.append([['y', null]])
      bench.clock.advance(2000)
      bench.compact()
      bench.clock.advance(2000)
      bench.append([['b', 'later']])
      bench.compact()
    }
  })

  test('an open transaction is not touched', () => {
    const bench = new Bench(where, compacting)
    bench.append([['a', '1']])
    bench.append([['a', '2']], { producerId: 7, sequence: 0, isTransactional: true })
    bench.append([['a', '3']])
    bench.compact()
    bench.log.appendMarker(7, 0, true)
    expect(bench.read().map(({ value }) => value)).toEqual(['1', '2', '3'])
    bench.compact()
    expect(bench.read().map(({ value }) => value)).toEqual(['3'])
  })

  test('a producer’s sequence is known after its records were compacted away', () => {
    const bench = new Bench(where, compacting)
    bench.append(
      [
        ['a', '1'],
        ['a', '2'],
      ],
      { producerId: 5, sequence: 0 },
    )
    bench.append([['a', '3']])
    bench.compact()
    expect(bench.read()).toHaveLength(1)
    bench.reopen()
    expect(() => bench.append([['a', '4']], { producerId: 5, sequence: 3 })).toThrow('sequence 3, 2 is due')
    bench.append([['a', '4']], { producerId: 5, sequence: 2 })
    expect(bench.table()).toEqual(new Map([['a', '4']]))
  })

  test('markers of transactions without data go, after a while', () => {
    const bench = new Bench(where, compacting)
    for (let round = 0; round < 50; round++) {
      bench.append([['a', String(round)]], { producerId: 7, sequence: round, isTransactional: true })
      bench.log.appendMarker(7, 0, true)
    }
    bench.compact()
    const before = bench.log.size
    bench.clock.advance(2000)
    bench.append([['b', '1']])
    bench.compact()
    expect(bench.log.size).toBeLessThan(before / 10)
    bench.reopen()
    expect(bench.log.stableOffset).toBe(bench.log.endOffset)
    expect(bench.table()).toEqual(
      new Map([
        ['a', '49'],
        ['b', '1'],
      ]),
    )
  })

  test('random writes, transactions and compactions: the table is always what was written', () => {
    for (let seed = 1; seed <= 10; seed++) {
      let state = seed
      const next = (below: number) => {
        state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
        return (state >>> 8) % below
      }
      const bench = new Bench(where, { ...compacting, 'segment.bytes': '400' })
      const expected = new Map<string, string | null>()
      const sequences = new Map<number, number>()
      for (let step = 0; step < 300; step++) {
        const kind = next(20)
        if (kind === 0) bench.compact()
        else if (kind === 1) bench.clock.advance(next(1500))
        else if (kind === 2) bench.reopen()
        else {
          const pairs = Array.from(
            { length: 1 + next(4) },
            () => [`k${next(12)}`, next(5) === 0 ? null : `v${step}`] as const,
          )
          const codec = codecs[next(5)] as Codec
          if (kind < 12) {
            bench.append(pairs, { codec })
            for (const [key, value] of pairs) expected.set(key, value)
          } else {
            const producerId = next(3)
            const sequence = sequences.get(producerId) ?? 0
            bench.append(pairs, { producerId, sequence, isTransactional: true, codec })
            sequences.set(producerId, sequence + pairs.length)
            const isCommit = next(3) > 0
            bench.log.appendMarker(producerId, 0, isCommit)
            if (isCommit) for (const [key, value] of pairs) expected.set(key, value)
          }
        }
        if (step % 10 !== 9) continue
        const table = bench.table()
        for (const key of new Set([...table.keys(), ...expected.keys()])) {
          expect(table.get(key) ?? null, `seed ${seed}, step ${step}, key ${key}`).toBe(
            expected.get(key) ?? null,
          )
        }
      }
    }
  })

  test('it is asked for when half of a log is dirty', () => {
    const bench = new Bench(where, compacting)
    expect(isDirty(bench.log, bench.clock.now())).toBe(false)
    for (let index = 0; index < 700; index++) bench.append([['a', 'x'.repeat(100)]])
    expect(isDirty(bench.log, bench.clock.now())).toBe(true)
    bench.compact()
    expect(isDirty(bench.log, bench.clock.now())).toBe(false)
  })
})

describe('a crash while a compaction puts its files in place', () => {
  test('old files that were not deleted yet are there beside the new: nothing is read twice or lost', () => {
    for (let left = 0; left < 64; left++) {
      const bench = new Bench('files', { 'cleanup.policy': 'compact', 'segment.bytes': '150' })
      for (let index = 0; index < 12; index++) {
        bench.append([
          [`k${index % 3}`, String(index)],
          [`once${index}`, 'x'],
        ])
      }
      const before = bench.table()
      const dir = bench.dir as string
      const old = new Map(readdirSync(dir).map((file) => [file, readFileSync(path.join(dir, file))]))
      bench.compact()
      expect(bench.table()).toEqual(before)
      const deleted = [...old.keys()].filter((file) => !readdirSync(dir).includes(file))
      expect(deleted.length).toBeGreaterThan(3)
      // They are deleted in order, so what is left is a tail of them.
      for (const file of deleted.slice(left % deleted.length))
        writeFileSync(path.join(dir, file), old.get(file) as Buffer)
      writeFileSync(path.join(dir, '00000000000000000003.log.cleaned'), 'half a file')
      bench.reopen()
      expect(bench.table()).toEqual(before)
      const offsets = bench.read().map(({ offset }) => offset)
      expect(offsets).toEqual([...new Set(offsets)].toSorted((a, b) => a - b))
      expect(bench.log.endOffset).toBe(24)
      if (left >= deleted.length) break
    }
  })
})

describe.each(['memory', 'files'] as const)('retention in %s', (where) => {
  test('what is too old goes, segment by segment', () => {
    const bench = new Bench(where, { 'retention.ms': '1000', 'segment.bytes': '100' })
    bench.append([['a', '0']])
    bench.clock.advance(600)
    bench.append([['a', '1']])
    expect(bench.log.enforceRetention()).toBeNull()
    bench.clock.advance(600)
    expect(bench.log.enforceRetention()).toBe(1)
    expect(bench.read().map(({ offset }) => offset)).toEqual([1])
    bench.clock.advance(600)
    expect(bench.log.enforceRetention()).toBe(2)
    expect(bench.read()).toEqual([])
    bench.reopen()
    expect([bench.log.startOffset, bench.log.endOffset]).toEqual([2, 2])
    bench.append([['a', '2']])
    expect(bench.read().map(({ offset }) => offset)).toEqual([2])
  })

  test('what is too much goes, the oldest first', () => {
    const bench = new Bench(where, { 'retention.bytes': '300', 'retention.ms': '-1', 'segment.bytes': '100' })
    for (let index = 0; index < 10; index++) bench.append([['a', 'x'.repeat(20)]])
    bench.log.enforceRetention()
    expect(bench.log.size).toBeGreaterThanOrEqual(300)
    expect(bench.log.size).toBeLessThan(500)
    expect(bench.read().at(-1)?.offset).toBe(9)
  })

  test('a topic that only compacts keeps the old', () => {
    const bench = new Bench(where, {
      'cleanup.policy': 'compact',
      'retention.ms': '1',
      'segment.bytes': '100',
    })
    bench.append([['a', '0']])
    bench.clock.advance(10_000)
    expect(bench.log.enforceRetention()).toBeNull()
  })

  test('nothing of an open transaction goes', () => {
    const bench = new Bench(where, { 'retention.ms': '1', 'segment.bytes': '100' })
    bench.append([['a', '0']])
    bench.append([['a', '1']], { producerId: 1, sequence: 0, isTransactional: true })
    bench.append([['a', '2']])
    bench.clock.advance(10_000)
    expect(bench.log.enforceRetention()).toBe(1)
  })
})
