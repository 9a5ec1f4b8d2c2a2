/**
 * Runs conformance cases: `npm run conformance -- DIR`. Every `*.json` below DIR, once per store engine, and the text
 * of `describe` where a case has it. Ends with `N passed, M failed`; exit 1 where any failed.
 */
import { relative } from 'node:path'
import { type Case, caseFiles, compare, readCases } from '../test/conformance/case.ts'
import { describeDiffers, runCase } from '../test/conformance/run-case.ts'

const engines = ['memory', 'rocksdb'] as const

async function main(args: readonly string[]): Promise<number> {
  const [path = 'test/conformance/cases', ...rest] = args
  if (path.startsWith('-') || rest.length > 0) {
    console.error('usage: npm run conformance -- DIR')
    return 2
  }
  let passed = 0
  let failed = 0
  let quirks = 0
  const differ: string[] = []
  for (const file of caseFiles(path)) {
    let cases: readonly Case[]
    try {
      cases = readCases(file)
    } catch (error) {
      failed++
      console.log(`failed ${relative('.', file)}\n  it can not be read: ${textOf(error)}`)
      continue
    }
    for (const one of cases) {
      const found = await differences(one)
      if (one.quirk !== undefined) {
        quirks++
        if (found.length > 0) differ.push(`quirk ${one.name}\n  ${found[0]}`)
      } else if (found.length === 0) {
        passed++
      } else {
        failed++
        for (const text of found) console.log(`failed ${one.name} (${relative('.', file)})\n  ${text}`)
      }
    }
  }
  if (quirks > 0) {
    console.log(
      `${quirks} cases pin accidents of Kafka Streams, ${quirks - differ.length} of them came out the same`,
    )
    for (const text of differ) console.log(text)
  }
  console.log(`${passed} passed, ${failed} failed`)
  return failed > 0 ? 1 : 0
}

async function differences(one: Case): Promise<string[]> {
  const found: string[] = []
  try {
    for (const engine of engines) {
      const text = compare(one, await runCase(one, { engine }))
      if (text !== null) found.push(`${engine}: ${text}`)
    }
    if (one.expectedError?.phase !== 'build') {
      const text = describeDiffers(one)
      if (text !== null) found.push(text)
    }
  } catch (error) {
    found.push(`it could not be run: ${textOf(error)}`)
  }
  return found
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    console.error(textOf(error))
    process.exitCode = 2
  },
)
