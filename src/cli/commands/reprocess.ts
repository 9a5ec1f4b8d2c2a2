/**
 * `millrace reprocess`: a new version of a topology beside the old one. It has an application id and output topics of
 * its own, both with a name behind theirs, reads all input from the beginning, and says when it has caught up. Then its
 * readers move over and the old one goes, or the new one is given up.
 */
import { resolve } from 'node:path'
import { silentLogger } from '../../base/logger.ts'
import { connect, type KafkaClient } from '../../kafka/index.ts'
import { allHooks } from '../../runtime/hooks.ts'
import type { Config, EngineOptions } from '../../runtime/options.ts'
import { ownTopics, refuseWhileRunning } from '../../runtime/reset.ts'
import { Millrace } from '../../service/millrace.ts'
import type { Node } from '../../topology/node.ts'
import type { Topology, TopologyGraph } from '../../topology/topology.ts'
import { agreed, inputTopicsOf, outputTopicsOf, removeStateFolder, stateFolder } from '../belongings.ts'
import { type ExitCode, exitCodes, UsageError } from '../exit.ts'
import type { Io } from '../io.ts'
import { Progress } from '../progress.ts'
import { resolveSettings } from '../settings.ts'
import { untilSignal } from '../signals.ts'
import { partitionsOf } from '../topic-reader.ts'
import { loadTopologyFile } from '../topology-file.ts'

type Given = Readonly<Record<string, unknown>>

type Versions = {
  readonly settings: EngineOptions
  readonly topology: Topology
  readonly client: KafkaClient
  readonly oldId: string
  readonly newId: string
  readonly name: string
  readonly outputs: readonly string[]
}

export async function run(io: Io, given: Given, file: string): Promise<ExitCode> {
  const loaded = await loadTopologyFile(io.cwd, file)
  const { values } = await resolveSettings(io, {
    topology: loaded,
    configFile: given['config'] as string | undefined,
    flags: given,
    fixed: { threads: 1, autoOffsetReset: 'earliest' },
  })
  const name = String(given['as'])
  if (!/^[A-Za-z0-9._-]{1,50}$/.test(name))
    throw new UsageError(`--as ${name}: letters, digits, dots, dashes and underscores are allowed`)
  const wanted = ['switch', 'dropOld', 'abandon'].filter((each) => given[each] === true)
  if (wanted.length > 1) throw new UsageError('give only one of --switch, --drop-old and --abandon')
  const topology = await loaded.topology(values)
  const client = connect({
    brokers: values.brokers,
    clientId: 'millrace-cli',
    logger: silentLogger,
    kafka: values.kafka,
  })
  const versions: Versions = {
    settings: values,
    topology,
    client,
    oldId: values.applicationId,
    newId: `${values.applicationId}-${name}`,
    name,
    outputs: outputTopicsOf(topology.graph),
  }
  try {
    if (wanted[0] === 'switch') return await answerSwitch(io, given, versions)
    if (wanted[0] === 'dropOld') return await remove(io, given, versions, versions.oldId, versions.outputs)
    if (wanted[0] === 'abandon') {
      return await remove(
        io,
        given,
        versions,
        versions.newId,
        versions.outputs.map((topic) => `${topic}-${name}`),
      )
    }
    return await reprocess(io, given, versions)
  } finally {
    await client.close()
  }
}

// ------------------------------------------------------------------------------------------------ running the new one

async function reprocess(io: Io, given: Given, versions: Versions): Promise<ExitCode> {
  const { settings, topology, newId, name, outputs } = versions
  await createOutputs(versions)
  const before = await lagOf(versions)
  const progress = new Progress(io, 'reprocessed', before.total, given['json'] === true)
  let done = before.done
  let caughtUpSaid = false
  const application = new Millrace(withOutputs(topology, name), {
    ...(settings as unknown as Config),
    stateDir: resolve(io.cwd, settings.stateDir),
    applicationId: newId,
    clientId: newId,
    hooks: allHooks([
      ...(settings.hooks === null ? [] : [settings.hooks]),
      {
        batch: ({ records }) => {
          done += records
          progress.at(done)
        },
      },
    ]),
  })
  const failed = new Promise<never>((_, reject) => {
    application.onState((state) => {
      if (state === 'error') reject(application.error)
    })
  })
  failed.catch(() => {})
  const checking = setInterval(() => {
    void lagOf(versions).then(
      ({ lag }) => {
        if (lag > (given['lagMax'] as number) || caughtUpSaid) return
        caughtUpSaid = true
        progress.end()
        const topics = outputs.map((topic) => `${topic}-${name}`).join(', ')
        if (given['json'] === true)
          io.out(
            `${JSON.stringify({ event: 'caught-up', lag, outputs: outputs.map((topic) => `${topic}-${name}`) })}\n`,
          )
        else
          io.out(
            `caught up, and running on; results are in ${topics}. Move their readers there, then millrace reprocess … --drop-old\n`,
          )
      },
      () => {
        // The next look will tell.
      },
    )
  }, 1_000)
  try {
    await untilSignal(
      io,
      application.start().then(() => failed),
    )
    return exitCodes.done
  } finally {
    clearInterval(checking)
    progress.end()
    await application.close()
  }
}

