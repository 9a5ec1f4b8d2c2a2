/**
 * Systems under test run as processes and worker threads, which need JavaScript files: this emits the sources and the
 * benchmarks into a folder of this run's own, and puts beside them what isn't TypeScript.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { bundle } from '../scripts/bundle.ts'

export type Built = {
  /** Holds bench/ and src/ as JavaScript. */
  readonly folder: string
  readonly remove: () => void
}

export async function buildBench(root: string = resolve('.')): Promise<Built> {
  const built = await emit(root, root, ['src', 'bench'])
  for (const path of ['bench/java', 'test/kafka/java', 'test/kafka/jars'])
    cpSync(join(root, path), join(built.folder, path), { recursive: true })
  return built
}

/** This tree's workloads on the sources of another commit. */
export async function buildReference(root: string, commit: string): Promise<Built> {
  const sources = scratch(root, 'reference-')
  const git = spawnSync('git', ['-C', root, 'archive', commit, 'src', 'package.json'], {
    maxBuffer: 1024 * 1024 * 1024,
  })
  if (git.status !== 0) throw new Error(`--against ${commit}: ${git.stderr}`)
  const tar = spawnSync('tar', ['-x', '-C', sources], { input: git.stdout })
  if (tar.status !== 0) throw new Error(`--against ${commit}: ${tar.stderr}`)
  try {
    for (const path of ['bench/systems/millrace.ts', 'bench/systems/wire.ts', 'bench/workloads'])
      cpSync(join(root, path), join(sources, path), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(sources, 'node_modules'))
    return await emit(root, sources, ['src', 'bench'])
  } finally {
    rmSync(sources, { recursive: true, force: true })
  }
}

function scratch(root: string, prefix: string): string {
  const cache = join(root, 'node_modules', '.cache', 'millrace')
  mkdirSync(cache, { recursive: true })
  return mkdtempSync(join(cache, prefix))
}

async function emit(root: string, sources: string, folders: readonly string[]): Promise<Built> {
  const folder = scratch(root, 'bench-')
  const remove = () => rmSync(folder, { recursive: true, force: true })
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { noEmit: false, noCheck: true, rootDir: sources, outDir: folder },
    include: folders.map((one) => join(sources, one)),
    exclude: [],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  try {
    const { status } = spawnSync(process.execPath, [tsc, '-p', folder], { stdio: 'inherit' })
    if (status !== 0) throw new Error(`the benchmarks could not be compiled: tsc ended with ${status}`)
    // What users get: the package's entries stand in for those that were emitted.
    await bundle(join(sources, 'src'), join(folder, 'src'), join(root, 'tsconfig.json'))
  } catch (error) {
    remove()
    throw error
  }
  return { folder, remove }
}
