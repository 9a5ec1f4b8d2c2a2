import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCommand } from '../../src/cli/program.ts'
import { options } from '../../src/runtime/options.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { command, makeConsole } from './console.ts'

const fastCars = 'topologies/fast-cars.ts'
let folder = ''

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-cli-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const file = async (name: string, text: string): Promise<string> => {
  await writeFile(join(folder, name), text)
  return name
}

describe('cli: how it is called', () => {
  test('cli: help, exit code 0, with the commands and an example', async () => {
    const { code, out } = await command('--help')
    expect(code).toBe(0)
    for (const name of ['run', 'dev', 'describe', 'kafka', 'tail', 'reset', 'reprocess', 'init', 'config']) {
      expect(out).toMatch(new RegExp(`^  ${name} `, 'm'))
    }
    expect(out).toContain('Exit codes: 0 done')
  })

  test('cli: help of run, every setting has its flag', async () => {
    const { out } = await command('run --help')
    for (const [name, setting] of Object.entries(options.settings)) {
      if (setting.check.code !== true) {
        expect(out).toContain(`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`)
      }
    }
    expect(out).toContain('Example:')
  })

  test('cli: an unknown command, exit code 2 and the nearest', async () => {
    const { code, err } = await command('descibe x')
    expect(code).toBe(2)
    expect(err).toContain('describe')
  })

  test('cli: an unknown flag, exit code 2 and the nearest', async () => {
    const { code, err } = await command(`run ${fastCars} --thread 4`)
    expect(code).toBe(2)
    expect(err).toContain('--threads')
  })

  test('cli: a wrong value, exit code 2, one line that names flag and remedy', async () => {
    const { code, err } = await command(`config ${fastCars} --brokers a:1 --threads 0`)
    expect({ code, err }).toEqual({
      code: 2,
      err: 'error: config: threads: 0 is not allowed; give a whole number from 1 to 256 (from --threads) (CONFIG_INVALID)\n',
    })
  })

  test('cli: with --json, the error is an object; with --stack, it has its stack', async () => {
    const json = await command(`config ${fastCars} --brokers a:1 --threads 0 --json`)
    expect(JSON.parse(json.err)).toMatchObject({ code: 'CONFIG_INVALID', about: { config: 'threads' } })
    const stack = await command(`config ${fastCars} --brokers a:1 --threads 0 --stack`)
    expect(stack.err).toMatch(/\n {4}at /)
  })

  test('cli: a file that is not there, exit code 2', async () => {
    expect(await command('describe nowhere.ts')).toMatchObject({
      code: 2,
      err: expect.stringContaining('nowhere.ts: there is no such file'),
    })
  })

  test('cli: a file without a topology, the error says what to write', async () => {
    await file('empty.ts', 'export const x: number = 1\n')
    await file('wrong.ts', 'export default 42\n')
    expect(await command('describe empty.ts', { cwd: folder })).toMatchObject({
      code: 2,
      err: expect.stringContaining('export default builder.build()'),
    })
    expect(await command('describe wrong.ts', { cwd: folder })).toMatchObject({
      code: 2,
      err: expect.stringContaining('its default export gives a number'),
    })
  })

  test('cli: a topology function that throws, the error names the file and the reason', async () => {
    await file('throwing.ts', "export default () => { throw new Error('no such region') }\n")
    expect(await command('describe throwing.ts', { cwd: folder })).toMatchObject({
      code: 2,
      err: expect.stringContaining('throwing.ts: its default export, a function, threw: no such region'),
    })
  })
})

describe('cli: describe', () => {
  test('cli: describe, text as Kafka Streams prints it, JSON and Mermaid', async () => {
    expect((await command(`describe ${fastCars}`)).out).toMatch(
      /^Topologies:\n {3}Sub-topology: 0\n {4}Source: KSTREAM-SOURCE-0000000000 \(topics: \[speeds\]\)/,
    )
    expect(JSON.parse((await command(`describe ${fastCars} --json`)).out)).toMatchObject({})
    expect((await command(`describe ${fastCars} --format mermaid`)).out).toMatch(/^(flowchart|graph) /)
  })
})

