/** Turns the ops of a conformance case (FORMAT 4) into a topology, by the calls that the case's own program made. */

import {
  CogroupedKStream,
  type SessionWindowedCogroupedKStream,
  type TimeWindowedCogroupedKStream,
} from '../../src/dsl/cogrouped-kstream.ts'
import { GlobalKTable } from '../../src/dsl/global-ktable.ts'
import { KGroupedStream } from '../../src/dsl/kgrouped-stream.ts'
import { KGroupedTable } from '../../src/dsl/kgrouped-table.ts'
import { KStream } from '../../src/dsl/kstream.ts'
import { KTable } from '../../src/dsl/ktable.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { type Suppression, untilTimeLimit, untilWindowCloses } from '../../src/dsl/suppressed.ts'
import { SessionWindowedKStream, TimeWindowedKStream } from '../../src/dsl/windowed-kstream.ts'
import type { JoinWindowOptions } from '../../src/dsl/windows.ts'
import { hopping, session, sliding, tumbling, unlimited } from '../../src/dsl/windows.ts'
import { serde } from '../../src/serde/serde.ts'
import { endOfTime, Windowed } from '../../src/serde/windowed.ts'
import { stores } from '../../src/topology/stores.ts'
import type { Topology } from '../../src/topology/topology.ts'
import type { WindowsSpec } from '../../src/topology/windows.ts'
import {
  aggregator,
  Box,
  type Fn,
  field,
  type Json,
  joiner,
  keyFn,
  longMax,
  pairsFn,
  predicate,
  reducer,
  timeText,
  unbox,
  valueFn,
  valuesFn,
} from './functions.ts'
import { fixedProcessor, freeProcessor, transformer } from './processors.ts'

export type Op = { readonly id: string; readonly op: string; readonly from?: string | readonly string[] } & {
  readonly [name: string]: unknown
}

export type InterpretOptions = {
  /** All optimisations. */
  readonly optimize?: boolean
  /** Aggregators and reducers change their accumulator in place and return it. */
  readonly mutate?: boolean
  readonly engine?: 'persistent' | 'memory'
  /** Keys are objects here and other bytes than their text, in another order. */
  readonly keys?: 'binary'
}

export type Interpreted = {
  readonly topology: Topology
  /** Topics that `to` names, in order of first mention. */
  readonly sinks: readonly string[]
  /** Stores that the ops name, in order of first mention. */
  readonly stores: readonly string[]
}

const windowMark = '\u0001'

/** Keys are UTF-8 text; one within a window is JSON behind a mark. */
const textKeys = {
  name: 'case key',
  serialize(key: unknown): Buffer {
    if (!(key instanceof Windowed)) return Buffer.from(key as string)
    const { start, end } = key
    const text = `{"key":${JSON.stringify(unbox(key.key))},"start":${timeText(start)},"end":${timeText(end)}}`
    return Buffer.from(windowMark + text)
  },
  deserialize(bytes: Buffer): unknown {
    const text = bytes.toString()
    if (!text.startsWith(windowMark)) return text
    const parsed = JSON.parse(text.slice(1)) as {
      readonly key: string
      readonly start: number
      readonly end: number
    }
    return new Windowed(parsed.key, parsed.start, text.includes(longMax) ? endOfTime : parsed.end)
  },
}

export const keySerde = serde<unknown>(textKeys)

/** The length of the text (4 bytes), then its bytes backwards. Here such a key is an object, which no Map tells apart. */
export const binaryKeySerde = serde<unknown>({
  name: 'binary case key',
  serialize(key) {
    const text = textKeys.serialize(unbox(key))
    const bytes = Buffer.alloc(4 + text.length)
    bytes.writeInt32BE(text.length)
    for (let index = 0; index < text.length; index++)
      bytes[4 + index] = text[text.length - 1 - index] as number
    return bytes
  },
  deserialize(bytes) {
    const key = textKeys.deserialize(Buffer.from(bytes.subarray(4)).reverse())
    return key instanceof Windowed ? new Windowed(new Box(key.key), key.start, key.end) : new Box(key)
  },
})

/** Values are compact JSON. */
export const valueSerde = serde<unknown>({
  name: 'case value',
  serialize: (value) => Buffer.from(JSON.stringify(value)),
  deserialize: (bytes) => JSON.parse(bytes.toString()) as unknown,
})

/** Of an accumulator that is changed in place. */
const boxSerde = serde<unknown>({
  name: 'case accumulator',
  serialize: (value) => Buffer.from(JSON.stringify(value)),
  deserialize: (bytes) => new Box(JSON.parse(bytes.toString()) as unknown),
})

