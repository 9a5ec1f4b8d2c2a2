/**
 * Module hooks of the command, in a thread of Node's own: TypeScript becomes JavaScript with its map inline; `millrace`
 * is this package where the file's own folder has none; a `.js` that isn't there may be a `.ts` that is. A module that
 * was loaded with `?millrace=N` loads its own files with the same: that is how `dev` loads all of them anew.
 *
 * Types are stripped, not checked, and TypeScript under node_modules is refused, as Node itself does.
 */
import { readFile } from 'node:fs/promises'
import type { LoadHook, ResolveHook } from 'node:module'
import { fileURLToPath } from 'node:url'

const typescript = /\.[mc]?ts$/
const own = new URL('../', import.meta.url)
const extension = /\.[mc]?ts$/.test(new URL(import.meta.url).pathname) ? 'ts' : 'js'

export const resolve: ResolveHook = async (specifier, context, next) => {
  try {
    const resolved = await next(specifier, context)
    return { ...resolved, url: versioned(resolved.url, context.parentURL) }
  } catch (error) {
    if (specifier === 'millrace') return next(new URL(`index.${extension}`, own).href, context)
    if (specifier === 'millrace/testing')
      return next(new URL(`testing/index.${extension}`, own).href, context)
    if (/^\.{1,2}\/.*\.[mc]?js$/.test(specifier)) {
      try {
        const resolved = await next(specifier.replace(/js$/, 'ts'), context)
        return { ...resolved, url: versioned(resolved.url, context.parentURL) }
      } catch {
        // The first error names what was written.
      }
    }
    throw error
  }
}

/** Files of the user's own take over the version of who imports them; packages are loaded once. */
function versioned(url: string, parent: string | undefined): string {
  const version = parent === undefined ? null : /[?&]millrace=(\d+)/.exec(parent)
  if (
    version === null ||
    !url.startsWith('file:') ||
    url.includes('/node_modules/') ||
    url.startsWith(own.href)
  )
    return url
  return url.includes('?') ? url : `${url}?millrace=${version[1]}`
}

export const load: LoadHook = async (url, context, next) => {
  const { pathname, protocol } = new URL(url)
  if (protocol !== 'file:' || !typescript.test(pathname) || Reflect.get(process.features, 'typescript'))
    return next(url, context)
  const path = fileURLToPath(url)
  if (/[\\/]node_modules[\\/]/.test(path)) {
    throw new Error(
      `${path}: TypeScript in node_modules is not loaded; a package is built before it is published`,
    )
  }
  const { transformSync } = await import('oxc-transform')
  const { code, map, errors } = transformSync(path, await readFile(path, 'utf8'), {
    sourcemap: true,
    target: 'es2022',
    typescript: { onlyRemoveTypeImports: true },
  })
  const [wrong] = errors
  if (wrong !== undefined) {
    const at = wrong.codeframe?.match(/:(\d+):(\d+)/)
    throw new SyntaxError(
      `${path}${at === null || at === undefined ? '' : `:${at[1]}:${at[2]}`}: ${wrong.message}`,
    )
  }
  const inline =
    map === undefined
      ? ''
      : `\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}`
  return {
    format: pathname.endsWith('.cts') ? 'commonjs' : 'module',
    source: code + inline,
    shortCircuit: true,
  }
}
