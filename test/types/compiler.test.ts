/** What the compiler says of mistakes, and how long it takes over a large topology. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-types-'))
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
})

afterAll(() => rm(folder, { recursive: true }))

const prelude = `import { serdes, StreamsBuilder, tumbling } from '${root}/src/index.ts'
type Order = { readonly user: string; readonly total: number }
const builder = new StreamsBuilder()
const both = { keySerde: serdes.string(), valueSerde: serdes.json<Order>() }
const orders = builder.stream('orders', both)
const users = builder.table('users', both)
const totals = orders.mapValues((order) => order.total)
`

/** What tsc prints for a file, and the seconds that it took to check. */
async function compile(
  name: string,
  source: string,
): Promise<{ readonly output: string; readonly checkMs: number }> {
  await writeFile(join(folder, `${name}.ts`), prelude + source)
  const config = join(folder, `${name}.json`)
  await writeFile(
    config,
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        skipLibCheck: true,
        typeRoots: [join(root, 'node_modules/@types')],
        rewriteRelativeImportExtensions: false,
        allowImportingTsExtensions: true,
        noUnusedLocals: false,
      },
      include: [`${name}.ts`],
    }),
  )
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const output = await new Promise<string>((resolve) => {
    execFile(
      process.execPath,
      [tsc, '-p', config, '--extendedDiagnostics', '--pretty', 'false'],
      (_error, stdout) => {
        resolve(stdout)
      },
    )
  })
  const seconds = /^Check time:\s+([\d.]+)s/m.exec(output)?.[1]
  return { output, checkMs: Number(seconds) * 1000 }
}

const mistakes: readonly (readonly [string, string])[] = [
  ["totals.to('x')", "to needs a serde that can't be inferred: give it { valueSerde }"],
  [
    "orders.selectKey((o) => o.user).to('x')",
    "to needs a serde that can't be inferred: give it { keySerde }",
  ],
  [
    "orders.map((o) => [o.user, 1]).to('x')",
    "to needs a serde that can't be inferred: give it { keySerde, valueSerde }",
  ],
  ['totals.repartition()', "repartition needs a serde that can't be inferred: give it { valueSerde }"],
  ['totals.toTable()', "toTable needs a serde that can't be inferred: give it { valueSerde }"],
  [
    'orders.groupBy((o) => o.user).count()',
    "count needs a serde that can't be inferred: give groupByKey or groupBy { keySerde }",
  ],
  [
    'totals.groupByKey().reduce((a, b) => a + b)',
    "reduce needs a serde that can't be inferred: give groupByKey or groupBy { valueSerde }",
  ],
  [
    'orders.groupBy((o) => o.user).windowedBy(tumbling(1)).count()',
    "count needs a serde that can't be inferred: give groupByKey or groupBy { keySerde }",
  ],
  [
    'orders.groupByKey().aggregate(() => 0, () => 1)',
    'aggregate needs the serde of its result: give it { valueSerde }',
  ],
  [
    'orders.groupByKey().cogroup<number>(() => 1).aggregate(() => 0)',
    'aggregate needs the serde of its result: give it { valueSerde }',
  ],
  [
    "users.mapValues(() => 1, { as: 's' })",
    'mapValues needs the serde of its result for its store: give it { valueSerde }',
  ],
  [
    'users.groupBy((o) => [o.user, 1])',
    'groupBy needs the serdes of the new key and value: give it { keySerde, valueSerde }',
  ],
  [
    "users.join(users, () => 1, { as: 's' })",
    'join needs the serde of its result for its store: give it { valueSerde }',
  ],
  [
    'users.joinOnForeignKey(users, (o: Order) => o.user, () => 1)',
    'joinOnForeignKey needs the serde of its result: give it { valueSerde }',
  ],
  [
    'orders.join(totals, () => 1, { within: 1 })',
    "join needs a serde of the other side that can't be inferred: give it { valueSerde } there",
  ],
  [
    'totals.leftJoin(orders, () => 1, { within: 1 })',
    "leftJoin needs a serde that can't be inferred: give it { valueSerde }",
  ],
]

test('types: a serde that is missing, the message names the operator and the option', async () => {
  const { output } = await compile('mistakes', mistakes.map(([line]) => `${line}\n`).join(''))
  const first = prelude.split('\n').length
  for (const [index, [line, message]] of mistakes.entries()) {
    const from = output.indexOf(`mistakes.ts(${first + index},`)
    const next = output.indexOf(`mistakes.ts(${first + index + 1},`, from)
    expect(from, `${line} compiles`).toBeGreaterThan(-1)
    expect(output.slice(from, next === -1 ? undefined : next), line).toContain(message)
  }
})

test('types: a topology of 50 operators, checked in less than 3 s', async () => {
  const lines: string[] = []
  for (let index = 0; index < 5; index++) {
    lines.push(`
      const source${index} = builder.stream('in-${index}', both)
        .filter((order) => order.total > ${index})
        .mapValues((order) => ({ ...order, extra${index}: order.total * 2 }), { valueSerde: serdes.json<Order & { extra${index}: number }>() })
        .selectKey((order) => order.user, { keySerde: serdes.string() })
      const counts${index} = source${index}.groupByKey().windowedBy(tumbling('1m')).count({ as: 'counts-${index}' })
      const sums${index} = source${index}.groupByKey().aggregate(() => 0, (sum, order) => sum + order.extra${index}, { valueSerde: serdes.double() })
      source${index}.leftJoin(sums${index}, (order, sum) => order.extra${index} + (sum ?? 0), { name: 'join-${index}' })
        .to('out-${index}', { valueSerde: serdes.double() })
      counts${index}.toStream((_count, window) => window.key, { keySerde: serdes.string() }).to('counted-${index}')`)
  }
  const { output, checkMs } = await compile('large', lines.join('\n'))
  expect(output).not.toMatch(/error TS/)
  expect(checkMs).toBeLessThan(3_000)
})
