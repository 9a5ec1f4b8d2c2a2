/** The pages that people read, README.md and docs/, as the tests of this folder see them. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export const root = join(import.meta.dirname, '../..')

/** A block of TypeScript. Every one is a whole module: it compiles beside the others of its page. */
export type Example = {
  readonly page: string
  readonly line: number
  readonly code: string
  /** Where it is written to: its first line may name it, as in `// test/topology.test.ts`. */
  readonly file: string
}

export const pages: readonly string[] = [
  'README.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => `docs/${file}`)
    .sort(),
]

export const textOf = (page: string): string => readFileSync(join(root, page), 'utf8')

export const examples: readonly Example[] = pages.flatMap((page) => {
  const text = textOf(page)
  return [...text.matchAll(/^```(?:ts|typescript)\b.*\n([\s\S]*?)^```$/gm)].map((match) => {
    const line = text.slice(0, match.index).split('\n').length + 1
    const code = match[1] as string
    const named = /^\/\/ (\S+\.ts)\n/.exec(code)?.[1]
    const folder = page.replace(/\.md$/, '').replaceAll('/', '-')
    return { page, line, code, file: join(folder, named ?? `line-${line}.ts`) }
  })
})

const withoutCode = (text: string): string =>
  text.replaceAll(/^```[\s\S]*?^```$/gm, '').replaceAll(/`[^`\n]*`/g, '')

/** Links to files of the repository, each with the heading it points to. */
export function linksOf(page: string): readonly { readonly to: string; readonly anchor: string | null }[] {
  return [...withoutCode(textOf(page)).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
    if (/^[a-z]+:/.test(target)) return []
    const [path = '', anchor] = target.split('#')
    return [{ to: path === '' ? page : join(dirname(page), path), anchor: anchor ?? null }]
  })
}

/** Anchors as GitHub makes them of headings. */
export function anchorsOf(page: string): ReadonlySet<string> {
  const text = textOf(page).replaceAll(/^```[\s\S]*?^```$/gm, '')
  return new Set(
    [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replaceAll(/\s/g, '-'),
    ),
  )
}
