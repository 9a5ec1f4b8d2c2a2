/**
 * Settings declared once, as data: type, default, validation, environment name, flag, help and docs page come from the
 * same table. Values come in layers (a file, the environment, flags); each remembers where it came from. All mistakes
 * of a configuration are named at once, each with what is allowed, a wrong name with the nearest right one.
 */
import { type Duration, durationMs } from './duration.ts'
import { StreamsError } from './errors.ts'

/** What a setting takes. `In` is what people may write, `T` what the engine gets. */
export type Check<T, In = T> = {
  /** For messages and the docs page: "a whole number of at least 1". */
  readonly allowed: string
  /** The value as the engine wants it; undefined where it is not allowed. */
  accept(value: unknown): T | undefined
  /** From an environment variable or a flag, to be judged by `accept`. */
  parse(text: string): unknown
  /** A value as people would write it. */
  print(value: unknown): string
  /** The fields of an object that has declared ones. */
  readonly fields?: Settings
  /** Only code can give it: a function, a logger. */
  readonly code?: boolean
  /** A flag without a value means true. */
  readonly toggle?: boolean
  /** Never there: carries the type of what may be written. */
  readonly input?: In
}

export type Setting = {
  readonly check: Check<unknown, unknown>
  /** One or two sentences. */
  readonly doc: string
  /** Left out where `derive` or `required` is given. */
  readonly default?: unknown
  /** A default that depends on other settings, and how to say that. */
  readonly derive?: {
    readonly from: (values: Readonly<Record<string, unknown>>) => unknown
    readonly doc: string
  }
  readonly required?: boolean
  /** Its environment name; by rule from its name where not given. */
  readonly env?: string
  readonly secret?: boolean
  /** Can change while the application runs. */
  readonly live?: boolean
  /** What Kafka Streams and its clients call it. One that ends in `.` is a prefix. */
  readonly java?: readonly string[]
  /** The section of the docs page it belongs to. */
  readonly group?: string
}

export type Settings = { readonly [name: string]: Setting }

type OutOf<S extends Setting> = S['check'] extends Check<infer T, infer _In> ? T : never
type InOf<S extends Setting> = S['check'] extends Check<infer _T, infer In> ? In : never
type RequiredNames<S extends Settings> = {
  [K in keyof S]: S[K] extends { readonly required: true } ? K : never
}[keyof S]

/** What the engine gets: every setting has a value. */
export type ValuesOf<O extends { readonly settings: Settings }> = {
  readonly [K in keyof O['settings']]: OutOf<O['settings'][K]>
}

/** What people may write. */
export type InputOf<O extends { readonly settings: Settings }> = {
  readonly [K in RequiredNames<O['settings']>]: InOf<O['settings'][K]>
} & {
  readonly [K in Exclude<keyof O['settings'], RequiredNames<O['settings']>>]?:
    | InOf<O['settings'][K]>
    | undefined
}

export type Options<S extends Settings = Settings> = {
  readonly settings: S
  /** Environment names begin with it. */
  readonly prefix: string
  /** Other systems' names without a counterpart here, and what to do instead. One that ends in `.` is a prefix. */
  readonly foreign: Readonly<Record<string, string>>
  /** What no single check can see; gives messages. */
  readonly agree: (values: Readonly<Record<string, unknown>>) => readonly string[]
}

export function defineOptions<const S extends Settings>(
  settings: S,
  about: {
    readonly prefix?: string
    readonly foreign?: Readonly<Record<string, string>>
    readonly agree?: (values: Readonly<Record<string, unknown>>) => readonly string[]
  } = {},
): Options<S> {
  return {
    settings,
    prefix: about.prefix ?? 'MILLRACE_',
    foreign: about.foreign ?? {},
    agree: about.agree ?? (() => []),
  }
}

// ------------------------------------------------------------------------------------------------ layers

/** Where a value came from. `config` is what code gave. */
export type Origin = 'default' | 'config' | 'topology' | 'file' | 'environment' | 'flag'

export type Layer = {
  readonly origin: Exclude<Origin, 'default'>
  readonly values: Readonly<Record<string, unknown>>
  /** Where exactly, per name: the file, the variable, the flag. */
  readonly where?: (name: string) => string
}

