/**
 * The HTTP service of an application: metrics, health, topology, status, and the routes that others add (queries).
 * It listens on 127.0.0.1 unless told otherwise, reads no request bodies, and bounds connections, header sizes and
 * times. Each mistake of a caller is answered with what would be right.
 *
 *   GET /           where to look
 *   GET /live       200 while the process can work on, 503 once it can't
 *   GET /ready      200 while a member of the group with no active task restoring, else 503
 *   GET /metrics    Prometheus' text
 *   GET /topology   text, or JSON or Mermaid by ?format=
 *   GET /status     threads, tasks, positions, as JSON
 */
import { timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { nearestOf } from '../base/options.ts'
import { version } from '../base/version.ts'
import type { ApplicationStatus } from '../runtime/status.ts'

export type Reply = {
  readonly status: number
  readonly type: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Answers everything under a path. Undefined: nothing is there. */
export type Route = {
  readonly path: string
  readonly doc: string
  readonly get: (
    rest: readonly string[],
    parameters: URLSearchParams,
  ) => Promise<Reply | undefined> | Reply | undefined
}

export type DescribedTopology = {
  describe(): string
  toJSON(): unknown
  toMermaid(): string
}

export type HttpServiceOptions = {
  readonly host: string
  /** null: 4040, or the next free one after it. 0: any free one. */
  readonly port: number | null
  readonly token: string | null
  readonly logger: Logger
  readonly status: () => ApplicationStatus
  readonly metrics: () => Promise<string>
  readonly metricsType: string
  /** null: it is not loaded yet. */
  readonly topology: () => DescribedTopology | null
  readonly routes?: readonly Route[]
}

const firstPort = 4040
const portsTried = 20
const connectionsMax = 128

export class HttpService {
  /** As a client would write it: `http://127.0.0.1:4040`. */
  readonly address: string
  readonly port: number
  readonly #server: Server

  private constructor(server: Server, host: string, port: number) {
    this.#server = server
    this.port = port
    const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host
    this.address = `http://${name.includes(':') ? `[${name}]` : name}:${port}`
  }

  static async start(options: HttpServiceOptions): Promise<HttpService> {
    const { host } = options
    const answer = answerer(options)
    const ports =
      options.port === null
        ? Array.from({ length: portsTried }, (_, index) => firstPort + index)
        : [options.port]
    // An address of its own was not asked for, so the last try takes whatever is free.
    if (options.port === null) ports.push(0)
    for (const port of ports) {
      const server = createServer(
        { maxHeaderSize: 16_384, requestTimeout: 10_000, headersTimeout: 10_000 },
        (request, response) => {
          void respond(request, response, answer, options.logger)
        },
      )
      server.maxConnections = connectionsMax
      server.keepAliveTimeout = 5_000
      const failure = await listen(server, host, port)
      if (failure === null) {
        const address = server.address()
        const bound = typeof address === 'object' && address !== null ? address.port : port
        // Health checks must not keep a process alive whose work is done.
        server.unref()
        return new HttpService(server, host, bound)
      }
      if (failure.code === 'EADDRINUSE' && options.port === null) continue
      throw new StreamsError(
        'CONFIG_INVALID',
        failure.code === 'EADDRINUSE'
          ? `http.port: ${port} is taken on ${host}; give another one, 0 for any free one, or http: false`
          : `http.host: can not listen on ${host}:${port}: ${failure.message}`,
        { config: 'http', cause: failure },
      )
    }
    throw new StreamsError('CONFIG_INVALID', `http.port: no free port on ${host}`, { config: 'http' })
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
      this.#server.closeIdleConnections()
      // A scraper that reads slowly does not hold up the end.
      setTimeout(() => this.#server.closeAllConnections(), 1_000).unref()
    })
  }
}

function listen(server: Server, host: string, port: number): Promise<NodeJS.ErrnoException | null> {
  return new Promise((resolve) => {
    const failed = (error: NodeJS.ErrnoException): void => resolve(error)
    server.once('error', failed)
    server.listen(port, host, () => {
      server.off('error', failed)
      server.on('clientError', (_error, socket) => {
        if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
      })
      resolve(null)
    })
  })
}

type Answer = (method: string, url: string, headers: IncomingMessage['headers']) => Promise<Reply>

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  answer: Answer,
  logger: Logger,
): Promise<void> {
  const method = request.method ?? 'GET'
  let reply: Reply
  try {
    reply = await answer(method, request.url ?? '/', request.headers)
  } catch (error) {
    logger.error(`http: ${method} ${request.url ?? '/'} failed`, { error })
    reply = failure(500, 'the answer could not be made; the log says why')
  }
  response.writeHead(reply.status, {
    'content-type': reply.type,
    'content-length': Buffer.byteLength(reply.body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...reply.headers,
  })
  response.end(method === 'HEAD' ? undefined : reply.body)
  request.resume()
}

export function json(value: unknown, status = 200): Reply {
  return { status, type: 'application/json; charset=utf-8', body: `${JSON.stringify(value, null, 2)}\n` }
}

export function failure(
  status: number,
  error: string,
  headers: Readonly<Record<string, string>> = {},
): Reply {
  return { ...json({ error }, status), headers }
}

const plainText = (body: string, status = 200): Reply => ({ status, type: 'text/plain; charset=utf-8', body })

function answerer(options: HttpServiceOptions): Answer {
  const routes: readonly Route[] = [
    {
      path: '/live',
      doc: '200 while the process can work on',
      get: () => {
        const { state } = options.status()
        const dead = state === 'error' || state === 'pending-error' || state === 'not-running'
        return plainText(`${state}\n`, dead ? 503 : 200)
      },
    },
    {
      path: '/ready',
      doc: '200 while a member of the group with no active task restoring',
      get: () => {
        const { ready, state } = options.status()
        return plainText(ready ? 'ready\n' : `not ready: ${state}\n`, ready ? 200 : 503)
      },
    },
    {
      path: '/metrics',
      doc: "Prometheus' text",
      get: async () => ({ status: 200, type: options.metricsType, body: await options.metrics() }),
    },
    {
      path: '/topology',
      doc: 'what is connected with what; ?format=text, json or mermaid',
      get: (_, parameters) => topologyReply(options, parameters),
    },
    { path: '/status', doc: 'threads, tasks and positions', get: () => json(options.status()) },
    ...(options.routes ?? []),
  ]
  const open = new Set(['/live', '/ready'])
  return async (method, url, headers) => {
    let parsed: URL
    let parts: string[]
    try {
      parsed = new URL(url, 'http://localhost')
      parts = parsed.pathname
        .split('/')
        .filter((part) => part !== '')
        .map(decodeURIComponent)
    } catch {
      return failure(400, 'the address can not be read; escape it as URLs are')
    }
    const path = `/${parts[0] ?? ''}`
    if (options.token !== null && !open.has(path) && !authorised(headers.authorization, options.token)) {
      return failure(401, 'this needs the token: send the header Authorization: Bearer …', {
        'www-authenticate': 'Bearer',
      })
    }
    if (method !== 'GET' && method !== 'HEAD') {
      return failure(405, `${method} is not possible here; everything is read by GET`, { allow: 'GET, HEAD' })
    }
    if (path === '/') return index(options, routes)
    const route = routes.find((each) => each.path === path)
    if (route === undefined) {
      const paths = routes.map((each) => each.path)
      const nearest = nearestOf(path, paths)
      return failure(
        404,
        `${path}: there is no such path; ${nearest === null ? `there are ${paths.join(', ')}` : `did you mean ${nearest}?`}`,
      )
    }
    const reply = await route.get(parts.slice(1), parsed.searchParams)
    return (
      reply ??
      failure(404, `${parsed.pathname}: there is nothing at this path; ${route.path} gives ${route.doc}`)
    )
  }
}

const topologyFormats = ['text', 'json', 'mermaid'] as const

function topologyReply(options: HttpServiceOptions, parameters: URLSearchParams): Reply {
  const format = parameters.get('format') ?? 'text'
  const topology = options.topology()
  if (topology === null) return failure(503, 'the topology is not loaded yet; ask again')
  if (format === 'text') return plainText(topology.describe())
  if (format === 'json') return json(topology.toJSON())
  if (format === 'mermaid') return plainText(topology.toMermaid())
  return failure(400, `format: ${JSON.stringify(format)} is not allowed; give ${topologyFormats.join(', ')}`)
}

function authorised(header: string | undefined, token: string): boolean {
  const given = Buffer.from(header ?? '')
  const wanted = Buffer.from(`Bearer ${token}`)
  // Equal lengths are compared in constant time; an unequal length tells nothing but itself.
  return given.length === wanted.length && timingSafeEqual(given, wanted)
}

function index(options: HttpServiceOptions, routes: readonly Route[]): Reply {
  const { applicationId, state } = options.status()
  const links = routes
    .map(({ path, doc }) => `<li><a href="${path}">${path}</a> ${escaped(doc)}</li>`)
    .join('\n')
  return {
    status: 200,
    type: 'text/html; charset=utf-8',
    headers: { 'content-security-policy': "default-src 'none'" },
    body: `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>${escaped(applicationId)}</title>
<h1>${escaped(applicationId)}</h1>
<p>${escaped(state)}, Millrace ${version}</p>
<ul>
${links}
</ul>
</html>
`,
  }
}

function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
