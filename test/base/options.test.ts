import { describe, expect, test } from 'vitest'
import { StreamsError } from '../../src/base/errors.ts'
import {
  bytes,
  changedSettings,
  defineOptions,
  duration,
  editDistance,
  environmentLayer,
  type InputOf,
  integer,
  list,
  nearestOf,
  nullable,
  object,
  oneOf,
  redacted,
  resolveOptions,
  shape,
  text,
  textMap,
  toggle,
  type ValuesOf,
  withSecretFiles,
} from '../../src/base/options.ts'

const options = defineOptions(
  {
    name: { required: true, check: text('a name', /^[a-z]+$/), doc: 'Its name.', java: ['application.id'] },
    intervalMs: { default: 100, check: duration({ min: 1 }), doc: 'How often.', java: ['interval.ms'] },
    cacheBytes: { default: 1024, check: bytes(), doc: 'How much.' },
    hosts: { default: ['a:1'], check: list(text('an address', /:\d+$/), 1), doc: 'Where.' },
    mode: { default: 'slow', check: oneOf(['slow', 'fast']), doc: 'Which.', live: true },
    tries: {
      derive: { from: (values) => (values['mode'] === 'fast' ? 1 : 5), doc: '1 when fast' },
      check: integer(),
      doc: 'Tries.',
    },
    loud: { default: false, check: toggle(), doc: 'Loud.' },
    password: { default: null, check: nullable(text()), secret: true, doc: 'Secret.' },
    tags: { default: {}, check: textMap(), doc: 'Tags.', java: ['tag.'] },
    kafka: { default: {}, check: object('an object'), doc: 'Free.' },
    http: {
      default: { host: 'localhost', port: 1 },
      check: shape({
        host: { default: 'localhost', check: text(), doc: '' },
        port: { default: 1, check: integer({ min: 0 }), doc: '' },
        token: { default: null, check: nullable(text()), doc: '', secret: true },
      }),
      doc: 'HTTP.',
    },
  },
  {
    foreign: { 'poll.ms': 'nothing polls', 'consumer.': 'see reading' },
    agree: (values) => (values['intervalMs'] === 13 ? ['intervalMs: 13 brings bad luck'] : []),
  },
)

const refused = (values: Record<string, unknown>): StreamsError => {
  try {
    resolveOptions(options, [{ origin: 'config', values }])
  } catch (error) {
    if (error instanceof StreamsError) return error
    throw error
  }
  throw new Error('accepted')
}

const noFile = (path: string): string => {
  throw new Error(`no such file ${path}`)
}

describe('options: types', () => {
  test('options: declared once, both types follow from the checks', () => {
    const input: InputOf<typeof options> = {
      name: 'x',
      intervalMs: '10s',
      cacheBytes: '1MiB',
      http: { port: 3 },
    }
    const { values } = resolveOptions(options, [{ origin: 'config', values: input }])
    const typed: ValuesOf<typeof options> = values
    const ms: number = typed.intervalMs
    const mode: 'slow' | 'fast' = typed.mode
    expect([ms, mode, typed.cacheBytes, typed.http]).toEqual([
      10_000,
      'slow',
      1_048_576,
      { host: 'localhost', port: 3, token: null },
    ])
    // @ts-expect-error a required setting is missing
    const _missing: InputOf<typeof options> = {}
    // @ts-expect-error not one of the allowed names
    const _wrong: InputOf<typeof options> = { name: 'x', mode: 'quick' }
  })
})

describe('options: values', () => {
  test('options: nothing given but the required, every setting has its default', () => {
    const { values, origins } = resolveOptions(options, [{ origin: 'config', values: { name: 'x' } }])
    expect(values).toMatchObject({ intervalMs: 100, tries: 5, hosts: ['a:1'], loud: false, password: null })
    expect(origins.intervalMs).toEqual({ origin: 'default', where: '' })
    expect(origins.tries).toEqual({ origin: 'default', where: '1 when fast' })
    expect(origins.name).toEqual({ origin: 'config', where: '' })
  })

  test('options: a default that depends on another setting, follows it', () => {
    const { values } = resolveOptions(options, [{ origin: 'config', values: { name: 'x', mode: 'fast' } }])
    expect(values.tries).toBe(1)
  })

  test('options: several layers, the later wins, objects merge by field, each value knows where it came from', () => {
    const { values, origins } = resolveOptions(options, [
      { origin: 'file', values: { name: 'x', intervalMs: 1, http: { host: 'h' } }, where: () => 'app.json' },
      { origin: 'flag', values: { intervalMs: 2, http: { port: 9 } }, where: (name) => `--${name}` },
    ])
    expect(values.intervalMs).toBe(2)
    expect(values.http).toEqual({ host: 'h', port: 9, token: null })
    expect(origins.intervalMs).toEqual({ origin: 'flag', where: '--intervalMs' })
    expect(origins.name).toEqual({ origin: 'file', where: 'app.json' })
  })

  test('options: every default passes its own check', () => {
    for (const [name, setting] of Object.entries(options.settings)) {
      if ('default' in setting) expect(setting.check.accept(setting.default), name).not.toBeUndefined()
    }
  })
})

