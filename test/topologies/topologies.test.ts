import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Windowed } from '../../src/serde/windowed.ts'
import { type Generate, seededContext } from '../../src/testing/generator.ts'
import { TopologyTestDriver } from '../../src/testing/topology-test-driver.ts'
import type { Topology } from '../../src/topology/topology.ts'
import bitcoin from '../../topologies/bitcoin.ts'
import clickstream from '../../topologies/clickstream.ts'
import deviceSignals from '../../topologies/device-signals.ts'
import fastCars from '../../topologies/fast-cars.ts'
import fraudAlert from '../../topologies/fraud-alert.ts'
import hashtags from '../../topologies/hashtags.ts'
import ordersWithPayments from '../../topologies/orders-with-payments.ts'
import shop from '../../topologies/shop.ts'
import tradesWithNews from '../../topologies/trades-with-news.ts'
import wordCount from '../../topologies/word-count.ts'

const minute = 60_000

/** Feeds `[topic, key, value, timestamp]` and gives what comes out of a topic, as `[key, value]`. */
async function results(
  topology: Topology,
  input: readonly (readonly [topic: string, key: string | null, value: unknown, timestamp: number])[],
  output: string,
): Promise<(readonly [unknown, unknown])[]> {
  const driver = await TopologyTestDriver.start(topology)
  try {
    for (const [topic, key, value, timestamp] of input) {
      await driver.input<unknown, unknown>(topic).pipe(key, value, { timestamp })
    }
    return await driver.output(output).readKeyValues()
  } finally {
    await driver.close()
  }
}

const window = (key: string, start: number, size: number) => new Windowed(key, start, start + size)

test('word count: the same word in two lines, in any case, is counted twice', async () => {
  const input = [
    ['lines', null, 'Hello streams', 0],
    ['lines', null, 'hello, Kafka!', 1],
  ] as const
  expect(await results(wordCount, input, 'counts')).toEqual([
    ['hello', 1],
    ['streams', 1],
    ['hello', 2],
    ['kafka', 1],
  ])
})

describe('fast cars', () => {
  const speed = (kmh: number, at: number) => ['speeds', 'KITT', { vehicle: 'KITT', kmh }, at] as const

  test('fast cars: late within grace it counts, past grace it is dropped', async () => {
    const input = [
      speed(100, 1_000),
      speed(120, 12_000),
      speed(110, 9_000),
      speed(0, 16_000),
      speed(500, 8_000),
    ]
    expect(await results(fastCars, input, 'average-speed')).toEqual([
      [window('KITT', 0, 10_000), 100],
      [window('KITT', 10_000, 10_000), 120],
      [window('KITT', 0, 10_000), 105],
      [window('KITT', 10_000, 10_000), 60],
    ])
  })

  test('fast cars: hopping windows, a measurement is in three of them', async () => {
    expect(await results(fastCars, [speed(80, 25_000)], 'average-speed-30s')).toEqual([
      [window('KITT', 0, 30_000), 80],
      [window('KITT', 10_000, 30_000), 80],
      [window('KITT', 20_000, 30_000), 80],
    ])
  })
})

describe('shop', () => {
  const hour = 60 * minute
  const bought = (product: string, type: string, at: number) =>
    ['purchases', `receipt-${at}`, { branch: 'harbour', product, type }, at] as const

  test('shop: the pack of 4 hours, the next 4 hours begin anew', async () => {
    const input = [
      bought('milk', 'dairy', 0),
      bought('bread', 'bakery', 3 * hour),
      bought('rolls', 'bakery', 4 * hour),
    ]
    expect(await results(shop, input, 'packs')).toEqual([
      [window('harbour', 0, 4 * hour), ['milk']],
      [window('harbour', 0, 4 * hour), ['milk', 'bread']],
      [window('harbour', 4 * hour, 4 * hour), ['rolls']],
    ])
  })

  test('shop: bought within 5 minutes by type, the newest window has both', async () => {
    const input = [bought('milk', 'dairy', 10 * minute), bought('cheese', 'dairy', 12 * minute)]
    const found = await results(shop, input, 'bought-by-type')
    expect(found).toContainEqual([window('dairy', 10 * minute, 5 * minute), 2])
    expect(found).toContainEqual([window('dairy', 12 * minute, 5 * minute), 1])
  })
})

