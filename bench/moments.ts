/** What is measured in time and not in records: latency, the first result, a rebalance, a restart, a restore. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { noHeaders } from '../src/base/headers.ts'
import { BatchBuilder } from '../src/wire/batch-builder.ts'
import { partitionFor } from '../src/wire/murmur2.ts'
import { type Cluster, committedOf, createTopic, deleteTopics, endsOf, sum } from './cluster.ts'
import { type Input, makeInput, startTime } from './input.ts'
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

/** A steady load of so many records a second, and what is done with them. */
export type Flow = { readonly workload: 'window-count' | 'copy'; readonly recordsPerSecond: number }

/** From produce to readable. */
export function measureLatency(
  cluster: Cluster,
  system: SystemName,
  setting: Setting,
  name: string,
  flow: Flow,
  durationMs: number,
): Promise<Latency> {
  return withJob(cluster, name, setting, { workload: flow.workload }, async (job) => {
    const subject = await startSystem(system, job)
    let load: SteadyLoad | null = null
    try {
      await subject.running()
      load = await steady(cluster, job, flow)
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

function steady(
  cluster: Cluster,
  { inputs, output }: Job,
  { workload, recordsPerSecond }: Flow,
): Promise<SteadyLoad> {
  return SteadyLoad.start(cluster, {
    input: inputs[0] ?? '',
    output,
    partitions,
    keys: 10_000,
    recordsPerSecond,
    echo: workload === 'copy' ? 'copies' : 'counts',
  })
}

export type Stall = Usage & {
  /** With nothing going on: what the machine does to any result. */
  readonly quietMs: number
  readonly joinMs: number
  readonly leaveMs: number
}

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
      load = await steady(cluster, job, { workload: 'window-count', recordsPerSecond })
      await wait(warmUpMs)
      load.takeAges()
      await wait(warmUpMs)
      const quietMs = percentile(load.takeAges(), 1)
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
      return { ...usage, quietMs, joinMs, leaveMs }
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

export type Recovery = Usage & {
  readonly seconds: number
  readonly restored: number
  /** Most that may be restored: what was committed in the last seconds before the kill. */
  readonly tail?: number
}

const loadPerSecond = 2_000
const loadMs = 5_000
const tailMs = 3_000

/**
 * An application with state, once filled: `restart` kills it under load and starts it on what it has on disk, `restore`
 * starts it without. After each start a sample of keys is counted once more, which shows that the state is whole, and
 * the load of all restarts must be there, once where the guarantee says so.
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
  #loaded = 0

  constructor(cluster: Cluster, system: SystemName, setting: Setting, name: string, input: Input) {
    this.#cluster = cluster
    this.#system = system
    this.#setting = setting
    this.#name = name
    this.#input = input
  }

  async fill(limitMs: number): Promise<void> {
    this.#stateDir = await mkdtemp(join(tmpdir(), 'bench-state-'))
    try {
      for (const topic of ['out', 'sample', 'load'])
        await createTopic(this.#cluster, `${this.#name}-${topic}`, partitions)
      this.#subject = await this.#start()
      await this.#subject.running()
      await this.#caughtUp(this.#input.topic, this.#input.records, limitMs)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async restart(): Promise<Recovery> {
    const tail = await this.#loadAndKill()
    const recovery = await this.#recover()
    // Kafka Streams restores all of it here; that it does is its time, not an error.
    if (this.#system !== 'kafka-streams' && recovery.restored > tail)
      throw new Error(
        `${this.#system} replayed ${recovery.restored} records; ${tail} were committed in the ${tailMs} ms before the kill`,
      )
    return { ...recovery, tail }
  }

  async restore(): Promise<Recovery> {
    await this.#subject?.finish()
    await rm(this.#stateDir, { recursive: true, force: true })
    const recovery = await this.#recover()
    if (recovery.restored < this.#input.keys)
      throw new Error(`${this.#system} restored ${recovery.restored} records of ${this.#input.keys} keys`)
    return recovery
  }

  async close(): Promise<void> {
    await this.#subject?.kill()
    await rm(this.#stateDir, { recursive: true, force: true })
    await deleteTopics(this.#cluster, this.#name)
  }

  async #recover(): Promise<Recovery> {
    this.#subject = await this.#start()
    const [, at, json] = await this.#subject.said(/^RUNNING (\d+) (.*)/, 300_000)
    const seconds = (Number(at) - this.#subject.startedAt) / 1_000
    const { restored } = JSON.parse(json ?? '{}') as { readonly restored: number }
    const usage = this.#subject.usage
    await this.#check()
    return { ...usage, seconds, restored }
  }

  #start(): Promise<SystemProcess> {
    return startSystem(this.#system, {
      workload: 'state',
      brokers: this.#cluster.brokers,
      applicationId: this.#name,
      stateDir: this.#stateDir,
      inputs: [this.#input.topic, `${this.#name}-sample`, `${this.#name}-load`],
      output: `${this.#name}-out`,
      ...this.#setting,
    })
  }

  async #caughtUp(topic: string, records: number, timeoutMs: number): Promise<void> {
    const end = Date.now() + timeoutMs
    for (;;) {
      const done = sum(await committedOf(this.#cluster, this.#name, topic, partitions))
      if (done >= records) return
      if (this.#subject?.isAlive === false) throw new Error(`${this.#system} ended:\n${this.#subject.tail}`)
      if (Date.now() > end)
        throw new Error(
          `${this.#system} had ${done} of ${records} records of ${topic} after ${timeoutMs} ms:\n${this.#subject?.tail}`,
        )
      await wait(100)
    }
  }

  /** New values for all keys but those of the sample, steadily; a kill in the midst of it. Gives the tail. */
  async #loadAndKill(): Promise<number> {
    const topic = `${this.#name}-load`
    const changelog = `${this.#name}-state-changelog`
    const first = this.#sampled
    const seen: { readonly at: number; readonly end: number }[] = []
    const look = async () => {
      const end = sum(await endsOf(this.#cluster, changelog, partitions))
      seen.push({ at: Date.now(), end })
    }
    const producer = this.#cluster.client.producer({ deliveryTimeoutMs: 60_000, compression: 'none' })
    await producer.init()
    try {
      const startedAt = Date.now()
      let produced = 0
      while (Date.now() - startedAt < loadMs) {
        const due = Math.floor(((Date.now() - startedAt) * loadPerSecond) / 1_000) - produced
        const open = new Map<number, BatchBuilder>()
        for (let index = 0; index < due; index++) {
          const number = first + ((this.#loaded + index) % Math.max(1, this.#input.keys - first))
          const key = Buffer.from(`car-${number}`)
          const value = Buffer.from(`row-${number}${this.#input.padding ?? ''}`)
          const partition = partitionFor(key, 0, key.length, partitions)
          let builder = open.get(partition)
          if (builder === undefined) open.set(partition, (builder = new BatchBuilder()))
          builder.append(startTime, key, 0, key.length, value, 0, value.length, noHeaders)
        }
        await producer.produce(Array.from(open, ([partition, builder]) => ({ topic, partition, builder })))
        produced += due
        this.#loaded += due
        await look()
        await wait(20)
      }
    } finally {
      await producer.close()
    }
    await look()
    const { at, end } = seen.at(-1) as { at: number; end: number }
    await this.#subject?.kill()
    const before = seen.findLast((one) => one.at <= at - tailMs) ?? seen[0]
    return end - (before?.end ?? 0)
  }

  get #sampled(): number {
    return Math.min(1_000, Math.floor(this.#input.keys / 2))
  }

  /** Every key was counted once by the input; each start adds one to a sample, each restart its load to the others. */
  async #check(): Promise<void> {
    this.#starts++
    const keys = this.#sampled
    const topic = `${this.#name}-sample`
    await makeInput(this.#cluster, { ...this.#input, topic, records: keys, keys, adds: true })
    await this.#caughtUp(topic, keys * this.#starts, 120_000)
    await this.#caughtUp(`${this.#name}-load`, this.#loaded, 120_000)
    const counts = new Int32Array(this.#input.keys)
    const output = `${this.#name}-out`
    await readTopic(this.#cluster, output, await endsOf(this.#cluster, output, partitions), (record) => {
      const { buffer, keyStart, keyEnd, valueStart } = record
      const key = Number(buffer.toString('latin1', keyStart + 4, keyEnd))
      counts[key] = Number.parseInt(buffer.toString('latin1', valueStart, valueStart + 12), 10)
    })
    const due = this.#starts + 1
    let loaded = 0
    for (const [key, count] of counts.entries()) {
      if (key >= keys) loaded += count - 1
      else if (count !== due)
        throw new Error(`${this.#system}: car-${key} was counted ${count} times, ${due} were due`)
    }
    const { guarantee } = this.#setting
    const isRight =
      guarantee === 'exactly_once'
        ? loaded === this.#loaded
        : guarantee === 'at_least_once'
          ? loaded >= this.#loaded
          : loaded <= this.#loaded
    if (!isRight)
      throw new Error(`${this.#system}: ${loaded} records of the load were counted of ${this.#loaded}`)
  }
}
