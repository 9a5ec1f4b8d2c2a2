/**
 * Java for the tests: Kafka's own jars by Maven, our small programs in `java/` by javac, and processes that
 * end with the test run. What is fetched and compiled is kept in `node_modules/.cache/millrace`, made once by
 * whoever comes first. A machine without Java or Maven gets an error with the remedy, never a skip.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises'
import { delimiter, join, resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'

/** The releases that the tests know; the first is the default. */
export const kafkaVersions = ['4.3.0', '3.9.1'] as const
export type KafkaVersion = (typeof kafkaVersions)[number]
const registryVersion = '2.1.5.Final'

export type JavaOptions = {
  /** The release whose jars are on the class path. Default: the newest. */
  readonly version?: KafkaVersion
  /** The class path, where it is not Kafka's. */
  readonly jars?: string
  /** System properties. */
  readonly properties?: { readonly [name: string]: string }
  /** Default: 256 MB. */
  readonly heap?: string
  /** Runs long: Java's own choice of compiler and collector, instead of those that start fastest. */
  readonly runsLong?: boolean
  /** Where programs of ours are. Default: `java/` beside this file. */
  readonly programs?: string
}

export type JavaRunOptions = JavaOptions & {
  readonly input?: string | Uint8Array
  readonly timeoutMs?: number
}

// From the working folder: a script runs from where it was compiled to.
const here = resolve('test/kafka')
const cache = resolve('node_modules/.cache/millrace')
const programs = join(here, 'java')
const pom = join(here, 'jars', 'pom.xml')
const remedy = 'install a JDK 17 or newer and Maven (Debian: apt-get install openjdk-17-jdk-headless maven)'

/** What is kept of an output: a broker's log is long, and its end is what tells. */
const keptChars = 8 * 1024 * 1024
function recent(text: string): string {
  return text.length <= keptChars ? text : text.slice(-keptChars / 2)
}

/** A Java process that runs until it is told to end, or this process ends. */
export class JavaProcess {
  readonly exited: Promise<number | null>
  stdout = ''
  stderr = ''
  readonly #child: ChildProcess
  readonly #name: string
  #watchers: (() => void)[] = []

