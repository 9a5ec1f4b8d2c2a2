/** What a topology reads and writes, and what is asked before it is taken away: for reset and reprocess. */
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { TopologyGraph } from '../topology/topology.ts'
import { FailedError } from './exit.ts'

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
