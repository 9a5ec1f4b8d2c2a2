/**
 * The application as people use it: the engine with its metrics and, unless `http` is false, its HTTP service. The
 * service answers from before the group is joined until after it is left, so that a health check sees every state.
 */
import type { Registry } from 'prom-client'
import { systemClock } from '../base/clock.ts'

import { type LevelSwitch, type Logger, type LogLevel, standardLogger, toLogger } from '../base/logger.ts'
import { Metrics } from '../metrics/metrics.ts'
import { Queries, stateRoute } from '../query/queries.ts'
import type { StateStore } from '../query/state-store.ts'
import { type CloseOptions, Millrace as Engine } from '../runtime/application.ts'
import { allHooks } from '../runtime/hooks.ts'
import { type Config, resolveConfig } from '../runtime/options.ts'
import type { Topology } from '../topology/topology.ts'
import { HttpService, type Route } from './http-service.ts'

export class Millrace extends Engine {
  readonly #metrics: Metrics
  readonly #logger: Logger
  readonly #gate: LevelSwitch
  readonly #routes: Route[] = []
  #service: HttpService | null = null
  #queries: Queries | null = null

  /**
   * `app` is a topology, which runs in this thread, or the URL of a module whose default export is one or makes one:
   * each of its `threads` then is a worker that loads it.
   */
  constructor(app: Topology | URL, config: Config) {
    const { applicationId, guarantee, metricsLevel, registry, hooks, logger, logLevel } =
      resolveConfig(config)
    const gate: LevelSwitch = { level: logLevel }
    const gated = logger === null ? standardLogger(gate) : toLogger(logger, gate)
    const metrics = new Metrics({
      applicationId,
      guarantee,
      level: metricsLevel,
      registry,
      clock: systemClock,
    })
    const all = allHooks(hooks === null ? [metrics.hooks] : [metrics.hooks, hooks])
    super(app, { ...config, logger: gated, hooks: all })
    this.#metrics = metrics
    this.#logger = gated
    this.#gate = gate
    metrics.watch(() => this.status())
  }

  get logger(): Logger {
    return this.#logger
  }

  /** The one setting that changes while running. */
  get logLevel(): LogLevel {
    return this.#gate.level
  }

  set logLevel(level: LogLevel) {
    this.#gate.level = level
  }

  /** Where the metrics are. */
  get registry(): Registry {
    return this.#metrics.registry
  }

  /** Of the HTTP service; null before `start` and where there is none. */
  get httpAddress(): string | null {
    return this.#service?.address ?? null
  }

  /** Where other copies reach this one: as it was said, port 0 standing for the one that the service got. */
  protected override get advertised(): string | null {
    const said = super.advertised
    if (said === null || this.#service === null) return said
    return said.endsWith(':0') ? `${said.slice(0, -1)}${this.#service.port}` : said
  }

  /** Reads the stores of the application, whichever copy has them. */
  get queries(): Queries {
    const { http } = this.settings
    this.#queries ??= new Queries(this.queried, { token: http === false ? null : http.token })
    return this.#queries
  }

  /** A store by its name, to read from. */
  store<K = unknown, V = unknown>(name: string): StateStore<K, V> {
    return this.queries.store<K, V>(name)
  }

  /** Adds paths to the HTTP service; before `start`. */
  serve(route: Route): void {
    this.#routes.push(route)
  }

  override async start(): Promise<void> {
    const { http } = this.settings
    if (http !== false && this.state === 'created') {
      this.#service = await HttpService.start({
        ...http,
        logger: this.logger,
        status: () => this.status(),
        metrics: () => this.#metrics.text(),
        metricsType: this.registry.contentType,
        topology: () => this.#describable(),
        routes: [stateRoute(this.queried, { token: http.token }), ...this.#routes],
      })
      this.logger.info(`http service on ${this.#service.address}`)
    }
    await super.start()
  }

  /** null: a module that is still loading. */
  #describable(): Topology | null {
    try {
      return this.topology
    } catch {
      return null
    }
  }

  override async close(options: CloseOptions = {}): Promise<void> {
    try {
      await super.close(options)
    } finally {
      this.#metrics.close()
      await this.#service?.close()
    }
  }
}