describe('cli: config', () => {
  const rows = async (line: string, more: Parameters<typeof command>[1] = {}) => {
    const { code, out, err } = await command(`config ${line} --json`, more)
    expect(err).toBe('')
    expect(code).toBe(0)
    return JSON.parse(out) as Record<string, { value: unknown; origin: string; where?: string }>
  }

  test('cli: config, each layer is stronger than the one before, and is named', async () => {
    await file(
      'app.ts',
      "import { StreamsBuilder } from 'millrace'\nexport const config = { applicationId: 'a', threads: 2, logLevel: 'warn', compression: 'lz4' }\nexport default () => new StreamsBuilder().build()\n",
    )
    await file(
      'millrace.json',
      JSON.stringify({ brokers: ['file:1'], threads: 3, commitIntervalMs: '1s', logLevel: 'error' }),
    )
    const shown = await rows('app.ts --threads 5', {
      cwd: folder,
      env: { MILLRACE_COMMIT_INTERVAL_MS: '2s', MILLRACE_THREADS: '4' },
    })
    expect(shown['applicationId']).toEqual({ value: 'a', origin: 'topology', where: join(folder, 'app.ts') })
    expect(shown['compression']).toMatchObject({ value: 'lz4', origin: 'topology' })
    expect(shown['logLevel']).toEqual({
      value: 'error',
      origin: 'file',
      where: join(folder, 'millrace.json'),
    })
    expect(shown['commitIntervalMs']).toEqual({
      value: 2000,
      origin: 'environment',
      where: 'MILLRACE_COMMIT_INTERVAL_MS',
    })
    expect(shown['threads']).toEqual({ value: 5, origin: 'flag', where: '--threads' })
    expect(shown['standbyReplicas']).toEqual({ value: 0, origin: 'default' })
  })

  test('cli: config, secrets from files are used and hidden', async () => {
    await file('password', 'hunter2\n')
    await file(
      'secret.json',
      JSON.stringify({
        applicationId: 'a',
        brokers: 'a:1',
        http: { token: 't0ken' },
        kafka: { sasl: { mechanism: 'plain', username: 'u', password: { file: 'password' } } },
      }),
    )
    const { out } = await command('config --config secret.json', { cwd: folder })
    expect(out).not.toContain('hunter2')
    expect(out).not.toContain('t0ken')
    expect(out).toContain('"username":"u","password":"(hidden)"')
  })

  test('cli: config, a variable that is no setting, refused with the nearest', async () => {
    const { code, err } = await command(`config ${fastCars} --brokers a:1`, { env: { MILLRACE_TREADS: '2' } })
    expect(code).toBe(2)
    expect(err).toContain('MILLRACE_TREADS: no such variable; did you mean MILLRACE_THREADS?')
  })

  test('cli: config, fields of http from flags', async () => {
    const shown = await rows(`${fastCars} --brokers a:1 --http-port 0 --http-host 0.0.0.0`)
    expect(shown['http']?.value).toEqual({ host: '0.0.0.0', port: 0, token: null })
    expect((await rows(`${fastCars} --brokers a:1 --http false`))['http']?.value).toBe(false)
  })
})

