import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { interpret, type Op } from '../conformance/interpreter.ts'

type Case = {
  readonly name: string
  readonly ops: readonly Op[]
  readonly config?: { readonly optimize?: boolean }
  readonly describe?: string
  /** An accident of Kafka Streams that need not be copied. */
  readonly quirk?: unknown
  readonly expectedError?: { readonly phase: 'build' | 'run'; readonly message: string }
}

const cases = readdirSync(join(import.meta.dirname, '../conformance/cases'), {
  recursive: true,
  encoding: 'utf8',
})
  .filter((file) => file.endsWith('.json'))
  .sort()
  .flatMap(
    (file) =>
      JSON.parse(readFileSync(join(import.meta.dirname, '../conformance/cases', file), 'utf8')) as Case[],
  )
  .filter(({ quirk }) => quirk === undefined)

function built(c: Case) {
  return interpret(c.ops, { optimize: c.config?.optimize ?? false }).topology
}

describe('describe: what Kafka Streams prints', () => {
  const described = cases.filter((c) => c.describe !== undefined)

  test('there are cases', () => expect(described.length).toBeGreaterThan(200))

  test.each(described)('$name', (c) => {
    expect(built(c).describe()).toBe(c.describe)
  })
})

describe('build: cases that Kafka Streams refuses', () => {
  const refused = cases.filter((c) => c.expectedError?.phase === 'build')

  test('there are cases', () => expect(refused.length).toBeGreaterThan(4))

  test.each(refused)('$name', (c) => {
    expect(() => built(c)).toThrow(expect.objectContaining({ code: 'TOPOLOGY_INVALID' }))
  })
})

test('build: all other cases build, twice the same', () => {
  for (const c of cases) {
    if (c.expectedError?.phase === 'build') continue
    expect(built(c).fingerprint(), c.name).toBe(built(c).fingerprint())
  }
})
