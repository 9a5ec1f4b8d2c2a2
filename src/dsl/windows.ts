/** The windows of the DSL: `tumbling('10s', { grace: '1s' })`. Times are milliseconds or text such as '10s'. */
import { type Duration, durationMs } from '../base/duration.ts'
import { StreamsError } from '../base/errors.ts'
import { endOfTime } from '../serde/windowed.ts'
import type {
  CustomWindowsSpec,
  JoinWindowsSpec,
  SessionWindowsSpec,
  SlidingWindowsSpec,
  TimeWindowsSpec,
  UnlimitedWindowsSpec,
  WindowsSpec,
} from '../topology/windows.ts'

export type GraceOption = {
  /** How late a record may come after its window's end and still count. Default 0. */
  readonly grace?: Duration
}

function wrong(message: string): StreamsError {
  return new StreamsError('TOPOLOGY_INVALID', message)
}

function positive(duration: Duration, what: string): number {
  const ms = durationMs(duration, what)
  if (ms <= 0) throw wrong(`${what} must be more than 0, but is ${ms} ms`)
  return ms
}

function notNegative(duration: Duration | undefined, what: string): number {
  const ms = duration === undefined ? 0 : durationMs(duration, what)
  if (ms < 0) throw wrong(`${what} must not be negative, but is ${ms} ms`)
  return ms
}

/** Windows of one size, one after another: [0, size), [size, 2 size)… */
export function tumbling(size: Duration, options: GraceOption = {}): TimeWindowsSpec {
  const sizeMs = positive(size, 'tumbling: size')
  return { kind: 'time', sizeMs, advanceMs: sizeMs, graceMs: notNegative(options.grace, 'tumbling: grace') }
}

/** Windows of one size, a new one at each `advance`: they overlap. */
export function hopping(
  size: Duration,
  options: GraceOption & { readonly advance: Duration },
): TimeWindowsSpec {
  const sizeMs = positive(size, 'hopping: size')
  const advanceMs = positive(options.advance, 'hopping: advance')
  if (advanceMs > sizeMs) {
    throw wrong(
      `hopping: advance (${advanceMs} ms) must not be more than size (${sizeMs} ms): records would be left out`,
    )
  }
  return { kind: 'time', sizeMs, advanceMs, graceMs: notNegative(options.grace, 'hopping: grace') }
}

/** A window for each pair of records not farther apart than this: both ends belong to it. */
export function sliding(difference: Duration, options: GraceOption = {}): SlidingWindowsSpec {
  return {
    kind: 'sliding',
    differenceMs: notNegative(difference, 'sliding: difference'),
    graceMs: notNegative(options.grace, 'sliding: grace'),
  }
}

/** Windows of activity: they end after so long without a record, and grow together when one comes between them. */
export function session(gap: Duration, options: GraceOption = {}): SessionWindowsSpec {
  return {
    kind: 'session',
    gapMs: positive(gap, 'session: gap'),
    graceMs: notNegative(options.grace, 'session: grace'),
  }
}

/** One window that never ends. Records before `start` belong to none. */
export function unlimited(options: { readonly start?: number } = {}): UnlimitedWindowsSpec {
  const startMs = options.start ?? 0
  if (!Number.isSafeInteger(startMs) || startMs < 0) {
    throw wrong(`unlimited: start must be a time in milliseconds of at least 0, but is ${startMs}`)
  }
  return { kind: 'unlimited', startMs }
}

/** Windows of your own: `windowsFor` gives, for a timestamp, each window's start and end (exclusive). */
export function customWindows(
  windowsFor: (timestamp: number) => ReadonlyMap<number, number>,
  options: GraceOption & { readonly size: Duration },
): CustomWindowsSpec {
  return {
    kind: 'custom',
    windowsFor,
    sizeMs: positive(options.size, 'customWindows: size'),
    graceMs: notNegative(options.grace, 'customWindows: grace'),
  }
}

export type Within = Duration | { readonly before: Duration; readonly after: Duration }

export type JoinWindowOptions = GraceOption & {
  /** How far apart two records may be. `before`, `after`: how far the right one may lie from the left one. */
  readonly within: Within
  /** As the deprecated `JoinWindows.of`: unmatched records are sent at once, and perhaps again with their match. */
  readonly eager?: boolean
}

const dayMs = 86_400_000

export function joinWindows(options: JoinWindowOptions, operator: string): JoinWindowsSpec {
  const { within } = options
  if (within === undefined) throw wrong(`${operator}: give { within }, how far apart two records may be`)
  const what = `${operator}: within`
  const both = typeof within === 'object'
  const beforeMs = both ? durationMs(within.before, `${what}.before`) : notNegative(within, what)
  const afterMs = both ? durationMs(within.after, `${what}.after`) : beforeMs
  if (beforeMs + afterMs < 0) {
    throw wrong(`${what}: before (${beforeMs} ms) and after (${afterMs} ms) leave a window of negative size`)
  }
  const eager = options.eager ?? false
  const graceMs =
    options.grace === undefined && eager
      ? Math.max(dayMs - beforeMs - afterMs, 0)
      : notNegative(options.grace, `${operator}: grace`)
  return { beforeMs, afterMs, graceMs, eager }
}

/** From a window's start to its end. For sessions: the gap. */
export function windowSizeMs(windows: WindowsSpec): number {
  switch (windows.kind) {
    case 'unlimited':
      return endOfTime
    case 'sliding':
      return windows.differenceMs
    case 'session':
      return windows.gapMs
    default:
      return windows.sizeMs
  }
}

/** How long a window must be kept. */
export function retentionMinMs(windows: WindowsSpec): number {
  switch (windows.kind) {
    case 'unlimited':
      return endOfTime
    case 'sliding':
      return 2 * windows.differenceMs + windows.graceMs
    default:
      return windowSizeMs(windows) + windows.graceMs
  }
}
