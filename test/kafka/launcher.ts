/**
 * A real Apache Kafka (KRaft) on 127.0.0.1 for the tests: one or three brokers on free ports, a folder of its
 * own that goes with it, plain text or every kind of TLS and SASL. It ends the processes that it started and no
 * others, and they end by themselves when the test run is gone.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type JavaOptions,
  type JavaProcess,
  type JavaRunOptions,
  type KafkaVersion,
  kafkaVersions,
  run,
  runJava,
  startJava,
} from './java.ts'

export type { KafkaVersion } from './java.ts'
export { kafkaVersions } from './java.ts'

export type KafkaOptions = {
  readonly brokers?: 1 | 3
  readonly version?: KafkaVersion
  /** Broker properties, beyond and above those of the launcher. */
  readonly properties?: { readonly [name: string]: string | number | boolean }
  /** Opens listeners for TLS, mutual TLS and SASL beside the plain one; `secure` says how to reach them. */
  readonly security?: boolean
  readonly heap?: string
  /** For benchmarks: brokers as they run in earnest, which take longer to start. */
  readonly runsLong?: boolean
}

export type Secure = {
  /** TLS, the client unknown. */
  readonly tls: string
  /** TLS, the client known by its certificate. */
  readonly mutualTls: string
  /** SASL over TLS: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER (unsecured tokens). */
  readonly saslTls: string
  /** The same over plain text. */
  readonly sasl: string
  /** What a client trusts, as PEM. */
  readonly ca: string
  /** A client's own certificate, as `tls.connect` takes it. */
  readonly client: { readonly pfx: Buffer; readonly passphrase: string }
  readonly username: string
  readonly password: string
}

export type RunningKafka = {
  readonly version: KafkaVersion
  /** The first broker, `host:port`. */
  readonly address: string
  /** All brokers. */
  readonly addresses: readonly string[]
  /** Process ids, in the same order; as of the start. */
  readonly pids: readonly number[]
  readonly secure: Secure | undefined
  /** Ends broker N (1 is the first) as a power cut would. */
  readonly kill: (n: number) => Promise<void>
  /** Starts broker N again on what it has on disk, at its old address; gives it time to come up. */
  readonly restart: (n: number) => Promise<void>
  readonly stop: () => Promise<void>
  /** Runs one of Kafka's tools, or a program of ours, of this release; gives its standard output. */
  readonly tool: (main: string, args?: readonly string[], options?: JavaRunOptions) => Promise<string>
  /** Starts one that goes on until it is ended. */
  readonly start: (main: string, args?: readonly string[], options?: JavaOptions) => Promise<JavaProcess>
}

type Listener = { readonly name: string; readonly protocol: string; readonly port: number }
type Broker = { readonly n: number; readonly listeners: readonly Listener[]; readonly config: string }
type Keys = Pick<Secure, 'ca' | 'client'> & { readonly broker: string; readonly trusted: string }

const host = '127.0.0.1'
const started = 'Kafka Server started'
const password = 'millrace-secret'
const username = 'miller'
const cluster = 'bWlsbHJhY2UtdGVzdC0wMQ'
const scrams = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const

export async function startKafka(options: KafkaOptions = {}): Promise<RunningKafka> {
  // Between choosing a port and binding it another process may take it.
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(options)
    } catch (error) {
      if (attempt === 3 || !/Address already in use/.test(String(error))) throw error
    }
  }
}

