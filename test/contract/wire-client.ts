/** One connection that speaks bare requests: what a broker's tests say, they say in the protocol itself. */
import net from 'node:net'
import { ByteWriter } from '../../src/base/bytes.ts'
import type { Api, RequestInOf, ResponseOf } from '../../src/wire/api.ts'
import { apis } from '../../src/wire/apis.ts'
import { kafkaErrorName } from '../../src/wire/error-codes.ts'
import type { Type } from '../../src/wire/grammar.ts'
import { responseBodyStart, writeRequestHeader } from '../../src/wire/request-header.ts'

type Apis = typeof apis
export type ApiName = keyof Apis
type LooseApi = Api<Type<unknown, unknown>, Type<unknown, never>>

type Waiting = { readonly resolve: (frame: Buffer) => void; readonly reject: (error: Error) => void }

export class WireClient {
  readonly #socket: net.Socket
  readonly #waiting: Waiting[] = []
  readonly #spoken = new Map<number, { readonly min: number; readonly max: number }>()
  /** Answers that came before they were asked for. */
  readonly #unclaimed: Buffer[] = []
  #received = Buffer.alloc(0)
  #correlationId = 0
  readonly closed: Promise<void>

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk as Buffer])
      while (this.#received.length >= 4 && this.#received.length >= 4 + this.#received.readInt32BE(0)) {
        const end = 4 + this.#received.readInt32BE(0)
        const frame = this.#received.subarray(4, end)
        const waiting = this.#waiting.shift()
        if (waiting === undefined) this.#unclaimed.push(frame)
        else waiting.resolve(frame)
        this.#received = this.#received.subarray(end)
      }
    })
    socket.on('error', () => {})
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        for (const { reject } of this.#waiting) reject(new Error('the broker closed the connection'))
        resolve()
      })
    })
  }

  static async open(address: string): Promise<WireClient> {
    const client = await WireClient.openBare(address)
    const { apiKeys } = await client.call(
      'apiVersions',
      { clientSoftwareName: 'test', clientSoftwareVersion: '1' },
      3,
    )
    for (const { apiKey, minVersion, maxVersion } of apiKeys)
      client.#spoken.set(apiKey, { min: minVersion, max: maxVersion })
    return client
  }

  /** Without asking what is spoken. */
  static async openBare(address: string): Promise<WireClient> {
    const [host, port] = address.split(':')
    const socket = net.connect(Number(port), host)
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    return new WireClient(socket)
  }

  /** The versions that both ends know. */
  versions(name: ApiName): number[] {
    const { key, min, max } = apis[name]
    const spoken = this.#spoken.get(key)
    if (spoken === undefined) return []
    const first = Math.max(min, spoken.min)
    return Array.from({ length: Math.min(max, spoken.max) - first + 1 }, (_, index) => first + index)
  }

  /** At the highest version of both ends, unless one is given. */
  async call<N extends ApiName>(
    name: N,
    request: RequestInOf<Apis[N]>,
    version = this.versions(name).at(-1),
  ): Promise<ResponseOf<Apis[N]>> {
    if (version === undefined) throw new Error(`the broker does not speak ${name}`)
    const api = apis[name] as unknown as LooseApi
    const bytes = this.encode(name, request, version)
    const id = this.#correlationId
    const frame = await this.#exchange(bytes)
    if (frame.readInt32BE(0) !== id) throw new Error(`answer ${frame.readInt32BE(0)} to request ${id}`)
    return api.decodeResponse(version, frame, responseBodyStart(api, version, frame, 4)) as ResponseOf<
      Apis[N]
    >
  }

  /** A request as it goes over the wire, its length before it. */
  encode<N extends ApiName>(name: N, request: RequestInOf<Apis[N]>, version: number): Buffer {
    const api = apis[name] as unknown as LooseApi
    const writer = new ByteWriter()
    writer.int32(0)
    writeRequestHeader(writer, api, version, ++this.#correlationId, 'wire-client')
    api.encodeRequest(version, writer, request)
    writer.buffer.writeInt32BE(writer.position - 4, 0)
    return writer.copy()
  }

  /** Sends bytes as they are. */
  raw(bytes: Buffer): void {
    this.#socket.write(bytes)
  }

  /** The next answer, undecoded, from its correlation id on. */
  nextFrame(): Promise<Buffer> {
    const frame = this.#unclaimed.shift()
    if (frame !== undefined) return Promise.resolve(frame)
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  #exchange(bytes: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) return reject(new Error('the connection is closed'))
      this.#waiting.push({ resolve, reject })
      this.#socket.write(bytes)
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Repeats what a broker may refuse for a moment: a coordinator that starts, a transaction that ends. */
export async function settled<T>(run: () => Promise<T>, codeOf: (answer: T) => number): Promise<T> {
  const passing = new Set([
    'COORDINATOR_NOT_AVAILABLE',
    'COORDINATOR_LOAD_IN_PROGRESS',
    'NOT_COORDINATOR',
    'CONCURRENT_TRANSACTIONS',
    'LEADER_NOT_AVAILABLE',
    'UNKNOWN_TOPIC_OR_PARTITION',
    'NOT_LEADER_OR_FOLLOWER',
  ])
  for (let attempt = 0; ; attempt++) {
    const answer = await run()
    if (attempt > 400 || !passing.has(kafkaErrorName(codeOf(answer)))) return answer
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
