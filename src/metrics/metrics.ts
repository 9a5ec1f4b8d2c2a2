/**
 * The metrics of one application, in prom-client. They are fed by the runtime's hooks, which are called per batch and
 * per event, and by its status, which is asked at each scrape. Several applications of a process may share a registry:
 * the metrics are made once, and each application takes its series out again when it closes.
 */
import { createRequire } from 'node:module'
import type * as Prometheus from 'prom-client'
import type { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Clock } from '../base/clock.ts'
import { version } from '../base/version.ts'
import type { Hooks } from '../runtime/hooks.ts'
import type { ApplicationState, ApplicationStatus } from '../runtime/status.ts'
import { type MetricName, type MetricSpec, metricTable, rocksMetrics } from './table.ts'

export type MetricsOptions = {
  readonly applicationId: string
  readonly guarantee: string
  readonly level: 'info' | 'debug'
  /** The service's own; without one, a registry is made, with the process's own metrics in it. */
  readonly registry: Registry | null
  readonly clock: Clock
}

const states: readonly ApplicationState[] = [
  'created',
  'rebalancing',
  'running',
  'pending-shutdown',
  'not-running',
  'pending-error',
  'error',
]

type Labels = Readonly<Record<string, string | number>>
/** Loaded where metrics are made: threads in workers import this file, too, and make none. */
const require = createRequire(import.meta.url)
const prometheus = (): typeof Prometheus => require('prom-client') as typeof Prometheus

type Made = Counter | Gauge | Histogram

/** What is known of a task's input, to tell its lag in time. */
type Progress = { recordTimestamp: number; lags: Map<string, number> }

/** A changelog partition that is being read back. */
type Restore = { task: string; store: string; at: number; records: number; remaining: number }

export class Metrics {
  readonly registry: Registry
  readonly hooks: Hooks
  readonly #options: MetricsOptions
  readonly #made = new Map<MetricName, Made>()
  /** Series of this application, by metric: what `close` and the end of a task take out. */
  readonly #series = new Map<MetricName, Map<string, Labels>>()
  readonly #progress = new Map<string, Progress>()
  /** Of each changelog partition: a global store has several. */
  readonly #restores = new Map<string, Restore>()
  readonly #source: { status: (() => ApplicationStatus) | null } = { status: null }
  #closing = false

  constructor(options: MetricsOptions) {
    this.#options = options
    this.registry = options.registry ?? new (prometheus().Registry)()
    if (options.registry === null) prometheus().collectDefaultMetrics({ register: this.registry })
    for (const name of Object.keys(metricTable) as MetricName[]) {
      const spec: MetricSpec = metricTable[name]
      if (spec.level === 'debug' && options.level !== 'debug') continue
      this.#made.set(name, this.#make(name, spec))
    }
    this.#set('millrace_info', { version, guarantee: options.guarantee, level: options.level }, 1)
    this.#set('millrace_start_time_seconds', {}, options.clock.now() / 1000)
    refreshers(this.registry).add(this.#refresh)
    this.hooks = this.#watch()
  }

  /** Where the gauges of state come from, asked at each scrape. */
  watch(status: () => ApplicationStatus): void {
    this.#source.status = status
  }

  /** The exposition text. */
  async text(): Promise<string> {
    return this.registry.metrics()
  }

  /** Takes this application's series out; the metrics stay for the others of the registry. */
  close(): void {
    this.#closing = true
    refreshers(this.registry).delete(this.#refresh)
    for (const [name, series] of this.#series) {
      for (const labels of series.values()) this.#made.get(name)?.remove(labels as Record<string, string>)
    }
    this.#series.clear()
  }

  #make(name: MetricName, spec: MetricSpec): Made {
    const known = this.registry.getSingleMetric(name)
    if (known !== undefined) return known as Made
    const { registry } = this
    const configuration = {
      name,
      help: spec.help,
      labelNames: ['application', ...spec.labels],
      registers: [registry],
    }
    if (spec.kind === 'counter') return new (prometheus().Counter)(configuration)
    if (spec.kind === 'histogram')
      return new (prometheus().Histogram)({ ...configuration, buckets: [...(spec.buckets ?? [])] })
    // The first gauge of a registry brings the others up to date: prom-client collects them in the order of their making.
    if (name !== 'millrace_info') return new (prometheus().Gauge)(configuration)
    return new (prometheus().Gauge)({
      ...configuration,
      collect() {
        for (const refresh of refreshers(registry)) refresh()
      },
    })
  }

  #labels(name: MetricName, labels: Labels): Record<string, string | number> {
    const all = { application: this.#options.applicationId, ...labels }
    let series = this.#series.get(name)
    if (series === undefined) this.#series.set(name, (series = new Map()))
    const id = Object.values(labels).join('\u0000')
    const known = series.get(id)
    if (known !== undefined) return known as Record<string, string | number>
    series.set(id, all)
    return all
  }

  #count(name: MetricName, labels: Labels, by = 1): void {
    const metric = this.#made.get(name)
    if (metric === undefined || by <= 0) return
    ;(metric as Counter).inc(this.#labels(name, labels), by)
  }

  #set(name: MetricName, labels: Labels, value: number): void {
    const metric = this.#made.get(name)
    if (metric === undefined) return
    ;(metric as Gauge).set(this.#labels(name, labels), value)
  }

  #setRemaining(task: string, store: string): void {
    const name = 'millrace_restore_remaining_records'
    const underWay = [...this.#restores.values()].filter((one) => one.task === task && one.store === store)
    if (underWay.length === 0) {
      this.#remove(name, (labels) => labels['task'] === task && labels['store'] === store)
      return
    }
    const remaining = underWay.reduce((sum, one) => sum + one.remaining, 0)
    this.#set(name, { task, store }, remaining)
  }

  #observe(name: MetricName, labels: Labels, value: number): void {
    const metric = this.#made.get(name)
    if (metric === undefined) return
    ;(metric as Histogram).observe(this.#labels(name, labels), value)
  }

  #remove(name: MetricName, matches: (labels: Labels) => boolean): void {
    const series = this.#series.get(name)
    if (series === undefined) return
    for (const [id, labels] of series) {
      if (!matches(labels)) continue
      this.#made.get(name)?.remove(labels as Record<string, string>)
      series.delete(id)
    }
  }

