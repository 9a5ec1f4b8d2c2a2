/**
 * Fraud alert, with the Processor API: a card that pays more than 5 times or more than 1,000 within a minute is
 * reported once. What is known of a card is kept in a store, and forgotten by a punctuation when the minute is over.
 */
import { type FixedKeyProcessor, type KeyValueStore, StreamsBuilder, serdes, stores } from 'millrace'
import type { Generate } from 'millrace/testing'

type Payment = { readonly amount: number; readonly where: string }
type Activity = {
  readonly since: number
  readonly payments: number
  readonly amount: number
  readonly reported: boolean
}
type Alert = { readonly reason: string; readonly payments: number; readonly amount: number }

const minuteMs = 60_000
const paymentsMax = 5
const amountMax = 1_000

export const config = { applicationId: 'fraud-alert' }

const activities = stores.keyValue('activities', {
  keySerde: serdes.string(),
  valueSerde: serdes.json<Activity>(),
})

const watch = (): FixedKeyProcessor<string, Payment, Alert> => {
  let store: KeyValueStore<string, Activity>
  let report: (key: string, alert: Alert, timestamp: number) => unknown
  return {
    init(context) {
      store = context.store<KeyValueStore<string, Activity>>('activities')
      report = (key, value, timestamp) => context.forward({ key, value, timestamp })
      context.schedule('10s', 'stream-time', async (time) => {
        for await (const [card, { since }] of store.all()) {
          if (since <= time - minuteMs) await store.delete(card)
        }
      })
    },
    async process({ key, value, timestamp }) {
      const known = await store.get(key)
      const current = known === null || timestamp - known.since >= minuteMs ? null : known
      const payments = (current?.payments ?? 0) + 1
      const amount = (current?.amount ?? 0) + value.amount
      const reason = payments > paymentsMax ? 'many payments' : amount > amountMax ? 'much money' : null
      const reported = current?.reported ?? false
      await store.put(key, {
        since: current?.since ?? timestamp,
        payments,
        amount,
        reported: reported || reason !== null,
      })
      if (reason !== null && !reported) await report(key, { reason, payments, amount }, timestamp)
    },
  }
}

const builder = new StreamsBuilder()

builder
  .stream('payments', { keySerde: serdes.string(), valueSerde: serdes.json<Payment>() })
  .processValues<Alert>(
    { make: watch, stores: [activities] },
    { name: 'watch', valueSerde: serdes.json<Alert>() },
  )
  .to('alerts')

export default builder.build()

export const generate: Generate = function* ({ integer, pick }) {
  for (;;) {
    // Few cards pay much.
    const card = integer(10) === 0 ? `card-${integer(5)}` : `card-${10 + integer(5_000)}`
    yield {
      topic: 'payments',
      key: card,
      value: { amount: 5 + integer(200), where: pick(['Basel', 'Berlin', 'Bologna']) },
    }
  }
}
