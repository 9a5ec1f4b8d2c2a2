/**
 * The folders of src/ in dependency order, and what breaks that order: an import (`import type` counts too) of a
 * folder further down the list, of the other side of a pair that must not meet, or of what kafkajs keeps private.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join, posix, relative, sep } from 'node:path'

export const folders = [
  'base',
  'serde',
  'wire',
  'kafka',
  'broker',
  'topology',
  'dsl',
  'store',
  'operator',
  'runtime',
  'query',
  'connect',
  'metrics',
  'service',
  'testing',
  'cli',
] as const

/** Kept apart although the order would allow it: [from, to, where the two meet]. */
const apart: readonly (readonly [string, string, string])[] = [
  ['broker', 'kafka', 'wire'],
  ['runtime', 'dsl', 'topology'],
]

/** The one file that may reach into kafkajs. */
export const kafkajsInternals = 'kafka/connection.ts'

export type Source = { readonly path: string; readonly text: string }

/** Breaches as `path:line: what and why`, paths relative to src/ with forward slashes. */
export function wrongArrows(sources: readonly Source[]): string[] {
  return sources.flatMap(({ path, text }) =>
    importsOf(text).flatMap(({ from, line }) => {
      const why = breach(path, from)
      return why === undefined ? [] : [`src/${path}:${line}: ${why}`]
    }),
  )
}

/** Reads the TypeScript sources under a folder. */
export async function sourcesOf(root: string): Promise<Source[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).sort()
  return Promise.all(
    paths.map(async (path) => ({
      path: relative(root, path).split(sep).join('/'),
      text: await readFile(path, 'utf8'),
    })),
  )
}

function breach(path: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) {
    if (/^kafkajs\/./.test(specifier) && path !== kafkajsInternals) {
      return `${specifier} is private to kafkajs; only src/${kafkajsInternals} may import it`
    }
    if (specifier === 'millrace' || specifier.startsWith('millrace/')) {
      return `${specifier} is this package; import the file by its relative path`
    }
    return undefined
  }
  const target = posix.normalize(posix.join(posix.dirname(path), specifier))
  if (target.startsWith('..')) return `${specifier} is outside src/`
  const from = folderOf(path)
  const to = folderOf(target)
  // index.ts at the top names what is public, and only the cli stands on it.
  if (from === undefined) return undefined
  if (to === undefined)
    return from === 'cli' ? undefined : `${from} must not import the package's entry ${specifier}`
  if (from === to) return undefined
  const [fromRank, toRank] = [rank(from), rank(to)]
  if (fromRank < 0) return `src/${from}/ is not in the list of folders in scripts/import-arrows.ts`
  if (toRank < 0) return `src/${to}/ is not in the list of folders in scripts/import-arrows.ts`
  if (toRank > fromRank) return `${from} must not import ${to} (${specifier}): ${to} comes later`
  const pair = apart.find(([a, b]) => a === from && b === to)
  if (pair !== undefined) return `${from} must not import ${to} (${specifier}): they meet only in ${pair[2]}`
  return undefined
}

function rank(folder: string): number {
  return (folders as readonly string[]).indexOf(folder)
}

function folderOf(path: string): string | undefined {
  const slash = path.indexOf('/')
  return slash < 0 ? undefined : path.slice(0, slash)
}

const patterns = [
  /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*(['"])([^'"]+)\1/gm,
  /^\s*import\s*(['"])([^'"]+)\1/gm,
  /\b(?:import|require)\s*\(\s*(['"])([^'"]+)\1/g,
]

function importsOf(text: string): { readonly from: string; readonly line: number }[] {
  const code = withoutComments(text)
  return patterns.flatMap((pattern) =>
    [...code.matchAll(pattern)].map((match) => ({
      from: match[2] ?? '',
      line: code.slice(0, match.index + match[0].length).split('\n').length,
    })),
  )
}

/** Comments become blanks, so that an example in one is no import and lines keep their numbers. */
function withoutComments(text: string): string {
  const blank = (part: string) => part.replace(/[^\n]/g, ' ')
  const code = text.replace(/(^|\s)\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, blank)
  // A file that this one writes for somebody else: text of several lines.
  return code.replace(/`(?:\\[\s\S]|[^`\\])*`/g, (text) => (text.includes('\n') ? blank(text) : text))
}
