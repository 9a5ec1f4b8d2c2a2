/** Which topics an application reads, and how many partitions they have, now. */
import { StreamsError } from '../base/errors.ts'
import type { Admin, TopicDescription } from '../kafka/client.ts'
import type { SourceNode } from '../topology/node.ts'
import type { Subtopology, TopologyGraph } from '../topology/topology.ts'

/** The name in Kafka of an internal topic. */
export function prefixed(applicationId: string, name: string): string {
  return `${applicationId}-${name}`
}

/** The source nodes of tasks: those of global stores are read by everyone. */
export function taskSources(graph: TopologyGraph): readonly SourceNode[] {
  return graph.subtopologies.flatMap((subtopology) => sourcesOf(graph, subtopology))
}

export function sourcesOf(graph: TopologyGraph, subtopology: Subtopology): readonly SourceNode[] {
  return subtopology.sources.flatMap((name) => {
    const node = graph.nodes.get(name)
    return node?.kind === 'source' ? [node] : []
  })
}

/** The topics of a source: as given, with the prefix where they are ours, or all that match its pattern. */
export function topicsOf(
  source: SourceNode,
  applicationId: string,
  existing: Iterable<string>,
): readonly string[] {
  const { pattern } = source
  if (pattern !== null) {
    const whole = new RegExp(`^(?:${pattern.source})$`, pattern.flags.replace(/[gy]/g, ''))
    // What we make for ourselves is never input, whatever the pattern says.
    return [...existing].filter((topic) => whole.test(topic) && !isOurs(topic, applicationId)).sort()
  }
  return source.internal ? source.topics.map((topic) => prefixed(applicationId, topic)) : source.topics
}

const ourEndings = [
  '-changelog',
  '-repartition',
  '-subscription-registration-topic',
  '-subscription-response-topic',
  '-millrace-topology',
]

function isOurs(topic: string, applicationId: string): boolean {
  return topic.startsWith(`${applicationId}-`) && ourEndings.some((ending) => topic.endsWith(ending))
}

/** Partitions by topic, of those that exist. */
export type PartitionCounts = ReadonlyMap<string, number>

export async function partitionCounts(
  admin: Admin,
  graph: TopologyGraph,
  applicationId: string,
): Promise<PartitionCounts> {
  const sources = taskSources(graph)
  const all = sources.some((source) => source.pattern !== null)
  const names = new Set(sources.flatMap((source) => topicsOf(source, applicationId, [])))
  const found = await admin.topics(all ? undefined : [...names])
  return new Map(
    found
      .filter((topic: TopicDescription) => !topic.internal)
      .map(({ name, partitions }) => [name, partitions.length]),
  )
}

/** A topic that the topology reads and that isn't there: named, with the command that makes it. */
export function missingTopic(topic: string, source: string): StreamsError {
  return new StreamsError(
    'TOPIC_MISSING',
    `source ${source}: topic ${topic} does not exist; create it first: kafka-topics.sh --bootstrap-server … --create --topic ${topic} --partitions 4`,
    { topic, node: source },
  )
}