async function start(options: KafkaOptions): Promise<RunningKafka> {
  const count = options.brokers ?? 1
  const version = options.version ?? kafkaVersions[0]
  const heap = options.heap ?? (count === 1 ? '1g' : '512m')
  const home = await mkdtemp(join(tmpdir(), 'millrace-kafka-'))
  const processes = new Map<number, JavaProcess>()
  const brokers: Broker[] = []

  const launch = async (broker: Broker, format: readonly string[] = []): Promise<void> => {
    const process = await startJava('Broker', [broker.config, ...format], {
      version,
      heap,
      runsLong: options.runsLong ?? false,
      properties: { 'org.slf4j.simpleLogger.defaultLogLevel': 'info', 'kafka.logs.dir': home },
    })
    processes.set(broker.n, process)
    await process.said(started, 100_000)
  }
  const stop = async (): Promise<void> => {
    await Promise.all([...processes.values()].map((process) => process.end()))
    await rm(home, { recursive: true, force: true })
  }
  const pick = (n: number): Broker => {
    const broker = brokers[n - 1]
    if (broker === undefined) throw new Error(`this Kafka has ${count} brokers, not a broker ${n}`)
    return broker
  }

  try {
    const keys = options.security ? await makeKeys(home) : undefined
    const listeners: Listener[][] = []
    for (let n = 1; n <= count; n++) listeners.push(await makeListeners(keys !== undefined))
    for (const [index, own] of listeners.entries()) {
      const n = index + 1
      const config = join(home, `broker-${n}.properties`)
      const properties = {
        ...brokerProperties(n, listeners, join(home, `data-${n}`), keys),
        ...options.properties,
      }
      await mkdir(join(home, `data-${n}`))
      await writeFile(
        config,
        Object.entries(properties)
          .map(([name, value]) => `${name}=${value}\n`)
          .join(''),
      )
      brokers.push({ n, listeners: own, config })
    }
    const users = keys === undefined ? [] : scrams.flatMap((scram) => ['--add-scram', scramUser(scram)])
    const format = ['format', '-t', cluster, ...users]
    await Promise.all(brokers.map((broker) => launch(broker, [...format, '-c', broker.config])))

    const at = (broker: Broker, name: string): string =>
      `${host}:${broker.listeners.find((listener) => listener.name === name)?.port}`
    const first = pick(1)
    const secure: Secure | undefined = keys && {
      tls: at(first, 'TLS'),
      mutualTls: at(first, 'MUTUAL'),
      saslTls: at(first, 'SASLTLS'),
      sasl: at(first, 'SASL'),
      ca: keys.ca,
      client: keys.client,
      username,
      password,
    }
    return {
      version,
      address: at(first, 'PLAIN'),
      addresses: brokers.map((broker) => at(broker, 'PLAIN')),
      pids: brokers.map((broker) => processes.get(broker.n)?.pid ?? 0),
      secure,
      kill: async (n) => processes.get(pick(n).n)?.end(),
      restart: async (n) => {
        await processes.get(pick(n).n)?.end()
        await launch(pick(n))
      },
      stop,
      tool: (main, args = [], more = {}) => runJava(main, args, { version, ...more }),
      start: (main, args = [], more = {}) => startJava(main, args, { version, ...more }),
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function brokerProperties(
  n: number,
  listeners: readonly (readonly Listener[])[],
  data: string,
  keys: Keys | undefined,
): { [name: string]: string | number | boolean } {
  const own = listeners[n - 1] ?? []
  const replicas = listeners.length
  const url = (listener: Listener): string => `${listener.name}://${host}:${listener.port}`
  const controller = (of: readonly Listener[]): number | undefined =>
    of.find((listener) => listener.name === 'CONTROLLER')?.port
  return {
    'process.roles': 'broker,controller',
    'node.id': n,
    'controller.quorum.voters': listeners
      .map((of, index) => `${index + 1}@${host}:${controller(of)}`)
      .join(','),
    listeners: own.map(url).join(','),
    'advertised.listeners': own
      .filter((listener) => listener.name !== 'CONTROLLER')
      .map(url)
      .join(','),
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAIN',
    'listener.security.protocol.map': own
      .map((listener) => `${listener.name}:${listener.protocol}`)
      .join(','),
    'log.dirs': data,
    'offsets.topic.num.partitions': 8,
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.num.partitions': 8,
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': replicas > 1 ? 2 : 1,
    'default.replication.factor': replicas,
    'min.insync.replicas': replicas > 1 ? 2 : 1,
    // Tests write records with old timestamps and wait for every rebalance.
    'log.retention.ms': -1,
    // An index is a file of that size, mapped and read as far ahead as the machine does. Of Kafka's own 10 MB some read
    // 8 at the first write to a partition: 20 ms of the broker for each, longer than what is to be measured or waited for.
    'log.index.size.max.bytes': 262_144,
    'group.initial.rebalance.delay.ms': 0,
    // A killed broker may register again only when its session has run out.
    'broker.heartbeat.interval.ms': 1000,
    'broker.session.timeout.ms': 4000,
    ...(keys && secureProperties(keys)),
  }
}

function secureProperties(keys: Keys): { [name: string]: string } {
  const common = 'org.apache.kafka.common.security'
  const properties: { [name: string]: string } = {
    'ssl.keystore.type': 'PKCS12',
    'ssl.keystore.location': keys.broker,
    'ssl.keystore.password': password,
    'ssl.key.password': password,
    'ssl.truststore.type': 'PKCS12',
    'ssl.truststore.location': keys.trusted,
    'ssl.truststore.password': password,
    'listener.name.mutual.ssl.client.auth': 'required',
    'sasl.enabled.mechanisms': ['PLAIN', ...scrams, 'OAUTHBEARER'].join(','),
  }
  for (const listener of ['sasl', 'sasltls']) {
    const login = (mechanism: string, module: string, extra = ''): void => {
      properties[`listener.name.${listener}.${mechanism}.sasl.jaas.config`] =
        `${common}.${module} required${extra};`
    }
    login('plain', 'plain.PlainLoginModule', ` user_${username}="${password}"`)
    for (const scram of scrams) login(scram.toLowerCase(), 'scram.ScramLoginModule')
    login('oauthbearer', 'oauthbearer.OAuthBearerLoginModule', ' unsecuredLoginStringClaim_sub="broker"')
  }
  return properties
}

function scramUser(scram: string): string {
  return `${scram}=[name=${username},password=${password}]`
}

async function makeListeners(secure: boolean): Promise<Listener[]> {
  const kinds = [
    ['PLAIN', 'PLAINTEXT'],
    ['CONTROLLER', 'PLAINTEXT'],
    ...(secure
      ? [
          ['TLS', 'SSL'],
          ['MUTUAL', 'SSL'],
          ['SASLTLS', 'SASL_SSL'],
          ['SASL', 'SASL_PLAINTEXT'],
        ]
      : []),
  ] as const
  const listeners: Listener[] = []
  for (const [name, protocol] of kinds)
    listeners.push({ name: name ?? '', protocol: protocol ?? '', port: await freePort() })
  return listeners
}

const taken = new Set<number>()

/** Below the range that outgoing connections use, so that nobody takes it while its broker is down. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    if (taken.has(port) || !(await free(port))) continue
    taken.add(port)
    return port
  }
}

function free(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, host, () => server.close(() => resolve(true)))
  })
}

/** A certificate for the brokers, which clients trust, and one for a client, which the brokers trust. */
async function makeKeys(home: string): Promise<Keys> {
  const file = (name: string): string => join(home, name)
  const keytool = async (...args: string[]): Promise<void> => {
    const { exit, stdout, stderr } = await run('keytool', [
      ...args,
      '-storepass',
      password,
      '-storetype',
      'PKCS12',
    ])
    if (exit !== 0) throw new Error(`keytool ${args.join(' ')} ended with ${exit}:\n${stdout}${stderr}`)
  }
  const pair = async (name: string): Promise<void> => {
    const subject = ['-dname', `CN=${name}`, '-ext', `SAN=IP:${host},DNS:localhost`]
    await keytool(
      '-genkeypair',
      '-alias',
      name,
      '-keyalg',
      'RSA',
      '-keysize',
      '2048',
      ...subject,
      '-keystore',
      file(`${name}.p12`),
    )
    await keytool(
      '-exportcert',
      '-rfc',
      '-alias',
      name,
      '-keystore',
      file(`${name}.p12`),
      '-file',
      file(`${name}.pem`),
    )
  }
  await Promise.all([pair('broker'), pair('client')])
  await keytool(
    '-importcert',
    '-noprompt',
    '-alias',
    'client',
    '-file',
    file('client.pem'),
    '-keystore',
    file('trusted.p12'),
  )
  return {
    broker: file('broker.p12'),
    trusted: file('trusted.p12'),
    ca: await readFile(file('broker.pem'), 'utf8'),
    client: { pfx: await readFile(file('client.p12')), passphrase: password },
  }
}
