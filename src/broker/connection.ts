/**
 * One client. Requests are taken off the socket one at a time and answered in order, as Kafka does: while one waits
 * (a long poll, a group that rebalances), those behind it wait as well. Bytes that are no request close the
 * connection, with one line in the log.
 */
import type { Socket } from 'node:net'
import { ByteWriter } from '../base/bytes.ts'
import { sleep } from '../base/clock.ts'
import type { Api, RequestOf, ResponseInOf } from '../wire/api.ts'
import { apis } from '../wire/apis.ts'
import { kafkaCode } from '../wire/error-codes.ts'
import type { Type } from '../wire/grammar.ts'
import { readRequestHeader, writeResponseHeader } from '../wire/request-header.ts'
import type { Broker } from './broker.ts'
import type { ApiName, Apis, InterceptedRequest } from './faults.ts'
import { GatherWriter } from './gather-writer.ts'
import type { Handler, RequestContext } from './handlers/handler.ts'
import { handlers } from './handlers/index.ts'
import { Refusal } from './refusal.ts'
import { refusedResponse } from './refused-response.ts'
import { Sasl } from './sasl.ts'

const requestBytesMax = 100 * 1024 * 1024
const lengthBytes = 4

const namesByKey = new Map<number, ApiName>(
  (Object.entries(apis) as [ApiName, Apis[ApiName]][]).map(([name, { key }]) => [key, name]),
)

type AnyRequest = RequestOf<Apis[ApiName]>
type AnyResponse = ResponseInOf<Apis[ApiName]>
type LooseApi = Api<Type<AnyRequest, never>, Type<unknown, AnyResponse>>

export class Connection {
  readonly #socket: Socket
  readonly #broker: Broker
  readonly #sasl: Sasl
  #chunks: Buffer[] = []
  #bytes = 0
  #isBusy = false
  #isClosed = false
  #onClose: (() => void) | null = null

