/**
 * The Dockerfile without a container engine: its steps are run in empty folders, with what its COPY lines bring and
 * nothing else, and what comes out is started as the image would start it, by the service of docker-compose.yml. Not
 * tried that way: the base image, its users, and the file system of an image. Needs a package registry.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'

type Step = { readonly instruction: string; readonly text: string }
type Stage = {
  readonly name: string
  readonly root: string
  readonly env: Record<string, string>
  workdir: string
  volumes: string[]
  entrypoint: readonly string[]
  command: readonly string[]
  health: readonly string[]
}

const context = fileURLToPath(new URL('../..', import.meta.url))
const stages: Stage[] = []
let folder = ''
let kafka: EmbeddedKafka
let compose = ''
let application: ChildProcess | undefined

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-dockerfile-'))
  compose = await readFile(join(context, 'docker-compose.yml'), 'utf8')
  kafka = await EmbeddedKafka.start({ topics: { speeds: 4, 'average-speed': 4, 'average-speed-30s': 4 } })
  const allowed = (await readFile(join(context, '.dockerignore'), 'utf8'))
    .split('\n')
    .filter((line) => line.startsWith('!'))
    .map((line) => line.slice(1))
  for (const step of stepsOf(await readFile(join(context, 'Dockerfile'), 'utf8'))) await take(step, allowed)
}, 300_000)

afterAll(async () => {
  application?.kill('SIGKILL')
  await kafka?.stop()
  await rm(folder, { recursive: true, force: true })
})

function stepsOf(dockerfile: string): Step[] {
  const lines = dockerfile.replaceAll('\\\n', ' ').split('\n')
  return lines
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, instruction = '', text = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? []
      return { instruction, text }
    })
}

async function take({ instruction, text }: Step, allowed: readonly string[]): Promise<void> {
  if (instruction === 'FROM') {
    const [, version, name = 'final'] = /^node:(\d+)-slim(?: AS (\w+))?$/.exec(text) ?? []
    expect(Number(version), `FROM ${text}`).toBeGreaterThanOrEqual(20)
    const root = join(folder, name)
    await mkdir(root)
    stages.push({ name, root, env: {}, workdir: '/', volumes: [], entrypoint: [], command: [], health: [] })
    return
  }
  const stage = stages.at(-1) as Stage
  switch (instruction) {
    case 'WORKDIR':
      stage.workdir = text
      return void (await mkdir(inside(stage, text), { recursive: true }))
    case 'ENV':
      for (const [, name = '', value = ''] of text.matchAll(/(\w+)=(\S+)/g)) stage.env[name] = value
      return
    case 'COPY':
      return copy(stage, text, allowed)
    case 'RUN':
      return run(stage, text)
    case 'ENTRYPOINT':
      return void (stage.entrypoint = JSON.parse(text) as string[])
    case 'CMD':
      return void (stage.command = JSON.parse(text) as string[])
    case 'HEALTHCHECK':
      return void (stage.health = JSON.parse(text.slice(text.indexOf('['))) as string[])
    case 'VOLUME':
      return void stage.volumes.push(text)
    case 'USER':
      return void expect(text, 'the image does not run as root').toBe('node')
    case 'EXPOSE':
      return void expect(text).toBe('4040')
    default:
      throw new Error(`the Dockerfile has ${instruction}, which this test does not know`)
  }
}

/** A path of the image. */
function inside(stage: Stage, path: string): string {
  return join(stage.root, resolve('/', stage.workdir, path))
}

async function copy(stage: Stage, text: string, allowed: readonly string[]): Promise<void> {
  const [, from, rest = ''] = /^(?:--from=(\w+) )?(.*)$/.exec(text) ?? []
  const paths = rest.split(' ')
  const target = paths.pop() as string
  for (const path of paths) {
    if (from === undefined) expect(allowed, `.dockerignore lets ${path} through`).toContain(path)
    const origin = stages.find(({ name }) => name === from)
    const source = origin === undefined ? join(context, path) : inside(origin, path)
    const to = target.endsWith('/')
      ? join(inside(stage, target), path.split('/').at(-1) as string)
      : inside(stage, target)
    await cp(source, to, { recursive: true, verbatimSymlinks: true })
  }
}

