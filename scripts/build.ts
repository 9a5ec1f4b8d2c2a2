/** `npm run build`: dist/ from src/, from scratch, so that nothing of a former build is packed. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { bundle } from './bundle.ts'

rmSync('dist', { recursive: true, force: true })
const tsc = 'node_modules/typescript/bin/tsc'
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', '--emitDeclarationOnly'], {
  stdio: 'inherit',
})
await bundle(resolve('src'), 'dist', 'tsconfig.build.json')
const { bin } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  bin: { readonly [name: string]: string }
}
for (const file of Object.values(bin)) if (existsSync(file)) chmodSync(file, 0o755)
process.exitCode = status ?? 1
