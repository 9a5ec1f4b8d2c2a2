/** `npm run bench -- FLAGS`: suite.ts, once it is JavaScript. */
import { pathToFileURL } from 'node:url'
import { buildBench } from './build.ts'

const built = await buildBench()
process.on('exit', built.remove)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
const suite = (await import(
  pathToFileURL(`${built.folder}/bench/suite.js`).href
)) as typeof import('./suite.ts')
process.exitCode = await suite.main(process.argv.slice(2), built.folder)
process.exit()
