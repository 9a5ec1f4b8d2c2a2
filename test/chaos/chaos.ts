/**
 * Chaos with a seed: copies of an application under load on a real Kafka. One of them is killed (-9) at random every few
 * seconds, the broker now and then; in between copies stop and start and change the number of their threads. The seed
 * also says whether there are standbys, and whether members are static. In the end everything must be as if nothing had
 * happened: counts by their last value, joins as a multiset, compared with a model of the input. How long partitions
 * stood still meanwhile is told by what had befallen them.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect, type FetchedChunk, type KafkaClient, type TopicPartition } from '../../src/kafka/index.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { partitionFor } from '../../src/wire/murmur2.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'
import { drawFrom, scattered } from '../wire/draw.ts'
import { compile } from './compile.ts'
import { joinMs, windowMs } from './windows.ts'

export type ChaosOptions = {
  readonly minutes: number
  readonly seed: number
  readonly brokers: string
  /** Ends the broker as a power cut would, and brings it back. Left out, brokers are left alone. */
  readonly restartBroker?: () => Promise<void>
  readonly recordsPerSecond?: number
  readonly say?: (line: string) => void
}

export type ChaosResult = {
  readonly seed: number
  readonly records: number
  readonly kills: number
  readonly brokerRestarts: number
  readonly duplicates: number
  readonly losses: number
  readonly longestStallMs: number
  /** Copies that were started beside the first ones, and those that stopped in order. */
  readonly starts: number
  readonly stops: number
  readonly threadChanges: number
  readonly standbys: 0 | 1
  readonly staticMembers: boolean
  /** Of a second or longer, by what had happened just before or meanwhile: the gravest counts. */
  readonly stalls: Readonly<Partial<Record<Trouble, StallFigures>>>
  /** The longest that the broker was away. What follows a broker's restart counts from when it is back. */
  readonly brokerAwayMs: number
}

export type StallFigures = { readonly count: number; readonly medianMs: number; readonly longestMs: number }

/** The later in this list, the graver. */
const troubles = ['none', 'threads', 'start', 'stop', 'kill', 'broker'] as const
export type Trouble = (typeof troubles)[number]

const slots = 4
const slotsAtFirst = 3
const slotsLeast = 2
const partitions = 4
const tickMs = 100
/** Shorter ones are not told. */
const stallMs = 1_000
const settleMs = 120_000
const sessionMs = 6_000
/**
 * The output rests for so long, at last: the repartition topic's reader may have been the last to be killed, and
 * nobody misses it until its session has run out.
 */
const restMs = 2 * sessionMs

/** What the output must say. */
class Model {
  readonly counts = new Map<string, number>()
  readonly letters = new Map<string, number>()
  readonly joined = new Map<string, number>()
  records = 0
  readonly #left = new Map<string, { at: number; value: string }[]>()
  readonly #right = new Map<string, { at: number; value: string }[]>()

  add(topic: 'left' | 'right', key: string, value: string, at: number): void {
    this.records++
    const [mine, theirs] = topic === 'left' ? [this.#left, this.#right] : [this.#right, this.#left]
    const own = mine.get(key) ?? []
    own.push({ at, value })
    mine.set(key, own)
    const others = theirs.get(key) ?? []
    for (let index = others.length - 1; index >= 0; index--) {
      const other = others[index] as { at: number; value: string }
      if (other.at < at - 10 * joinMs) break
      if (Math.abs(other.at - at) > joinMs) continue
      bump(this.joined, `${key}:${topic === 'left' ? `${value}+${other.value}` : `${other.value}+${value}`}`)
    }
    if (topic === 'right') return
    bump(this.counts, `${key}@${Math.floor(at / windowMs) * windowMs}`)
    bump(this.letters, value.slice(0, 1))
  }
}

function bump(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1)
}

