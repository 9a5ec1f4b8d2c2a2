/** `millrace reset`: offsets, internal topics and local state of an application, taken back. A dry run unless told. */
import { existsSync } from 'node:fs'
import { silentLogger } from '../../base/logger.ts'
import { connect, type KafkaClient, type OffsetToCommit, type TopicPartition } from '../../kafka/index.ts'
import {
  agreed,
  inputTopicsOf,
  internalTopicsByName,
  internalTopicsOf,
  refuseWhileRunning,
  removeStateFolder,
  stateFolder,
} from '../belongings.ts'
import { type ExitCode, exitCodes, UsageError } from '../exit.ts'
import type { Io } from '../io.ts'
import { resolveSettings } from '../settings.ts'
import { timeOf } from '../times.ts'
import { partitionsOf } from '../topic-reader.ts'
import { loadTopologyFile } from '../topology-file.ts'

type Given = Readonly<Record<string, unknown>>

type Move = TopicPartition & { readonly from: number | null; readonly to: number }

export async function run(io: Io, given: Given, file?: string): Promise<ExitCode> {
  const topology = file === undefined ? undefined : await loadTopologyFile(io.cwd, file)
  const { values } = await resolveSettings(io, {
    ...(topology === undefined ? {} : { topology }),
    configFile: given['config'] as string | undefined,
    flags: given,
  })
  const { applicationId } = values
  const client = connect({
    brokers: values.brokers,
    clientId: 'millrace-cli',
    logger: silentLogger,
    kafka: values.kafka,
  })
  try {
    const graph = topology === undefined ? null : (await topology.topology(values)).graph
    const existing = (await client.admin.topics()).map(({ name }) => name)
    const inputs =
      graph === null
        ? String(given['inputTopics'] ?? '')
            .split(',')
            .filter((topic) => topic !== '')
        : inputTopicsOf(graph, existing)
    if (inputs.length === 0)
      throw new UsageError('which input topics? Give a topology file, or --input-topics a,b')
    await refuseWhileRunning(client, applicationId)

    const keep = given['keepState'] === true
    const moves = await movesOf(client, applicationId, inputs, given)
    const internal = keep
      ? []
      : graph === null
        ? internalTopicsByName(existing, applicationId)
        : internalTopicsOf(graph, applicationId)
    const topics = internal.filter((topic) => existing.includes(topic)).sort()
    const folder = stateFolder(io.cwd, values.stateDir, applicationId)
    const state = !keep && existsSync(folder) ? folder : null
    const execute = given['execute'] === true

    if (given['json'] === true) {
      io.out(
        `${JSON.stringify({ applicationId, execute, offsets: moves, deleteTopics: topics, deleteFolder: state })}\n`,
      )
    } else {
      io.out(`${applicationId}: ${execute ? 'this is done' : 'this would be done'}\n`)
      for (const { topic, partition, from, to } of moves) {
        io.out(`  ${topic} ${partition}: ${from === null ? 'nothing committed' : `offset ${from}`} → ${to}\n`)
      }
      for (const topic of topics) io.out(`  delete topic ${topic}\n`)
      if (state !== null) io.out(`  delete folder ${state}\n`)
      io.out('  Folders on other machines are to be deleted there, before the next start.\n')
    }
    if (!execute) {
      if (given['json'] !== true) io.out('Nothing was changed; add --execute to do it.\n')
      return exitCodes.done
    }
    if (!(await agreed(io, given, `Reset ${applicationId}?`))) {
      io.err('nothing was changed\n')
      return exitCodes.failed
    }
    const offsets: OffsetToCommit[] = moves.map(({ topic, partition, to }) => ({
      topic,
      partition,
      offset: to,
      metadata: '',
    }))
    // State first: a reset that is cut short leaves too little state rather than state that doesn't fit.
    if (state !== null) await removeStateFolder(state)
    if (topics.length > 0) await client.admin.deleteTopics(topics)
    await client.admin.alterGroupOffsets(applicationId, offsets)
    if (given['json'] !== true) io.out('Done.\n')
    return exitCodes.done
  } finally {
    await client.close()
  }
}

async function movesOf(
  client: KafkaClient,
  applicationId: string,
  inputs: readonly string[],
  given: Given,
): Promise<Move[]> {
  const ways = ['toEarliest', 'toLatest', 'toOffset', 'toDatetime', 'shift'].filter(
    (way) => given[way] !== undefined,
  )
  if (ways.length > 1)
    throw new UsageError(
      'give only one of --to-earliest, --to-latest, --to-offset, --to-datetime and --shift',
    )
  const partitions = await partitionsOf(client, inputs)
  const offsetsAt = async (
    spec: 'earliest' | 'latest' | { timestamp: number },
  ): Promise<ReadonlyMap<string, number | null>> => {
    const found = await client.admin.offsets(partitions, spec, 'read_committed')
    return new Map(found.map(({ topic, partition, offset }) => [`${topic} ${partition}`, offset]))
  }
  const earliest = await offsetsAt('earliest')
  const latest = await offsetsAt('latest')
  const committed = new Map(
    (await client.admin.groupOffsets(applicationId)).map(({ topic, partition, offset }) => [
      `${topic} ${partition}`,
      offset,
    ]),
  )
  const dated =
    given['toDatetime'] === undefined
      ? null
      : await offsetsAt({ timestamp: timeOf(String(given['toDatetime']), '--to-datetime', Date.now()) })
  return partitions.map(({ topic, partition }) => {
    const id = `${topic} ${partition}`
    const first = earliest.get(id) ?? 0
    const last = latest.get(id) ?? first
    const from = committed.get(id) ?? null
    let to = first
    if (given['toLatest'] === true) to = last
    else if (given['toOffset'] !== undefined) to = given['toOffset'] as number
    // No record is that young: nothing is left to read.
    else if (dated !== null) to = dated.get(id) ?? last
    else if (given['shift'] !== undefined) to = (from ?? first) + (given['shift'] as number)
    return { topic, partition, from, to: Math.min(Math.max(to, first), last) }
  })
}
