/**
 * Systems under test run as processes and worker threads, which need JavaScript files: this emits the sources and the
 * benchmarks into a folder of this run's own, and puts beside them what isn't TypeScript.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

export type Built = {
  /** Holds bench/ and src/ as JavaScript. */
  readonly folder: string
  readonly remove: () => void
}

export function buildBench(root: string = resolve('.')): Built {
  const cache = join(root, 'node_modules', '.cache', 'millrace')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'bench-'))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { noEmit: false, noCheck: true, rootDir: root, outDir: folder },
    include: [join(root, 'src'), join(root, 'bench')],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const { status } = spawnSync(process.execPath, [tsc, '-p', folder], { stdio: 'inherit' })
  if (status !== 0) {
    remove()
    throw new Error(`the benchmarks could not be compiled: tsc ended with ${status}`)
  }
  for (const path of ['bench/java', 'test/kafka/java', 'test/kafka/jars'])
    cpSync(join(root, path), join(folder, path), { recursive: true })
  return { folder, remove }
}
