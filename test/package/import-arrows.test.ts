/** The check of import arrows: what it must find, what it must let through, and src/ itself. */
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { sourcesOf, wrongArrows } from '../../scripts/import-arrows.ts'

const arrows = (path: string, text: string): string[] => wrongArrows([{ path, text }])

test.each([
  [
    'a folder further down',
    'wire/a.ts',
    "import { x } from '../runtime/b.ts'",
    'wire must not import runtime',
  ],
  ['a type further down', 'base/a.ts', "import type { X } from '../wire/b.ts'", 'base must not import wire'],
  ['a type in place', 'base/a.ts', "type X = import('../wire/b.ts').X", 'base must not import wire'],
  ['a re-export', 'store/a.ts', "export * from '../operator/b.ts'", 'store must not import operator'],
  [
    'several lines',
    'store/a.ts',
    "import {\n  x,\n  y,\n} from '../cli/b.ts'",
    'src/store/a.ts:4: store must not',
  ],
  ['a side effect', 'store/a.ts', "import '../cli/b.ts'", 'store must not import cli'],
  ['broker and kafka', 'broker/a.ts', "import { x } from '../kafka/b.ts'", 'meet only in wire'],
  ['dsl and runtime', 'runtime/a.ts', "import { x } from '../dsl/b.ts'", 'meet only in topology'],
  ['the entry', 'runtime/a.ts', "import { x } from '../index.ts'", "package's entry"],
  ['out of src', 'cli/a.ts', "import { x } from '../../test/b.ts'", 'outside src/'],
  ['this package', 'cli/a.ts', "import { x } from 'millrace'", 'relative path'],
  ['an unknown folder', 'utils/a.ts', "import { x } from '../base/b.ts'", 'src/utils/ is not in the list'],
  ['kafkajs internals', 'kafka/a.ts', "const x = require('kafkajs/src/cluster')", 'private to kafkajs'],
])('import arrows: %s, is found', (_, path, text, message) => {
  expect(arrows(path, text)).toEqual([expect.stringContaining(message)])
})

test.each([
  ['a folder before', 'runtime/a.ts', "import { x } from '../base/b.ts'"],
  ['its own folder', 'runtime/a.ts', "import { x } from './b.ts'"],
  ['a package', 'kafka/a.ts', "import { Kafka } from 'kafkajs'"],
  ['kafkajs internals in their one file', 'kafka/connection.ts', "const x = require('kafkajs/src/network')"],
  [
    'an example in a comment',
    'base/a.ts',
    "/**\n * import { x } from '../cli/b.ts'\n */\n// import '../cli/b.ts'",
  ],
  ['the entry, naming what is public', 'index.ts', "export { x } from './runtime/b.ts'"],
  ['the cli, over the entry', 'cli/a.ts', "import { x } from '../index.ts'"],
])('import arrows: %s, is allowed', (_, path, text) => {
  expect(arrows(path, text)).toEqual([])
})

test('import arrows: src, has none the wrong way', async () => {
  const sources = await sourcesOf(fileURLToPath(new URL('../../src', import.meta.url)))
  expect(sources.length).toBeGreaterThan(5)
  expect(wrongArrows(sources)).toEqual([])
})
