/** The suite as a command: reads its flags, runs the workloads by turns, reports. */
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { buildReference } from './build.ts'
import { type Cluster, openCluster } from './cluster.ts'
import { type Input, makeInput } from './input.ts'
import { CpuMeter } from './machine.ts'
import { closePlans, type Plan, plans, plansNamed, type Sample, type Scale, standard } from './plans.ts'
import { killAll } from './process.ts'
import {
  commit,
  differenceIn,
  jsonLineOf,
  type Outcome,
  type Summary,
  summarise,
  textOf,
  writeResults,
} from './report.ts'
import { type Guarantee, reasonAgainst, type SystemName } from './systems.ts'

const usage = `npm run bench -- FLAGS

  --workload NAME    one workload (again for more): ${Object.keys(plans).join(', ')}
  --all              every workload; without it the first six rows of docs/benchmarks.md
  --guarantee G      exactly_once (default), at_least_once, at_most_once
  --threads N        stream threads of each system (2)
  --json             a line of JSON for each workload, and nothing else on the standard output
  --records N        size of the input (4000000); another than that leaves bench/RESULTS.md alone
  --write            writes bench/RESULTS.md all the same
  --rounds N         3
  --system NAME      only this one (again for more): millrace, kafka-streams, kafkajs
  --cache BYTES      cache of each system (0: every update is written)
  --brokers LIST     measure on this Kafka; without it one is started
  --set JSON         settings of Millrace, to try something out; leaves bench/RESULTS.md alone
  --against REF      instead of the peers, src/ of this commit: what a change is worth; leaves bench/RESULTS.md alone
`

const fullRecords = 4_000_000
const guarantees: readonly string[] = ['exactly_once', 'at_least_once', 'at_most_once']

export type Run = {
  readonly cluster: Cluster
  /** Where build.ts has put the systems. */
  readonly folder: string
  /** Where it has put the Millrace of another commit, which then is the only peer. */
  readonly reference?: string
  readonly guarantee: Guarantee
  readonly threads: number
  readonly cacheBytes: number
  readonly rounds: number
  readonly scale: Scale
  readonly systems: readonly SystemName[] | null
  readonly settings?: Readonly<Record<string, unknown>>
  readonly say: (text: string) => void
}

export async function main(args: readonly string[], folder: string): Promise<number> {
  const options = {
    workload: { type: 'string', multiple: true },
    all: { type: 'boolean', default: false },
    guarantee: { type: 'string', default: 'exactly_once' },
    threads: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
    records: { type: 'string', default: String(fullRecords) },
    rounds: { type: 'string', default: '3' },
    system: { type: 'string', multiple: true },
    cache: { type: 'string', default: '0' },
    brokers: { type: 'string' },
    set: { type: 'string' },
    against: { type: 'string' },
    write: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  } as const
  let flags: ReturnType<typeof parseArgs<{ options: typeof options }>>['values']
  try {
    flags = parseArgs({ args: [...args], options }).values
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    return 2
  }
  if (flags.help) {
    console.log(usage)
    return 0
  }
  const numbers = {
    threads: Number(flags.threads),
    records: Number(flags.records),
    rounds: Number(flags.rounds),
  }
  const names = flags.workload?.flatMap(plansNamed) ?? (flags.all ? Object.keys(plans) : standard)
  const wrong = [
    ...(flags.workload ?? [])
      .filter((name) => plansNamed(name).length === 0)
      .map((name) => `there is no workload ${name}`),
    ...(guarantees.includes(flags.guarantee) ? [] : [`there is no guarantee ${flags.guarantee}`]),
    ...Object.entries(numbers)
      .filter(([, value]) => !Number.isSafeInteger(value) || value < 1)
      .map(([name]) => `--${name} is a number of at least 1`),
  ]
  if (wrong.length > 0) {
    console.error(`${wrong.join('\n')}\n\n${usage}`)
    return 2
  }
  const say = flags.json ? () => {} : (text: string) => console.error(text)
  const reference = flags.against === undefined ? null : await buildReference(resolve('.'), flags.against)
  const cluster = await openCluster(flags.brokers?.split(',') ?? null)
  let failed = 0
  try {
    const run: Run = {
      cluster,
      folder,
      guarantee: flags.guarantee as Guarantee,
      threads: numbers.threads,
      cacheBytes: Number(flags.cache),
      rounds: numbers.rounds,
      scale: {
        records: numbers.records,
        limitMs: 90_000,
        durationMs: numbers.records >= 1_000_000 ? 20_000 : 5_000,
      },
      systems: (flags.system as readonly SystemName[] | undefined) ?? null,
      ...(reference !== null && { reference: reference.folder }),
      ...(flags.set !== undefined && { settings: JSON.parse(flags.set) as Record<string, unknown> }),
      say,
    }
    const isFull =
      numbers.records === fullRecords &&
      flags.set === undefined &&
      flags.system === undefined &&
      reference === null
    const writes = isFull || flags.write
    for (const [index, workload] of names.entries()) {
      say(`${workload}, ${index + 1} of ${names.length}`)
      try {
        const { outcome, errors } = await runWorkload(run, workload)
        failed += errors.length
        for (const error of errors) console.error(error.message)
        console.log(flags.json ? jsonLineOf(outcome) : textOf(outcome))
        if (writes && outcome.systems.millrace !== undefined)
          writeResults('bench/RESULTS.md', [outcome], cluster.version ?? 'of another')
      } catch (error) {
        // Its input could not be written: the others have inputs of their own.
        failed++
        console.error(`${workload}: ${(error as Error).message}`)
      }
    }
  } finally {
    await closePlans()
    await cluster.stop()
    reference?.remove()
  }
  return failed === 0 ? 0 : 1
}

