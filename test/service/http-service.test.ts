import { createServer } from 'node:http'
import { connect } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import type { ApplicationStatus } from '../../src/runtime/status.ts'
import { HttpService, type HttpServiceOptions, json } from '../../src/service/http-service.ts'

const running: ApplicationStatus = {
  applicationId: 'shop <b>',
  state: 'running',
  ready: true,
  paused: false,
  member: null,
  threads: [],
}

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close()
})

async function start(options: Partial<HttpServiceOptions> = {}): Promise<HttpService> {
  const service = await HttpService.start({
    host: '127.0.0.1',
    port: 0,
    token: null,
    logger: silentLogger,
    status: () => running,
    metrics: async () => 'millrace_ready 1\n',
    metricsType: 'text/plain; version=0.0.4; charset=utf-8',
    topology: () => ({
      describe: () => 'Topologies:\n',
      toJSON: () => ({ nodes: [] }),
      toMermaid: () => 'flowchart TD\n',
    }),
    ...options,
  })
  opened.push(service)
  return service
}

const get = async (service: HttpService, path: string, init?: RequestInit) => {
  const response = await fetch(`${service.address}${path}`, init)
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    text: await response.text(),
    headers: response.headers,
  }
}

describe('http: what it tells', () => {
  test('http: metrics, in the type that Prometheus expects', async () => {
    const service = await start()
    expect(await get(service, '/metrics')).toMatchObject({
      status: 200,
      type: 'text/plain; version=0.0.4; charset=utf-8',
      text: 'millrace_ready 1\n',
    })
  })

  test('http: live and ready, by state', async () => {
    let status: ApplicationStatus = running
    const service = await start({ status: () => status })
    expect((await get(service, '/live')).status).toBe(200)
    expect((await get(service, '/ready')).status).toBe(200)
    status = { ...running, state: 'rebalancing', ready: false }
    expect((await get(service, '/live')).status).toBe(200)
    expect(await get(service, '/ready')).toMatchObject({ status: 503, text: 'not ready: rebalancing\n' })
    status = { ...running, state: 'error', ready: false }
    expect(await get(service, '/live')).toMatchObject({ status: 503, text: 'error\n' })
  })

  test('http: the topology, as text, JSON and Mermaid', async () => {
    const service = await start()
    expect((await get(service, '/topology')).text).toBe('Topologies:\n')
    expect(JSON.parse((await get(service, '/topology?format=json')).text)).toEqual({ nodes: [] })
    expect((await get(service, '/topology?format=mermaid')).text).toBe('flowchart TD\n')
    expect(await get(service, '/topology?format=xml')).toMatchObject({ status: 400 })
  })

  test('http: status as JSON, and a first page that escapes names', async () => {
    const service = await start()
    expect(JSON.parse((await get(service, '/status')).text)).toEqual(running)
    const page = await get(service, '/')
    expect(page.text).toContain('shop &lt;b&gt;')
    expect(page.text).toContain('href="/metrics"')
  })

  test('http: a route of another part, it gets the rest of the path, and its undefined is a 404', async () => {
    const service = await start({
      routes: [
        { path: '/state', doc: 'stores', get: (rest) => (rest[0] === 'counts' ? json(rest) : undefined) },
      ],
    })
    expect(JSON.parse((await get(service, '/state/counts/a%2Fb')).text)).toEqual(['counts', 'a/b'])
    expect(await get(service, '/state/nothing')).toMatchObject({ status: 404 })
  })
})

describe('http: what it refuses', () => {
  test('http: a path that is not there, the nearest is named', async () => {
    const service = await start()
    const { status, text } = await get(service, '/metric')
    expect(status).toBe(404)
    expect(JSON.parse(text)).toEqual({ error: '/metric: there is no such path; did you mean /metrics?' })
  })

  test('http: another method, refused with what is allowed', async () => {
    const service = await start()
    const { status, headers } = await get(service, '/metrics', { method: 'POST', body: 'x'.repeat(100_000) })
    expect(status).toBe(405)
    expect(headers.get('allow')).toBe('GET, HEAD')
  })

  test('http: a broken escape, 400; the service goes on', async () => {
    const service = await start()
    expect((await get(service, '/%E0%A4%A')).status).toBe(400)
    expect((await get(service, '/live')).status).toBe(200)
  })

  test('http: a token is set, health needs none, the rest does', async () => {
    const service = await start({ token: 'secret-1' })
    expect((await get(service, '/live')).status).toBe(200)
    expect((await get(service, '/ready')).status).toBe(200)
    expect((await get(service, '/metrics')).status).toBe(401)
    expect((await get(service, '/nowhere')).status).toBe(401)
    expect((await get(service, '/metrics', { headers: { authorization: 'Bearer secret-2' } })).status).toBe(
      401,
    )
    expect((await get(service, '/metrics', { headers: { authorization: 'Bearer secret-1' } })).status).toBe(
      200,
    )
  })

  test('http: an answer that fails, 500 without its inside', async () => {
    const service = await start({ metrics: () => Promise.reject(new Error('inner secret')) })
    const { status, text } = await get(service, '/metrics')
    expect(status).toBe(500)
    expect(text).not.toContain('inner secret')
  })

  test('http: bytes that are not HTTP, the connection ends and the service goes on', async () => {
    const service = await start()
    const said = await new Promise<string>((resolve) => {
      let text = ''
      const socket = connect(service.port, '127.0.0.1', () => socket.write('\x16\x03\x01 hello\r\n\r\n'))
      socket.on('data', (data) => {
        text += data.toString()
      })
      socket.on('close', () => resolve(text))
      socket.on('error', () => {})
    })
    expect(said).toMatch(/^HTTP\/1\.1 400/)
    expect((await get(service, '/live')).status).toBe(200)
  })
})

describe('http: ports', () => {
  const occupy = async (): Promise<number> => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    opened.push({ close: () => new Promise((resolve) => server.close(() => resolve())) })
    const address = server.address()
    return typeof address === 'object' && address !== null ? address.port : 0
  }

  test('http: the given port is taken, an error that names it', async () => {
    const port = await occupy()
    await expect(start({ port })).rejects.toThrow(`http.port: ${port} is taken on 127.0.0.1`)
  })

  test('http: no port given, two services of one machine get two', async () => {
    const one = await start({ port: null })
    const two = await start({ port: null })
    expect(one.port).toBeGreaterThanOrEqual(4040)
    expect(two.port).not.toBe(one.port)
  })

  test('http: an address that is not of this machine, an error that names it', async () => {
    await expect(start({ host: '203.0.113.1' })).rejects.toThrow(
      /http\.host: can not listen on 203\.0\.113\.1:0/,
    )
  })
})
