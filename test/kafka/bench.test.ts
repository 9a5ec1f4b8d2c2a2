/**
 * The benchmark suite, small: each workload runs and its output is right, and what kafkajs can do by hand Millrace does
 * with less, exactly once. Ratios of CPU time in one run, no times: the machine may be anything, and others may use it.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Built, buildBench } from '../../bench/build.ts'
import { type Cluster, openCluster } from '../../bench/cluster.ts'
import { closePlans } from '../../bench/plans.ts'
import { cpuRatioOf, jsonLineOf, type Outcome } from '../../bench/report.ts'
import { type Run, runWorkload } from '../../bench/suite.ts'

let built: Built
let cluster: Cluster

beforeAll(async () => {
  built = await buildBench()
  cluster = await openCluster((process.env['KAFKA_BROKERS'] ?? '').split(','))
})
afterAll(async () => {
  await closePlans()
  await cluster?.stop()
  built?.remove()
})

async function run(workload: string, more: Partial<Run> = {}): Promise<Outcome> {
  const { outcome, errors } = await runWorkload(
    {
      cluster,
      folder: built.folder,
      guarantee: 'exactly_once',
      threads: 1,
      cacheBytes: 10_485_760,
      rounds: 1,
      scale: { records: 50_000, limitMs: 60_000, durationMs: 1_000 },
      systems: ['millrace'],
      say: () => {},
      ...more,
    },
    workload,
  )
  expect(errors).toEqual([])
  return outcome
}

describe('bench: small, exactly once', () => {
  test.each([
    'filter',
    'json-average',
    'hopping',
    'session',
    'stream-table',
    'stream-stream',
    'repartition',
    'many-keys',
    'start',
    'restart',
    'restore',
  ])('%s, its output is what an independent count says', async (workload) => {
    const { systems } = await run(workload)
    expect(systems.millrace?.recordsPerSecond).toBeGreaterThan(0)
  })

  // Seen: wire 9 to 13, copy 12 to 15, window-count 4. Of fewer records the compiler's work would decide.
  test.each([
    ['wire', 6, 800_000],
    ['copy', 2, 200_000],
    ['window-count', 2, 600_000],
  ])('%s, takes a part of the CPU time that kafkajs takes by hand', async (workload, least, records) => {
    const outcome = await run(workload, {
      systems: ['millrace', 'kafkajs'],
      scale: { records, limitMs: 60_000, durationMs: 1_000 },
    })
    expect(cpuRatioOf(outcome, 'kafkajs')).toBeGreaterThan(least)
  })
})

test('bench: a line of JSON, has exactly the fields that are promised', async () => {
  const outcome = await run('copy', { systems: ['millrace'], threads: 2 })
  expect(JSON.parse(jsonLineOf(outcome))).toEqual({
    workload: 'copy',
    guarantee: 'exactly_once',
    threads: 2,
    millrace: {
      recordsPerSecond: expect.any(Number),
      cpuSeconds: expect.any(Number),
      rssMb: expect.any(Number),
    },
    peers: { 'kafka-streams': null, kafkajs: null },
    ratio: { 'kafka-streams': null, kafkajs: null },
  })
})
