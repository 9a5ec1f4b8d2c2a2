/**
 * Copies as processes of their own on a real Kafka: how long a partition stalls when one joins, leaves or is killed,
 * and that a rolling restart keeps the order of each key. What was measured is printed.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { connect } from '../../src/kafka/index.ts'
import { BatchBuilder } from '../../src/wire/batch-builder.ts'
import { BatchCursor } from '../../src/wire/record-batch.ts'
import { compile } from '../chaos/compile.ts'

const brokers = (process.env['KAFKA_BROKERS'] as string).split(',')
const partitions = 4
const everyMs = 50
const sessionTimeoutMs = 6_000

test('fail-over: stalls while copies join, leave, are killed and restarted', {
  timeout: 170_000,
}, async () => {
  const id = `failover-${randomUUID().slice(0, 8)}`
  const [input, output] = [`${id}-in`, `${id}-out`]
  const folder = await mkdtemp(join(tmpdir(), 'millrace-failover-'))
  const compiled = await compile(['test/kafka/failover-app.ts'])
  const client = connect({ brokers, clientId: 'failover', logger: silentLogger })
  await client.admin.createTopics(
    [input, output].map((name) => ({ name, partitions, replicationFactor: 1, configs: {} })),
  )
  const copies = new Map<string, ChildProcess>()
  const start = async (name: string) => {
    const child = spawn(
      process.execPath,
      [join(compiled, 'test/kafka/failover-app.js'), brokers.join(','), id, join(folder, name)],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    )
    copies.set(name, child)
    await once(child.stdout, 'data')
  }
  const stop = async (name: string) => {
    const child = copies.get(name) as ChildProcess
    const exited = once(child, 'exit')
    child.stdin?.end()
    await exited
  }

  // Each partition gets a record every so often, with the time in it and its number.
  const producer = client.producer({ deliveryTimeoutMs: 30_000, compression: 'none' })
  await producer.init()
  let number = 0
  let feeding = true
  const feed = async () => {
    while (feeding) {
      number++
      const batches = Array.from({ length: partitions }, (_, partition) => {
        const builder = new BatchBuilder()
        const now = Date.now()
        const bytes = Buffer.from(`k${partition}${now} ${number}`)
        builder.append(now, bytes, 0, 2, bytes, 2, bytes.length, noHeaders)
        return { topic: input, partition, builder }
      })
      await producer.produce(batches)
      await sleep(everyMs)
    }
  }
  const last = new Map<string, number>()
  const wrong: string[] = []
  const longestMs = new Map<string, number>()
  const fetcher = client.fetcher({
    purpose: 'input',
    isolation: 'read_committed',
    bufferBytesMax: 16_777_216,
    partitionBytesMax: 1_048_576,
    waitMs: 20,
    offsetReset: () => 'earliest',
    onChunk(chunk) {
      const cursor = new BatchCursor({ ...chunk, fromOffset: chunk.fetchOffset })
      while (cursor.next()) {
        const key = cursor.buffer.toString('utf8', cursor.keyStart, cursor.keyEnd)
        const value = cursor.buffer.toString('utf8', cursor.valueStart, cursor.valueEnd)
        const [count, time, sequence] = value.split(' ').map(Number) as [number, number, number]
        // Each once, in order, and counted once.
        if (sequence !== (last.get(key) ?? 0) + 1 || count !== sequence)
          wrong.push(`${key}: ${value} after ${last.get(key)}`)
        last.set(key, sequence)
        longestMs.set(key, Math.max(longestMs.get(key) ?? 0, Date.now() - time))
      }
      chunk.release()
    },
    onEnds: () => {},
    onReset: () => {},
    onError: (error) => wrong.push(error.message),
  })
  const caughtUp = async () => {
    const until = number
    const deadline = Date.now() + 30_000
    while ([...Array(partitions).keys()].some((partition) => (last.get(`k${partition}`) ?? 0) < until)) {
      if (Date.now() > deadline) throw new Error(`no output after ${JSON.stringify([...last])}, of ${until}`)
      await sleep(20)
    }
  }
  /** The longest time from input to committed output while something happens, and the seconds after it. */
  const stallOf = async (what: () => Promise<void>, afterMs: number) => {
    await caughtUp()
    longestMs.clear()
    await what()
    await sleep(afterMs)
    await caughtUp()
    return Math.max(...longestMs.values())
  }
  try {
    await Promise.all([start('one'), start('two')])
    for (let partition = 0; partition < partitions; partition++) fetcher.add({ topic: output, partition }, 0)
    const fed = feed()
    await sleep(5_000)
    const calm = await stallOf(async () => {}, 3_000)
    const joins = await stallOf(() => start('three'), 6_000)
    const leaves = await stallOf(() => stop('three'), 5_000)
    const killed = await stallOf(async () => {
      copies.get('two')?.kill('SIGKILL')
    }, sessionTimeoutMs + 3_000)
    // Half of the partitions were not its: they go on meanwhile.
    const stayed = [...longestMs.values()].sort((left, right) => left - right)[partitions / 2 - 1] as number
    await Promise.all([start('two'), start('three')])
    await sleep(5_000)
    const rolling = await stallOf(async () => {
      for (const name of ['one', 'two', 'three']) {
        await stop(name)
        await start(name)
        await sleep(3_000)
      }
    }, 2_000)
    feeding = false
    await fed
    await caughtUp()
    console.log(
      `longest from input to committed output, ms: calm ${calm}; one joins ${joins}; one leaves ${leaves}; ` +
        `kill -9 with a session of ${sessionTimeoutMs} ms ${killed}, of what stays ${stayed}; rolling restart of three ${rolling}; ` +
        `${number * partitions} records`,
    )
    expect(wrong).toEqual([])
    expect([...last.values()]).toEqual(Array.from({ length: partitions }, () => number))
    expect(joins).toBeLessThan(600 + calm)
    expect(leaves).toBeLessThan(600 + calm)
    expect(rolling).toBeLessThan(1_000 + calm)
    expect(stayed).toBeLessThan(1_000 + calm)
    expect(killed).toBeLessThan(sessionTimeoutMs + 2_000)
  } finally {
    feeding = false
    for (const child of copies.values()) if (child.exitCode === null) child.kill('SIGKILL')
    await fetcher.close()
    await producer.close()
    const topics = (await client.admin.topics()).map(({ name }) => name).filter((name) => name.startsWith(id))
    await client.admin.deleteTopics(topics)
    await client.close()
    await rm(folder, { recursive: true, force: true })
    await rm(compiled, { recursive: true, force: true })
  }
})
