/**
 * The logical graph: what the DSL's calls said, one node a call. `compile` plans it (merges equal sources, optimises,
 * finds where null keys must be kept) and writes the plan out in Kafka Streams' order. The plan is a copy, so that a
 * builder can build again; the counter of generated names goes on in the copy, too.
 */
import { GraphBuilder, invalid, type NewNode, validName } from '../topology/graph-builder.ts'
import type { Content, SourceNode, StreamPartitioner } from '../topology/node.ts'
import type { CoPartition, InternalTopic, TopologyGraph, Wrap } from '../topology/topology.ts'
import { Topology } from '../topology/topology.ts'
import type { AnySerde } from './types.ts'

export type Optimisation = 'reuse-table-sources' | 'merge-repartitions' | 'single-store-self-join'

export const optimisations: readonly Optimisation[] = [
  'reuse-table-sources',
  'merge-repartitions',
  'single-store-self-join',
]

export type BuildOptions = {
  /** All of Kafka Streams' optimisations, or some. Off by default: each changes the internal topics. */
  readonly optimize?: boolean | readonly Optimisation[]
  /** Refuses generated names of stores and internal topics, which change when an operator is added before them. */
  readonly requireNames?: boolean
  /** Gives, for an operator, a function that goes around it: for tracing, timing and debugging. */
  readonly wrap?: Wrap
}

/** What a node is to the planner; most are nothing special. */
export type Role =
  | {
      readonly kind: 'source'
      readonly topics: readonly string[]
      readonly pattern: RegExp | null
      readonly offsetReset: SourceNode['offsetReset']
    }
  | { readonly kind: 'table-source' }
  | { readonly kind: 'repartition'; readonly repartition: Repartition }
  | { readonly kind: 'join-window'; readonly processor: string }
  | { readonly kind: 'stream-join'; readonly left: string; readonly right: string }
  | { readonly kind: 'suppress' }

export type Traits = {
  readonly role?: Role
  readonly keyChanging?: boolean
  readonly valueChanging?: boolean
  readonly merge?: boolean
  /** A join whose result can have a null key: records without one must reach it. */
  readonly keepsNullKeys?: boolean
  /** It has a store that keeps versions, or one that doesn't; left out: as its parents. */
  readonly versioned?: boolean
  /** It defines windows, which close so long after their end. */
  readonly graceMs?: number
  readonly write: (to: GraphBuilder, at: Planned) => void
}

export class LogicalNode {
  readonly name: string
  readonly traits: Traits
  readonly parents = new Set<LogicalNode>()
  readonly children = new Set<LogicalNode>()
  /** Of those that could be written out next, the one with the lowest number is. */
  priority = 0

  constructor(name: string, traits: Traits) {
    this.name = name
    this.traits = traits
  }
}

/** A logical node in the plan of one build. */
export class Planned {
  readonly name: string
  readonly traits: Traits
  readonly parents = new Set<Planned>()
  readonly children = new Set<Planned>()
  priority: number
  written = false
  /** Of a repartition: records without a key don't pass. */
  dropsNullKeys = false
  /** Of a stream-stream join: both sides are the same stream, and one store serves them. */
  selfJoin = false
  /** Of a table: its source topic is the changelog of its store. */
  reusesSourceTopic = false

  constructor(name: string, traits: Traits, priority: number) {
    this.name = name
    this.traits = traits
    this.priority = priority
  }

  get from(): readonly string[] {
    return [...this.parents].map((parent) => parent.name)
  }

  adopt(child: Planned): void {
    this.children.add(child)
    child.parents.add(this)
  }

  abandon(child: Planned): void {
    this.children.delete(child)
    child.parents.delete(this)
  }

  #inherits: boolean | null = null

  /** What comes out of it keeps versions. Asked once the plan is settled. */
  get versioned(): boolean {
    return this.traits.versioned ?? this.inheritsVersions
  }

  get inheritsVersions(): boolean {
    this.#inherits ??= this.parents.size > 0 && [...this.parents].every((parent) => parent.versioned)
    return this.#inherits
  }
}

