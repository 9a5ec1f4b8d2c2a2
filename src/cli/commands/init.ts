/** `millrace init`: a new project, of files that are there to be changed. Nothing that exists is written over. */
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { version } from '../../base/version.ts'
import { type ExitCode, exitCodes, FailedError, UsageError } from '../exit.ts'
import type { Io } from '../io.ts'

export async function run(
  io: Io,
  given: Readonly<Record<string, unknown>>,
  folder: string,
): Promise<ExitCode> {
  const target = resolve(io.cwd, folder)
  const name =
    basename(target)
      .toLowerCase()
      .replace(/[^a-z0-9._-]/g, '-')
      .replace(/^[._-]+/, '') || 'app'
  const files = projectFiles(
    name,
    given['package'] === undefined ? undefined : fileSpec(io, target, String(given['package'])),
  )
  const there = Object.keys(files).filter((file) => existsSync(join(target, file)))
  if (there.length > 0) {
    throw new FailedError(
      `${relative(io.cwd, target) || '.'} has ${there.join(', ')} already; give an empty folder: millrace init NAME`,
    )
  }
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(target, file)), { recursive: true })
    await writeFile(join(target, file), text, { flag: 'wx' })
  }
  if (given['json'] === true) {
    io.out(`${JSON.stringify({ folder: target, files: Object.keys(files) })}\n`)
    return exitCodes.done
  }
  const change = target === io.cwd ? '' : `cd ${relative(io.cwd, target)} && `
  io.out(
    `${name} is in ${target}: ${Object.keys(files).join(', ')}\n\nNext:\n  ${change}npm install\n  npm test     its test, without Kafka\n  npm start    it runs, on an embedded Kafka with made-up input\n`,
  )
  return exitCodes.done
}

/** As npm names a file or a folder in a package.json, seen from there. */
function fileSpec(io: Io, target: string, given: string): string {
  const path = resolve(io.cwd, given)
  if (!existsSync(path)) throw new UsageError(`--package ${given}: there is no such file; npm pack makes one`)
  return `file:${relative(target, path).replaceAll('\\', '/')}`
}

export function projectFiles(name: string, source = `^${version}`): Readonly<Record<string, string>> {
  return {
    'package.json': `${JSON.stringify(
      {
        name,
        version: '0.1.0',
        private: true,
        type: 'module',
        engines: { node: '>=20.19' },
        scripts: {
          start: 'millrace dev topology.ts',
          run: 'millrace run topology.ts',
          describe: 'millrace describe topology.ts',
          test: 'vitest run',
          typecheck: 'tsc',
        },
        dependencies: { millrace: source },
        devDependencies: { '@types/node': '^20.19.0', typescript: '>=5.9', vitest: '^4.1.0' },
      },
      null,
      2,
    )}\n`,
    'tsconfig.json': `${JSON.stringify(
      {
        compilerOptions: {
          target: 'es2022',
          module: 'nodenext',
          moduleResolution: 'nodenext',
          types: ['node'],
          strict: true,
          noEmit: true,
          allowImportingTsExtensions: true,
          erasableSyntaxOnly: true,
          verbatimModuleSyntax: true,
          skipLibCheck: true,
        },
        include: ['*.ts', 'test'],
      },
      null,
      2,
    )}\n`,
    '.gitignore': 'node_modules/\n.millrace/\n',
    'millrace.json': `${JSON.stringify({ applicationId: name, brokers: 'localhost:9092' }, null, 2)}\n`,
    'topology.ts': `/** Orders by product: how many were sold in each minute, in event time. */
import { serdes, StreamsBuilder, tumbling } from 'millrace'
import type { Generate } from 'millrace/testing'

export type Order = { readonly product: string; readonly pieces: number }

const builder = new StreamsBuilder()

builder
  .stream('orders', { keySerde: serdes.string(), valueSerde: serdes.json<Order>() })
  .groupBy(({ product }) => product, { name: 'by-product', keySerde: serdes.string() })
  .windowedBy(tumbling('1m', { grace: '10s' }))
  .aggregate(() => 0, (sold, { pieces }) => sold + pieces, { as: 'sold-per-minute', valueSerde: serdes.long() })
  .toStream()
  .to('sold-per-minute')

export default builder.build()

/** Input for \`npm start\`. */
export const generate: Generate = function* ({ integer, pick }) {
  for (let number = 1; ; number++) {
    const product = pick(['coffee', 'tea', 'cocoa'])
    yield { topic: 'orders', key: \`order-\${number}\`, value: { product, pieces: 1 + integer(5) } }
  }
}
`,
    'test/topology.test.ts': `import { expect, test } from 'vitest'
import { Windowed } from 'millrace'
import { TopologyTestDriver } from 'millrace/testing'
import topology, { type Order } from '../topology.ts'

test('sold per minute: orders of one minute add up, those of the next begin anew', async () => {
  const driver = await TopologyTestDriver.start(topology)
  const orders = driver.input<string, Order>('orders')
  await orders.pipe('order-1', { product: 'tea', pieces: 2 }, { timestamp: 1_000 })
  await orders.pipe('order-2', { product: 'tea', pieces: 3 }, { timestamp: 59_000 })
  await orders.pipe('order-3', { product: 'tea', pieces: 1 }, { timestamp: 60_000 })

  expect(await driver.output('sold-per-minute').readKeyValues()).toEqual([
    [new Windowed('tea', 0, 60_000), 2],
    [new Windowed('tea', 0, 60_000), 5],
    [new Windowed('tea', 60_000, 120_000), 1],
  ])
  await driver.close()
})
`,
    'README.md': `# ${name}

A stream processing topology with Millrace: \`topology.ts\`.

\`\`\`sh
npm install
npm test               # its test, without Kafka
npm start              # on an embedded Kafka, with made-up input; change topology.ts and watch
npm run run            # on the Kafka of millrace.json
npx millrace config topology.ts      # every setting, and where it came from
\`\`\`
`,
  }
}
