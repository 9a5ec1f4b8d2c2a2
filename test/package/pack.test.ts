/**
 * What `npm pack` gives, installed into an empty project: importable and requirable, its types whole under every
 * resolution, usable from vitest and Jest. Needs a package registry, for the project's dependencies.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const jest = '^30.5.2'
// The last compiler before the native one, which most projects still have.
const olderTypescript = 'npm:typescript@~5.9.0'
let project = ''
let archive = ''
let packed: readonly string[] = []

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'millrace-pack-'))
  const [tarball] = JSON.parse(await run('npm', ['pack', '--json', '--pack-destination', project], root)) as {
    readonly filename: string
    readonly files: readonly { readonly path: string }[]
  }[]
  archive = tarball?.filename ?? ''
  packed = tarball?.files.map((file) => file.path) ?? []
  const { devDependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    readonly devDependencies: { readonly [name: string]: string }
  }
  // No @types/node: a project gets what Millrace's types need with Millrace.
  const { typescript = '', vitest = '' } = devDependencies
  const dependencies = {
    millrace: `file:${archive}`,
    jest,
    typescript,
    'typescript-5': olderTypescript,
    vitest,
  }
  await write('package.json', JSON.stringify({ private: true, dependencies }))
  await run('npm', ['install', '--no-audit', '--no-fund'])
})
afterAll(() => (project === '' ? undefined : rm(project, { recursive: true, force: true })))

const write = (name: string, text: string): Promise<void> => writeFile(join(project, name), text)

function run(program: string, args: readonly string[], cwd = project): Promise<string> {
  // The tests' own runner must not be seen by the runners that are tried.
  const { VITEST, NODE_ENV, NODE_OPTIONS, ...env } = process.env
  return new Promise((resolve, reject) => {
    execFile(program, [...args], { cwd, env, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else reject(new Error(`${program} ${args.join(' ')} failed:\n${stdout}${stderr}`, { cause: error }))
    })
  })
}

/** The command as an installation has it; its exit code is part of what it answers. */
function millrace(line: string, cwd = project): Promise<{ code: unknown; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(join(project, 'node_modules/.bin/millrace'), line.split(' '), { cwd }, (error, out, err) =>
      resolve({ code: error === null ? 0 : error.code, out, err }),
    )
  })
}

const node = (...args: string[]): Promise<string> => run(process.execPath, args)

test('pack: the tarball, holds what is run and what must be said, nothing else', () => {
  expect(packed).toEqual(
    expect.arrayContaining(['dist/index.js', 'dist/index.d.ts', 'dist/testing/index.js']),
  )
  expect(packed).toEqual(
    expect.arrayContaining(['LICENSE', 'NOTICE', 'CHANGELOG.md', 'README.md', 'package.json']),
  )
  expect(
    packed.filter((path) => !/^(dist\/.+\.(js|js\.map|d\.ts)|[A-Z]+(\.md)?|package\.json)$/.test(path)),
  ).toEqual([])
})

describe.each(['millrace', 'millrace/testing'])('pack: %s', (name) => {
  test('import and require, give the same things', async () => {
    const print = "console.log(JSON.stringify(Object.keys(it).map((name) => typeof it[name] + ' ' + name)))"
    const imported = await node('--input-type=module', '-e', `import * as it from '${name}'; ${print}`)
    const required = await node('-e', `const it = require('${name}'); ${print}`)
    expect(JSON.parse(imported)).toContain('function StreamsError')
    expect(JSON.parse(required)).toEqual(JSON.parse(imported))
  })
})

test('pack: import and require in one process, share their classes', async () => {
  const text =
    "import { createRequire } from 'node:module'; import { StreamsError } from 'millrace'; import * as testing from 'millrace/testing'"
  const check =
    "console.log(createRequire(process.cwd() + '/x.js')('millrace').StreamsError === StreamsError, testing.StreamsError === StreamsError)"
  expect(await node('--input-type=module', '-e', `${text}; ${check}`)).toBe('true true\n')
})

describe('pack: tsc, strict and with skipLibCheck off', () => {
  const source = [
    "import { type ErrorCode, StreamsError } from 'millrace'",
    "import * as testing from 'millrace/testing'",
    "const code: ErrorCode = 'CONFIG_INVALID'",
    "export const error: Error = new StreamsError(code, 'said', { topic: 'a' })",
    'export const same: typeof StreamsError = testing.StreamsError',
    '// @ts-expect-error: the types are really there',
    "export const wrong = new StreamsError('NO_SUCH_CODE', 'said')",
  ].join('\n')
  const options = { strict: true, skipLibCheck: false, noEmit: true, target: 'es2022' }
  test.each([
    ['nodenext, ESM', 'a.mts', { module: 'nodenext', moduleResolution: 'nodenext' }],
    ['nodenext, CommonJS', 'b.cts', { module: 'nodenext', moduleResolution: 'nodenext' }],
    ['bundler', 'c.ts', { module: 'esnext', moduleResolution: 'bundler' }],
  ])('%s, finds nothing', async (_, file, resolution) => {
    await write(file, source)
    await write(
      'tsconfig.json',
      JSON.stringify({ compilerOptions: { ...options, ...resolution }, files: [file] }),
    )
    await node('node_modules/typescript/bin/tsc', '-p', 'tsconfig.json')
    await node('node_modules/typescript-5/bin/tsc', '-p', 'tsconfig.json')
  })
})

