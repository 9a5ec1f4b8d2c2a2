/**
 * The application under chaos: a windowed count, a stream-stream join and an aggregate over a repartition topic. One
 * process of it: `node app.js BROKERS APPLICATION STATE_DIR NAME [INSTANCE]`. It stops when its input is closed.
 */
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import { Millrace } from '../../src/runtime/application.ts'
import { serdes } from '../../src/serde/serdes.ts'
import type { Topology } from '../../src/topology/topology.ts'
import { joinMs, windowMs } from './windows.ts'

export function chaosTopology(): Topology {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  const left = builder.stream('left', { keySerde: text, valueSerde: text })
  const right = builder.stream('right', { keySerde: text, valueSerde: text })
  left
    .groupByKey()
    .windowedBy(tumbling(windowMs, { grace: '1d' }))
    .count({ as: 'counts' })
    .toStream((_count, windowed) => `${windowed.key}@${windowed.start}`, { keySerde: text })
    .to('counts', { valueSerde: serdes.long() })
  left
    .join(right, (one, other) => `${one}+${other}`, {
      within: joinMs,
      grace: '1d',
      as: 'join',
      name: 'join',
    })
    .to('joined', { valueSerde: text })
  left
    .groupBy((value) => value.slice(0, 1), { keySerde: text, name: 'by-letter' })
    .count({ as: 'letters' })
    .toStream()
    .to('letters', { valueSerde: serdes.long() })
  return builder.build()
}

const [brokers, applicationId, stateDir, clientId, instanceId] = process.argv.slice(2)
if (
  brokers !== undefined &&
  applicationId !== undefined &&
  stateDir !== undefined &&
  clientId !== undefined
) {
  const app = new Millrace(chaosTopology(), {
    applicationId,
    brokers: brokers.split(','),
    stateDir,
    clientId,
    instanceId: instanceId ?? null,
    sessionTimeoutMs: 6_000,
    heartbeatIntervalMs: 1_000,
    transactionTimeoutMs: 10_000,
    hooks: { state: (state) => console.log(`${new Date().toISOString()} ${state}`) },
  })
  process.stdin.resume()
  process.stdin.on('end', () => {
    app.close().then(
      () => process.exit(0),
      () => process.exit(1),
    )
  })
  app.onState((state) => {
    // As a supervisor would see it: the process ends, and is started again.
    if (state === 'error') {
      console.log(`${app.error?.stack}`)
      process.exit(1)
    }
  })
  app.start().catch((error) => {
    console.log(String(error?.stack ?? error))
    process.exit(1)
  })
}