describe('cli: on Kafka', () => {
  test('cli: kafka, says its address, a signal ends it with exit code 0', async () => {
    const console = makeConsole()
    const running = runCommand(['kafka', '--port', '0', '--topic', 'orders:3', '--json'], console.io)
    await console.says('address')
    const { address } = JSON.parse(console.out()) as { address: string }
    const { out } = await command(`tail --brokers ${address}`)
    expect(out).toBe('orders  3 partitions\n')
    console.signal()
    expect(await running).toBe(0)
  })

  test('cli: tail, windowed keys are times; from the beginning, an offset, a count', async () => {
    await using kafka = await EmbeddedKafka.start()
    const console = makeConsole()
    const source =
      "import { serdes, StreamsBuilder, tumbling } from 'millrace'\nconst b = new StreamsBuilder()\nb.stream('in', { keySerde: serdes.string(), valueSerde: serdes.string() }).groupByKey().windowedBy(tumbling('10s')).count({ as: 'c' }).toStream().to('out', { valueSerde: serdes.long() })\nexport default b.build()\n"
    await mkdir(join(folder, 'tail'))
    await file('tail/count.ts', source)
    kafka.createTopic('in', 1)
    kafka.createTopic('out', 1)
    const { Kafka } = await import('kafkajs')
    const producer = new Kafka({ brokers: [kafka.address], logLevel: 0 }).producer()
    await producer.connect()
    await producer.send({
      topic: 'in',
      messages: [0, 1, 2].map((at) => ({
        key: 'k',
        value: 'v',
        timestamp: String(1_600_000_000_000 + at * 10_000),
      })),
    })
    await producer.disconnect()
    const running = runCommand(
      [
        'run',
        'count.ts',
        '--application-id',
        'tail-test',
        '--brokers',
        kafka.address,
        '--http-port',
        '0',
        '--state-dir',
        join(folder, 'state'),
        '--log-level',
        'error',
      ],
      { ...console.io, cwd: join(folder, 'tail') },
    )
    const tailed = await command(
      `tail out --brokers ${kafka.address} --from beginning --window 10s --value long --count 3`,
    )
    console.signal()
    expect(await running).toBe(0)
    expect(tailed.out.split('\n').slice(0, 3)).toEqual([
      '2020-09-13 12:26:40  0:0  k 2020-09-13 12:26:40–2020-09-13 12:26:50 = 1',
      expect.stringContaining('k 2020-09-13 12:26:50–2020-09-13 12:27:00 = 1'),
      expect.stringContaining('k 2020-09-13 12:27:00–2020-09-13 12:27:10 = 1'),
    ])
    const json = await command(
      `tail out --brokers ${kafka.address} --from 1 --window 10s --value long --no-follow --json`,
    )
    expect(
      json.out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown)[0],
    ).toMatchObject({
      key: { key: 'k', start: 1_600_000_010_000, end: 1_600_000_020_000 },
      value: 1,
    })
  })

  test('cli: tail of a topic that is not there, exit code 1 and the name', async () => {
    await using kafka = await EmbeddedKafka.start({ autoCreateTopics: false })
    const { code, err } = await command(`tail nowhere --brokers ${kafka.address}`)
    expect(code).toBe(1)
    expect(err).toContain('topic nowhere does not exist')
  })

  test('cli: dev without a terminal, the first line has the HTTP address, results follow, a signal ends it with 0', async () => {
    const console = makeConsole()
    const running = runCommand(
      ['dev', fastCars, '--rate', '500', '--http-port', '0', '--partitions', '1'],
      console.io,
    )
    await console.says(/average-speed {2}\w+ .* = \d/)
    expect(console.out()).toMatch(/^http:\/\/127\.0\.0\.1:\d+ shows fast-cars/)
    const address = /^(\S+)/.exec(console.out())?.[1] ?? ''
    expect(await (await fetch(`${address}/ready`)).text()).toBe('ready\n')
    expect(await (await fetch(`${address}/metrics`)).text()).toMatch(
      /millrace_records_processed_total\{application="fast-cars",task="0_0"\} \d/,
    )
    expect(await (await fetch(`${address}/topology`)).text()).toContain('Sub-topology: 0')
    console.signal('SIGINT')
    expect(await running).toBe(0)
    expect(console.out()).toContain('everything is committed and closed')
  })

  test('cli: a second signal, it ends at once', async () => {
    const console = makeConsole()
    const running = runCommand(['kafka', '--port', '0'], console.io)
    await console.says('Kafka on')
    console.signal()
    console.signal()
    expect(console.exits).toEqual([1])
    await running
  })
})
