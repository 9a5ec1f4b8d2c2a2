/**
 * Puts a topology together, node by node, in the order in which Kafka Streams would add them: from that order follow
 * the numbers of the sub-topologies, the order of children, and `describe`. Refuses what can't work as soon as it can
 * be seen, with the name of the node and the remedy.
 */
import { StreamsError } from '../base/errors.ts'
import { hashOrder } from './java-order.ts'
import type { Node } from './node.ts'
import type { StoreSpec } from './store-spec.ts'
import type { CoPartition, GlobalStore, InternalTopic, Subtopology, TopologyGraph, Wrap } from './topology.ts'

/** A node before its stores are known. */
export type NewNode = Node extends infer N ? (N extends Node ? Omit<N, 'stores'> : never) : never

const namePattern = /^[a-zA-Z0-9._-]+$/
const nameLengthMax = 249

export function invalid(message: string, node?: string): StreamsError {
  return new StreamsError('TOPOLOGY_INVALID', message, node === undefined ? {} : { node })
}

/** Names of nodes and stores become names of topics and folders. */
export function validName(name: string, what: string): string {
  const fault =
    name === ''
      ? 'is empty'
      : name === '.' || name === '..'
        ? 'is a name of folders'
        : name.length > nameLengthMax
          ? `is longer than ${nameLengthMax} characters`
          : namePattern.test(name)
            ? null
            : 'has a character other than letters, digits, . _ and -'
  if (fault !== null)
    throw invalid(`${what}: the name ${JSON.stringify(name)} ${fault}; give another one`, name)
  return name
}

export class GraphBuilder {
  readonly #nodes = new Map<string, NewNode>()
  readonly #storesOf = new Map<string, Set<string>>()
  readonly #stores = new Map<string, StoreSpec>()
  readonly #users = new Map<string, string[]>()
  readonly #internalTopics = new Map<string, InternalTopic>()
  readonly #coPartitions: CoPartition[] = []
  readonly #globals: GlobalStore[] = []
  readonly #groups = new Map<string, string>()
  #wrap: Wrap | null = null
  #version = 0

  /** Counts changes. */
  get version(): number {
    return this.#version
  }

  has(node: string): boolean {
    return this.#nodes.has(node)
  }

  node(name: string): NewNode | undefined {
    return this.#nodes.get(name)
  }

  store(name: string): StoreSpec | undefined {
    return this.#stores.get(name)
  }

  add(node: NewNode): void {
    validName(node.name, node.kind)
    if (this.#nodes.has(node.name)) {
      throw invalid(
        `two nodes are called ${node.name}; names must differ within a topology, give one of them another`,
        node.name,
      )
    }
    if (node.kind === 'source') this.#checkTopics(node)
    else if (node.from.length === 0)
      throw invalid(`${node.name}: it has no parent, so no record can reach it`, node.name)
    for (const parent of node.from) {
      const known = this.#nodes.get(parent)
      if (parent === node.name) throw invalid(`${node.name}: it can't be its own parent (a cycle)`, node.name)
      if (known === undefined) {
        throw invalid(
          `${node.name}: its parent ${parent} is unknown; add ${parent} first (a cycle is not possible)`,
          node.name,
        )
      }
      if (known.kind === 'sink') {
        throw invalid(`${node.name}: its parent ${parent} is a sink, from which nothing comes`, node.name)
      }
      if (this.#globals.some((global) => global.source === parent || global.processor === parent)) {
        throw invalid(
          `${node.name}: its parent ${parent} belongs to a global store, which has no others`,
          node.name,
        )
      }
    }
    this.#nodes.set(node.name, node)
    this.#storesOf.set(node.name, new Set())
    this.#groups.set(node.name, node.name)
    for (const parent of node.from) this.#unite(node.name, parent)
    this.#version++
  }

  addStore(spec: StoreSpec, ...processors: readonly string[]): void {
    validName(spec.name, 'store')
    const known = this.#stores.get(spec.name)
    if (known !== undefined && known !== spec) {
      throw invalid(`two stores are called ${spec.name}; give one of them another name`, spec.name)
    }
    this.#stores.set(spec.name, spec)
    for (const processor of processors) this.connect(processor, [spec.name])
    this.#version++
  }

