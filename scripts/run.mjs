/**
 * Runs a TypeScript file of this project: `node scripts/run.mjs FILE.ts ARGS`. Node 20 can't read TypeScript,
 * so the file and what it imports are emitted into a folder of this run's own, which goes with it
 * (docs/decisions/0001-typescript-without-a-build.md). Types are not checked here; `npm run check` does that.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const [file, ...args] = process.argv.slice(2)
if (file === undefined) {
  console.error('usage: node scripts/run.mjs FILE.ts ARGS')
  process.exit(2)
}
const entry = relative(root, resolve(file))
const cache = join(root, 'node_modules', '.cache', 'millrace')
mkdirSync(cache, { recursive: true })
const out = mkdtempSync(join(cache, 'run-'))
process.on('exit', () => rmSync(out, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1))

const compilerOptions = {
  noEmit: false,
  noCheck: true,
  rootDir: root,
  outDir: out,
  inlineSourceMap: true,
  inlineSources: true,
}
const config = {
  extends: join(root, 'tsconfig.json'),
  compilerOptions,
  files: [join(root, entry)],
  include: [],
}
writeFileSync(join(out, 'tsconfig.json'), JSON.stringify(config))
writeFileSync(join(out, 'package.json'), '{ "type": "module" }')
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
const { status } = spawnSync(process.execPath, [tsc, '-p', out], { stdio: 'inherit' })
if (status !== 0) process.exit(status ?? 1)

const emitted = join(out, dirname(entry), entry.split(/[\\/]/).pop().replace(/\.ts$/, '.js'))
process.setSourceMapsEnabled(true)
process.argv = [process.execPath, resolve(file), ...args]
await import(pathToFileURL(emitted).href)
