/** `millrace run`: a topology file as a service. */
import { watch } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { standardLogger } from '../../base/logger.ts'
import { changedSettings } from '../../base/options.ts'
import { allHooks, type Hooks } from '../../runtime/hooks.ts'
import { type Config, type EngineOptions, options } from '../../runtime/options.ts'
import { Millrace } from '../../service/millrace.ts'
import { type ExitCode, exitCodes } from '../exit.ts'
import type { Io } from '../io.ts'
import { RestoreBar } from '../restore-bar.ts'
import { resolveSettings, type SettingSources } from '../settings.ts'
import { untilSignal } from '../signals.ts'
import { loadTopologyFile } from '../topology-file.ts'

export async function run(io: Io, given: Readonly<Record<string, unknown>>, file: string): Promise<ExitCode> {
  const topology = await loadTopologyFile(io.cwd, file)
  const sources: SettingSources = {
    topology,
    configFile: given['config'] as string | undefined,
    flags: given,
  }
  const { values, configPath } = await resolveSettings(io, sources)
  const json = given['json'] === true
  const bar =
    io.errTerminal && !json && values.logger === null ? new RestoreBar((text) => io.err(text)) : null
  const hooks = [values.hooks, bar?.hooks].filter((one): one is Hooks => one !== null && one !== undefined)
  const application = new Millrace(values.threads > 1 ? topology.url : await topology.topology(values), {
    ...(values as unknown as Config),
    stateDir: resolve(io.cwd, values.stateDir),
    // What is below the application's level, it leaves out itself.
    ...(json && values.logger === null ? { logger: standardLogger({ level: 'debug' }, true) } : {}),
    ...(hooks.length === 0 ? {} : { hooks: allHooks(hooks) }),
  })
  const ended = new Promise<void>((_, reject) => {
    application.onState((state) => {
      if (state === 'error') reject(application.error)
    })
  })
  // Whoever waits for it does so only once the start has succeeded.
  ended.catch(() => {})
  const stopWatching =
    configPath === null
      ? () => {}
      : watchSettings(configPath, () => takeOver(io, sources, application, values))
  try {
    // A signal also ends a start that takes long: a restore, a broker that isn't there.
    const started = application.start().then(() => ended)
    const signal = await untilSignal(io, started)
    application.logger.info(
      `${signal ?? 'the end'}: finishing, at most ${values.closeTimeoutMs} ms; a second signal ends at once`,
    )
    return exitCodes.done
  } finally {
    stopWatching()
    bar?.clear()
    await application.close()
  }
}

/** What can change while running does; of the rest is said that it waits for a restart. */
async function takeOver(
  io: Io,
  sources: SettingSources,
  application: Millrace,
  running: EngineOptions,
): Promise<void> {
  const { logger } = application
  let next: EngineOptions
  try {
    next = (await resolveSettings(io, sources)).values
  } catch (error) {
    logger.error('the configuration file has mistakes and was not taken over', { error })
    return
  }
  const before = { ...running, logLevel: application.logLevel }
  const { live, restart } = changedSettings(options, before, next)
  if (live.includes('logLevel')) application.logLevel = next.logLevel
  if (live.length > 0) logger.info(`taken over from the configuration file: ${live.join(', ')}`)
  if (restart.length > 0)
    logger.warn(`changed in the configuration file, taken over at the next start: ${restart.join(', ')}`)
}

function watchSettings(path: string, changed: () => void): () => void {
  let timer: NodeJS.Timeout | undefined
  // The folder, because editors replace the file, and because mounted configuration is replaced as a whole.
  const watcher = watch(dirname(path), { persistent: false }, (_, name) => {
    if (name !== null && name !== basename(path) && !name.startsWith('..')) return
    clearTimeout(timer)
    timer = setTimeout(changed, 100)
    timer.unref()
  })
  return () => {
    clearTimeout(timer)
    watcher.close()
  }
}