export type Resolved<O extends { readonly settings: Settings }> = {
  readonly values: ValuesOf<O>
  readonly origins: {
    readonly [K in keyof O['settings']]: { readonly origin: Origin; readonly where: string }
  }
}

/** Later layers win; objects with declared fields merge by field. Throws one error that names every mistake. */
export function resolveOptions<O extends Options>(options: O, layers: readonly Layer[]): Resolved<O> {
  const mistakes: string[] = []
  const values: Record<string, unknown> = {}
  const origins: Record<string, { origin: Origin; where: string }> = {}
  for (const layer of layers) {
    for (const [name, given] of Object.entries(layer.values)) {
      if (given === undefined) continue
      const where = layer.where?.(name) ?? ''
      const from = where === '' ? '' : ` (from ${where})`
      const setting = Object.hasOwn(options.settings, name) ? options.settings[name] : undefined
      if (setting === undefined) {
        mistakes.push(`${unknownName(options, name, 'setting')}${from}`)
        continue
      }
      const accepted = acceptInto(setting, name, given, values[name], mistakes, from)
      if (accepted === undefined) continue
      values[name] = accepted
      origins[name] = { origin: layer.origin, where }
    }
  }
  for (const [name, setting] of Object.entries(options.settings)) {
    if (Object.hasOwn(values, name) || setting.derive !== undefined) continue
    if (setting.required === true) {
      if (!mistakes.some((mistake) => mistake.startsWith(`${name}:`))) {
        mistakes.push(`${name}: is needed; give ${setting.check.allowed}`)
      }
      continue
    }
    values[name] = setting.check.accept(setting.default)
    origins[name] = { origin: 'default', where: '' }
  }
  if (mistakes.length === 0) {
    for (const [name, setting] of Object.entries(options.settings)) {
      if (Object.hasOwn(values, name) || setting.derive === undefined) continue
      values[name] = setting.derive.from(values)
      origins[name] = { origin: 'default', where: setting.derive.doc }
    }
    mistakes.push(...options.agree(values))
  }
  if (mistakes.length > 0) throw invalidConfig(mistakes)
  return { values: Object.freeze(values), origins } as unknown as Resolved<O>
}

export function invalidConfig(mistakes: readonly string[]): StreamsError {
  const count = mistakes.length === 1 ? '' : `${mistakes.length} mistakes: `
  const config = /^[A-Za-z0-9._-]+/.exec(mistakes[0] ?? '')?.[0]
  return new StreamsError(
    'CONFIG_INVALID',
    `config: ${count}${mistakes.join('; ')}`,
    config === undefined ? {} : { config },
  )
}

function acceptInto(
  setting: Setting,
  name: string,
  given: unknown,
  before: unknown,
  mistakes: string[],
  from: string,
): unknown {
  const { check } = setting
  if (check.fields !== undefined && isPlainObject(given)) {
    const merged: Record<string, unknown> = isPlainObject(before) ? { ...before } : {}
    let wrong = false
    for (const [field, value] of Object.entries(given)) {
      if (value === undefined) continue
      const inner = Object.hasOwn(check.fields, field) ? check.fields[field] : undefined
      if (inner === undefined) {
        mistakes.push(`${name}.${unknownField(check.fields, field)}${from}`)
        wrong = true
        continue
      }
      const accepted = inner.check.accept(value)
      if (accepted === undefined) {
        mistakes.push(
          `${name}.${field}: ${shown(value, inner)} is not allowed; give ${inner.check.allowed}${from}`,
        )
        wrong = true
      } else {
        merged[field] = accepted
      }
    }
    if (wrong) return undefined
    for (const [field, inner] of Object.entries(check.fields)) {
      if (!Object.hasOwn(merged, field)) merged[field] = inner.default
    }
    return merged
  }
  const accepted = check.accept(given)
  if (accepted === undefined) {
    mistakes.push(`${name}: ${shown(given, setting)} is not allowed; give ${check.allowed}${from}`)
  }
  return accepted
}

/** A secret's value never gets into a message. */
function shown(value: unknown, setting: Setting): string {
  return setting.secret === true ? 'the value (secret)' : printed(value)
}

