/**
 * One process of a counting application with its HTTP service: `node counting-app.js CONFIG RECORD_MS`. Each record of
 * `APPLICATION-in` takes so long, without burning a processor, and is counted by its key in store `totals`. It says what
 * it has as lines of JSON, and stops where its input ends.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import type { Config } from '../../src/runtime/options.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { Millrace } from '../../src/service/millrace.ts'

const config = JSON.parse(process.argv[2] as string) as Config
const recordMs = Number(process.argv[3])
const text = serdes.string()
const builder = new StreamsBuilder()
const input = builder.stream(`${config.applicationId}-in`, { keySerde: text, valueSerde: text })
const slowed =
  recordMs === 0
    ? input
    : input.mapValues(async (value) => {
        await sleep(recordMs)
        return value
      })
slowed.groupByKey({ keySerde: text, valueSerde: text }).count({ as: 'totals' })
const app = new Millrace(builder.build(), config)

function report(): void {
  const tasks = app.status().threads.flatMap((thread) =>
    thread.tasks.map(({ task, role, state, inputs }) => ({
      task,
      role,
      state,
      read: inputs.reduce((sum, { position }) => sum + Math.max(0, position), 0),
      lag: inputs.reduce(
        (sum, { position, endOffset }) =>
          sum + (endOffset === null ? 0 : Math.max(0, endOffset - Math.max(0, position))),
        0,
      ),
    })),
  )
  console.log(JSON.stringify({ address: app.httpAddress, tasks }))
}

process.stdin.resume()
process.stdin.on('end', () => void app.close().then(() => process.exit(0)))
app.start().then(
  () => {
    report()
    setInterval(report, 200).unref()
  },
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
