/** What is measured in time and not in records: latency, the first result, a rebalance, a restart, a restore. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { type Cluster, committedOf, createTopic, deleteTopics, endsOf, sum } from './cluster.ts'
import { type Input, makeInput } from './input.ts'
import { percentile, SteadyLoad } from './load.ts'
import type { SystemProcess, Usage } from './process.ts'
import { readTopic } from './reader.ts'
import { type Guarantee, type Job, type SystemName, startSystem } from './systems.ts'

export type Setting = {
  readonly folder: string
  readonly guarantee: Guarantee
  readonly threads: number
  readonly cacheBytes: number
  readonly settings?: Readonly<Record<string, unknown>>
}

const partitions = 4

async function withJob<T>(
  cluster: Cluster,
  name: string,
  setting: Setting,
  more: Pick<Job, 'workload'> & Partial<Job>,
  work: (job: Job) => Promise<T>,
): Promise<T> {
  const stateDir = await mkdtemp(join(tmpdir(), 'bench-state-'))
  const job: Job = {
    brokers: cluster.brokers,
    applicationId: name,
    stateDir,
    inputs: [`${name}-in`],
    output: `${name}-out`,
    ...setting,
    ...more,
  }
  await createTopic(cluster, job.output, partitions)
  if (more.inputs === undefined) await createTopic(cluster, `${name}-in`, partitions)
  try {
    return await work(job)
  } finally {
    await rm(stateDir, { recursive: true, force: true })
    await deleteTopics(cluster, name)
  }
}

export type Latency = Usage & { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number }

const warmUpMs = 5_000
const drainMs = 90_000

/** From produce to readable, of a windowed count of a steady load. */
export function measureLatency(
  cluster: Cluster,
  system: SystemName,
  setting: Setting,
  name: string,
  recordsPerSecond: number,
  durationMs: number,
): Promise<Latency> {
  return withJob(cluster, name, setting, { workload: 'window-count' }, async (job) => {
    const subject = await startSystem(system, job)
    let load: SteadyLoad | null = null
    try {
      await subject.running()
      load = await steady(cluster, job, recordsPerSecond)
      await wait(warmUpMs)
      load.takeAges()
      await wait(durationMs)
      const ages = load.takeAges()
      const usage = subject.usage
      await load.stop(drainMs)
      await subject.finish()
      return {
        ...usage,
        p50Ms: percentile(ages, 0.5),
        p99Ms: percentile(ages, 0.99),
        maxMs: percentile(ages, 1),
      }
    } finally {
      await load?.close()
      await subject.kill()
    }
  })
}

function steady(cluster: Cluster, { inputs, output }: Job, recordsPerSecond: number): Promise<SteadyLoad> {
  return SteadyLoad.start(cluster, {
    input: inputs[0] ?? '',
    output,
    partitions,
    keys: 10_000,
    recordsPerSecond,
  })
}

export type Stall = Usage & { readonly joinMs: number; readonly leaveMs: number }

/** The oldest result that arrives while a second copy, with a standby of each task, joins and then leaves. */
export function measureRebalance(
  cluster: Cluster,
  system: SystemName,
  setting: Setting,
  name: string,
  recordsPerSecond: number,
  settleMs: number,
): Promise<Stall> {
  return withJob(cluster, name, setting, { workload: 'window-count', standbys: 1 }, async (job) => {
    const second = await mkdtemp(join(tmpdir(), 'bench-state-'))
    const stays = await startSystem(system, job)
    const comes: SystemProcess[] = []
    let load: SteadyLoad | null = null
    try {
      await stays.running()
      load = await steady(cluster, job, recordsPerSecond)
      await wait(warmUpMs)
      load.takeAges()
      const joins = await startSystem(system, { ...job, stateDir: second })
      comes.push(joins)
      await joins.running()
      await wait(settleMs)
      const joinMs = percentile(load.takeAges(), 1)
      await joins.finish()
      await wait(settleMs)
      const leaveMs = percentile(load.takeAges(), 1)
      const usage = stays.usage
      await load.stop(drainMs)
      await stays.finish()
      return { ...usage, joinMs, leaveMs }
    } finally {
      await load?.close()
      await Promise.all([stays, ...comes].map((subject) => subject.kill()))
      await rm(second, { recursive: true, force: true })
    }
  })
}

export type Start = Usage & { readonly seconds: number }

