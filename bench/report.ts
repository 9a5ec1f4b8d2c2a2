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
  /** The machine's load when it ended, over a minute: 2 to 3 is this workload alone on two cores. */
  readonly load?: number
  readonly systems: { readonly [system in SystemName]?: Summary }
  /** What made a system's number missing or void. */
  readonly notes: readonly string[]
}

/** Medians of the rounds. */
export type Summary = Omit<Sample, 'figures'> & {
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

export function counts({ systems }: Outcome, system: SystemName): boolean {
  const of = (one: SystemName): number => {
    const { written = 0, records = 1 } = systems[one]?.figures ?? {}
    return written / Math.max(records, 1)
  }
  return of(system) >= of('kafka-streams') / 2
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
    lines.push(
      [
        `  ${system.padEnd(14)}`,
        `${number(summary.recordsPerSecond).padStart(10)}/s`,
        `±${Math.round(summary.spread * 50)} %`.padStart(7),
        `${summary.cpuSeconds.toFixed(1)} CPU s`.padStart(12),
        `${number(summary.rssMb)} MB`.padStart(9),
        figuresText(summary),
        ratio === null ? '' : `millrace ${ratio} ×`,
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

- Machine: ${cpus().length} × ${cpus()[0]?.model.trim() ?? 'CPU'}, ${Math.round(totalmem() / 2 ** 30)} GB, ${type()} ${release()}; brokers, systems and the measuring process share it. Load when the last run ended: ${load()}; where it is far over the number of cores, others used the machine, and only the ratios say something.
- Versions: Apache Kafka ${broker}, Kafka Streams 4.3.0 (${javaVersion()}, -Xmx1g), kafkajs ${packageVersion('kafkajs')}, Node ${process.version}, Millrace ${version()}.
- Settings: commit interval 100 ms, equal cache (in bytes; 0: each update is written), no compression, equal threads. \`×\` is how many times better Millrace is by what the workload compares; each figure is the median of its rounds, ± is half of the spread. The full input is 4,000,000 records; where a row says another size, it was measured on that.

${tables.join('\n\n')}

${rawHeading}

${fence}json
${outcomes.map((outcome) => JSON.stringify(outcome)).join('\n')}
${fence}
`,
  )
}

function load(): string {
  try {
    return readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ')
  } catch {
    return 'unknown'
  }
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
    '| workload | system | records/s | ± | CPU s | peak MB | more | × |',
    '| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |',
  ]
  for (const outcome of outcomes) {
    for (const [system, summary] of Object.entries(outcome.systems)) {
      const ratio = system === 'millrace' ? null : ratioOf(outcome, system as SystemName)
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
      ]
      lines.push(`| ${cells.join(' | ')} |`)
    }
    for (const note of outcome.notes) lines.push(`| | | | | | | ${note} | |`)
  }
  return lines.join('\n')
}

function sizeOf({ records, systems, load, cacheBytes = 10_485_760 }: Outcome): string {
  const rounds = systems.millrace?.rounds.length ?? 0
  return `${records === 4_000_000 ? '' : `; ${number(records)} records`}${rounds === 3 ? '' : `; ${rounds} rounds`}; cache ${number(cacheBytes)}${load === undefined ? '' : `; load ${load.toFixed(1)}`}`
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
  try {
    return `${version} (${execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()})`
  } catch {
    return version
  }
}
