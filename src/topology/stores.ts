/** Stores that processors ask for by name: `stores.keyValue('seen', { keySerde, valueSerde })`. */
import { type Duration, durationMs } from '../base/duration.ts'
import { StreamsError } from '../base/errors.ts'
import type { Serde } from '../serde/serde.ts'
import { validName } from './graph-builder.ts'
import type { KeyValueStore } from './processor.ts'
import type {
  KeyValueStoreSpec,
  SessionStoreSpec,
  StoreSpecBase,
  VersionedStoreSpec,
  WindowStoreSpec,
} from './store-spec.ts'

const segmentIntervalMinMs = 60_000

export function segmentIntervalFor(retentionMs: number): number {
  return Math.max(Math.floor(retentionMs / 2), segmentIntervalMinMs)
}

export type StoreOptions<K, V> = {
  readonly keySerde: Serde<K>
  readonly valueSerde: Serde<V>
  /** 'persistent' (default) is on disk, 'memory' lives in memory; both are restored from their changelog. */
  readonly engine?: StoreSpecBase['engine']
  /** false: not logged, and lost with its task. An object: settings of the changelog topic. */
  readonly logging?: boolean | Readonly<Record<string, string>>
  /** Changes are held in the application's cache. Off by default for stores of processors. */
  readonly caching?: boolean
}

/** Values with the headers that they were put with: `{ value, timestamp, headers }`, of sessions `{ value, headers }`. */
type KeepsHeaders = { readonly headers?: boolean }

export type WindowStoreOptions<K, V> = StoreOptions<K, V> & {
  readonly retention: Duration
  readonly windowSize: Duration
  /** Several values for the same key and time. */
  readonly retainDuplicates?: boolean
}

export type Changelog = StoreSpecBase['changelog']

export function changelogFor(logging: boolean | Readonly<Record<string, string>> | undefined): Changelog {
  if (logging === false) return null
  return { sourceTopic: null, configs: typeof logging === 'object' ? logging : {} }
}

/** A topic that others write serves as the changelog. */
export function changelogOf(sourceTopic: string): Changelog {
  return { sourceTopic, configs: {} }
}

function base<K, V>(name: string, options: StoreOptions<K, V>): StoreSpecBase {
  return {
    name: validName(name, 'store'),
    engine: options.engine ?? 'persistent',
    keySerde: options.keySerde as Serde<unknown>,
    valueSerde: options.valueSerde as Serde<unknown>,
    changelog: changelogFor(options.logging),
    cached: options.caching ?? false,
  }
}

function kept({ headers }: KeepsHeaders): Pick<StoreSpecBase, 'keepsHeaders'> {
  return headers === true ? { keepsHeaders: true } : {}
}

function positive(duration: Duration, what: string): number {
  const ms = durationMs(duration, what)
  if (ms <= 0) throw new StreamsError('TOPOLOGY_INVALID', `${what} must be more than 0, but is ${ms} ms`)
  return ms
}

function windows(
  retention: Duration,
  windowSize: Duration,
  name: string,
): { retentionMs: number; windowSizeMs: number } {
  const retentionMs = positive(retention, `store ${name}: retention`)
  const windowSizeMs = durationMs(windowSize, `store ${name}: windowSize`)
  if (windowSizeMs < 0)
    throw new StreamsError('TOPOLOGY_INVALID', `store ${name}: windowSize must not be negative`)
  if (retentionMs < windowSizeMs) {
    throw new StreamsError(
      'TOPOLOGY_INVALID',
      `store ${name}: retention (${retentionMs} ms) must not be less than windowSize (${windowSizeMs} ms)`,
    )
  }
  return { retentionMs, windowSizeMs }
}

