/** Each workload of the suite: its input, how a system is measured on it, and which figure is compared. */
import type { Cluster } from './cluster.ts'
import type { Input } from './input.ts'
import { measureLatency, measureRebalance, measureStart, type Setting, Stateful } from './moments.ts'
import type { Usage } from './process.ts'
import type { SystemName } from './systems.ts'
import { measureThroughput } from './throughput.ts'
import { wire } from './workloads/wire.ts'

/** One round of one system. */
export type Sample = Usage & {
  readonly recordsPerSecond: number
  /** What is compared; more is better. */
  readonly score: number
  /** What else is shown, by its heading. */
  readonly figures: Readonly<Record<string, number>>
}

export type Scale = {
  readonly records: number
  /** A system that takes longer than this for one measurement is stopped, and rated by what it committed. */
  readonly limitMs: number
  /** Of a steady load. */
  readonly durationMs: number
}

export type Plan = {
  readonly inputs: (scale: Scale) => readonly Input[]
  readonly systems: readonly SystemName[]
  /** What `score` is, in words. */
  readonly compares: string
  readonly measure: (turn: Turn) => Promise<Sample>
  /** Ends what was kept for later rounds. */
  readonly close?: (run: string) => Promise<void>
}

export type Turn = {
  readonly cluster: Cluster
  readonly system: SystemName
  readonly workload: string
  readonly setting: Setting
  readonly scale: Scale
  readonly inputs: readonly Input[]
  /** Of the run: what is kept between its rounds is kept under it. */
  readonly run: string
  /** Of this measurement alone. */
  readonly name: string
}

const keys = 10_000
const perSecond = 10_000

function events(records: number, more: Partial<Input> = {}): Input {
  const input: Input = {
    topic: '',
    records: Math.max(1, Math.round(records)),
    keys,
    partitions: 4,
    kind: 'events',
    perSecond,
    seed: 42,
    ...more,
  }
  const { kind, partitions, seed } = input
  const rate = input.perSecond
  return { ...input, topic: `bench-${kind}-${input.records}-${input.keys}-${partitions}-${rate}-${seed}` }
}

function rows(count: number, padding = ''): Input {
  const input = events(count, { kind: 'rows', keys: count, padding })
  return { ...input, topic: `${input.topic}-${padding.length}` }
}

const all: readonly SystemName[] = ['millrace', 'kafka-streams', 'kafkajs']
const rates = 'records/s'

async function throughput(turn: Turn): Promise<Sample> {
  const { cluster, system, workload, setting, scale, inputs, name } = turn
  const { recordsPerSecond, cpuSeconds, rssMb, ...more } = await measureThroughput(
    cluster,
    system,
    { workload: workload.replace(/^scale-.*/, 'window-count'), inputs, limitMs: scale.limitMs, ...setting },
    name,
  )
  return {
    recordsPerSecond,
    cpuSeconds,
    rssMb,
    score: recordsPerSecond,
    figures: {
      written: more.written,
      commits: more.commits,
      records: more.records,
      'broker CPU s': more.brokerCpuSeconds,
    },
  }
}

function throughputOf(inputs: Plan['inputs'], systems: readonly SystemName[] = all): Plan {
  return { inputs, systems, compares: rates, measure: throughput }
}

function latencyAt(rate: number): Plan {
  return {
    inputs: () => [],
    systems: ['millrace', 'kafka-streams'],
    compares: 'p99 latency',
    async measure({ cluster, system, setting, scale, name }) {
      const { cpuSeconds, rssMb, p50Ms, p99Ms, maxMs } = await measureLatency(
        cluster,
        system,
        setting,
        name,
        rate,
        scale.durationMs,
      )
      const figures = { 'p50 ms': p50Ms, 'p99 ms': p99Ms, 'max ms': maxMs }
      return { recordsPerSecond: rate, cpuSeconds, rssMb, score: 1 / p99Ms, figures }
    },
  }
}

const filled = new Map<string, Promise<Stateful>>()

/** Filled once for each system; each round then kills it or takes its folder away. */
function recovery(kind: 'restart' | 'restore'): Plan {
  return {
    // 2,500,000 keys with 400 bytes each are 1 GB.
    inputs: ({ records }) => [rows(Math.max(1_000, Math.round(records * 0.625)), 'x'.repeat(380))],
    systems: ['millrace', 'kafka-streams'],
    compares: kind === 'restart' ? 'time until tasks run' : 'records restored/s',
    async measure({ cluster, system, setting, inputs, run }) {
      const input = inputs[0] as Input
      const key = `${run}-${system}`
      let kept = filled.get(key)
      if (kept === undefined) {
        const stateful = new Stateful(cluster, system, setting, key, input)
        kept = stateful.fill().then(() => stateful)
        filled.set(key, kept)
      }
      const { seconds, restored, cpuSeconds, rssMb } = await (await kept)[kind]()
      return {
        recordsPerSecond: Math.round(input.records / seconds),
        cpuSeconds,
        rssMb,
        score: 1 / seconds,
        figures: { seconds, restored },
      }
    },
    async close(run) {
      for (const [key, kept] of filled) {
        if (!key.startsWith(run)) continue
        filled.delete(key)
        await kept.then((stateful) => stateful.close()).catch(() => {})
      }
    },
  }
}

