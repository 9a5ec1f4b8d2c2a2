/**
 * A disk that is full, really: the state folder lies on a file system of eight megabytes in memory. The thread stops with
 * the cause, what was committed stays whole, and with more room the application goes on where it was.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { outgoing, until, World } from './scenario.ts'

const folder = mkdtempSync(join(tmpdir(), 'millrace-full-'))
const mounted = mount()
const why = mounted ? '' : ': skipped, for only root may mount a file system'

function mount(): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

afterAll(() => {
  if (mounted) execFileSync('umount', ['--lazy', folder])
  rmSync(folder, { recursive: true, force: true })
})

/** The last text of each key, and how often it came: all of it must be there in the end. */
function topology(): Topology {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .reduce((_before, value) => value, { as: 'texts' })
    .toStream()
    .mapValues((value) => value.slice(0, 8), { valueSerde: text })
    .to('out')
  return builder.build()
}

test.skipIf(!mounted)(
  `full disk: the thread stops with the cause, and committed state stays whole${why}`,
  async () => {
    await using world = await World.open({ events: 2, out: 1 })
    const config = { stateDir: folder, persistIntervalMs: 10, cacheMaxBytes: 0 }
    const input = await world.stranger()
    let sent = 0
    const send = async (count: number) => {
      for (let step = 0; step < count; step++, sent += 50) {
        const records = Array.from({ length: 50 }, (_, index) => {
          const number = String(sent + index).padStart(8, '0')
          return [`key ${number}`, number.repeat(256)] as const
        })
        await input.produce([outgoing('events', step % 2, records)])
      }
    }
    const first = world.app(topology(), config)
    await first.start()
    // Ten megabytes of values.
    await send(100)
    await until(() => first.state === 'error', 20_000)
    expect(first.error?.code).toBe('STATE_FAILED')
    expect(first.error?.message).toMatch(
      /rocksdb failed to write: .*No space left on device.*Check free space/,
    )
    await first.close()
    execFileSync('mount', ['-o', 'remount,size=256m', folder])
    const second = world.app(topology(), config)
    await second.start()
    await send(20)
    const out = () => world.kafka.records('out')
    await until(() => out().length >= sent, 20_000)
    expect(out()).toHaveLength(sent)
    expect(new Set(out().map(({ key }) => String(key))).size).toBe(sent)
    for (const { key, value } of out()) expect(String(key)).toBe(`key ${value}`)
    await second.close()
    await input.close()
  },
  60_000,
)