/** From the spawn of the process to its first committed result. */
export function measureStart(
  cluster: Cluster,
  system: SystemName,
  setting: Setting,
  name: string,
  input: Input,
): Promise<Start> {
  return withJob(cluster, name, setting, { workload: 'window-count', inputs: [input.topic] }, async (job) => {
    const subject = await startSystem(system, job)
    try {
      const end = Date.now() + 60_000
      while (sum(await endsOf(cluster, job.output, partitions)) === 0) {
        if (!subject.isAlive) throw new Error(`${system} ended before its first result:\n${subject.tail}`)
        if (Date.now() > end) throw new Error(`${system} had no result in a minute:\n${subject.tail}`)
        await wait(5)
      }
      const seconds = (Date.now() - subject.startedAt) / 1_000
      while (sum(await committedOf(cluster, name, input.topic, partitions)) < input.records) {
        if (Date.now() > end) throw new Error(`${system} was not through its input in a minute`)
        await wait(50)
      }
      const usage = subject.usage
      await subject.finish()
      const last = new Map<string, number>()
      await readTopic(cluster, job.output, await endsOf(cluster, job.output, partitions), (record) => {
        const { buffer, keyStart, keyEnd, valueStart } = record
        last.set(buffer.toString('latin1', keyStart, keyEnd), Number(buffer.readBigInt64BE(valueStart)))
      })
      const counted = sum([...last.values()])
      if (counted !== input.records)
        throw new Error(`${system} counted ${counted} of ${input.records} records`)
      return { ...usage, seconds }
    } finally {
      await subject.kill()
    }
  })
}

export type Recovery = Usage & { readonly seconds: number; readonly restored: number }

/**
 * An application with state, once filled: `restart` kills it and starts it on what it has on disk, `restore` starts it
 * without. After each start a sample of keys is counted once more, which shows that the state is whole.
 */
export class Stateful {
  readonly #cluster: Cluster
  readonly #system: SystemName
  readonly #name: string
  readonly #setting: Setting
  readonly #input: Input
  #stateDir = ''
  #subject: SystemProcess | null = null
  #starts = 0

  constructor(cluster: Cluster, system: SystemName, setting: Setting, name: string, input: Input) {
    this.#cluster = cluster
    this.#system = system
    this.#setting = setting
    this.#name = name
    this.#input = input
  }

  async fill(): Promise<void> {
    this.#stateDir = await mkdtemp(join(tmpdir(), 'bench-state-'))
    await createTopic(this.#cluster, `${this.#name}-out`, partitions)
    await createTopic(this.#cluster, `${this.#name}-sample`, partitions)
    this.#subject = await this.#start()
    await this.#subject.running()
    await this.#caughtUp(this.#input.topic, this.#input.records, 900_000)
  }

  async restart(): Promise<Recovery> {
    await this.#subject?.kill()
    return this.#recover()
  }

  async restore(): Promise<Recovery> {
    await this.#subject?.finish()
    await rm(this.#stateDir, { recursive: true, force: true })
    return this.#recover()
  }

  async close(): Promise<void> {
    await this.#subject?.kill()
    await rm(this.#stateDir, { recursive: true, force: true })
    await deleteTopics(this.#cluster, this.#name)
  }

  async #recover(): Promise<Recovery> {
    this.#subject = await this.#start()
    const [, at, json] = await this.#subject.said(/^RUNNING (\d+) (.*)/, 600_000)
    const seconds = (Number(at) - this.#subject.startedAt) / 1_000
    const { restored } = JSON.parse(json ?? '{}') as { readonly restored: number }
    const usage = this.#subject.usage
    await this.#checkSample()
    return { ...usage, seconds, restored }
  }

  #start(): Promise<SystemProcess> {
    return startSystem(this.#system, {
      workload: 'state',
      brokers: this.#cluster.brokers,
      applicationId: this.#name,
      stateDir: this.#stateDir,
      inputs: [this.#input.topic, `${this.#name}-sample`],
      output: `${this.#name}-out`,
      ...this.#setting,
    })
  }

  async #caughtUp(topic: string, records: number, timeoutMs: number): Promise<void> {
    const end = Date.now() + timeoutMs
    while (sum(await committedOf(this.#cluster, this.#name, topic, partitions)) < records) {
      if (this.#subject?.isAlive === false) throw new Error(`${this.#system} ended:\n${this.#subject.tail}`)
      if (Date.now() > end) throw new Error(`${this.#system} was not through ${topic} in ${timeoutMs} ms`)
      await wait(100)
    }
  }

  /** Every key was counted once by the input and once by each start before this. */
  async #checkSample(): Promise<void> {
    this.#starts++
    const keys = Math.min(1_000, this.#input.keys)
    const topic = `${this.#name}-sample`
    await makeInput(this.#cluster, {
      ...this.#input,
      topic,
      records: keys,
      keys,
      adds: true,
    })
    await this.#caughtUp(topic, keys * this.#starts, 120_000)
    const counts = new Map<string, number>()
    const output = `${this.#name}-out`
    await readTopic(this.#cluster, output, await endsOf(this.#cluster, output, partitions), (record) => {
      const { buffer, keyStart, keyEnd, valueStart, valueEnd } = record
      const key = buffer.toString('latin1', keyStart, keyEnd)
      counts.set(key, Number.parseInt(buffer.toString('latin1', valueStart, valueEnd), 10))
    })
    for (let key = 0; key < keys; key++) {
      const count = counts.get(`car-${key}`)
      if (count !== this.#starts + 1)
        throw new Error(
          `${this.#system}: car-${key} was counted ${count} times, ${this.#starts + 1} were due`,
        )
    }
  }
}
