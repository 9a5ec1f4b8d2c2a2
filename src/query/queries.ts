/** The ways in: a store of this application, of another one by the addresses of its copies, and what HTTP answers. */
import { StreamsError } from '../base/errors.ts'
import type { Queried } from '../runtime/application.ts'
import { queryInvalid } from '../runtime/state-query.ts'
import { asStreamsError } from '../runtime/stream-thread.ts'
import type { Serde } from '../serde/serde.ts'
import { askHere, copiesOf, describeLocal, localNetwork, storesOf } from './local.ts'
import { type Copy, type RemoteOptions, remoteNetwork } from './remote.ts'
import { type Network, type StoreInfo, storeInfo } from './router.ts'
import { StateStore } from './state-store.ts'
import { readQuery, writeAnswer, writeError } from './wire.ts'

export type StoreSerdes<K, V> = { readonly keySerde: Serde<K>; readonly valueSerde: Serde<V> }

export type StoreLag = {
  readonly store: string
  readonly task: string
  readonly role: 'active' | 'standby'
  /** Records of the changelogs that are not applied; 0 where it runs, null while that is not known. */
  readonly lag: number | null
}

/** Queries from within the application. */
export class Queries {
  readonly #queried: Queried
  readonly #network: Network

  constructor(queried: Queried, options: RemoteOptions = {}) {
    this.#queried = queried
    this.#network = localNetwork(queried, options)
  }

  /** A store by its name, with the serdes that the topology gave it. */
  store<K = unknown, V = unknown>(name: string): StateStore<K, V> {
    const graph = this.#queried.graph()
    const spec = graph?.stores.get(name)
    if (spec === undefined) {
      const names = graph === null ? [] : [...graph.stores.keys()]
      throw new StreamsError(
        'QUERY_STORE_UNKNOWN',
        `${this.#queried.applicationId} has no store ${JSON.stringify(name)}; ${names.length === 0 ? 'it has none, or its topology is not loaded' : `it has ${names.join(', ')}`}`,
        { store: name },
      )
    }
    return new StateStore(this.#network, name, spec.keySerde as Serde<K>, spec.valueSerde as Serde<V>)
  }

  stores(): readonly StoreInfo[] {
    return storesOf(this.#queried)
  }

  /** All copies that say where they answer, and what each of them has. */
  copies(): readonly Copy[] {
    return copiesOf(this.#queried)
  }

  /** How far the stores of this copy are behind. */
  lags(): readonly StoreLag[] {
    return this.#queried.threads().flatMap(({ tasks }) =>
      tasks.flatMap(({ task, role, state, lag, stores }) =>
        stores.map(({ store }) => ({
          store,
          task,
          role,
          lag: role === 'active' && state === 'running' ? 0 : lag,
        })),
      ),
    )
  }
}

/** A store of an application that this process is no copy of. One address of a copy is enough to find the others. */
export async function connectStore<K, V>(
  addresses: readonly string[],
  name: string,
  serdes: StoreSerdes<K, V>,
  options: RemoteOptions = {},
): Promise<StateStore<K, V>> {
  const timeoutMs = options.connectTimeoutMs ?? connectMs
  const network = await remoteNetwork(addresses, timeoutMs, options)
  await storeInfo(network, name, timeoutMs)
  return new StateStore(network, name, serdes.keySerde, serdes.valueSerde)
}

// ---------------------------------------------------------------------------------------------------- over HTTP

export type HttpReply = { readonly status: number; readonly type: string; readonly body: string }

const connectMs = 5_000
const jsonType = 'application/json; charset=utf-8'
const shownMax = 100

/** What is under /state: for other copies (`?ask=`), and for people. */
export function stateRoute(queried: Queried, options: RemoteOptions = {}) {
  const queries = new Queries(queried, options)
  return {
    path: '/state',
    doc: 'the stores and who has them; /state/STORE its first entries, /state/STORE/KEY one key',
    get: async (rest: readonly string[], parameters: URLSearchParams): Promise<HttpReply | undefined> => {
      try {
        const [store, key] = rest
        if (rest.length > 2) return undefined
        if (store === undefined) return reply(JSON.stringify(describeLocal(queried), null, 2))
        const asked = parameters.get('ask')
        if (asked !== null) {
          const request = readQuery(asked, store)
          return reply(writeAnswer(await askHere(queried, request, request.waitMs)))
        }
        const found = await show(queries, store, key, parameters)
        return reply(JSON.stringify(found, readable, 2))
      } catch (thrown) {
        const { status, body } = writeError(asStreamsError(thrown))
        return { status, type: jsonType, body }
      }
    },
  }
}

function reply(body: string): HttpReply {
  return { status: 200, type: jsonType, body: `${body}\n` }
}

async function show(
  queries: Queries,
  name: string,
  keyText: string | undefined,
  parameters: URLSearchParams,
): Promise<unknown> {
  const store = queries.store(name)
  const info = queries.stores().find((one) => one.name === name)
  const stale = parameters.get('stale') === 'true'
  const first = Math.min(10_000, Number(parameters.get('first') ?? shownMax)) || shownMax
  const [from, to] = [
    Number(parameters.get('from') ?? 0),
    Number(parameters.get('to') ?? Number.MAX_SAFE_INTEGER),
  ]
  if (keyText === undefined) {
    switch (info?.kind) {
      case 'window':
        return store.windowRange(null, null, from, to, { stale, first })
      case 'session':
        return store.sessionRange(null, null, { stale, first })
      default:
        return store.all({ stale, first })
    }
  }
  const key = keyFrom(keyText, info)
  switch (info?.kind) {
    case 'window':
      return store.windows(key, from, to, { stale, first })
    case 'session':
      return store.sessions(key, from, to, { stale, first })
    case 'versioned':
      return store.versions(key, from, to, { stale, first })
    default:
      return store.entry(key, { stale })
  }
}

/** As it stands in an address: text for text keys, numbers for numbers, JSON for all others. */
function keyFrom(text: string, info: StoreInfo | undefined): unknown {
  const serde = info?.keySerde ?? ''
  if (serde === 'bigint') {
    if (/^-?\d{1,19}$/.test(text)) return BigInt(text)
    const name = info?.name ?? ''
    throw queryInvalid(`store ${name}: ${JSON.stringify(text.slice(0, 40))} is no key of type ${serde}`, name)
  }
  if (serde === 'string' || serde === 'uuid') return text
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function readable(_name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  return value
}
