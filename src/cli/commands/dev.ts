/**
 * `millrace dev`: a topology on an embedded Kafka, fed by its own generator, shown as it runs, and started again with
 * each change of its file. Kafka and its topics stay over such a change; the state does too.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { type Duration, durationMs } from '../../base/duration.ts'
import { silentLogger, standardLogger } from '../../base/logger.ts'
import { connect, type KafkaClient } from '../../kafka/index.ts'
import { allHooks } from '../../runtime/hooks.ts'
import type { Config } from '../../runtime/options.ts'
import { Millrace } from '../../service/millrace.ts'
import { EmbeddedKafka } from '../../testing/embedded-kafka.ts'
import { seededContext } from '../../testing/generator.ts'
import type { SinkNode } from '../../topology/node.ts'
import type { TopologyGraph } from '../../topology/topology.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import { Feeder } from '../feeder.ts'
import { Gauge } from '../gauge.ts'
import type { Io } from '../io.ts'
import { decoded, plainly, readable, readableTime } from '../readable.ts'
import { resolveSettings, type Settings } from '../settings.ts'
import { untilSignal } from '../signals.ts'
import { SourceWatch } from '../source-watch.ts'
import { TopicReader } from '../topic-reader.ts'
import { loadTopologyFile, type TopologyFile } from '../topology-file.ts'
import { droppedText, LatestResults, type Result, renderView, screen } from '../view.ts'

type Given = Readonly<Record<string, unknown>>

const drawIntervalMs = 250
const linesPerSecondMax = 8

export async function run(io: Io, given: Given, file: string): Promise<ExitCode> {
  const forMs = given['for'] === undefined ? null : durationMs(given['for'] as Duration, '--for')
  const kept = given['dir'] as string | undefined
  const first = await loadTopologyFile(io.cwd, file)
  // Before anything is printed: who reads it may send a signal before the next statement runs.
  const signal = untilSignal(io)
  const folder = kept === undefined ? await mkdtemp(join(tmpdir(), 'millrace-dev-')) : resolve(io.cwd, kept)
  const kafka = await EmbeddedKafka.start({
    port: given['kafkaPort'] as number,
    autoCreateTopics: false,
    ...(kept === undefined ? {} : { dir: join(folder, 'kafka') }),
  })
  const development = new Development(io, given, file, folder, kafka)
  try {
    await development.start(first)
    const timer: Promise<unknown>[] = forMs === null ? [] : [new Promise((done) => setTimeout(done, forMs))]
    await Promise.race([signal, development.failed, ...timer])
  } finally {
    await development.stop()
    await kafka.stop()
    if (kept === undefined) await rm(folder, { recursive: true, force: true })
  }
  return exitCodes.done
}

/** One version of the file, running. */
type Running = {
  readonly application: Millrace
  readonly client: KafkaClient
  readonly feeder: Feeder | null
  readonly reader: TopicReader | null
}

class Development {
  /** Rejects when what runs can not go on. */
  readonly failed: Promise<never>
  readonly #io: Io
  readonly #given: Given
  readonly #file: string
  readonly #folder: string
  readonly #kafka: EmbeddedKafka
  readonly #gauge = new Gauge(() => Date.now())
  readonly #results = new LatestResults()
  readonly #startedAt = Date.now()
  readonly #asView: boolean
  #fail: (error: unknown) => void = () => {}
  #running: Running | null = null
  #version = 0
  #restarting: Promise<void> | null = null
  #stopWatching: () => void = () => {}
  #drawing: NodeJS.Timeout | null = null
  #note = ''
  #address = ''
  #linesLeft = linesPerSecondMax
  #stopped = false

  constructor(io: Io, given: Given, file: string, folder: string, kafka: EmbeddedKafka) {
    this.#io = io
    this.#given = given
    this.#file = file
    this.#folder = folder
    this.#kafka = kafka
    this.#asView = io.terminal && given['plain'] !== true && given['json'] !== true
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
  }

