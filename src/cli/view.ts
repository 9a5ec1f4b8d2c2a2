/**
 * The terminal view of `dev`: what flows, and the latest result of each key and window. Drawn whole, a few times a
 * second; every line is cut to the width, so nothing wraps. `renderView` is a function of its data alone.
 */
import { Windowed } from '../serde/windowed.ts'
import type { GaugeSample } from './gauge.ts'
import { readable, readableTime, readableWindow } from './readable.ts'

export type Result = {
  readonly topic: string
  readonly key: unknown
  readonly value: unknown
  readonly timestamp: number
}

export type ViewData = {
  readonly applicationId: string
  readonly state: string
  readonly file: string
  readonly address: string
  readonly kafka: string
  readonly upMs: number
  readonly now: number
  readonly gauge: GaugeSample
  readonly results: readonly Result[]
  /** A mistake in the file, or what just happened. */
  readonly note: string
}

const bold = (text: string): string => `\u001b[1m${text}\u001b[22m`
const dim = (text: string): string => `\u001b[2m${text}\u001b[22m`
const green = (text: string): string => `\u001b[32m${text}\u001b[39m`
const yellow = (text: string): string => `\u001b[33m${text}\u001b[39m`
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the escapes of a terminal
const escapes = /\u001b\[[0-9;]*m/g

/** The latest result of each key, the newest windows first. */
export class LatestResults {
  readonly #latest = new Map<string, Result>()
  readonly #max: number

  constructor(max = 2_000) {
    this.#max = max
  }

  add(result: Result): void {
    const { topic, key } = result
    const id = `${topic}\u0000${key instanceof Windowed ? `${readable(key.key, 0)}\u0000${key.start}\u0000${key.end}` : readable(key, 0)}`
    // Deleted first, so that the map is in the order of the last change.
    this.#latest.delete(id)
    if (result.value !== null) this.#latest.set(id, result)
    if (this.#latest.size <= this.#max) return
    for (const oldest of this.#latest.keys()) {
      this.#latest.delete(oldest)
      return
    }
  }

  /** By topic; within it the newest window first, then by key; without windows the last change first. */
  list(): readonly Result[] {
    const all = [...this.#latest.values()].reverse()
    return all
      .map((result, index) => ({ result, index }))
      .sort((a, b) => {
        if (a.result.topic !== b.result.topic) return a.result.topic < b.result.topic ? -1 : 1
        if (a.result.key instanceof Windowed && b.result.key instanceof Windowed) {
          if (a.result.key.start !== b.result.key.start) return b.result.key.start - a.result.key.start
          const [left, right] = [readable(a.result.key.key, 0), readable(b.result.key.key, 0)]
          if (left !== right) return left < right ? -1 : 1
        }
        return a.index - b.index
      })
      .map(({ result }) => result)
  }
}

/** With the reasons: a number alone looks like a mistake, where late records are the way of the world. */
export function droppedText({ dropped, dropReasons }: GaugeSample): string {
  return dropped === 0 ? '0' : `${dropped} (${dropReasons.join(', ')})`
}

export function renderView(data: ViewData, columns: number, rows: number): string {
  const { gauge } = data
  const state = data.state === 'running' ? green(data.state) : yellow(data.state)
  const rate = (value: number): string =>
    value >= 100 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(2)))
  const head = [
    `${bold('millrace')} ${bold(data.applicationId)}  ${state}  ${dim(`up ${readableSpan(data.upMs)}`)}`,
    `${dim('look at')} ${data.address}  ${dim('Kafka')} ${data.kafka}  ${dim('topology')} ${data.file}`,
    '',
    `${dim('in')} ${bold(`${rate(gauge.inputPerSecond)}/s`)} ${spark(gauge.history)}  ${dim('out')} ${rate(gauge.outputPerSecond)}/s  ${dim('lag')} ${gauge.lag}  ${dim('commits')} ${rate(gauge.commitsPerSecond)}/s${gauge.commitMs > 0 ? dim(` of ${rate(gauge.commitMs)} ms`) : ''}  ${dim('dropped')} ${droppedText(gauge)}`,
    '',
  ]
  const foot = [
    '',
    data.note === '' ? dim(`Ctrl-C ends it; change ${data.file} and it runs the change`) : yellow(data.note),
  ]
  const room = Math.max(3, rows - head.length - foot.length - 1)
  const body = resultLines(data, room)
  return [...head, ...body, ...foot].map((line) => cut(line, columns)).join('\n')
}

function resultLines(data: ViewData, room: number): string[] {
  const topics = [...new Set(data.results.map(({ topic }) => topic))]
  if (topics.length === 0) return [dim('no results yet')]
  const share = Math.max(2, Math.floor(room / topics.length) - 2)
  const lines: string[] = []
  for (const topic of topics) {
    const results = data.results.filter((result) => result.topic === topic)
    lines.push(
      `${bold(topic)}  ${dim(`latest ${results[0]?.key instanceof Windowed ? 'per window and key' : 'per key'}`)}`,
    )
    const shown = results.slice(0, results.length > share ? share - 1 : share)
    const keyWidth = Math.min(32, Math.max(...shown.map(({ key }) => keyText(key, data.now).length)))
    for (const { key, value, timestamp } of shown) {
      const when = key instanceof Windowed ? readableWindow(key, data.now) : readableTime(timestamp, data.now)
      lines.push(`  ${dim(when)}  ${keyText(key, data.now).padEnd(keyWidth)}  ${readable(value, data.now)}`)
    }
    if (results.length > shown.length) lines.push(dim(`  and ${results.length - shown.length} more`))
    lines.push('')
  }
  return lines.slice(0, room)
}

function keyText(key: unknown, now: number): string {
  return key instanceof Windowed ? readable(key.key, now) : key === null ? '' : readable(key, now)
}

const blocks = ' ▁▂▃▄▅▆▇█'

export function spark(values: readonly number[]): string {
  const max = Math.max(...values)
  if (max <= 0) return ''
  const known = values.slice(values.findIndex((value) => value > 0))
  return known.map((value) => blocks[value === 0 ? 0 : Math.max(1, Math.round((value / max) * 8))]).join('')
}

export function readableSpan(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  const minutes = Math.floor(seconds / 60)
  const hours = Math.floor(minutes / 60)
  if (hours > 0) return `${hours} h ${minutes % 60} min`
  return minutes > 0 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`
}

/** Cuts to a width that counts no escapes, and ends them. */
export function cut(line: string, columns: number): string {
  if (line.replace(escapes, '').length <= columns) return line
  let shown = ''
  let width = 0
  let at = 0
  for (const match of line.matchAll(escapes)) {
    const text = line.slice(at, match.index)
    const rest = columns - 1 - width
    if (text.length > rest) break
    shown += text + match[0]
    width += text.length
    at = match.index + match[0].length
  }
  return `${shown}${line
    .slice(at)
    .replace(escapes, '')
    .slice(0, Math.max(0, columns - 1 - width))}…\u001b[0m`
}

/** On a terminal: the view over the whole screen, and what was there before when it ends. */
export const screen = {
  enter: '\u001b[?1049h\u001b[?25l',
  leave: '\u001b[?25h\u001b[?1049l',
  frame: (text: string): string => `\u001b[H${text.replaceAll('\n', '\u001b[K\r\n')}\u001b[K\u001b[J`,
} as const