export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { seed, brokers, say = () => {} } = options
  const next = drawFrom(scattered(seed))
  const applicationId = `chaos-${seed}-${Date.now()}`
  const folder = await mkdtemp(join(tmpdir(), 'millrace-chaos-'))
  const compiled = await compile(['test/chaos/app.ts', 'test/chaos/topology.ts', 'src/runtime/worker.ts'])
  const client = connect({ brokers: brokers.split(','), clientId: 'chaos', logger: silentLogger })
  const topics = { left: partitions, right: partitions, counts: 2, joined: 2, letters: 1 }
  await client.admin.deleteTopics(Object.keys(topics)).catch(() => undefined)
  await client.admin.createTopics(
    Object.entries(topics).map(([name, count]) => ({
      name,
      partitions: count,
      replicationFactor: -1,
      configs: { 'retention.ms': '-1' },
    })),
  )
  const model = new Model()
  // Of today: a windowed store's changelog has a retention, and the broker deletes by the records' own times.
  const firstTimestamp = Date.now()
  const standbys = seed % 4 < 2 ? 0 : 1
  const staticMembers = seed % 2 === 0
  say(`seed ${seed}: ${standbys} standbys, ${staticMembers ? 'static' : 'dynamic'} members`)
  const copies: Copy[] = Array.from({ length: slots }, () => ({ child: null, wanted: false }))
  const did: { readonly what: Trouble; readonly at: number }[] = []
  const tally = { kills: 0, brokerRestarts: 0, starts: 0, stops: 0, threadChanges: 0 }
  const aways: { readonly from: number; readonly to: number }[] = []
  let over = false
  const happens = (what: Trouble, text: string) => {
    did.push({ what, at: Date.now() })
    say(`${new Date().toISOString().slice(11, 23)} ${text}`)
  }

  const start = (index: number) => {
    const log = createWriteStream(join(folder, `copy-${index}.log`), { flags: 'a' })
    const config = {
      applicationId,
      brokers: brokers.split(','),
      stateDir: join(folder, `state-${index}`),
      clientId: `copy-${index}`,
      instanceId: staticMembers ? `copy-${index}` : null,
      standbyReplicas: standbys,
      threads: 2,
      sessionTimeoutMs: sessionMs,
      heartbeatIntervalMs: 1_000,
      transactionTimeoutMs: 10_000,
      acceptableRecoveryLag: 1_000,
    }
    const program = join(compiled, 'test/chaos/app.js')
    const child = spawn(process.execPath, [program, JSON.stringify(config)], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    child.stdout.pipe(log)
    child.stderr.pipe(log)
    // Told something at the moment of its end.
    child.stdin.on('error', () => undefined)
    const copy = copies[index] as Copy
    copy.child = child
    copy.wanted = true
    child.on('exit', (code, signal) => {
      copy.child = null
      if (over || !copy.wanted) return
      if (signal !== 'SIGKILL') happens('kill', `copy ${index} ended by itself (${signal ?? code})`)
      setTimeout(
        () => {
          if (!over && copy.wanted) start(index)
        },
        200 + next() * 1_300,
      )
    })
  }
  const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(next() * from.length)]
  const kill = () => {
    const victim = pick(
      copies.flatMap(({ child, wanted }, index) => (wanted && child !== null ? [index] : [])),
    )
    if (victim === undefined) return
    copies[victim]?.child?.kill('SIGKILL')
    tally.kills++
    happens('kill', `copy ${victim} is killed`)
  }
  const change = () => {
    const up = copies.flatMap(({ wanted }, index) => (wanted ? [index] : []))
    const down = copies.flatMap(({ wanted, child }, index) => (!wanted && child === null ? [index] : []))
    const luck = next()
    const one = pick(luck < 0.3 ? down : up)
    if (one === undefined) return
    const { child } = copies[one] as Copy
    if (luck < 0.3) {
      tally.starts++
      happens('start', `copy ${one} starts`)
      start(one)
    } else if (luck < 0.6) {
      if (up.length <= slotsLeast || child === null) return
      tally.stops++
      // A static member that only stops may come back, and its tasks wait for it.
      const leaves = next() < 0.5
      happens('stop', `copy ${one} stops${leaves ? ' and leaves' : ''}`)
      ;(copies[one] as Copy).wanted = false
      if (leaves) child.stdin?.write('leave\n')
      else child.stdin?.end()
    } else if (child !== null) {
      tally.threadChanges++
      const what = next() < 0.5 ? 'add' : 'remove'
      happens('threads', `copy ${one}: ${what} a thread`)
      child.stdin?.write(`${what}\n`)
    }
  }

  try {
    const stalls = watchStalls(client, applicationId)
    for (let index = 0; index < slotsAtFirst; index++) start(index)
    const end = Date.now() + options.minutes * 60_000
    const producer = client.producer({ deliveryTimeoutMs: 120_000, compression: 'none' })
    await producer.init()
    const perTick = Math.ceil(((options.recordsPerSecond ?? 1_000) * tickMs) / 1_000)
    let number = 0
    let killAt = Date.now() + 5_000
    let changeAt = Date.now() + 4_000
    let restartAt = Date.now() + 20_000
    let restarting: Promise<void> | null = null
    while (Date.now() < end) {
      const batches = new Map<string, { topic: string; partition: number; builder: BatchBuilder }>()
      for (let index = 0; index < perTick; index++) {
        const topic = next() < 0.7 ? 'left' : 'right'
        const key = `key-${Math.floor(next() * 200)}`
        const value = `${String.fromCharCode(97 + Math.floor(next() * 20))}${number}`
        const at = firstTimestamp + number + Math.floor(next() * 200)
        number++
        model.add(topic, key, value, at)
        const bytes = Buffer.from(key + value)
        const partition = partitionFor(bytes, 0, key.length, partitions)
        const id = `${topic} ${partition}`
        const batch = batches.get(id) ?? { topic, partition, builder: new BatchBuilder() }
        batches.set(id, batch)
        batch.builder.append(at, bytes, 0, key.length, bytes, key.length, bytes.length, noHeaders)
      }
      await producer.produce([...batches.values()])
      if (Date.now() > killAt) {
        kill()
        killAt = Date.now() + 2_000 + next() * 4_000
      }
      if (Date.now() > changeAt) {
        change()
        changeAt = Date.now() + 1_000 + next() * 3_000
      }
      if (options.restartBroker !== undefined && Date.now() > restartAt && restarting === null) {
        tally.brokerRestarts++
        happens('broker', 'the broker is killed')
        const from = Date.now()
        restarting = options.restartBroker().finally(() => {
          restarting = null
          aways.push({ from, to: Date.now() })
          happens('broker', 'the broker is back')
        })
        restartAt = Date.now() + 30_000 + next() * 20_000
      }
      await new Promise((resolve) => setTimeout(resolve, tickMs))
    }
    await restarting
    await producer.close()
    say(`input ends after ${model.records} records and ${tally.kills} kills`)
    await drained(client, applicationId)
    over = true
    const found = await stalls()
    const verdict = await compare(client, applicationId, model, say)
    const longestStallMs = found.reduce((longest, { ms }) => Math.max(longest, ms), 0)
    return {
      seed,
      records: model.records,
      ...tally,
      ...verdict,
      standbys,
      staticMembers,
      longestStallMs,
      stalls: byTrouble(found, did, aways, say),
      brokerAwayMs: aways.reduce((longest, { from, to }) => Math.max(longest, to - from), 0),
    }
  } finally {
    over = true
    await Promise.all(
      copies.map(
        ({ child }) =>
          new Promise<void>((resolve) => {
            if (child === null) return resolve()
            child.once('exit', () => resolve())
            child.stdin?.end()
            setTimeout(() => child.kill('SIGKILL'), 10_000).unref()
          }),
      ),
    )
    await client.close()
    await rm(compiled, { recursive: true, force: true })
    if (process.env['KEEP'] === undefined) await rm(folder, { recursive: true, force: true })
    else say(`kept ${folder}`)
  }
}

