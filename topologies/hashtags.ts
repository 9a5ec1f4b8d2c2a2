/** Hashtags: how often each was used within the last 10 minutes, anew each minute. */
import { hopping, StreamsBuilder, serdes } from 'millrace'
import type { Generate } from 'millrace/testing'

export const config = { applicationId: 'hashtags' }

const builder = new StreamsBuilder()

builder
  .stream('posts', { keySerde: serdes.string(), valueSerde: serdes.string() })
  .flatMapValues((post) => post.match(/#\w+/g) ?? [], { valueSerde: serdes.string() })
  .groupBy((hashtag) => hashtag.toLowerCase(), { name: 'by-hashtag', keySerde: serdes.string() })
  .windowedBy(hopping('10m', { advance: '1m', grace: '1m' }))
  .count({ as: 'hashtags' })
  .toStream()
  .to('hashtags')

export default builder.build()

const posts = [
  'Windows that hop #streams #time',
  'State that survives #streams #kafka',
  'It is only a log #Kafka',
  'Nothing to see here',
]

export const generate: Generate = function* ({ integer, pick }) {
  for (;;) yield { topic: 'posts', key: `user-${integer(50)}`, value: pick(posts) }
}
