/** Types flow from source to sink. `tsc -p tsconfig.json` checks this file; nothing runs it. */
import {
  type Gap,
  type GlobalKTable,
  type KGroupedStream,
  type KGroupedTable,
  type KStream,
  type KTable,
  type Processor,
  type Serde,
  type StreamRecord,
  StreamsBuilder,
  serdes,
  session,
  tumbling,
  untilTimeLimit,
  untilWindowCloses,
  type Windowed,
} from '../../src/index.ts'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare function same<A, B>(...proof: Same<A, B> extends true ? [] : ['these types differ', A, B]): void

type Order = { readonly user: string; readonly total: number }
type User = { readonly name: string }

const builder = new StreamsBuilder()
const text = serdes.string()
const double = serdes.double()
const orders = builder.stream('orders', { keySerde: serdes.long(), valueSerde: serdes.json<Order>() })
const users = builder.table('users', { keySerde: text, valueSerde: serdes.json<User>() })
const byUser = orders.selectKey((order) => order.user, { keySerde: text })
const totals = orders.mapValues((order) => order.total)

export function sources(): void {
  same<typeof orders, KStream<number, Order>>()
  same<typeof users, KTable<string, User>>()
  const rates = builder.globalTable('rates', { keySerde: text, valueSerde: double })
  same<typeof rates, GlobalKTable<string, number>>()
  // @ts-expect-error a stream needs its serdes
  builder.stream('orders', { keySerde: text })
  // @ts-expect-error a table needs its serdes
  builder.table('users')
}

export function schemas(): void {
  const schema = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value: unknown) => ({ value: value as User }),
      types: undefined as unknown as { input: unknown; output: User },
    },
  } as const
  const stream = builder.stream('users', { keySerde: text, valueSerde: serdes.json(schema) })
  same<typeof stream, KStream<string, User>>()
  const list = serdes.list(serdes.int())
  same<typeof list, Serde<readonly (number | null)[]>>()
  const windowed = serdes.timeWindowed(text, 10)
  same<typeof windowed, Serde<Windowed<string>>>()
}

export function stateless(): void {
  const kept = orders.filter((order, key) => order.total > key)
  same<typeof kept, KStream<number, Order>>()
  same<typeof totals, KStream<number, number, 'value'>>()
  const declared = orders.mapValues((order) => order.total, { valueSerde: double })
  same<typeof declared, KStream<number, number>>()
  const later = orders.mapValues(async (order) => order.user)
  same<typeof later, KStream<number, string, 'value'>>()
  same<typeof byUser, KStream<string, Order, 'moved'>>()
  const unknownKey = orders.selectKey((order) => order.user)
  same<typeof unknownKey, KStream<string, Order, 'key' | 'moved'>>()
  const mapped = orders.map((order, key) => [order.user, key])
  same<typeof mapped, KStream<string, number, Gap>>()
  const flat = orders.flatMap((order) => [[order.user, order.total]], { keySerde: text, valueSerde: double })
  same<typeof flat, KStream<string, number, 'moved'>>()
  const words = builder
    .stream('lines', { keySerde: text, valueSerde: text })
    .flatMapValues((line) => line.split(' '))
  same<typeof words, KStream<string, string, 'value'>>()
  // @ts-expect-error there is no such property
  orders.filter((order) => order.missing)
  // @ts-expect-error a predicate says yes or no
  orders.filter((order) => order.user)
}

export function sinks(): void {
  orders.to('copies')
  orders.to((order, key) => `orders-${order.user}-${key}`)
  totals.to('totals', { valueSerde: double })
  orders.map((order) => [order.user, order.total]).to('out', { keySerde: text, valueSerde: double })
  // @ts-expect-error to: the serde of the value is missing
  totals.to('totals')
  // @ts-expect-error to: the serde of the key is missing
  orders.selectKey((order) => order.user).to('out')
  // @ts-expect-error to: both are missing
  orders.map((order) => [order.user, order.total]).to('out', { valueSerde: double })
  // @ts-expect-error text is no number
  totals.to('totals', { valueSerde: text })
}

