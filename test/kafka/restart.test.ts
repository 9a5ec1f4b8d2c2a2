/**
 * A broker that is killed and comes back, later than the sessions of its groups last: an application that runs keeps its
 * place and goes on at once; one that is started meanwhile waits for it. What was measured is printed.
 */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { connect } from '../../src/kafka/index.ts'
import { Millrace } from '../../src/runtime/application.ts'
import { outgoing, tallyTopology, until } from '../runtime/scenario.ts'
import { startKafka } from './launcher.ts'

const sessionTimeoutMs = 6_000
const everyMs = 50
/** Until the first commit once the broker is back. */
const backMsMax = 5_000

test('restart: the broker comes back after more than a session, who runs goes on, who starts runs', async () => {
  const kafka = await startKafka({ brokers: 1 })
  const folder = await mkdtemp(join(tmpdir(), 'millrace-restart-'))
  const client = connect({
    brokers: [kafka.address],
    clientId: 'input',
    logger: silentLogger,
    unreachableTimeoutMs: 60_000,
  })
  let committedAt = 0
  const copyOf = (applicationId: string) =>
    new Millrace(tallyTopology(), {
      applicationId,
      brokers: [kafka.address],
      stateDir: join(folder, applicationId),
      logger: silentLogger,
      sessionTimeoutMs,
      heartbeatIntervalMs: 1_000,
      cacheMaxBytes: 0,
      hooks: {
        committed: () => {
          if (applicationId === 'runs') committedAt = Date.now()
        },
      },
    })
  const [runs, starts] = [copyOf('runs'), copyOf('starts')]
  let feeding = true
  try {
    await client.admin.createTopics(
      ['events', 'counts'].map((name) => ({ name, partitions: 2, replicationFactor: 1, configs: {} })),
    )
    const producer = client.producer({ deliveryTimeoutMs: 60_000, compression: 'none' })
    await producer.init()
    const fed = (async () => {
      while (feeding) {
        await producer.produce(
          [0, 1].map((partition) => outgoing('events', partition, [['k', randomUUID(), Date.now()]])),
        )
        await sleep(everyMs)
      }
    })()
    await runs.start()
    await until(() => committedAt > 0)
    const before = runs.status().member
    await kafka.kill(1)
    const awayAt = Date.now()
    const started = starts.start()
    await sleep(sessionTimeoutMs + 1_000)
    await kafka.restart(1)
    const backAt = Date.now()
    await until(() => committedAt > backAt)
    console.log(`away for ${backAt - awayAt} ms, the first commit ${committedAt - backAt} ms after it`)
    expect(committedAt - backAt).toBeLessThan(backMsMax)
    await started
    console.log(`the copy that was started meanwhile runs ${Date.now() - backAt} ms after it`)
    expect(runs.status().member).toEqual(before)
    feeding = false
    await fed
  } finally {
    feeding = false
    await Promise.all([runs.close(), starts.close()])
    await client.close()
    await kafka.stop()
    await rm(folder, { recursive: true, force: true })
  }
}, 120_000)
