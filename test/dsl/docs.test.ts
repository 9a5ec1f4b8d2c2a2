/** The examples of the DSL's pages compile, and run: each checks by itself what comes out. */
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const pages = [
  ...readdirSync(join(root, 'docs/dsl')).map((file) => `docs/dsl/${file}`),
  'docs/coming-from-kafka-streams.md',
].sort()

type Example = { readonly page: string; readonly line: number; readonly code: string; readonly file: string }

const examples: readonly Example[] = pages.flatMap((page) => {
  const text = readFileSync(join(root, page), 'utf8')
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match) => {
    const line = text.slice(0, match.index).split('\n').length + 1
    const file = `${page.replaceAll(/[^a-z]+/g, '-')}-${line}.ts`
    const code = (match[1] as string)
      .replaceAll("from 'millrace'", `from '${root}/src/index.ts'`)
      .replaceAll("from 'millrace/testing'", `from '${root}/src/testing/index.ts'`)
    return { page, line, code, file }
  })
})

let folder: string

beforeAll(async () => {
  const cache = join(root, 'node_modules/.cache/millrace')
  await mkdir(cache, { recursive: true })
  folder = await mkdtemp(join(cache, 'docs-'))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  for (const { file, code } of examples) await writeFile(join(folder, file), code)
})

afterAll(() => rm(folder, { recursive: true }))

test('docs: every page of the DSL has an example', () => {
  const without = pages.filter((page) => !examples.some((example) => example.page === page))
  expect(without).toEqual([])
})

test('docs: the examples, they compile', { timeout: 60_000 }, async () => {
  const config = join(folder, 'tsconfig.json')
  const compilerOptions = {
    skipLibCheck: true,
    typeRoots: [join(root, 'node_modules/@types')],
    rewriteRelativeImportExtensions: false,
    allowImportingTsExtensions: true,
  }
  await writeFile(
    config,
    JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, include: ['*.ts'] }),
  )
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const output = await new Promise<string>((resolve) => {
    execFile(process.execPath, [tsc, '-p', config, '--pretty', 'false'], (_error, stdout) => resolve(stdout))
  })
  expect(output.split('\n').filter((line) => line.includes('docs-'))).toEqual([])
})

describe('docs: an example, it does what it says', () => {
  test.each(examples)('$page:$line', async ({ file }) => {
    await import(/* @vite-ignore */ pathToFileURL(join(folder, file)).href)
  })
})
