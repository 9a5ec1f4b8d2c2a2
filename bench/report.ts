/** What a run says: a line of JSON for each workload, a table for people, and RESULTS.md. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem, type } from 'node:os'
import type { Sample } from './plans.ts'
import type { Guarantee, SystemName } from './systems.ts'

export type Outcome = {
  readonly workload: string
  readonly guarantee: Guarantee
  readonly threads: number
  readonly compares: string
  readonly date: string
  readonly records: number
  readonly cacheBytes?: number
  readonly commit?: string
  /** Cores that others used meanwhile, on average. */
  readonly others?: number
  readonly systems: { readonly [system in SystemName]?: Summary }
  /** What made a system's number missing or void. */
  readonly notes: readonly string[]
}

/** Medians of the rounds. */
export type Summary = Omit<Sample, 'figures' | 'note'> & {
  readonly figures: Readonly<Record<string, number>>
  /** From the slowest to the fastest round, in part of the median. */
  readonly spread: number
  readonly rounds: readonly number[]
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

export function summarise(samples: readonly Sample[]): Summary {
  const of = (pick: (sample: Sample) => number): number => median(samples.map(pick))
  const names = new Set(samples.flatMap(({ figures }) => Object.keys(figures)))
  const scores = samples.map(({ score }) => score)
  return {
    recordsPerSecond: Math.round(of((sample) => sample.recordsPerSecond)),
    cpuSeconds: round(of((sample) => sample.cpuSeconds)),
    rssMb: Math.round(of((sample) => sample.rssMb)),
    workCpuSeconds: round(of((sample) => sample.workCpuSeconds ?? 0)),
    score: of((sample) => sample.score),
    figures: Object.fromEntries(
      Array.from(names, (name) => [name, round(of((sample) => sample.figures[name] ?? 0))]),
    ),
    spread: round((Math.max(...scores) - Math.min(...scores)) / median(scores)),
    rounds: samples.map(({ recordsPerSecond }) => recordsPerSecond),
  }
}

function round(number: number): number {
  return Math.abs(number) >= 1_000 ? Math.round(number) : Math.round(number * 100) / 100
}

/**
 * How many times better; null where one of both has no number, or where ours doesn't count: a system that writes less
 * than half of Kafka Streams' updates has done less of the work.
 */
export function ratioOf(outcome: Outcome, peer: SystemName): number | null {
  const ours = outcome.systems.millrace
  const theirs = outcome.systems[peer]
  if (ours === undefined || theirs === undefined || !counts(outcome, 'millrace')) return null
  return round(ours.score / theirs.score)
}

/**
 * How many times more CPU time the peer took for the same work, from when its tasks ran; null where that isn't known.
 * It says more than wall time does where others use the machine, too.
 */
export function cpuRatioOf({ systems }: Outcome, peer: SystemName): number | null {
  const of = (system: SystemName): number => {
    const summary = systems[system]
    if (summary === undefined) return 0
    return (summary.workCpuSeconds ?? 0) / (summary.figures['records'] ?? 1)
  }
  return of('millrace') > 0 && of(peer) > 0 ? round(of(peer) / of('millrace')) : null
}

export function counts({ systems }: Outcome, system: SystemName): boolean {
  const of = (one: SystemName): number => {
    const { written = 0, records = 1 } = systems[one]?.figures ?? {}
    return written / Math.max(records, 1)
  }
  return of(system) >= of('kafka-streams') / 2
}

const sameWork = 0.005

/**
 * Where each update is written, systems with the same guarantees write as many for a record: more or fewer, and one of
 * them has done other work. Null where they agree or can't be compared.
 */
export function differenceIn({ systems, cacheBytes }: Outcome): string | null {
  const of = (system: SystemName): number | null => {
    const { written, records } = systems[system]?.figures ?? {}
    return written === undefined || !records ? null : written / records
  }
  const ours = of('millrace')
  const theirs = of('kafka-streams')
  if (cacheBytes !== 0 || ours === null || theirs === null) return null
  if (Math.abs(ours - theirs) <= Math.max(ours, theirs) * sameWork) return null
  return `millrace wrote ${ours.toFixed(3)} updates for each record, kafka-streams ${theirs.toFixed(3)}`
}

const peers = ['kafka-streams', 'kafkajs'] as const

export function jsonLineOf(outcome: Outcome): string {
  const numbers = (system: SystemName) => {
    const summary = outcome.systems[system]
    if (summary === undefined) return null
    const { recordsPerSecond, cpuSeconds, rssMb } = summary
    return { recordsPerSecond, cpuSeconds, rssMb }
  }
  return JSON.stringify({
    workload: outcome.workload,
    guarantee: outcome.guarantee,
    threads: outcome.threads,
    millrace: numbers('millrace'),
    peers: Object.fromEntries(peers.map((peer) => [peer, numbers(peer)])),
    ratio: Object.fromEntries(peers.map((peer) => [peer, ratioOf(outcome, peer)])),
  })
}

export function textOf(outcome: Outcome): string {
  const lines = [
    `${outcome.workload}, ${outcome.guarantee}, ${outcome.threads} threads (${outcome.compares})`,
  ]
  for (const [system, summary] of Object.entries(outcome.systems)) {
    const ratio = system === 'millrace' ? null : ratioOf(outcome, system as SystemName)
    const cpuRatio = system === 'millrace' ? null : cpuRatioOf(outcome, system as SystemName)
    lines.push(
      [
        `  ${system.padEnd(14)}`,
        `${number(summary.recordsPerSecond).padStart(10)}/s`,
        `±${Math.round(summary.spread * 50)} %`.padStart(7),
        `${summary.cpuSeconds.toFixed(1)} CPU s`.padStart(12),
        `${number(summary.rssMb)} MB`.padStart(9),
        figuresText(summary),
        ratio === null ? '' : `millrace ${ratio} ×`,
        cpuRatio === null ? '' : `${cpuRatio} × by CPU time`,
        counts(outcome, system as SystemName) ? '' : "does not count: under half of Kafka Streams' updates",
      ].join('  '),
    )
  }
  for (const note of outcome.notes) lines.push(`  ${note}`)
  return lines.join('\n')
}

function figuresText({ figures }: Summary): string {
  return Object.entries(figures)
    .map(([name, value]) => `${name} ${number(value)}`)
    .join(', ')
}

function number(value: number): string {
  return value.toLocaleString('en')
}

// --------------------------------------------------------------------------------------------------------- RESULTS.md

const fence = '```'
const rawHeading = '## Raw numbers'

/** Writes these over those of the same workload, guarantee and threads; the others stay. */
export function writeResults(file: string, fresh: readonly Outcome[], broker: string): void {
  const key = ({ workload, guarantee, threads }: Outcome) => `${workload} ${guarantee} ${threads}`
  const kept = new Map(readResults(file).map((outcome) => [key(outcome), outcome]))
  for (const outcome of fresh) kept.set(key(outcome), outcome)
  const outcomes = [...kept.values()]
  const tables = [
    ...new Set(outcomes.map(({ guarantee, threads }) => `${guarantee}, ${threads} threads`)),
  ].map((heading) => {
    const rows = outcomes.filter(({ guarantee, threads }) => `${guarantee}, ${threads} threads` === heading)
    return `## ${heading}\n\n${table(rows)}`
  })
  writeFileSync(
    file,
    `# Results

Written by \`npm run bench\`; \`docs/benchmarks.md\` says what is measured and how. Last run: ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC.

- Machine: ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'CPU'}, ${Math.round(totalmem() / 2 ** 30)} GB, ${type()} ${release()}; brokers, systems and the measuring process share it. Where others used much of it, only the ratios say something.
- Versions: Apache Kafka ${broker}, Kafka Streams 4.3.0 (${javaVersion()}, -Xmx1g), kafkajs ${packageVersion('kafkajs')}, Node ${process.version}, Millrace ${version()}.
- Settings: commit interval 100 ms, equal cache (in bytes; 0: each update is written), no compression, equal threads. \`×\` is how many times better Millrace is by what the workload compares; each figure is the median of its rounds, ± is half of the spread. The full input is 4,000,000 records; where a row says another size, it was measured on that. Each row names the commit that it was measured at, and how many of the cores others used meanwhile. \`× by CPU\` compares CPU seconds for the same records from when tasks ran; it says more where others used the machine.

${tables.join('\n\n')}

${rawHeading}

${fence}json
${outcomes.map((outcome) => JSON.stringify(outcome)).join('\n')}
${fence}
`,
  )
}

export function readResults(file: string): readonly Outcome[] {
  if (!existsSync(file)) return []
  const raw = readFileSync(file, 'utf8').split(rawHeading)[1] ?? ''
  return raw
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Outcome)
}