type Stream = KStream<unknown, unknown>
type Table = KTable<unknown, unknown>
type TimeCogroup = TimeWindowedCogroupedKStream<unknown, unknown>
type SessionCogroup = SessionWindowedCogroupedKStream<unknown, unknown>

const isStream = (node: unknown): node is Stream => node instanceof KStream
const isTable = (node: unknown): node is Table => node instanceof KTable

class Interpreter {
  readonly builder: StreamsBuilder
  readonly sinks = new Set<string>()
  readonly stores = new Set<string>()
  readonly #nodes = new Map<string, unknown>()
  readonly #mutate: boolean
  readonly #keySerde: typeof keySerde
  readonly #engine: 'persistent' | 'memory'

  constructor(options: InterpretOptions) {
    this.#mutate = options.mutate ?? false
    this.#keySerde = options.keys === 'binary' ? binaryKeySerde : keySerde
    this.#engine = options.engine ?? 'persistent'
    this.builder = new StreamsBuilder({ keySerde: this.#keySerde, valueSerde, engine: this.#engine })
  }

  add(op: Op): void {
    const made = this.#build(op)
    if (made !== undefined) this.#set(op.id, made)
  }

  #set(id: string, node: unknown): void {
    if (this.#nodes.has(id)) throw new Error(`two ops are called ${id}`)
    this.#nodes.set(id, node)
  }

  #in(op: Op, index = 0): unknown {
    const id = Array.isArray(op.from) ? (op.from[index] as string) : (op.from as string)
    const node = this.#nodes.get(id)
    if (node === undefined) throw new Error(`${op.id}: there is no ${id}`)
    return node
  }

  #stream(op: Op, index = 0): Stream {
    const node = this.#in(op, index)
    if (isStream(node)) return node
    throw new Error(`${op.id}: its input is no stream`)
  }

