/** A topology in a module of its own, as worker threads load it. */
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { serdes } from '../../src/serde/serdes.ts'

const text = serdes.string()
const builder = new StreamsBuilder()
const events = builder.stream('events', { keySerde: text, valueSerde: text })
events.groupByKey().count({ as: 'totals' })
events
  .groupBy((value) => value, { keySerde: text, valueSerde: text, name: 'by-value' })
  .count({ as: 'values' })
builder.globalTable('names', { keySerde: text, valueSerde: text, as: 'names' })
export default builder.build()
