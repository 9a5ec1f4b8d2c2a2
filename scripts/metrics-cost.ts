/**
 * `node scripts/run.mjs scripts/metrics-cost.ts --brokers HOST:PORT [--rounds N] [--records N]`: what the metrics cost.
 * The same windowed count over the same input, with and without them by turns, in one process; with them it is scraped
 * each second. Compares CPU seconds of this process. A machine with other work moves these by more than what is looked
 * for; then `--profile` says better what share of the time that is not idle was spent in the metrics and below them.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { type Profiler, Session } from 'node:inspector/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { noHeaders } from '../src/base/headers.ts'
import { silentLogger } from '../src/base/logger.ts'
import { StreamsBuilder, serdes, tumbling } from '../src/index.ts'
import { connect } from '../src/kafka/index.ts'
import { Millrace as Engine } from '../src/runtime/application.ts'
import { Millrace } from '../src/service/millrace.ts'
import { BatchBuilder } from '../src/wire/batch-builder.ts'

const { values: flags } = parseArgs({
  options: {
    brokers: { type: 'string', default: '127.0.0.1:9092' },
    rounds: { type: 'string', default: '8' },
    records: { type: 'string', default: '1000000' },
    level: { type: 'string', default: 'info' },
    profile: { type: 'boolean', default: false },
  },
})
const brokers = [flags.brokers]
const rounds = Number(flags.rounds)
const records = Number(flags.records)
const partitions = 4
const run = `metrics-cost-${Date.now().toString(36)}`
const input = `${run}-in`
const output = `${run}-out`
const text = serdes.string()

const client = connect({ brokers, clientId: run, logger: silentLogger })
const stateDir = await mkdtemp(join(tmpdir(), 'metrics-cost-'))

function topology() {
  const builder = new StreamsBuilder()
  builder
    .stream(input, { keySerde: text, valueSerde: text })
    .groupByKey()
    .windowedBy(tumbling('10s'))
    .count({ as: 'counts' })
    .toStream((_count, { key, start }) => `${key}@${start}`, { keySerde: text })
    .to(output)
  return builder.build()
}

/** A thousand keys, a hundred records a second of event time and key, about a hundred bytes each. */
async function fill(): Promise<void> {
  const made = await client.admin.topics([input])
  if (made.length > 0) throw new Error(`${input} exists`)
  await client.admin.createTopics(
    [input, output].map((name) => ({ name, partitions, replicationFactor: 1, configs: {} })),
  )
  const producer = client.producer({ deliveryTimeoutMs: 60_000, compression: 'none' })
  await producer.init()
  const value = Buffer.from('x'.repeat(80))
  const atOnce = 20_000
  for (let from = 0; from < records; from += atOnce) {
    const builders = Array.from({ length: partitions }, () => new BatchBuilder())
    for (let number = from; number < Math.min(records, from + atOnce); number++) {
      const key = Buffer.from(`vehicle-${number % 1_000}`)
      const builder = builders[number % partitions] as BatchBuilder
      builder.append(1.7e12 + number, key, 0, key.length, value, 0, value.length, noHeaders)
    }
    await producer.produce(builders.map((builder, partition) => ({ topic: input, partition, builder })))
  }
  await producer.close()
}

/** Topics and groups of this run. */
async function clean(): Promise<void> {
  const { admin } = client
  const topics = (await admin.topics()).map(({ name }) => name).filter((name) => name.startsWith(run))
  if (topics.length > 0) await admin.deleteTopics(topics)
  for (const { groupId } of await admin.groups())
    if (groupId.startsWith(run)) await admin.deleteGroup(groupId)
}

/** CPU seconds until everything is committed. */
async function measure(withMetrics: boolean, round: number): Promise<number> {
  const applicationId = `${run}-${round}-${withMetrics ? 'on' : 'off'}`
  const config = {
    applicationId,
    brokers,
    stateDir,
    logger: silentLogger,
    http: false as const,
    metricsLevel: flags.level as 'info' | 'debug',
  }
  const app = withMetrics ? new Millrace(topology(), config) : new Engine(topology(), config)
  globalThis.gc?.()
  const before = process.cpuUsage()
  await app.start()
  let scrapedAt = Date.now()
  const committed = () =>
    app
      .status()
      .threads.flatMap(({ tasks }) => tasks.flatMap(({ inputs }) => inputs))
      .reduce((sum, { committed: offset }) => sum + (offset ?? 0), 0)
  while (committed() < records) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    if (app.state === 'error') throw app.error
    if (app instanceof Millrace && Date.now() - scrapedAt > 1_000) {
      scrapedAt = Date.now()
      await app.registry.metrics()
    }
  }
  const { user, system } = process.cpuUsage(before)
  await app.close()
  return (user + system) / 1e6
}

/** Samples in the metrics and what they call, of all that are not idle, in percent. */
function metricsShare({ nodes }: Profiler.Profile): number {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const isMetrics = (node: Profiler.ProfileNode) =>
    /[/]src[/](metrics[/]|runtime[/]hooks)|[/]prom-client[/]/.test(node.callFrame.url)
  let all = 0
  let metrics = 0
  const visit = (node: Profiler.ProfileNode, within: boolean): void => {
    if (node.callFrame.functionName === '(idle)') return
    const inside = within || isMetrics(node)
    all += node.hitCount ?? 0
    if (inside) metrics += node.hitCount ?? 0
    for (const child of node.children ?? []) visit(byId.get(child) as Profiler.ProfileNode, inside)
  }
  visit(nodes[0] as Profiler.ProfileNode, false)
  return (metrics / all) * 100
}

async function profiled(round: number): Promise<number> {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: 250 })
  await session.post('Profiler.start')
  await measure(true, round)
  const { profile } = await session.post('Profiler.stop')
  session.disconnect()
  return metricsShare(profile)
}

const median = (list: readonly number[]): number => {
  const sorted = [...list].sort((one, other) => one - other)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

try {
  await fill()
  // What the compiler makes faster on the way is not the metrics' doing.
  await measure(false, -1)
  await measure(true, -1)
  if (flags.profile) {
    const shares: number[] = []
    for (let round = 0; round < rounds; round++) shares.push(await profiled(round))
    const percent = shares.map((share) => Number(share.toFixed(2)))
    console.log(JSON.stringify({ records, rounds, level: flags.level, percent, median: median(percent) }))
  } else {
    const off: number[] = []
    const on: number[] = []
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 === 0 ? [false, true] : [true, false]
      for (const withMetrics of order) (withMetrics ? on : off).push(await measure(withMetrics, round))
    }
    const ratios = on.map((seconds, round) => (seconds / (off[round] as number) - 1) * 100)
    console.log(
      JSON.stringify({
        records,
        rounds,
        level: flags.level,
        offCpuSeconds: off.map((seconds) => Number(seconds.toFixed(2))),
        onCpuSeconds: on.map((seconds) => Number(seconds.toFixed(2))),
        percentByMedian: Number(((median(on) / median(off) - 1) * 100).toFixed(1)),
        percentByBest: Number(((Math.min(...on) / Math.min(...off) - 1) * 100).toFixed(1)),
        percentByRound: Number(median(ratios).toFixed(1)),
      }),
    )
  }
} finally {
  await clean().catch((error: unknown) => console.error(`not cleaned: ${String(error)}`))
  await client.close()
  await rm(stateDir, { recursive: true, force: true })
}
process.exit()
