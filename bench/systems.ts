/** How each system under test is started, on equal settings. */
import { join } from 'node:path'
import { javaCommand } from '../test/kafka/java.ts'
import { SystemProcess } from './process.ts'

export type Guarantee = 'exactly_once' | 'at_least_once' | 'at_most_once'
/** `reference` is Millrace of another commit, to compare with. */
export type SystemName = 'millrace' | 'reference' | 'kafka-streams' | 'kafkajs'

export type Job = {
  /** Where build.ts has put the systems. */
  readonly folder: string
  readonly workload: string
  readonly brokers: readonly string[]
  readonly applicationId: string
  readonly guarantee: Guarantee
  readonly threads: number
  readonly cacheBytes: number
  readonly stateDir: string
  readonly inputs: readonly string[]
  readonly output: string
  readonly standbys?: number
  /** Millrace's, of the workload that names them. */
  readonly settings?: Readonly<Record<string, unknown>>
}

const commitIntervalMs = 100
const kafkajsWorkloads = new Set([
  'copy',
  'filter',
  'window-count',
  'json-average',
  'many-keys',
  'start',
  'wire',
])

/** Why a system has no number here; null where it has one. */
export function reasonAgainst(system: SystemName, workload: string, guarantee: Guarantee): string | null {
  if (system === 'kafka-streams' && guarantee === 'at_most_once') return 'Kafka Streams has no at_most_once'
  if (system === 'kafkajs' && !kafkajsWorkloads.has(workload)) return 'not written by hand'
  return null
}

export async function startSystem(system: SystemName, job: Job): Promise<SystemProcess> {
  switch (system) {
    case 'millrace':
    case 'reference': {
      const config = {
        applicationId: job.applicationId,
        brokers: job.brokers,
        guarantee: job.guarantee,
        threads: job.threads,
        commitIntervalMs,
        cacheMaxBytes: job.cacheBytes,
        stateDir: job.stateDir,
        standbyReplicas: job.standbys ?? 0,
        ...job.settings,
      }
      return node(job.folder, 'millrace', config, {
        BENCH_WORKLOAD: job.workload,
        BENCH_IN: job.inputs.join(','),
        BENCH_OUT: job.output,
      })
    }
    case 'kafkajs':
      return node(job.folder, 'kafkajs', { ...job, input: job.inputs[0] }, {})
    case 'kafka-streams': {
      const args = await javaCommand(
        'StreamsPeer',
        [
          job.workload,
          job.brokers.join(','),
          job.applicationId,
          job.guarantee,
          String(job.threads),
          String(job.cacheBytes),
          job.stateDir,
          job.inputs.join(','),
          job.output,
          String(job.standbys ?? 0),
        ],
        { heap: '1g', runsLong: true, programs: join(job.folder, 'bench', 'java') },
      )
      return new SystemProcess(system, 'java', args, {})
    }
  }
}

export function node(
  folder: string,
  name: 'millrace' | 'kafkajs' | 'wire',
  argument: unknown,
  env: NodeJS.ProcessEnv,
): SystemProcess {
  const file = join(folder, 'bench', 'systems', `${name}.js`)
  const profile = process.env['BENCH_PROFILE']
  const flags =
    profile !== undefined && name === 'millrace' ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : []
  return new SystemProcess(name, process.execPath, [...flags, file, JSON.stringify(argument)], env)
}
