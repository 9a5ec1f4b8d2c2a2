/**
 * `npm run test:node24`: the tests of `npm test` on Node 24, whatever Node is at hand. The binary comes as an npm
 * package into a cache folder, once; where this is Node 24, nothing is fetched. Arguments go to vitest.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const version = '24.21.0'
const node = nodeBinary()
const { stdout } = spawnSync(node, ['--version'], { encoding: 'utf8' })
console.log(`tests on Node ${stdout.trim()}`)
const vitest = spawnSync(node, ['node_modules/vitest/vitest.mjs', 'run', ...process.argv.slice(2)], {
  stdio: 'inherit',
})
process.exitCode = vitest.status ?? 1

function nodeBinary(): string {
  if (process.versions.node.startsWith('24.')) return process.execPath
  const name = `node-${process.platform}-${process.arch}`
  const folder = join('node_modules', '.cache', 'millrace', `node-${version}`)
  const binary = join(folder, 'node_modules', name, 'bin', 'node')
  if (!existsSync(binary)) {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'package.json'), '{ "private": true }')
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
    const args = ['install', '--prefix', folder, '--no-save', '--ignore-scripts', `${name}@${version}`]
    const { status, error } = spawnSync(npm, args, { stdio: 'inherit', shell: process.platform === 'win32' })
    if (status !== 0 || !existsSync(binary)) {
      throw new Error(`npm has no Node ${version} as ${name}; run the tests with a Node 24 on the path`, {
        cause: error,
      })
    }
  }
  return join(process.cwd(), binary)
}
