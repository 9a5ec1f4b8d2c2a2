/** A process that was started with options which no worker takes still starts its workers. */
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compile } from '../chaos/compile.ts'

let folder: string
beforeAll(async () => {
  folder = await compile(['src/base/worker-arguments.ts'])
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function saidByWorker(options: readonly string[], added: readonly string[]): unknown {
  const module = pathToFileURL(join(folder, 'src/base/worker-arguments.js')).href
  const worker = `
    import { parentPort } from 'node:worker_threads'
    import { getHeapStatistics } from 'node:v8'
    parentPort.postMessage({ added: globalThis.added ?? null, limit: getHeapStatistics().heap_size_limit })`
  const program = `
    import { addWorkerArguments, startWorker } from ${JSON.stringify(module)}
    addWorkerArguments(...${JSON.stringify(added)})
    const worker = startWorker(new URL('data:text/javascript,' + ${JSON.stringify(encodeURIComponent(worker))}), {})
    worker.once('message', (message) => console.log(JSON.stringify(message)))`
  const out = execFileSync(process.execPath, [...options, '--input-type=module', '--eval', program], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return JSON.parse(out)
}

const heapOptions = ['--max-old-space-size=300', '--max-semi-space-size=4', '--title=app', '--no-warnings']

test('workers: of a process with a heap limit and a title, what was added reaches them all the same', () => {
  const added = ['--import', 'data:text/javascript,globalThis.added=1']
  expect(saidByWorker(heapOptions, added)).toMatchObject({ added: 1 })
  expect(saidByWorker([], added)).toMatchObject({ added: 1 })
})

test('workers: with nothing added they inherit what there is', () => {
  expect(saidByWorker(heapOptions, [])).toMatchObject({ added: null })
})