  async start(first: TopologyFile): Promise<void> {
    // Before anything is shown: who sees it may change a file. Such a change waits for this first version.
    this.#stopWatching = await this.#watch(first.path)
    const opening = this.#open(first)
    this.#restarting = opening.catch(() => undefined)
    await opening
    if (this.#asView) this.#io.out(screen.enter)
    const interval = this.#asView ? drawIntervalMs : 1_000
    this.#draw()
    this.#drawing = setInterval(() => this.#draw(), interval)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#stopWatching()
    if (this.#drawing !== null) clearInterval(this.#drawing)
    if (this.#asView && this.#drawing !== null) this.#io.out(screen.leave)
    await this.#restarting
    await this.#close()
    const { processed } = this.#gauge.sample()
    if (this.#given['json'] !== true)
      this.#io.out(`${processed} records processed; everything is committed and closed\n`)
  }

  async #open(file: TopologyFile): Promise<void> {
    const { values } = await this.#settings(file)
    const topology = await file.topology(values)
    const { graph } = topology
    const partitions = this.#createTopics(graph)
    const client = connect({ brokers: values.brokers, clientId: 'millrace-dev', logger: silentLogger })
    // A view owns the screen: lines would tear it.
    const logger =
      values.logger ?? (this.#asView ? silentLogger : standardLogger({ level: this.#logLevel(values) }))
    const application = new Millrace(topology, {
      ...(values as unknown as Config),
      logger,
      hooks: allHooks(values.hooks === null ? [this.#gauge.hooks] : [this.#gauge.hooks, values.hooks]),
    })
    application.onState((state) => {
      if (state === 'error' && !this.#stopped) this.#fail(application.error)
    })
    const starting = application.start()
    const reader = await this.#readResults(client, graph)
    const feeder =
      file.generate === null
        ? null
        : new Feeder({
            client,
            graph,
            partitions,
            records: file.generate(
              seededContext((this.#given['seed'] as number) + this.#version, () => Date.now()),
            ),
            recordsPerSecond: this.#given['rate'] as number,
            onError: (error) => this.#fail(error),
          })
    this.#running = { application, client, feeder, reader }
    feeder?.start()
    if (file.generate === null) {
      const topics = [...partitions.keys()].join(', ')
      this.#note = `${this.#file} exports no generate, so write to ${topics} on ${this.#kafka.address} yourself`
    }
    await starting
    this.#announce(application)
  }

  async #settings(file: TopologyFile): Promise<Settings> {
    return resolveSettings(this.#io, {
      topology: file,
      configFile: this.#given['config'] as string | undefined,
      flags: this.#given,
      defaults: { applicationId: 'dev' },
      fixed: { brokers: [this.#kafka.address], stateDir: join(this.#folder, 'state') },
    })
  }

  #logLevel(values: Settings['values']): Settings['values']['logLevel'] {
    // What runs well is told by the lines of results; only trouble is added.
    return values.logLevel === 'info' ? 'warn' : values.logLevel
  }

  async #close(): Promise<void> {
    const running = this.#running
    this.#running = null
    if (running === null) return
    await running.feeder?.stop()
    await running.application.close()
    await running.reader?.close()
    await running.client.close()
  }

  /** The topics that the topology reads and writes, where they are missing. */
  #createTopics(graph: TopologyGraph): ReadonlyMap<string, number> {
    const existing = this.#kafka.topics()
    const count = this.#given['partitions'] as number
    const inputs = new Map<string, number>()
    const wanted = new Set<string>()
    for (const node of graph.nodes.values()) {
      if (node.kind === 'source' && !node.internal) for (const topic of node.topics) wanted.add(topic)
      if (node.kind === 'sink' && !node.internal && typeof node.topic === 'string') wanted.add(node.topic)
    }
    for (const topic of wanted) if (existing[topic] === undefined) this.#kafka.createTopic(topic, count)
    const now = this.#kafka.topics()
    for (const node of graph.nodes.values()) {
      if (node.kind !== 'source' || node.internal) continue
      for (const topic of node.topics) inputs.set(topic, now[topic] ?? count)
    }
    return inputs
  }

  async #readResults(client: KafkaClient, graph: TopologyGraph): Promise<TopicReader | null> {
    const sinks = new Map<string, SinkNode>()
    for (const node of graph.nodes.values()) {
      if (node.kind === 'sink' && !node.internal && typeof node.topic === 'string')
        sinks.set(node.topic, node)
    }
    if (sinks.size === 0) return null
    let order: Promise<void> = Promise.resolve()
    return TopicReader.open({
      client,
      topics: [...sinks.keys()],
      from: this.#version === 0 ? 'earliest' : 'latest',
      onError: (error) => this.#fail(error),
      onRecord: ({ topic, key, value, headers, timestamp }) => {
        const sink = sinks.get(topic)
        // Copies: the ranges die with this call, and a serde may wait.
        const [keyBytes, valueBytes] = [
          key === null ? null : Buffer.from(key),
          value === null ? null : Buffer.from(value),
        ]
        order = order.then(async () => {
          this.#onResult({
            topic,
            timestamp,
            key: sink?.keySerde == null ? keyBytes : await decoded(sink.keySerde, keyBytes, topic, headers),
            value:
              sink?.valueSerde == null
                ? valueBytes
                : await decoded(sink.valueSerde, valueBytes, topic, headers),
          })
        })
      },
    })
  }

  // -------------------------------------------------------------------------------------------- showing

  #announce(application: Millrace): void {
    const address = application.httpAddress ?? 'no HTTP service'
    const changed = address !== this.#address
    this.#address = address
    if (this.#asView) return
    const { applicationId } = application.settings
    if (this.#given['json'] === true) {
      this.#io.out(
        `${JSON.stringify({ event: 'running', applicationId, http: application.httpAddress, kafka: this.#kafka.address })}\n`,
      )
    } else if (this.#version === 0 || changed) {
      this.#io.out(
        `${address} shows ${applicationId}, running ${this.#file} on an embedded Kafka at ${this.#kafka.address}; Ctrl-C ends it\n`,
      )
    }
  }

  #onResult(result: Result): void {
    this.#results.add(result)
    if (this.#asView || this.#stopped) return
    if (this.#given['json'] === true) {
      this.#io.out(`${JSON.stringify({ event: 'result', ...result }, plainly)}\n`)
    } else if (this.#linesLeft-- > 0) {
      const now = Date.now()
      this.#io.out(`  ${result.topic}  ${readable(result.key, now)} = ${readable(result.value, now)}\n`)
    }
  }

  #draw(): void {
    const now = Date.now()
    const application = this.#running?.application
    const gauge = this.#gauge.sample()
    if (this.#asView) {
      const view = renderView(
        {
          applicationId: application?.settings.applicationId ?? '',
          state: application?.state ?? 'restarting',
          file: this.#file,
          address: this.#address,
          kafka: this.#kafka.address,
          upMs: now - this.#startedAt,
          now,
          gauge,
          results: this.#results.list(),
          note: this.#note,
        },
        this.#io.columns(),
        this.#io.rows(),
      )
      this.#io.out(screen.frame(view))
      return
    }
    this.#linesLeft = linesPerSecondMax
    const { inputPerSecond, outputPerSecond, commitsPerSecond, lag } = gauge
    if (this.#given['json'] === true) {
      const { history: _history, ...plain } = gauge
      this.#io.out(`${JSON.stringify({ event: 'rates', ...plain })}\n`)
    } else {
      const round = (value: number): number => Number(value.toPrecision(3))
      this.#io.out(
        `${readableTime(Math.floor(now / 1000) * 1000, now)}  in ${round(inputPerSecond)}/s  out ${round(outputPerSecond)}/s  lag ${lag}  commits ${round(commitsPerSecond)}/s  dropped ${droppedText(gauge)}\n`,
      )
      if (this.#note !== '') this.#io.out(`${this.#note}\n`)
      this.#note = ''
    }
  }

