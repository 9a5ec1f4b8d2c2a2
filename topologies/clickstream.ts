/** Clickstream: the visits of each user. One ends after a minute without a click; a late click may join two of them. */
import { StreamsBuilder, serdes, session } from 'millrace'
import type { Generate } from 'millrace/testing'

type Visit = { readonly clicks: number; readonly pages: readonly string[] }

export const config = { applicationId: 'clickstream' }

const builder = new StreamsBuilder()

builder
  .stream('clicks', { keySerde: serdes.string(), valueSerde: serdes.string() })
  .groupByKey()
  .windowedBy(session('1m', { grace: '30s' }))
  .aggregate<Visit>(
    () => ({ clicks: 0, pages: [] }),
    ({ clicks, pages }, page) => ({
      clicks: clicks + 1,
      pages: pages.includes(page) ? pages : [...pages, page],
    }),
    (older, newer) => ({
      clicks: older.clicks + newer.clicks,
      pages: [...new Set([...older.pages, ...newer.pages])],
    }),
    { as: 'visits', valueSerde: serdes.json<Visit>() },
  )
  .toStream()
  .to('visits')

export default builder.build()

export const generate: Generate = function* ({ integer, pick }) {
  for (;;)
    yield {
      topic: 'clicks',
      key: `user-${integer(200)}`,
      value: pick(['/', '/search', '/cart', '/help', '/pay']),
    }
}