function printed(value: unknown): string {
  if (typeof value === 'function') return 'a function'
  try {
    const text = JSON.stringify(value) ?? String(value)
    return text.length > 80 ? `${text.slice(0, 77)}…` : text
  } catch {
    return String(value)
  }
}

// ------------------------------------------------------------------------------------------------ environment, flags

/** `commitIntervalMs` → `COMMIT_INTERVAL_MS`. */
export function upperSnake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
}

/** `commitIntervalMs` → `commit-interval-ms`. */
export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

export function environmentName(options: Options, name: string): string {
  return options.settings[name]?.env ?? `${options.prefix}${upperSnake(name)}`
}

/**
 * The variables that begin with the prefix. `NAME_FILE` names a file that holds the value, as secrets are mounted.
 * `ignore` are variables of that prefix which are no settings.
 */
export function environmentLayer(
  options: Options,
  env: Readonly<Record<string, string | undefined>>,
  readFile: (path: string) => string,
  ignore: readonly string[] = [],
): Layer {
  const values: Record<string, unknown> = {}
  const where: Record<string, string> = {}
  const mistakes: string[] = []
  const names = new Map<
    string,
    { readonly name: string; readonly field: string | null; readonly setting: Setting }
  >()
  for (const [name, setting] of Object.entries(options.settings)) {
    if (setting.check.code === true) continue
    const variable = environmentName(options, name)
    names.set(variable, { name, field: null, setting })
    for (const [field, inner] of Object.entries(setting.check.fields ?? {})) {
      names.set(`${variable}_${upperSnake(field)}`, { name, field, setting: inner })
    }
  }
  // In the order of their names, so that a whole object comes before its fields.
  for (const variable of Object.keys(env).sort()) {
    const text = env[variable]
    if (text === undefined || !variable.startsWith(options.prefix) || ignore.includes(variable)) continue
    let found = names.get(variable)
    let content = text
    if (found === undefined && variable.endsWith('_FILE')) {
      found = names.get(variable.slice(0, -'_FILE'.length))
      if (found !== undefined) content = readSecret(readFile, text, variable)
    }
    if (found === undefined) {
      const nearest = nearestOf(variable, [...names.keys()])
      mistakes.push(`${variable}: no such variable${nearest === null ? '' : `; did you mean ${nearest}?`}`)
      continue
    }
    const value = found.setting.check.parse(content)
    if (found.field === null) {
      values[found.name] = value
    } else {
      const before = values[found.name]
      values[found.name] = { ...(isPlainObject(before) ? before : {}), [found.field]: value }
    }
    where[found.name] = variable
  }
  if (mistakes.length > 0) throw invalidConfig(mistakes)
  return { origin: 'environment', values, where: (name) => where[name] ?? environmentName(options, name) }
}

/** Wherever an object is `{ file: path }` and nothing else, the file's content takes its place. */
export function withSecretFiles(
  values: Readonly<Record<string, unknown>>,
  readFile: (path: string) => string,
): Record<string, unknown> {
  const replace = (value: unknown, at: string): unknown => {
    if (Array.isArray(value)) return value.map((each, index) => replace(each, `${at}[${index}]`))
    if (!isPlainObject(value)) return value
    const keys = Object.keys(value)
    if (keys.length === 1 && keys[0] === 'file' && typeof value['file'] === 'string') {
      return readSecret(readFile, value['file'], at)
    }
    return Object.fromEntries(
      Object.entries(value).map(([key, each]) => [key, replace(each, `${at}.${key}`)]),
    )
  }
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, replace(value, key)]))
}

function readSecret(readFile: (path: string) => string, path: string, what: string): string {
  try {
    return readFile(path).replace(/\r?\n$/, '')
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new StreamsError('CONFIG_INVALID', `config: ${what}: the file ${path} can not be read: ${reason}`, {
      config: what,
      cause,
    })
  }
}

const secretField = /pass|secret|token|credential|privatekey|^key$|^pfx$/i

