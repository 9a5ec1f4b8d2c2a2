/** `millrace tail`: the records of a topic as people read them. */
import { type Duration, durationMs } from '../../base/duration.ts'
import type { KafkaClient, OffsetSpec } from '../../kafka/index.ts'
import type { Serde } from '../../serde/serde.ts'
import { sessionWindowed, timeWindowed } from '../../serde/windowed.ts'
import { type ExitCode, exitCodes, UsageError } from '../exit.ts'
import type { Io } from '../io.ts'
import { connectFor } from '../kafka-access.ts'
import { decoded, plainly, readable, readableTime, serdeNamed } from '../readable.ts'
import { untilSignal } from '../signals.ts'
import { timeOf } from '../times.ts'
import { TopicReader } from '../topic-reader.ts'

type Given = Readonly<Record<string, unknown>>

export async function run(io: Io, given: Given, topic?: string): Promise<ExitCode> {
  const client = await connectFor(io, given)
  try {
    if (topic === undefined) await listTopics(io, given, client)
    else await tail(io, given, client, topic)
  } finally {
    await client.close()
  }
  return exitCodes.done
}

async function listTopics(io: Io, given: Given, client: KafkaClient): Promise<void> {
  const topics = (await client.admin.topics()).filter(({ internal }) => !internal)
  const sorted = topics
    .map(({ name, partitions }) => ({ name, partitions: partitions.length }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  if (given['json'] === true) {
    for (const each of sorted) io.out(`${JSON.stringify(each)}\n`)
    return
  }
  if (sorted.length === 0) io.out('there are no topics\n')
  const width = Math.max(...sorted.map(({ name }) => name.length), 0)
  for (const { name, partitions } of sorted)
    io.out(`${name.padEnd(width)}  ${partitions} partition${partitions === 1 ? '' : 's'}\n`)
}

async function tail(io: Io, given: Given, client: KafkaClient, topic: string): Promise<void> {
  const key = keySerde(String(given['key']), given['window'] as string | undefined)
  const value = serdeNamed(String(given['value']))
  const count = (given['count'] as number | undefined) ?? Number.POSITIVE_INFINITY
  let printed = 0
  let order: Promise<void> = Promise.resolve()
  let finish: () => void = () => {}
  let fail: (error: unknown) => void = () => {}
  const finished = new Promise<void>((resolve, reject) => {
    finish = resolve
    fail = reject
  })
  // Before the first line is printed: who reads it may send a signal before the next statement runs.
  const ended = untilSignal(io, finished)
  ended.catch(() => {})
  const reader = await TopicReader.open({
    client,
    topics: [topic],
    from: positionOf(String(given['from']), Date.now()),
    onError: fail,
    onRecord: ({ partition, offset, timestamp, headers, key: keyRange, value: valueRange }) => {
      const keyBytes = keyRange === null ? null : Buffer.from(keyRange)
      const valueBytes = valueRange === null ? null : Buffer.from(valueRange)
      order = order
        .then(async () => {
          if (printed >= count) return
          printed++
          const record = {
            partition,
            offset,
            timestamp,
            key: await decoded(key, keyBytes, topic, headers),
            value: await decoded(value, valueBytes, topic, headers),
            headers: Object.fromEntries(
              headers.map((header) => [header.key, header.value?.toString('utf8') ?? null]),
            ),
          }
          if (given['json'] === true) {
            io.out(`${JSON.stringify(record, plainly)}\n`)
          } else {
            const now = Date.now()
            const extra = headers.length === 0 ? '' : `  ${JSON.stringify(record.headers)}`
            io.out(
              `${readableTime(timestamp, now)}  ${partition}:${offset}  ${readable(record.key, now)} = ${readable(record.value, now, 2_000)}${extra}\n`,
            )
          }
          if (printed >= count) finish()
        })
        .catch(fail)
    },
  })
  try {
    if (given['follow'] === false) {
      // What was read by then is printed before the end.
      void reader.caughtUp.then(() => order).then(finish)
    }
    await ended
    await order
  } finally {
    await reader.close()
  }
}

function keySerde(name: string, window: string | undefined): Serde<unknown> {
  const inner = serdeNamed(name)
  if (window === undefined) return inner
  if (window === 'session') return sessionWindowed(inner) as Serde<unknown>
  return timeWindowed(inner, durationMs(window as Duration, '--window')) as Serde<unknown>
}

function positionOf(text: string, now: number): OffsetSpec | { readonly offset: number } {
  if (text === 'beginning' || text === 'earliest') return 'earliest'
  if (text === 'end' || text === 'latest') return 'latest'
  if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return { offset: Number(text) }
  try {
    return { timestamp: timeOf(text, '--from', now) }
  } catch {
    throw new UsageError(
      `--from: ${text} is none of 'beginning', 'end', an offset, or a time (2026-01-31T12:00, or 10m for ten minutes ago)`,
    )
  }
}