  connect(processor: string, stores: readonly string[]): void {
    const node = this.#nodes.get(processor)
    if (node === undefined) {
      throw invalid(`${processor}: no such processor to connect a store to; add it first`, processor)
    }
    if (node.kind === 'source' || node.kind === 'sink') {
      throw invalid(`${processor}: a ${node.kind} has no stores; connect the store to a processor`, processor)
    }
    for (const store of stores) {
      if (this.#globals.some((global) => global.store === store)) {
        throw invalid(
          `${processor}: ${store} is a global store, which every processor sees; don't connect it`,
          processor,
        )
      }
      if (!this.#stores.has(store)) {
        throw invalid(
          `${processor}: the store ${store} is unknown; add it with addStateStore first`,
          processor,
        )
      }
      const users = this.#users.get(store)
      const first = users?.[0]
      if (first !== undefined) this.#unite(first, processor)
      if (users === undefined) this.#users.set(store, [processor])
      else if (!users.includes(processor)) users.push(processor)
      this.#storesOf.get(processor)?.add(store)
    }
    this.#version++
  }

  addGlobal(source: NewNode, processor: NewNode, spec: StoreSpec, topic: string): void {
    if (this.#stores.has(spec.name)) {
      throw invalid(`two stores are called ${spec.name}; give one of them another name`, spec.name)
    }
    this.add(source)
    this.add(processor)
    this.addStore(spec, processor.name)
    this.#globals.push({ store: spec.name, source: source.name, processor: processor.name, topic })
  }

  addInternalTopic(topic: InternalTopic): void {
    const known = this.#internalTopics.get(topic.name)
    if (known !== undefined && known !== topic) {
      throw invalid(
        `two operators write to the internal topic ${topic.name}; give one of them another name`,
        topic.name,
      )
    }
    this.#internalTopics.set(topic.name, topic)
    this.#version++
  }

  addCoPartition(coPartition: CoPartition): void {
    this.#coPartitions.push(coPartition)
    this.#version++
  }

  wrap(wrap: Wrap): void {
    if (typeof wrap !== 'function') throw invalid('wrap must be a function')
    this.#wrap = wrap
    this.#version++
  }

