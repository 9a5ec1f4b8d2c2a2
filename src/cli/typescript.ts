/** Lets this process, and each worker that it starts, load TypeScript straight from source. */
import { register } from 'node:module'
import { extname } from 'node:path'
import { addWorkerArguments } from '../base/worker-arguments.ts'

let registered = false

export function registerTypescript(): void {
  if (registered) return
  registered = true
  const extension = extname(new URL(import.meta.url).pathname)
  // Who loaded this file as TypeScript loads the user's too.
  if (extension === '.ts') return
  const hooks = new URL(`./typescript-hooks${extension}`, import.meta.url).href
  register(hooks)
  process.setSourceMapsEnabled(true)
  const register_ = `import { register } from 'node:module'; register(${JSON.stringify(hooks)})`
  addWorkerArguments(
    '--enable-source-maps',
    '--import',
    `data:text/javascript,${encodeURIComponent(register_)}`,
  )
}