  /** A task that is gone says nothing more: its gauges would stand still for ever. */
  #forgetTask(task: string): void {
    this.#progress.delete(task)
    for (const [name, spec] of Object.entries(metricTable) as [MetricName, MetricSpec][]) {
      if (spec.kind === 'gauge' && spec.labels.includes('task'))
        this.#remove(name, (labels) => labels['task'] === task)
    }
    for (const id of this.#restores.keys()) if (id.startsWith(`${task} `)) this.#restores.delete(id)
  }

  #watch(): Hooks {
    const { clock } = this.#options
    const progressOf = (task: string): Progress => {
      let progress = this.#progress.get(task)
      if (progress === undefined)
        this.#progress.set(task, (progress = { recordTimestamp: -1, lags: new Map() }))
      return progress
    }
    const hooks: Hooks = {
      state: (state) => {
        this.#closing = state === 'pending-shutdown' || state === 'not-running'
      },
      threadState: (_thread, state, before) => {
        if (state === 'dead' && before !== 'pending-shutdown' && !this.#closing)
          this.#count('millrace_threads_failed_total', {})
      },
      taskCreated: (thread) => this.#count('millrace_tasks_created_total', { thread }),
      taskClosed: (thread, task, how) => {
        this.#count('millrace_tasks_closed_total', { thread, how })
        this.#forgetTask(task)
      },
      batch: ({ task, records, bytes, durationMs, streamTime, recordTimestamp }) => {
        this.#count('millrace_records_processed_total', { task }, records)
        this.#count('millrace_bytes_processed_total', { task }, bytes)
        this.#count('millrace_process_batches_total', { task })
        this.#count('millrace_process_seconds_total', { task }, durationMs / 1000)
        this.#observe('millrace_process_batch_duration_seconds', {}, durationMs / 1000)
        if (streamTime >= 0) this.#set('millrace_stream_time_seconds', { task }, streamTime / 1000)
        progressOf(task).recordTimestamp = recordTimestamp
      },
      dropped: ({ reason, task, node }) => {
        this.#count('millrace_records_dropped_total', { reason })
        this.#count('millrace_node_records_dropped_total', { task, node, reason })
      },
      latency: (task, ageMs) => {
        const age = Math.max(0, ageMs) / 1000
        this.#observe('millrace_record_latency_seconds', {}, age)
        this.#observe('millrace_task_record_latency_seconds', { task }, age)
      },
      punctuated: (task, node, type, durationMs) => {
        this.#count('millrace_punctuations_total', { type })
        this.#count('millrace_punctuate_seconds_total', { type }, durationMs / 1000)
        this.#count('millrace_node_punctuations_total', { task, node, type })
      },
      committed: (commit) => {
        const { thread } = commit
        this.#count('millrace_commits_total', { thread, reason: commit.reason })
        this.#observe('millrace_commit_duration_seconds', { thread }, commit.durationMs / 1000)
        this.#observe('millrace_commit_cut_seconds', { thread }, commit.cutMs / 1000)
        this.#set('millrace_commit_last_time_seconds', { thread }, clock.now() / 1000)
        this.#count('millrace_records_committed_total', { thread }, commit.inputRecords)
        this.#count('millrace_records_written_total', { thread, kind: 'output' }, commit.outputRecords)
        this.#count('millrace_records_written_total', { thread, kind: 'changelog' }, commit.changelogRecords)
        this.#count('millrace_bytes_written_total', { thread }, commit.bytes)
      },
      commitFailed: (thread, code) => this.#count('millrace_commit_failures_total', { thread, code }),
      persisted: (task, bytes, durationMs) => {
        this.#count('millrace_persists_total', { task })
        this.#count('millrace_persisted_bytes_total', { task }, bytes)
        this.#observe('millrace_persist_duration_seconds', {}, durationMs / 1000)
      },
      lag: ({ task, topic, partition, records, position, endOffset }) => {
        const labels = { task, topic, partition }
        this.#set('millrace_lag_records', labels, records)
        this.#set('millrace_input_position', labels, position)
        this.#set('millrace_input_end_offset', labels, endOffset)
        progressOf(task).lags.set(`${topic} ${partition}`, records)
      },
      held: ({ task, topic, partition, records }) =>
        this.#set('millrace_input_held_records', { task, topic, partition }, records),
      restore: ({ task, store, partition, phase, records, offset, endOffset }) => {
        const id = `${task} ${store} ${partition}`
        const seen = this.#restores.get(id) ?? { task, store, at: clock.now(), records: 0, remaining: 0 }
        this.#count('millrace_restore_records_total', { task }, records - seen.records)
        seen.records = records
        if (phase === 'start' || phase === 'batch') {
          seen.remaining = Math.max(0, endOffset - offset)
          this.#restores.set(id, seen)
          this.#setRemaining(task, store)
          return
        }
        this.#restores.delete(id)
        if (phase === 'end') {
          this.#observe('millrace_restore_duration_seconds', {}, (clock.now() - seen.at) / 1000)
        }
        this.#count('millrace_restores_total', { how: phase === 'end' ? 'ended' : 'suspended' })
        this.#setRemaining(task, store)
      },
      rebalanced: (generation, _active, _standby, durationMs) => {
        this.#count('millrace_rebalances_total', {})
        this.#observe('millrace_rebalance_duration_seconds', {}, durationMs / 1000)
        this.#set('millrace_generation', {}, generation)
      },
      cache: (task, bytes) => this.#set('millrace_cache_bytes', { task }, bytes),
    }
    if (this.#options.level !== 'debug') return hooks
    return {
      ...hooks,
      engine: (task, figures) => {
        for (const [figure, name] of Object.entries(rocksMetrics)) {
          const value = figures[figure]
          if (value !== undefined) this.#set(name, { task }, value)
        }
      },
    }
  }

  /** Brings the gauges that come from the status up to date. */
  readonly #refresh = (): void => {
    const now = this.#options.clock.now()
    for (const [task, { recordTimestamp, lags }] of this.#progress) {
      let behind = 0
      for (const records of lags.values()) behind += records
      const seconds = behind > 0 && recordTimestamp >= 0 ? Math.max(0, now - recordTimestamp) / 1000 : 0
      this.#set('millrace_lag_seconds', { task }, seconds)
    }
    const status = this.#source.status?.()
    if (status === undefined) return
    for (const state of states) this.#set('millrace_state', { state }, status.state === state ? 1 : 0)
    this.#set('millrace_ready', {}, status.ready ? 1 : 0)
    this.#set('millrace_paused', {}, status.paused ? 1 : 0)
    if (status.member !== null) this.#set('millrace_generation', {}, status.member.generation)
    const threads = new Map<string, number>()
    const tasks = new Map<string, { role: string; state: string; count: number }>()
    let restoring = 0
    for (const thread of status.threads) {
      threads.set(thread.state, (threads.get(thread.state) ?? 0) + 1)
      for (const { task, role, state, inputs, stores } of thread.tasks) {
        const id = `${role} ${state}`
        tasks.set(id, { role, state, count: (tasks.get(id)?.count ?? 0) + 1 })
        if (role === 'active' && state === 'restoring') restoring++
        for (const { topic, partition, committed } of inputs) {
          if (committed !== null)
            this.#set('millrace_input_committed_position', { task, topic, partition }, committed)
        }
        for (const { store, offset } of stores) {
          if (offset !== null) this.#set('millrace_store_offset', { task, store }, offset)
        }
      }
    }
    this.#remove('millrace_threads', (labels) => !threads.has(String(labels['state'])))
    this.#remove('millrace_tasks', (labels) => !tasks.has(`${labels['role']} ${labels['state']}`))
    for (const [state, count] of threads) this.#set('millrace_threads', { state }, count)
    for (const { role, state, count } of tasks.values()) this.#set('millrace_tasks', { role, state }, count)
    this.#set('millrace_restoring_tasks', {}, restoring)
  }
}

const refreshersOf = new WeakMap<Registry, Set<() => void>>()

/** The applications of a registry. */
function refreshers(registry: Registry): Set<() => void> {
  let known = refreshersOf.get(registry)
  if (known === undefined) refreshersOf.set(registry, (known = new Set()))
  return known
}
