/**
 * A real schema registry with Confluent's API on 127.0.0.1 for the tests: Apicurio from Maven Central, all in memory, on a
 * free port. It ends with the test run.
 */
import { createServer } from 'node:net'
import { registryJars, startJava } from './java.ts'

export type RunningRegistry = {
  /** What a client is given. */
  readonly url: string
  /** It keeps its connections and answers nobody, until it goes on. */
  readonly freeze: () => void
  readonly goOn: () => void
  readonly stop: () => Promise<void>
}

export async function startSchemaRegistry(): Promise<RunningRegistry> {
  const jars = await registryJars()
  const port = await freePort()
  const registry = await startJava('Registry', [], {
    jars,
    heap: '512m',
    properties: { 'quarkus.http.host': '127.0.0.1', 'quarkus.http.port': `${port}` },
  })
  try {
    await registry.said('Listening on:', 60_000)
  } catch (error) {
    await registry.end()
    throw error
  }
  return {
    url: `http://127.0.0.1:${port}/apis/ccompat/v6`,
    freeze: () => void process.kill(registry.pid, 'SIGSTOP'),
    goOn: () => void process.kill(registry.pid, 'SIGCONT'),
    stop: () => registry.end(),
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}