const inputs: readonly TopicPartition[] = ['left', 'right'].flatMap((topic) =>
  Array.from({ length: partitions }, (_, partition) => ({ topic, partition })),
)

type Copy = { child: ChildProcess | null; wanted: boolean }
type Stall = { readonly partition: string; readonly from: number; readonly ms: number }

/** Times in which some input partition had records to process and nothing of it was committed. */
function watchStalls(client: KafkaClient, group: string): () => Promise<readonly Stall[]> {
  const stalls: Stall[] = []
  let stopped = false
  const since = new Map<string, { offset: number; at: number }>()
  const run = async () => {
    while (!stopped) {
      try {
        const [committed, ends] = await Promise.all([
          client.admin.groupOffsets(group),
          client.admin.offsets(inputs, 'latest', 'read_committed'),
        ])
        const now = Date.now()
        for (const end of ends) {
          const key = `${end.topic} ${end.partition}`
          const offset = committed.find(
            (one) => one.topic === end.topic && one.partition === end.partition,
          )?.offset
          // Until the first commit of all the application is starting, not stalled.
          if (offset === undefined || offset === null) continue
          const before = since.get(key)
          const still = before !== undefined && before.offset === offset
          if (before !== undefined && now - before.at >= stallMs && !still)
            stalls.push({ partition: key, from: before.at, ms: now - before.at })
          if (!still || offset >= (end.offset ?? 0)) since.set(key, { offset, at: now })
        }
      } catch {
        // The broker is away; the stall goes on.
      }
      await new Promise((resolve) => setTimeout(resolve, tickMs))
    }
  }
  const running = run()
  return async () => {
    stopped = true
    await running
    return stalls
  }
}

