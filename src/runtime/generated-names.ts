/**
 * Stores and internal topics whose names are numbered by Kafka Streams' rule: an operator added before them renames
 * them, and the state stays behind under the old name.
 */
import { StreamsError } from '../base/errors.ts'
import type { TopologyGraph } from '../topology/topology.ts'

const generated = /\bK(STREAM|TABLE)-[A-Z-]+-\d{10}\b/

/** Kept state and topics only: what is in memory without a changelog has no name outside. */
export function generatedNames({ stores, internalTopics }: TopologyGraph): readonly string[] {
  const kept = [...stores.values()].filter(({ changelog }) => changelog !== null).map(({ name }) => name)
  const found = [...kept, ...internalTopics.keys()].filter((name) => generated.test(name))
  return [...new Set(found)]
}

export function refuseGeneratedNames(graph: TopologyGraph): void {
  const names = generatedNames(graph)
  if (names.length === 0) return
  throw new StreamsError(
    'TOPOLOGY_INVALID',
    `requireNames: these stores and internal topics have generated names: ${names.join(', ')}. Give each operator of them { as } or { name }, or take requireNames off`,
    { config: 'requireNames' },
  )
}
