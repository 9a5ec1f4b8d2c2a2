/** What README.md and docs/ say holds: examples compile and do what they assert, links lead somewhere, lists are whole. */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { projectFiles } from '../../src/cli/commands/init.ts'
import {
  BranchedKStream,
  CogroupedKStream,
  KGroupedStream,
  KGroupedTable,
  KStream,
  KTable,
  SessionWindowedKStream,
  StreamsBuilder,
  TimeWindowedKStream,
} from '../../src/index.ts'
import { anchorsOf, examples, linksOf, pages, root, textOf } from './pages.ts'

let folder: string

beforeAll(async () => {
  const cache = join(root, 'node_modules/.cache/millrace')
  await mkdir(cache, { recursive: true })
  folder = await mkdtemp(join(cache, 'pages-'))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  for (const { file, code } of examples) {
    await mkdir(dirname(join(folder, file)), { recursive: true })
    await writeFile(join(folder, file), code)
  }
})

afterAll(() => rm(folder, { recursive: true }))

test('docs: every example is a whole module, and there are many', () => {
  const fragments = examples.filter(({ code }) => !/^(import|export) /m.test(code))
  expect(fragments.map(({ page, line }) => `${page}:${line}`)).toEqual([])
  expect(examples.length).toBeGreaterThan(20)
  expect(examples[0]?.page).toBe('README.md')
})

test('docs: the examples of all pages, they compile', { timeout: 60_000 }, async () => {
  const broken = join(folder, 'broken.ts')
  await writeFile(broken, `import { serdes } from 'millrace'\nexport const wrong: number = serdes.string()\n`)
  const config = join(folder, 'tsconfig.json')
  const compilerOptions = { skipLibCheck: true, typeRoots: [join(root, 'node_modules/@types')] }
  await writeFile(
    config,
    JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, include: ['**/*.ts'] }),
  )
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const output = await new Promise<string>((resolve) => {
    execFile(process.execPath, [tsc, '-p', config, '--pretty', 'false'], { cwd: folder }, (_error, stdout) =>
      resolve(stdout),
    )
  })
  await rm(broken)
  // Errors of the library's own source belong to `npm run check`.
  const errors = output.split('\n').filter((line) => /^[^. ].*error TS/.test(line))
  expect(errors.filter((line) => !line.startsWith('broken.ts'))).toEqual([])
  expect(errors.length, 'the compiler sees the mistake that is put there').toBe(1)
})

describe('docs: an example that asserts, it does what it says', () => {
  // Those of the DSL's pages run in test/dsl/docs.test.ts.
  const asserting = examples.filter(
    ({ page, code }) => !page.startsWith('docs/dsl/') && code.includes("from 'node:assert"),
  )
  test.each(asserting)('$page:$line', async ({ file, code }) => {
    const path = join(folder, `run-${file.replaceAll('/', '-')}`)
    await writeFile(
      path,
      code
        .replaceAll("from 'millrace'", `from '${root}/src/index.ts'`)
        .replaceAll("from 'millrace/testing'", `from '${root}/src/testing/index.ts'`),
    )
    await import(/* @vite-ignore */ pathToFileURL(path).href)
  })
})

test('docs: every operator of the DSL is in an example', () => {
  const classes = [StreamsBuilder, KStream, KTable, KGroupedStream, KGroupedTable, TimeWindowedKStream]
    .concat([SessionWindowedKStream, CogroupedKStream, BranchedKStream] as never)
    .map(({ prototype }) => Object.getOwnPropertyDescriptors(prototype))
  const operators = new Set(classes.flatMap((descriptors) => Object.keys(descriptors)))
  operators.delete('constructor')
  const code = examples.filter(({ page }) => page.startsWith('docs/dsl/')).map((example) => example.code)
  const shown = new Set(code.flatMap((text) => [...text.matchAll(/\.(\w+)\b/g)].map(([, name]) => name)))
  expect([...operators].filter((name) => !shown.has(name))).toEqual([])
  expect(operators.size).toBeGreaterThan(35)
})

