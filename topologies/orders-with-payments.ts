/**
 * Orders joined with payments: a payment belongs to the order of the same number if it comes within 10 seconds of it.
 * An order for which none came goes on without one, once the time for it is over.
 */
import { StreamsBuilder, serdes } from 'millrace'
import type { Generate } from 'millrace/testing'

type Order = { readonly product: string; readonly cents: number }
type Payment = { readonly cents: number }

export const config = { applicationId: 'orders-with-payments' }

const builder = new StreamsBuilder()

const payments = builder.stream('payments', { keySerde: serdes.string(), valueSerde: serdes.json<Payment>() })

builder
  .stream('orders', { keySerde: serdes.string(), valueSerde: serdes.json<Order>() })
  .leftJoin(
    payments,
    ({ product, cents }, payment) => ({
      product,
      state: payment === null ? 'unpaid' : payment.cents >= cents ? 'paid' : 'paid in part',
    }),
    { as: 'orders-with-payments', within: '10s', grace: '2s' },
  )
  .to('order-states', { valueSerde: serdes.json() })

export default builder.build()

export const generate: Generate = function* ({ integer, now, pick }) {
  for (let number = 1; ; number++) {
    const cents = 100 * (1 + integer(50))
    const key = `order-${number}`
    yield { topic: 'orders', key, value: { product: pick(['tea', 'coffee', 'cocoa']), cents } }
    if (integer(10) === 0) continue
    const paid = integer(20) === 0 ? cents / 2 : cents
    yield { topic: 'payments', key, value: { cents: paid }, timestamp: now() + integer(3_000) }
  }
}