const session = `bench-${process.pid}-${Date.now().toString(36)}`

/** All rounds of one workload, the systems by turns. A system that fails is told, and the others go on. */
export async function runWorkload(
  run: Run,
  workload: string,
): Promise<{ readonly outcome: Outcome; readonly errors: readonly Error[] }> {
  const plan = plans[workload] as Plan
  const inputs = plan.inputs(run.scale)
  for (const input of inputs) await writeInput(run, input)
  const meter = new CpuMeter(run.cluster.brokerPid)
  const notes: string[] = []
  const errors: Error[] = []
  const samples = new Map<SystemName, Sample[]>()
  for (const system of systemsOf(plan, run)) {
    const reason = reasonAgainst(system, workload, run.guarantee)
    if (reason === null) samples.set(system, [])
    else notes.push(`${system}: n/a, ${reason}`)
  }
  const id = `${session}-${workload}-${Date.now().toString(36)}`
  const { reference } = run
  for (let round = firstRound(run); round <= run.rounds; round++) {
    for (const [system, taken] of samples) {
      if (round === 0 && system !== 'millrace') continue
      try {
        const limitMs = limitOf(plan, run, system)
        run.say(`${workload}, round ${round} of ${run.rounds}, ${system}`)
        const measured = plan.measure({
          cluster: run.cluster,
          system,
          workload,
          setting: {
            folder: system === 'reference' && reference !== undefined ? reference : run.folder,
            guarantee: run.guarantee,
            threads: run.threads,
            cacheBytes: run.cacheBytes,
            ...(run.settings && { settings: run.settings }),
          },
          scale: { ...run.scale, limitMs, durationMs: durationOf(plan, run, round) },
          inputs,
          session,
          name: `${id}-${system}-${round}`,
        })
        const sample = await ended(measured, limitMs * partsMax + marginMs)
        if (round === 0) continue
        taken.push(sample)
        if (sample.note !== undefined) notes.push(`${system}: ${sample.note}`)
        run.say(`${workload}, round ${round}, ${system}: ${JSON.stringify(sample)}`)
      } catch (error) {
        const message = `${workload}, round ${round}, ${system}: ${(error as Error).message}`
        errors.push(new Error(message, { cause: error }))
        run.say(message)
      }
    }
  }
  const systems: { [system in SystemName]?: Summary } = {}
  for (const [system, taken] of samples) if (taken.length > 0) systems[system] = summarise(taken)
  const { guarantee, threads } = run
  const outcome: Outcome = {
    workload,
    guarantee,
    threads,
    compares: plan.compares,
    date: new Date().toISOString(),
    commit: commit(),
    records: inputs.reduce((total, { records }) => total + records, 0),
    cacheBytes: run.cacheBytes,
    others: meter.others(),
    systems,
    notes,
  }
  const difference = differenceIn(outcome)
  if (difference !== null) errors.push(new Error(`${workload}: ${difference}`))
  for (const { message } of errors) notes.push(message.split('\n')[0] ?? '')
  return { outcome, errors }
}

/** The most limits that a measurement has one after the other (filling state has four, the three guarantees three). */
const partsMax = 4
/** For starting, recovering, draining, reading back and checking. */
const marginMs = 600_000

/** A measurement that neither ends nor fails is failed, and its systems with it. */
export async function ended<T>(measured: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`did not end within ${limitMs / 1_000} s`))
      measured.catch(() => {})
      void killAll()
    }, limitMs)
  })
  try {
    return await Promise.race([measured, late])
  } finally {
    clearTimeout(timer)
  }
}

const warm = new WeakSet<Cluster>()

/** A new broker is itself slow until its code is compiled; whoever goes first would pay for all. */
function firstRound({ cluster, scale }: Run): 0 | 1 {
  if (warm.has(cluster) || cluster.brokerPid === null || scale.records < fullRecords / 4) return 1
  warm.add(cluster)
  return 0
}

function durationOf(plan: Plan, { scale }: Run, round: number): number {
  return round === 0 ? scale.durationMs * (plan.warmUpTimes ?? 1) : scale.durationMs
}

/** What one writes by hand does the same at each moment: a quarter of the time says as much. */
function limitOf(plan: Plan, { scale }: Run, system: SystemName): number {
  const limitMs = Math.max(plan.limitMs ?? 0, scale.limitMs)
  return system === 'kafkajs' ? limitMs / 4 : limitMs
}

function systemsOf(plan: Plan, { systems, reference }: Run): readonly SystemName[] {
  if (reference !== undefined) return ['millrace', 'reference']
  return plan.systems.filter((system) => systems === null || systems.includes(system))
}

const made = new Set<string>()

async function writeInput({ cluster, say }: Run, input: Input): Promise<void> {
  if (made.has(input.topic)) return
  const start = Date.now()
  await makeInput(cluster, input)
  made.add(input.topic)
  say(`${input.topic}: ${input.records} records in ${Date.now() - start} ms`)
}
