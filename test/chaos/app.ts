/**
 * One process of the application under chaos (topology.ts): `node app.js CONFIG`, the configuration as JSON. It is told
 * what to do by lines: `add` and `remove` a thread, `leave` the group and stop; where its input ends it stops, and a
 * static member stays one.
 */
import { createInterface } from 'node:readline'
import { Millrace } from '../../src/runtime/application.ts'
import type { Config } from '../../src/runtime/options.ts'

const threadsMax = 3

function say(text: string): void {
  console.log(`${new Date().toISOString()} ${text}`)
}

const config = JSON.parse(process.argv[2] as string) as Config
const app = new Millrace(new URL('./topology.js', import.meta.url), {
  ...config,
  hooks: {
    state: (state) => say(state),
    rebalanced: (generation, active, replicas, ms) =>
      say(`generation ${generation}: ${active} tasks, ${replicas} replicas, ${ms} ms`),
    threadState: (thread, state) => say(`${thread} ${state}`),
  },
})

let changing = Promise.resolve()

async function change(what: string): Promise<void> {
  const threads = app.status().threads.length
  if (app.state === 'created' || (what === 'add' ? threads >= threadsMax : threads <= 1)) return
  const name = await (what === 'add' ? app.addThread() : app.removeThread())
  say(`${what} ${name}`)
}

function end(leaveGroup: boolean): void {
  app.close(leaveGroup ? { leaveGroup } : {}).then(
    () => process.exit(0),
    (error) => {
      say(String(error?.stack ?? error))
      process.exit(1)
    },
  )
}

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => {
  if (line === 'leave') end(true)
  else changing = changing.then(() => change(line)).catch((error) => say(`${line}: ${error?.stack ?? error}`))
})
lines.on('close', () => end(false))
app.onState((state) => {
  // As a supervisor would see it: the process ends, and is started again.
  if (state === 'error') {
    say(`${app.error?.stack}`)
    process.exit(1)
  }
})
app.start().catch((error) => {
  say(String(error?.stack ?? error))
  process.exit(1)
})