/** What happens just before a stall is its cause: a copy that was killed, say, and had just committed. */
const beforeMs = 1_500

function byTrouble(
  stalls: readonly Stall[],
  did: readonly { readonly what: Trouble; readonly at: number }[],
  aways: readonly { readonly from: number; readonly to: number }[],
  say: (line: string) => void,
): ChaosResult['stalls'] {
  const found = new Map<Trouble, number[]>()
  for (const { partition, from, ms } of stalls) {
    const around = did.filter(({ at }) => at > from - beforeMs && at < from + ms)
    const gravest = Math.max(0, ...around.map(({ what }) => troubles.indexOf(what)))
    const trouble = troubles[gravest] as Trouble
    const back = Math.max(from, ...aways.filter((away) => away.from < from + ms).map(({ to }) => to))
    const own = trouble === 'broker' ? Math.max(0, from + ms - back) : ms
    found.set(trouble, [...(found.get(trouble) ?? []), own])
    const time = new Date(from).toISOString().slice(11, 23)
    say(
      `${time} ${partition} stood still for ${ms} ms${own === ms ? '' : `, ${own} with the broker back`}: ${around.map(({ what }) => what).join(', ')}`,
    )
  }
  return Object.fromEntries(
    [...found].map(([trouble, list]) => {
      const sorted = list.sort((left, right) => left - right)
      const medianMs = sorted[sorted.length >> 1] as number
      return [trouble, { count: sorted.length, medianMs, longestMs: sorted.at(-1) as number }]
    }),
  )
}

/** Waits until all input is committed and the output has come to rest. */
async function drained(client: KafkaClient, group: string): Promise<void> {
  const deadline = Date.now() + settleMs
  const outputs: TopicPartition[] = [
    ...[0, 1].flatMap((partition) => ['counts', 'joined'].map((topic) => ({ topic, partition }))),
    { topic: 'letters', partition: 0 },
  ]
  let last = ''
  let since = Date.now()
  while (Date.now() < deadline) {
    const [committed, ends, out] = await Promise.all([
      client.admin.groupOffsets(group),
      client.admin.offsets(inputs, 'latest', 'read_uncommitted'),
      client.admin.offsets(outputs, 'latest', 'read_committed'),
    ])
    const behind = ends.filter(
      (end) =>
        (committed.find((one) => one.topic === end.topic && one.partition === end.partition)?.offset ?? 0) <
        (end.offset ?? 0),
    )
    const now = JSON.stringify([behind.length, out.map(({ offset }) => offset)])
    if (behind.length > 0 || now !== last) since = Date.now()
    last = now
    if (Date.now() - since > restMs) return
    await new Promise((resolve) => setTimeout(resolve, tickMs))
  }
  throw new Error(`the input was not processed within ${settleMs} ms: ${last}`)
}

