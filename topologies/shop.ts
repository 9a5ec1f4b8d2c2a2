/**
 * A shop: what was bought, product by product. For each branch the pack of products of every 4 hours, and for each type
 * of product how many were bought within the last 5 minutes, anew each minute.
 */
import { hopping, StreamsBuilder, serdes, tumbling } from 'millrace'
import type { Generate } from 'millrace/testing'

type Purchase = { readonly branch: string; readonly product: string; readonly type: string }

export const config = { applicationId: 'shop' }

const builder = new StreamsBuilder()

const purchases = builder.stream('purchases', {
  keySerde: serdes.string(),
  valueSerde: serdes.json<Purchase>(),
})

purchases
  .groupBy(({ branch }) => branch, { name: 'by-branch', keySerde: serdes.string() })
  .windowedBy(tumbling('4h', { grace: '10m' }))
  .aggregate<string[]>(
    () => [],
    (pack, { product }) => {
      pack.push(product)
      return pack
    },
    { as: 'packs', valueSerde: serdes.json<string[]>() },
  )
  .toStream()
  .to('packs')

purchases
  .groupBy(({ type }) => type, { name: 'by-type', keySerde: serdes.string() })
  .windowedBy(hopping('5m', { advance: '1m', grace: '1m' }))
  .count({ as: 'bought-by-type' })
  .toStream()
  .to('bought-by-type')

export default builder.build()

const products: readonly (readonly [product: string, type: string])[] = [
  ['apples', 'fruit'],
  ['pears', 'fruit'],
  ['bread', 'bakery'],
  ['rolls', 'bakery'],
  ['milk', 'dairy'],
  ['cheese', 'dairy'],
]

export const generate: Generate = function* ({ pick }) {
  for (let number = 1; ; number++) {
    const [product, type] = pick(products)
    yield {
      topic: 'purchases',
      key: `receipt-${number}`,
      value: { branch: pick(['harbour', 'station']), product, type },
    }
  }
}