  #store(op: Op): string | undefined {
    const name = op['store'] as string | undefined
    if (name !== undefined) this.stores.add(name)
    return name
  }

  /** How the state is kept, said always as the program of the cases says it. */
  #kept(
    op: Op,
    accumulates = false,
  ): { valueSerde: typeof valueSerde; as?: string; retention?: number; historyRetention?: number } {
    const as = this.#store(op)
    const retention = op['retention'] as number | undefined
    const historyRetention = op['historyRetention'] as number | undefined
    return {
      valueSerde: accumulates && this.#mutate ? boxSerde : valueSerde,
      ...(as === undefined ? {} : { as }),
      ...(retention === undefined ? {} : { retention }),
      ...(historyRetention === undefined || as === undefined ? {} : { historyRetention }),
    }
  }

  /** As `#kept` for results that aren't the cases' values (counts). */
  #keptCount(op: Op): { keySerde: typeof keySerde; as?: string; retention?: number } {
    const { valueSerde: _, ...rest } = this.#kept(op)
    return { keySerde: this.#keySerde, ...rest }
  }

  #consumed(op: Op) {
    const name = op['timestampField'] as string | undefined
    if (name === undefined) return { keySerde: this.#keySerde, valueSerde }
    return {
      keySerde: this.#keySerde,
      valueSerde,
      timestampExtractor: (value: unknown, _key: unknown, record: { readonly timestamp: number }): number => {
        const time = field(value, name)
        return typeof time === 'number' ? time : record.timestamp
      },
    }
  }

  /** An initialiser, aggregator or reducer, which changes its accumulator in place where that is asked for. */
  #accumulate(make: (aggregate: unknown) => unknown, aggregate: unknown): unknown {
    if (!this.#mutate) return make(aggregate)
    const result = unbox(make(unbox(aggregate)))
    if (result === null) return null
    if (!(aggregate instanceof Box)) return new Box(result)
    aggregate.value = result
    return aggregate
  }

  #initialiser(op: Op): () => unknown {
    const init = (op['init'] ?? null) as Json
    return () => (this.#mutate && init !== null ? new Box(init) : init)
  }

  #aggregator(fn: unknown): (aggregate: unknown, value: unknown, key: unknown) => unknown {
    const apply = aggregator(fn as Fn)
    return (aggregate, value, key) => this.#accumulate((before) => apply(key, value, before), aggregate)
  }

  #reducer(fn: unknown): (aggregate: unknown, value: unknown) => unknown {
    const apply = reducer(fn as Fn)
    return (aggregate, value) => this.#accumulate((before) => apply(before, value), aggregate)
  }

  #build(op: Op): unknown {
    switch (op.op) {
      case 'stream':
        return this.builder.stream(op['topics'] as readonly string[], this.#consumed(op))
      case 'table':
        return this.builder.table(op['topic'] as string, { ...this.#consumed(op), ...this.#kept(op) })
      case 'globalTable': {
        const as = this.#store(op)
        return this.builder.globalTable(op['topic'] as string, {
          ...this.#consumed(op),
          ...(as === undefined ? {} : { as }),
        })
      }
      case 'to': {
        const topic = op['topic'] as string
        this.sinks.add(topic)
        this.#stream(op).to(topic, { keySerde: this.#keySerde, valueSerde })
        return undefined
      }
      case 'map': {
        const key = keyFn(op['key'] as Fn)
        const value = valueFn(op['value'] as Fn)
        return this.#stream(op).map((v, k) => [key(k, v), value(k, v)])
      }
      case 'mapValues': {
        const map = valueFn(op['fn'] as Fn)
        const node = this.#in(op)
        if (!isTable(node)) return this.#stream(op).mapValues((v, k) => map(k, v))
        return op['store'] === undefined
          ? node.mapValues((v, k) => map(k, v))
          : node.mapValues((v, k) => map(k, v), this.#kept(op))
      }
      case 'transformValues': {
        const table = this.#in(op) as Table
        const state = op['state'] as string | undefined
        const names = this.#processorStores({ ...op, store: state })
        const transform = op['transformer'] as Fn
        const make = () => transformer(transform, state)
        return op['store'] === undefined
          ? table.transformValues(make, names)
          : table.transformValues(make, { ...names, ...this.#kept(op) })
      }
      case 'flatMap': {
        const map = pairsFn(op['fn'] as Fn)
        return this.#stream(op).flatMap((v, k) => map(k, v))
      }
      case 'flatMapValues': {
        const map = valuesFn(op['fn'] as Fn)
        return this.#stream(op).flatMapValues((v, k) => map(k, v))
      }
      case 'filter':
      case 'filterNot': {
        const test = predicate(op['pred'] as Fn)
        const node = this.#in(op)
        if (isTable(node)) {
          const options = op['store'] === undefined ? {} : this.#kept(op)
          return node[op.op]((v, k) => test(k, v), options)
        }
        return this.#stream(op)[op.op]((v, k) => test(k, v))
      }
      case 'selectKey': {
        const select = keyFn(op['fn'] as Fn)
        return this.#stream(op).selectKey((v, k) => select(k, v))
      }
      case 'merge':
        return this.#stream(op).merge(this.#stream(op, 1))
      case 'split':
        this.#split(op)
        return undefined
      case 'repartition':
        return this.#stream(op).repartition({ keySerde: this.#keySerde, valueSerde })
      case 'toTable':
        return this.#stream(op).toTable({ keySerde: this.#keySerde, ...this.#kept(op) })
      case 'toStream': {
        const table = this.#in(op) as Table
        if (op['key'] === undefined) return table.toStream()
        const select = keyFn(op['key'] as Fn)
        return table.toStream((v, k) => select(k, v))
      }
      case 'suppress':
        return (this.#in(op) as Table).suppress(suppression(op))
      case 'groupByKey':
        return this.#stream(op).groupByKey(named(op))
      case 'groupBy': {
        const node = this.#in(op)
        if (isTable(node)) {
          const key = keyFn(op['key'] as Fn)
          const value = valueFn(op['value'] as Fn)
          return node.groupBy((v, k) => [key(k, v), value(k, v)], { keySerde: this.#keySerde, valueSerde })
        }
        const select = keyFn(op['fn'] as Fn)
        return this.#stream(op).groupBy((v, k) => select(k, v), {
          keySerde: this.#keySerde,
          valueSerde,
          ...named(op),
        })
      }
      case 'windowedBy':
        return this.#windowedBy(op)
      case 'count': {
        const group = this.#in(op) as KGroupedStream<unknown, unknown>
        return group.count(this.#keptCount(op))
      }
      case 'reduce': {
        const reduce = this.#reducer(op['fn'])
        const group = this.#in(op)
        if (group instanceof KGroupedTable) {
          return (group as KGroupedTable<unknown, unknown>).reduce(
            reduce,
            this.#reducer(op['subtractor']),
            this.#kept(op, true),
          )
        }
        return (group as KGroupedStream<unknown, unknown>).reduce(reduce, this.#kept(op, true))
      }
      case 'aggregate':
        return this.#aggregate(op)
      case 'cogroup': {
        let cogrouped: CogroupedKStream<unknown, unknown> | null = null
        for (let index = 0; index < (op.from as readonly string[]).length; index++) {
          const group = this.#in(op, index) as KGroupedStream<unknown, unknown>
          const add = this.#aggregator((op['aggs'] as readonly unknown[])[index])
          cogrouped = cogrouped === null ? group.cogroup(add) : cogrouped.cogroup(group, add)
        }
        return cogrouped
      }
      case 'join':
        return this.#join(op)
      case 'fkJoin': {
        const left = this.#in(op) as Table
        const right = this.#in(op, 1) as Table
        const foreignKey = keyFn(op['fk'] as Fn)
        const join = joiner(op['joiner'] as Fn)
        const kept = this.#kept(op)
        return op['kind'] === 'left'
          ? left.leftJoinOnForeignKey(
              right,
              (v, k) => foreignKey(k, v),
              (l, r) => join(null, l, r),
              kept,
            )
          : left.joinOnForeignKey(
              right,
              (v, k) => foreignKey(k, v),
              (l, r) => join(null, l, r),
              kept,
            )
      }
      case 'processValues': {
        const [make, options] = [op['processor'] as Fn, this.#processorStores(op)]
        return this.#stream(op).processValues(() => fixedProcessor(make, options.stores[0]), options)
      }
      case 'process': {
        const [make, options] = [op['processor'] as Fn, this.#processorStores(op)]
        return this.#stream(op).process(() => freeProcessor(make, options.stores[0]), options)
      }
      default:
        throw new Error(`unknown op: ${JSON.stringify(op)}`)
    }
  }

  #split(op: Op): void {
    const split = this.#stream(op).split()
    for (const { id, pred } of op['branches'] as readonly { readonly id: string; readonly pred: Fn }[]) {
      const test = predicate(pred)
      split.branch((v, k) => test(k, v), { chain: (branch) => this.#set(id, branch) })
    }
    const otherwise = op['default'] as string | undefined
    if (otherwise === undefined) split.noDefaultBranch()
    else split.defaultBranch({ chain: (branch) => this.#set(otherwise, branch) })
  }

  #windowedBy(op: Op): unknown {
    const group = this.#in(op)
    const spec = windows(op['window'] as WindowJson)
    if (group instanceof CogroupedKStream) {
      const cogroup = group as CogroupedKStream<unknown, unknown>
      return spec.kind === 'session' ? cogroup.windowedBy(spec) : cogroup.windowedBy(spec)
    }
    const grouped = group as KGroupedStream<unknown, unknown>
    const windowed = spec.kind === 'session' ? grouped.windowedBy(spec) : grouped.windowedBy(spec)
    if (op['emit'] === undefined) return windowed
    return windowed.emitStrategy(op['emit'] === 'onWindowClose' ? 'on-close' : 'on-update')
  }

  #aggregate(op: Op): unknown {
    const group = this.#in(op)
    const initialise = this.#initialiser(op)
    const kept = this.#kept(op, true)
    const merge = op['merger'] === undefined ? null : this.#reducer(op['merger'])
    if (group instanceof CogroupedKStream) {
      return (group as CogroupedKStream<unknown, unknown>).aggregate(initialise, kept)
    }
    if (group instanceof KGroupedStream) {
      return (group as KGroupedStream<unknown, unknown>).aggregate(
        initialise,
        this.#aggregator(op['agg']),
        kept,
      )
    }
    if (group instanceof KGroupedTable) {
      const subtract = this.#aggregator(op['subtractor'])
      return (group as KGroupedTable<unknown, unknown>).aggregate(
        initialise,
        this.#aggregator(op['agg']),
        subtract,
        kept,
      )
    }
    if (group instanceof TimeWindowedKStream) {
      const windowed = group as TimeWindowedKStream<unknown, unknown>
      return windowed.aggregate(initialise, this.#aggregator(op['agg']), kept)
    }
    const merger = (older: unknown, newer: unknown): unknown => merge?.(older, newer) ?? null
    if (group instanceof SessionWindowedKStream) {
      const windowed = group as SessionWindowedKStream<unknown, unknown>
      return windowed.aggregate(initialise, this.#aggregator(op['agg']), merger, kept)
    }
    if (merge === null) return (group as TimeCogroup).aggregate(initialise, kept)
    return (group as SessionCogroup).aggregate(initialise, merger, kept)
  }

  #join(op: Op): unknown {
    const left = this.#in(op)
    const right = this.#in(op, 1)
    const kind = op['kind'] as 'inner' | 'left' | 'outer'
    const apply = joiner(op['joiner'] as Fn)
    const method = kind === 'inner' ? 'join' : kind === 'left' ? 'leftJoin' : 'outerJoin'
    if (isTable(left)) {
      const options = op['store'] === undefined ? {} : this.#kept(op)
      const loose = left as unknown as Record<
        string,
        (other: unknown, join: unknown, options: unknown) => unknown
      >
      return loose[method]?.(right, (l: unknown, r: unknown) => apply(null, l, r), options)
    }
    const stream = left as Stream
    const join = (l: unknown, r: unknown, k: unknown): unknown => apply(k, l, r)
    if (right instanceof GlobalKTable) {
      const select = keyFn(op['globalKey'] as Fn)
      const table = right as GlobalKTable<unknown, unknown>
      return kind === 'inner'
        ? stream.join(table, (v, k) => select(k, v), join)
        : stream.leftJoin(table, (v, k) => select(k, v), join)
    }
    if (isTable(right)) {
      const table = right
      const grace = op['grace'] as number | undefined
      const options = { keySerde: this.#keySerde, valueSerde, ...(grace === undefined ? {} : { grace }) }
      return kind === 'inner' ? stream.join(table, join, options) : stream.leftJoin(table, join, options)
    }
    const other = right as Stream
    const options = { ...joinOptions(op), keySerde: this.#keySerde, valueSerde, otherValueSerde: valueSerde }
    switch (kind) {
      case 'inner':
        return stream.join(other, join, options)
      case 'left':
        return stream.leftJoin(other, join, options)
      default:
        return stream.outerJoin(other, join, options)
    }
  }

  /** A processor's store is made at its first mention. */
  #processorStores(op: Op): { readonly stores: readonly string[] } {
    const name = op['store'] as string | undefined
    if (name === undefined) return { stores: [] }
    if (!this.stores.has(name)) {
      this.stores.add(name)
      this.builder.addStateStore(
        stores.keyValue(name, { keySerde: this.#keySerde, valueSerde, engine: this.#engine }),
      )
    }
    return { stores: [name] }
  }
}

function named(op: Op): { readonly name?: string } {
  return op['name'] === undefined ? {} : { name: op['name'] as string }
}

type WindowJson = {
  readonly type: string
  readonly size?: number
  readonly advance?: number
  readonly diff?: number
  readonly gap?: number
  readonly grace?: number
  readonly start?: number
}

function windows(json: WindowJson): WindowsSpec {
  const grace = json.grace ?? 0
  switch (json.type) {
    case 'tumbling':
      return tumbling(json.size as number, { grace })
    case 'hopping':
      return hopping(json.size as number, { advance: json.advance as number, grace })
    case 'sliding':
      return sliding(json.diff as number, { grace })
    case 'session':
      return session(json.gap as number, { grace })
    case 'unlimited':
      return unlimited({ start: json.start ?? 0 })
    default:
      throw new Error(`unknown window: ${JSON.stringify(json)}`)
  }
}

function joinOptions(op: Op): JoinWindowOptions {
  const { before, after, grace, legacy } = op['window'] as {
    readonly before: number
    readonly after: number
    readonly grace?: number
    readonly legacy?: boolean
  }
  if (legacy === true) return { within: before, eager: true }
  return { within: { before, after }, grace: grace ?? 0 }
}

function suppression(op: Op): Suppression {
  const maxRecords = op['maxRecords'] as number | undefined
  const maxBytes = op['maxBytes'] as number | undefined
  const buffer = {
    ...(maxRecords === undefined ? {} : { maxRecords }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
  }
  if (op['mode'] === 'untilWindowCloses') return untilWindowCloses(buffer)
  return untilTimeLimit(op['ms'] as number, {
    ...buffer,
    whenFull: op['onFull'] === 'shutDown' ? 'shut-down' : 'emit-early',
  })
}

/** Throws where the topology can't be built. */
export function interpret(ops: readonly Op[], options: InterpretOptions = {}): Interpreted {
  const interpreter = new Interpreter(options)
  for (const op of ops) interpreter.add(op)
  const topology = interpreter.builder.build({ optimize: options.optimize ?? false })
  return { topology, sinks: [...interpreter.sinks], stores: [...interpreter.stores] }
}
