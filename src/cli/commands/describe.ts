/** `millrace describe`: the graph, without running anything. */
import { resolveOptions } from '../../base/options.ts'
import { options } from '../../runtime/options.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import type { Io } from '../io.ts'
import { loadTopologyFile } from '../topology-file.ts'

export async function run(io: Io, given: Readonly<Record<string, unknown>>, file: string): Promise<ExitCode> {
  const loaded = await loadTopologyFile(io.cwd, file)
  // A function may look at the settings; those that only a run needs are not asked for.
  const settings = resolveOptions(options, [
    { origin: 'topology', values: { applicationId: 'describe', brokers: ['127.0.0.1:9092'] } },
    { origin: 'topology', values: loaded.config, where: () => loaded.path },
  ])
  const topology = await loaded.topology(settings.values)
  const format = given['json'] === true ? 'json' : given['format']
  if (format === 'json') io.out(`${JSON.stringify(topology.toJSON(), null, 2)}\n`)
  else if (format === 'mermaid') io.out(ended(topology.toMermaid()))
  else io.out(ended(topology.describe()))
  return exitCodes.done
}

const ended = (text: string): string => (text.endsWith('\n') ? text : `${text}\n`)
