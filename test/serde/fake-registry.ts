/** A schema registry of a few lines: Confluent's API as far as the client uses it, in memory, on a free port. */
import { createServer } from 'node:http'

type Stored = {
  readonly id: number
  readonly subject: string
  readonly schema: string
  readonly schemaType: string
}

export type FakeRegistry = {
  readonly url: string
  readonly requests: string[]
  /** Answers everything with this status, or takes requests and stays mute, until it is null again. */
  down: number | 'mute' | null
  register(subject: string, schema: object | string, schemaType?: string): number
  /** Resolves when it was asked so often. */
  seen(requests: number): Promise<void>
  close(): Promise<void>
}

export async function startFakeRegistry(): Promise<FakeRegistry> {
  const stored: Stored[] = []
  const requests: string[] = []
  const watchers = new Set<() => void>()
  const state = { down: null as number | 'mute' | null }
  const register = (subject: string, given: object | string, schemaType = 'AVRO'): number => {
    const schema = typeof given === 'string' ? given : JSON.stringify(given)
    const same = stored.find((each) => each.schema === schema)
    const id = same?.id ?? stored.length + 1
    if (!stored.some((each) => each.schema === schema && each.subject === subject))
      stored.push({ id, subject, schema, schemaType })
    return id
  }
  const answer = (method: string, path: string, body: string): { status: number; json: unknown } => {
    const missing = { status: 404, json: { error_code: 40_403, message: 'Schema not found' } }
    const [, byId] = /^\/schemas\/ids\/(\d+)/.exec(path) ?? []
    if (byId !== undefined) {
      const found = stored.find(({ id }) => id === Number(byId))
      return found === undefined
        ? missing
        : { status: 200, json: { schema: found.schema, schemaType: found.schemaType } }
    }
    const [, rawSubject, latest] = /^\/subjects\/([^/]+)(\/versions(?:\/latest)?)?$/.exec(path) ?? []
    if (rawSubject === undefined)
      return path.startsWith('/config/') && method === 'PUT' ? { status: 200, json: {} } : missing
    const subject = decodeURIComponent(rawSubject)
    if (method === 'GET' && latest === '/versions/latest') {
      const found = stored.filter((each) => each.subject === subject).at(-1)
      return found === undefined ? missing : { status: 200, json: { ...found, version: 1 } }
    }
    const { schema, schemaType = 'AVRO' } = JSON.parse(body) as { schema: string; schemaType?: string }
    if (latest === '/versions') return { status: 200, json: { id: register(subject, schema, schemaType) } }
    const found = stored.find((each) => each.subject === subject && each.schema === schema)
    return found === undefined ? missing : { status: 200, json: found }
  }
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (data: Buffer) => {
      body += data.toString()
    })
    request.on('end', () => {
      requests.push(`${request.method} ${request.url}`)
      for (const look of watchers) look()
      if (state.down === 'mute') return
      const { status, json } =
        state.down === null
          ? answer(request.method ?? '', request.url ?? '', body)
          : { status: state.down, json: { message: 'down' } }
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify(json))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`,
    requests,
    get down() {
      return state.down
    },
    set down(status) {
      state.down = status
    },
    register,
    seen: (count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (requests.length >= count) resolve()
        }
        watchers.add(look)
        look()
      }),
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
