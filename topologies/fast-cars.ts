/**
 * Fast cars: vehicles send their speed, some of them late. The average speed of each vehicle, in event time: per 10
 * seconds (tumbling), and over the last 30 seconds, every 10 (hopping). A measurement up to 5 seconds late still counts.
 */
import { hopping, StreamsBuilder, serdes, tumbling } from 'millrace'
import type { Generate } from 'millrace/testing'

type Measurement = { readonly vehicle: string; readonly kmh: number }
type Sum = { count: number; kmh: number }

const sumSerde = serdes.json<Sum>()

export const config = { applicationId: 'fast-cars' }

const builder = new StreamsBuilder()

const measurements = builder
  .stream('speeds', { keySerde: serdes.string(), valueSerde: serdes.json<Measurement>() })
  .groupByKey()

const empty = (): Sum => ({ count: 0, kmh: 0 })
const add = (sum: Sum, { kmh }: Measurement): Sum => {
  sum.count++
  sum.kmh += kmh
  return sum
}
const average = ({ count, kmh }: Sum): number => Math.round((kmh / count) * 10) / 10

measurements
  .windowedBy(tumbling('10s', { grace: '5s' }))
  .aggregate(empty, add, { as: 'speeds-10s', valueSerde: sumSerde })
  .toStream()
  .mapValues(average, { valueSerde: serdes.double() })
  .to('average-speed')

measurements
  .windowedBy(hopping('30s', { advance: '10s', grace: '5s' }))
  .aggregate(empty, add, { as: 'speeds-30s', valueSerde: sumSerde })
  .toStream()
  .mapValues(average, { valueSerde: serdes.double() })
  .to('average-speed-30s')

export default builder.build()

const vehicles = ['Delorean', 'Herbie', 'KITT', 'Lightning', 'Mach 5', 'Tumbler']

export const generate: Generate = function* ({ integer, now, pick, random }) {
  for (;;) {
    const vehicle = pick(vehicles)
    const kmh = Math.round(60 + 20 * vehicles.indexOf(vehicle) + 30 * random())
    // One in twenty was on its way for a while.
    const delayMs = integer(20) === 0 ? integer(8_000) : 0
    yield { topic: 'speeds', key: vehicle, value: { vehicle, kmh }, timestamp: now() - delayMs }
  }
}
