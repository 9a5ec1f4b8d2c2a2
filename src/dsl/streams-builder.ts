/** Where a topology begins: streams and tables of topics. What is done with them is written down here, and run later. */
import type { Serde } from '../serde/serde.ts'
import { invalid, type NewNode } from '../topology/graph-builder.ts'
import type { SourceNode, TimestampExtractor } from '../topology/node.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { changelogOf } from '../topology/stores.ts'
import type { MakeProcessor, Topology } from '../topology/topology.ts'
import {
  any,
  type BuilderCore,
  core,
  keepsVersions,
  keySerdeFor,
  storeNameFor,
  tableStore,
  valueSerdeFor,
} from './core.ts'
import { GlobalKTable } from './global-ktable.ts'
import { type BuildOptions, LogicalGraph, LogicalNode, named } from './graph.ts'
import { KStream } from './kstream.ts'
import { KTable, sourceTable } from './ktable.ts'
import type { TableOptions } from './types.ts'

export type ConsumedOptions<K, V> = {
  readonly name?: string
  readonly keySerde: Serde<K>
  readonly valueSerde: Serde<V>
  /** Default: the record's own timestamp. */
  readonly timestampExtractor?: TimestampExtractor
  /** Where to begin without a committed position. */
  readonly offsetReset?: NonNullable<SourceNode['offsetReset']>
}

export type BuilderOptions = {
  /** Used where no serde is known. Types don't know of it, so it is for code without types. */
  readonly keySerde?: Serde<unknown>
  readonly valueSerde?: Serde<unknown>
  /** Of stores that don't say. Default 'persistent'. */
  readonly engine?: 'persistent' | 'memory'
}

export class StreamsBuilder {
  readonly [core]: BuilderCore

  constructor(options: BuilderOptions = {}) {
    this[core] = {
      graph: new LogicalGraph(),
      keySerde: options.keySerde ?? null,
      valueSerde: options.valueSerde ?? null,
      engine: options.engine ?? 'persistent',
    }
  }

  /** The records of a topic, of several, or of all whose name matches. */
  stream<K, V>(topics: string | readonly string[] | RegExp, options: ConsumedOptions<K, V>): KStream<K, V> {
    const builder = this[core]
    const { graph } = builder
    const pattern = topics instanceof RegExp ? topics : null
    const list = topics instanceof RegExp ? [] : typeof topics === 'string' ? [topics] : [...new Set(topics)]
    const name = named(graph.names, options?.name, 'KSTREAM-SOURCE-')
    if (pattern === null && list.length === 0)
      throw invalid(`${name}: it has no topic; give at least one`, name)
    const source = sourceOptions(builder, name, options)
    const node = graph.add(
      graph.root,
      new LogicalNode(name, {
        role: { kind: 'source', topics: list, pattern, offsetReset: source.offsetReset },
        write: (to) => to.add({ ...source, name, topics: list, pattern }),
      }),
    )
    return new KStream({
      builder,
      name,
      node,
      keySerde: source.keySerde,
      valueSerde: source.valueSerde,
      sources: new Set([name]),
      moved: false,
      joinRepartition: null,
    })
  }

  /** A topic as a table: the last value of each key, null deletes. */
  table<K, V>(
    topic: string,
    options: ConsumedOptions<K, V> & Omit<TableOptions<K, V>, 'name'>,
  ): KTable<K, V> {
    const builder = this[core]
    const { graph } = builder
    const operator = options?.name ?? `table(${topic})`
    const storeName = storeNameFor(builder, options?.as, `${topic}-`, operator)
    const sourceName = named(graph.names, options?.name, 'KSTREAM-SOURCE-', '-source')
    const name = named(graph.names, options?.name, 'KTABLE-SOURCE-')
    const source = tableSource(builder, operator, options)
    const store = tableStore(builder, storeName, options, source.keySerde, source.valueSerde)
    const { view, write } = sourceTable(name, store, options.as !== undefined)
    const node = graph.add(
      graph.root,
      new LogicalNode(name, {
        role: { kind: 'table-source' },
        versioned: keepsVersions(options, operator),
        write: (to, at) => {
          to.add({ ...source, name: sourceName, topics: [topic], pattern: null })
          write(to, [sourceName], at.reusesSourceTopic ? topic : undefined)
        },
      }),
    )
    return new KTable({
      builder,
      name,
      node,
      keySerde: source.keySerde,
      valueSerde: source.valueSerde,
      sources: new Set([sourceName]),
      storeName: options.as ?? null,
      view,
      sendsOld: false,
    })
  }

