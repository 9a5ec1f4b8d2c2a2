/**
 * The settings of a command, from all layers: the topology file's own, the configuration file, the environment, flags;
 * each stronger than the one before.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import {
  environmentLayer,
  kebab,
  type Layer,
  type Resolved,
  type Setting,
  upperSnake,
  withSecretFiles,
} from '../base/options.ts'
import { options, resolveLayers } from '../runtime/options.ts'
import type { Io } from './io.ts'
import { loadConfigFile } from './topology-file.ts'

export type Settings = Resolved<typeof options>

/** A flag per setting, in the sections of the docs page. */
export function addSettingFlags(command: Command, without: readonly string[] = []): Command {
  command.addOption(
    new Option(
      '--config <file>',
      'configuration file; millrace.json beside the topology by default',
    ).helpGroup('Settings:'),
  )
  for (const [name, setting] of Object.entries(options.settings)) {
    if (setting.check.code === true || without.includes(name)) continue
    command.addOption(settingFlag(`--${kebab(name)}`, setting, setting.group ?? 'Settings'))
    for (const [field, inner] of Object.entries(setting.check.fields ?? {})) {
      command.addOption(settingFlag(`--${kebab(name)}-${kebab(field)}`, inner, setting.group ?? 'Settings'))
    }
  }
  return command
}

function settingFlag(flag: string, setting: Setting, group: string): Option {
  const placeholder = setting.check.toggle === true ? '[true|false]' : '<value>'
  const first = setting.doc.split(/(?<=[.;:])\s/)[0] ?? ''
  return new Option(`${flag} ${placeholder}`, first.replace(/[.;:]$/, '')).helpGroup(`${group}:`)
}

/** What commander read, back as settings. */
export function flagLayer(given: Readonly<Record<string, unknown>>): Layer {
  const values: Record<string, unknown> = {}
  const where: Record<string, string> = {}
  const attribute = (flag: string) => flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
  const take = (text: unknown, setting: Setting): unknown =>
    text === true ? true : setting.check.parse(String(text))
  for (const [name, setting] of Object.entries(options.settings)) {
    if (setting.check.code === true) continue
    const text = given[attribute(kebab(name))]
    if (text !== undefined) {
      values[name] = take(text, setting)
      where[name] = `--${kebab(name)}`
    }
    for (const [field, inner] of Object.entries(setting.check.fields ?? {})) {
      const fieldText = given[attribute(`${kebab(name)}-${kebab(field)}`)]
      if (fieldText === undefined) continue
      const before = values[name]
      values[name] = { ...(typeof before === 'object' ? before : {}), [field]: take(fieldText, inner) }
      where[name] = `--${kebab(name)}-${kebab(field)}`
    }
  }
  return { origin: 'flag', values, where: (name) => where[name] ?? `--${kebab(name)}` }
}

/** Variables of our prefix that are no settings. */
export const otherVariables: readonly string[] = []

export type SettingSources = {
  readonly topology?: { readonly path: string; readonly config: Readonly<Record<string, unknown>> }
  readonly configFile?: string | undefined
  readonly flags: Readonly<Record<string, unknown>>
  /** Weakest of all: what the command itself would have, such as an embedded Kafka's address. */
  readonly defaults?: Readonly<Record<string, unknown>>
  /** Strongest of all. */
  readonly fixed?: Readonly<Record<string, unknown>>
}

export async function settingLayers(
  io: Io,
  sources: SettingSources,
): Promise<{ readonly layers: readonly Layer[]; readonly configPath: string | null }> {
  const { topology, configFile, flags, defaults = {}, fixed = {} } = sources
  const readFile = (path: string): string => readFileSync(resolve(io.cwd, path), 'utf8')
  const file = await loadConfigFile(io.cwd, configFile, topology?.path ?? null)
  const layers: Layer[] = [{ origin: 'topology', values: defaults, where: () => 'the command' }]
  if (topology !== undefined) {
    layers.push({ origin: 'topology', values: topology.config, where: () => topology.path })
  }
  if (file !== null) {
    layers.push({ origin: 'file', values: withSecretFiles(file.values, readFile), where: () => file.path })
  }
  layers.push(environmentLayer(options, io.env, readFile, otherVariables))
  layers.push(flagLayer(flags))
  layers.push({ origin: 'flag', values: fixed, where: () => 'the command' })
  return { layers, configPath: file?.path ?? null }
}

export async function resolveSettings(
  io: Io,
  sources: SettingSources,
): Promise<Settings & { readonly configPath: string | null }> {
  const { layers, configPath } = await settingLayers(io, sources)
  return { ...resolveLayers(layers), configPath }
}

/** How a setting is called outside of code, for messages. */
export function waysToSet(name: string): string {
  return `--${kebab(name)}, MILLRACE_${upperSnake(name)}, or ${name} in millrace.json`
}
