/**
 * The command as a process of its own, the way a container runs it: compiled, with TypeScript topologies straight from
 * source, ended by signals, told of files that change.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
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
}, 120_000)
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

  constructor(args: readonly string[], options: { readonly env?: Readonly<Record<string, string>> } = {}) {
    this.child = spawn(process.execPath, [join(built, 'src/cli/main.js'), ...args], {
      cwd: folder,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    started.push(this.child)
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (bytes: Buffer) => {
        this.output += bytes.toString()
        for (const check of this.#waiting) check()
      })
    this.ended = new Promise((resolve) => this.child.once('close', resolve))
  }

  async says(text: string | RegExp): Promise<void> {
    const heard = new Promise<void>((resolve) => {
      const check = () => {
        if (typeof text === 'string' ? !this.output.includes(text) : !text.test(this.output)) return
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

const runArgs = (world: World, file: string, threads = 2): readonly string[] => [
  'run',
  file,
  '--brokers',
  world.kafka.address,
  '--application-id',
  'app',
  '--state-dir',
  world.stateDir,
  '--threads',
  `${threads}`,
  '--http-port',
  '0',
]

test('process: two threads count, SIGTERM commits, leaves and exits 0', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  await world.input(500, 'events', 4)
  await writeFile(join(folder, 'letters.ts'), topology('(value: string): string => value'))
  const running = new Running(runArgs(world, 'letters.ts'))
  await running.says('http service on ')
  await world.settled('letters', 90_000)
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
}, 120_000)

test('process: a topology that hangs, a second signal ends it at once', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  await world.input(20, 'events', 4)
  await writeFile(
    join(folder, 'hangs.ts'),
    topology("(value: string): Promise<string> => { console.log('hangs'); return new Promise(() => {}) }"),
  )
  const running = new Running(runArgs(world, 'hangs.ts'))
  await running.says('hangs')
  running.child.kill('SIGTERM')
  await running.says('SIGTERM: finishing')
  const asked = performance.now()
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(1)
  expect(performance.now() - asked).toBeLessThan(5_000)
}, 120_000)

test('process: SIGINT while state is restored, and the broker is mute, it ends with 0 within the grace time', async () => {
  await using world = await World.open({ events: 4, counts: 2 })
  await world.input(200, 'events', 4)
  await writeFile(join(folder, 'letters.ts'), topology('(value: string): string => value'))
  const first = new Running(runArgs(world, 'letters.ts', 1))
  await first.says('http service on ')
  await world.settled('letters', 90_000)
  first.child.kill('SIGTERM')
  expect(await first.ended).toBe(0)
  await rm(world.stateDir, { recursive: true })
  // What is fetched first is a changelog; nothing of it comes.
  let restoring = (): void => {}
  const asked = new Promise<void>((resolve) => {
    restoring = resolve
  })
  world.kafka.intercept('fetch', () => {
    restoring()
    return 'drop'
  })
  const second = new Running([...runArgs(world, 'letters.ts', 1), '--close-timeout-ms', '2s'])
  await asked
  const since = performance.now()
  second.child.kill('SIGINT')
  expect(await second.ended, second.output).toBe(0)
  expect(performance.now() - since).toBeLessThan(10_000)
}, 120_000)

test('process: SIGTERM in the middle of a restore, it ends with 0, and the next start restores the rest', async () => {
  await using world = await World.open({ events: 1, counts: 1 })
  await writeFile(
    join(folder, 'windows.ts'),
    `
import { StreamsBuilder, serdes, tumbling } from 'millrace'
const text = serdes.string()
const builder = new StreamsBuilder()
builder
  .stream('events', { keySerde: text, valueSerde: text })
  .groupByKey()
  .windowedBy(tumbling('10s', { grace: '1d' }))
  .count({ as: 'counts' })
  .toStream((_count, windowed) => \`\${windowed.key}@\${windowed.start}\`, { keySerde: text })
  .to('counts', { valueSerde: serdes.long() })
export default builder.build()
`,
  )
  const args = [...runArgs(world, 'windows.ts', 1), '--partition-fetch-bytes', '1024']
  const first = new Running(args)
  await first.says('http service on ')
  // Each is a commit of its own, and so a batch of the changelog, of which a fetch brings few.
  for (let round = 0; round < 8; round++) {
    await world.input(100, 'events', 1)
    await world.settled('windows', 60_000)
  }
  first.child.kill('SIGTERM')
  expect(await first.ended, first.output).toBe(0)
  await rm(world.stateDir, { recursive: true })
  const changes = world.kafka.records('app-counts-changelog').length

  // Nothing but the changelog is read until it has been: two answers come, and then no more.
  let fetches = 0
  let inTheMiddle = (): void => {}
  const reached = new Promise<void>((resolve) => {
    inTheMiddle = resolve
  })
  const holding = world.kafka.intercept('fetch', () => {
    if (++fetches <= 2) return undefined
    inTheMiddle()
    return { delayMs: 60_000 }
  })
  const second = new Running(args)
  await reached
  const since = performance.now()
  second.child.kill('SIGTERM')
  expect(await second.ended, second.output).toBe(0)
  expect(performance.now() - since).toBeLessThan(10_000)
  expect(second.output).not.toContain('were restored')
  holding.remove()

  const third = new Running(args)
  const rest = / (\d+) records were restored/
  await third.says(rest)
  const restored = Number(rest.exec(third.output)?.[1])
  // What the first attempt had written is not read again.
  expect(restored).toBeGreaterThan(0)
  expect(restored).toBeLessThan(changes)
  await world.input(100, 'events', 1)
  await world.settled('windows', 60_000)
  third.child.kill('SIGTERM')
  expect(await third.ended, third.output).toBe(0)
}, 120_000)

test.each([
  ['kafka', ['kafka', '--port', '0'], 'Kafka on'],
  ['tail', ['tail', 'events'], ' k0 '],
  ['reprocess', ['reprocess', 'letters.ts', '--application-id', 'app'], 'caught up'],
  ['dev', ['dev', 'letters.ts', '--application-id', 'app', '--http-port', '0'], 'lag 0'],
] as const)(
  'process: %s, SIGINT ends it with 0',
  async (name, args, text) => {
    await using world = await World.open({ events: 1, counts: 1 })
    await world.input(10, 'events', 1)
    await writeFile(join(folder, 'letters.ts'), topology('(value: string): string => value'))
    const brokers = name === 'kafka' || name === 'dev' ? [] : ['--brokers', world.kafka.address]
    const more = name === 'tail' ? ['--from', 'beginning'] : []
    const running = new Running([...args, ...brokers, ...more], {
      env: { MILLRACE_STATE_DIR: world.stateDir },
    })
    await running.says(text)
    running.child.kill('SIGINT')
    expect(await running.ended, running.output).toBe(0)
  },
  120_000,
)

test('process: the configuration file changes, the log level at once; the rest waits; mistakes change nothing', async () => {
  await using world = await World.open({ events: 1, counts: 1 })
  await writeFile(join(folder, 'letters.ts'), topology('(value: string): string => value'))
  const config = join(folder, 'live.json')
  await writeFile(config, '{ "logLevel": "info" }')
  const running = new Running([...runArgs(world, 'letters.ts', 1), '--config', 'live.json'])
  await running.says('http service on ')
  await writeFile(config, '{ "logLevel": "warn", "commitIntervalMs": 500 }')
  await running.says('taken over at the next start: commitIntervalMs')
  // It is said at the level that was left.
  expect(running.output).not.toContain('taken over from the configuration file')
  await writeFile(config, '{ "logLevl": "info" }')
  await running.says('has mistakes and was not taken over')
  await running.says('did you mean logLevel?')
  await writeFile(config, '{ "logLevel": "info" }')
  await running.says('taken over from the configuration file: logLevel')
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(0)
  expect(running.output).toContain('SIGTERM: finishing')
}, 120_000)

test('process: dev, the file changes and the new version runs; one that is broken does not', async () => {
  const source = (mapper: string) =>
    `${topology(mapper)}\nexport const generate = function* () { for (;;) yield { topic: 'events', key: 'k', value: 'apple' } }\n`
  const file = join(folder, 'changing.ts')
  await mkdir(join(folder, 'lib', 'deep'), { recursive: true })
  const imported = join(folder, 'lib', 'deep', 'prefix.ts')
  await writeFile(imported, "export const prefix: string = 'pear'\n")
  await writeFile(file, source('(value: string): string => value'))
  const running = new Running(['dev', 'changing.ts', '--application-id', 'changing', '--http-port', '0'])
  await running.says(/counts +a = \d/)
  await writeFile(file, 'export const nothing = 1')
  await running.says('changing.ts was not taken over: changing.ts: there is no default export')
  await writeFile(
    file,
    `import { prefix } from './lib/deep/prefix.ts'\n${source('(value: string): string => prefix + value')}`,
  )
  await running.says(/changing\.ts changed, and runs since/)
  await running.says(/counts +p = \d/)
  // What it imports from a folder below is watched as well.
  await writeFile(imported, "export const prefix: string = 'quince'\n")
  await running.says(/counts +q = \d/)
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(0)
}, 120_000)