describe('pack: a test that uses millrace/testing', () => {
  // A user's test: another client writes to the embedded Kafka, and errors are the classes of the package.
  const body = `
    import { StreamsError as Public } from 'millrace'
    import { EmbeddedKafka, StreamsError } from 'millrace/testing'
    import kafkajs from 'kafkajs'

    test('writes to the embedded Kafka', async () => {
      const kafka = await EmbeddedKafka.start({ topics: { orders: 1 } })
      const client = new kafkajs.Kafka({ brokers: [kafka.address], logLevel: kafkajs.logLevel.NOTHING })
      const producer = client.producer()
      await producer.connect()
      await producer.send({ topic: 'orders', messages: [{ key: 'a', value: 'one' }, { key: 'a', value: 'two' }] })
      await producer.disconnect()
      expect(kafka.records('orders').map((record) => record.value.toString())).toEqual(['one', 'two'])
      await kafka.stop()
    })

    test('sees one class of errors', () => {
      expect(StreamsError).toBe(Public)
      expect(new StreamsError('CONFIG_INVALID', 'said').verdict).toBe('stop')
    })`

  test('runs in vitest', async () => {
    await write('a.test.mjs', `import { expect, test } from 'vitest'\n${body}`)
    expect(await node('node_modules/vitest/vitest.mjs', 'run', 'a.test.mjs')).toMatch(/2 passed/)
  })

  test('runs in Jest, as ECMAScript modules', async () => {
    await write('b.spec.mjs', `import { expect, test } from '@jest/globals'\n${body}`)
    await write('jest.config.json', JSON.stringify({ testMatch: ['**/b.spec.mjs'], transform: {} }))
    const args = ['node_modules/jest/bin/jest.js', '--config', 'jest.config.json', '--json']
    const { numPassedTests } = JSON.parse(await node('--experimental-vm-modules', ...args)) as {
      numPassedTests: number
    }
    expect(numPassedTests).toBe(2)
  })
})

describe('pack: the command', () => {
  test('says its version, describes a topology, and ends with the exit codes that it promises', async () => {
    const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
    expect(await millrace('--version')).toEqual({ code: 0, out: `${version}\n`, err: '' })
    await write(
      'copy.ts',
      "import { serdes, StreamsBuilder } from 'millrace'\nconst b: StreamsBuilder = new StreamsBuilder()\nb.stream('in', { keySerde: serdes.string(), valueSerde: serdes.string() }).to('out')\nexport default b.build()\n",
    )
    expect(await millrace('describe copy.ts')).toMatchObject({
      code: 0,
      out: expect.stringContaining('Source: KSTREAM-SOURCE-0000000000 (topics: [in])'),
      err: '',
    })
    const oneLine = (text: string) =>
      expect.stringMatching(new RegExp(`^error: .*${text}.*\\n(\\(.*\\)\\n)*$`))
    expect(await millrace('run')).toEqual({
      code: 2,
      out: '',
      err: oneLine("missing required argument 'file'"),
    })
    expect(await millrace('run nowhere.ts')).toEqual({ code: 2, out: '', err: oneLine('nowhere.ts') })
    expect(await millrace('run copy.ts --thread 2')).toEqual({ code: 2, out: '', err: oneLine("'--thread'") })
    expect(await millrace('run copy.ts --threads many')).toEqual({
      code: 2,
      out: '',
      err: oneLine('threads'),
    })
    expect(
      await millrace('tail in --brokers 127.0.0.1:1 --kafka {"retry":{"retries":0},"connectionTimeout":500}'),
    ).toMatchObject({ code: 1, err: oneLine('127.0.0.1:1') })
  })

  test('init makes a project that installs, type-checks and whose test is green', async () => {
    const folder = join(project, 'new', 'shop')
    expect(await millrace(`init new/shop --package ${archive}`)).toMatchObject({ code: 0, err: '' })
    await run('npm', ['install', '--no-audit', '--no-fund'], folder)
    expect(await run('npm', ['test'], folder)).toMatch(/1 passed/)
    await run('npm', ['run', 'typecheck'], folder)
    expect(await run('npm', ['run', 'describe'], folder)).toContain('sold-per-minute')
  })
})
