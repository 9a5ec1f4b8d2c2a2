/**
 * Records a second, the same rule for every system: from when its tasks run, or its first result where that is sooner,
 * until the group's committed offsets have reached the input's end and the output has stopped growing. Seen from
 * outside, through the broker.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { type Check, checkOf, type Shape } from './checks.ts'
import { type Cluster, committedOf, createTopic, deleteTopics, endsOf, sum } from './cluster.ts'
import type { Input } from './input.ts'
import { type SystemProcess, type Usage, usageOf } from './process.ts'
import { readTopic } from './reader.ts'
import { type Guarantee, type SystemName, startSystem } from './systems.ts'

export type Measured = Usage & {
  readonly recordsPerSecond: number
  readonly seconds: number
  /** Time was up before it was through. */
  readonly isCut: boolean
  /** Input records that were through in the end; fewer than there are when time was up. */
  readonly records: number
  /** Of the process, from when its tasks ran. */
  readonly workCpuSeconds: number
  readonly written: number
  readonly commits: number
  readonly brokerCpuSeconds: number
  /** Most the broker ever had. */
  readonly brokerMb: number
}

export type Throughput = {
  readonly folder: string
  readonly workload: string
  readonly guarantee: Guarantee
  readonly threads: number
  readonly inputs: readonly Input[]
  readonly cacheBytes: number
  /** A system that isn't through by then is stopped, and its rate is that of what it committed. */
  readonly limitMs: number
  readonly settings?: Readonly<Record<string, unknown>>
}

// Each look costs what is measured some CPU time, too.
const pollMs = 60
const quietMs = 1_500
const restMs = 500

/** Kept for the rounds to come: the same input always gives the same result. */
const checks = new Map<string, Check>()

export async function measureThroughput(
  cluster: Cluster,
  system: SystemName,
  run: Throughput,
  name: string,
): Promise<Measured> {
  const partitions = run.inputs[0]?.partitions ?? 4
  const output = `${name}-out`
  const stateDir = await mkdtemp(join(tmpdir(), 'bench-state-'))
  await createTopic(cluster, output, partitions)
  const brokerBefore = brokerUsage(cluster)
  const subject = await startSystem(system, {
    workload: run.workload,
    folder: run.folder,
    brokers: cluster.brokers,
    applicationId: name,
    guarantee: run.guarantee,
    threads: run.threads,
    cacheBytes: run.cacheBytes,
    stateDir,
    inputs: run.inputs.map(({ topic }) => topic),
    output,
    ...(run.settings && { settings: run.settings }),
  })
  try {
    const startedAt = await beginOf(cluster, subject, output, partitions)
    const cpuBefore = subject.usage.cpuSeconds
    const committed = async () => {
      const all: number[][] = []
      for (const { topic } of run.inputs) all.push(await committedOf(cluster, name, topic, partitions))
      return all
    }
    const total = sum(run.inputs.map(({ records }) => records))
    let grewAt = startedAt
    let written = 0
    let reachedAt: number | null = null
    let done = 0
    for (;;) {
      const now = Date.now()
      const ends = sum(await endsOf(cluster, output, partitions))
      if (ends !== written) {
        written = ends
        grewAt = now
      }
      if (reachedAt === null) {
        done = sum((await committed()).map(sum))
        if (done >= total) reachedAt = now
      }
      if (reachedAt !== null && Date.now() - Math.max(grewAt, reachedAt) > quietMs) break
      if (Date.now() - startedAt > run.limitMs) break
      if (!subject.isAlive) throw new Error(`${system} ended while it was measured:\n${subject.tail}`)
      await wait(reachedAt === null ? pollMs : pollMs / 2)
    }
    const seconds = ((reachedAt === null ? Date.now() : Math.max(grewAt, reachedAt)) - startedAt) / 1_000
    const usage = subject.usage
    const brokerAfter = brokerUsage(cluster)
    const brokerCpuSeconds = brokerAfter.cpuSeconds - brokerBefore.cpuSeconds
    const { commits } = await subject.finish()
    const ends = await committed()
    const check = await expected(cluster, run, ends)
    let count = 0
    await readTopic(cluster, output, await endsOf(cluster, output, partitions), (record) => {
      count++
      check.output(record)
    })
    const isCut = reachedAt === null
    // Committed is not counted where a repartition topic lies between: a rate is that of what came out.
    const counted = isCut ? check.counted?.() : undefined
    const wrong = check.verdict(isCut)
    if (wrong !== null) throw new Error(`${system}, ${run.workload}, ${run.guarantee}: ${wrong}`)
    return {
      ...usage,
      recordsPerSecond: Math.round((counted ?? done) / seconds),
      seconds,
      isCut,
      records: counted ?? sum(ends.map(sum)),
      workCpuSeconds: usage.cpuSeconds - cpuBefore,
      written: count,
      commits,
      brokerCpuSeconds,
      brokerMb: brokerAfter.rssMb,
    }
  } finally {
    await subject.kill()
    await rm(stateDir, { recursive: true, force: true })
    await deleteTopics(cluster, name, [output])
    await wait(restMs)
  }
}

/** Of two hundred tasks the first are through before the last one runs. */
async function beginOf(
  cluster: Cluster,
  subject: SystemProcess,
  output: string,
  partitions: number,
): Promise<number> {
  let runsAt: number | null = null
  let failure: unknown = null
  subject.running().then(
    (at) => {
      runsAt = at
    },
    (error: unknown) => {
      failure = error
    },
  )
  let nothingAt = Date.now()
  for (;;) {
    const lookAt = Date.now()
    if (sum(await endsOf(cluster, output, partitions)) > 0) return Math.min(runsAt ?? nothingAt, nothingAt)
    nothingAt = lookAt
    if (failure !== null) throw failure
    if (runsAt !== null) return runsAt
    await wait(pollMs)
  }
}

function brokerUsage({ brokerPid }: Cluster): Usage {
  return brokerPid === null ? { cpuSeconds: 0, rssMb: 0 } : usageOf(brokerPid)
}

async function expected(
  cluster: Cluster,
  { workload, inputs }: Throughput,
  committed: readonly (readonly number[])[],
): Promise<Check> {
  const key = JSON.stringify([workload, inputs.map(({ topic }) => topic), committed])
  const kept = checks.get(key)
  if (kept !== undefined) return kept
  const shape: Shape = {
    records: Math.max(...inputs.map(({ records }) => records)),
    keys: inputs[0]?.keys ?? 0,
  }
  const longest = inputs.find(({ records }) => records === shape.records)
  const check = checkOf(workload, {
    ...shape,
    // Checks count seconds of event time at 10,000 records each.
    records: Math.ceil(shape.records * (10_000 / (longest?.perSecond ?? 10_000))),
  })
  for (const [index, { topic }] of inputs.entries())
    await readTopic(cluster, topic, committed[index] as number[], (record) => check.input(index, record))
  check.seal()
  // One at a time: they are large.
  checks.clear()
  checks.set(key, check)
  return check
}
