/** What an application has in Kafka and on disk beside its input and output: what reset and reprocess take away. */
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { KafkaClient } from '../kafka/index.ts'
import { prefixed } from '../runtime/source-topics.ts'
import type { TopologyGraph } from '../topology/topology.ts'
import { FailedError } from './exit.ts'

/** Names as the engine gives them; only those of this topology. */
export function internalTopicsOf(graph: TopologyGraph, applicationId: string): string[] {
  const topics = [...graph.internalTopics.keys()].map((name) => prefixed(applicationId, name))
  for (const { name, changelog } of graph.stores.values()) {
    if (changelog !== null && changelog.sourceTopic === null)
      topics.push(prefixed(applicationId, `${name}-changelog`))
  }
  topics.push(prefixed(applicationId, 'millrace-topology'))
  return topics
}

/** Without a topology: by their endings. Another application whose id begins with this one's and a dash looks the same. */
export function internalTopicsByName(all: readonly string[], applicationId: string): string[] {
  const endings =
    /-(changelog|repartition|subscription-registration-topic|subscription-response-topic|millrace-topology)$/
  return all.filter((topic) => topic.startsWith(`${applicationId}-`) && endings.test(topic))
}

/** Input topics that exist, patterns resolved. */
export function inputTopicsOf(graph: TopologyGraph, existing: readonly string[]): string[] {
  const topics = new Set<string>()
  for (const node of graph.nodes.values()) {
    if (node.kind !== 'source' || node.internal) continue
    const { pattern } = node
    if (pattern !== null) for (const topic of existing) if (pattern.test(topic)) topics.add(topic)
    for (const topic of node.topics) topics.add(topic)
  }
  return [...topics].sort()
}

/** Topics of fixed name that are written for others. */
export function outputTopicsOf(graph: TopologyGraph): string[] {
  const topics = new Set<string>()
  for (const node of graph.nodes.values()) {
    if (node.kind === 'sink' && !node.internal && typeof node.topic === 'string') topics.add(node.topic)
  }
  return [...topics].sort()
}

export function stateFolder(cwd: string, stateDir: string, applicationId: string): string {
  return join(resolve(cwd, stateDir), applicationId)
}

/** An application that runs would write again what is taken away. */
export async function refuseWhileRunning(client: KafkaClient, applicationId: string): Promise<void> {
  const groups = await client.admin.groups()
  if (!groups.some(({ groupId }) => groupId === applicationId)) return
  const { members } = await client.admin.describeGroup(applicationId)
  if (members.length === 0) return
  const hosts = [...new Set(members.map(({ clientId, host }) => `${clientId} on ${host.replace(/^\//, '')}`))]
  throw new FailedError(
    `${applicationId} still runs: ${members.length} member${members.length === 1 ? '' : 's'} (${hosts.slice(0, 3).join(', ')}); stop all copies first, or wait until their session has ended`,
  )
}

export async function removeStateFolder(folder: string): Promise<boolean> {
  if (!existsSync(folder)) return false
  await rm(folder, { recursive: true, force: true })
  return true
}

/** True only for a plain yes. */
export async function agreed(
  io: { ask(question: string): Promise<string | null> },
  given: Readonly<Record<string, unknown>>,
  question: string,
): Promise<boolean> {
  if (given['yes'] === true) return true
  const answer = await io.ask(`${question} [y/N] `)
  if (answer === null) throw new FailedError('nobody is there to ask; add --yes to go ahead')
  return /^y(es)?$/i.test(answer.trim())
}
