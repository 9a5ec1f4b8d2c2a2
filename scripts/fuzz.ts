/** Hostile input by the million: `npm run fuzz -- --count 1000000`, or `--seconds 60`; `--seed` for the same again. */
import { parseArgs } from 'node:util'
import { fuzz } from '../test/fuzz/fuzz.ts'
import { targets } from '../test/fuzz/targets.ts'

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '100000' },
    seconds: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
  },
})
const names = Object.keys(targets)
const seed = Number(values.seed)
const limit =
  values.seconds === undefined
    ? { count: Math.ceil(Number(values.count) / names.length) }
    : { seconds: Number(values.seconds) / names.length }
console.log(`seed ${seed}`)
for (const name of names) {
  const start = performance.now()
  const runs = fuzz(name, { seed, ...limit })
  console.log(`${name}: ${runs} in ${((performance.now() - start) / 1000).toFixed(1)} s`)
}