/** A topic that takes each record to the partition of its key. */
export type Repartition = {
  readonly sinkName: string
  readonly filterName: string
  readonly sourceName: string
  readonly topic: InternalTopic
  readonly keySerde: AnySerde
  readonly valueSerde: AnySerde
  readonly partitioner: StreamPartitioner | null
  /** Asked for by `repartition()`, so it stays where it is. */
  readonly explicit: boolean
}

export function sourceOf(
  name: string,
  topics: readonly string[],
  keySerde: AnySerde,
  valueSerde: AnySerde,
  content: Content = 'value',
): NewNode {
  return {
    kind: 'source',
    name,
    from: [],
    topics,
    pattern: null,
    keySerde,
    valueSerde,
    timestampExtractor: null,
    offsetReset: null,
    internal: true,
    content,
  }
}

const hasKey = (_value: unknown, key: unknown): boolean => key !== null
const always = (): boolean => true

function writeRepartition(to: GraphBuilder, at: Planned, repartition: Repartition): void {
  const { sinkName, filterName, sourceName, topic, keySerde, valueSerde, partitioner } = repartition
  to.addInternalTopic(topic)
  to.add({
    kind: 'filter',
    name: filterName,
    from: at.from,
    test: at.dropsNullKeys ? hasKey : always,
    negate: false,
    repartition: true,
  })
  to.add({
    kind: 'sink',
    name: sinkName,
    from: [filterName],
    topic: topic.name,
    keySerde,
    valueSerde,
    partitioner,
    internal: true,
    content: 'value',
  })
  to.add(sourceOf(sourceName, [topic.name], keySerde, valueSerde))
}

export function repartitionNode(repartition: Repartition): LogicalNode {
  return new LogicalNode(repartition.sourceName, {
    role: { kind: 'repartition', repartition },
    write: (to, at) => writeRepartition(to, at, repartition),
  })
}

const digits = 10

/** The one counter of a builder's generated names. */
export class Names {
  #next: number

  constructor(next = 0) {
    this.#next = next
  }

  /** Counts also where the name isn't used: naming an operator must not rename others. */
  next(prefix: string): string {
    return `${prefix}${String(this.#next++).padStart(digits, '0')}`
  }

  nextStore(prefix: string): string {
    return this.next(`${prefix}STATE-STORE-`)
  }

  copy(): Names {
    return new Names(this.#next)
  }
}

const repartitionSuffix = '-repartition'
const generatedStream = /^KSTREAM.*-[0-9]{10}$/

/** Names of the repartition topic that `prefix` stands for, and of its nodes. */
export function repartitionNames(
  names: Names,
  prefix: string,
): {
  readonly topic: string
  readonly sinkName: string
  readonly filterName: string
  readonly sourceName: string
} {
  const topic = prefix.endsWith(repartitionSuffix) ? prefix : `${prefix}${repartitionSuffix}`
  const sinkName = names.next('KSTREAM-SINK-')
  const filterName = names.next('KSTREAM-FILTER-')
  const sourceName = names.next('KSTREAM-SOURCE-')
  if (generatedStream.test(prefix)) return { topic, sinkName, filterName, sourceName }
  return { topic, sinkName: `${topic}-sink`, filterName: `${topic}-filter`, sourceName: `${topic}-source` }
}

/** A name that nobody gave. */
export type GeneratedName = {
  readonly what: 'store' | 'repartition topic'
  readonly name: string
  readonly remedy: string
}

/** The node itself, or the first one above it, depth first, that passes. */
function find<N extends { readonly parents: Set<N> }>(
  start: N,
  test: (node: N) => boolean,
  seen = new Set<N>(),
): N | null {
  if (seen.has(start)) return null
  seen.add(start)
  if (test(start)) return start
  for (const parent of start.parents) {
    if (test(parent)) return parent
    const found = find(parent, test, seen)
    if (found !== null) return found
  }
  return null
}

export class LogicalGraph {
  readonly names = new Names()
  readonly root = new LogicalNode('root', { write: () => {} })
  readonly generatedNames: GeneratedName[] = []
  readonly coPartitions: CoPartition[] = []
  readonly #nodes = new Set<LogicalNode>([this.root])
  readonly #merges = new Set<LogicalNode>()
  /** The repartitions below each operator that changes keys. */
  readonly #repartitions = new Map<LogicalNode, Set<LogicalNode>>()
  #priority = 0