  finish(): TopologyGraph {
    const nodes = new Map<string, Node>()
    const children = new Map<string, string[]>()
    for (const [name, node] of this.#nodes) {
      const stores = Object.freeze(hashOrder(hashOrder(this.#storesOf.get(name) ?? []), true))
      nodes.set(name, Object.freeze({ ...node, stores }) as Node)
      children.set(name, [])
      for (const parent of node.from) {
        const siblings = children.get(parent)
        if (siblings !== undefined && !siblings.includes(name)) siblings.push(name)
      }
    }
    const coPartitions = this.#coPartitions.map((group) => ({
      node: group.node,
      sources: group.sources.filter((source) => this.#nodes.get(source)?.kind === 'source'),
    }))
    const graph: TopologyGraph = Object.freeze({
      nodes,
      stores: new Map(this.#stores),
      internalTopics: new Map(this.#internalTopics),
      coPartitions: Object.freeze(coPartitions),
      globals: Object.freeze([...this.#globals]),
      subtopologies: this.#subtopologies(nodes),
      children,
      ...(this.#wrap === null ? {} : { wrap: this.#wrap }),
    })
    this.#checkWhole(graph)
    return graph
  }

  #subtopologies(nodes: ReadonlyMap<string, Node>): readonly Subtopology[] {
    const groups = new Map<string, Node[]>()
    for (const node of nodes.values()) {
      const root = this.#root(node.name)
      const group = groups.get(root)
      if (group === undefined) groups.set(root, [node])
      else group.push(node)
    }
    const globalSources = new Set(this.#globals.map((global) => global.source))
    const subtopologies: Subtopology[] = []
    let index = 0
    for (const group of groups.values()) {
      const used = new Set(group.flatMap((node) => node.stores))
      if (!group.some((node) => globalSources.has(node.name))) {
        subtopologies.push(
          Object.freeze({
            index,
            nodes: Object.freeze(group),
            stores: Object.freeze([...this.#stores.values()].filter((store) => used.has(store.name))),
            sources: Object.freeze(group.filter((node) => node.kind === 'source').map((node) => node.name)),
          }),
        )
      }
      index++
    }
    return Object.freeze(subtopologies)
  }

  /** What can only be seen once everything is there. */
  #checkWhole(graph: TopologyGraph): void {
    for (const { node, sources } of graph.coPartitions) {
      const counts = new Map<string, number>()
      let topics = 0
      for (const name of sources) {
        const source = graph.nodes.get(name)
        if (source?.kind !== 'source') continue
        for (const topic of source.topics) {
          topics++
          const partitions = graph.internalTopics.get(topic)?.partitions ?? null
          if (partitions !== null) counts.set(topic, partitions)
        }
      }
      if (counts.size === topics && new Set(counts.values()).size > 1) {
        const shown = [...counts].map(([topic, count]) => `${topic} (${count})`).join(', ')
        throw invalid(
          `${node}: it needs topics with equally many partitions, but these differ: ${shown}; ` +
            'give the same number to each repartition()',
          node,
        )
      }
    }
    for (const node of graph.nodes.values()) {
      if (node.kind !== 'stream-global-join') continue
      if (this.#globals.some((global) => global.store === node.globalStore)) continue
      throw invalid(
        `${node.name}: its global table ${node.globalStore} belongs to another StreamsBuilder; make both with the same one`,
        node.name,
      )
    }
    for (const [name, spec] of graph.stores) {
      if (this.#globals.some((global) => global.store === name)) continue
      if (spec.changelog?.sourceTopic == null) continue
      const { sourceTopic } = spec.changelog
      const read = [...graph.nodes.values()].some(
        (node) => node.kind === 'source' && node.topics.includes(sourceTopic),
      )
      if (!read)
        throw invalid(`${name}: no source reads ${sourceTopic}, which should serve as its changelog`, name)
    }
  }

  #checkTopics(node: NewNode & { readonly kind: 'source' }): void {
    if (node.pattern === null && node.topics.length === 0) {
      throw invalid(`${node.name}: it has no topic; give at least one`, node.name)
    }
    for (const topic of node.topics) {
      if (topic === '') throw invalid(`${node.name}: the name of its topic is empty`, node.name)
    }
    for (const other of this.#nodes.values()) {
      if (other.kind !== 'source') continue
      for (const topic of node.topics) {
        if (other.topics.includes(topic)) {
          throw invalid(
            `${node.name}: the topic ${topic} is read by ${other.name} already; use that stream for both`,
            node.name,
          )
        }
        if (other.pattern !== null && matches(other.pattern, topic)) {
          throw invalid(
            `${node.name}: the topic ${topic} also matches the pattern of ${other.name}; a topic can be read once only`,
            node.name,
          )
        }
      }
      if (node.pattern === null) continue
      const both = other.topics.find((topic) => matches(node.pattern as RegExp, topic))
      if (both !== undefined) {
        throw invalid(
          `${node.name}: its pattern also matches ${both}, which ${other.name} reads; a topic can be read once only`,
          node.name,
        )
      }
    }
  }

  #root(name: string): string {
    let root = name
    for (;;) {
      const up = this.#groups.get(root)
      if (up === undefined || up === root) return root
      root = up
    }
  }

  #unite(a: string, b: string): void {
    const rootA = this.#root(a)
    const rootB = this.#root(b)
    if (rootA !== rootB) this.#groups.set(rootA, rootB)
  }
}

/** The whole topic must match, as in Java. */
export function matches(pattern: RegExp, topic: string): boolean {
  return new RegExp(`^(?:${pattern.source})$`, pattern.flags.replace(/[gy]/g, '')).test(topic)
}