describe('device signals', () => {
  const signal = (type: string, strength: number, at: number) =>
    ['signals', `${type}-1`, { device: `${type}-1`, type, strength }, at] as const
  const input = [
    signal('lamp', 20, 0),
    signal('lamp', 15, 1),
    signal('ac', 30, 2),
    signal('lamp', 16, 11 * minute),
  ]

  test('device signals: the average overall leaves out what is not above 15', async () => {
    expect((await results(deviceSignals, input, 'average-signal')).at(-1)).toEqual(['all', 22])
  })

  test('device signals: the average by type', async () => {
    expect(await results(deviceSignals, input, 'average-signal-by-type')).toEqual([
      ['lamp', 20],
      ['ac', 30],
      ['lamp', 18],
    ])
  })

  test('device signals: the average by type and 10 minutes', async () => {
    expect((await results(deviceSignals, input, 'average-signal-by-type-10m')).at(-1)).toEqual([
      window('lamp', 10 * minute, 10 * minute),
      16,
    ])
  })
})

test('trades with news: the latest headline of the company, none before the first', async () => {
  const trade = { price: 10, shares: 1 }
  const input = [
    ['trades', 'ACME', trade, 0],
    ['news', 'ACME', { headline: 'old' }, 1],
    ['news', 'ACME', { headline: 'new' }, 2],
    ['trades', 'ACME', trade, 3],
    ['trades', 'HOOLI', trade, 4],
  ] as const
  expect(await results(tradesWithNews, input, 'trades-with-news')).toEqual([
    ['ACME', { ...trade, headline: null }],
    ['ACME', { ...trade, headline: 'new' }],
    ['HOOLI', { ...trade, headline: null }],
  ])
})

test('bitcoin: open, high, low and close of a minute in each currency that has a rate', async () => {
  const input = [
    ['rates', 'EUR', 0.5, 0],
    ['rates', 'USD', 1, 0],
    ...[100, 120, 90, 110].map((usd, index) => ['ticks', 'BTC', { usd }, 1_000 + index] as const),
    ['ticks', 'BTC', { usd: 200 }, minute],
  ] as const
  const latest = new Map(
    (await results(bitcoin, input, 'bitcoin-per-minute')).map(([key, value]) => [JSON.stringify(key), value]),
  )
  expect(Object.fromEntries(latest)).toEqual({
    [JSON.stringify(window('USD', 0, minute))]: { open: 100, high: 120, low: 90, close: 110 },
    [JSON.stringify(window('EUR', 0, minute))]: { open: 50, high: 60, low: 45, close: 55 },
    [JSON.stringify(window('USD', minute, minute))]: { open: 200, high: 200, low: 200, close: 200 },
    [JSON.stringify(window('EUR', minute, minute))]: { open: 100, high: 100, low: 100, close: 100 },
  })
})

test('hashtags: every one of a post counts, in ten windows, whatever its case', async () => {
  const at = 100 * minute
  const input = [
    ['posts', 'a', 'on #Kafka and #time', at],
    ['posts', 'b', 'also #kafka', at + 1],
  ] as const
  const found = await results(hashtags, input, 'hashtags')
  expect(found).toHaveLength(30)
  expect(found).toContainEqual([window('#kafka', at, 10 * minute), 2])
  expect(found).toContainEqual([window('#time', at - 9 * minute, 10 * minute), 1])
})

test('clickstream: two visits, a late click between them makes them one', async () => {
  const click = (page: string, at: number) => ['clicks', 'ann', page, at] as const
  const input = [click('/', 0), click('/pay', 80_000), click('/cart', 40_000)]
  expect(await results(clickstream, input, 'visits')).toEqual([
    [new Windowed('ann', 0, 0), { clicks: 1, pages: ['/'] }],
    [new Windowed('ann', 80_000, 80_000), { clicks: 1, pages: ['/pay'] }],
    [new Windowed('ann', 0, 0), null],
    [new Windowed('ann', 80_000, 80_000), null],
    [new Windowed('ann', 0, 80_000), { clicks: 3, pages: ['/', '/pay', '/cart'] }],
  ])
})

