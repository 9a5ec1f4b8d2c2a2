/** Trades enriched with news: each trade goes on together with the latest news of its company, where there are any. */
import { StreamsBuilder, serdes } from 'millrace'
import type { Generate } from 'millrace/testing'

type Trade = { readonly price: number; readonly shares: number }
type News = { readonly headline: string }

export const config = { applicationId: 'trades-with-news' }

const builder = new StreamsBuilder()

const news = builder.table('news', {
  as: 'latest-news',
  keySerde: serdes.string(),
  valueSerde: serdes.json<News>(),
})

builder
  .stream('trades', { keySerde: serdes.string(), valueSerde: serdes.json<Trade>() })
  .leftJoin(news, ({ price, shares }, latest) => ({ price, shares, headline: latest?.headline ?? null }))
  .to('trades-with-news', { valueSerde: serdes.json() })

export default builder.build()

const companies = ['ACME', 'GLOBEX', 'HOOLI', 'INITECH']
const headlines = ['beats expectations', 'opens a new plant', 'loses a law suit', 'has a new head']

export const generate: Generate = function* ({ integer, pick, random }) {
  for (;;) {
    const company = pick(companies)
    if (integer(20) === 0)
      yield { topic: 'news', key: company, value: { headline: `${company} ${pick(headlines)}` } }
    const price = Math.round(10_000 + 1_000 * random()) / 100
    yield { topic: 'trades', key: company, value: { price, shares: 1 + integer(100) } }
  }
}
