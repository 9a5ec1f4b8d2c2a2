/** A peer that does not speak Kafka, or speaks it badly: one clear error, no crash, no hang. */
import { createServer, type Server, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { ByteWriter } from '../../src/base/bytes.ts'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { StreamsError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type KafkaClient } from '../../src/kafka/index.ts'
import { fetch } from '../../src/wire/01-fetch.ts'
import { metadata } from '../../src/wire/03-metadata.ts'
import { apiVersions } from '../../src/wire/18-api-versions.ts'
import type { AnyApi } from '../../src/wire/api.ts'
import { apis } from '../../src/wire/apis.ts'
import { encodeBatch } from '../../src/wire/batch-builder.ts'
import { readRequestHeader, writeResponseHeader } from '../../src/wire/request-header.ts'
import { reader } from '../contract/client.ts'
import { drawFrom } from '../wire/draw.ts'

const seed = Number(process.env['SEED'] ?? 20261121)

type Answer = (request: {
  readonly api: AnyApi
  readonly version: number
  readonly correlationId: number
}) => Buffer | null

let server: Server | undefined
let client: KafkaClient | undefined
const sockets = new Set<Socket>()

afterEach(async () => {
  await client?.close()
  for (const socket of sockets) socket.destroy()
  sockets.clear()
  await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())))
})

/** A server that gives each request to `answer`; null is silence. */
async function serve(
  answer: Answer,
  options: Readonly<Record<string, unknown>> = {},
  clock: Clock = systemClock,
): Promise<number> {
  server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    let received = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk as Buffer])
      while (received.length >= 4 && received.length >= 4 + received.readInt32BE(0)) {
        const end = 4 + received.readInt32BE(0)
        const { api, apiVersion, correlationId } = readRequestHeader(received, 4, end)
        received = received.subarray(end)
        const bytes = answer({ api: api as AnyApi, version: apiVersion, correlationId })
        if (bytes !== null) socket.write(bytes)
      }
    })
  })
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  client = connect({
    brokers: [`127.0.0.1:${port}`],
    clientId: 'hostile',
    logger: silentLogger,
    clock,
    kafka: { retry: { retries: 1, initialRetryTime: 20 }, requestTimeout: 300, ...options },
  })
  return port
}

function frame(api: AnyApi, version: number, correlationId: number, response: unknown): Buffer {
  const to = new ByteWriter()
  to.int32(0)
  writeResponseHeader(to, api, version, correlationId)
  api.encodeResponse(version, to, response as never)
  const bytes = to.copy()
  bytes.writeInt32BE(bytes.length - 4, 0)
  return bytes
}

const spoken = {
  errorCode: 0,
  apiKeys: (Object.values(apis) as readonly unknown[] as readonly AnyApi[]).map(({ key, min, max }) => ({
    apiKey: key,
    minVersion: min,
    maxVersion: max,
  })),
}

/** Answers as a broker with one topic would; `twist` may answer in its place. */
function brokerLike(port: () => number, twist: Answer): Answer {
  return (request) => {
    const { api, version, correlationId } = request
    const twisted = twist(request)
    if (twisted !== null) return twisted
    if (api.key === apiVersions.key) return frame(api, version, correlationId, spoken)
    if (api.key === metadata.key) {
      return frame(api, version, correlationId, {
        brokers: [{ nodeId: 1, host: '127.0.0.1', port: port() }],
        controllerId: 1,
        topics: [
          {
            errorCode: 0,
            name: 't',
            partitions: [{ errorCode: 0, partition: 0, leaderId: 1, replicaNodes: [1], isrNodes: [1] }],
          },
        ],
      })
    }
    return null
  }
}

async function failure(promise: Promise<unknown>): Promise<StreamsError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(StreamsError)
  return error as StreamsError
}

