/**
 * One connection to one broker, and the only file that touches kafkajs: it opens the socket, with TLS and SASL as
 * kafkajs' users configure them. Framing, correlation and time-outs are done here, so that a request goes out
 * without copies and a response arrives as one buffer.
 *
 * Each request settles: with its response, by its time-out, or when the connection closes. A connection on which a
 * request timed out is closed, because its answers no longer say what was done.
 */
import { createRequire } from 'node:module'
import { connect as connectSocket, type NetConnectOpts, type Socket } from 'node:net'
import type { Clock, Timer } from '../base/clock.ts'
import { sleep } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { apiVersions } from '../wire/18-api-versions.ts'
import { saslAuthenticate } from '../wire/36-sasl-authenticate.ts'
import type { AnyApi, RequestInOf, ResponseOf } from '../wire/api.ts'
import { malformed } from '../wire/byte-reader.ts'
import { kafkaErrors } from '../wire/error-codes.ts'
import { responseBodyStart, writeRequestHeader } from '../wire/request-header.ts'
import { ScatterWriter } from './scatter-writer.ts'

/** What is used of kafkajs 2.2.4's network/connection.js. */
type KafkajsConnection = {
  socket?: Socket
  sasl: { readonly mechanism?: string } | null
  connect(): Promise<unknown>
  isAuthenticated(): boolean
  authenticate(): Promise<void>
  setVersions(versions: KafkajsVersions): void
  setSupportAuthenticationProtocol(supported: boolean): void
  nextCorrelationId(): number
  rejectRequests(error: Error): void
  processData(data: Buffer): void
  requestQueue: {
    fulfillRequest(response: { correlationId: number; payload: Buffer; size: number }): void
    scheduleCheckPendingRequests(): void
    destroy(): void
  }
}
type KafkajsVersions = { [apiKey: number]: { readonly minVersion: number; readonly maxVersion: number } }
type KafkajsLogger = { readonly [name: string]: (...args: readonly unknown[]) => unknown }

const require = createRequire(import.meta.url)
const KafkajsConnection = require('kafkajs/src/network/connection') as new (
  options: Readonly<Record<string, unknown>>,
) => KafkajsConnection
type SocketFactory = (target: SocketTarget) => Socket
type SocketTarget = {
  readonly host: string
  readonly port: number
  readonly ssl: unknown
  readonly onConnect: () => void
}
const kafkajsSocket = (require('kafkajs/src/network/socketFactory') as () => SocketFactory)()

export type ConnectionOptions = {
  readonly clientId: string
  readonly clock: Clock
  readonly logger: Logger
  /** kafkajs' options: ssl, sasl, connectionTimeout, requestTimeout, reauthenticationThreshold, socketFactory. */
  readonly kafka: Readonly<Record<string, unknown>>
}

const softwareName = 'millrace'
const softwareVersion = '0.1.0'
const connectionTimeoutMs = 10_000
const requestTimeoutMsDefault = 30_000
// Larger than any response that is asked for: whoever sends this length does not speak Kafka.
const responseBytesMax = 1_073_741_824
// A quota is averaged over seconds; a broker that asks for more than this is not believed.
const throttleMsMax = 60_000
const lengthBytes = 4
const scratchBytes = 65_536
const keepAliveMs = 60_000
// Memory of frames that is used again comes in these sizes and their multiples by two: a sixteenth more than the round
// number that is asked for, which a response has beside its records.
const spareBytesMin = 278_528
const spareBytesMax = 8_912_896

type InFlight = {
  readonly api: AnyApi
  readonly resolve: (payload: Buffer) => void
  readonly reject: (error: StreamsError) => void
  timer: Timer | null
}