/** For eyes and logs: secrets are hidden, at any depth. */
export function redacted(name: string, setting: Setting | undefined, value: unknown): unknown {
  const hide = (key: string, inner: unknown, secret: boolean): unknown => {
    if (inner === null || inner === undefined || inner === false) return inner
    if (secret || secretField.test(key)) return '(hidden)'
    if (typeof inner === 'function') return '(function)'
    if (Array.isArray(inner)) return inner.map((each) => hide('', each, false))
    if (isPlainObject(inner)) {
      return Object.fromEntries(
        Object.entries(inner).map(([field, each]) => [
          field,
          hide(field, each, setting?.check.fields?.[field]?.secret === true),
        ]),
      )
    }
    return typeof inner === 'object' ? '(object)' : inner
  }
  return hide(name === 'kafka' ? '' : name, value, setting?.secret === true)
}

/** Which of two configurations' differences can be taken over while running, and which need a restart. */
export function changedSettings(
  options: Options,
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): { readonly live: readonly string[]; readonly restart: readonly string[] } {
  const changed = Object.keys(options.settings).filter(
    (name) =>
      options.settings[name]?.check.code !== true &&
      JSON.stringify(before[name]) !== JSON.stringify(after[name]),
  )
  return {
    live: changed.filter((name) => options.settings[name]?.live === true),
    restart: changed.filter((name) => options.settings[name]?.live !== true),
  }
}

// ------------------------------------------------------------------------------------------------ wrong names

function unknownName(options: Options, name: string, what: string): string {
  const begin = `${name}: no such ${what}`
  for (const [right, setting] of Object.entries(options.settings)) {
    for (const java of setting.java ?? []) {
      const same = java.endsWith('.') ? name.startsWith(java) : name === java || name === camel(java)
      if (same) return `${begin}; here it is called ${right}`
    }
  }
  for (const [foreign, advice] of Object.entries(options.foreign)) {
    const same = foreign.endsWith('.')
      ? name.startsWith(foreign)
      : name === foreign || name === camel(foreign)
    if (same) return `${begin}; ${advice}`
  }
  const names = Object.keys(options.settings)
  const nearest = nearestOf(name, names)
  if (nearest !== null) return `${begin}; did you mean ${nearest}?`
  return `${begin}; there are ${names.join(', ')}`
}

function unknownField(fields: Settings, name: string): string {
  const names = Object.keys(fields)
  const nearest = nearestOf(name, names)
  return `${name}: no such field; ${nearest === null ? `there are ${names.join(', ')}` : `did you mean ${nearest}?`}`
}

function camel(name: string): string {
  return name.replace(/[._-]+([a-z0-9])/gi, (_, letter: string) => letter.toUpperCase())
}

/** The most alike, or null where none is alike enough. */
export function nearestOf(name: string, names: readonly string[]): string | null {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, '')
  const wanted = plain(name)
  let best: string | null = null
  let bestDistance = Math.max(2, Math.floor(wanted.length / 3)) + 1
  for (const candidate of names) {
    const distance = editDistance(wanted, plain(candidate))
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  if (best !== null || wanted.length < 4) return best
  return (
    names.find((candidate) => plain(candidate).startsWith(wanted) || wanted.startsWith(plain(candidate))) ??
    null
  )
}

/** Insertions, deletions, substitutions and swaps of neighbours. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(
        (last[j] as number) + 1,
        (row[j - 1] as number) + 1,
        (last[j - 1] as number) + (same ? 0 : 1),
      )
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] as number) + 1)
      }
      row.push(cost)
    }
    beforeLast = last
    last = row
  }
  return last[b.length] as number
}

// ------------------------------------------------------------------------------------------------ checks

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

const plain = (value: unknown): string =>
  typeof value === 'string'
    ? value
    : typeof value === 'function'
      ? '(function)'
      : (JSON.stringify(value) ?? String(value))

/** JSON where it is JSON, else the text itself. */
const jsonOrText = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

export function integer(bounds: { readonly min?: number; readonly max?: number } = {}): Check<number> {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = bounds
  return {
    allowed: `a whole number${boundsText(bounds, String)}`,
    accept: (value) =>
      Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
        ? (value as number)
        : undefined,
    parse: (text) => (/^-?\d+$/.test(text) ? Number(text) : text),
    print: plain,
  }
}

