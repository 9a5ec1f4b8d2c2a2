/** A topology for people and tools: Kafka Streams' text byte for byte, JSON, Mermaid, and a text to compare by. */
import { hashOrder, TreeSet } from './java-order.ts'
import type { Node } from './node.ts'
import type { StoreSpec } from './store-spec.ts'
import type { TopologyGraph } from './topology.ts'

type Described = {
  readonly node: Node
  /** Nodes below it, counted once for each way down, itself included. */
  size: number
  readonly predecessors: TreeSet<Described>
  readonly successors: TreeSet<Described>
  readonly above: Described[]
}

function byName(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function order(a: Described, b: Described): number {
  return a === b ? 0 : b.size - a.size || byName(a.node.name, b.node.name)
}

function grow(described: Described, by: number): void {
  described.size += by
  for (const parent of described.above) grow(parent, by)
}

function describedGroup(nodes: readonly Node[]): Described[] {
  const described = new Map<string, Described>()
  for (const node of nodes) {
    const entry = {
      node,
      size: 1,
      predecessors: new TreeSet(order),
      successors: new TreeSet(order),
      above: [],
    }
    described.set(node.name, entry)
  }
  // The order in which nodes are connected shows in the text: see java-order.ts.
  for (const name of hashOrder(hashOrder(nodes.map((node) => node.name)))) {
    const entry = described.get(name) as Described
    for (const parentName of entry.node.from) {
      const parent = described.get(parentName)
      if (parent === undefined) continue
      entry.predecessors.add(parent)
      if (!entry.above.includes(parent)) entry.above.push(parent)
      parent.successors.add(entry)
      grow(parent, entry.size)
    }
  }
  return [...described.values()].sort(order)
}

function names(set: TreeSet<Described>): string {
  return (
    set
      .items()
      .map((entry) => entry.node.name)
      .join(', ') || 'none'
  )
}

function list(items: readonly string[]): string {
  return `[${items.join(', ')}]`
}

function sourceTopics(node: Node & { readonly kind: 'source' }): string {
  return node.pattern === null ? list(hashOrder(node.topics, true)) : node.pattern.source
}

function text(entry: Described): string {
  const { node } = entry
  const to = `      --> ${names(entry.successors)}`
  const from = `      <-- ${names(entry.predecessors)}`
  if (node.kind === 'source') return `Source: ${node.name} (topics: ${sourceTopics(node)})\n${to}`
  if (node.kind === 'sink') {
    const topic =
      typeof node.topic === 'string'
        ? `topic: ${node.topic}`
        : `extractor class: ${node.topic.name || 'function'}`
    return `Sink: ${node.name} (${topic})\n${from}`
  }
  return `Processor: ${node.name} (stores: ${list(node.stores)})\n${to}\n${from}`
}

/** The nodes of global stores, by the index of their group. */
function globalGroups(graph: TopologyGraph): Map<number, readonly Node[]> {
  const taken = new Set(graph.subtopologies.map((subtopology) => subtopology.index))
  const groups = new Map<number, readonly Node[]>()
  let index = 0
  // Groups are numbered by the first of their nodes; those of global stores are what the sub-topologies leave out.
  const globals = [...graph.nodes.keys()].flatMap((name) =>
    graph.globals.filter((global) => global.source === name),
  )
  for (const global of globals) {
    while (taken.has(index)) index++
    taken.add(index)
    groups.set(
      index,
      [global.source, global.processor].map((name) => graph.nodes.get(name) as Node),
    )
  }
  return groups
}

/** Kafka Streams' `Topology.describe()`. */
export function describe(graph: TopologyGraph): string {
  const parts: { readonly index: number; readonly text: string }[] = []
  for (const { index, nodes } of graph.subtopologies) {
    const lines = describedGroup(nodes).map((entry) => `    ${text(entry)}\n`)
    parts.push({ index, text: `Sub-topology: ${index}\n${lines.join('')}\n` })
  }
  for (const [index, nodes] of globalGroups(graph)) {
    const lines = describedGroup(nodes).map((entry) => `    ${text(entry)}\n`)
    parts.push({
      index,
      text: `Sub-topology: ${index} for global store (will not generate tasks)\n${lines.join('')}`,
    })
  }
  parts.sort((a, b) => a.index - b.index)
  return `Topologies:\n ${parts.map((part) => `  ${part.text}`).join('')}`
}

export type JsonNode = {
  readonly name: string
  readonly kind: string
  readonly from: readonly string[]
  readonly to: readonly string[]
  readonly stores: readonly string[]
  readonly topics?: readonly string[]
  readonly pattern?: string
  readonly topic?: string | null
}

export type JsonStore = {
  readonly name: string
  readonly kind: StoreSpec['kind']
  readonly engine: StoreSpec['engine']
  /** null: not logged. */
  readonly changelog: string | null
}

export type JsonTopology = {
  readonly subtopologies: readonly { readonly index: number; readonly nodes: readonly JsonNode[] }[]
  readonly globals: readonly {
    readonly store: string
    readonly topic: string
    readonly nodes: readonly JsonNode[]
  }[]
  readonly stores: readonly JsonStore[]
  readonly internalTopics: readonly { readonly name: string; readonly partitions: number | null }[]
  readonly coPartitions: readonly (readonly string[])[]
}

function toJsonNode(graph: TopologyGraph, node: Node): JsonNode {
  const common = {
    name: node.name,
    kind: node.kind,
    from: node.from,
    to: graph.children.get(node.name) ?? [],
    stores: node.stores,
  }
  if (node.kind === 'source') {
    return node.pattern === null
      ? { ...common, topics: node.topics }
      : { ...common, pattern: node.pattern.source }
  }
  if (node.kind === 'sink') return { ...common, topic: typeof node.topic === 'string' ? node.topic : null }
  return common
}

/** A topology for tools. Topics are without the application's prefix. */
export function toJson(graph: TopologyGraph): JsonTopology {
  return {
    subtopologies: graph.subtopologies.map(({ index, nodes }) => ({
      index,
      nodes: nodes.map((node) => toJsonNode(graph, node)),
    })),
    globals: graph.globals.map(({ store, topic, source, processor }) => ({
      store,
      topic,
      nodes: [source, processor].map((name) => toJsonNode(graph, graph.nodes.get(name) as Node)),
    })),
    stores: [...graph.stores.values()].map(({ name, kind, engine, changelog }) => ({
      name,
      kind,
      engine,
      changelog: changelog === null ? null : (changelog.sourceTopic ?? `${name}-changelog`),
    })),
    internalTopics: [...graph.internalTopics.values()].map(({ name, partitions }) => ({ name, partitions })),
    coPartitions: graph.coPartitions.map(({ sources }) => sources),
  }
}

function escaped(name: string): string {
  return name.replaceAll('"', '#quot;')
}

/** A flow chart: topics as they are, sub-topologies as boxes, stores as cylinders. */
export function toMermaid(graph: TopologyGraph): string {
  const ids = new Map<string, string>()
  const id = (what: string, name: string): string => {
    const key = `${what} ${name}`
    const known = ids.get(key) ?? `n${ids.size}`
    ids.set(key, known)
    return known
  }
  const lines = ['flowchart TD']
  const topics = new Map<string, string>()
  const stores = new Set<string>()
  const edges: string[] = []
  const box = (node: Node): void => {
    lines.push(`    ${id('node', node.name)}["${escaped(node.name)}"]`)
    for (const parent of node.from) edges.push(`  ${id('node', parent)} --> ${id('node', node.name)}`)
    for (const store of node.stores) {
      stores.add(store)
      edges.push(`  ${id('node', node.name)} -.- ${id('store', store)}`)
    }
    const topic = (name: string): string => {
      topics.set(name, id('topic', name))
      return id('topic', name)
    }
    if (node.kind === 'source') {
      const read = node.pattern === null ? node.topics : [`/${node.pattern.source}/`]
      for (const name of read) edges.push(`  ${topic(name)} --> ${id('node', node.name)}`)
    }
    if (node.kind === 'sink') {
      const name = typeof node.topic === 'string' ? node.topic : `(${node.topic.name || 'by record'})`
      edges.push(`  ${id('node', node.name)} --> ${topic(name)}`)
    }
  }
  for (const { index, nodes } of graph.subtopologies) {
    lines.push(`  subgraph s${index}["Sub-topology ${index}"]`)
    nodes.forEach(box)
    lines.push('  end')
  }
  for (const { store, source, processor } of graph.globals) {
    lines.push(`  subgraph ${id('global', store)}["Global store ${escaped(store)}"]`)
    for (const name of [source, processor]) box(graph.nodes.get(name) as Node)
    lines.push('  end')
  }
  for (const [name, topic] of topics) lines.push(`  ${topic}(["${escaped(name)}"])`)
  for (const store of stores) lines.push(`  ${id('store', store)}[("${escaped(store)}")]`)
  return [...lines, ...edges, ''].join('\n')
}

function plain(_name: string, value: unknown): unknown {
  if (typeof value === 'function') return 'function'
  if (value instanceof RegExp) return value.toString()
  if (typeof value === 'object' && value !== null && 'write' in value && 'read' in value && 'name' in value) {
    return `serde ${String(value.name)}`
  }
  return value
}

/**
 * All that is data in a topology, in a stable order. Two processes whose fingerprints are equal have the same nodes,
 * stores and topics; what their functions do can't be seen.
 */
export function fingerprintText(graph: TopologyGraph): string {
  return JSON.stringify(
    [
      [...graph.nodes.values()],
      [...graph.stores.values()],
      [...graph.internalTopics.values()],
      graph.coPartitions,
      graph.globals,
      graph.subtopologies.map(({ index, nodes }) => [index, nodes.map((node) => node.name)]),
    ],
    plain,
  )
}