async function compare(
  client: KafkaClient,
  applicationId: string,
  model: Model,
  say: (line: string) => void,
): Promise<{ duplicates: number; losses: number }> {
  const counts = new Map<string, number>()
  const letters = new Map<string, number>()
  const joined = new Map<string, number>()
  await readAll(client, 'counts', 2, (key, value) => counts.set(key, Number(value.readBigInt64BE(0))))
  await readAll(client, 'letters', 1, (key, value) => letters.set(key, Number(value.readBigInt64BE(0))))
  await readAll(client, 'joined', 2, (key, value) => bump(joined, `${key}:${value.toString()}`))
  let duplicates = 0
  let losses = 0
  const wrong = new Set<string>()
  for (const [what, found, wanted] of [
    ['counts', counts, model.counts],
    ['letters', letters, model.letters],
    ['joined', joined, model.joined],
  ] as const) {
    for (const key of new Set([...found.keys(), ...wanted.keys()])) {
      const difference = (found.get(key) ?? 0) - (wanted.get(key) ?? 0)
      if (difference === 0) continue
      if (what === 'counts') wrong.add(key)
      say(`${what}: ${key} is ${found.get(key)}, not ${wanted.get(key)}`)
      if (difference > 0) duplicates += difference
      else losses -= difference
    }
  }
  if (wrong.size > 0) await explain(client, applicationId, [...wrong].slice(0, 3), say)
  return { duplicates, losses }
}

/** What was written of keys that came out wrong, offset by offset: the first thing one wants to know. */
async function explain(
  client: KafkaClient,
  applicationId: string,
  keys: readonly string[],
  say: (line: string) => void,
): Promise<void> {
  await readAll(client, 'counts', 2, (key, value, at) => {
    if (keys.includes(key)) say(`output ${key} = ${value.readBigInt64BE(0)} at ${at}`)
  })
  await readAll(client, `${applicationId}-counts-changelog`, partitions, (_key, value, at, bytes) => {
    const key = `${bytes.toString('utf8', 0, bytes.length - 12)}@${bytes.readBigInt64BE(bytes.length - 12)}`
    if (keys.includes(key))
      say(`changelog ${key} = ${value.length === 8 ? value.readBigInt64BE(0) : 'gone'} at ${at}`)
  })
}

/** Every committed record of a topic. */
async function readAll(
  client: KafkaClient,
  topic: string,
  count: number,
  each: (key: string, value: Buffer, at: string, bytes: Buffer) => void,
): Promise<void> {
  const all = Array.from({ length: count }, (_, partition) => ({ topic, partition }))
  const ends = await client.admin.offsets(all, 'latest', 'read_committed')
  const left = new Map(
    ends.filter(({ offset }) => (offset ?? 0) > 0).map((end) => [end.partition, end.offset as number]),
  )
  if (left.size === 0) return
  await new Promise<void>((resolve, reject) => {
    const onChunk = (chunk: FetchedChunk) => {
      const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
      while (cursor.next()) {
        each(
          cursor.buffer.toString('utf8', cursor.keyStart, cursor.keyEnd),
          Buffer.from(cursor.buffer.subarray(cursor.valueStart, cursor.valueEnd)),
          `${chunk.partition}:${cursor.offset}`,
          Buffer.from(cursor.buffer.subarray(cursor.keyStart, cursor.keyEnd)),
        )
      }
      if (chunk.nextOffset >= (left.get(chunk.partition) ?? 0)) left.delete(chunk.partition)
      chunk.release()
      if (left.size === 0) void fetcher.close().then(resolve)
    }
    const fetcher = client.fetcher({
      purpose: 'input',
      isolation: 'read_committed',
      bufferBytesMax: 64 << 20,
      partitionBytesMax: 1 << 20,
      waitMs: 100,
      offsetReset: () => 'earliest',
      onChunk,
      onEnds: () => {},
      onReset: () => {},
      onError: reject,
    })
    for (const partition of left.keys()) fetcher.add({ topic, partition }, 0)
  })
}
