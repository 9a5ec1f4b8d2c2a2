/** Word count: lines of text in, how often each word was said so far out. */
import { StreamsBuilder, serdes } from 'millrace'
import type { Generate } from 'millrace/testing'

export const config = { applicationId: 'word-count' }

const builder = new StreamsBuilder()

builder
  .stream('lines', { keySerde: serdes.string(), valueSerde: serdes.string() })
  .flatMapValues((line) => line.toLowerCase().split(/\W+/).filter(Boolean), { valueSerde: serdes.string() })
  .groupBy((word) => word, { keySerde: serdes.string() })
  .count({ as: 'words' })
  .toStream()
  .to('counts')

export default builder.build()

const lines = [
  'All streams lead to Kafka',
  'Hello Kafka streams',
  'Join the stream of time',
  'The mill turns as long as the race runs',
]

export const generate: Generate = function* ({ pick }) {
  for (;;) yield { topic: 'lines', value: pick(lines) }
}
