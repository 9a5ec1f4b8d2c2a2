/** `npm run check`: format, lint, types, type tests, import arrows. Every step runs, so one run tells all. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { sourcesOf, wrongArrows } from './import-arrows.ts'
import { checkMessages } from './type-messages.ts'

type Step = { readonly name: string; readonly run: () => Promise<readonly string[]> }

const tool = (file: string, ...args: string[]): (() => Promise<readonly string[]>) => {
  return async () => {
    const { status, signal } = spawnSync(process.execPath, [file, ...args], { stdio: 'inherit' })
    return status === 0 ? [] : [`ended with ${signal ?? status}`]
  }
}

const steps: readonly Step[] = [
  {
    name: 'format and lint',
    run: tool('node_modules/@biomejs/biome/bin/biome', 'ci', '--colors=off', '--error-on-warnings'),
  },
  { name: 'types', run: tool('node_modules/typescript/bin/tsc', '-p', 'tsconfig.json') },
  {
    name: 'type tests',
    run: async () => (existsSync('test/types') ? checkMessages('test/types', '.').wrong : []),
  },
  { name: 'import arrows', run: async () => wrongArrows(await sourcesOf('src')) },
]

let failed = 0
for (const { name, run } of steps) {
  const start = performance.now()
  const wrong = await run()
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(`${wrong.length === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)`)
  for (const line of wrong) console.error(`     ${line}`)
  if (wrong.length > 0) failed++
}
process.exitCode = failed === 0 ? 0 : 1
