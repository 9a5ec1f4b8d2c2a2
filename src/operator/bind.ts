/**
 * Binds a sub-topology: each node becomes one closure that knows its children, its stores and the views of the tables
 * it looks into. Nothing is looked up by name once this is done.
 */
import { assert, unreachable } from '../base/assert.ts'
import { StreamsError } from '../base/errors.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import { Unread } from '../base/unread.ts'
import { knowing } from '../serde/known-text.ts'
import type { Serde } from '../serde/serde.ts'
import type { Content, Node, SinkNode, SourceNode, StreamPartitioner } from '../topology/node.ts'
import type { Subtopology, TopologyGraph } from '../topology/topology.ts'
import { aggregate } from './aggregate.ts'
import { fanOut } from './call.ts'
import { changeSerde } from './change-serde.ts'
import {
  foreignKeyAnswer,
  foreignKeyReceive,
  foreignKeyResolve,
  foreignKeySend,
  foreignKeyUpdate,
} from './foreign-key-join.ts'
import { answerSerde, type SubscriptionAnswer, subscriptionSerde } from './foreign-key-serde.ts'
import { type Lifecycle, process, tableTransformValues, transformedView } from './process.ts'
import type { BoundSource, BoundSubtopology, Change, Run, TableView, TaskContext, Use } from './run.ts'
import { sessionAggregate } from './session-aggregate.ts'
import { sink } from './sink.ts'
import { slidingAggregate } from './sliding-aggregate.ts'
import { freeze, type Snapshot, sameValue, snapshotBy } from './snapshot.ts'
import { branch, filter, flatMap, flatMapValues, map, mapValues, peek, selectKey } from './stateless.ts'
import { storeOf } from './stores.ts'
import { type JoinClock, joinClock, joinWindow, selfJoin, streamJoin } from './stream-join.ts'
import { streamGlobalJoin, streamTableJoin } from './stream-table-join.ts'
import { suppress } from './suppress.ts'
import {
  Failure,
  tableCompute,
  tableGroup,
  tableMap,
  tableMerge,
  tableSource,
  tableTest,
  tableToStream,
} from './table.ts'
import { tableAggregate } from './table-aggregate.ts'
import { joinedView, tableJoin } from './table-join.ts'
import { computedView, storeView, suppressedView } from './view.ts'
import { firstStart, looksAhead, windowAggregate } from './window-aggregate.ts'

export function bindSubtopology(
  graph: TopologyGraph,
  subtopology: Subtopology,
  context: TaskContext,
): BoundSubtopology {
  return new Binding(graph, subtopology, context).bound()
}

class Binding {
  readonly #graph: TopologyGraph
  readonly #subtopology: Subtopology
  readonly #context: TaskContext
  readonly #runs = new Map<string, Run>()
  readonly #views = new Map<string, TableView>()
  readonly #clocks = new Map<string, JoinClock>()
  readonly #aliased = new Map<string, boolean>()
  readonly #lives = new Map<string, Lifecycle[]>()

  constructor(graph: TopologyGraph, subtopology: Subtopology, context: TaskContext) {
    this.#graph = graph
    this.#subtopology = subtopology
    this.#context = context
  }

  bound(): BoundSubtopology {
    const sources = new Map<string, BoundSource>()
    // Operators before the children they call: a store's listeners are told in this order.
    for (const node of this.#subtopology.nodes) {
      if (node.kind === 'source') sources.set(node.name, this.#source(node))
    }
    for (const node of this.#subtopology.nodes) {
      if (node.kind !== 'source') this.#run(node.name)
    }
    const lives = this.#subtopology.nodes.flatMap((node) => this.#lives.get(node.name) ?? [])
    return {
      sources,
      init: () => initAll(lives, 0),
      close: () => closeAll(lives),
    }
  }

  #source(node: SourceNode): BoundSource {
    const run = this.#next(node)
    const keySerde = serdeOf(node.keySerde, 'key', node)
    const valueSerde = contentSerde(node)
    return {
      node,
      keySerde: knowing(keySerde),
      valueSerde,
      keyUse: this.#use('key', node, keySerde),
      valueUse: this.#use('value', node, valueSerde),
      run,
      prefetch: this.#prefetch(node.name),
    }
  }

