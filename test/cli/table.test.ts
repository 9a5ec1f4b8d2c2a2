/** Promises that hold for every command, read from the command itself: a new one is held to them too. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Kafka } from 'kafkajs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runCommand } from '../../src/cli/program.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { command, makeConsole } from './console.ts'

const fastCars = resolve('topologies/fast-cars.ts')
let folder = ''
let kafka: EmbeddedKafka

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-table-'))
  kafka = await EmbeddedKafka.start({
    topics: { speeds: 1, 'average-speed': 1, 'average-speed-30s': 1 },
    autoCreateTopics: false,
  })
  const producer = new Kafka({ brokers: [kafka.address], logLevel: 0 }).producer()
  await producer.connect()
  await producer.send({ topic: 'average-speed', messages: [1, 2].map((value) => ({ value: `${value}` })) })
  await producer.disconnect()
})
afterAll(async () => {
  await kafka.stop()
  await rm(folder, { recursive: true, force: true })
})

const namesOf = async (): Promise<readonly string[]> => {
  const { out } = await command('--help')
  const commands = out.slice(out.indexOf('\nCommands:'), out.indexOf('\nExamples:'))
  return [...commands.matchAll(/^ {2}(\w+) /gm)]
    .map(([, name]) => name as string)
    .filter((name) => name !== 'help')
}

/** Command lines in a help text. */
const linesIn = (help: string): readonly (readonly string[])[] => {
  const from = help.search(/^(Examples?|Steps):/m)
  if (from < 0) return []
  return [...help.slice(from).matchAll(/millrace ((?:(?! {2,}| && |\n).)+)/g)].map(([, line]) =>
    (line as string).trim().split(' '),
  )
}

test('commands: each has an example of its own, with flags that it has', async () => {
  const names = await namesOf()
  expect(names.length).toBeGreaterThan(8)
  for (const name of ['', ...names]) {
    const { out } = await command(`${name} --help`)
    const lines = linesIn(out)
    expect(lines.length, `${name} has an example`).toBeGreaterThan(0)
    for (const [called = '', ...rest] of lines) {
      if (name !== '') expect(called).toBe(name)
      expect(names).toContain(called)
      const { out: help } = await command(`${called} --help`)
      for (const flag of rest.filter((part) => part.startsWith('--')))
        expect(help, `${flag} of: millrace ${called} ${rest.join(' ')}`).toMatch(
          new RegExp(`^ +(-\\w, )?${flag}[ \\n]`, 'm'),
        )
    }
  }
})

test('commands: with --json, all that each prints is JSON, one document or one a line', async () => {
  const app = ['--application-id', 'table', '--brokers', kafka.address, '--state-dir', join(folder, 'state')]
  // Until the output has the text, then a signal; null: they end by themselves.
  const calls: Record<string, readonly (readonly [args: readonly string[], until: string | null])[]> = {
    run: [[[fastCars, ...app, '--http-port', '0'], null]],
    dev: [[[fastCars, '--for', '1s', '--http-port', '0'], null]],
    describe: [[[fastCars], null]],
    kafka: [[['--port', '0'], 'address']],
    tail: [
      [['--brokers', kafka.address], null],
      [['average-speed', '--from', 'beginning', '--no-follow', '--brokers', kafka.address], null],
    ],
    config: [[[fastCars, ...app], null]],
    reset: [[[fastCars, ...app], null]],
    reprocess: [[[fastCars, ...app, '--switch'], null]],
    init: [[[join(folder, 'made')], null]],
  }
  expect(Object.keys(calls).sort()).toEqual([...(await namesOf())].sort())
  for (const [name, each] of Object.entries(calls)) {
    for (const [args, until] of each) {
      const console = makeConsole({ cwd: folder })
      const running = runCommand([name, ...args, '--json'], console.io)
      if (name === 'run')
        await expect
          .poll(() => kafka.topics(), { timeout: 20_000 })
          .toHaveProperty('table-speeds-10s-changelog')
      if (until !== null) await console.says(until)
      if (name === 'run' || until !== null) console.signal()
      await running
      if (name !== 'run') expect(console.out(), name).not.toBe('')
      expect(() => documents(console.out()), `${name}:\n${console.out()}`).not.toThrow()
      expect(() => documents(console.err()), `${name}:\n${console.err()}`).not.toThrow()
    }
  }
}, 120_000)

test('commands: with --json, what is wrong with a call is JSON as well', async () => {
  for (const name of await namesOf()) {
    const { code, out, err } = await command(`${name} --nothing-like-it --json`)
    expect({ code, out }, name).toEqual({ code: 2, out: '' })
    expect(JSON.parse(err), name).toMatchObject({ error: expect.stringContaining('--nothing-like-it') })
  }
})

function documents(text: string): readonly unknown[] {
  if (text.trim() === '') return []
  try {
    return [JSON.parse(text)]
  } catch {
    return text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown)
  }
}