export class Connection {
  readonly broker: string
  readonly #options: ConnectionOptions
  readonly #kafkajs: KafkajsConnection
  readonly #inFlight = new Map<number, InFlight>()
  readonly #versions = new Map<number, { readonly min: number; readonly max: number }>()
  readonly #requestTimeoutMs: number
  #closed: StreamsError | null = null
  #isConnecting = true
  #throttledUntil = 0
  // The frame that is arriving: its length so far, then its bytes.
  readonly #lengthBytes = Buffer.alloc(lengthBytes)
  #lengthFilled = 0
  #frame: Buffer | null = null
  #frameFilled = 0
  /** Memory of frames that were given back, and of which frames it may come. */
  readonly #spare: Buffer[] = []
  #spareBytes = 0
  readonly #owned = new WeakSet<ArrayBufferLike>()
  /** Where a plain socket reads to between frames. */
  readonly #scratch = Buffer.allocUnsafeSlow(scratchBytes)

  constructor(host: string, port: number, options: ConnectionOptions) {
    const { kafka, clientId, logger } = options
    this.broker = `${host}:${port}`
    this.#options = options
    this.#requestTimeoutMs = numberOption(kafka['requestTimeout'], requestTimeoutMsDefault)
    const quiet = quietLogger(logger)
    this.#kafkajs = new KafkajsConnection({
      host,
      port,
      clientId,
      logger: quiet,
      socketFactory: kafka['socketFactory'] ?? ((target: SocketTarget) => this.#socket(target)),
      ssl: kafka['ssl'] === true ? {} : (kafka['ssl'] ?? null),
      sasl: kafka['sasl'] === undefined ? null : { ...(kafka['sasl'] as object) },
      connectionTimeout: numberOption(kafka['connectionTimeout'], connectionTimeoutMs),
      requestTimeout: this.#requestTimeoutMs,
      reauthenticationThreshold: kafka['reauthenticationThreshold'],
      enforceRequestTimeout: true,
    })
    // It sets a timer at each response, for a queue that stays empty here.
    this.#kafkajs.requestQueue.scheduleCheckPendingRequests = () => {}
    this.#kafkajs.processData = (chunk) => this.#receive(chunk)
  }

  /** Must be awaited before anything is sent. `close` ends it, too. */
  async open(): Promise<void> {
    try {
      await this.#connect()
    } catch (error) {
      const failure = this.#closed ?? this.#openingFailure(error)
      this.#fail(failure)
      throw failure
    } finally {
      this.#isConnecting = false
    }
  }

  get isOpen(): boolean {
    return this.#closed === null && !this.#isConnecting
  }

  get isClosed(): boolean {
    return this.#closed !== null
  }

  /** Nothing is in flight: what is sent is answered at once. */
  get isIdle(): boolean {
    return this.#inFlight.size === 0
  }

  /** The newest version that both ends speak, at least `least`. */
  version(api: Pick<AnyApi, 'key' | 'name' | 'min' | 'max'>, least: number = api.min): number {
    const theirs = this.#versions.get(api.key)
    const version = theirs === undefined ? -1 : Math.min(api.max, theirs.max)
    if (theirs === undefined || version < Math.max(least, theirs.min)) {
      const spoken = theirs === undefined ? 'not at all' : `in versions ${theirs.min} to ${theirs.max}`
      throw new StreamsError(
        'KAFKA_VERSION',
        `broker ${this.broker} speaks ${api.name} ${spoken}; ${least} to ${api.max} are needed: use Apache Kafka 3.9 or newer`,
        { broker: this.broker, api: api.name },
      )
    }
    return version
  }

  /** `waitMs` is what the broker may take its time for, on top of the time-out: the request's own, or kafkajs' option. */
  async send<A extends AnyApi>(
    api: A,
    request: RequestInOf<A>,
    options: { readonly least?: number; readonly waitMs?: number; readonly timeoutMs?: number } = {},
  ): Promise<ResponseOf<A>> {
    const version = this.version(api, options.least)
    await this.#ready()
    const payload = await this.#exchange(
      api,
      version,
      request,
      (options.waitMs ?? 0) + this.#requestTimeoutMs,
    )
    return this.#decode(api, version, payload)
  }

  /** Nobody reads this response any more: the next large ones are read to where it is. */
  reuse(response: Buffer): void {
    const { buffer } = response
    if (!this.#owned.delete(buffer) || this.#closed !== null) return
    const bytes = buffer.byteLength
    if (bytes > spareBytesMax) return
    // What has lain there for longest makes room: responses that have grown would never fit into it.
    while (this.#spareBytes + bytes > spareBytesMax) this.#spareBytes -= this.#spare.shift()?.length ?? 0
    this.#spareBytes += bytes
    this.#spare.push(Buffer.from(buffer))
  }

  #newFrame(size: number): Buffer {
    if (size < spareBytesMin) return Buffer.allocUnsafeSlow(size)
    let found = -1
    for (let index = 0; index < this.#spare.length; index++) {
      const length = this.#spare[index]?.length ?? 0
      if (length >= size && (found < 0 || length < (this.#spare[found]?.length ?? 0))) found = index
    }
    let memory = found < 0 ? undefined : this.#spare.splice(found, 1)[0]
    if (memory === undefined) {
      let length = spareBytesMin
      while (length < size) length *= 2
      // What could not be kept is not made larger than it must be, either.
      memory = Buffer.allocUnsafeSlow(length > spareBytesMax ? size : length)
    } else {
      this.#spareBytes -= memory.length
    }
    this.#owned.add(memory.buffer)
    return memory.subarray(0, size)
  }

  close(): void {
    this.#fail(
      new StreamsError('KAFKA_CLOSED', `the connection to ${this.broker} was closed`, {
        broker: this.broker,
      }),
    )
  }

  async #connect(): Promise<void> {
    const kafkajs = this.#kafkajs
    const { kafka, clock } = this.#options
    // kafkajs' own time-out does not cover a peer that ends the connection during the TLS handshake.
    const limitMs = numberOption(kafka['connectionTimeout'], connectionTimeoutMs) + 500
    let timer: Timer | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = clock.after(limitMs, () => reject(new Error(`no connection within ${limitMs} ms`)))
    })
    try {
      await Promise.race([kafkajs.connect(), late])
    } finally {
      timer?.cancel()
    }
    const { socket } = kafkajs
    if (socket === undefined || socket.destroyed) throw new Error('the broker closed the connection')
    socket.setNoDelay(true)
    let problem: Error | undefined
    socket.on('error', (error: Error) => {
      problem = error
    })
    socket.on('close', () =>
      this.#fail(this.#unreachable(problem?.message ?? 'the broker closed the connection', problem)),
    )
    await this.#learnVersions()
    kafkajs.setSupportAuthenticationProtocol(this.#versions.has(saslAuthenticate.key))
    await kafkajs.authenticate()
  }

  async #learnVersions(): Promise<void> {
    let version = 3
    let payload = await this.#exchange(
      apiVersions,
      version,
      { clientSoftwareName: softwareName, clientSoftwareVersion: softwareVersion },
      this.#requestTimeoutMs,
    )
    // A broker that does not know the version answers in version 0.
    if (payload.length >= 2 && payload.readInt16BE(0) === kafkaErrors.UNSUPPORTED_VERSION.code) {
      version = 0
      payload = await this.#exchange(apiVersions, version, {}, this.#requestTimeoutMs)
    }
    const versions: KafkajsVersions = {}
    for (const { apiKey, minVersion, maxVersion } of apiVersions.decodeResponse(version, payload).apiKeys) {
      this.#versions.set(apiKey, { min: minVersion, max: maxVersion })
      versions[apiKey] = { minVersion, maxVersion }
    }
    this.#kafkajs.setVersions(versions)
  }

  /** Waits out a quota and renews the authentication; both are rare, and nothing is awaited without them. */
  #ready(): Promise<void> | undefined {
    const { clock } = this.#options
    if (this.#kafkajs.sasl !== null && !this.#kafkajs.isAuthenticated() && this.#closed === null) {
      return this.#kafkajs.authenticate().catch((error: unknown) => {
        const failure = this.#openingFailure(error)
        this.#fail(failure)
        throw failure
      })
    }
    const wait = this.#throttledUntil - clock.now()
    return wait > 0 ? sleep(clock, wait) : undefined
  }

  #exchange<A extends AnyApi>(
    api: A,
    version: number,
    request: RequestInOf<A>,
    timeoutMs: number,
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== null) throw this.#closed
      const correlationId = this.#kafkajs.nextCorrelationId()
      const to = new ScatterWriter(256)
      to.position = lengthBytes
      writeRequestHeader(to, api, version, correlationId, this.#options.clientId)
      api.encodeRequest(version, to, request as never)
      const pieces = to.pieces()
      ;(pieces[0] as Buffer).writeInt32BE(to.size - lengthBytes, 0)
      const entry: InFlight = { api, resolve, reject, timer: null }
      entry.timer = this.#options.clock.after(timeoutMs, () => {
        this.#fail(
          new StreamsError(
            'KAFKA_TIMEOUT',
            `broker ${this.broker} did not answer ${api.name} within ${timeoutMs} ms`,
            {
              broker: this.broker,
              api: api.name,
            },
          ),
        )
      })
      this.#inFlight.set(correlationId, entry)
      const socket = this.#kafkajs.socket as Socket
      if (pieces.length === 1) {
        socket.write(pieces[0] as Buffer)
      } else {
        socket.cork()
        for (const piece of pieces) socket.write(piece)
        socket.uncork()
      }
    })
  }

  #decode<A extends AnyApi>(api: A, version: number, payload: Buffer): ResponseOf<A> {
    try {
      const response = api.decodeResponse(
        version,
        payload,
        responseBodyStart(api, version, payload),
      ) as ResponseOf<A>
      const { throttleTimeMs } = response as { readonly throttleTimeMs?: number }
      if (throttleTimeMs !== undefined && throttleTimeMs > 0) {
        const waitMs = Math.min(throttleTimeMs, throttleMsMax)
        this.#options.logger.debug(`broker ${this.broker} throttles this client for ${waitMs} ms`)
        this.#throttledUntil = Math.max(this.#throttledUntil, this.#options.clock.now() + waitMs)
      }
      return response
    } catch (error) {
      throw error instanceof StreamsError
        ? new StreamsError(error.code, `broker ${this.broker}: ${error.message}`, {
            ...error.about,
            broker: this.broker,
            cause: error.cause,
          })
        : error
    }
  }

  /** A plain socket reads the rest of a frame to where it belongs: no buffer for each read, no copy. */
  #socket(target: SocketTarget): Socket {
    if (target.ssl) return kafkajsSocket(target)
    const { host, port, onConnect } = target
    const onread = {
      buffer: () => this.#frame?.subarray(this.#frameFilled) ?? this.#scratch,
      callback: (bytes: number, buffer: Uint8Array): boolean => {
        this.#readTo(bytes, buffer as Buffer)
        return true
      },
    }
    // @types/node knows only the form with one buffer.
    const options = { host, port, onread } as unknown as NetConnectOpts
    const socket = connectSocket(options, onConnect)
    socket.setKeepAlive(true, keepAliveMs)
    return socket
  }

  #readTo(bytes: number, buffer: Buffer): void {
    const frame = this.#frame
    if (frame === null) {
      this.#receive(buffer.subarray(0, bytes), true)
      return
    }
    this.#frameFilled += bytes
    if (this.#frameFilled < frame.length) return
    this.#frame = null
    this.#complete(frame)
  }

  /** Takes what the socket gives, in any portions, and hands out whole frames: copies of a `borrowed` chunk. */
  #receive(chunk: Buffer, borrowed = false): void {
    let at = 0
    while (at < chunk.length && this.#closed === null) {
      if (this.#frame === null) {
        const missing = Math.min(lengthBytes - this.#lengthFilled, chunk.length - at)
        chunk.copy(this.#lengthBytes, this.#lengthFilled, at, at + missing)
        this.#lengthFilled += missing
        at += missing
        if (this.#lengthFilled < lengthBytes) return
        this.#lengthFilled = 0
        const size = this.#lengthBytes.readInt32BE(0)
        if (size < 4 || size > responseBytesMax) {
          this.#fail(
            malformed(`broker ${this.broker} announced a response of ${size} bytes; it does not speak Kafka`),
          )
          return
        }
        if (chunk.length - at >= size) {
          const whole = chunk.subarray(at, at + size)
          this.#complete(borrowed ? Buffer.from(whole) : whole)
          at += size
          continue
        }
        this.#frame = this.#newFrame(size)
        this.#frameFilled = 0
      }
      const frame = this.#frame
      const missing = Math.min(frame.length - this.#frameFilled, chunk.length - at)
      chunk.copy(frame, this.#frameFilled, at, at + missing)
      this.#frameFilled += missing
      at += missing
      if (this.#frameFilled < frame.length) return
      this.#frame = null
      this.#complete(frame)
    }
  }

  #complete(frame: Buffer): void {
    const correlationId = frame.readInt32BE(0)
    const payload = frame.subarray(4)
    const entry = this.#inFlight.get(correlationId)
    if (entry === undefined) {
      this.#kafkajs.requestQueue.fulfillRequest({ correlationId, payload, size: frame.length })
      return
    }
    this.#inFlight.delete(correlationId)
    entry.timer?.cancel()
    entry.resolve(payload)
  }

  #fail(error: StreamsError): void {
    if (this.#closed !== null) return
    this.#closed = error
    this.#spare.length = 0
    const inFlight = [...this.#inFlight.values()]
    this.#inFlight.clear()
    for (const entry of inFlight) {
      entry.timer?.cancel()
      entry.reject(error)
    }
    this.#kafkajs.rejectRequests(error)
    this.#kafkajs.requestQueue.destroy()
    // An error ends kafkajs' wait for the connection; afterwards nobody listens for one.
    this.#kafkajs.socket?.destroy(this.#isConnecting ? error : undefined)
  }

  #unreachable(what: string, cause: unknown): StreamsError {
    return new StreamsError('KAFKA_UNREACHABLE', `broker ${this.broker}: ${what}`, {
      broker: this.broker,
      cause,
    })
  }

  #openingFailure(error: unknown): StreamsError {
    if (error instanceof StreamsError) return error
    const { name, type, code, message } = error as Error & { readonly type?: string; readonly code?: string }
    if (name === 'KafkaJSSASLAuthenticationError' || type?.includes('SASL') || /SASL/.test(message)) {
      const mechanism = this.#kafkajs.sasl?.mechanism ?? 'none'
      return new StreamsError(
        'KAFKA_AUTHENTICATION',
        `broker ${this.broker} refused the login (SASL ${mechanism}): ${message}`,
        { broker: this.broker, cause: error },
      )
    }
    if (code !== undefined && /^ERR_(TLS|SSL)|CERT|SELF_SIGNED|UNABLE_TO_/.test(code)) {
      return new StreamsError(
        'KAFKA_AUTHENTICATION',
        `broker ${this.broker}: TLS failed (${code}): ${message}; check the ssl option`,
        { broker: this.broker, cause: error },
      )
    }
    return this.#unreachable(message, error)
  }
}

function numberOption(value: unknown, fallback: number): number {
  return typeof value === 'number' ? value : fallback
}

/** kafkajs reports each failure as an error of its own; here the caller does, once. */
function quietLogger(logger: Logger): KafkajsLogger {
  const debug = (message: unknown) => logger.debug(`kafkajs: ${String(message)}`)
  const nothing = () => {}
  const quiet: { [name: string]: (...args: readonly unknown[]) => unknown } = {
    info: nothing,
    debug: nothing,
    warn: debug,
    error: debug,
    setLogLevel: nothing,
  }
  quiet['namespace'] = () => quiet
  return quiet
}
