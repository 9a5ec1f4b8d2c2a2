import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type MetricSpec, metricTable } from '../../src/metrics/table.ts'

const table: Readonly<Record<string, MetricSpec>> = metricTable
const read = (path: string): string => readFileSync(new URL(`../../deploy/${path}`, import.meta.url), 'utf8')

type Panel = {
  readonly id: number
  readonly title: string
  readonly type: string
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[]
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
}
const dashboard = JSON.parse(read('grafana/dashboards/millrace.json')) as {
  readonly panels: readonly Panel[]
}
const alerts = read('prometheus/alerts.yml')

/** The expressions of the rules: one line, or the lines of a block. */
function expressions(yaml: string): string[] {
  return [...yaml.matchAll(/^ {8}expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)/gm)].map(
    (match) => match[1] ?? match[2] ?? '',
  )
}

const queries = [
  ...expressions(alerts).map((expr) => ['alerts.yml', expr] as const),
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => [`panel ${title}`, expr] as const),
  ),
]

/** Labels that Prometheus or the exposition adds. */
const general = ['application', 'instance', 'job', 'le']

/** A metric and the labels of its selector and of the `by` around it. */
function wrong(expr: string): string[] {
  const mistakes: string[] = []
  const names = [...expr.matchAll(/millrace_[a-z_]+/g)].map(([name]) => name)
  for (const name of names) {
    const base = table[name] === undefined ? name.replace(/_(bucket|sum|count)$/, '') : name
    const spec = table[base]
    if (spec === undefined) mistakes.push(`there is no metric ${name}`)
    else if (base !== name && spec.kind !== 'histogram') mistakes.push(`${base} is no histogram`)
    else if (spec.kind === 'histogram' && base === name)
      mistakes.push(`${name} is a histogram; take its _bucket, _sum or _count`)
    else if (spec.level === 'debug') mistakes.push(`${name} is there only at metricsLevel debug`)
    if (spec?.kind === 'counter' && !/(rate|increase)\(/.test(expr))
      mistakes.push(`${name} is a counter; take its rate`)
  }
  const labels = new Set([
    ...general,
    ...names.flatMap((name) => table[name.replace(/_bucket$/, '')]?.labels ?? table[name]?.labels ?? []),
  ])
  for (const [, list = ''] of expr.matchAll(/by \(([^)]*)\)/g)) {
    for (const label of list.split(',').map((each) => each.trim()))
      if (!labels.has(label)) mistakes.push(`no label ${label}`)
  }
  for (const [, list = ''] of expr.matchAll(/\{([^}]*)\}/g)) {
    for (const [, label = ''] of list.matchAll(/([a-z_]+)\s*=?[=~!]/g))
      if (!labels.has(label)) mistakes.push(`no label ${label}`)
  }
  return mistakes
}

describe('deploy: alerts and dashboard', () => {
  test('deploy: there are rules and panels, and the checks see what is wrong', () => {
    expect(expressions(alerts).length).toBeGreaterThanOrEqual(10)
    expect(expressions(alerts).length).toBe([...alerts.matchAll(/- alert:/g)].length)
    expect(queries.length).toBeGreaterThan(35)
    expect(wrong('sum by (tusk) (rate(millrace_commits_total{raison="x"}[1m]))')).toEqual([
      'no label tusk',
      'no label raison',
    ])
    expect(wrong('millrace_comits_total')).toEqual(['there is no metric millrace_comits_total'])
    expect(wrong('millrace_commits_total > 1')).toEqual([
      'millrace_commits_total is a counter; take its rate',
    ])
  })

  test.each(queries)('deploy: %s, %s: metrics and labels that exist', (_, expr) => {
    expect(wrong(expr)).toEqual([])
  })

  test('deploy: every alert says what it is, how bad, and where to read on', () => {
    for (const rule of alerts.split('- alert:').slice(1)) {
      const name = rule.trim().split('\n')[0] ?? ''
      expect(rule, name).toMatch(/severity: (critical|warning)/)
      expect(rule, name).toContain('summary:')
      expect(rule, name).toContain('description:')
      expect(rule, name).toContain(`runbook: docs/operations.md#${name.toLowerCase()}`)
    }
  })

  test('deploy: panels do not overlap, each has its own id', () => {
    const { panels } = dashboard
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    for (const [index, { gridPos: a, title }] of panels.entries()) {
      expect(a.x + a.w, title).toBeLessThanOrEqual(24)
      for (const { gridPos: b } of panels.slice(index + 1)) {
        const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y
        expect(apart, title).toBe(true)
      }
    }
  })
})

test('docs: every metric that a page names exists', () => {
  const pages = new URL('../../docs/', import.meta.url)
  const wrong = readdirSync(pages)
    .filter((page) => page.endsWith('.md'))
    .flatMap((page) =>
      [...readFileSync(new URL(page, pages), 'utf8').matchAll(/`(millrace_[a-z_]+)/g)]
        .map(([, name = '']) => name)
        .filter((name) => !name.endsWith('_') && table[name] === undefined)
        .map((name) => `${page}: ${name}`),
    )
  expect(wrong).toEqual([])
})
