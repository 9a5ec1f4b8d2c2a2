/** How fast the client alone is: systems/wire.ts as a process, and whether it read and wrote what it says. */
import { type Cluster, createTopic, deleteTopics, endsOf, sum } from './cluster.ts'
import type { Input } from './input.ts'
import type { Setting } from './moments.ts'
import type { Usage } from './process.ts'
import { readTopic } from './reader.ts'
import type { Passage, WireOptions } from './systems/wire.ts'
import { node, type SystemName } from './systems.ts'

export type Wired = Usage & { readonly produced: Passage; readonly fetched: Passage }

const timeoutMs = 180_000
const bytesOf = new Map<string, Promise<number>>()

export async function measureWire(
  cluster: Cluster,
  system: SystemName,
  setting: Setting,
  name: string,
  input: Input,
): Promise<Wired> {
  const { topic, partitions, records } = input
  const produces = Math.ceil(records / 4)
  let bytes = bytesOf.get(topic)
  if (bytes === undefined) bytesOf.set(topic, (bytes = valueBytes(cluster, input)))
  const due = await bytes
  const output = `${name}-out`
  await createTopic(cluster, output, partitions)
  const options: WireOptions = {
    client: system === 'kafkajs' ? 'kafkajs' : 'millrace',
    brokers: cluster.brokers,
    input: topic,
    output,
    partitions,
    records,
    produces,
  }
  const subject = node(setting.folder, 'wire', options, {})
  try {
    const produced = passage(await subject.said(/^PRODUCED (.*)/, timeoutMs))
    const fetched = passage(await subject.said(/^FETCHED (.*)/, timeoutMs))
    const usage = subject.usage
    const there = sum(await endsOf(cluster, output, partitions))
    if (there !== produces) throw new Error(`${system} produced ${there} records of ${produces}`)
    if (fetched.records !== records || fetched.bytes !== due)
      throw new Error(
        `${system} fetched ${fetched.records} records of ${records}, ${fetched.bytes} bytes of ${due}`,
      )
    return { ...usage, produced, fetched }
  } finally {
    await subject.kill()
    await deleteTopics(cluster, name, [output])
  }
}

function passage([, json]: RegExpExecArray): Passage {
  return JSON.parse(json ?? '{}') as Passage
}

async function valueBytes(cluster: Cluster, { topic, partitions }: Input): Promise<number> {
  let bytes = 0
  await readTopic(cluster, topic, await endsOf(cluster, topic, partitions), ({ valueStart, valueEnd }) => {
    bytes += valueEnd - valueStart
  })
  return bytes
}
