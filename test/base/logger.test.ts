import { pino } from 'pino'
import { expect, test } from 'vitest'
import { StreamsError } from '../../src/base/errors.ts'
import {
  jsonLine,
  type LevelSwitch,
  type LogLine,
  lineLogger,
  standardLogger,
  textLine,
  toLogger,
} from '../../src/base/logger.ts'

const at = new Date('2026-01-02T03:04:05.678Z')

test('logger: children of children, the prefixes add up', () => {
  const lines: LogLine[] = []
  lineLogger((line) => lines.push(line))
    .child('thread-1')
    .child('0_1')
    .info('opened', { offset: 7 })
  expect(lines).toEqual([{ level: 'info', prefix: 'thread-1 0_1', message: 'opened', fields: { offset: 7 } }])
})

test('logger: the level changes while running, children follow', () => {
  const lines: LogLine[] = []
  const gate: LevelSwitch = { level: 'warn' }
  const child = lineLogger((line) => lines.push(line), gate).child('0_1')
  child.info('not heard')
  gate.level = 'debug'
  child.debug('heard')
  gate.level = 'silent'
  child.error('not heard')
  expect(lines.map((line) => line.message)).toEqual(['heard'])
})

test('logger: text, one line with its fields', () => {
  const line: LogLine = {
    level: 'warn',
    prefix: '0_1',
    message: 'slow',
    fields: { ms: 7, topic: 'a b', why: new Error('x "y"') },
  }
  expect(textLine(line, at)).toBe('03:04:05.678 warn  [0_1] slow ms=7 topic="a b" why="x \\"y\\""')
})

test('logger: JSON, errors keep code and cause, rings and bigints do no harm', () => {
  const ring: Record<string, unknown> = {}
  ring['self'] = ring
  const error = new StreamsError('TASK_GIVEN_UP', 'fenced', { task: '0_1', cause: new Error('inner') })
  const parsed = JSON.parse(
    jsonLine({ level: 'error', prefix: '', message: 'm', fields: { error, ring, big: 5n } }, at),
  )
  expect(parsed).toMatchObject({
    level: 'error',
    time: '2026-01-02T03:04:05.678Z',
    message: 'm',
    big: '5',
    ring: {},
    error: {
      name: 'StreamsError',
      code: 'TASK_GIVEN_UP',
      about: { task: '0_1' },
      cause: { message: 'inner' },
    },
  })
})

test('logger: pino behind it, prefix and fields are its bindings, its level holds', () => {
  const written: Record<string, unknown>[] = []
  const given = pino({ level: 'info' }, { write: (line: string) => void written.push(JSON.parse(line)) })
  const logger = toLogger(given).child('0_1')
  logger.info('opened', { offset: 7 })
  logger.debug('not heard')
  given.level = 'debug'
  logger.debug('heard')
  expect(written).toMatchObject([
    { msg: 'opened', prefix: '0_1', offset: 7, level: 30 },
    { msg: 'heard', level: 20 },
  ])
})

test('logger: the console behind it, one string a line', () => {
  const written: string[] = []
  const take = (level: string) => (message: string) => void written.push(`${level} ${message}`)
  const given = { debug: take('debug'), info: take('info'), warn: take('warn'), error: take('error') }
  toLogger(given).child('0_1').warn('slow', { ms: 7 })
  expect(written).toEqual(['warn [0_1] slow ms=7'])
})

test('logger: on a terminal, text; JSON where machines shall read it', () => {
  const { isTTY, write } = process.stderr
  const lines: string[] = []
  try {
    Object.assign(process.stderr, { isTTY: true, write: (line: string) => lines.push(line) > 0 })
    standardLogger().info('started')
    standardLogger({ level: 'info' }, true).info('started')
  } finally {
    Object.assign(process.stderr, { isTTY, write })
  }
  expect(lines[0]).toMatch(/info {2}started\n$/)
  expect(JSON.parse(lines[1] ?? '')).toMatchObject({ level: 'info', message: 'started' })
})