function table(outcomes: readonly Outcome[]): string {
  const lines = [
    '| workload | system | records/s | ± | CPU s | peak MB | more | × | × by CPU |',
    '| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |',
  ]
  for (const outcome of outcomes) {
    for (const [system, summary] of Object.entries(outcome.systems)) {
      const ratio = system === 'millrace' ? null : ratioOf(outcome, system as SystemName)
      const cpuRatio = system === 'millrace' ? null : cpuRatioOf(outcome, system as SystemName)
      const isVoid = !counts(outcome, system as SystemName)
      const cells = [
        system === 'millrace' ? `**${outcome.workload}** (${outcome.compares}${sizeOf(outcome)})` : '',
        system,
        `${number(summary.recordsPerSecond)}${isVoid ? ' (does not count)' : ''}`,
        `${Math.round(summary.spread * 50)} %`,
        summary.cpuSeconds.toFixed(1),
        number(summary.rssMb),
        figuresText(summary),
        ratio === null ? '' : `${ratio}`,
        cpuRatio === null ? '' : `${cpuRatio}`,
      ]
      lines.push(`| ${cells.join(' | ')} |`)
    }
    for (const note of outcome.notes) lines.push(`| | | | | | | ${note} | | |`)
  }
  return lines.join('\n')
}

function sizeOf({ records, systems, others, commit, cacheBytes = 0 }: Outcome): string {
  const rounds = systems.millrace?.rounds.length ?? 0
  const facts = [
    ...(records === 4_000_000 || records === 0 ? [] : [`${number(records)} records`]),
    ...(rounds === 3 ? [] : [`${rounds} round${rounds === 1 ? '' : 's'}`]),
    ...(cacheBytes === 0 ? [] : [`cache ${number(cacheBytes)}`]),
    ...(others === undefined ? [] : [`others ${others.toFixed(1)} cores`]),
    ...(commit === undefined ? [] : [commit]),
  ]
  return facts.map((fact) => `; ${fact}`).join('')
}

function javaVersion(): string {
  try {
    return execFileSync('java', ['--version'], { encoding: 'utf8' }).split('\n')[0] ?? 'Java'
  } catch {
    return 'Java'
  }
}

function packageVersion(name: string): string {
  return (JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')) as { version: string })
    .version
}

function version(): string {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { readonly version: string }
  return version
}

/** The one that is checked out, with a + where src/ or bench/ differ from it. */
export function commit(): string {
  const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8' }).trim()
  try {
    const changed = git(
      'status',
      '--porcelain',
      '--',
      'src',
      'bench/*.ts',
      'bench/systems',
      'bench/workloads',
    )
    return `${git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : '+'}`
  } catch {
    return 'no commit'
  }
}
