import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { SourceWatch } from '../../src/cli/source-watch.ts'

let folder = ''
let watching: SourceWatch | null = null
let changes: string[] = []
let limits: string[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-watch-'))
  changes = []
  limits = []
})
afterEach(async () => {
  watching?.close()
  await rm(folder, { recursive: true, force: true })
})

const at = (...parts: string[]) => join(folder, ...parts)

async function open(more: { recursive?: boolean; foldersMax?: number; except?: string[] } = {}) {
  watching = await SourceWatch.open({
    folder,
    recursive: false,
    onChange: (path) => changes.push(path),
    onLimit: (message) => limits.push(message),
    ...more,
  })
}

/** Resolves once this change is told of: by the file's path, or by that of a folder that came with it. */
async function told(path: string, act: () => Promise<unknown> = () => writeFile(path, '1')): Promise<void> {
  changes = []
  await act()
  await expect
    .poll(() => changes.some((change) => change === path || path.startsWith(`${change}${sep}`)), {
      interval: 5,
      timeout: 10_000,
    })
    .toBe(true)
}

for (const recursive of [false, true]) {
  test(`watch: ${recursive ? 'the whole at once' : 'folder by folder'}, changes in folders below are seen`, async () => {
    await mkdir(at('a', 'b'), { recursive: true })
    await open({ recursive })
    await told(at('top.ts'))
    await told(at('a', 'b', 'deep.mts'))
    await told(at('a', 'data.json'))
  })

  test(`watch: ${recursive ? 'the whole at once' : 'folder by folder'}, node_modules, hidden folders and what is left out are not seen`, async () => {
    const names = ['node_modules', '.git', 'data']
    for (const name of names) await mkdir(at(name, 'inner'), { recursive: true })
    await open({ recursive, except: [at('data')] })
    changes = []
    for (const name of names) {
      await writeFile(at(name, 'x.ts'), '1')
      await writeFile(at(name, 'inner', 'x.ts'), '1')
    }
    await writeFile(at('notes.txt'), '1')
    // Changes are told in their order: with the last one, all others would have been.
    await writeFile(at('last.ts'), '1')
    await expect.poll(() => changes, { interval: 5, timeout: 10_000 }).toContain(at('last.ts'))
    expect(new Set(changes)).toEqual(new Set([at('last.ts')]))
  })
}

test('watch: a folder is made, with a file in it at once; later files in it are seen too', async () => {
  await open()
  await told(at('new', 'newer', 'at-once.ts'), async () => {
    await mkdir(at('new', 'newer'), { recursive: true })
    await writeFile(at('new', 'newer', 'at-once.ts'), '1')
  })
  await told(at('new', 'newer', 'later.ts'))
})

test('watch: a folder takes the place of another, it is the new one that is watched', async () => {
  await mkdir(at('lib'))
  await mkdir(at('next'))
  await writeFile(at('next', 'one.ts'), '1')
  await open()
  await told(at('lib'), async () => {
    await rename(at('lib'), at('old'))
    await rename(at('next'), at('lib'))
  })
  await told(at('lib', 'one.ts'))
})

test('watch: more folders than may be watched, it says so once, and those it watches go on', async () => {
  for (const name of ['a', 'b', 'c']) await mkdir(at(name))
  await open({ foldersMax: 2 })
  const said = [`of ${folder}, only 2 folders are watched for changes`]
  expect(limits).toEqual(said)
  await mkdir(at('d'))
  await told(at('top.ts'))
  expect(limits).toEqual(said)
})
