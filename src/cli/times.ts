/** Times as people give them on a command line. */
import { durationMs } from '../base/duration.ts'
import { UsageError } from './exit.ts'

/** `2026-01-31T12:00` (UTC unless it has an offset), or `10m` for ten minutes ago. */
export function timeOf(text: string, what: string, now: number): number {
  if (/^\d+(\.\d+)?(ms|s|m|h|d)$/.test(text)) return now - durationMs(text as '1s', what)
  const iso = /^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:?\d{2})?)?$/.exec(text)
  if (iso !== null) {
    const zoned = iso[1] === undefined ? `${text}T00:00Z` : iso[4] === undefined ? `${text}Z` : text
    const at = Date.parse(zoned.replace(' ', 'T'))
    if (Number.isSafeInteger(at)) return at
  }
  throw new UsageError(`${what}: ${text} is not a time; give 2026-01-31T12:00, or 10m for ten minutes ago`)
}
