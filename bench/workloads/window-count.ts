/** Records per key and tumbling window of ten seconds. */
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import { serdes } from '../../src/serde/serdes.ts'

export default function topology() {
  const builder = new StreamsBuilder()
  const text = serdes.string()
  builder
    .stream(process.env['BENCH_IN'] ?? 'events', { keySerde: text, valueSerde: text })
    .groupByKey()
    .windowedBy(tumbling('10s'))
    .count({ as: 'counts' })
    .toStream((count, windowed) => `${windowed.key}@${windowed.start}`, { keySerde: text })
    .to(process.env['BENCH_OUT'] ?? 'counts')
  return builder.build()
}
