import { basename } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Case, caseFiles, compare, readCases } from './case.ts'
import { describeDiffers, type RunOptions, runCase } from './run-case.ts'

const cases = caseFiles('test/conformance/cases').flatMap(readCases)
const byCategory = new Map<string, Case[]>()
for (const one of cases) {
  if (one.quirk !== undefined) continue
  byCategory.set(one.category, [...(byCategory.get(one.category) ?? []), one])
}

async function differences(list: readonly Case[], options: RunOptions): Promise<string[]> {
  const found: string[] = []
  for (const one of list) {
    const text = compare(one, await runCase(one, options))
    if (text !== null) found.push(`${one.name}: ${text}`)
  }
  return found
}

test('conformance: all given cases are there', () => {
  expect(cases.length).toBeGreaterThanOrEqual(500)
  expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length)
})

describe.each(['memory', 'rocksdb'] as const)('conformance, stores in %s', (engine) => {
  test.each([...byCategory])('%s: as Kafka Streams answered', async (_category, list) => {
    expect(await differences(list, { engine })).toEqual([])
  })
})

const stateful = [...byCategory].filter(([, list]) =>
  list.some(({ ops }) => ops.some(({ op }) => op === 'aggregate' || op === 'reduce')),
)

describe('conformance, accumulators changed in place', () => {
  test.each(stateful)('%s: old values stay as they were', async (_category, list) => {
    expect(await differences(list, { engine: 'memory', mutate: true, freeze: false })).toEqual([])
  })

  test('what the driver freezes is never an accumulator', async () => {
    const list = stateful.flatMap(([category, those]) => (category.startsWith('random') ? [] : those))
    expect(await differences(list, { engine: 'memory', mutate: true, freeze: true })).toEqual([])
  })
})

test('conformance: describe prints what Kafka Streams prints', () => {
  const found: string[] = []
  for (const one of cases) {
    if (one.describe === undefined || one.expectedError?.phase === 'build') continue
    const text = describeDiffers(one)
    if (text !== null) found.push(`${basename(one.name)}: ${text}`)
  }
  expect(found).toEqual([])
})