test('orders with payments: paid in time, in part, and not at all', async () => {
  const order = (key: string, at: number) => ['orders', key, { product: 'tea', cents: 500 }, at] as const
  const payment = (key: string, cents: number, at: number) => ['payments', key, { cents }, at] as const
  const input = [
    order('1', 0),
    payment('1', 500, 5_000),
    order('2', 6_000),
    payment('2', 100, 7_000),
    order('3', 8_000),
    payment('3', 500, 30_000),
  ]
  const states = (await results(ordersWithPayments, input, 'order-states')).map(([key, value]) => [
    key,
    (value as { state: string }).state,
  ])
  expect(states).toEqual([
    ['1', 'paid'],
    ['2', 'paid in part'],
    ['3', 'unpaid'],
  ])
})

describe('fraud alert', () => {
  const paid = (amount: number, at: number) =>
    ['payments', 'card-1', { amount, where: 'Bologna' }, at] as const

  test('fraud alert: the sixth payment within a minute is reported, the seventh is not again', async () => {
    const input = [0, 1, 2, 3, 4, 5, 6].map((at) => paid(1, at))
    expect(await results(fraudAlert, input, 'alerts')).toEqual([
      ['card-1', { reason: 'many payments', payments: 6, amount: 6 }],
    ])
  })

  test('fraud alert: much money is reported; after a minute all is forgotten', async () => {
    const input = [paid(900, 0), paid(200, 1_000), paid(900, 70_000)]
    expect(await results(fraudAlert, input, 'alerts')).toEqual([
      ['card-1', { reason: 'much money', payments: 2, amount: 1_100 }],
    ])
  })

  test('fraud alert: the punctuation empties the store', async () => {
    const driver = await TopologyTestDriver.start(fraudAlert)
    try {
      const payments = driver.input('payments')
      await payments.pipe('card-1', { amount: 1, where: 'Basel' }, { timestamp: 0 })
      await payments.pipe('card-2', { amount: 1, where: 'Basel' }, { timestamp: 80_000 })
      const store = driver.keyValueStore('activities')
      expect(await store.get('card-1')).toBe(null)
      expect(await store.get('card-2')).toMatchObject({ since: 80_000 })
    } finally {
      await driver.close()
    }
  })
})

describe('every topology of the folder', () => {
  const files = readdirSync('topologies').filter((file) => file.endsWith('.ts'))

  test('topologies: there are at least ten', () => {
    expect(files.length).toBeGreaterThanOrEqual(10)
  })

  test.each(files)('topologies: %s, what it generates goes through and something comes out', async (file) => {
    const {
      default: topology,
      generate,
      config,
    } = (await import(`../../topologies/${file}`)) as {
      default: Topology
      generate: Generate
      config: { applicationId: string }
    }
    expect(config.applicationId).toBe(file.replace(/\.ts$/, ''))
    let now = 1_700_000_000_000
    const driver = await TopologyTestDriver.start(topology, { applicationId: config.applicationId })
    try {
      let records = 0
      for (const { topic, key = null, value, timestamp = now } of generate(seededContext(1, () => now))) {
        await driver.input<unknown, unknown>(topic).pipe(key, value, { timestamp })
        now += 50
        if (++records === 500) break
      }
      const sinks = [...topology.graph.nodes.values()].flatMap((node) =>
        node.kind === 'sink' && !node.internal && typeof node.topic === 'string' ? [node.topic] : [],
      )
      expect(sinks.length).toBeGreaterThan(0)
      for (const sink of sinks) expect(driver.output(sink).size, sink).toBeGreaterThan(0)
      expect(driver.metrics().droppedByReason).not.toHaveProperty('processing-failed')
    } finally {
      await driver.close()
    }
  })
})
