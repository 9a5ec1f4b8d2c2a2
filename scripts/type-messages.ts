/**
 * What the compiler says in the type tests. `// @ts-expect-error` alone only holds that there is an error; where
 * it is followed by a colon, `// @ts-expect-error: groupByKey`, the message must also hold each of the words
 * after it, so that a mistake in a topology names the operator it was made in.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'

export type TypeTests = {
  readonly files: number
  readonly expected: number
  readonly wrong: readonly string[]
}

type Expectation = { readonly line: number; readonly words: readonly string[] }

const directive = /^(\s*)\/\/ @ts-expect-error:\s*(.*)$/

/** Checks `*.test-d.ts` under a folder; `root` is where tsconfig.json and node_modules are. */
export function checkMessages(folder: string, root: string): TypeTests {
  const files = testsIn(folder)
  // Copies beside the tests, so that their imports resolve, under a name that no glob of the project finds.
  const copies = files.map((file) => join(dirname(file), `.${process.pid}-${basename(file)}`))
  const config = join(folder, `.${process.pid}-tsconfig.json`)
  try {
    const expectations = files.map((file, index) => {
      const lines = readFileSync(file, 'utf8').split('\n')
      writeFileSync(copies[index]!, lines.map((line) => (directive.test(line) ? '' : line)).join('\n'))
      return expectationsIn(lines)
    })
    if (files.length === 0) return { files: 0, expected: 0, wrong: [] }
    const tsconfig = {
      extends: resolve(root, 'tsconfig.json'),
      include: [],
      files: copies.map((copy) => resolve(copy)),
    }
    writeFileSync(config, JSON.stringify(tsconfig))
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const { stdout } = spawnSync(process.execPath, [tsc, '-p', config, '--pretty', 'false'], {
      encoding: 'utf8',
      cwd: root,
    })
    const said = messagesOf(stdout)
    const wrong = files.flatMap((file, index) =>
      (expectations[index] ?? []).flatMap(({ line, words }) => {
        const message = said.get(`${basename(copies[index]!)}:${line}`) ?? ''
        const lacking = words.filter((word) => !message.includes(word))
        if (message === '') return [`${file}:${line}: no error here`]
        return lacking.length === 0
          ? []
          : [`${file}:${line}: the error does not say ${lacking.join(', ')}:\n${message}`]
      }),
    )
    return { files: files.length, expected: expectations.flat().length, wrong }
  } finally {
    for (const file of [...copies, config]) rmSync(file, { force: true })
  }
}

function testsIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test-d.ts') && !basename(name).startsWith('.'))
    .map((name) => join(folder, name))
    .sort()
}

function expectationsIn(lines: readonly string[]): Expectation[] {
  return lines.flatMap((line, index) => {
    const words = directive
      .exec(line)?.[2]
      ?.split(',')
      .map((word) => word.trim())
    return words === undefined ? [] : [{ line: index + 2, words }]
  })
}

/** The compiler's messages by `file:line`, each with its indented continuation. */
function messagesOf(output: string): Map<string, string> {
  const messages = new Map<string, string>()
  let key = ''
  for (const line of output.split('\n')) {
    const start = /^(.*)\((\d+),\d+\): error /.exec(line)
    if (start !== null) key = `${basename(start[1] ?? '')}:${start[2]}`
    messages.set(key, `${messages.has(key) ? `${messages.get(key)}\n` : ''}${line}`)
  }
  return messages
}