  constructor(socket: Socket, broker: Broker) {
    this.#socket = socket
    this.#broker = broker
    this.#sasl = new Sasl(broker.options.users)
    socket.setNoDelay(true)
    socket.on('data', (chunk) => this.#receive(chunk as Buffer))
    socket.on('error', () => {})
    socket.on('close', () => this.#closed())
  }

  /** Ends it at once, in the middle of whatever it does. */
  drop(): void {
    this.#socket.destroy()
    this.#closed()
  }

  #closed(): void {
    this.#isClosed = true
    this.#chunks = []
    const run = this.#onClose
    this.#onClose = null
    run?.()
  }

  #receive(chunk: Buffer): void {
    if (this.#isClosed) return
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (!this.#isBusy) void this.#work()
    else if (this.#bytes > requestBytesMax) this.#socket.pause()
  }

  async #work(): Promise<void> {
    this.#isBusy = true
    try {
      for (let frame = this.#take(); frame !== null && !this.#isClosed; frame = this.#take())
        await this.#serve(frame)
    } catch (error) {
      if (!this.#isClosed) {
        const from = `${this.#socket.remoteAddress}:${this.#socket.remotePort}`
        this.#broker.options.logger.warn(
          `embedded Kafka: connection from ${from} closed: ${(error as Error).message}`,
        )
      }
      this.drop()
    }
    this.#isBusy = false
    if (!this.#isClosed) this.#socket.resume()
  }

  /** The next whole request, without its length; null while it is not all there. */
  #take(): Buffer | null {
    if (this.#bytes < lengthBytes) return null
    const length = this.#gather(lengthBytes).readInt32BE(0)
    if (length < 0 || length > requestBytesMax) throw new Error(`a request of ${length} bytes`)
    const total = lengthBytes + length
    if (this.#bytes < total) return null
    const frame = this.#gather(total).subarray(lengthBytes, total)
    this.#bytes -= total
    const first = this.#chunks[0] as Buffer
    if (first.length === total) this.#chunks.shift()
    else this.#chunks[0] = first.subarray(total)
    return frame
  }

  /** Makes the first chunk at least this long. A request is copied once at most, in however many chunks it came. */
  #gather(bytes: number): Buffer {
    const first = this.#chunks[0] as Buffer
    if (first.length >= bytes) return first
    const gathered = Buffer.allocUnsafe(bytes)
    let at = 0
    let index = 0
    for (; at < bytes; index++) {
      const chunk = this.#chunks[index] as Buffer
      const taken = Math.min(chunk.length, bytes - at)
      gathered.set(taken === chunk.length ? chunk : chunk.subarray(0, taken), at)
      at += taken
      if (taken < chunk.length) {
        this.#chunks[index] = chunk.subarray(taken)
        break
      }
    }
    this.#chunks.splice(0, index, gathered)
    return gathered
  }

  async #serve(frame: Buffer): Promise<void> {
    const { apiKey, apiVersion, correlationId, clientId, api, bodyStart } = readRequestHeader(frame)
    const name = namesByKey.get(apiKey)
    if (api === undefined || name === undefined) throw new Error(`API key ${apiKey} is not spoken`)
    if (apiVersion < api.min || apiVersion > api.max) {
      if (name !== 'apiVersions')
        throw new Error(`${api.name} version ${apiVersion} is not spoken, ${api.min} to ${api.max} are`)
      // A newer client hears the versions in the oldest format, which it can read for sure.
      const spoken = handlers.apiVersions(
        this.#broker,
        { clientSoftwareName: '', clientSoftwareVersion: '' },
        this.#context(0, clientId),
      )
      const answer = {
        ...(spoken as ResponseInOf<Apis['apiVersions']>),
        errorCode: kafkaCode('UNSUPPORTED_VERSION'),
      }
      await this.#send(name, 0, correlationId, answer)
      return
    }
    if (!this.#sasl.allows(name)) throw new Error(`${api.name} before authentication`)
    const request = (api as unknown as LooseApi).decodeRequest(apiVersion, frame, bodyStart)
    const response = await this.#answer(name, apiVersion, clientId, request)
    if (response !== null && !this.#isClosed) await this.#send(name, apiVersion, correlationId, response)
  }

  /** Lets the test have its way first. */
  async #answer(
    name: ApiName,
    version: number,
    clientId: string | null,
    body: AnyRequest,
  ): Promise<AnyResponse | null> {
    const { faults, options } = this.#broker
    if (faults.delayMs > 0) await sleep(options.clock, faults.delayMs)
    if (!faults.isWatched(name)) return this.#apply(name, version, clientId, body)
    const request = { api: name, version, clientId: clientId ?? '', body } as InterceptedRequest
    const reaction = await faults.react(request)
    if (this.#isClosed) return null
    if (reaction === undefined) return this.#apply(name, version, clientId, body)
    if (reaction === 'drop') {
      this.drop()
      return null
    }
    if (reaction === 'lose') {
      await this.#apply(name, version, clientId, body)
      this.drop()
      return null
    }
    if ('answer' in reaction) return reaction.answer
    if ('error' in reaction) return refusedResponse(name, body as never, kafkaCode(reaction.error), version)
    if ('delayMs' in reaction) {
      await sleep(options.clock, reaction.delayMs)
      return this.#isClosed ? null : this.#apply(name, version, clientId, body)
    }
    const response = await this.#apply(name, version, clientId, body)
    return response === null ? null : (reaction.edit as (response: AnyResponse) => AnyResponse)(response)
  }

  async #apply(
    name: ApiName,
    version: number,
    clientId: string | null,
    body: AnyRequest,
  ): Promise<AnyResponse | null> {
    if (name === 'saslHandshake')
      return this.#sasl.handshake((body as RequestOf<Apis['saslHandshake']>).mechanism)
    if (name === 'saslAuthenticate') {
      return this.#sasl.authenticate((body as RequestOf<Apis['saslAuthenticate']>).authBytes)
    }
    try {
      const handler = handlers[name] as unknown as Handler<'metadata'>
      return await handler(
        this.#broker,
        body as RequestOf<Apis['metadata']>,
        this.#context(version, clientId),
      )
    } catch (error) {
      if (error instanceof Refusal) throw error
      this.#broker.options.logger.error(
        `embedded Kafka: ${name} failed: ${(error as Error).stack ?? String(error)}`,
      )
      return refusedResponse(name, body as never, kafkaCode('UNKNOWN_SERVER_ERROR'), version)
    }
  }

  #context(version: number, clientId: string | null): RequestContext {
    return {
      version,
      clientId: clientId ?? '',
      clientHost: this.#socket.remoteAddress ?? '',
      onClose: (run) => {
        this.#onClose = run
      },
    }
  }

  async #send(name: ApiName, version: number, correlationId: number, response: AnyResponse): Promise<void> {
    this.#onClose = null
    const api = apis[name] as unknown as LooseApi
    const writer = new GatherWriter(256)
    writeResponseHeader(writer, api, version, correlationId)
    api.encodeResponse(version, writer, response as never)
    const length = new ByteWriter(lengthBytes)
    length.int32(writer.length)
    const socket = this.#socket
    socket.cork()
    let isDrained = socket.write(length.view())
    for (const part of writer.parts()) isDrained = socket.write(part)
    socket.uncork()
    if (isDrained || this.#isClosed) return
    await new Promise<void>((resolve) => {
      const done = () => {
        socket.off('drain', done)
        socket.off('close', done)
        resolve()
      }
      socket.on('drain', done)
      socket.on('close', done)
    })
  }
}
