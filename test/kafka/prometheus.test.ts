/**
 * A real Prometheus scrapes a running application, and promtool judges the rules. Both come with Debian's package
 * `prometheus`, which .ci/run installs; where they are missing these tests are skipped and say so.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Millrace } from '../../src/service/millrace.ts'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import wordCount from '../../topologies/word-count.ts'

const installed =
  spawnSync('promtool', ['--version']).status === 0 && spawnSync('prometheus', ['--version']).status === 0
const why = installed ? '' : ' (skipped: no prometheus and promtool here; apt-get install prometheus)'

const alerts = (readFileSync('deploy/prometheus/alerts.yml', 'utf8').match(/- alert:/g) ?? []).length

const promtool = (...args: string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    execFile('promtool', args, (error, stdout, stderr) => {
      if (error === null) resolve(stdout + stderr)
      else reject(new Error(stdout + stderr))
    })
  })

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })

describe.skipIf(!installed)(`prometheus${why}`, () => {
  let folder = ''
  let kafka: EmbeddedKafka
  let application: Millrace
  let prometheus: ChildProcess
  let address = ''

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-prometheus-'))
    kafka = await EmbeddedKafka.start({ topics: { lines: 1, counts: 1 } })
    application = new Millrace(wordCount, {
      applicationId: 'scraped',
      brokers: [kafka.address],
      stateDir: join(folder, 'state'),
      http: { port: 0, token: 'scrape-me' },
      logLevel: 'error',
    })
    await application.start()
    const target = new URL(application.httpAddress ?? '').host
    await cp('deploy/prometheus/alerts.yml', join(folder, 'alerts.yml'))
    await writeFile(
      join(folder, 'prometheus.yml'),
      `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [alerts.yml]
scrape_configs:
  - job_name: millrace
    authorization: { credentials: scrape-me }
    static_configs: [{ targets: ['${target}'] }]
`,
    )
    const port = await freePort()
    address = `http://127.0.0.1:${port}`
    prometheus = spawn(
      'prometheus',
      [
        `--config.file=${join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: 'ignore' },
    )
  })
  afterAll(async () => {
    prometheus?.kill('SIGKILL')
    await application?.close()
    await kafka?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  type Answer = {
    readonly data: { readonly result: readonly { readonly value: readonly [number, string] }[] }
  }

  /** Asks until the query has a result: Prometheus tells nobody when it has scraped. */
  async function query(expr: string): Promise<number> {
    for (let tries = 0; tries < 120; tries++) {
      const answer = await fetch(`${address}/api/v1/query?query=${encodeURIComponent(expr)}`).then(
        (response) => response.json() as Promise<Answer>,
        () => null,
      )
      const value = answer?.data.result[0]?.value[1]
      if (value !== undefined) return Number(value)
      await new Promise((resolve) => setTimeout(resolve, 250))
    }
    throw new Error(`no result for ${expr}`)
  }

  test('prometheus: promtool takes the rules and the configuration', async () => {
    expect(await promtool('check', 'rules', 'deploy/prometheus/alerts.yml')).toMatch(
      new RegExp(`SUCCESS: ${alerts} rules found`),
    )
    expect(await promtool('check', 'config', '--syntax-only', 'deploy/prometheus/prometheus.yml')).toContain(
      'SUCCESS',
    )
  })

  test('prometheus: it scrapes the application with its token', async () => {
    expect(await query('up{job="millrace"} == 1')).toBe(1)
    expect(await query('millrace_ready{application="scraped"}')).toBe(1)
    expect(await query('millrace_state{state="running"} == 1')).toBe(1)
  })

  test('prometheus: the exposition passes its linter', async () => {
    const response = await fetch(`${application.httpAddress}/metrics`, {
      headers: { authorization: 'Bearer scrape-me' },
    })
    const text = (await response.text())
      .replace(/^# (HELP|TYPE) (process|nodejs)_.*\n/gm, '')
      .replace(/^(process|nodejs)_.*\n/gm, '')
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
    expect(checked.stdout + checked.stderr).toBe('')
  })

  test('prometheus: the rules are loaded and evaluated without an error', async () => {
    await query('up{job="millrace"} == 1')
    const { data } = (await (await fetch(`${address}/api/v1/rules`)).json()) as {
      data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] }
    }
    const rules = data.groups.flatMap((group) => group.rules)
    expect(rules.length).toBe(alerts)
    expect(rules.filter(({ lastError }) => lastError !== undefined && lastError !== '')).toEqual([])
  })
})
