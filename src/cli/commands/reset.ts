/** `millrace reset`: offsets, internal topics and local state of an application, taken back. A dry run unless told. */
import { resolve } from 'node:path'
import { silentLogger } from '../../base/logger.ts'
import { connect } from '../../kafka/index.ts'
import { carryOutReset, planReset, type ResetTo, refuseWhileRunning } from '../../runtime/reset.ts'
import { agreed } from '../belongings.ts'
import { type ExitCode, exitCodes, UsageError } from '../exit.ts'
import type { Io } from '../io.ts'
import { resolveSettings } from '../settings.ts'
import { timeOf } from '../times.ts'
import { loadTopologyFile } from '../topology-file.ts'

type Given = Readonly<Record<string, unknown>>

export async function run(io: Io, given: Given, file?: string): Promise<ExitCode> {
  const topology = file === undefined ? undefined : await loadTopologyFile(io.cwd, file)
  const { values } = await resolveSettings(io, {
    ...(topology === undefined ? {} : { topology }),
    configFile: given['config'] as string | undefined,
    flags: given,
  })
  const { applicationId } = values
  const to = resetTo(given)
  const topics = String(given['inputTopics'] ?? '')
    .split(',')
    .map((topic) => topic.trim())
    .filter((topic) => topic !== '')
  if (topology === undefined && topics.length === 0)
    throw new UsageError('which input topics? Give a topology file, or --input-topics a,b')
  const client = connect({
    brokers: values.brokers,
    clientId: 'millrace-cli',
    logger: silentLogger,
    kafka: values.kafka,
  })
  try {
    const keep = given['keepState'] === true
    const execute = given['execute'] === true
    const stateDir = resolve(io.cwd, values.stateDir)
    const graph = topology === undefined ? null : (await topology.topology(values)).graph
    const what = { client, graph, applicationId, stateDir }
    await refuseWhileRunning(client, applicationId)
    const plan = await planReset(what, {
      to,
      keepLocalState: keep,
      keepInternalTopics: keep,
      ...(topics.length === 0 ? {} : { topics }),
    })
    if (given['json'] === true) {
      const { offsets, deletedTopics, deletedTasks } = plan
      io.out(
        `${JSON.stringify({ applicationId, execute, offsets, deletedTopics, deletedTasks, stateDir })}\n`,
      )
    } else {
      io.out(`${applicationId}: ${execute ? 'this is to be done' : 'this would be done'}\n`)
      for (const { topic, partition, from, to } of plan.offsets) {
        io.out(`  ${topic} ${partition}: ${from === null ? 'nothing committed' : `offset ${from}`} → ${to}\n`)
      }
      for (const topic of plan.deletedTopics) io.out(`  delete topic ${topic}\n`)
      if (plan.deletedTasks.length > 0)
        io.out(`  delete the state of tasks ${plan.deletedTasks.join(', ')} in ${stateDir}\n`)
      io.out('  State on other machines is to be deleted there, before the next start.\n')
    }
    if (!execute) {
      if (given['json'] !== true) io.out('Nothing was changed; add --execute to do it.\n')
      return exitCodes.done
    }
    if (!(await agreed(io, given, `Reset ${applicationId}?`))) {
      io.err('nothing was changed\n')
      return exitCodes.failed
    }
    await carryOutReset(what, plan)
    if (given['json'] !== true) io.out('Done.\n')
    return exitCodes.done
  } finally {
    await client.close()
  }
}

function resetTo(given: Given): ResetTo {
  const ways = ['toEarliest', 'toLatest', 'toOffset', 'toDatetime', 'shift'].filter(
    (way) => given[way] !== undefined,
  )
  if (ways.length > 1)
    throw new UsageError(
      'give only one of --to-earliest, --to-latest, --to-offset, --to-datetime and --shift',
    )
  if (given['toLatest'] === true) return 'latest'
  if (given['toOffset'] !== undefined) return { offset: given['toOffset'] as number }
  if (given['shift'] !== undefined) return { shift: given['shift'] as number }
  if (given['toDatetime'] !== undefined)
    return { datetime: timeOf(String(given['toDatetime']), '--to-datetime', Date.now()) }
  return 'earliest'
}
