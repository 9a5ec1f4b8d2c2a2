/** The embedded Kafka on a TCP port: takes connections in, and on demand refuses or drops them. */
import net from 'node:net'
import { StreamsError } from '../base/errors.ts'
import type { Broker } from './broker.ts'
import { Connection } from './connection.ts'

export class Server {
  readonly #broker: Broker
  readonly #host: string
  readonly #connections = new Set<Connection>()
  #listener: net.Server | null = null
  #port: number

  constructor(broker: Broker, host: string, port: number) {
    this.#broker = broker
    this.#host = host
    this.#port = port
  }

  get port(): number {
    return this.#port
  }

  async listen(): Promise<void> {
    const listener = net.createServer((socket) => {
      const connection = new Connection(socket, this.#broker)
      this.#connections.add(connection)
      socket.on('close', () => this.#connections.delete(connection))
    })
    await new Promise<void>((resolve, reject) => {
      listener.once('error', (error: NodeJS.ErrnoException) => {
        const isTaken = error.code === 'EADDRINUSE'
        const message = `${this.#host}:${this.#port} is taken; choose another port, or 0 for any free one`
        reject(isTaken ? new StreamsError('BROKER_PORT_IN_USE', message, { cause: error }) : error)
      })
      listener.listen(this.#port, this.#host, resolve)
    })
    this.#listener = listener
    this.#port = (listener.address() as net.AddressInfo).port
    this.#broker.host = this.#host
    this.#broker.port = this.#port
  }

  /** Ends all connections as they stand. */
  dropConnections(): void {
    for (const connection of this.#connections) connection.drop()
    this.#connections.clear()
  }

  /** Nobody gets in until `listen` is called again; those who are in stay. */
  async refuseConnections(): Promise<void> {
    const listener = this.#listener
    this.#listener = null
    // `close` waits for connections that stay: only its first effect, to stop listening, is wanted here.
    listener?.close()
    await new Promise((resolve) => setImmediate(resolve))
  }

  async close(): Promise<void> {
    const listener = this.#listener
    this.#listener = null
    const closed = listener === null ? null : new Promise((resolve) => listener.close(resolve))
    this.dropConnections()
    await closed
  }
}
