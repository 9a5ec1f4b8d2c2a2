/** A grouped stream in windows. The results are tables whose keys are `Windowed`: key, start and end. */
import type { Serde } from '../serde/serde.ts'
import type { Windowed } from '../serde/windowed.ts'
import type { Emission } from '../topology/node.ts'
import type { FixedWindowsSpec, SessionWindowsSpec, SlidingWindowsSpec } from '../topology/windows.ts'
import { aggregating, callable, core, counting, countSerde, reducing, saysHow } from './core.ts'
import { aggregateWindows, checkEmission, type GroupedCore } from './kgrouped-stream.ts'
import type { KTable } from './ktable.ts'
import type {
  Aggregator,
  Gap,
  GroupedNeeds,
  Merger,
  MissingForKeys,
  Reducer,
  SerdeMissing,
  WindowedOptions,
} from './types.ts'

export class TimeWindowedKStream<K, V, G extends Gap = never> {
  readonly [core]: GroupedCore
  readonly #windows: FixedWindowsSpec | SlidingWindowsSpec
  readonly #emission: Emission

  constructor(group: GroupedCore, windows: FixedWindowsSpec | SlidingWindowsSpec, emission: Emission) {
    this[core] = group
    this.#windows = windows
    this.#emission = checkEmission(windows, emission)
  }

  /** 'on-update' (default): each change goes on; 'on-close': one result for each window, once it is closed. */
  emitStrategy(emission: Emission): TimeWindowedKStream<K, V, G> {
    return new TimeWindowedKStream(this[core], this.#windows, emission)
  }

  /** How many records each key has in each window. */
  count(
    this: TimeWindowedKStream<K, V, G> & GroupedNeeds<'count', MissingForKeys<G>>,
    options?: WindowedOptions<K, number>,
  ): KTable<Windowed<K>, number>
  count(options: WindowedOptions<unknown, unknown> = {}): unknown {
    // Sliding windows count no name here, unlike all others: so it is in Kafka Streams.
    const counts = saysHow(options) && options.as === undefined && this.#windows.kind !== 'sliding'
    if (counts) this[core].builder.graph.names.nextStore('KSTREAM-AGGREGATE-')
    return aggregateWindows(this[core], {
      prefix: 'KSTREAM-AGGREGATE-',
      operator: 'count',
      aggregation: counting,
      valueSerde: countSerde,
      windows: this.#windows,
      emission: this.#emission,
      options,
    })
  }

  /** Puts the values of each key and window together, two by two; the first is taken as it is. */
  reduce(
    this: TimeWindowedKStream<K, V, G> & GroupedNeeds<'reduce', MissingForKeys<G>>,
    reducer: Reducer<V>,
    options: WindowedOptions<K, V> & { readonly valueSerde: Serde<V> },
  ): KTable<Windowed<K>, V>
  reduce(
    this: TimeWindowedKStream<K, V, G> & GroupedNeeds<'reduce', Exclude<G, 'moved'>>,
    reducer: Reducer<V>,
    options?: WindowedOptions<K, V>,
  ): KTable<Windowed<K>, V>
  reduce(reducer: Reducer<V>, options: WindowedOptions<unknown, unknown> = {}): unknown {
    callable(reducer, options.name ?? 'reduce', 'the reducer')
    return aggregateWindows(this[core], {
      prefix: 'KSTREAM-REDUCE-',
      operator: 'reduce',
      aggregation: reducing(reducer),
      valueSerde: this[core].valueSerde,
      windows: this.#windows,
      emission: this.#emission,
      options,
    })
  }

  /** Takes each value into an aggregate of its key and window. */
  aggregate<A>(
    this: TimeWindowedKStream<K, V, G> & GroupedNeeds<'aggregate', MissingForKeys<G>>,
    initialise: () => A | null,
    add: Aggregator<K, V, A>,
    options: WindowedOptions<K, A> & { readonly valueSerde: Serde<A> },
  ): KTable<Windowed<K>, A>
  aggregate<A>(
    this: SerdeMissing<'aggregate needs the serde of its result: give it { valueSerde }'>,
    initialise: () => A | null,
    add: Aggregator<K, V, A>,
    options?: WindowedOptions<K, A>,
  ): KTable<Windowed<K>, A>
  aggregate(
    this: unknown,
    initialise: () => unknown,
    add: Aggregator<K, V, unknown>,
    options: WindowedOptions<unknown, unknown> = {},
  ): unknown {
    const self = this as TimeWindowedKStream<K, V, G>
    callable(initialise, options.name ?? 'aggregate', 'the initialiser')
    callable(add, options.name ?? 'aggregate', 'the aggregator')
    return aggregateWindows(self[core], {
      prefix: 'KSTREAM-AGGREGATE-',
      operator: 'aggregate',
      aggregation: aggregating(initialise, add),
      valueSerde: null,
      windows: self.#windows,
      emission: self.#emission,
      options,
    })
  }
}

export class SessionWindowedKStream<K, V, G extends Gap = never> {
  readonly [core]: GroupedCore
  readonly #windows: SessionWindowsSpec
  readonly #emission: Emission