function boundsText(
  bounds: { readonly min?: number; readonly max?: number },
  print: (value: number) => string,
): string {
  const { min, max } = bounds
  if (min !== undefined && max !== undefined) return ` from ${print(min)} to ${print(max)}`
  if (min !== undefined) return ` of at least ${print(min)}`
  if (max !== undefined) return ` of at most ${print(max)}`
  return ''
}

const byteUnits = {
  B: 1,
  KB: 1_000,
  MB: 1_000_000,
  GB: 1_000_000_000,
  KiB: 1_024,
  MiB: 1_048_576,
  GiB: 1_073_741_824,
} as const

export type Bytes = number | `${number}${keyof typeof byteUnits}`

/** A number of bytes, or text such as '64MiB'. */
export function bytes(bounds: { readonly min?: number; readonly max?: number } = {}): Check<number, Bytes> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = bounds
  return {
    allowed: `bytes${boundsText(bounds, printBytes)}: a whole number, or text such as '512KiB', '64MiB', '1GiB'`,
    accept(value) {
      let found: unknown = value
      if (typeof value === 'string') {
        const match = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)$/.exec(value.trim())
        if (match === null) return undefined
        found = Number(match[1]) * byteUnits[match[2] as keyof typeof byteUnits]
      }
      return Number.isSafeInteger(found) && (found as number) >= min && (found as number) <= max
        ? (found as number)
        : undefined
    },
    parse: (text) => (/^\d+$/.test(text) ? Number(text) : text),
    print: (value) => (typeof value === 'number' ? printBytes(value) : plain(value)),
  }
}

export function printBytes(value: number): string {
  for (const unit of ['GiB', 'MiB', 'KiB'] as const) {
    if (value >= byteUnits[unit] && value % byteUnits[unit] === 0) return `${value / byteUnits[unit]}${unit}`
  }
  return String(value)
}

/** Milliseconds, or text such as '10s'. */
export function duration(
  bounds: { readonly min?: number; readonly max?: number } = {},
): Check<number, Duration> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = bounds
  return {
    allowed: `a duration${boundsText({ min, ...bounds }, (ms) => `${ms} ms`)}: whole milliseconds, or text such as '250ms', '10s', '5m'`,
    accept(value) {
      if (typeof value !== 'number' && typeof value !== 'string') return undefined
      let ms: number
      try {
        ms = durationMs(value as Duration, '')
      } catch {
        return undefined
      }
      return ms >= min && ms <= max ? ms : undefined
    },
    parse: (text) => (/^-?\d+$/.test(text) ? Number(text) : text),
    print: plain,
  }
}

export function toggle(): Check<boolean> {
  return {
    allowed: 'true or false',
    accept: (value) => (typeof value === 'boolean' ? value : undefined),
    parse: (text) => (text === 'true' ? true : text === 'false' ? false : text),
    print: plain,
    toggle: true,
  }
}

export function oneOf<const T extends string>(names: readonly T[]): Check<T> {
  return {
    allowed: names
      .map((name) => `'${name}'`)
      .join(', ')
      .replace(/, ([^,]*)$/, ' or $1'),
    accept: (value) => (names.includes(value as T) ? (value as T) : undefined),
    parse: (text) => text,
    print: plain,
  }
}

/** Text, not empty. */
export function text(what = 'text that is not empty', pattern = /./s, lengthMax = 65_535): Check<string> {
  return {
    allowed: what,
    accept: (value) =>
      typeof value === 'string' && value.length <= lengthMax && pattern.test(value) ? value : undefined,
    parse: (given) => given,
    print: plain,
  }
}

/** A list; as text, separated by commas. */
export function list<T, In>(each: Check<T, In>, min = 0): Check<readonly T[], readonly In[] | string> {
  return {
    allowed: `a list of ${each.allowed}${min > 0 ? `, at least ${min}` : ''}; as text, separated by commas`,
    accept(value) {
      const given =
        typeof value === 'string'
          ? value
              .split(',')
              .map((part) => part.trim())
              .filter((part) => part !== '')
          : value
      if (!Array.isArray(given) || given.length < min) return undefined
      const accepted: T[] = []
      for (const one of given) {
        const found = each.accept(typeof one === 'string' ? each.parse(one) : one)
        if (found === undefined) return undefined
        accepted.push(found)
      }
      return accepted
    },
    parse: (given) => (given.startsWith('[') ? jsonOrText(given) : given),
    print: (value) => (Array.isArray(value) ? value.map((one) => each.print(one)).join(',') : plain(value)),
  }
}

