/**
 * Millrace under test: a process of its own. Its argument is the configuration as JSON. It says `RUNNING`, the time,
 * when its tasks run; once its input ends it says what it did and closes.
 */
import { Millrace } from '../../src/index.ts'

type Config = ConstructorParameters<typeof Millrace>[1]

const config = JSON.parse(process.argv[2] ?? '{}') as Config
let commits = 0
let changelogRecords = 0
let restored = 0
const app = new Millrace(new URL('../workloads/topologies.js', import.meta.url), {
  ...config,
  logLevel: 'warn',
  hooks: {
    committed(done) {
      commits++
      changelogRecords += done.changelogRecords
    },
    restore(progress) {
      if (progress.phase === 'end') restored += progress.records
    },
  },
})
app.onState((state) => {
  console.log(`STATE ${state} ${Date.now()}`)
  if (state !== 'error') return
  console.error(app.error)
  process.exit(1)
})
process.stdin.resume()
process.stdin.once('end', () => {
  console.log(`DONE ${JSON.stringify({ commits, changelogRecords, restored })}`)
  void app.close().then(() => process.exit(0))
})
void app.start().then(
  () => console.log(`RUNNING ${Date.now()} ${JSON.stringify({ restored })}`),
  (error: unknown) => {
    console.error(error)
    process.exit(1)
  },
)