  add(parents: LogicalNode | readonly LogicalNode[], child: LogicalNode): LogicalNode {
    this.#nodes.add(child)
    for (const parent of Array.isArray(parents) ? parents : [parents]) {
      if (!this.#nodes.has(parent)) {
        throw invalid(
          `${child.name}: its input ${parent.name} belongs to another StreamsBuilder; make both with the same one`,
          child.name,
        )
      }
      parent.children.add(child)
      child.parents.add(parent)
      child.priority = this.#priority++
      this.#note(child)
    }
    return child
  }

  #note(child: LogicalNode): void {
    const { traits } = child
    if (traits.keyChanging === true) {
      this.#repartitions.set(child, new Set())
    } else if (traits.role?.kind === 'repartition' && !traits.role.repartition.explicit) {
      const changer = find(child, (node) => node.traits.keyChanging === true)
      const nearest = find(
        child,
        (node) => node.traits.keyChanging === true || node.traits.valueChanging === true,
      )
      // A value changed in between would have to change again behind the merged topic: it stays as it is.
      if (changer !== null && changer === nearest) this.#repartitions.get(changer)?.add(child)
    } else if (traits.merge === true) {
      this.#merges.add(child)
    }
  }

  /** The topology, as Kafka Streams would put it together. */
  compile(options: BuildOptions): Topology {
    const chosen =
      options.optimize === true ? optimisations : options.optimize === false ? [] : (options.optimize ?? [])
    const unknown = chosen.find((name) => !optimisations.includes(name))
    if (unknown !== undefined) {
      throw invalid(
        `optimize: ${JSON.stringify(unknown)} is no optimisation; there are ${optimisations.join(', ')}`,
      )
    }
    const plan = new Plan(this.root, this.names.copy(), this.coPartitions, this.#merges, this.#repartitions)
    plan.mergeSources()
    if (chosen.includes('reuse-table-sources')) plan.reuseTableSources()
    if (chosen.includes('merge-repartitions')) plan.mergeRepartitions()
    if (chosen.includes('single-store-self-join')) plan.findSelfJoins()
    plan.dropNullKeys()
    plan.refuseVersionedSuppress()
    const builder = new GraphBuilder()
    if (options.wrap !== undefined) builder.wrap(options.wrap)
    plan.write(builder)
    const topology = new Topology(builder, chosen.length > 0)
    // What can only be seen in the whole is refused here, too.
    const { graph } = topology
    if (options.requireNames === true) this.#refuseGeneratedNames(graph)
    return topology
  }

  #refuseGeneratedNames({ stores, internalTopics }: TopologyGraph): void {
    const used = this.generatedNames.filter(({ what, name }) =>
      what === 'store' ? stores.has(name) : internalTopics.has(name),
    )
    if (used.length === 0) return
    const shown = used.map(({ what, name, remedy }) => `the ${what} ${name} (${remedy})`)
    throw invalid(`requireNames: these names were generated: ${shown.join('; ')}`)
  }
}

/** The graph on its way to a topology: here it is changed. */
class Plan {
  readonly #names: Names
  readonly #root: Planned
  readonly #copies = new Map<LogicalNode, Planned>()
  readonly #coPartitions: readonly { readonly node: string; readonly sources: Set<string> }[]
  readonly #merges: ReadonlySet<Planned>
  readonly #repartitions: Map<Planned, Set<Planned>>

