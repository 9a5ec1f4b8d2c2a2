/** Compiles TypeScript files of this project into a folder, once, so that processes of it start as a user's would. */
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'

/** Returns the folder; `test/chaos/app.ts` is in it as `test/chaos/app.js`. Its owner removes it. */
export async function compile(files: readonly string[]): Promise<string> {
  const root = resolve('.')
  const cache = join(root, 'node_modules', '.cache', 'millrace')
  await mkdir(cache, { recursive: true })
  const folder = await mkdtemp(join(cache, 'compiled-'))
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { noEmit: false, noCheck: true, rootDir: root, outDir: folder, sourceMap: true },
    files: files.map((file) => join(root, file)),
    include: [],
  }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`tsc: ${stdout}`)
  return folder
}
