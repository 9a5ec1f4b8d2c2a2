/** What the application under chaos does, as a module that each of its threads loads. */
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { joinMs, windowMs } from './windows.ts'

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
  .join(right, (one, other) => `${one}+${other}`, { within: joinMs, grace: '1d', as: 'join', name: 'join' })
  .to('joined', { valueSerde: text })
left
  .groupBy((value) => value.slice(0, 1), { keySerde: text, name: 'by-letter' })
  .count({ as: 'letters' })
  .toStream()
  .to('letters', { valueSerde: serdes.long() })
export default builder.build()
