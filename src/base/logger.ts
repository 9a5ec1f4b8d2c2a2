/**
 * What the library logs through, and how a service's own logger stands behind it: pino, the console, or anything with
 * the four levels. `child` gives a logger whose lines carry a prefix, such as a task's id. The level can change while
 * running, for all children at once.
 */
export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const

export type LogLevel = (typeof logLevels)[number]

export type LogFields = Readonly<Record<string, unknown>>

export type Logger = {
  debug(message: string, fields?: LogFields): void
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  error(message: string, fields?: LogFields): void
  child(prefix: string): Logger
}

export const silentLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
}

/** The level of a logger and of all its children. */
export type LevelSwitch = { level: LogLevel }

/** pino, as far as it is used here. */
export type PinoLike = {
  level: string
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
  bindings(): object
}

/** The console, or what has its methods. */
export type ConsoleLike = {
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

export type GivenLogger = Logger | PinoLike | ConsoleLike

/** One line: a level, a prefix such as `0_1` or `thread-1`, a message and what belongs to it. */
export type LogLine = {
  readonly level: Exclude<LogLevel, 'silent'>
  readonly prefix: string
  readonly message: string
  readonly fields: LogFields | undefined
}

/** A logger that hands its lines, of this level and above, to a function. */
export function lineLogger(
  sink: (line: LogLine) => void,
  gate: LevelSwitch = { level: 'info' },
  prefix = '',
): Logger {
  const at = (level: LogLine['level']) => {
    const rank = logLevels.indexOf(level)
    return (message: string, fields?: LogFields): void => {
      if (rank >= logLevels.indexOf(gate.level)) sink({ level, prefix, message, fields })
    }
  }
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (inner) => lineLogger(sink, gate, prefix === '' ? inner : `${prefix} ${inner}`),
  }
}

/** `12:30:01.250 warn  [0_1] message name=value`. */
export function textLine(line: LogLine, at: Date): string {
  const time = at.toISOString().slice(11, 23)
  const prefix = line.prefix === '' ? '' : `[${line.prefix}] `
  let text = `${time} ${line.level.padEnd(5)} ${prefix}${line.message}`
  for (const [name, value] of Object.entries(line.fields ?? {})) {
    if (value === undefined) continue
    text += ` ${name}=${typeof value === 'string' && /^[^\s"]+$/.test(value) ? value : fieldText(value)}`
  }
  return text
}

/** One JSON object per line, for collectors. */
export function jsonLine(line: LogLine, at: Date): string {
  const fields = Object.fromEntries(
    Object.entries(line.fields ?? {}).map(([name, value]) => [name, plainField(value)]),
  )
  const prefix = line.prefix === '' ? {} : { prefix: line.prefix }
  return stringified({
    ...fields,
    level: line.level,
    time: at.toISOString(),
    ...prefix,
    message: line.message,
  })
}

function fieldText(value: unknown): string {
  return value instanceof Error ? JSON.stringify(value.message) : stringified(value)
}

function stringified(value: unknown): string {
  const seen = new Set<unknown>()
  try {
    return (
      JSON.stringify(value, (_, inner: unknown) => {
        if (typeof inner === 'bigint') return inner.toString()
        if (typeof inner !== 'object' || inner === null) return inner
        if (seen.has(inner)) return '(seen)'
        seen.add(inner)
        return inner
      }) ?? String(value)
    )
  } catch {
    return JSON.stringify(String(value))
  }
}

/** Errors have no own enumerable fields: JSON would show `{}`. */
export function plainField(value: unknown): unknown {
  if (!(value instanceof Error)) return value
  const { code, about } = value as { code?: unknown; about?: unknown }
  return {
    name: value.name,
    message: value.message,
    ...(code === undefined ? {} : { code }),
    ...(about === undefined ? {} : { about }),
    ...(value.cause === undefined ? {} : { cause: plainField(value.cause) }),
    stack: value.stack,
  }
}

/** Lines on the standard error: text for people, JSON for collectors. */
export function standardLogger(gate: LevelSwitch = { level: 'info' }, json = false): Logger {
  return lineLogger((line) => {
    const print = process.stderr.isTTY && !json ? textLine : jsonLine
    process.stderr.write(`${print(line, new Date())}\n`)
  }, gate)
}

/** A service's own logger behind ours. Its level stays its own affair, unless `gate` is given. */
export function toLogger(given: GivenLogger, gate: LevelSwitch = { level: 'debug' }): Logger {
  if (isPino(given)) {
    return lineLogger(({ level, prefix, message, fields }) => {
      const bound = Object.fromEntries(
        Object.entries(fields ?? {}).map(([name, value]) => [name, plainField(value)]),
      )
      given[level](prefix === '' ? bound : { ...bound, prefix }, message)
    }, gate)
  }
  if ('child' in given && typeof given.child === 'function') return given as Logger
  const target = given as ConsoleLike
  return lineLogger((line) => {
    const prefix = line.prefix === '' ? '' : `[${line.prefix}] `
    const fields = Object.entries(line.fields ?? {}).filter(([, value]) => value !== undefined)
    const rest = fields.map(([name, value]) => ` ${name}=${fieldText(value)}`).join('')
    target[line.level](`${prefix}${line.message}${rest}`)
  }, gate)
}

/** Whether a value can stand behind a Logger. */
export function isLogger(value: unknown): value is GivenLogger {
  if (typeof value !== 'object' || value === null) return false
  return (['debug', 'info', 'warn', 'error'] as const).every(
    (level) => typeof (value as Record<string, unknown>)[level] === 'function',
  )
}

function isPino(given: GivenLogger): given is PinoLike {
  return 'bindings' in given && typeof given.bindings === 'function' && 'level' in given
}