/** The same graph, its output topics with the name behind theirs. */
export function withOutputs(topology: Topology, name: string): Topology {
  const renamed = (node: Node): Node => {
    if (node.kind !== 'sink' || node.internal) return node
    const { topic } = node
    return {
      ...node,
      topic:
        typeof topic === 'string'
          ? `${topic}-${name}`
          : (value, key, record) => `${topic(value, key, record)}-${name}`,
    }
  }
  const { graph } = topology
  const changed: TopologyGraph = {
    ...graph,
    nodes: new Map([...graph.nodes].map(([id, node]) => [id, renamed(node)])),
    subtopologies: graph.subtopologies.map((each) => ({ ...each, nodes: each.nodes.map(renamed) })),
  }
  return Object.create(topology, { graph: { value: changed, enumerable: true } }) as Topology
}

/** As many partitions as the old ones have, or as the input has where there is no old one. */
async function createOutputs({ client, topology, outputs, name, settings }: Versions): Promise<void> {
  const existing = await client.admin.topics()
  const inputs = inputTopicsOf(
    topology.graph,
    existing.map((topic) => topic.name),
  )
  const countOf = (topic: string): number | undefined =>
    existing.find((each) => each.name === topic)?.partitions.length
  const most = Math.max(1, ...inputs.map((topic) => countOf(topic) ?? 1))
  const missing = outputs.filter((topic) => countOf(`${topic}-${name}`) === undefined)
  if (missing.length === 0) return
  await client.admin.createTopics(
    missing.map((topic) => ({
      name: `${topic}-${name}`,
      partitions: countOf(topic) ?? most,
      replicationFactor: settings.replicationFactor,
      configs: {},
    })),
  )
}

// ------------------------------------------------------------------------------------------------ how far it is

type Lag = { readonly lag: number; readonly total: number; readonly done: number; readonly started: boolean }

async function lagOf({ client, topology, newId }: Versions): Promise<Lag> {
  const existing = (await client.admin.topics()).map(({ name }) => name)
  const partitions = await partitionsOf(client, inputTopicsOf(topology.graph, existing))
  const [starts, ends, committed] = await Promise.all([
    client.admin.offsets(partitions, 'earliest', 'read_committed'),
    client.admin.offsets(partitions, 'latest', 'read_committed'),
    client.admin.groupOffsets(newId),
  ])
  const at = new Map(committed.map(({ topic, partition, offset }) => [`${topic} ${partition}`, offset]))
  const first = new Map(starts.map(({ topic, partition, offset }) => [`${topic} ${partition}`, offset ?? 0]))
  let lag = 0
  let total = 0
  for (const { topic, partition, offset } of ends) {
    const id = `${topic} ${partition}`
    const start = first.get(id) ?? 0
    const end = offset ?? start
    lag += Math.max(0, end - Math.max(at.get(id) ?? start, start))
    total += end - start
  }
  return { lag, total, done: total - lag, started: at.size > 0 }
}

async function answerSwitch(io: Io, given: Given, versions: Versions): Promise<ExitCode> {
  const { newId, outputs, name } = versions
  const { lag, started } = await lagOf(versions)
  const ready = started && lag <= (given['lagMax'] as number)
  const topics = outputs.map((topic) => `${topic}-${name}`)
  if (given['json'] === true)
    io.out(`${JSON.stringify({ applicationId: newId, caughtUp: ready, started, lag, outputs: topics })}\n`)
  else if (ready)
    io.out(`yes: ${newId} has caught up (lag ${lag}); go on with ${topics.join(', ')}, then --drop-old\n`)
  else if (!started) io.out(`no: ${newId} has committed nothing yet; start it with millrace reprocess\n`)
  else io.out(`no: ${newId} is ${lag} record${lag === 1 ? '' : 's'} behind\n`)
  return ready ? exitCodes.done : exitCodes.failed
}

// ------------------------------------------------------------------------------------------------ taking one away

async function remove(
  io: Io,
  given: Given,
  versions: Versions,
  applicationId: string,
  outputs: readonly string[],
): Promise<ExitCode> {
  const { client, topology, settings } = versions
  await refuseWhileRunning(client, applicationId)
  const existing = new Set((await client.admin.topics()).map(({ name }) => name))
  const topics = [
    ...outputs.filter((topic) => existing.has(topic)),
    ...(await ownTopics(client, topology.graph, applicationId)),
  ]
  const folder = stateFolder(io.cwd, settings.stateDir, applicationId)
  io.err(
    `${applicationId}: its committed offsets, ${folder}${topics.length === 0 ? '' : `, and the topics ${topics.join(', ')}`}\n`,
  )
  if (!(await agreed(io, given, 'Remove all of this?'))) {
    io.err('nothing was removed\n')
    return exitCodes.failed
  }
  if (topics.length > 0) await client.admin.deleteTopics(topics)
  await removeStateFolder(folder)
  if ((await client.admin.groups()).some(({ groupId }) => groupId === applicationId))
    await client.admin.deleteGroup(applicationId)
  if (given['json'] === true) io.out(`${JSON.stringify({ removed: applicationId, topics, folder })}\n`)
  else io.out(`removed ${applicationId}\n`)
  return exitCodes.done
}