async function run(stage: Stage, text: string): Promise<void> {
  // There is no other root here, and perhaps no such user.
  const command = text.replaceAll(/ && chown node:node \S+/g, '').replaceAll(' /', ` ${stage.root}/`)
  const child = spawn('sh', ['-c', command], { cwd: inside(stage, '.'), env: environment(stage) })
  let said = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => (said += text.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  expect(code, `RUN ${text}\n${said}`).toBe(0)
}

/** Only what a container would have, and what npm needs to reach its registry from here. */
function environment(stage: Stage, more: Record<string, string> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) =>
    /^(PATH|HOME|npm_config_|https?_proxy|no_proxy|SSL_CERT|NODE_EXTRA_CA_CERTS)/i.test(name),
  )
  return { ...Object.fromEntries(own), ...stage.env, ...more }
}

function start(stage: Stage, command: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  const [program = '', ...args] = command
  return spawn(program, args, { cwd: inside(stage, '.'), env, stdio: ['ignore', 'pipe', 'pipe'] })
}

async function exitOf(child: ChildProcess): Promise<number | null> {
  const [code] = (await once(child, 'close')) as [number | null]
  return code
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  return typeof address === 'object' && address !== null ? address.port : 0
}

test('Dockerfile: what is in the image, is what runs and nothing to build with', async () => {
  const image = stages.at(-1) as Stage
  expect(stages.map(({ name }) => name)).toEqual(['build', 'final'])
  const child = start(image, [...image.entrypoint, ...image.command], environment(image))
  let help = ''
  child.stdout?.on('data', (text: Buffer) => (help += text.toString()))
  expect(await exitOf(child)).toBe(0)
  expect(help).toContain('millrace')
  const { devDependencies } = JSON.parse(await readFile(join(context, 'package.json'), 'utf8')) as {
    devDependencies: Record<string, string>
  }
  for (const name of Object.keys(devDependencies))
    await expect(readFile(inside(image, `node_modules/${name}/package.json`)), name).rejects.toThrow(/ENOENT/)
})

test('Dockerfile: a copy of docker-compose.yml, is healthy and ready, and ends in its grace time with 0', async () => {
  const image = stages.at(-1) as Stage
  const args = JSON.parse(
    (/^ {4}command: (\['run', .*\])$/m.exec(compose)?.[1] ?? '').replaceAll("'", '"'),
  ) as string[]
  const port = await freePort()
  const env = environment(image, {
    MILLRACE_BROKERS: kafka.address,
    MILLRACE_INSTANCE_ID: 'app-1',
    MILLRACE_STATE_DIR: join(image.root, image.env['MILLRACE_STATE_DIR'] ?? ''),
    // Nobody else on this machine's network is meant.
    MILLRACE_HTTP_HOST: '127.0.0.1',
    MILLRACE_HTTP_PORT: `${port}`,
  })
  expect(image.volumes).toEqual([image.env['MILLRACE_STATE_DIR']])
  const healthy = () =>
    exitOf(
      start(
        image,
        image.health.map((part) => part.replace(':4040/', `:${port}/`)),
        env,
      ),
    )
  application = start(image, [...image.entrypoint, ...args], env)
  let said = ''
  await new Promise<void>((resolve, reject) => {
    const hear = (text: Buffer): void => {
      said += text.toString()
      if (said.includes('http service on ')) resolve()
    }
    application?.stdout?.on('data', hear)
    application?.stderr?.on('data', hear)
    application?.once('close', (code) => reject(new Error(`ended with ${code}:\n${said}`)))
  })
  while ((await fetch(`http://127.0.0.1:${port}/ready`)).status !== 200)
    await new Promise((resolve) => setTimeout(resolve, 100))
  expect(await healthy()).toBe(0)
  const graceMs = Number(/stop_grace_period: (\d+)s/.exec(compose)?.[1]) * 1_000
  const asked = performance.now()
  application.kill('SIGTERM')
  expect(await exitOf(application), said).toBe(0)
  expect(performance.now() - asked).toBeLessThan(graceMs)
  expect(await healthy()).toBe(1)
}, 120_000)
