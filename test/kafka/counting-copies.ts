/** Copies of the counting application as processes, their input, and what they must have counted at any offset. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type KafkaClient, type Producer } from '../../src/kafka/index.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { compile } from '../chaos/compile.ts'

export type CountingOptions = {
  readonly name: string
  readonly partitions: number
  /** Of each partition; record by record, one after another. */
  readonly keys: number
  readonly recordMs: number
  readonly config: Readonly<Record<string, unknown>>
}

export type SaidTask = {
  readonly task: string
  readonly role: 'active' | 'standby'
  readonly state: string
  /** Records of its input that it is past. */
  readonly read: number
  /** 0 also where it is not known yet how much there is. */
  readonly lag: number
}

const brokers = (process.env['KAFKA_BROKERS'] as string).split(',')

export class CountingCopies {
  readonly applicationId: string
  readonly input: string
  /** Written so far, of each partition. */
  readonly written: number[]
  readonly #options: CountingOptions
  readonly #client: KafkaClient
  readonly #producer: Producer
  readonly #compiled: string
  readonly #folder: string
  readonly #children = new Map<string, ChildProcess>()
  readonly #said = new Map<string, readonly SaidTask[]>()
  readonly #ports = new Map<string, number>()
  #feeding: Promise<void> | null = null
  #fed = false

  private constructor(
    options: CountingOptions,
    client: KafkaClient,
    producer: Producer,
    compiled: string,
    folder: string,
  ) {
    this.#options = options
    this.#client = client
    this.#producer = producer
    this.#compiled = compiled
    this.#folder = folder
    this.applicationId = `${options.name}-${randomUUID().slice(0, 8)}`
    this.input = `${this.applicationId}-in`
    this.written = Array.from({ length: options.partitions }, () => 0)
  }

  static async open(options: CountingOptions): Promise<CountingCopies> {
    const folder = await mkdtemp(join(tmpdir(), `millrace-${options.name}-`))
    const compiled = await compile(['test/kafka/counting-app.ts'])
    const client = connect({ brokers, clientId: options.name, logger: silentLogger })
    const producer = client.producer({ deliveryTimeoutMs: 30_000, compression: 'none' })
    await producer.init()
    const copies = new CountingCopies(options, client, producer, compiled, folder)
    const { partitions } = options
    await client.admin.createTopics([{ name: copies.input, partitions, replicationFactor: 1, configs: {} }])
    return copies
  }

  /** Where copies of these names answer, whether they run or not. */
  async addresses(names: readonly string[]): Promise<readonly string[]> {
    return Promise.all(
      names.map(async (name) => {
        const port = this.#ports.get(name) ?? (await freePort())
        this.#ports.set(name, port)
        return `127.0.0.1:${port}`
      }),
    )
  }

  /** Resolves when it runs. */
  async start(name: string): Promise<void> {
    const [address] = (await this.addresses([name])) as [string]
    const config = {
      applicationId: this.applicationId,
      brokers,
      stateDir: join(this.#folder, name),
      clientId: name,
      http: { port: this.#ports.get(name) },
      advertisedAddress: address,
      logLevel: 'error',
      ...this.#options.config,
    }
    const program = join(this.#compiled, 'test/kafka/counting-app.js')
    const args = [program, JSON.stringify(config), String(this.#options.recordMs)]
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#children.set(name, child)
    child.stdin.on('error', () => undefined)
    const lines = createInterface({ input: child.stdout })
    lines.on('line', (line) => {
      if (this.#children.get(name) === child)
        this.#said.set(name, (JSON.parse(line) as { tasks: readonly SaidTask[] }).tasks)
    })
    const ended = once(child, 'exit').then(() => {
      throw new Error(`copy ${name} ended before it ran`)
    })
    ended.catch(() => undefined)
    await Promise.race([once(lines, 'line'), ended])
  }

  async stop(name: string): Promise<void> {
    const child = this.#take(name)
    const exited = once(child, 'exit')
    child.stdin?.end()
    await exited
  }

  async kill(name: string): Promise<void> {
    const child = this.#take(name)
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  signal(name: string, signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#children.get(name)?.kill(signal)
  }

  #take(name: string): ChildProcess {
    const child = this.#children.get(name)
    if (child === undefined) throw new Error(`no copy ${name} runs`)
    this.#children.delete(name)
    this.#said.delete(name)
    return child
  }

  /** As a copy said last. */
  tasks(name: string): readonly SaidTask[] {
    return this.#said.get(name) ?? []
  }

  running(name: string): readonly string[] {
    return this.tasks(name)
      .filter(({ role, state }) => role === 'active' && state === 'running')
      .map(({ task }) => task)
      .sort()
  }

  /** So many records into each partition. */
  async write(count: number): Promise<void> {
    const { keys } = this.#options
    const batches = this.written.map((from, partition) => {
      const builder = new BatchBuilder()
      for (let offset = from; offset < from + count; offset++) {
        const key = keyOf(partition, offset % keys)
        const bytes = Buffer.from(`${key}v`)
        builder.append(Date.now(), bytes, 0, key.length, bytes, key.length, bytes.length, noHeaders)
      }
      return { topic: this.input, partition, builder }
    })
    // Before it is there: whoever sees it may ask what it must be.
    for (const partition of this.written.keys())
      this.written[partition] = (this.written[partition] ?? 0) + count
    await this.#producer.produce(batches)
  }

  feed(count: number, everyMs: number): void {
    this.#feeding = (async () => {
      while (!this.#fed) {
        await this.write(count)
        await sleep(everyMs)
      }
    })()
    this.#feeding.catch(() => undefined)
  }

  async fed(): Promise<void> {
    this.#fed = true
    await this.#feeding
  }

  /** What key number `index` of a partition counts where its input is processed up to an offset. */
  countAt(index: number, offset: number): number {
    return Math.max(0, Math.floor((offset - index - 1) / this.#options.keys) + 1)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#fed = true
    await this.#feeding?.catch(() => undefined)
    for (const child of this.#children.values()) {
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    }
    await this.#producer.close()
    const topics = (await this.#client.admin.topics()).map(({ name }) => name)
    await this.#client.admin.deleteTopics(topics.filter((name) => name.startsWith(this.applicationId)))
    await this.#client.close()
    await rm(this.#folder, { recursive: true, force: true })
    await rm(this.#compiled, { recursive: true, force: true })
  }
}

export function keyOf(partition: number, index: number): string {
  return `k${partition}-${index}`
}

export async function until(what: string, is: () => boolean, timeoutMs: number): Promise<number> {
  const started = Date.now()
  while (!is()) {
    if (Date.now() - started > timeoutMs) throw new Error(`not within ${timeoutMs} ms: ${what}`)
    await sleep(50)
  }
  return Date.now() - started
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