export function branches(): void {
  const result = orders
    .split()
    .branch((order) => order.total > 10, { name: 'large' })
    .defaultBranch()
  same<typeof result, ReadonlyMap<string, KStream<number, Order>>>()
  const merged = orders.merge(orders.filter(() => true))
  same<typeof merged, KStream<number, Order>>()
  const mixed = orders.merge(totals)
  same<typeof mixed, KStream<number, Order | number, 'value'>>()
}

export function groups(): void {
  const counts = orders.groupByKey().count({ as: 'orders-by-key' })
  same<typeof counts, KTable<number, number>>()
  const grouped = byUser.groupByKey()
  same<typeof grouped, KGroupedStream<string, Order, 'moved'>>()
  same<ReturnType<typeof grouped.count>, KTable<string, number>>()
  const sums = grouped.aggregate(
    () => 0,
    (sum, order, key) => sum + order.total + key.length,
    { valueSerde: double },
  )
  same<typeof sums, KTable<string, number>>()
  const latest = orders.groupByKey().reduce((before, order) => (order.total > before.total ? order : before))
  same<typeof latest, KTable<number, Order>>()
  // The value's serde isn't needed: nothing is repartitioned, and a count doesn't keep values.
  totals.groupByKey().count()
  totals.groupByKey().reduce((a, b) => a + b, { valueSerde: double })
  // @ts-expect-error count: the serde of the new key is missing
  orders.groupBy((order) => order.user).count()
  // @ts-expect-error count: the repartition topic needs the value's serde
  totals.groupBy((total) => `${total}`, { keySerde: text }).count()
  // @ts-expect-error reduce: the serde of the value is missing
  totals.groupByKey().reduce((a, b) => a + b)
  // @ts-expect-error aggregate: the serde of the result is missing
  orders.groupByKey().aggregate(
    () => 0,
    (sum: number) => sum + 1,
  )
}

export function windowed(): void {
  const perMinute = orders
    .groupByKey()
    .windowedBy(tumbling('1m', { grace: '5s' }))
    .count()
  same<typeof perMinute, KTable<Windowed<number>, number>>()
  perMinute
    .suppress(untilWindowCloses())
    .toStream((_count, window) => window.key, { keySerde: serdes.long() })
    .to('out')
  // The serde of windowed keys follows from that of the keys.
  perMinute.toStream().to('windows')
  const sessions = orders
    .groupByKey()
    .windowedBy(session('5m'))
    .emitStrategy('on-close')
    .aggregate(
      () => 0,
      (sum, order) => sum + order.total,
      (a, b) => a + b,
      { valueSerde: double },
    )
  same<typeof sessions, KTable<Windowed<number>, number>>()
  // @ts-expect-error sessions need a merger
  orders
    .groupByKey()
    .windowedBy(session('5m'))
    .aggregate(
      () => 0,
      (sum: number) => sum + 1,
      { valueSerde: double },
    )
  // @ts-expect-error 5 weeks is no duration
  tumbling('5w')
}

export function cogroups(): void {
  const table = orders
    .groupByKey()
    .cogroup<number>((sum, order) => sum + order.total)
    .cogroup(totals.groupByKey(), (sum, total) => sum + total)
    .aggregate(() => 0, { valueSerde: double })
  same<typeof table, KTable<number, number>>()
}

