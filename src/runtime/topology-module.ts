/** A module that holds a topology: loaded once in the main thread, and once in each worker. */
import { StreamsError } from '../base/errors.ts'
import type { Topology } from '../topology/topology.ts'

export type TopologyModule = {
  readonly topology: Topology
  /** What the module exports as `config`: the place for handlers and other functions, which can't be sent to workers. */
  readonly config: Readonly<Record<string, unknown>>
}

/** `export default` a topology, or a function of the settings that makes one (or a promise of it). */
export async function loadTopologyModule(
  url: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<TopologyModule> {
  let module: { readonly default?: unknown; readonly config?: unknown }
  try {
    module = await import(url)
  } catch (cause) {
    throw new StreamsError(
      'TOPOLOGY_INVALID',
      `${url} can not be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        cause,
      },
    )
  }
  const exported = module.default
  const topology = typeof exported === 'function' ? await made(url, () => exported(settings)) : exported
  if (!isTopology(topology)) {
    throw new StreamsError(
      'TOPOLOGY_INVALID',
      `${url}: the default export must be a topology, or a function that makes one; it is ${exported === undefined ? 'missing' : `a ${typeof topology}`}`,
    )
  }
  const config = module.config
  return {
    topology,
    config:
      typeof config === 'object' && config !== null ? (config as Readonly<Record<string, unknown>>) : {},
  }
}

/** What the module's function makes; where it throws, the error says whose function that was. */
export async function made(what: string, make: () => unknown): Promise<unknown> {
  try {
    return await make()
  } catch (cause) {
    if (cause instanceof StreamsError) throw cause
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new StreamsError('TOPOLOGY_INVALID', `${what}: its default export, a function, threw: ${message}`, {
      cause,
    })
  }
}

/** By its shape: the package may be there twice, as ESM and through a bundler. */
export function isTopology(value: unknown): value is Topology {
  return (
    typeof value === 'object' &&
    value !== null &&
    'graph' in value &&
    typeof (value as { fingerprint?: unknown }).fingerprint === 'function'
  )
}

/** The part of a configuration that a worker can be sent. */
export function plainConfig(config: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const plain: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(config)) {
    if (name === 'logger' || name === 'registry' || name === 'hooks' || typeof value === 'function') continue
    try {
      plain[name] = structuredClone(value)
    } catch {
      // Holds a function: the worker takes it from the module's own config.
    }
  }
  return plain
}