  constructor(
    root: LogicalNode,
    names: Names,
    coPartitions: readonly CoPartition[],
    merges: ReadonlySet<LogicalNode>,
    repartitions: ReadonlyMap<LogicalNode, ReadonlySet<LogicalNode>>,
  ) {
    this.#names = names
    this.#root = this.#copy(root)
    this.#coPartitions = coPartitions.map(({ node, sources }) => ({ node, sources: new Set(sources) }))
    this.#merges = new Set([...merges].map((node) => this.#copy(node)))
    this.#repartitions = new Map(
      [...repartitions].map(([changer, nodes]) => [
        this.#copy(changer),
        new Set([...nodes].map((node) => this.#copy(node))),
      ]),
    )
  }

  #copy(node: LogicalNode): Planned {
    const known = this.#copies.get(node)
    if (known !== undefined) return known
    const planned = new Planned(node.name, node.traits, node.priority)
    this.#copies.set(node, planned)
    for (const child of node.children) planned.children.add(this.#copy(child))
    for (const parent of node.parents) planned.parents.add(this.#copy(parent))
    return planned
  }

  #all(): Planned[] {
    return [...this.#copies.values()]
  }

  /** Streams of the same topics read them once. */
  mergeSources(): void {
    const byTopic = new Map<string, Planned>()
    for (const node of [...this.#root.children]) {
      const { role } = node.traits
      if (role?.kind !== 'source') continue
      const keys = role.pattern === null ? role.topics : [`/${role.pattern.source}/${role.pattern.flags}`]
      for (const key of keys) {
        const first = byTopic.get(key)
        if (first === undefined) byTopic.set(key, node)
        else if (first !== node) this.#mergeSource(first, node, key)
      }
    }
  }

  #mergeSource(first: Planned, other: Planned, topic: string): void {
    const a = first.traits.role
    const b = other.traits.role
    if (a?.kind !== 'source' || b?.kind !== 'source') return
    if ([...new Set(a.topics)].sort().join() !== [...new Set(b.topics)].sort().join()) {
      throw invalid(
        `${other.name}: the topic ${topic} is read by ${first.name} too, but together with other topics; ` +
          'read the same topics in both, or each topic in one stream only',
        other.name,
      )
    }
    if (JSON.stringify(a.offsetReset) !== JSON.stringify(b.offsetReset)) {
      throw invalid(
        `${other.name}: it starts ${topic} at another offset than ${first.name}; give both the same offsetReset`,
        other.name,
      )
    }
    for (const child of [...other.children]) {
      other.abandon(child)
      first.adopt(child)
    }
    this.#root.abandon(other)
    for (const { sources } of this.#coPartitions) if (sources.delete(other.name)) sources.add(first.name)
  }

  reuseTableSources(): void {
    for (const node of this.#all()) node.reusesSourceTopic = node.traits.role?.kind === 'table-source'
  }

  /** Repartition topics below one change of key carry the same records: one of them is enough. */
  mergeRepartitions(): void {
    this.#moveChangersToMerges()
    for (const [changer, nodes] of this.#repartitions) {
      const first = nodes.values().next().value
      if (first === undefined) continue
      const merged = this.#mergedRepartition(changer, first, nodes)
      for (const replaced of nodes) {
        const child = find(replaced, (node) => node.parents.has(changer))
        if (child === null) continue
        merged.adopt(child)
        changer.abandon(child)
        const parents = [...replaced.parents]
        for (const below of [...replaced.children]) for (const parent of parents) parent.adopt(below)
        for (const parent of parents) parent.abandon(replaced)
        for (const below of [...replaced.children]) replaced.abandon(below)
        for (const { sources } of this.#coPartitions)
          if (sources.delete(replaced.name)) sources.add(merged.name)
      }
      changer.adopt(merged)
    }
    this.#repartitions.clear()
  }

  #mergedRepartition(changer: Planned, first: Planned, nodes: ReadonlySet<Planned>): Planned {
    const repartitions = [...nodes].flatMap(({ traits: { role } }) =>
      role?.kind === 'repartition' ? [role.repartition] : [],
    )
    const { role } = first.traits
    if (role?.kind !== 'repartition') throw invalid(`${first.name}: not a repartition`)
    const { topic, ...names } = repartitionNames(this.#names, role.repartition.topic.name)
    const repartition: Repartition = {
      ...names,
      topic: { name: topic, kind: 'repartition', partitions: null },
      keySerde: repartitions.find(({ keySerde }) => keySerde !== null)?.keySerde ?? null,
      valueSerde: repartitions.find(({ valueSerde }) => valueSerde !== null)?.valueSerde ?? null,
      partitioner: null,
      explicit: false,
    }
    const logical = repartitionNode(repartition)
    const planned = new Planned(logical.name, logical.traits, changer.priority)
    this.#copies.set(logical, planned)
    return planned
  }

  /** Below a merge of streams whose keys changed, the repartitions belong to the merge. */
  #moveChangersToMerges(): void {
    const moved = new Map<Planned, Set<Planned>>()
    for (const merge of this.#merges) {
      const changers = new Set<Planned>()
      for (const [changer, nodes] of this.#repartitions) {
        const below = [...nodes].every((node) => find(node, (other) => other.parents.has(merge)) !== null)
        if (below && find(merge, (node) => node.parents.has(changer)) !== null) changers.add(changer)
      }
      moved.set(merge, changers)
    }
    const emptied = new Set<Planned>()
    for (const [merge, changers] of moved) {
      const nodes = new Set<Planned>()
      for (const changer of changers) {
        for (const node of this.#repartitions.get(changer) ?? []) nodes.add(node)
        emptied.add(changer)
      }
      this.#repartitions.set(merge, nodes)
    }
    for (const changer of emptied) this.#repartitions.delete(changer)
  }

  findSelfJoins(): void {
    for (const join of this.#reachable()) {
      const { role } = join.traits
      if (role?.kind !== 'stream-join' || join.parents.size !== 1) continue
      for (const parent of join.parents) {
        for (const child of [...parent.children]) {
          const window = child.traits.role
          if (window?.kind === 'join-window' && window.processor === role.right) parent.abandon(child)
        }
      }
      join.selfJoin = true
    }
  }

  /** Repartitions take null keys out, unless a join further down can do something with them. */
  dropNullKeys(): void {
    const needs = new Map<Planned, boolean>()
    const visit = (node: Planned): boolean => {
      const known = needs.get(node)
      if (known !== undefined) return known
      needs.set(node, false)
      let needed = false
      for (const child of node.children)
        if (visit(child) || child.traits.keepsNullKeys === true) needed = true
      needs.set(node, needed)
      node.dropsNullKeys = !needed
      return needed
    }
    visit(this.#root)
  }

  refuseVersionedSuppress(): void {
    for (const node of this.#reachable()) {
      if (node.traits.role?.kind === 'suppress' && node.inheritsVersions) {
        throw invalid(
          `${node.name}: suppress works on tables without versions only; ` +
            'materialise its parent in a store without historyRetention',
          node.name,
        )
      }
    }
  }

  /** Parents before children, in the order of the DSL's calls. */
  write(builder: GraphBuilder): void {
    const waiting = new Set([this.#root])
    while (waiting.size > 0) {
      let node = this.#root
      let lowest = Number.POSITIVE_INFINITY
      for (const candidate of waiting) {
        if (candidate.priority >= lowest) continue
        node = candidate
        lowest = candidate.priority
      }
      waiting.delete(node)
      // One whose other parents aren't written yet comes again with them.
      if (!node.written && [...node.parents].every((parent) => parent.written)) {
        node.traits.write(builder, node)
        node.written = true
      }
      for (const child of node.children) if (!child.written) waiting.add(child)
    }
    for (const { node, sources } of this.#coPartitions)
      builder.addCoPartition({ node, sources: [...sources] })
  }

  #reachable(): ReadonlySet<Planned> {
    const seen = new Set<Planned>()
    const visit = (node: Planned): void => {
      if (seen.has(node)) return
      seen.add(node)
      for (const child of node.children) visit(child)
    }
    visit(this.#root)
    return seen
  }
}

/** `name` with a suffix, else the generated one, which is counted in any case. */
export function named(names: Names, name: string | undefined, prefix: string, suffix = ''): string {
  const generated = names.next(prefix)
  return name === undefined ? generated : validName(`${name}${suffix}`, prefix.replace(/-$/, ''))
}
