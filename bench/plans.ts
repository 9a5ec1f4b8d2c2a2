/** Each workload of the suite: its input, how a system is measured on it, and which figure is compared. */
import type { Cluster } from './cluster.ts'
import type { Input } from './input.ts'
import { measureLatency, measureRebalance, measureStart, type Setting, Stateful } from './moments.ts'
import type { Usage } from './process.ts'
import { type Guarantee, reasonAgainst, type SystemName } from './systems.ts'
import { measureThroughput } from './throughput.ts'
import { measureWire } from './wire.ts'

/** One round of one system. */
export type Sample = Usage & {
  readonly recordsPerSecond: number
  /** What is compared; more is better. */
  readonly score: number
  /** CPU time from when its tasks ran; 0 where that isn't told apart. */
  readonly workCpuSeconds?: number
  /** What else is shown, by its heading. */
  readonly figures: Readonly<Record<string, number>>
  /** What a reader of the number must know. */
  readonly note?: string
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
  /** Of its own; what is slow by nature takes longer than the others may. */
  readonly limitMs?: number
  /** The run that warms a broker lasts so many times as long: a p99 is told apart from the broker's compiler only then. */
  readonly warmUpTimes?: number
}

export type Turn = {
  readonly cluster: Cluster
  readonly system: SystemName
  readonly workload: string
  readonly setting: Setting
  readonly scale: Scale
  readonly inputs: readonly Input[]
  /** Of the whole run of the suite: what is kept between rounds and workloads is kept under it. */
  readonly session: string
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
const both: readonly SystemName[] = ['millrace', 'kafka-streams']
const rates = 'records/s'

async function throughput(turn: Turn): Promise<Sample> {
  const { cluster, system, workload, setting, scale, inputs, name } = turn
  const { recordsPerSecond, cpuSeconds, workCpuSeconds, rssMb, ...more } = await measureThroughput(
    cluster,
    system,
    { workload, inputs, limitMs: scale.limitMs, ...setting },
    name,
  )
  const due = inputs.reduce((total, { records }) => total + records, 0)
  return {
    ...(more.isCut && {
      note: `stopped after ${scale.limitMs / 1_000} s with ${more.records} of ${due} records committed`,
    }),
    recordsPerSecond,
    cpuSeconds,
    workCpuSeconds,
    rssMb,
    score: recordsPerSecond,
    figures: {
      'CPU s/M records': (cpuSeconds * 1e6) / Math.max(more.records, 1),
      written: more.written,
      commits: more.commits,
      records: more.records,
      'broker CPU s': more.brokerCpuSeconds,
      'broker MB': more.brokerMb,
    },
  }
}

function throughputOf(inputs: Plan['inputs'], systems: readonly SystemName[] = all): Plan {
  return { inputs, systems, compares: rates, measure: throughput }
}

/** The windowed count on an input that is larger in one way, beside the one on the usual input. */
function scaleOf(more: Partial<Input>, what: string): Plan {
  return {
    inputs: ({ records }) => [events(records / 2), events(records / 2, more)],
    systems: both,
    compares: `records/s, ${what}`,
    async measure(turn) {
      const rated = (input: Input | undefined, name: string) =>
        throughput({
          ...turn,
          workload: 'window-count',
          inputs: [input as Input],
          name: `${turn.name}-${name}`,
        })
      const usual = await rated(turn.inputs[0], 'usual')
      const larger = await rated(turn.inputs[1], 'larger')
      const part = larger.recordsPerSecond / usual.recordsPerSecond
      return { ...larger, figures: { ...larger.figures, 'part of the usual rate': part } }
    },
  }
}

const guarantees: readonly Guarantee[] = ['at_most_once', 'at_least_once', 'exactly_once']

const exactlyOnceLeast = 0.8
/** Rates of single runs scatter: less than this below the stronger guarantee is no order. */
const scatter = 0.05

/** What is not as it must be: each guarantee no slower than a stronger one, and exactly-once not much slower. */
export function disorderOf(figures: Readonly<Record<string, number>>): string | null {
  const wrong: string[] = []
  for (const [index, stronger] of guarantees.entries()) {
    const weaker = guarantees[index - 1]
    const [of, than] = [figures[weaker ?? ''], figures[stronger]]
    if (of !== undefined && than !== undefined && of < than * (1 - scatter))
      wrong.push(`${weaker} (${of}/s) is slower than ${stronger} (${than}/s)`)
  }
  const { exactly_once = 0, at_least_once = 0 } = figures
  if (exactly_once < at_least_once * exactlyOnceLeast)
    wrong.push(`exactly_once is under ${exactlyOnceLeast} of at_least_once`)
  return wrong.length === 0 ? null : wrong.join('; ')
}

/** The windowed count under each guarantee, one after the other. */
async function underEach(turn: Turn): Promise<Sample> {
  let last: Sample | null = null
  const figures: Record<string, number> = {}
  for (const guarantee of guarantees) {
    if (reasonAgainst(turn.system, 'window-count', guarantee) !== null) continue
    const setting = { ...turn.setting, guarantee }
    last = await throughput({
      ...turn,
      setting,
      workload: 'window-count',
      name: `${turn.name}-${guarantee.replaceAll('_', '-')}`,
    })
    figures[guarantee] = last.recordsPerSecond
    figures[`${guarantee}, CPU s`] = last.cpuSeconds
  }
  const { exactly_once = 0, at_least_once = 1 } = figures
  const note = disorderOf(figures)
  return {
    ...(last as Sample),
    ...(note !== null && { note }),
    figures: { ...figures, 'exactly / at least once': exactly_once / at_least_once },
  }
}

/** Of what keeps no state, at most once: such a record waits for no commit. */
const statelessMs = 5

function latencyAt(
  rate: number,
  workload: 'window-count' | 'copy' = 'window-count',
  settings: Readonly<Record<string, unknown>> = {},
): Plan {
  return {
    inputs: () => [],
    systems: both,
    compares: 'p99 latency',
    warmUpTimes: 6,
    async measure({ cluster, system, setting, scale, name }) {
      const { cpuSeconds, rssMb, p50Ms, p99Ms, maxMs } = await measureLatency(
        cluster,
        system,
        { ...setting, settings: { ...settings, ...setting.settings } },
        name,
        { workload, recordsPerSecond: rate },
        scale.durationMs,
      )
      const figures = { 'p50 ms': p50Ms, 'p99 ms': p99Ms, 'max ms': maxMs }
      const isLate = workload === 'copy' && setting.guarantee === 'at_most_once' && p50Ms >= statelessMs
      return {
        recordsPerSecond: rate,
        cpuSeconds,
        rssMb,
        score: 1 / p99Ms,
        figures,
        ...(isLate && { note: `half of the records take ${statelessMs} ms or more` }),
      }
    },
  }
}

const filled = new Map<string, Promise<Stateful>>()

/** Filled once for each system; each round of both then kills it or takes its folder away. */
function recovery(kind: 'restart' | 'restore'): Plan {
  return {
    // 1,000,000 keys with a kilobyte each are 1 GB.
    inputs: ({ records }) => [rows(Math.max(1_000, Math.round(records / 4)), 'x'.repeat(1_000))],
    systems: both,
    compares: kind === 'restart' ? 'time until tasks run' : 'records restored/s',
    async measure({ cluster, system, setting, inputs, scale, session }) {
      const input = inputs[0] as Input
      const key = `${session}-state-${system}-${setting.guarantee}`
      let kept = filled.get(key)
      if (kept === undefined) {
        const stateful = new Stateful(cluster, system, setting, key, input)
        kept = stateful.fill(scale.limitMs * 4).then(() => stateful)
        filled.set(key, kept)
      }
      const { seconds, ...usage } = await (await kept)[kind]()
      const { cpuSeconds, rssMb, ...figures } = usage
      return {
        recordsPerSecond: Math.round(input.records / seconds),
        cpuSeconds,
        rssMb,
        score: 1 / seconds,
        figures: { seconds, ...figures },
      }
    },
  }
}

/** Ends what was kept for later rounds and workloads. */
export async function closePlans(): Promise<void> {
  const kept = [...filled.values()]
  filled.clear()
  for (const one of kept) await one.then((stateful) => stateful.close()).catch(() => {})
}

export const plans: { readonly [workload: string]: Plan } = {
  wire: {
    inputs: ({ records }) => [events(records)],
    systems: ['millrace', 'kafkajs'],
    compares: 'records fetched and decoded/s',
    async measure({ cluster, system, setting, inputs, name }) {
      const { cpuSeconds, rssMb, fetched, produced } = await measureWire(
        cluster,
        system,
        setting,
        name,
        inputs[0] as Input,
      )
      const perSecond = Math.round(fetched.records / fetched.seconds)
      return {
        recordsPerSecond: perSecond,
        cpuSeconds,
        workCpuSeconds: fetched.cpuSeconds,
        rssMb,
        score: perSecond,
        figures: {
          records: fetched.records,
          'CPU s/M fetched': (fetched.cpuSeconds * 1e6) / fetched.records,
          'produced/s': Math.round(produced.records / produced.seconds),
          'CPU s/M produced': (produced.cpuSeconds * 1e6) / produced.records,
        },
      }
    },
  },
  copy: throughputOf(({ records }) => [events(records)]),
  filter: throughputOf(({ records }) => [events(records)]),
  'window-count': throughputOf(({ records }) => [events(records)]),
  'json-average': throughputOf(({ records }) => [events(records)]),
  // Each record counts in 600 windows.
  hopping: throughputOf(({ records }) => [events(records / 400)]),
  // Two updates a record: Kafka Streams takes two minutes.
  session: { ...throughputOf(({ records }) => [events(records)]), limitMs: 180_000 },
  'stream-table': throughputOf(({ records }) => [events(records), rows(keys)]),
  'stream-stream': throughputOf(({ records }) => [
    events(records / 2, { perSecond: perSecond / 2 }),
    events(records / 2, { perSecond: perSecond / 2, seed: 43 }),
  ]),
  // Each record passes two sub-topologies: Kafka Streams takes a minute and a half.
  repartition: { ...throughputOf(({ records }) => [events(records)]), limitMs: 180_000 },
  'many-keys': throughputOf(({ records }) => [events(records * 5, { keys: Math.round(records * 2.5) })]),
  'latency-1000': latencyAt(1_000),
  'latency-50000': latencyAt(50_000),
  'latency-copy': latencyAt(1_000, 'copy'),
  // Nothing rests between two commits: what that gives, and costs.
  'latency-unpaced': {
    ...latencyAt(1_000, 'window-count', { commitMinIntervalMs: 0 }),
    systems: ['millrace'],
  },
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
    systems: both,
    compares: 'longest stall',
    async measure({ cluster, system, setting, scale, name }) {
      const rate = 2_000
      const { cpuSeconds, rssMb, quietMs, joinMs, leaveMs } = await measureRebalance(
        cluster,
        system,
        setting,
        name,
        rate,
        scale.durationMs,
      )
      const score = 1 / Math.max(joinMs, leaveMs)
      const figures = { 'undisturbed ms': quietMs, 'join ms': joinMs, 'leave ms': leaveMs }
      return { recordsPerSecond: rate, cpuSeconds, rssMb, score, figures }
    },
  },
  restart: recovery('restart'),
  restore: recovery('restore'),
  'scale-200': scaleOf({ partitions: 200 }, '200 partitions'),
  'scale-state': scaleOf({ keys: keys * 10 }, 'tenfold state'),
  guarantees: {
    inputs: ({ records }) => [events(records)],
    systems: both,
    compares: 'records/s, exactly-once after at-least-once',
    measure: underEach,
  },
}

/** The first six rows of the table. */
export const standard: readonly string[] = Object.keys(plans).slice(0, 6)

/** The workloads of a name: `latency` and `scale` are two each. */
export function plansNamed(name: string): readonly string[] {
  return Object.keys(plans).filter((one) => one === name || one.startsWith(`${name}-`))
}