  // -------------------------------------------------------------------------------------------- changes

  async #watch(path: string): Promise<() => void> {
    let timer: NodeJS.Timeout | undefined
    const watching = await SourceWatch.open({
      folder: dirname(path),
      // Kafka's data and the state change all the time.
      except: [this.#folder],
      onChange: () => {
        clearTimeout(timer)
        timer = setTimeout(() => {
          this.#restarting = (this.#restarting ?? Promise.resolve()).then(() =>
            this.#restart(relative(this.#io.cwd, path)),
          )
        }, 150)
      },
      onLimit: (message) => {
        this.#note = message
      },
    })
    return () => {
      clearTimeout(timer)
      watching.close()
    }
  }

  async #restart(file: string): Promise<void> {
    if (this.#stopped) return
    this.#version++
    let next: TopologyFile
    try {
      next = await loadTopologyFile(this.#io.cwd, file, this.#version)
      await next.topology((await this.#settings(next)).values)
    } catch (error) {
      // The version that works runs on.
      this.#note = `${file} was not taken over: ${error instanceof Error ? error.message.replace(/\s*\n\s*/g, ' ') : String(error)}`
      return
    }
    try {
      await this.#close()
      if (this.#stopped) return
      await this.#open(next)
      this.#note = `${file} changed, and runs since ${readableTime(Date.now(), Date.now())}`
    } catch (error) {
      this.#fail(error)
    }
  }
}