  /** A topic as a table of which every instance holds all rows. */
  globalTable<K, V>(
    topic: string,
    options: ConsumedOptions<K, V> & Pick<TableOptions<K, V>, 'as' | 'engine'>,
  ): GlobalKTable<K, V> {
    const builder = this[core]
    const { graph } = builder
    const operator = options?.name ?? `globalTable(${topic})`
    const storeName = storeNameFor(builder, options?.as, `${topic}-`, operator)
    const sourceName = named(graph.names, options?.name, 'KSTREAM-SOURCE-', '-source')
    const name = named(graph.names, options?.name, 'KTABLE-SOURCE-')
    const source = tableSource(builder, operator, options)
    const spec = tableStore(
      builder,
      storeName,
      { ...options, caching: false },
      source.keySerde,
      source.valueSerde,
    )
    if (spec.kind !== 'key-value') {
      throw invalid(`${operator}: a global table can't keep versions; leave historyRetention out`, operator)
    }
    const store: StoreSpec = { ...spec, changelog: changelogOf(topic) }
    graph.add(
      graph.root,
      new LogicalNode(name, {
        role: { kind: 'table-source' },
        write: (to) =>
          to.addGlobal(
            { ...source, name: sourceName, topics: [topic], pattern: null },
            { kind: 'table-source', name, from: [sourceName], store: storeName, sendOld: false },
            store,
            topic,
          ),
      }),
    )
    return new GlobalKTable(storeName, true)
  }

  /** A store for processors, which ask for it by name (`stores` of process and processValues). */
  addStateStore(store: StoreSpec): this {
    const { graph } = this[core]
    graph.add(graph.root, new LogicalNode(store.name, { write: (to) => to.addStore(store) }))
    return this
  }

  /** A store that every instance holds all of, kept by a processor of your own. */
  addGlobalStore<K, V>(
    store: StoreSpec,
    topic: string,
    options: ConsumedOptions<K, V>,
    make: MakeProcessor,
  ): this {
    const builder = this[core]
    const { graph } = builder
    const sourceName = named(graph.names, options?.name, 'KSTREAM-SOURCE-', '-source')
    const name = named(graph.names, options?.name, 'KTABLE-SOURCE-')
    const source = sourceOptions(builder, `addGlobalStore(${store.name})`, options)
    graph.add(
      graph.root,
      new LogicalNode(store.name, {
        write: (to) =>
          to.addGlobal(
            { ...source, name: sourceName, topics: [topic], pattern: null },
            { kind: 'process', name, from: [sourceName], make, fixedKey: false },
            { ...store, changelog: changelogOf(topic), cached: false },
            topic,
          ),
      }),
    )
    return this
  }

  /** The topology. Fails, with the operator's name and the remedy, where it can't work. */
  build(options: BuildOptions = {}): Topology {
    return this[core].graph.compile(options)
  }
}

type Consumed = Omit<Extract<NewNode, { readonly kind: 'source' }>, 'name' | 'topics' | 'pattern'> & {
  readonly keySerde: Serde<unknown>
  readonly valueSerde: Serde<unknown>
}

function sourceOptions(
  builder: BuilderCore,
  operator: string,
  options: ConsumedOptions<unknown, unknown>,
): Consumed {
  const given = (options ?? {}) as Partial<ConsumedOptions<unknown, unknown>>
  return {
    kind: 'source',
    from: [],
    keySerde: keySerdeFor(builder, operator, any(given.keySerde)),
    valueSerde: valueSerdeFor(builder, operator, any(given.valueSerde)),
    timestampExtractor: given.timestampExtractor ?? null,
    offsetReset: given.offsetReset ?? null,
    internal: false,
    content: 'value',
  }
}

function tableSource(
  builder: BuilderCore,
  operator: string,
  options: ConsumedOptions<unknown, unknown>,
): Consumed {
  const source = sourceOptions(builder, operator, options)
  if (source.keySerde.name === 'void') {
    throw invalid(
      `${operator}: a table's rows are found by their key, so it can't be void; give a keySerde`,
      operator,
    )
  }
  return source
}
