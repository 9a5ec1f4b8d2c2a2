/**
 * `millrace run` as a process of its own, the way a container runs it: compiled, with a TypeScript topology in two worker
 * threads, ended by signals.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compile } from '../chaos/compile.ts'
import { World } from '../runtime/scenario.ts'

let built = ''
let folder = ''
const started: ChildProcess[] = []

const topology = (mapper: string) => `
import { StreamsBuilder, serdes } from 'millrace'
const builder = new StreamsBuilder()
builder
  .stream('events', { keySerde: serdes.string(), valueSerde: serdes.string() })
  .mapValues(${mapper})
  .groupBy((value: string): string => value.slice(0, 1), { keySerde: serdes.string(), valueSerde: serdes.string(), name: 'by-letter' })
  .count({ as: 'counts' })
  .toStream()
  .to('counts', { valueSerde: serdes.long() })
export default builder.build()
`

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-process-'))
  built = await compile([
    'src/index.ts',
    'src/cli/main.ts',
    'src/cli/typescript-hooks.ts',
    'src/runtime/worker.ts',
  ])
}, 60_000)
afterAll(async () => {
  for (const child of started) child.kill('SIGKILL')
  for (const path of [built, folder]) await rm(path, { recursive: true, force: true })
})

/** What it printed so far, and when it ends. */
class Running {
  output = ''
  readonly child: ChildProcess
  readonly ended: Promise<number | null>
  readonly #waiting = new Set<() => void>()

  constructor(world: World, file: string) {
    const args = [join(built, 'src/cli/main.js'), 'run', file, '--brokers', world.kafka.address]
    this.child = spawn(
      process.execPath,
      [
        ...args,
        '--application-id',
        'app',
        '--state-dir',
        world.stateDir,
        '--threads',
        '2',
        '--http-port',
        '0',
      ],
      { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    started.push(this.child)
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (bytes: Buffer) => {
        this.output += bytes.toString()
        for (const check of this.#waiting) check()
      })
    this.ended = new Promise((resolve) => this.child.once('close', resolve))
  }

  async says(text: string): Promise<void> {
    const heard = new Promise<void>((resolve) => {
      const check = () => {
        if (!this.output.includes(text)) return
        this.#waiting.delete(check)
        resolve()
      }
      this.#waiting.add(check)
      check()
    })
    const gone = this.ended.then((code) => {
      throw new Error(`ended with ${code} before it said ${text}:\n${this.output}`)
    })
    await Promise.race([heard, gone])
  }
}

test('process: two threads count, SIGTERM commits, leaves and exits 0', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  await world.input(500, 'events', 4)
  await writeFile(join(folder, 'letters.ts'), topology('(value: string): string => value'))
  const running = new Running(world, 'letters.ts')
  await running.says('http service on ')
  await world.settled('letters', 30_000)
  const address = /http service on (http:[^\s"]+)/.exec(running.output)?.[1]
  expect((await fetch(`${address}/ready`)).status).toBe(200)
  const metrics = await (await fetch(`${address}/metrics`)).text()
  // A repartition lies between: each record is processed twice, in one thread or the other.
  const processed = [...metrics.matchAll(/^millrace_records_processed_total\{.*\} (\d+)$/gm)]
  expect(processed.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(1_000)
  expect(metrics).toMatch(/^millrace_threads\{.*state="running"\} 2$/m)
  const asked = performance.now()
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(0)
  expect(performance.now() - asked).toBeLessThan(10_000)
  expect(running.output).toContain('SIGTERM: finishing')
}, 60_000)

test('process: a topology that hangs, a second signal ends it at once', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  await world.input(20, 'events', 4)
  await writeFile(
    join(folder, 'hangs.ts'),
    topology("(value: string): Promise<string> => { console.log('hangs'); return new Promise(() => {}) }"),
  )
  const running = new Running(world, 'hangs.ts')
  await running.says('hangs')
  running.child.kill('SIGTERM')
  await running.says('SIGTERM: finishing')
  const asked = performance.now()
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(1)
  expect(performance.now() - asked).toBeLessThan(5_000)
}, 60_000)
