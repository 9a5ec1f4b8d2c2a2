import { Millrace } from '../src/runtime/application.ts'

const total = Number(process.env['TOTAL'] ?? 4_000_000)
let committed = 0,
  commits = 0,
  out = 0,
  cut = 0
let started = 0
const app = new Millrace(new URL('./workloads/window-count.js', import.meta.url), {
  applicationId: process.env['APP'] ?? 'dev-' + Date.now(),
  brokers: ['127.0.0.1:29092'],
  stateDir: '/tmp/dev-state',
  logLevel: 'info',
  threads: Number(process.env['THREADS'] ?? 2),
  defaultStore: (process.env['STORE'] as 'memory') ?? 'rocksdb',
  hooks: {
    committed(done) {
      committed += done.inputRecords
      commits++
      out += done.outputRecords
      cut += done.cutMs
      if (committed >= total) finish()
    },
    state(s) {
      console.log(s, Date.now() - t0)
    },
  },
})
const t0 = Date.now()
let finished = false
function finish() {
  if (finished) return
  finished = true
  const ms = Date.now() - started
  const cpu = process.cpuUsage()
  console.log(
    `${committed} in ${ms} ms: ${Math.round((committed / ms) * 1000)}/s, commits ${commits}, out ${out}, cut ${Math.round(cut)} ms, cpu ${((cpu.user + cpu.system) / 1e6).toFixed(1)} s, rss ${Math.round(process.memoryUsage().rss / 1e6)} MB`,
  )
  void app.close().then(() => console.log('closed'))
}
await app.start()
started = Date.now()
