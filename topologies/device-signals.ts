/**
 * Device signals: how strong devices are heard. Of signals above 15 the average overall, per type of device, and per
 * type over 10 minutes.
 */
import { type KStream, StreamsBuilder, serdes, tumbling } from 'millrace'
import type { Generate } from 'millrace/testing'

type Signal = { readonly device: string; readonly type: string; readonly strength: number }
type Sum = { count: number; strength: number }

export const config = { applicationId: 'device-signals' }

const text = serdes.string()
const sumSerde = serdes.json<Sum>()

const empty = (): Sum => ({ count: 0, strength: 0 })
const add = (sum: Sum, { strength }: Signal): Sum => {
  sum.count++
  sum.strength += strength
  return sum
}
const average = ({ count, strength }: Sum): number => Math.round((strength / count) * 100) / 100

const builder = new StreamsBuilder()

const strong: KStream<string, Signal> = builder
  .stream('signals', { keySerde: text, valueSerde: serdes.json<Signal>() })
  .filter(({ strength }) => strength > 15)

strong
  .groupBy(() => 'all', { name: 'all', keySerde: text })
  .aggregate(empty, add, { as: 'signals-overall', valueSerde: sumSerde })
  .toStream()
  .mapValues(average, { valueSerde: serdes.double() })
  .to('average-signal')

const byType = strong.groupBy(({ type }) => type, { name: 'by-type', keySerde: text })

byType
  .aggregate(empty, add, { as: 'signals-by-type', valueSerde: sumSerde })
  .toStream()
  .mapValues(average, { valueSerde: serdes.double() })
  .to('average-signal-by-type')

byType
  .windowedBy(tumbling('10m', { grace: '1m' }))
  .aggregate(empty, add, { as: 'signals-by-type-10m', valueSerde: sumSerde })
  .toStream()
  .mapValues(average, { valueSerde: serdes.double() })
  .to('average-signal-by-type-10m')

export default builder.build()

export const generate: Generate = function* ({ integer, pick, random }) {
  for (;;) {
    const type = pick(['ac', 'fridge', 'heater', 'lamp'])
    const device = `${type}-${1 + integer(5)}`
    yield { topic: 'signals', key: device, value: { device, type, strength: Math.round(10 + 20 * random()) } }
  }
}
