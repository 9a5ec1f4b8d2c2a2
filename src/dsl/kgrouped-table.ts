/** A table whose rows are grouped by another key. A changed row is taken out of its old group and put into the new. */
import type { Serde } from '../serde/serde.ts'
import type { Aggregation } from '../topology/node.ts'
import type { InternalTopic } from '../topology/topology.ts'
import {
  aggregating,
  any,
  type BuilderCore,
  callable,
  core,
  counting,
  countSerde,
  keepsVersions,
  keySerdeFor,
  reducing,
  storeNameFor,
  tableStore,
  valueSerdeFor,
} from './core.ts'
import { LogicalNode, named, sourceOf } from './graph.ts'
import { aggregateView } from './kgrouped-stream.ts'
import { KTable } from './ktable.ts'
import type { Aggregator, AnySerde, Reducer, SerdeMissing, TableOptions } from './types.ts'

export type GroupedTableCore = {
  readonly builder: BuilderCore
  readonly name: string
  readonly node: LogicalNode
  readonly keySerde: Serde<unknown>
  readonly valueSerde: Serde<unknown>
  readonly sources: ReadonlySet<string>
  readonly repartitionName: string | null
  /** A named repartition topic serves all aggregations of the group. */
  repartition: LogicalNode | null
}

export class KGroupedTable<K, V> {
  readonly [core]: GroupedTableCore

  constructor(insides: GroupedTableCore) {
    this[core] = insides
  }

  /** How many rows each group has. */
  count(options: TableOptions<K, number> = {}): KTable<K, number> {
    return this.#aggregate('count', 'KTABLE-AGGREGATE-', counting, countSerde, options)
  }

  /** Puts the values of each group together; `subtractor` takes one out again. */
  reduce(adder: Reducer<V>, subtractor: Reducer<V>, options: TableOptions<K, V> = {}): KTable<K, V> {
    callable(adder, options.name ?? 'reduce', 'the adder')
    callable(subtractor, options.name ?? 'reduce', 'the subtractor')
    const { valueSerde } = this[core]
    return this.#aggregate('reduce', 'KTABLE-REDUCE-', reducing(adder, subtractor), valueSerde, options)
  }

  /** Takes each value of a group into an aggregate; `subtract` takes one out again. */
  aggregate<A>(
    initialise: () => A | null,
    add: Aggregator<K, V, A>,
    subtract: Aggregator<K, V, A>,
    options: TableOptions<K, A> & { readonly valueSerde: Serde<A> },
  ): KTable<K, A>
  aggregate<A>(
    this: SerdeMissing<'aggregate needs the serde of its result: give it { valueSerde }'>,
    initialise: () => A | null,
    add: Aggregator<K, V, A>,
    subtract: Aggregator<K, V, A>,
    options?: TableOptions<K, A>,
  ): KTable<K, A>
  aggregate(
    this: unknown,
    initialise: () => unknown,
    add: Aggregator<K, V, unknown>,
    subtract: Aggregator<K, V, unknown>,
    options: TableOptions<unknown, unknown> = {},
  ): unknown {
    callable(initialise, options.name ?? 'aggregate', 'the initialiser')
    callable(add, options.name ?? 'aggregate', 'the adder')
    callable(subtract, options.name ?? 'aggregate', 'the subtractor')
    const aggregation = aggregating(initialise, add, subtract)
    return (this as KGroupedTable<K, V>).#aggregate(
      'aggregate',
      'KTABLE-AGGREGATE-',
      aggregation,
      null,
      options,
    )
  }

  #aggregate<A>(
    operator: string,
    prefix: string,
    aggregation: Aggregation,
    valueSerde: AnySerde,
    options: TableOptions<unknown, unknown>,
  ): KTable<K, A> {
    const group = this[core]
    const { builder } = group
    const { names } = builder.graph
    const given = options.name
    const storeName = storeNameFor(builder, options.as, 'KTABLE-AGGREGATE-', given ?? operator)
    const sinkName = named(names, given, 'KSTREAM-SINK-', '-sink')
    const sourceName = named(names, given, 'KSTREAM-SOURCE-', '-source')
    const name = named(names, given, prefix)
    const topicName = `${group.repartitionName ?? storeName}-repartition`
    if (group.repartitionName === null && options.as === undefined) {
      const remedy = `give { as } to ${operator}, or { name } to groupBy`
      builder.graph.generatedNames.push({ what: 'repartition topic', name: topicName, remedy })
    }
    if (group.repartition === null || group.repartitionName === null) {
      const topic: InternalTopic = { name: topicName, kind: 'repartition', partitions: null }
      const { keySerde, valueSerde } = group
      group.repartition = new LogicalNode(sourceName, {
        write: (to, at) => {
          to.addInternalTopic(topic)
          to.add({
            kind: 'sink',
            name: sinkName,
            from: at.from,
            topic: topicName,
            keySerde,
            valueSerde,
            partitioner: null,
            internal: true,
            content: 'change',
          })
          to.add(sourceOf(sourceName, [topicName], keySerde, valueSerde, 'change'))
        },
      })
    }
    const { repartition } = group
    builder.graph.add(group.node, repartition)
    const keys = keySerdeFor(builder, name, any(options.keySerde), group.keySerde)
    const values = valueSerdeFor(builder, name, any(options.valueSerde), valueSerde)
    const store = tableStore(builder, storeName, options, keys, values)
    const versioned = keepsVersions(options, name)
    const { view, sendsOld } = aggregateView(storeName)
    const node = builder.graph.add(
      repartition,
      new LogicalNode(name, {
        versioned,
        write: (to, at) => {
          to.add({ kind: 'table-aggregate', name, from: at.from, aggregation, sendOld: sendsOld() })
          to.addStore(store, name)
        },
      }),
    )
    return new KTable({
      builder,
      name,
      node,
      keySerde: keys,
      valueSerde: values,
      sources: new Set([repartition.name]),
      storeName: options.as ?? null,
      view,
      sendsOld: false,
    })
  }
}
