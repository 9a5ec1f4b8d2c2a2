/**
 * Compares with the real thing: `npm run differential -- --seed N [--cases 600] [--keep DIR]`. Makes random cases of
 * that seed, has Kafka Streams answer them (Java 17 and Maven), runs them here on both engines, and ends with
 * `N same, M different`; exit 1 where any differed. Those that differ are written to DIR. `--save FILE` keeps all of
 * them, `--answered DIR` compares with answers that are there already.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { type Case, caseFiles, compare, readCases } from '../test/conformance/case.ts'
import { randomCases } from '../test/conformance/generator.ts'
import { runCase } from '../test/conformance/run-case.ts'

const oracle = 'test/conformance/oracle'
const build = 'node_modules/.cache/millrace/oracle'

function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    maxBuffer: 64_000_000,
  })
  if (error !== undefined) {
    throw new Error(
      `${command} does not run (${error.message}); install a JDK 17 or later and Maven: apt-get install -y openjdk-17-jdk-headless maven`,
    )
  }
  if (status !== 0) throw new Error(`${command} ${args[0] ?? ''} ended with ${status}:\n${stdout}\n${stderr}`)
  return stdout
}

/** Compiles the program that asks Kafka Streams, once per version of its source. */
function classPath(): string {
  const list = join(build, 'class-path.txt')
  const stamp = join(build, 'pom.xml')
  const source = (path: string) => readFileSync(join(path, 'src/main/java/oracle/Main.java'), 'utf8')
  const fresh = existsSync(list) && existsSync(stamp) && source(build) === source(oracle)
  if (!fresh) {
    rmSync(build, { recursive: true, force: true })
    mkdirSync(build, { recursive: true })
    cpSync(oracle, build, { recursive: true })
    run(
      'mvn',
      ['-q', '-B', 'compile', 'dependency:build-classpath', '-Dmdep.outputFile=class-path.txt'],
      build,
    )
  }
  return `${resolve(build, 'target/classes')}:${readFileSync(list, 'utf8').trim()}`
}

/** Has Kafka Streams answer cases. */
function answer(cases: readonly Case[]): Case[] {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-differential-'))
  try {
    const [asked, answered, state] = ['asked', 'answered', 'state'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ]
    mkdirSync(asked)
    mkdirSync(answered)
    writeFileSync(join(asked, 'cases.json'), JSON.stringify(cases))
    const java = ['-Xmx1g', '-XX:TieredStopAtLevel=1', `-Doracle.state=${state}`]
    run('java', [...java, '-cp', classPath(), 'oracle.Main', asked, answered], folder)
    return caseFiles(answered).flatMap(readCases)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** One case a line. */
function listOf(cases: readonly Case[]): string {
  return `[\n${cases.map((one) => JSON.stringify(one)).join(',\n')}\n]\n`
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      cases: { type: 'string', default: '600' },
      keep: { type: 'string', default: 'test/conformance/cases/regressions' },
      answered: { type: 'string' },
      save: { type: 'string' },
    },
  })
  const seed = Number(values.seed)
  const count = Number(values.cases)
  if (!Number.isSafeInteger(seed) || !(count > 0)) {
    console.error('usage: npm run differential -- --seed N [--cases 600] [--keep DIR]')
    return 2
  }
  const answered =
    values.answered === undefined
      ? answer(randomCases(seed, count))
      : caseFiles(values.answered).flatMap(readCases)
  if (values.save !== undefined) writeFileSync(values.save, listOf(answered))
  let same = 0
  const different: Case[] = []
  const kinds = new Map<string, number>()
  for (const one of answered) {
    const found: string[] = []
    for (const engine of ['memory', 'rocksdb'] as const) {
      const text = compare(one, await runCase(one, { engine }))
      if (text !== null) found.push(`${engine}: ${text}`)
    }
    const kind = one.name.slice(one.name.lastIndexOf('-') + 1)
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    if (found.length === 0) {
      same++
      continue
    }
    different.push(one)
    for (const text of found) console.log(`different ${one.name}\n  ${text}`)
  }
  if (different.length > 0) {
    mkdirSync(values.keep, { recursive: true })
    const file = join(values.keep, `seed-${seed}.json`)
    writeFileSync(file, listOf(different))
    console.log(`those that differ are in ${file}`)
  }
  console.log(`seed ${seed}: ${[...kinds].map(([kind, of]) => `${of} ${kind}`).join(', ')}`)
  console.log(`${same} same, ${different.length} different`)
  return different.length > 0 ? 1 : 0
}

main().then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 2
  },
)
