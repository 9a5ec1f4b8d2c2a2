/** The application's own view of its stores and copies: what it has itself it answers itself. */
import { StreamsError } from '../base/errors.ts'
import type { Queried } from '../runtime/application.ts'
import { sourcesOf, topicsOf } from '../runtime/source-topics.ts'
import type { TaskAnswer, TaskQuery } from '../runtime/state-query.ts'
import { globalTask } from '../runtime/task-queries.ts'
import type { TopologyGraph } from '../topology/topology.ts'
import {
  askRemote,
  type Copy,
  type Described,
  describeRemote,
  findAmong,
  type RemoteOptions,
} from './remote.ts'
import type { Network, StoreInfo } from './router.ts'

const describeMs = 2_000
/** An answer that says why none came in time is on its way by then. */
const graceMs = 250
const here = { endpoint: null }

export function storesOf({ graph, counts, applicationId }: Queried): readonly StoreInfo[] {
  const known = graph()
  if (known === null) throw notLoaded(applicationId)
  const globals = new Set(known.globals.map(({ store }) => store))
  const partitions = counts()
  const stores: StoreInfo[] = []
  for (const subtopology of known.subtopologies) {
    const topics = sourcesOf(known, subtopology).flatMap((source) =>
      topicsOf(source, applicationId, partitions.keys()),
    )
    const count = Math.max(0, ...topics.map((topic) => partitions.get(topic) ?? 0))
    for (const spec of subtopology.stores) {
      if (!globals.has(spec.name)) stores.push(infoOf(known, spec.name, subtopology.index, count))
    }
  }
  for (const name of globals) stores.push(infoOf(known, name, -1, 1))
  return stores
}

function infoOf(graph: TopologyGraph, name: string, subtopology: number, partitions: number): StoreInfo {
  const spec = graph.stores.get(name)
  return {
    name,
    kind: spec?.kind ?? 'key-value',
    keySerde: spec?.keySerde.name ?? '',
    valueSerde: spec?.valueSerde.name ?? '',
    subtopology,
    partitions,
  }
}

/** All copies, this one with what it really has. */
export function copiesOf(queried: Queried): readonly Copy[] {
  const self = queried.self()
  const tasks = queried.threads().flatMap((thread) => thread.tasks)
  const own: Copy = {
    endpoint: self,
    active: tasks.filter(({ role }) => role === 'active').map(({ task }) => task),
    standby: tasks.filter(({ role }) => role === 'standby').map(({ task }) => task),
  }
  const peers = queried.places()?.peers ?? []
  return [own, ...peers.filter(({ endpoint }) => endpoint !== self)]
}

export function describeLocal(queried: Queried): Described {
  return { application: queried.applicationId, stores: storesOf(queried), copies: copiesOf(queried) }
}

export function localNetwork(queried: Queried, options: RemoteOptions): Network {
  return {
    applicationId: queried.applicationId,
    async stores() {
      return storesOf(queried)
    },
    async find(task, timeoutMs) {
      if (task === globalTask) return { active: here, standbys: [] }
      const role = queried
        .threads()
        .flatMap((thread) => thread.tasks)
        .find((one) => one.task === task)?.role
      const places = queried.places()
      let copies: readonly Copy[] = places?.peers ?? []
      if (places !== null && places.peers === null && places.leaderEndpoint !== null && role !== 'active') {
        copies = (await describeRemote(places.leaderEndpoint, Math.min(timeoutMs, describeMs), options))
          .copies
      }
      const self = queried.self()
      const others = findAmong(
        copies.filter(({ endpoint }) => endpoint !== self),
        task,
      )
      return {
        active: role === 'active' ? here : others.active,
        standbys: role === 'standby' ? [here, ...others.standbys] : others.standbys,
      }
    },
    ask({ endpoint }, request, timeoutMs) {
      return endpoint === null
        ? askHere(queried, request, timeoutMs)
        : askRemote(endpoint, request, timeoutMs, options)
    },
  }
}

export function askHere(queried: Queried, request: TaskQuery, timeoutMs: number): Promise<TaskAnswer> {
  return within(queried.ask(request), timeoutMs, request)
}

/** A thread that is busy with one record for long does not answer meanwhile. */
function within(
  answer: Promise<TaskAnswer>,
  timeoutMs: number,
  { task, store }: TaskQuery,
): Promise<TaskAnswer> {
  return new Promise((resolve, reject) => {
    const late = () => {
      const message = `the thread of task ${task} did not answer in ${Math.round(timeoutMs)} ms; ask again, or wait longer`
      reject(new StreamsError('QUERY_NOT_READY', message, { task, store }))
    }
    const timer = setTimeout(late, timeoutMs + graceMs)
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

function notLoaded(applicationId: string): StreamsError {
  return new StreamsError(
    'QUERY_NOT_READY',
    `${applicationId} has not loaded its topology yet; start it first`,
  )
}
