/** `millrace config`: every setting, its value and where it came from. */
import { type Origin, redacted } from '../../base/options.ts'
import { options } from '../../runtime/options.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import type { Io } from '../io.ts'
import { resolveSettings } from '../settings.ts'
import { loadTopologyFile } from '../topology-file.ts'

export async function run(
  io: Io,
  given: Readonly<Record<string, unknown>>,
  file?: string,
): Promise<ExitCode> {
  const topology = file === undefined ? undefined : await loadTopologyFile(io.cwd, file)
  const { values, origins } = await resolveSettings(io, {
    ...(topology === undefined ? {} : { topology }),
    configFile: given['config'] as string | undefined,
    flags: given,
  })
  const rows = Object.entries(options.settings).map(([name, setting]) => {
    const { origin, where } = (origins as Readonly<Record<string, { origin: Origin; where: string }>>)[
      name
    ] ?? { origin: 'default', where: '' }
    const value = (values as Readonly<Record<string, unknown>>)[name]
    const shown = redacted(name, setting, value)
    return {
      name,
      value: shown,
      text: typeof shown === 'string' ? shown : setting.check.print(shown),
      origin,
      where,
    }
  })
  const wanted = given['changed'] === true ? rows.filter(({ origin }) => origin !== 'default') : rows
  if (given['json'] === true) {
    const all = wanted.map(({ name, value, origin, where }) => [
      name,
      { value, origin, ...(where === '' ? {} : { where }) },
    ])
    io.out(`${JSON.stringify(Object.fromEntries(all), null, 2)}\n`)
    return exitCodes.done
  }
  const nameWidth = Math.max(...wanted.map(({ name }) => name.length), 0)
  const textWidth = Math.min(48, Math.max(...wanted.map(({ text }) => text.length), 0))
  for (const { name, text, origin, where } of wanted) {
    const from = where === '' ? origin : `${origin}: ${where}`
    io.out(`${name.padEnd(nameWidth)}  ${text.padEnd(textWidth)}  ${from}\n`)
  }
  return exitCodes.done
}
