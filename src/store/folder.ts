/**
 * A task's folder, `<stateDir>/<application>/<taskId>`:
 *   state.json   { format, application, engine }: who may open it, checked before any engine is
 *   lock         { pid, startedAt, host }: who has it open
 *   <engine>/    the engine's own files
 * One opener at a time: the engine's own lock decides, which the end of a process or a worker releases; the lock file
 * says who it is. What can't be opened is refused with the remedy, and nothing is deleted.
 */
import { mkdir, readdir, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { threadId } from 'node:worker_threads'
import { type Clock, systemClock } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import type { Engine } from './engine.ts'
import { type LevelName, loadLevel, openLevelEngine } from './level-engine.ts'

export type TaskFolder = {
  readonly path: string
  readonly engine: Engine
  close(): Promise<void>
}

export type FolderOptions = {
  readonly application: string
  readonly taskId: string
  readonly stateDir: string
  readonly engine?: LevelName
  readonly engineBytesMax?: number
  readonly logger?: Logger
}

type Manifest = { readonly format: number; readonly application: string; readonly engine: LevelName }
type Owner = { readonly pid: number; readonly startedAt: string | null; readonly host: string }

const manifestFile = 'state.json'
const lockFile = 'lock'
const engineBytesMaxDefault = 24 * 1024 * 1024

/** Folders open in this thread. */
const openHere = new Set<string>()
let saidFallback = false

export function taskFolder(stateDir: string, application: string, taskId: string): string {
  return resolve(stateDir, application, taskId)
}

export async function openFolder(options: FolderOptions, format: number): Promise<TaskFolder> {
  const { application, taskId, stateDir } = options
  const path = taskFolder(stateDir, application, taskId)
  const about = { task: taskId }
  if (openHere.has(path)) {
    throw new StreamsError(
      'STATE_LOCKED',
      `state folder ${path} is open already, in this very thread. Does another application with the same id run here? Give it its own stateDir`,
      about,
    )
  }
  openHere.add(path)
  try {
    await guardFiles(path, 'make', () => mkdir(path, { recursive: true }))
    const manifest = await readManifest(path)
    if (manifest !== null) checkManifest(manifest, options, path, format)
    const engineName = pickEngine(manifest, options, path)
    await claim(path, about)
    if (manifest === null) await writeManifest(path, { format, application, engine: engineName })
    const engine = await openEngine(engineName, options, path)
    return {
      path,
      engine,
      async close() {
        try {
          await engine.close()
          await unlink(join(path, lockFile)).catch(ignoreMissing)
        } finally {
          openHere.delete(path)
        }
      },
    }
  } catch (error) {
    openHere.delete(path)
    throw error
  }
}

async function openEngine(name: LevelName, options: FolderOptions, path: string): Promise<Engine> {
  const bytesMax = options.engineBytesMax ?? engineBytesMaxDefault
  try {
    return await openLevelEngine(name, { folder: join(path, name), bytesMax })
  } catch (error) {
    if (!(error instanceof StreamsError)) throw error
    if (error.code !== 'STATE_LOCKED') await unlink(join(path, lockFile)).catch(ignoreMissing)
    throw error
  }
}

// -------------------------------------------------------------------------------------------------- what it is

async function readManifest(path: string): Promise<Manifest | null> {
  let text: string
  try {
    text = await readFile(join(path, manifestFile), 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null
    throw fileError(path, 'read', error)
  }
  try {
    return JSON.parse(text) as Manifest
  } catch (error) {
    throw new StreamsError(
      'STATE_FOREIGN',
      `${join(path, manifestFile)} is not what this library writes. If the folder is this application's, delete it: its content is restored from Kafka`,
      { cause: error },
    )
  }
}

/** Whole or not at all: renamed into place. */
async function writeManifest(path: string, manifest: Manifest): Promise<void> {
  // Two threads may try the same folder: which of them gets it, the engine's lock decides later.
  const temporary = join(path, `${manifestFile}.${process.pid}-${threadId}.new`)
  await guardFiles(path, 'write', async () => {
    await writeFile(temporary, `${JSON.stringify(manifest)}\n`)
    await rename(temporary, join(path, manifestFile))
  })
}

function checkManifest(manifest: Manifest, options: FolderOptions, path: string, format: number): void {
  const about = { task: options.taskId }
  if (manifest.format > format) {
    throw new StreamsError(
      'STATE_FORMAT',
      `state folder ${path} has format ${manifest.format}; this version reads up to ${format}. Run the newer version, or delete the folder: its content is restored from Kafka`,
      about,
    )
  }
  if (manifest.application !== options.application) {
    throw new StreamsError(
      'STATE_FOREIGN',
      `state folder ${path} belongs to the application ${manifest.application}, not to ${options.application}. Give this one another stateDir, or delete the folder: its content is restored from Kafka`,
      about,
    )
  }
}

function pickEngine(manifest: Manifest | null, options: FolderOptions, path: string): LevelName {
  const wanted = options.engine ?? manifest?.engine
  if (manifest !== null && wanted !== manifest.engine) {
    throw new StreamsError(
      'STATE_FOREIGN',
      `state folder ${path} was written by ${manifest.engine}, and ${String(wanted)} is asked for. Ask for ${manifest.engine}, or delete the folder: its content is restored from Kafka`,
      { task: options.taskId },
    )
  }
  if (wanted !== undefined) {
    const problem = loadLevel(wanted)
    if (problem === null) return wanted
    const remedy =
      manifest === null
        ? 'Ask for the other engine'
        : `Install ${wanted} here, or delete the folder: its content is restored from Kafka`
    throw new StreamsError(
      manifest === null ? 'STATE_FAILED' : 'STATE_FOREIGN',
      `state folder ${path} needs ${wanted}, which does not load: ${problem.reason}. ${remedy}`,
      { task: options.taskId },
    )
  }
  const problem = loadLevel('rocksdb')
  if (problem === null) return 'rocksdb'
  if (!saidFallback) {
    saidFallback = true
    const logger = options.logger ?? silentLogger
    logger.info(
      `local state is kept by classic-level: rocksdb has no binary for ${process.platform} ${process.arch} here`,
      { reason: problem.reason },
    )
  }
  return 'classic-level'
}

// ---------------------------------------------------------------------------------------------------- who has it

/** Writes who has the folder open, unless a living process has. */
async function claim(path: string, about: { readonly task: string }): Promise<void> {
  const file = join(path, lockFile)
  const owner = await readOwner(file)
  if (owner !== null && owner.pid !== process.pid && (await isAlive(owner))) {
    throw new StreamsError(
      'STATE_LOCKED',
      `state folder ${path} is open in process ${owner.pid} on ${owner.host}. Stop that process, or give this one another stateDir`,
      about,
    )
  }
  const self: Owner = { pid: process.pid, startedAt: await startOf(process.pid), host: hostname() }
  await guardFiles(path, 'write', () => writeFile(file, `${JSON.stringify(self)}\n`))
}

async function readOwner(file: string): Promise<Owner | null> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Owner
  } catch {
    // Missing, or cut short by a crash: nobody can be named, and the engine's own lock decides.
    return null
  }
}