describe('options: mistakes', () => {
  test.each([
    ['a typo', { name: 'x', intervlMs: 1 }, 'intervlMs: no such setting; did you mean intervalMs?'],
    [
      'another spelling',
      { name: 'x', interval_ms: 1 },
      'interval_ms: no such setting; did you mean intervalMs?',
    ],
    [
      "Java's name",
      { name: 'x', 'interval.ms': 1 },
      'interval.ms: no such setting; here it is called intervalMs',
    ],
    ["Java's prefix", { name: 'x', 'tag.zone': 'a' }, 'tag.zone: no such setting; here it is called tags'],
    [
      "Java's name without a counterpart",
      { name: 'x', 'poll.ms': 1 },
      'poll.ms: no such setting; nothing polls',
    ],
    [
      'a prefix without a counterpart',
      { name: 'x', 'consumer.a': 1 },
      'consumer.a: no such setting; see reading',
    ],
    [
      'something else',
      { name: 'x', zzzzzzzzzzzz: 1 },
      'zzzzzzzzzzzz: no such setting; there are name, intervalMs',
    ],
    [
      'out of range',
      { name: 'x', intervalMs: 0 },
      'intervalMs: 0 is not allowed; give a duration of at least 1 ms',
    ],
    [
      'not a duration',
      { name: 'x', intervalMs: '10 sec' },
      'intervalMs: "10 sec" is not allowed; give a duration',
    ],
    [
      'not one of the names',
      { name: 'x', mode: 'quick' },
      `mode: "quick" is not allowed; give 'slow' or 'fast'`,
    ],
    ['null where none may be', { name: 'x', intervalMs: null }, 'intervalMs: null is not allowed'],
    ['a required one missing', {}, 'name: is needed; give a name'],
    [
      'a field that is none',
      { name: 'x', http: { prot: 1 } },
      'http.prot: no such field; did you mean port?',
    ],
    [
      'a wrong field',
      { name: 'x', http: { port: -1 } },
      'http.port: -1 is not allowed; give a whole number of at least 0',
    ],
    ['settings that do not agree', { name: 'x', intervalMs: 13 }, 'intervalMs: 13 brings bad luck'],
    ['a name of every object', { name: 'x', constructor: 1 }, 'constructor: no such setting'],
  ])('options: %s, refused with what is allowed', (_, values, message) => {
    const error = refused(values)
    expect(error.code).toBe('CONFIG_INVALID')
    expect(error.message).toContain(message)
    expect(error.message).not.toContain('\n')
  })

  test('options: several mistakes, all are named at once', () => {
    const { message } = refused({ intervalMs: -1, mod: 'slow', name: 'X' })
    expect(message).toContain('3 mistakes')
    expect(message).toContain('intervalMs: -1')
    expect(message).toContain('did you mean mode?')
    expect(message).toContain('name: "X"')
  })

  test('options: a wrong secret, its value is not in the message', () => {
    expect(refused({ name: 'x', password: 12_345 }).message).not.toContain('12345')
    expect(refused({ name: 'x', http: { token: 12_345 } }).message).not.toContain('12345')
  })
})