test('docs: links, they lead to a file and a heading that are there', () => {
  const broken = pages.flatMap((page) =>
    linksOf(page)
      .filter(
        ({ to, anchor }) =>
          !existsSync(join(root, to)) ||
          (anchor !== null && to.endsWith('.md') && !anchorsOf(to).has(anchor)),
      )
      .map(({ to, anchor }) => `${page}: ${to}${anchor === null ? '' : `#${anchor}`}`),
  )
  expect(broken).toEqual([])
})

test('docs: every page is in the index', () => {
  const listed = new Set(linksOf('docs/README.md').map(({ to }) => to))
  const own = /^docs\/[^/]+\.md$/
  expect(pages.filter((page) => own.test(page) && page !== 'docs/README.md' && !listed.has(page))).toEqual([])
})

test.each(['docs/guarantees.md', 'docs/exactly-once.md', 'docs/parity.md'])(
  'docs: the tests that %s names are there',
  (page) => {
    const named = [...textOf(page).matchAll(/`([a-z-]+(?: [a-z-]+)?: [^`]+)`/g)].map(([, name = '']) => name)
    expect(named.length).toBeGreaterThan(4)
    const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => readFileSync(join(root, 'test', file), 'utf8'))
    // Names with something put in: ${…} and %s stand for anything, where enough of the name is left to know it by.
    const patterns = files
      .flatMap((text) => [...text.matchAll(/(['"`])([a-z-]+(?: [a-z-]+)?: (?:(?!\1)[^\n])+)\1/g)])
      .map(([, , name = '']) => name.split(/\$\{[^}]*\}|%[sij]/))
      .filter((parts) => parts.length > 1 && parts.join('').length > 15)
      .map((parts) => parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')))
      .map((parts) => new RegExp(`^${parts.join('.+')}$`))
    const isThere = (name: string) =>
      files.some((text) => text.includes(name)) || patterns.some((pattern) => pattern.test(name))
    expect(named.filter((name) => !isThere(name))).toEqual([])
  },
)

test('docs: every alert has its section in operations.md', () => {
  const alerts = readFileSync(join(root, 'deploy/prometheus/alerts.yml'), 'utf8')
  const runbooks = [...alerts.matchAll(/runbook: (\S+)#(\S+)/g)]
  expect(runbooks.length).toBeGreaterThan(10)
  expect(
    runbooks.filter(([, page = '', anchor = '']) => !anchorsOf(page).has(anchor)).map(([all]) => all),
  ).toEqual([])
})

test('docs: every dependency of package.json is in dependencies.md', () => {
  const { dependencies, optionalDependencies, devDependencies } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  ) as { readonly [kind: string]: { readonly [name: string]: string } }
  const text = textOf('docs/dependencies.md')
  const rows = [...text.matchAll(/^\| (\S+?),? /gm)].map(([, name]) => name)
  const run = Object.keys({ ...dependencies, ...optionalDependencies })
  expect(run.filter((name) => !rows.includes(name))).toEqual([])
  expect(rows.filter((name) => name?.match(/^[@a-z]/) && name !== 'package' && !run.includes(name))).toEqual(
    [],
  )
  expect(Object.keys(devDependencies ?? {}).filter((name) => !text.includes(name))).toEqual([])
})

test('docs: what start.md shows is what `millrace init` writes', () => {
  const files = projectFiles('my-app')
  const shown = examples.filter(({ page, code }) => page === 'docs/start.md' && /^\/\/ \S+\.ts\n/.test(code))
  expect(shown.length).toBe(2)
  for (const { code } of shown) {
    const name = /^\/\/ (\S+)/.exec(code)?.[1] as string
    expect(code.slice(code.indexOf('\n') + 1), name).toBe(files[name])
  }
})
