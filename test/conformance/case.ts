/**
 * Conformance cases: what Apache Kafka Streams answered, as data (the format is in FORMAT.md), and how an answer of
 * ours is compared with it. Long.MAX_VALUE, the end of windows that never end, is read as the largest safe integer.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { endOfTime } from '../../src/serde/windowed.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }

/** An operation of the topology, a window, a function: arrays and objects that the interpreter reads. */
export type Op = { readonly id: string; readonly op: string } & { readonly [name: string]: Json | undefined }

export type CaseFeed = {
  readonly topic: string
  readonly key: string | null
  readonly value: Json
  readonly timestamp: number
  readonly headers?: readonly (readonly [string, string | null])[]
}

/** `batch`: records that are all processed before the next commit. */
export type CaseInput =
  | { readonly advanceWallClockMs: number }
  | { readonly batch: readonly CaseFeed[] }
  | CaseFeed

export type CaseKey = string | null | { readonly key: Json; readonly start: number; readonly end: number }

export type CaseRecord = {
  readonly key: CaseKey
  readonly value: Json
  readonly timestamp: number
  readonly headers?: readonly (readonly [string, string | null])[]
  readonly at: number
  /** Where the case has several partitions. */
  readonly partition?: number
}

export type CaseStore = { readonly type: string; readonly entries: readonly Json[] }

export type CaseOutcome = {
  readonly outputs: Readonly<Record<string, readonly CaseRecord[]>>
  readonly stores: Readonly<Record<string, CaseStore | null>>
  readonly dropped: number
}

export type CaseError = { readonly phase: 'build' | 'run'; readonly at?: number; readonly message?: string }

export type Case = {
  readonly name: string
  readonly category: string
  readonly note?: string
  readonly quirk?: string | boolean
  readonly config?: {
    readonly optimize?: boolean
    readonly cacheMaxBytes?: number
    /** 'binary': keys are other bytes than their text, in another order. */
    readonly keys?: 'binary'
    /** Of every topic; 1 where absent. */
    readonly partitions?: number
  }
  readonly ops: readonly Op[]
  readonly inputs: readonly CaseInput[]
  readonly internalTopics?: number
  readonly expected?: CaseOutcome
  readonly expectedError?: CaseError
  readonly expectedInMemory?: CaseOutcome | { readonly error: CaseError }
  readonly describe?: string
}

/** What became of a case here. */
export type Outcome = CaseOutcome | { readonly error: CaseError }

const longMax = /:9223372036854775807(?=[,}\]])/g

/** All `*.json` below a folder, or one file. */
export function caseFiles(path: string): string[] {
  if (statSync(path).isFile()) return [path]
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => join(path, name))
}

export function readCases(file: string): Case[] {
  const text = readFileSync(file, 'utf8').replace(longMax, `:${endOfTime}`)
  const cases: unknown = JSON.parse(text)
  if (!Array.isArray(cases)) throw new TypeError(`${relative('.', file)}: not an array of cases`)
  return cases as Case[]
}

/** What differs, in words with both sides; null: nothing. */
export function compare(one: Case, outcome: Outcome): string | null {
  const first = compareWith(
    one.expectedError === undefined ? (one.expected as CaseOutcome) : { error: one.expectedError },
    outcome,
  )
  if (first === null || one.expectedInMemory === undefined) return first
  return compareWith(one.expectedInMemory, outcome) === null ? null : first
}

function compareWith(expected: Outcome, actual: Outcome): string | null {
  if ('error' in expected || 'error' in actual) {
    const want = 'error' in expected ? `${expected.error.phase} ${expected.error.at ?? ''}` : 'no error'
    const got = 'error' in actual ? `${actual.error.phase} ${actual.error.at ?? ''}` : 'no error'
    if (want === got) return null
    const why = 'error' in actual ? ` (${actual.error.message})` : ''
    const theirs = 'error' in expected ? ` (${expected.error.message})` : ''
    return difference('error', want + theirs, got + why)
  }
  for (const topic of new Set([...Object.keys(expected.outputs), ...Object.keys(actual.outputs)])) {
    const want = (expected.outputs[topic] ?? []).map(show)
    const got = (actual.outputs[topic] ?? []).map(show)
    const found = lists(`topic ${topic}`, want, got)
    if (found !== null) return found
  }
  for (const store of Object.keys(expected.stores)) {
    const want = expected.stores[store]
    const got = actual.stores[store]
    if (want === null || got === null || want === undefined || got === undefined) {
      if (want !== got) return difference(`store ${store}`, show(want), show(got))
      continue
    }
    if (want.type !== got.type) return difference(`store ${store}: type`, want.type, got.type)
    const found = lists(`store ${store}`, want.entries.map(show), got.entries.map(show))
    if (found !== null) return found
  }
  if (expected.dropped !== actual.dropped) {
    return difference('dropped', String(expected.dropped), String(actual.dropped))
  }
  return null
}

/** As text in a fixed order of the outer names; values keep their own order, which matters. */
function show(value: unknown): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return JSON.stringify(value) ?? 'undefined'
  const { key, start, end, value: inner, timestamp, headers, at, ...rest } = value as Record<string, unknown>
  return JSON.stringify({ at, key, start, end, value: inner, timestamp, headers, ...rest })
}

function lists(what: string, want: readonly string[], got: readonly string[]): string | null {
  const length = Math.max(want.length, got.length)
  for (let index = 0; index < length; index++) {
    if (want[index] === got[index]) continue
    return difference(
      `${what}, ${index + 1} of ${want.length}`,
      [want[index] ?? '(nothing)', ...want.slice(index + 1, index + 4)].join('\n              '),
      [got[index] ?? '(nothing)', ...got.slice(index + 1, index + 4)].join('\n              '),
    )
  }
  return null
}

export function difference(what: string, expected: string, actual: string): string {
  return `${what}\n    expected: ${expected}\n    actual:   ${actual}`
}
