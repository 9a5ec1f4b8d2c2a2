/**
 * The workloads as Millrace programs; java/StreamsPeer.java has the same ones. Which one, and its topics, come from the
 * environment, because each worker thread loads this module for itself.
 */
import { hopping, StreamsBuilder, serdes, session, tumbling } from '../../src/index.ts'

const text = serdes.string()
const keySerde = text
const texts = { keySerde: text, valueSerde: text }

type Stream = ReturnType<typeof read>
type Car = { readonly vehicle: string; readonly ts: number; readonly speed: number }
type Mean = { count: number; sum: number }
type Build = (builder: StreamsBuilder, inputs: readonly string[], output: string) => void

function read(builder: StreamsBuilder, topic: string | undefined) {
  return builder.stream(topic ?? '', texts)
}

function countIn(stream: Stream, output: string, windows: Parameters<typeof tumbling>[0] | 'hopping'): void {
  const spec = windows === 'hopping' ? hopping('10m', { advance: '1s' }) : tumbling(windows)
  stream
    .groupByKey()
    .windowedBy(spec)
    .count({ as: 'counts' })
    .toStream((_count, { key, start }) => `${key}@${start}`, { keySerde })
    .to(output)
}

export const builds: { readonly [workload: string]: Build } = {
  copy: (builder, [input], output) => read(builder, input).to(output),

  filter: (builder, [input], output) =>
    read(builder, input)
      .filter((value) => value.includes('"speed":1'))
      .to(output),

  'window-count': (builder, [input], output) => countIn(read(builder, input), output, '10s'),

  hopping: (builder, [input], output) => countIn(read(builder, input), output, 'hopping'),

  // Without grace a session is kept no longer than the gap, and whether one that is exactly that old is still found
  // depends on Kafka Streams' cache.
  session: (builder, [input], output) =>
    read(builder, input)
      .groupByKey()
      .windowedBy(session('5s', { grace: '1m' }))
      .count({ as: 'counts' })
      .toStream((_count, { key, start, end }) => `${key}@${start}@${end}`, { keySerde })
      .to(output),

  'json-average': (builder, [input], output) =>
    builder
      .stream(input ?? '', { keySerde, valueSerde: serdes.json<Car>() })
      .groupByKey()
      .windowedBy(tumbling('10s'))
      .aggregate<Mean>(
        () => ({ count: 0, sum: 0 }),
        (mean, car) => {
          mean.count++
          mean.sum += car.speed
          return mean
        },
        { as: 'averages', valueSerde: serdes.json<Mean>() },
      )
      .toStream((_mean, { key, start }) => `${key}@${start}`, { keySerde })
      .mapValues(({ count, sum }) => String(sum / count), { valueSerde: text })
      .to(output),

  'stream-table': (builder, [input, rows], output) =>
    read(builder, input)
      .join(builder.table(rows ?? '', { ...texts, as: 'table' }), (value, row) => `${value.length}|${row}`)
      .to(output, { valueSerde: text }),

  'stream-stream': (builder, [left, right], output) =>
    read(builder, left)
      .join(read(builder, right), (l, r) => `${l.length}|${r.length}`, { within: '1s', as: 'join' })
      .to(output, { valueSerde: text }),

  // A day of grace: the tasks before the repartition topic are not at the same time of the input, and nothing is late.
  repartition: (builder, [input], output) =>
    read(builder, input)
      .selectKey((_value, key) => `g${key.slice(-3)}`, { keySerde })
      .groupByKey({ name: 'by-group' })
      .windowedBy(tumbling('10s', { grace: '24h' }))
      .count({ as: 'counts' })
      .toStream((_count, { key, start }) => `${key}@${start}`, { keySerde })
      .to(output),

  // State of the size of its input; how often each key came stands before its last value.
  state: (builder, inputs, output) =>
    builder
      .stream(inputs, texts)
      .groupByKey()
      .aggregate<string>(
        () => '0',
        (seen, value) => `${Number.parseInt(seen, 10) + 1}|${value}`,
        { as: 'state', valueSerde: text },
      )
      .toStream()
      .to(output),

  'many-keys': (builder, [input], output) =>
    read(builder, input).groupByKey().count({ as: 'counts' }).toStream().to(output),
}

export default function topology() {
  const { BENCH_WORKLOAD = '', BENCH_IN = '', BENCH_OUT = '' } = process.env
  const build = builds[BENCH_WORKLOAD]
  if (build === undefined) throw new Error(`BENCH_WORKLOAD: there is no workload '${BENCH_WORKLOAD}'`)
  const builder = new StreamsBuilder()
  build(builder, BENCH_IN.split(','), BENCH_OUT)
  return builder.build()
}
