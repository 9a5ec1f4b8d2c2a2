/**
 * One process of an application that dies: `node kill-app.js CONFIG API NTH`. It copies `APPLICATION-in` to
 * `APPLICATION-out` and counts by key in the store `totals`, whose changes go to `APPLICATION-totals`. Just before it
 * would send its NTH request of that kind (Kafka's number for it; -1: none), it ends itself with SIGKILL; those sent
 * before are in the broker's hands. Stops where its input ends.
 */
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { Millrace } from '../../src/runtime/application.ts'
import type { Config } from '../../src/runtime/options.ts'
import { serdes } from '../../src/serde/serdes.ts'

const config = JSON.parse(process.argv[2] as string) as Config
const [api, nth] = process.argv.slice(3).map(Number) as [number, number]
const apiKeyAt = 4

/** What kafkajs asks of a socket factory, and what comes back: a frame begins with its length, then the API's number. */
let sent = 0
function deadlySocket({
  host,
  port,
  onConnect,
}: {
  host: string
  port: number
  onConnect: () => void
}): Socket {
  const socket = connect({ host, port }, onConnect)
  const write = socket.write.bind(socket) as (chunk: Buffer, ...more: unknown[]) => boolean
  const watch = (chunk: Buffer, ...more: unknown[]): boolean => {
    const isFrame = chunk.length > apiKeyAt + 2 && chunk.readInt32BE(0) > 0
    if (isFrame && chunk.readInt16BE(apiKeyAt) === api && ++sent === nth) process.kill(process.pid, 'SIGKILL')
    return write(chunk, ...more)
  }
  socket.write = watch as Socket['write']
  return socket
}

const text = serdes.string()
const builder = new StreamsBuilder()
let records = 0
const input = builder
  .stream(`${config.applicationId}-in`, { keySerde: text, valueSerde: text })
  .mapValues(async (value) => {
    if (++records % 5 === 0) await sleep(1)
    return value
  })
input.to(`${config.applicationId}-out`, { valueSerde: text })
input
  .groupByKey({ keySerde: text, valueSerde: text })
  .count({ as: 'totals' })
  .toStream()
  .to(`${config.applicationId}-totals`, { valueSerde: serdes.long() })
const app = new Millrace(builder.build(), { ...config, kafka: { socketFactory: deadlySocket } })
process.stdin.resume()
process.stdin.on('end', () => void app.close().then(() => process.exit(0)))
app.start().catch((error) => {
  console.error(error)
  process.exit(1)
})
