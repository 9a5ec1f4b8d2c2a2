/**
 * JavaScript of src/ in a few files. Each isolate, the main thread and every worker, reads the package for itself, and
 * two hundred small files take it twice as long.
 */
import { isAbsolute, join } from 'node:path'
import { rolldown } from 'rolldown'

/** Files by their own names: what is imported, run, or started as a worker or as hooks. */
const entries = ['index', 'testing/index', 'cli/main', 'cli/typescript-hooks', 'runtime/worker']

/** Of `sources`, which holds what src/ does, into `folder`. Files that are there already stay. */
export async function bundle(sources: string, folder: string, tsconfig: string): Promise<void> {
  const build = await rolldown({
    input: Object.fromEntries(entries.map((entry) => [entry, join(sources, `${entry}.ts`)])),
    // Packages are those of the project that installs this one.
    external: (id) => !id.startsWith('.') && !isAbsolute(id),
    platform: 'node',
    tsconfig,
  })
  await build.write({
    dir: folder,
    format: 'esm',
    sourcemap: true,
    entryFileNames: '[name].js',
    // A module that asks for a file by its own address finds it beside itself: the worker, the hooks of the command.
    chunkFileNames: ({ moduleIds }) =>
      `${moduleIds.every((id) => id.startsWith(join(sources, 'cli/'))) ? 'cli' : 'runtime'}/[name]-[hash].js`,
  })
  await build.close()
}
