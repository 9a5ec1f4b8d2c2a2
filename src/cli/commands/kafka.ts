/** `millrace kafka`: the embedded Kafka alone. */
import { EmbeddedKafka } from '../../testing/embedded-kafka.ts'
import { type ExitCode, exitCodes, UsageError } from '../exit.ts'
import type { Io } from '../io.ts'
import { untilSignal } from '../signals.ts'

export async function run(io: Io, given: Readonly<Record<string, unknown>>): Promise<ExitCode> {
  const topics = Object.fromEntries((given['topic'] as readonly string[]).map(topicOf))
  const dir = given['dir'] as string | undefined
  // Before anything is printed: who reads it may send a signal before the next statement runs.
  const ended = untilSignal(io)
  const kafka = await EmbeddedKafka.start({
    port: given['port'] as number,
    topics,
    ...(dir === undefined ? {} : { dir }),
  })
  try {
    if (given['json'] === true) io.out(`${JSON.stringify({ address: kafka.address, dir: dir ?? null })}\n`)
    else
      io.out(
        `Kafka on ${kafka.address}, ${dir === undefined ? 'in memory' : `data in ${dir}`}; Ctrl-C ends it\n`,
      )
    await ended
  } finally {
    await kafka.stop()
  }
  return exitCodes.done
}

function topicOf(text: string): [string, number] {
  const [, name, partitions = '1'] = /^([A-Za-z0-9._-]{1,249})(?::(\d{1,5}))?$/.exec(text) ?? []
  if (name === undefined || Number(partitions) < 1) {
    throw new UsageError(`--topic ${text}: a name and a number of partitions are due, such as orders:4`)
  }
  return [name, Number(partitions)]
}