  constructor(group: GroupedCore, windows: SessionWindowsSpec, emission: Emission) {
    this[core] = group
    this.#windows = windows
    this.#emission = checkEmission(windows, emission)
  }

  /** 'on-update' (default): each change goes on; 'on-close': one result for each session, once it is closed. */
  emitStrategy(emission: Emission): SessionWindowedKStream<K, V, G> {
    return new SessionWindowedKStream(this[core], this.#windows, emission)
  }

  /** How many records each session has. */
  count(
    this: SessionWindowedKStream<K, V, G> & GroupedNeeds<'count', MissingForKeys<G>>,
    options?: WindowedOptions<K, number>,
  ): KTable<Windowed<K>, number>
  count(options: WindowedOptions<unknown, unknown> = {}): unknown {
    if (saysHow(options) && options.as === undefined)
      this[core].builder.graph.names.nextStore('KSTREAM-AGGREGATE-')
    return aggregateWindows(this[core], {
      prefix: 'KSTREAM-AGGREGATE-',
      operator: 'count',
      aggregation: counting,
      valueSerde: countSerde,
      windows: this.#windows,
      emission: this.#emission,
      options,
    })
  }

  /** Puts the values of each session together, two by two; also the results of sessions that become one. */
  reduce(
    this: SessionWindowedKStream<K, V, G> & GroupedNeeds<'reduce', MissingForKeys<G>>,
    reducer: Reducer<V>,
    options: WindowedOptions<K, V> & { readonly valueSerde: Serde<V> },
  ): KTable<Windowed<K>, V>
  reduce(
    this: SessionWindowedKStream<K, V, G> & GroupedNeeds<'reduce', Exclude<G, 'moved'>>,
    reducer: Reducer<V>,
    options?: WindowedOptions<K, V>,
  ): KTable<Windowed<K>, V>
  reduce(reducer: Reducer<V>, options: WindowedOptions<unknown, unknown> = {}): unknown {
    callable(reducer, options.name ?? 'reduce', 'the reducer')
    return aggregateWindows(this[core], {
      prefix: 'KSTREAM-REDUCE-',
      operator: 'reduce',
      aggregation: reducing(reducer),
      valueSerde: this[core].valueSerde,
      windows: this.#windows,
      emission: this.#emission,
      options,
    })
  }

  /** Takes each value into an aggregate of its session; `merge` joins those of sessions that become one. */
  aggregate<A>(
    this: SessionWindowedKStream<K, V, G> & GroupedNeeds<'aggregate', MissingForKeys<G>>,
    initialise: () => A | null,
    add: Aggregator<K, V, A>,
    merge: Merger<K, A>,
    options: WindowedOptions<K, A> & { readonly valueSerde: Serde<A> },
  ): KTable<Windowed<K>, A>
  aggregate<A>(
    this: SerdeMissing<'aggregate needs the serde of its result: give it { valueSerde }'>,
    initialise: () => A | null,
    add: Aggregator<K, V, A>,
    merge: Merger<K, A>,
    options?: WindowedOptions<K, A>,
  ): KTable<Windowed<K>, A>
  aggregate(
    this: unknown,
    initialise: () => unknown,
    add: Aggregator<K, V, unknown>,
    merge: Merger<K, unknown>,
    options: WindowedOptions<unknown, unknown> = {},
  ): unknown {
    const self = this as SessionWindowedKStream<K, V, G>
    callable(initialise, options.name ?? 'aggregate', 'the initialiser')
    callable(add, options.name ?? 'aggregate', 'the aggregator')
    callable(merge, options.name ?? 'aggregate', 'the merger')
    return aggregateWindows(self[core], {
      prefix: 'KSTREAM-AGGREGATE-',
      operator: 'aggregate',
      aggregation: aggregating(initialise, add, undefined, merge),
      valueSerde: null,
      windows: self.#windows,
      emission: self.#emission,
      options,
    })
  }
}
