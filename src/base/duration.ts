/** Durations as people write them: a number of milliseconds, or '250ms', '10s', '5m', '4h', '1d'. */
import { StreamsError } from './errors.ts'

export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

export function durationMs(duration: Duration, what: string): number {
  if (typeof duration === 'number') {
    if (Number.isSafeInteger(duration)) return duration
  } else if (typeof duration === 'string') {
    const match = /^(-?\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(duration)
    if (match !== null) {
      const ms = Number(match[1]) * unitMs[match[2] as keyof typeof unitMs]
      if (Number.isSafeInteger(ms)) return ms
    }
  }
  throw new StreamsError(
    'CONFIG_INVALID',
    `${what}: ${JSON.stringify(duration) ?? String(duration)} is not a duration; give whole milliseconds or text such as '250ms', '10s', '5m', '4h', '1d'`,
  )
}