export const stores = {
  /** Keys and values. */
  keyValue<K, V>(name: string, options: StoreOptions<K, V>): KeyValueStoreSpec {
    return { kind: 'key-value', timestamped: false, ...base(name, options) }
  },

  /** Keys and values with their timestamps. */
  timestampedKeyValue<K, V>(name: string, options: StoreOptions<K, V> & KeepsHeaders): KeyValueStoreSpec {
    return { kind: 'key-value', timestamped: true, ...base(name, options), ...kept(options) }
  },

  /** In memory, with so many entries at most: the least recently used goes, for good. */
  lru<K, V>(
    name: string,
    entriesMax: number,
    options: Omit<StoreOptions<K, V>, 'engine'>,
  ): KeyValueStoreSpec {
    if (!Number.isSafeInteger(entriesMax) || entriesMax < 1) {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        `store ${name}: entriesMax must be a whole number of at least 1`,
      )
    }
    return {
      kind: 'key-value',
      timestamped: false,
      entriesMax,
      ...base(name, { ...options, engine: 'memory' }),
    }
  },

  /** Values with their history: each is valid from its timestamp on, until the next. */
  versioned<K, V>(
    name: string,
    options: Omit<StoreOptions<K, V>, 'caching'> & {
      readonly historyRetention: Duration
      readonly segmentInterval?: Duration
    },
  ): VersionedStoreSpec {
    const historyRetentionMs = durationMs(options.historyRetention, `store ${name}: historyRetention`)
    if (historyRetentionMs < 0) {
      throw new StreamsError('TOPOLOGY_INVALID', `store ${name}: historyRetention must not be negative`)
    }
    return {
      kind: 'versioned',
      historyRetentionMs,
      segmentIntervalMs:
        options.segmentInterval === undefined
          ? versionedSegmentInterval(historyRetentionMs)
          : positive(options.segmentInterval, `store ${name}: segmentInterval`),
      ...base(name, options),
    }
  },

  window<K, V>(name: string, options: WindowStoreOptions<K, V>): WindowStoreSpec {
    const { retentionMs, windowSizeMs } = windows(options.retention, options.windowSize, name)
    return {
      kind: 'window',
      timestamped: false,
      windowSizeMs,
      retentionMs,
      segmentIntervalMs: segmentIntervalFor(retentionMs),
      retainDuplicates: options.retainDuplicates ?? false,
      emitOnClose: false,
      ...base(name, options),
    }
  },

  timestampedWindow<K, V>(name: string, options: WindowStoreOptions<K, V> & KeepsHeaders): WindowStoreSpec {
    if (options.headers === true && options.retainDuplicates === true) {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        `store ${name}: headers are kept of one value per key and start; leave out headers or retainDuplicates`,
      )
    }
    return { ...stores.window(name, options), timestamped: true, ...kept(options) }
  },

  session<K, V>(
    name: string,
    options: StoreOptions<K, V> & KeepsHeaders & { readonly retention: Duration },
  ): SessionStoreSpec {
    const retentionMs = positive(options.retention, `store ${name}: retention`)
    return {
      kind: 'session',
      retentionMs,
      segmentIntervalMs: segmentIntervalFor(retentionMs),
      emitOnClose: false,
      ...base(name, options),
      ...kept(options),
    }
  },

  /**
   * A store of your own: what processors get is what `open` makes of the entries, once per task. The entries are kept,
   * logged, committed, rolled back and restored as those of any store; what `open` holds beside them is made from them
   * anew whenever the task is opened.
   */
  custom<K, V>(
    name: string,
    options: Omit<StoreOptions<K, V>, 'caching'> & { open(entries: KeyValueStore<K, V>): unknown },
  ): KeyValueStoreSpec {
    const open: unknown = options?.open
    if (typeof open !== 'function') {
      throw new StreamsError(
        'TOPOLOGY_INVALID',
        `store ${name}: open must be a function of the store's entries: stores.custom(name, { keySerde, valueSerde, open: (entries) => … })`,
      )
    }
    return {
      kind: 'key-value',
      timestamped: false,
      open: open as NonNullable<KeyValueStoreSpec['open']>,
      ...base(name, options),
    }
  },
}

// So many parts of the history are a segment each, up to these lengths of history: few for a short one.
const versionedSegments: readonly {
  readonly historyMs: number
  readonly parts: number
  readonly minMs: number
}[] = [
  { historyMs: 60_000, parts: 3, minMs: 2_000 },
  { historyMs: 300_000, parts: 5, minMs: 20_000 },
  { historyMs: 3_600_000, parts: 12, minMs: 60_000 },
  { historyMs: Number.POSITIVE_INFINITY, parts: 24, minMs: 300_000 },
]

export function versionedSegmentInterval(historyRetentionMs: number): number {
  for (const { historyMs, parts, minMs } of versionedSegments) {
    if (historyRetentionMs <= historyMs) return Math.max(Math.floor(historyRetentionMs / parts), minMs)
  }
  return segmentIntervalMinMs
}