/** A process of another host can't be asked; the engine's own lock decides there, too. */
async function isAlive(owner: Owner): Promise<boolean> {
  if (owner.host !== hostname()) return false
  try {
    process.kill(owner.pid, 0)
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return false
  }
  // The number may have been given to another process since.
  return owner.startedAt === null || owner.startedAt === (await startOf(owner.pid))
}

/** When a process began, in the kernel's ticks; null where the system doesn't tell. */
async function startOf(pid: number): Promise<string | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? null
  } catch {
    return null
  }
}

// ------------------------------------------------------------------------------------------------------ cleaning

/** Tasks that have a folder here, whether open or not. */
export function localTasks(stateDir: string, application: string): Promise<string[]> {
  return localFolders(stateDir, application, /^\d+_\d+$/)
}

async function localFolders(stateDir: string, application: string, pattern: RegExp): Promise<string[]> {
  try {
    const entries = await readdir(resolve(stateDir, application), { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory() && pattern.test(entry.name)).map(({ name }) => name)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw fileError(resolve(stateDir, application), 'read', error)
  }
}

export type CleaningOptions = {
  readonly stateDir: string
  readonly application: string
  /** Tasks whose folders stay: those owned, as active or standby. */
  readonly keep: { has(taskId: string): boolean }
  /** Only what was not written to for so long goes. */
  readonly olderThanMs: number
  readonly clock?: Clock
  readonly logger?: Logger
}

/**
 * Deletes folders of tasks that live elsewhere now, and of global stores that no thread has. What a living process has
 * open, or isn't ours, stays.
 */
export async function cleanFolders(options: CleaningOptions): Promise<string[]> {
  const { stateDir, application, keep, olderThanMs } = options
  const clock = options.clock ?? systemClock
  const deleted: string[] = []
  for (const taskId of await localFolders(stateDir, application, /^(\d+_\d+|global(-\d+)?)$/)) {
    const path = taskFolder(stateDir, application, taskId)
    if (keep.has(taskId) || openHere.has(path)) continue
    const owner = await readOwner(join(path, lockFile))
    if (owner !== null && (await isAlive(owner))) continue
    if (clock.now() - (await writtenAt(path)) < olderThanMs) continue
    const manifest = await readManifest(path).catch(() => null)
    if (manifest === null || manifest.application !== application) continue
    // It may have come back while the files were looked at.
    if (keep.has(taskId) || openHere.has(path)) continue
    await guardFiles(path, 'delete', () => rm(path, { recursive: true, force: true }))
    deleted.push(taskId)
    options.logger?.info(`deleted the state folder of task ${taskId}, which is not open here any more`, {
      path,
    })
  }
  return deleted
}

/** The latest change of any file: engines write into theirs without touching the folder. */
async function writtenAt(path: string): Promise<number> {
  let latest = 0
  try {
    for (const name of await readdir(path, { recursive: true })) {
      latest = Math.max(latest, (await stat(join(path, name))).mtimeMs)
    }
    return Math.max(latest, (await stat(path)).mtimeMs)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return latest
    throw fileError(path, 'read', error)
  }
}

// -------------------------------------------------------------------------------------------------------- files

async function guardFiles<T>(path: string, what: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    throw fileError(path, what, error)
  }
}

function fileError(path: string, what: string, error: unknown): StreamsError {
  const reason = error instanceof Error ? error.message : String(error)
  return new StreamsError(
    'STATE_FAILED',
    `state folder ${path}: can't ${what} it: ${reason}. Check that stateDir is a folder this process may write to, and that its disk has room`,
    { cause: error },
  )
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code
}

function ignoreMissing(error: unknown): void {
  if (codeOf(error) !== 'ENOENT') throw error
}