describe('options: environment and secrets', () => {
  const from = (env: Record<string, string>, readFile = noFile) =>
    resolveOptions(options, [environmentLayer(options, env, readFile)])

  test('options: variables, text becomes what each setting takes', () => {
    const { values, origins } = from({
      MILLRACE_NAME: 'x',
      MILLRACE_INTERVAL_MS: '5s',
      MILLRACE_CACHE_BYTES: '2MiB',
      MILLRACE_HOSTS: 'a:1, b:2',
      MILLRACE_LOUD: 'true',
      MILLRACE_TAGS: 'zone=a,rack=1',
      MILLRACE_KAFKA: '{"ssl":true}',
      MILLRACE_HTTP: '{"host":"h"}',
      MILLRACE_HTTP_PORT: '7',
      HOME: '/root',
    })
    expect(values).toMatchObject({
      name: 'x',
      intervalMs: 5_000,
      cacheBytes: 2_097_152,
      hosts: ['a:1', 'b:2'],
      loud: true,
      tags: { zone: 'a', rack: '1' },
      kafka: { ssl: true },
      http: { host: 'h', port: 7, token: null },
    })
    expect(origins.intervalMs).toEqual({ origin: 'environment', where: 'MILLRACE_INTERVAL_MS' })
  })

  test('options: an unknown variable of our prefix, refused with the nearest', () => {
    expect(() => from({ MILLRACE_NAME: 'x', MILLRACE_INTERVALL_MS: '1' })).toThrow(
      'MILLRACE_INTERVALL_MS: no such variable; did you mean MILLRACE_INTERVAL_MS?',
    )
  })

  test('options: a wrong value of a variable, the message names the variable', () => {
    expect(() => from({ MILLRACE_NAME: 'x', MILLRACE_INTERVAL_MS: 'often' })).toThrow(
      '(from MILLRACE_INTERVAL_MS)',
    )
  })

  test('options: a variable that ends in _FILE, the value comes from the file without its newline', () => {
    const { values } = from(
      { MILLRACE_NAME: 'x', MILLRACE_PASSWORD_FILE: '/run/p', MILLRACE_HTTP_TOKEN_FILE: '/run/t' },
      (path) => `of ${path}\n`,
    )
    expect(values.password).toBe('of /run/p')
    expect(values.http.token).toBe('of /run/t')
  })

  test('options: a secret file that is not there, the error names variable and file', () => {
    expect(() => from({ MILLRACE_NAME: 'x', MILLRACE_PASSWORD_FILE: '/run/p' })).toThrow(
      /MILLRACE_PASSWORD_FILE: the file \/run\/p can not be read/,
    )
  })

  test('options: { file } at any depth of a config file, the content takes its place', () => {
    const values = withSecretFiles(
      { kafka: { sasl: { password: { file: '/p' } }, brokers: [{ file: '/b' }] } },
      (path) => `${path}!`,
    )
    expect(values).toEqual({ kafka: { sasl: { password: '/p!' }, brokers: ['/b!'] } })
  })

  test('options: shown to a person, secrets are hidden at any depth', () => {
    const { settings } = options
    expect(redacted('password', settings.password, 'hunter2')).toBe('(hidden)')
    expect(redacted('http', settings.http, { host: 'h', token: 't' })).toEqual({
      host: 'h',
      token: '(hidden)',
    })
    expect(
      redacted('kafka', settings.kafka, {
        ssl: { key: 'k', ca: 'c' },
        sasl: { username: 'u', password: 'p' },
      }),
    ).toEqual({
      ssl: { key: '(hidden)', ca: 'c' },
      sasl: { username: 'u', password: '(hidden)' },
    })
    expect(redacted('password', settings.password, null)).toBe(null)
  })

  test('options: two configurations compared, what can change while running is told apart', () => {
    const { values: before } = from({ MILLRACE_NAME: 'x' })
    const { values: after } = from({ MILLRACE_NAME: 'x', MILLRACE_MODE: 'fast', MILLRACE_INTERVAL_MS: '7' })
    expect(changedSettings(options, before, after)).toEqual({
      live: ['mode'],
      restart: ['intervalMs', 'tries'],
    })
  })
})

test('options: nearest name, swaps and missing letters are near, other words are not', () => {
  expect(editDistance('abcd', 'abdc')).toBe(1)
  expect(editDistance('', 'abc')).toBe(3)
  expect(nearestOf('comitIntervalMs', ['commitIntervalMs', 'emitIntervalMs'])).toBe('commitIntervalMs')
  expect(nearestOf('banana', ['commitIntervalMs', 'threads'])).toBe(null)
  expect(nearestOf('commitInterval', ['commitIntervalMs', 'threads'])).toBe('commitIntervalMs')
})
