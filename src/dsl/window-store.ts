/** The store of a windowed aggregation: how long it keeps what, by the windows. */
import { durationMs } from '../base/duration.ts'
import type { Serde } from '../serde/serde.ts'
import { invalid } from '../topology/graph-builder.ts'
import type { Emission } from '../topology/node.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { segmentIntervalFor } from '../topology/stores.ts'
import type { WindowsSpec } from '../topology/windows.ts'
import { type BuilderCore, storeBase } from './core.ts'
import type { WindowedOptions } from './types.ts'
import { retentionMinMs, windowSizeMs } from './windows.ts'

export function windowStore(
  builder: BuilderCore,
  name: string,
  options: WindowedOptions<unknown, unknown>,
  keySerde: Serde<unknown>,
  valueSerde: Serde<unknown>,
  windows: WindowsSpec,
  emission: Emission,
): StoreSpec {
  const leastMs = retentionMinMs(windows)
  const retentionMs =
    options.retention === undefined ? leastMs : durationMs(options.retention, `store ${name}: retention`)
  if (retentionMs < leastMs) {
    throw invalid(
      `store ${name}: retention (${retentionMs} ms) must not be less than its windows need with their grace (${leastMs} ms)`,
      name,
    )
  }
  const emitOnClose = emission === 'on-close'
  const base = storeBase(builder, name, options, keySerde, valueSerde)
  const common = {
    ...base,
    // What goes on is decided by the windows' end, so holding changes back would gain nothing.
    cached: base.cached && !emitOnClose,
    retentionMs,
    segmentIntervalMs: segmentIntervalFor(retentionMs),
    emitOnClose,
  }
  if (windows.kind === 'session') return { kind: 'session', ...common }
  return {
    kind: 'window',
    ...common,
    timestamped: true,
    windowSizeMs: windowSizeMs(windows),
    retainDuplicates: false,
    ...(windows.kind === 'time' && { advanceMs: windows.advanceMs }),
  }
}
