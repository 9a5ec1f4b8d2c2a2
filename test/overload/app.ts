/**
 * The slow application under overload: `node app.js CONFIG`, the configuration as JSON with `burnMs`. Counts per key,
 * and spends that long on each record until it is told `hurry`. Says its memory ten times a second; the end of its
 * input ends it.
 */
import { createInterface } from 'node:readline'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { Millrace } from '../../src/runtime/application.ts'
import type { Config } from '../../src/runtime/options.ts'
import { serdes } from '../../src/serde/serdes.ts'

const { burnMs, input, output, ...config } = JSON.parse(process.argv[2] as string) as Config & {
  readonly burnMs: number
  readonly input: string
  readonly output: string
}
let inHurry = false
let records = 0

const builder = new StreamsBuilder()
builder
  .stream(input, { keySerde: serdes.string(), valueSerde: serdes.bytes() })
  .peek(() => {
    records++
    if (inHurry) return
    const until = performance.now() + burnMs
    while (performance.now() < until);
  })
  .groupByKey()
  .count({ as: 'counts' })
  .toStream()
  .to(output, { valueSerde: serdes.long() })

const app = new Millrace(builder.build(), config)
setInterval(() => console.log(`${process.memoryUsage.rss()} ${records}`), 100)
const lines = createInterface({ input: process.stdin })
lines.on('line', () => {
  inHurry = true
})
lines.on('close', () => void app.close().then(() => process.exit(0)))
app.onState((state) => {
  if (state !== 'error') return
  console.error(app.error)
  process.exit(1)
})
app.start().catch((error) => {
  console.error(error)
  process.exit(1)
})