export function tables(): void {
  const names = users.mapValues((user) => user.name)
  same<typeof names, KTable<string, string, 'value'>>()
  const stored = users.mapValues((user) => user.name, { as: 'names', valueSerde: text })
  same<typeof stored, KTable<string, string>>()
  same<ReturnType<typeof names.toStream>, KStream<string, string, 'value'>>()
  const regrouped = users.groupBy((user, key) => [user.name, key], { keySerde: text, valueSerde: text })
  same<typeof regrouped, KGroupedTable<string, string>>()
  const joined = users.leftJoin(stored, (user, name) => `${user.name}${name?.length ?? 0}`, {
    valueSerde: text,
  })
  same<typeof joined, KTable<string, string>>()
  const outer = users.outerJoin(stored, (user, name) => user?.name ?? name)
  same<typeof outer, KTable<string, string | null, 'value'>>()
  // @ts-expect-error mapValues: a store needs the serde of the result
  users.mapValues((user) => user.name, { as: 'names' })
  // @ts-expect-error filter: a store needs the serde of the value
  names.filter(() => true, { as: 'some-names' })
  // @ts-expect-error groupBy: the serdes of the new key and value are missing
  users.groupBy((user, key) => [user.name, key])
  // @ts-expect-error suppress: the serde of the value is missing
  names.suppress(untilTimeLimit('1m'))
  // @ts-expect-error join: tables with other keys don't join
  users.join(orders.toTable(), (user) => user.name)
  // @ts-expect-error an outer join may find nothing on either side
  users.outerJoin(stored, (user, name) => user.name + name)
}

export function foreignKeys(): void {
  const placed = orders.toTable()
  const enriched = placed.leftJoinOnForeignKey(
    users,
    (order) => order.user,
    (order, user) => ({ total: order.total, name: user?.name ?? null }),
    { valueSerde: serdes.json<{ total: number; name: string | null }>() },
  )
  same<typeof enriched, KTable<number, { total: number; name: string | null }>>()
  // @ts-expect-error joinOnForeignKey: the serde of the result is missing
  placed.joinOnForeignKey(
    users,
    (order: Order) => order.user,
    (_order: Order, user: User) => user.name,
  )
  // @ts-expect-error the foreign key is the other table's key
  placed.joinOnForeignKey(
    users,
    (order) => order.total,
    (_order, user) => user.name,
    { valueSerde: text },
  )
}

export function streamJoins(): void {
  const pairs = orders.join(orders, (a, b) => a.total + b.total, { within: '5m' })
  same<typeof pairs, KStream<number, number, 'value'>>()
  const left = orders.leftJoin(totals, (order, total) => order.total + (total ?? 0), {
    within: { before: 0, after: '5m' },
    otherValueSerde: double,
  })
  same<typeof left, KStream<number, number, 'value'>>()
  const withUser = byUser.leftJoin(users, (order, user) => `${order.total} ${user?.name ?? 'nobody'}`)
  same<typeof withUser, KStream<string, string, 'value'>>()
  const rates = builder.globalTable('rates', { keySerde: text, valueSerde: double })
  const converted = orders.join(
    rates,
    (order) => order.user,
    (order, rate) => order.total * rate,
  )
  same<typeof converted, KStream<number, number, 'value'>>()
  // @ts-expect-error join: the other side's serde is missing
  orders.join(totals, (order: Order, total: number) => order.total + total, { within: '5m' })
  // @ts-expect-error join: the serde of the new key is missing for the repartition
  orders.selectKey((order) => order.user).join(users, (order: Order, user: User) => order.total + user.name)
  // @ts-expect-error the right side may be missing in a left join
  byUser.leftJoin(users, (order, user) => `${order.total} ${user.name}`)
}

export function processors(): void {
  const double: Processor<number, Order, string, number> = {
    init(context) {
      void context.forward({ key: 'a', value: 1 })
      // @ts-expect-error the value must be a number
      void context.forward({ key: 'a', value: 'b' })
    },
    process(record) {
      same<typeof record, StreamRecord<number, Order>>()
    },
  }
  const processed = orders.process(() => double)
  same<typeof processed, KStream<string, number, Gap>>()
  const declared = orders.process(() => double, { keySerde: text, valueSerde: serdes.double() })
  same<typeof declared, KStream<string, number, 'moved'>>()
  const values = orders.processValues<string>(() => ({ process() {} }), { valueSerde: text })
  same<typeof values, KStream<number, string>>()
  // @ts-expect-error a processor of other records
  users.toStream().process(() => double)
}
