/** Topologies for tests that care about topics and stores only: each part reads, keeps and writes what its line says. */
import type { Serde } from '../../src/serde/serde.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { GraphBuilder } from '../../src/topology/graph-builder.ts'
import type { StoreSpec } from '../../src/topology/store-spec.ts'
import type { TopologyGraph } from '../../src/topology/topology.ts'

export type Part = {
  readonly name: string
  /** Topics; those that end in -repartition or -topic are internal. */
  readonly reads: readonly string[] | RegExp
  readonly writes?: readonly string[]
  readonly stores?: readonly StoreSpec[]
}

export type GraphOptions = {
  /** The numbers of partitions that internal topics are given by their user. */
  readonly partitions?: Readonly<Record<string, number>>
  /** Parts whose sources must have equally many partitions. */
  readonly together?: readonly (readonly string[])[]
}

function isInternal(topic: string): boolean {
  return topic.endsWith('-repartition') || topic.endsWith('-topic')
}

export function graphOf(parts: readonly Part[], options: GraphOptions = {}): TopologyGraph {
  const builder = new GraphBuilder()
  const keySerde = serdes.string() as Serde<unknown>
  const common = {
    keySerde,
    valueSerde: keySerde,
    timestampExtractor: null,
    offsetReset: null,
    content: 'value' as const,
  }
  for (const { name, reads, writes = [], stores = [] } of parts) {
    const lists =
      reads instanceof RegExp ? [] : [reads.filter(isInternal), reads.filter((topic) => !isInternal(topic))]
    const sources: string[] = []
    if (reads instanceof RegExp) {
      builder.add({
        kind: 'source',
        name: `${name}-source`,
        from: [],
        topics: [],
        pattern: reads,
        internal: false,
        ...common,
      })
      sources.push(`${name}-source`)
    }
    for (const [index, topics] of lists.entries()) {
      if (topics.length === 0) continue
      const source = index === 0 ? `${name}-internal-source` : `${name}-source`
      builder.add({
        kind: 'source',
        name: source,
        from: [],
        topics,
        pattern: null,
        internal: index === 0,
        ...common,
      })
      sources.push(source)
    }
    builder.add({ kind: 'process', name, from: sources, make: () => ({}), fixedKey: false })
    for (const store of stores) builder.addStore(store, name)
    for (const topic of writes) {
      const internal = isInternal(topic)
      if (internal) topicOf(builder, topic, options)
      const sink = `${name}-to-${topic}`
      builder.add({
        kind: 'sink',
        name: sink,
        from: [name],
        topic,
        keySerde,
        valueSerde: keySerde,
        partitioner: null,
        internal,
        content: 'value',
      })
    }
    if (!(reads instanceof RegExp))
      for (const topic of reads.filter(isInternal)) topicOf(builder, topic, options)
  }
  for (const names of options.together ?? []) {
    const sources = names.flatMap((name) =>
      [`${name}-source`, `${name}-internal-source`].filter((each) => builder.has(each)),
    )
    builder.addCoPartition({ node: names.join('-'), sources })
  }
  return builder.finish()
}

const known = new WeakMap<GraphBuilder, Set<string>>()

function topicOf(builder: GraphBuilder, name: string, options: GraphOptions): void {
  const names = known.get(builder) ?? new Set()
  known.set(builder, names)
  if (names.has(name)) return
  names.add(name)
  const kind = name.endsWith('-repartition') ? 'repartition' : 'foreign-key'
  builder.addInternalTopic({ name, kind, partitions: options.partitions?.[name] ?? null })
}
