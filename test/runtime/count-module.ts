/** A topology as a module, for threads in workers: counts, with traps for the watchdog and the uncaught handler. */
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import { serdes } from '../../src/serde/serdes.ts'

let thrown = false

export default function topology() {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream('events', { keySerde: text, valueSerde: text })
    .peek((value) => {
      // Once per process: workers share the environment of the process that made them, each its own copy.
      if (value === 'loop for ever' && process.env['TRAP'] === 'armed') for (;;);
      if (value === 'throw once' && !thrown && process.env['TRAP'] === 'armed') {
        thrown = true
        throw new Error('thrown once')
      }
    })
    .groupByKey()
    .windowedBy(tumbling('10s', { grace: '1d' }))
    .count({ as: 'counts' })
    .toStream((_count, windowed) => `${windowed.key}@${windowed.start}`, { keySerde: text })
    .to('counts', { valueSerde: serdes.long() })
  return builder.build()
}
