/**
 * Bitcoin in euros, dollars and pounds: raw ticks in dollars, converted by joining them with a table of rates; then the
 * open, high, low and close of each minute and currency.
 */
import { StreamsBuilder, serdes, tumbling } from 'millrace'
import type { Generate } from 'millrace/testing'

type Tick = { readonly usd: number }
type Candle = { open: number; high: number; low: number; close: number }

const currencies = ['EUR', 'GBP', 'USD'] as const

export const config = { applicationId: 'bitcoin' }

const builder = new StreamsBuilder()

/** What a dollar is worth. */
const rates = builder.table('rates', { as: 'rates', keySerde: serdes.string(), valueSerde: serdes.double() })

builder
  .stream('ticks', { keySerde: serdes.string(), valueSerde: serdes.json<Tick>() })
  .flatMap((tick) => currencies.map((currency) => [currency as string, tick] as const), {
    keySerde: serdes.string(),
    valueSerde: serdes.json<Tick>(),
  })
  .join(rates, ({ usd }, rate) => Math.round(usd * rate * 100) / 100, { name: 'priced' })
  .groupByKey({ name: 'prices', valueSerde: serdes.double() })
  .windowedBy(tumbling('1m', { grace: '10s' }))
  .aggregate<Candle>(
    () => ({ open: 0, high: 0, low: 0, close: 0 }),
    (candle, price) => {
      if (candle.open === 0) return { open: price, high: price, low: price, close: price }
      candle.high = Math.max(candle.high, price)
      candle.low = Math.min(candle.low, price)
      candle.close = price
      return candle
    },
    { as: 'candles', valueSerde: serdes.json<Candle>() },
  )
  .toStream()
  .to('bitcoin-per-minute')

export default builder.build()

export const generate: Generate = function* ({ integer, random }) {
  const around = { EUR: 0.92, GBP: 0.79, USD: 1 }
  for (const currency of currencies) yield { topic: 'rates', key: currency, value: around[currency] }
  for (let usd = 60_000; ; usd = Math.max(1_000, usd + (random() - 0.5) * 50)) {
    yield { topic: 'ticks', key: 'BTC', value: { usd: Math.round(usd * 100) / 100 } }
    if (integer(50) > 0) continue
    const currency = integer(2) === 0 ? 'EUR' : 'GBP'
    yield { topic: 'rates', key: currency, value: Math.round(around[currency] * (990 + integer(20))) / 1_000 }
  }
}