export const plans: { readonly [workload: string]: Plan } = {
  wire: {
    inputs: () => [],
    systems: ['millrace', 'kafkajs'],
    compares: 'records fetched and decoded/s',
    async measure({ cluster, system, scale, run }) {
      let result = wired.get(run)
      if (result === undefined) {
        result = wire({
          brokers: cluster.brokers,
          records: Math.min(scale.records / 4, 1_000_000),
          rounds: 3,
        })
        wired.set(run, result)
      }
      const { measurements } = await result
      const best = (what: string) => {
        const rates = measurements
          .filter(({ name }) => name.startsWith(`${what}, ${system}`))
          .map(({ recordsPerSecond }) => recordsPerSecond)
        return Math.max(...rates)
      }
      const fetched = best('fetch and decode')
      const figures = { 'produced/s': best('produce') }
      return { recordsPerSecond: fetched, cpuSeconds: 0, rssMb: 0, score: fetched, figures }
    },
  },
  copy: throughputOf(({ records }) => [events(records)]),
  filter: throughputOf(({ records }) => [events(records)]),
  'window-count': throughputOf(({ records }) => [events(records)]),
  'json-average': throughputOf(({ records }) => [events(records)]),
  // Each record counts in 600 windows.
  hopping: throughputOf(({ records }) => [events(records / 200)]),
  session: throughputOf(({ records }) => [events(records)]),
  'stream-table': throughputOf(({ records }) => [events(records), rows(keys)]),
  'stream-stream': throughputOf(({ records }) => [
    events(records / 2, { perSecond: perSecond / 2 }),
    events(records / 2, { perSecond: perSecond / 2, seed: 43 }),
  ]),
  repartition: throughputOf(({ records }) => [events(records)]),
  'many-keys': throughputOf(({ records }) => [events(records * 5, { keys: Math.round(records * 2.5) })]),
  'latency-1000': latencyAt(1_000),
  'latency-50000': latencyAt(50_000),
  start: {
    inputs: () => [events(1_000)],
    systems: all,
    compares: 'time to the first committed result',
    async measure({ cluster, system, setting, inputs, name }) {
      const { seconds, cpuSeconds, rssMb } = await measureStart(
        cluster,
        system,
        setting,
        name,
        inputs[0] as Input,
      )
      const recordsPerSecond = Math.round(1_000 / seconds)
      return { recordsPerSecond, cpuSeconds, rssMb, score: 1 / seconds, figures: { seconds } }
    },
  },
  rebalance: {
    inputs: () => [],
    systems: ['millrace', 'kafka-streams'],
    compares: 'longest stall',
    async measure({ cluster, system, setting, scale, name }) {
      const rate = 2_000
      const { cpuSeconds, rssMb, joinMs, leaveMs } = await measureRebalance(
        cluster,
        system,
        setting,
        name,
        rate,
        scale.durationMs,
      )
      const score = 1 / Math.max(joinMs, leaveMs)
      const figures = { 'join ms': joinMs, 'leave ms': leaveMs }
      return { recordsPerSecond: rate, cpuSeconds, rssMb, score, figures }
    },
  },
  restart: recovery('restart'),
  restore: recovery('restore'),
  'scale-200': throughputOf(
    ({ records }) => [events(records, { partitions: 200 })],
    ['millrace', 'kafka-streams'],
  ),
  'scale-state': throughputOf(
    ({ records }) => [events(records, { keys: keys * 10 })],
    ['millrace', 'kafka-streams'],
  ),
}

const wired = new Map<string, ReturnType<typeof wire>>()

/** The first six rows of the table of what is to be reached. */
export const standard: readonly string[] = [
  'copy',
  'window-count',
  'json-average',
  'stream-table',
  'stream-stream',
  'session',
  'repartition',
  'hopping',
  'many-keys',
]

/** The workloads of a name: `latency` and `scale` are two each. */
export function plansNamed(name: string): readonly string[] {
  return Object.keys(plans).filter((one) => one === name || one.startsWith(`${name}-`))
}
