/**
 * A topology file: a TypeScript or JavaScript module.
 *
 *   export default   a Topology, or a function (settings) => Topology
 *   export config    settings of its own; a configuration file, the environment and flags are stronger
 *   export generate  made-up input for `millrace dev` (testing/generator.ts)
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { StreamsError } from '../base/errors.ts'
import { isPlainObject } from '../base/options.ts'
import { isTopology, made } from '../runtime/topology-module.ts'
import type { Generate } from '../testing/generator.ts'
import type { Topology } from '../topology/topology.ts'
import { UsageError } from './exit.ts'
import { registerTypescript } from './typescript.ts'

export type TopologyFile = {
  readonly path: string
  /** To be loaded again by each worker. */
  readonly url: URL
  readonly config: Readonly<Record<string, unknown>>
  readonly generate: Generate | null
  topology(settings: Readonly<Record<string, unknown>>): Promise<Topology>
}

/** `version` above 0 loads the file and all that it imports anew. */
export async function loadTopologyFile(cwd: string, file: string, version = 0): Promise<TopologyFile> {
  const path = resolve(cwd, file)
  if (!existsSync(path)) throw new UsageError(`${file}: there is no such file in ${cwd}`)
  if (!['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs'].includes(extname(path))) {
    throw new UsageError(`${file}: a topology file is TypeScript or JavaScript (.ts, .js, .mts, .mjs)`)
  }
  const url = pathToFileURL(path)
  if (version > 0) url.search = `?millrace=${version}`
  const module = await loadModule(url, file)
  const { default: exported, config = {}, generate } = module
  if (exported === undefined) {
    throw new StreamsError(
      'TOPOLOGY_INVALID',
      `${file}: there is no default export; write: export default builder.build(), or a function (settings) => builder.build()`,
    )
  }
  if (!isPlainObject(config))
    throw new UsageError(`${file}: what it exports as config must be an object of settings`)
  if (generate !== undefined && typeof generate !== 'function') {
    throw new UsageError(
      `${file}: what it exports as generate must be a generator function ({ random, now }) => records`,
    )
  }
  return {
    path,
    url,
    config,
    generate: (generate as Generate | undefined) ?? null,
    async topology(settings) {
      const topology: unknown =
        typeof exported === 'function' ? await made(file, () => exported(settings)) : exported
      if (!isTopology(topology)) {
        const what = topology === null || topology === undefined ? String(topology) : `a ${typeof topology}`
        throw new StreamsError(
          'TOPOLOGY_INVALID',
          `${file}: its default export gives ${what}, where a topology is due: builder.build()`,
        )
      }
      return topology
    },
  }
}

async function loadModule(url: URL, file: string): Promise<Readonly<Record<string, unknown>>> {
  registerTypescript()
  try {
    return (await import(url.href)) as Readonly<Record<string, unknown>>
  } catch (cause) {
    if (cause instanceof StreamsError) throw cause
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new StreamsError('TOPOLOGY_INVALID', `${file} can not be loaded: ${message}`, { cause })
  }
}

/** The configuration file that was named, or `millrace.json` beside the topology; null where there is none. */
export async function loadConfigFile(
  cwd: string,
  named: string | undefined,
  topologyPath: string | null,
): Promise<{ readonly path: string; readonly values: Readonly<Record<string, unknown>> } | null> {
  const usual =
    topologyPath === null ? resolve(cwd, 'millrace.json') : resolve(dirname(topologyPath), 'millrace.json')
  const path = named === undefined ? usual : resolve(cwd, named)
  if (!existsSync(path)) {
    if (named === undefined) return null
    throw new UsageError(`--config ${named}: there is no such file in ${cwd}`)
  }
  if (extname(path) !== '.json') {
    const url = pathToFileURL(path)
    // As it is now: `run` reads it again when it changes.
    url.search = `?millrace=${statSync(path).mtimeMs}`
    const module = await loadModule(url, path)
    if (!isPlainObject(module['default']))
      throw new UsageError(`${path}: its default export must be an object of settings`)
    return { path, values: module['default'] }
  }
  let values: unknown
  try {
    values = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new UsageError(`${path} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
  if (!isPlainObject(values)) throw new UsageError(`${path}: an object of settings is due`)
  const { $schema: _schema, ...settings } = values
  return { path, values: settings }
}