test('hostile: a web server answers in its own words, it is told that this is no Kafka', async () => {
  await serve(() => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'))
  const error = await failure((client as KafkaClient).admin.topics())
  expect(error).toMatchObject({ code: 'WIRE_MALFORMED', verdict: 'stop' })
  expect(error.message).toContain('does not speak Kafka')
})

test.each([-1, 0, 3, 0x7fffffff, -2147483648])(
  'hostile: a response of %d bytes is announced',
  async (size) => {
    await serve(() => {
      const bytes = Buffer.alloc(8)
      bytes.writeInt32BE(size, 0)
      return bytes
    })
    expect(await failure((client as KafkaClient).admin.topics())).toMatchObject({ code: 'WIRE_MALFORMED' })
  },
)

test('hostile: nobody ever answers, the time-out names broker and request', async () => {
  const port = await serve(() => null)
  const error = await failure((client as KafkaClient).admin.topics())
  expect(error).toMatchObject({ code: 'KAFKA_UNREACHABLE' })
  expect(error.message).toContain(`127.0.0.1:${port} did not answer ApiVersions within 300 ms`)
})

test('hostile: half a response, then silence, ends when patience does', async () => {
  // Half a minute by a clock that runs a hundred times as fast.
  const start = Date.now()
  const clock = { ...systemClock, now: () => start + 100 * (Date.now() - start) }
  const port: number = await serve(
    brokerLike(
      () => port,
      ({ api, version, correlationId }) =>
        api.key === metadata.key
          ? frame(api, version, correlationId, { brokers: [], topics: [] }).subarray(0, 9)
          : null,
    ),
    {},
    clock,
  )
  const error = await failure((client as KafkaClient).admin.topics(['t']))
  expect(error.code).toMatch(/^KAFKA_(TIMEOUT|UNREACHABLE)$/)
})

test('hostile: an answer to a question that nobody asked is passed over', async () => {
  let isFirst = true
  const port: number = await serve(
    brokerLike(
      () => port,
      ({ api, version, correlationId }) => {
        if (api.key !== metadata.key || !isFirst) return null
        isFirst = false
        const stray = frame(api, version, correlationId + 1_000, { brokers: [], topics: [] })
        return Buffer.concat([
          stray,
          brokerLike(
            () => port,
            () => null,
          )({ api, version, correlationId }) as Buffer,
        ])
      },
    ),
  )
  expect(await (client as KafkaClient).admin.topics(['t'])).toMatchObject([{ name: 't' }])
})

test('hostile: a fetch response full of garbage stops the fetcher, and the error names request and field', async () => {
  const port: number = await serve(
    brokerLike(
      () => port,
      ({ api, version, correlationId }) => {
        if (api.key !== fetch.key) return null
        const good = frame(api, version, correlationId, { topics: [] })
        // The count of topics becomes a billion.
        good.write('ffffffff07', good.length - 2, 'hex')
        return good
      },
    ),
  )
  const { fetcher, errors } = reader(client as KafkaClient)
  fetcher.add({ topic: 't', partition: 0 }, 0)
  const [error] = await errors.until(({ length }) => length > 0)
  expect(error).toMatchObject({ code: 'WIRE_MALFORMED', verdict: 'stop' })
  expect(error?.message).toMatch(/127\.0\.0\.1:\d+: Fetch response v12, /)
})

test('hostile: fetch responses mutated at random, each ends in records, an error or a retry', async () => {
  const draw = drawFrom(seed)
  const batch = encodeBatch([{ timestamp: 1, key: null, value: Buffer.from('v') }])
  let answered = 0
  const port: number = await serve(
    brokerLike(
      () => port,
      ({ api, version, correlationId }) => {
        if (api.key !== fetch.key) return null
        const good = frame(api, version, correlationId, {
          topics: [
            {
              name: 't',
              partitions: [
                {
                  partition: 0,
                  errorCode: 0,
                  highWatermark: 1,
                  abortedTransactions: null,
                  records: { buffer: batch, start: 0, end: batch.length },
                },
              ],
            },
          ],
        })
        answered++
        // Length, correlation id and throttle time stay: the first were twisted above, the last is believed.
        for (let count = 1 + Math.floor(draw() * 3); count > 0; count--) {
          good[13 + Math.floor(draw() * (good.length - 13))] = Math.floor(draw() * 256)
        }
        return good
      },
    ),
    { requestTimeout: 2_000 },
  )
  for (let round = 0; round < 300; round++) {
    const { fetcher, errors, records, ends } = reader(client as KafkaClient, {
      onChunk: (chunk) => {
        chunkSeen()
        chunk.release()
      },
      offsetReset: () => 'none',
    })
    let chunkSeen = () => {}
    const before = answered
    const seen = new Promise<void>((resolve) => {
      chunkSeen = resolve
    })
    fetcher.add({ topic: 't', partition: 0 }, 0)
    await Promise.race([
      seen,
      errors.until(({ length }) => length > 0),
      records.until(({ length }) => length > 0),
      ends.until(({ length }) => length > 0),
      (async () => {
        while (answered < before + 3) await new Promise((resolve) => setTimeout(resolve, 2))
      })(),
    ])
    await fetcher.close()
  }
  expect(answered, `seed ${seed}`).toBeGreaterThanOrEqual(300)
})