  constructor(child: ChildProcess, name: string) {
    this.#child = child
    this.#name = name
    child.stdout
      ?.setEncoding('utf8')
      .on('data', (text: string) => this.#took(() => (this.stdout = recent(this.stdout + text))))
    child.stderr
      ?.setEncoding('utf8')
      .on('data', (text: string) => this.#took(() => (this.stderr = recent(this.stderr + text))))
    // A process that ended closes its input; what is written after that is lost, which its exit tells.
    child.stdin?.on('error', () => {})
    this.exited = new Promise((resolve, reject) => {
      child.once('error', (error) => reject(missing(name, error)))
      child.once('close', (code) => resolve(code))
    })
    this.exited.then(
      () => this.#took(() => {}),
      () => this.#took(() => {}),
    )
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** Everything it said, the end of it. */
  get tail(): string {
    return `${this.stdout}${this.stderr}`.split('\n').slice(-30).join('\n')
  }

  /** Waits until its output holds the text; throws with the end of its output when it ends first or takes too long. */
  async said(text: string | RegExp, timeoutMs = 60_000): Promise<void> {
    const holds = (): boolean =>
      typeof text === 'string'
        ? this.stdout.includes(text) || this.stderr.includes(text)
        : text.test(this.stdout) || text.test(this.stderr)
    let late = false
    const timer = setTimeout(() => this.#took(() => (late = true)), timeoutMs)
    try {
      while (!holds()) {
        if (!this.running) await this.exited
        if (holds()) return
        if (!this.running) throw new Error(`${this.#name} ended before it said ${text}:\n${this.tail}`)
        if (late) throw new Error(`${this.#name} did not say ${text} in ${timeoutMs} ms:\n${this.tail}`)
        await new Promise<void>((resolve) => this.#watchers.push(resolve))
      }
    } finally {
      clearTimeout(timer)
    }
  }

  write(text: string): void {
    this.#child.stdin?.write(text)
  }

  closeInput(): void {
    this.#child.stdin?.end()
  }

  /** Ends it by a signal, at once by default, and waits until it is gone. */
  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.running) this.#child.kill(signal)
    await this.exited
  }

  #took(change: () => void): void {
    change()
    const watchers = this.#watchers
    this.#watchers = []
    for (const watcher of watchers) watcher()
  }
}

/** The class path of a Kafka release: broker, clients, tools, Kafka Streams and its test driver. */
export async function kafkaJars(version: KafkaVersion = kafkaVersions[0]): Promise<string> {
  const folder = await once(`kafka-${version}-${digest([await readFile(pom, 'utf8')])}`, async (target) => {
    const goal = ['dependency:copy-dependencies', `-DoutputDirectory=${target}`, `-Dkafka.version=${version}`]
    await fetchedBy(goal, `Kafka ${version}`)
  })
  return join(folder, '*')
}

/** What is on this machine already needs no network. */
async function fetchedBy(goal: readonly string[], what: string): Promise<void> {
  const maven = ['-q', '-B', '-f', pom, ...goal]
  const offline = await run('mvn', ['-o', ...maven], { timeoutMs: 120_000 })
  if (offline.exit === 0) return
  const online = await run('mvn', maven, { timeoutMs: 600_000 })
  if (online.exit !== 0) throw new Error(`mvn could not fetch ${what}:\n${online.stdout}${online.stderr}`)
}

/** The class path of a schema registry, about 95 MB, fetched by the tests that need it. */
export async function registryJars(): Promise<string> {
  const artifact = `io.apicurio:apicurio-registry-app:${registryVersion}:tar.gz:all`
  const folder = await once(`registry-${registryVersion}`, async (target) => {
    const goal = ['dependency:copy', `-Dartifact=${artifact}`, `-DoutputDirectory=${target}`]
    await fetchedBy(goal, 'the schema registry')
    const archive = join(target, `apicurio-registry-app-${registryVersion}-all.tar.gz`)
    const { exit, stderr } = await run('tar', ['-xzf', archive, '-C', target])
    if (exit !== 0) throw new Error(`tar could not unpack ${archive}:\n${stderr}`)
    await rm(archive)
  })
  // Its manifest names its libraries.
  return join(folder, `apicurio-registry-app-${registryVersion}-runner.jar`)
}

/** Starts a class of Kafka's, or a program of ours from `java/`, which calls `Guard.untilInputEnds()` first. */
export async function startJava(
  main: string,
  args: readonly string[] = [],
  options: JavaOptions = {},
): Promise<JavaProcess> {
  return new JavaProcess(spawn('java', await javaCommand(main, args, options), { stdio: 'pipe' }), main)
}

/** Runs a class of Kafka's or of ours to its end and gives its standard output; throws where it fails. */
export async function runJava(
  main: string,
  args: readonly string[] = [],
  options: JavaRunOptions = {},
): Promise<string> {
  const { exit, stdout, stderr } = await run('java', await javaCommand(main, args, options), options)
  if (exit !== 0) throw new Error(`java ${main} ${args.join(' ')} ended with ${exit}:\n${stdout}${stderr}`)
  return stdout
}

/** Runs a program of the JDK, or any other, to its end. */
export async function run(
  program: string,
  args: readonly string[],
  options: Pick<JavaRunOptions, 'input' | 'timeoutMs'> = {},
): Promise<{ readonly exit: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(program, args, { stdio: 'pipe' })
  const process = new JavaProcess(child, program)
  child.stdin.end(options.input ?? '')
  const timeoutMs = options.timeoutMs ?? 60_000
  let late = false
  const timer = setTimeout(() => {
    late = true
    child.kill('SIGKILL')
  }, timeoutMs)
  const exit = await process.exited.finally(() => clearTimeout(timer))
  if (late) throw new Error(`${program} ${args.join(' ')} took longer than ${timeoutMs} ms:\n${process.tail}`)
  return { exit, stdout: process.stdout, stderr: process.stderr }
}

/** The arguments of `java` that run a class of Kafka's or of ours. */
export async function javaCommand(
  main: string,
  args: readonly string[],
  options: JavaOptions,
): Promise<string[]> {
  const version = options.version ?? kafkaVersions[0]
  const jars = options.jars ?? (await kafkaJars(version))
  const folder = options.programs ?? programs
  const ours = existsSync(join(folder, `${main}.java`))
  const classPath = ours ? [await compile(folder, main, version, jars), jars] : [jars]
  const properties = { 'org.slf4j.simpleLogger.defaultLogLevel': 'warn', ...options.properties }
  return [
    `-Xmx${options.heap ?? '256m'}`,
    // Tests are short: starting fast is worth more than running fast.
    ...(options.runsLong ? [] : ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC']),
    '-Xshare:auto',
    ...Object.entries(properties).map(([name, value]) => `-D${name}=${value}`),
    '-cp',
    classPath.join(delimiter),
    main,
    ...args,
  ]
}

/** Compiles `MAIN.java` of a folder and what it names of its neighbours; the result is kept until a source changes. */
async function compile(folder: string, main: string, version: KafkaVersion, jars: string): Promise<string> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.java')).sort()
  const sources = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')))
  return once(`java-${main}-${version}-${digest([...names, ...sources])}`, async (target) => {
    const args = [
      '-d',
      target,
      '-cp',
      jars,
      '-sourcepath',
      folder,
      '-proc:none',
      '-nowarn',
      join(folder, `${main}.java`),
    ]
    const { exit, stdout, stderr } = await run('javac', args, { timeoutMs: 120_000 })
    if (exit !== 0) throw new Error(`javac refused ${main}.java:\n${stdout}${stderr}`)
  })
}

/**
 * A folder of the cache, made once: who comes first holds the lock, the others wait for it. The folder gets its
 * name only when it is whole, so a maker that was killed leaves nothing that looks done.
 */
async function once(name: string, make: (target: string) => Promise<void>): Promise<string> {
  const folder = join(cache, name)
  const lock = `${folder}.lock`
  await mkdir(cache, { recursive: true })
  while (!existsSync(folder)) {
    if (await took(lock)) {
      try {
        if (existsSync(folder)) break
        const target = `${folder}.${process.pid}`
        await rm(target, { recursive: true, force: true })
        await mkdir(target, { recursive: true })
        await make(target)
        await rename(target, folder)
      } finally {
        await rm(lock, { force: true })
      }
    } else {
      await wait(100)
    }
  }
  return folder
}

/** The lock is a link to its owner's process id: made at one stroke, name and content. */
async function took(lock: string): Promise<boolean> {
  try {
    await symlink(`${process.pid}`, lock)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const owner = Number(await readlink(lock).catch(() => ''))
    if (owner > 0 && !alive(owner)) await rm(lock, { force: true })
    return false
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function digest(parts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part).update('\0')
  return hash.digest('hex').slice(0, 12)
}

function missing(program: string, error: NodeJS.ErrnoException): Error {
  if (error.code !== 'ENOENT') return error
  return new Error(`${program} is not on the path: ${remedy}`, { cause: error })
}