  #node(name: string): Node {
    const node = this.#graph.nodes.get(name)
    assert(node !== undefined, `no node ${name}`)
    return node
  }

  #children(name: string): readonly string[] {
    return this.#graph.children.get(name) ?? []
  }

  /** Where a node's results go. */
  #next(node: Node): Run {
    const next = fanOut(this.#children(node.name).map((child) => this.#run(child)))
    return this.#context.freezeValues ? this.#freezing(node, next) : next
  }

  /** Values that leave a node can't be changed any more. Accumulators leave as copies: their aggregator may change them. */
  #freezing(node: Node, next: Run): Run {
    const copy = this.#accumulates(node) ? this.#copies(node.stores[0]) : sameValue
    const hand = (value: unknown): unknown => {
      if (value instanceof Unread) return value
      const handed = copy(value)
      freeze(handed)
      return handed
    }
    if (!emitsChanges(node)) {
      return (key, value, timestamp, headers) => next(key, hand(value), timestamp, headers)
    }
    return (key, changed, timestamp, headers) => {
      const { value, old, latest } = changed as Change
      return next(key, { value: hand(value), old: hand(old), latest }, timestamp, headers)
    }
  }

  #accumulates(node: Node): boolean {
    switch (node.kind) {
      case 'aggregate':
      case 'window-aggregate':
      case 'sliding-aggregate':
      case 'session-aggregate':
      case 'table-aggregate':
        return true
      default:
        return false
    }
  }

  #run(name: string): Run {
    const bound = this.#runs.get(name)
    if (bound !== undefined) return bound
    const node = this.#node(name)
    const run = this.#wrapped(node, this.#bind(node))
    this.#runs.set(name, run)
    return run
  }

  /** With the application's own function around it, where there is one. */
  #wrapped(node: Node, run: Run): Run {
    const { name, kind, stores } = node
    const around = this.#graph.wrap?.({ name, kind, stores }) ?? null
    if (around === null) return run
    return (key, value, timestamp, headers) => {
      const waiting = around({ key, value, timestamp, headers }, () => run(key, value, timestamp, headers))
      return isPromise(waiting) ? (waiting as Promise<void>) : undefined
    }
  }

  #bind(node: Node): Run {
    const context = this.#context
    switch (node.kind) {
      case 'source':
        throw new StreamsError('TOPOLOGY_INVALID', `${node.name}: a source has no parents`, {
          node: node.name,
        })
      case 'sink':
        return this.#sink(node)
      case 'filter':
        return filter(node, this.#next(node), context)
      case 'map':
        return map(node, this.#next(node), context)
      case 'map-values':
        return mapValues(node, this.#next(node), context)
      case 'flat-map':
        return flatMap(node, this.#next(node), context)
      case 'flat-map-values':
        return flatMapValues(node, this.#next(node), context)
      case 'select-key':
        return selectKey(node, this.#next(node), context)
      case 'peek':
        return peek(node, this.#next(node), context)
      case 'branch':
        return branch(node, (child) => this.#run(child), context)
      case 'pass':
        return this.#next(node)
      case 'process':
        return this.#process(node)
      case 'aggregate':
        return aggregate(node, this.#next(node), context)
      case 'window-aggregate':
        return windowAggregate(node, this.#next(node), context)
      case 'sliding-aggregate':
        return slidingAggregate(node, this.#next(node), context)
      case 'session-aggregate':
        return sessionAggregate(node, this.#next(node), context)
      case 'join-window':
        return joinWindow(node, this.#next(node), context)
      case 'stream-join':
        return streamJoin(node, this.#next(node), context, this.#clock(node.pair), this.#keepUnmatched(node))
      case 'self-join':
        return selfJoin(node, this.#next(node), context)
      case 'stream-table-join':
        return this.#guarded(
          node,
          node.table,
          streamTableJoin(node, this.#next(node), context, this.#view(node.table)),
        )
      case 'stream-global-join':
        return streamGlobalJoin(
          node,
          this.#next(node),
          context,
          storeView(context.globalStore(node.globalStore), sameValue),
        )
      case 'table-source':
        return tableSource(node, this.#next(node), context, this.#isAliased(node))
      case 'table-filter':
        return tableCompute(
          node,
          'predicate',
          tableTest(node),
          this.#next(node),
          context,
          this.#isAliased(node),
        )
      case 'table-map-values':
        return tableCompute(node, 'mapper', tableMap(node), this.#next(node), context, this.#isAliased(node))
      case 'table-transform-values': {
        const { run, life } = tableTransformValues(node, this.#next(node), context, this.#isAliased(node))
        this.#lives.set(node.name, [...(this.#lives.get(node.name) ?? []), life])
        return run
      }
      case 'table-to-stream':
        return tableToStream(this.#next(node))
      case 'table-group':
        return tableGroup(node, this.#next(node), context, this.#versioned(node.from[0]))
      case 'table-aggregate':
        return tableAggregate(node, this.#next(node), context)
      case 'table-join':
        return this.#guarded(
          node,
          node.other,
          tableJoin(node, this.#next(node), context, this.#view(node.other), this.#versioned(node.from[0])),
        )
      case 'table-merge':
        return tableMerge(node, this.#next(node), context, this.#isAliased(node))
      case 'suppress':
        return suppress(node, this.#next(node), context)
      case 'fk-send':
        return foreignKeySend(
          node,
          this.#next(node),
          context,
          serdeOf(node.foreignKeySerde, 'foreign key', node),
          serdeOf(node.valueSerde, 'value', node),
          this.#versioned(node.from[0]),
        )
      case 'fk-receive':
        return foreignKeyReceive(node, this.#next(node), context)
      case 'fk-answer':
        return this.#guarded(node, node.table, foreignKeyAnswer(this.#next(node), this.#view(node.table)))
      case 'fk-update':
        return foreignKeyUpdate(node, this.#next(node), context, this.#versioned(node.from[0]))
      case 'fk-resolve':
        return this.#guarded(
          node,
          node.table,
          foreignKeyResolve(
            node,
            this.#next(node),
            context,
            this.#view(node.table),
            serdeOf(node.valueSerde, 'value', node),
          ),
        )
      default:
        return unreachable(node)
    }
  }

  #sink(node: SinkNode): Run {
    const partitioner = node.content === 'answer' && node.partitioner === null ? toAsker : node.partitioner
    return sink(node, this.#context, serdeOf(node.keySerde, 'key', node), contentSerde(node), partitioner)
  }

  #process(node: Node & { kind: 'process' }): Run {
    const names = this.#children(node.name)
    const bind = (child: string): Run => {
      const run = this.#run(child)
      return this.#context.freezeValues ? this.#freezing(node, run) : run
    }
    const byName = new Map(names.map((name) => [name, bind(name)]))
    const { run, life } = process(
      node,
      { all: this.#next(node), named: (name) => byName.get(name) ?? null, names },
      this.#context,
    )
    this.#lives.set(node.name, [life])
    return run
  }

  #clock(pair: string): JoinClock {
    let clock = this.#clocks.get(pair)
    if (clock === undefined) {
      clock = joinClock()
      this.#clocks.set(pair, clock)
    }
    return clock
  }

  // ---------------------------------------------------------------------------------------- tables

  #view(name: string): TableView {
    const known = this.#views.get(name)
    if (known !== undefined) return known
    const view = this.#viewOf(this.#node(name))
    this.#views.set(name, view)
    return view
  }

  #viewOf(node: Node): TableView {
    switch (node.kind) {
      case 'aggregate':
      case 'window-aggregate':
      case 'sliding-aggregate':
      case 'session-aggregate':
      case 'table-aggregate': {
        const store = node.stores[0]
        assert(store !== undefined, `${node.name}: an aggregation has a store`)
        return this.#storeView(store)
      }
      case 'table-source':
        assert(node.store !== null, `${node.name}: a table that is looked into has a store`)
        return this.#storeView(node.store)
      case 'table-filter':
        return node.store !== null
          ? this.#storeView(node.store)
          : computedView(this.#parentView(node), tableTest(node))
      case 'table-map-values':
        return node.store !== null
          ? this.#storeView(node.store)
          : computedView(this.#parentView(node), tableMap(node))
      case 'table-transform-values': {
        if (node.store !== null) return this.#storeView(node.store)
        const { view, life } = transformedView(node, this.#parentView(node), this.#context)
        this.#lives.set(node.name, [...(this.#lives.get(node.name) ?? []), life])
        return view
      }
      case 'table-join': {
        const [left, right] = node.side === 'left' ? [node.from[0], node.other] : [node.other, node.from[0]]
        assert(left !== undefined && right !== undefined, `${node.name}: a join has two sides`)
        return joinedView(node, this.#view(left), this.#view(right))
      }
      case 'table-merge':
        return node.store !== null ? this.#storeView(node.store) : this.#parentView(node)
      case 'suppress': {
        const buffer = storeOf(this.#context, node, node.store, 'suppress-buffer')
        return suppressedView(buffer, this.#view(node.parent))
      }
      case 'pass':
        return node.stores[0] !== undefined ? this.#storeView(node.stores[0]) : this.#parentView(node)
      default:
        throw new StreamsError('TOPOLOGY_INVALID', `${node.name}: a ${node.kind} is no table`, {
          node: node.name,
        })
    }
  }

  #parentView(node: Node): TableView {
    const parent = node.from[0]
    assert(parent !== undefined, `${node.name}: no parent`)
    return this.#view(parent)
  }

  #storeView(name: string): TableView {
    const store = this.#context.store(name)
    // What looks through the view must not freeze an accumulator.
    return storeView(store, this.#context.freezeValues ? this.#copies(name) : sameValue)
  }

  /** A look into a table that is computed on the way may throw: the looking operator's record fails. */
  #guarded(node: Node, table: string, run: Run): Run {
    if (!this.#isComputed(table)) return run
    const context = this.#context
    return (key, value, timestamp, headers) => {
      const failed = (error: unknown): void => {
        if (!(error instanceof Failure)) throw error
        context.failed(error.error, node.name, `look into ${table}`, key, value, timestamp, headers)
      }
      try {
        const waiting = run(key, value, timestamp, headers)
        return waiting === undefined ? undefined : waiting.catch(failed)
      } catch (error) {
        return failed(error)
      }
    }
  }

  #isComputed(name: string): boolean {
    const node = this.#node(name)
    switch (node.kind) {
      case 'table-filter':
      case 'table-map-values':
      case 'table-transform-values':
      case 'table-merge':
        return node.store === null
      case 'table-join':
        return true
      case 'suppress':
        return this.#isComputed(node.parent)
      default:
        return false
    }
  }

  /** Whether the updates of a table's node are those of a versioned table. */
  #versioned(name: string | undefined): boolean {
    if (name === undefined) return false
    const node = this.#node(name)
    const isVersioned = (store: string | undefined): boolean =>
      store !== undefined && this.#graph.stores.get(store)?.kind === 'versioned'
    switch (node.kind) {
      case 'source':
        return false
      case 'table-source':
        return isVersioned(node.store ?? undefined)
      case 'aggregate':
      case 'window-aggregate':
      case 'sliding-aggregate':
      case 'session-aggregate':
      case 'table-aggregate':
        return isVersioned(node.stores[0])
      case 'table-join':
        return false
      case 'table-merge':
        return isVersioned(node.store ?? undefined)
      case 'table-filter':
      case 'table-map-values':
      case 'table-transform-values':
        if (node.store !== null) return isVersioned(node.store)
        break
      default:
        break
    }
    return node.from.some((parent) => this.#versioned(parent))
  }

  // ---------------------------------------------------------------------------------------- what flows

  /** Whether what reaches a node may be an accumulator that its aggregator goes on changing in place. */
  #isAliased(node: Node): boolean {
    return node.from.some((parent) => this.#hands(parent))
  }

  #hands(name: string): boolean {
    const known = this.#aliased.get(name)
    if (known !== undefined) return known
    this.#aliased.set(name, false)
    const node = this.#node(name)
    const aliased =
      !this.#context.freezeValues &&
      node.kind !== 'source' &&
      (this.#accumulates(node) ||
        node.from.some((parent) => this.#hands(parent)) ||
        (node.kind === 'stream-table-join' && this.#hands(node.table)) ||
        (node.kind === 'fk-resolve' && this.#hands(node.table)) ||
        (node.kind === 'table-join' && this.#hands(node.other)) ||
        ((node.kind === 'process' || node.kind === 'table-transform-values') &&
          this.#readsAccumulators(node)))
    this.#aliased.set(name, aliased)
    return aliased
  }

  /** Connected to the store of an aggregation. */
  #readsAccumulators({ stores }: Node): boolean {
    return this.#subtopology.nodes.some(
      (node) => this.#accumulates(node) && node.stores.some((store) => stores.includes(store)),
    )
  }

  /** What a store of such values holds on to. */
  #keepUnmatched(node: Node & { kind: 'stream-join' }): Snapshot {
    if (node.sharedStore === null || !this.#isAliased(node)) return sameValue
    const shared = this.#context.store(node.sharedStore)
    const { spec } = shared
    if (spec.kind !== 'outer-join' || node.side === 'left') return snapshotBy(spec.valueSerde, shared)
    return snapshotBy(spec.rightValueSerde, shared)
  }

  #copies(store: string | undefined): Snapshot {
    assert(store !== undefined, 'an aggregation has a store')
    const accumulators = this.#context.store(store)
    return snapshotBy(accumulators.spec.valueSerde, accumulators)
  }

  /** Notes the state that a record's key will need, in every store reached without a change of the key. */
  #prefetch(source: string): ((key: unknown, timestamp: number) => void) | null {
    const wants: ((key: unknown, timestamp: number) => void)[] = []
    const seen = new Set<string>()
    const walk = (name: string): void => {
      for (const child of this.#children(name)) {
        if (seen.has(child)) continue
        seen.add(child)
        const node = this.#node(child)
        const want = this.#want(node)
        if (want !== null) wants.push(want)
        if (keepsKey(node)) walk(child)
      }
    }
    walk(source)
    if (wants.length === 0) return null
    if (wants.length === 1) return wants[0] as (key: unknown, timestamp: number) => void
    return (key, timestamp) => {
      for (const want of wants) want(key, timestamp)
    }
  }

  #want(node: Node): ((key: unknown, timestamp: number) => void) | null {
    const tableStore = (name: string | null | undefined) => {
      const store = name === null || name === undefined ? null : this.#context.store(name)
      if (store?.kind !== 'key-value') return null
      return (key: unknown): void => {
        if (key !== null) store.want(key)
      }
    }
    switch (node.kind) {
      case 'aggregate':
        return tableStore(node.stores[0])
      case 'table-source':
        return tableStore(node.store)
      case 'stream-table-join': {
        const table = this.#node(node.table)
        if (table.kind === 'table-source') return tableStore(table.store)
        return table.kind === 'aggregate' ? tableStore(table.stores[0]) : null
      }
      case 'window-aggregate': {
        const { windows } = node
        if (windows.kind !== 'time' || !looksAhead(windows)) return null
        const store = storeOf(this.#context, node, node.stores[0], 'window')
        const { sizeMs, advanceMs } = windows
        return (key, timestamp) => {
          if (key === null) return
          for (let start = firstStart(timestamp, sizeMs, advanceMs); start <= timestamp; start += advanceMs) {
            store.want(key, start)
          }
        }
      }
      default:
        return null
    }
  }

  /** What becomes of a source's keys or values, as far as leaving them unread can't be noticed. */
  #use(part: 'key' | 'value', source: SourceNode, serde: Serde<unknown>): Use {
    const read = source.timestampExtractor !== null || this.#graph.wrap !== undefined
    const use = read ? 'read' : this.#useBehind(part, source, serde)
    switch (use) {
      case 'read':
        return use
      case 'written':
        return serde.roundTrips === undefined ? 'read' : use
      case 'present':
        return serde.total || serde.roundTrips !== undefined ? use : 'read'
      default:
        return unreachable(use)
    }
  }

  #useBehind(part: 'key' | 'value', from: Node, serde: Serde<unknown>): Use {
    let use: Use = 'present'
    for (const child of this.#children(from.name)) {
      const more = this.#useAt(part, this.#node(child), serde)
      if (more === 'read') return more
      if (more === 'written') use = more
    }
    return use
  }

  /** The key of a count is looked up, and goes on, by its bytes; within a window the store reads it for who comes next. */
  #keyUseAt(node: Node & { kind: 'aggregate' | 'window-aggregate' }, serde: Serde<unknown>): Use {
    const store = this.#context.store(node.stores[0] ?? '')
    if (store.kind !== 'key-value' && store.kind !== 'window') return 'read'
    if (store.takesUnread !== true || store.spec.keySerde !== serde || !node.aggregation.blind) return 'read'
    if (node.kind === 'window-aggregate') return 'written'
    return this.#useBehind('key', node, serde) === 'read' ? 'read' : 'written'
  }

  #useAt(part: 'key' | 'value', node: Node, serde: Serde<unknown>): Use {
    switch (node.kind) {
      case 'pass':
        return this.#useBehind(part, node, serde)
      case 'filter':
        // Before a repartition topic only whether there is a key decides.
        return node.repartition ? this.#useBehind(part, node, serde) : 'read'
      case 'aggregate':
      case 'window-aggregate':
        if (part === 'key') return this.#keyUseAt(node, serde)
        return node.aggregation.blind ? 'present' : 'read'
      case 'sliding-aggregate':
      case 'session-aggregate':
        return part === 'value' && node.aggregation.blind ? 'present' : 'read'
      case 'table-to-stream':
        return part === 'key' ? this.#useBehind(part, node, serde) : 'read'
      case 'sink': {
        const { topic, partitioner, content } = node
        const own = part === 'key' ? node.keySerde : node.valueSerde
        const plain = typeof topic === 'string' && partitioner === null && content === 'value'
        return plain && own === serde ? 'written' : 'read'
      }
      default:
        return 'read'
    }
  }
}

/** An answer goes to the partition that asked. */
const toAsker: StreamPartitioner = (_topic, _key, value) => (value as SubscriptionAnswer).primaryPartition

function emitsChanges(node: Node): boolean {
  switch (node.kind) {
    case 'aggregate':
    case 'window-aggregate':
    case 'sliding-aggregate':
    case 'session-aggregate':
    case 'table-source':
    case 'table-filter':
    case 'table-map-values':
    case 'table-transform-values':
    case 'table-group':
    case 'table-aggregate':
    case 'table-join':
    case 'table-merge':
    case 'suppress':
      return true
    default:
      return false
  }
}

/** Whether a record leaves a node under the key under which it came. */
function keepsKey(node: Node): boolean {
  switch (node.kind) {
    case 'pass':
    case 'filter':
    case 'peek':
    case 'map-values':
    case 'flat-map-values':
    case 'branch':
    case 'stream-table-join':
    case 'stream-global-join':
      return true
    default:
      return false
  }
}

function contentSerde(node: SourceNode | SinkNode): Serde<unknown> {
  const { content }: { content: Content } = node
  switch (content) {
    case 'value':
      return serdeOf(node.valueSerde, 'value', node)
    case 'change':
      return changeSerde(serdeOf(node.valueSerde, 'value', node)) as Serde<unknown>
    case 'subscription':
      return subscriptionSerde(serdeOf(node.valueSerde, 'primary key', node)) as Serde<unknown>
    case 'answer':
      return answerSerde(serdeOf(node.valueSerde, 'value', node)) as Serde<unknown>
    default:
      return unreachable(content)
  }
}

function serdeOf(serde: Serde<unknown> | null, what: string, node: Node): Serde<unknown> {
  if (serde === null) {
    throw new StreamsError(
      'TOPOLOGY_INVALID',
      `${node.name}: it is not known how to read and write the ${what}; give it a serde`,
      { node: node.name },
    )
  }
  return serde
}

function initAll(lives: readonly Lifecycle[], from: number): MaybePromise<void> {
  for (let index = from; index < lives.length; index++) {
    const waiting = (lives[index] as Lifecycle).init()
    if (isPromise(waiting)) return waiting.then(() => initAll(lives, index + 1))
  }
}

function closeAll(lives: readonly Lifecycle[]): MaybePromise<void> {
  let first: { readonly error: unknown } | null = null
  const from = (start: number): MaybePromise<void> => {
    for (let index = start; index < lives.length; index++) {
      try {
        const waiting = (lives[index] as Lifecycle).close()
        if (isPromise(waiting)) {
          return waiting.then(
            () => from(index + 1),
            (error) => {
              first ??= { error }
              return from(index + 1)
            },
          )
        }
      } catch (error) {
        first ??= { error }
      }
    }
  }
  return chain(from(0), () => {
    if (first !== null) throw (first as { readonly error: unknown }).error
  })
}