export function nullable<T, In>(check: Check<T, In>): Check<T | null, In | null> {
  return {
    ...(check.fields === undefined ? {} : { fields: check.fields }),
    ...(check.code === undefined ? {} : { code: check.code }),
    allowed: `${check.allowed}, or null`,
    accept: (value) => (value === null ? null : check.accept(value)),
    parse: (given) => (given === '' || given === 'null' ? null : check.parse(given)),
    print: (value) => (value === null ? 'null' : check.print(value)),
  }
}

/** The first of two that takes it. */
export function either<A, InA, B, InB>(first: Check<A, InA>, second: Check<B, InB>): Check<A | B, InA | InB> {
  return {
    ...(first.fields === undefined && second.fields === undefined
      ? {}
      : { fields: { ...first.fields, ...second.fields } }),
    ...(first.code === true && second.code === true ? { code: true } : {}),
    ...(first.toggle === true || second.toggle === true ? { toggle: true } : {}),
    allowed: `${first.allowed}, or ${second.allowed}`,
    accept(value) {
      const found = first.accept(value)
      return found === undefined ? second.accept(value) : found
    },
    parse(given) {
      const found = first.parse(given)
      return first.accept(found) === undefined ? second.parse(given) : found
    },
    print: (value) => (first.accept(value) === undefined ? second.print(value) : first.print(value)),
  }
}

/** An object of text to text; as text, JSON or `a=1,b=2`. */
export function textMap(): Check<
  Readonly<Record<string, string>>,
  Readonly<Record<string, string | number | boolean>>
> {
  return {
    allowed: 'an object of names and values; as text, JSON or a=1,b=2',
    accept(value) {
      if (!isPlainObject(value)) return undefined
      const entries: [string, string][] = []
      for (const [name, each] of Object.entries(value)) {
        if (typeof each !== 'string' && typeof each !== 'number' && typeof each !== 'boolean')
          return undefined
        entries.push([name, String(each)])
      }
      return Object.fromEntries(entries)
    },
    parse(given) {
      if (given.startsWith('{')) return jsonOrText(given)
      const pairs = given.split(',').filter((pair) => pair.trim() !== '')
      if (!pairs.every((pair) => pair.includes('='))) return given
      return Object.fromEntries(
        pairs.map((pair) => [
          pair.slice(0, pair.indexOf('=')).trim(),
          pair.slice(pair.indexOf('=') + 1).trim(),
        ]),
      )
    },
    print: plain,
  }
}

/** An object that someone else validates. As text, JSON. */
export function object(what: string): Check<Readonly<Record<string, unknown>>> {
  return {
    allowed: `${what}; as text, JSON`,
    accept: (value) => (isPlainObject(value) ? value : undefined),
    parse: jsonOrText,
    print: plain,
  }
}

/** An object with declared fields; each has a default. As text, JSON; each field also has its own variable and flag. */
export function shape<const S extends Settings>(
  fields: S,
): Check<{ readonly [K in keyof S]: OutOf<S[K]> }, { readonly [K in keyof S]?: InOf<S[K]> | undefined }> {
  return {
    fields,
    allowed: `an object with ${Object.keys(fields).join(', ')}`,
    accept(value) {
      if (!isPlainObject(value)) return undefined
      const found: Record<string, unknown> = {}
      for (const [name, setting] of Object.entries(fields)) {
        const given = value[name] === undefined ? setting.default : setting.check.accept(value[name])
        if (given === undefined) return undefined
        found[name] = given
      }
      return found as { readonly [K in keyof S]: OutOf<S[K]> }
    },
    parse: jsonOrText,
    print: plain,
  }
}

/** What only code can give. `holds` must be a type guard in all but name. */
export function code<T>(allowed: string, holds: (value: unknown) => boolean): Check<T> {
  return {
    code: true,
    allowed,
    accept: (value) => (holds(value) ? (value as T) : undefined),
    parse: (given) => given,
    print: plain,
  }
}

export function func<T>(what: string): Check<T> {
  return code<T>(what, (value) => typeof value === 'function')
}
