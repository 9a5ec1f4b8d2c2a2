/** One process of the application under fail-over: `node failover-app.js BROKERS APPLICATION STATE_DIR`. */
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { Millrace } from '../../src/runtime/application.ts'
import { serdes } from '../../src/serde/serdes.ts'

const [brokers, applicationId, stateDir] = process.argv.slice(2) as [string, string, string]
const text = serdes.string()
const builder = new StreamsBuilder()
builder
  .stream(`${applicationId}-in`, { keySerde: text, valueSerde: text })
  .groupByKey()
  .aggregate(
    () => '0',
    (aggregate, value) => `${Number(aggregate.split(' ')[0]) + 1} ${value}`,
    {
      as: 'latest',
      keySerde: text,
      valueSerde: text,
      caching: false,
    },
  )
  .toStream()
  .to(`${applicationId}-out`, { valueSerde: text })
const app = new Millrace(builder.build(), {
  applicationId,
  brokers: brokers.split(','),
  stateDir,
  cacheMaxBytes: 0,
  standbyReplicas: 1,
  sessionTimeoutMs: 6_000,
  heartbeatIntervalMs: 500,
})
process.stdin.resume()
process.stdin.on('end', () => void app.close().then(() => process.exit(0)))
app.start().then(
  () => console.log('running'),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
