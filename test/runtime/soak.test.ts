/**
 * Copies that come, go and pause while requests are lost, dropped, refused and late, as a seed decides: in the end every
 * count is exact, and no copy has ended by itself. `SOAK_SEED` and `SOAK_MS` try others, for longer.
 */
import { expect, test } from 'vitest'
import type { ApiName, Reaction } from '../../src/broker/faults.ts'
import type { Millrace } from '../../src/runtime/application.ts'
import { drawFrom, scattered } from '../wire/draw.ts'
import { overlappingTopology, repartitionedTopology, until, World } from './scenario.ts'

const seeds = process.env['SOAK_SEED'] === undefined ? [1, 3] : [Number(process.env['SOAK_SEED'])]
const lastsMs = Number(process.env['SOAK_MS'] ?? 2_000)
const slots = 3

const coordinator = ['COORDINATOR_NOT_AVAILABLE', 'NOT_COORDINATOR', 'COORDINATOR_LOAD_IN_PROGRESS'] as const
const refusals = {
  produce: ['NOT_LEADER_OR_FOLLOWER', 'INVALID_PRODUCER_EPOCH'],
  fetch: ['NOT_LEADER_OR_FOLLOWER'],
  listOffsets: ['NOT_LEADER_OR_FOLLOWER'],
  metadata: [],
  findCoordinator: ['COORDINATOR_NOT_AVAILABLE'],
  offsetFetch: [...coordinator, 'UNSTABLE_OFFSET_COMMIT'],
  joinGroup: [...coordinator, 'UNKNOWN_MEMBER_ID'],
  syncGroup: [...coordinator, 'REBALANCE_IN_PROGRESS'],
  heartbeat: [...coordinator, 'REBALANCE_IN_PROGRESS', 'UNKNOWN_MEMBER_ID'],
  leaveGroup: coordinator,
  initProducerId: [...coordinator, 'CONCURRENT_TRANSACTIONS'],
  addPartitionsToTxn: [
    ...coordinator,
    'CONCURRENT_TRANSACTIONS',
    'INVALID_PRODUCER_EPOCH',
    'PRODUCER_FENCED',
  ],
  addOffsetsToTxn: [...coordinator, 'CONCURRENT_TRANSACTIONS'],
  txnOffsetCommit: [...coordinator, 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID'],
  endTxn: [...coordinator, 'CONCURRENT_TRANSACTIONS', 'INVALID_PRODUCER_EPOCH', 'INVALID_TXN_STATE'],
} as const satisfies { readonly [api in ApiName]?: readonly string[] }
const apis = Object.keys(refusals) as (keyof typeof refusals)[]

for (const seed of seeds) {
  test(`soak: copies come, go and pause under faults of seed ${seed}, all is counted once`, async () => {
    const next = drawFrom(scattered(seed))
    const below = (count: number) => Math.floor(next() * count)
    const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T
    await using world = await World.open({ events: 4, counts: 2 })
    const [topology, kind] =
      below(2) === 0
        ? ([repartitionedTopology, 'letters'] as const)
        : ([overlappingTopology, 'windows'] as const)
    const copies: (Millrace | null)[] = Array.from({ length: slots }, () => null)
    const ends: Promise<void>[] = []
    const log: string[] = []
    const start = (slot: number) => {
      const app = world.app(topology(), {
        clientId: `copy-${slot}`,
        stateDir: `${world.stateDir}/${slot}`,
        cacheMaxBytes: slot === 0 ? 0 : 1 << 20,
        standbyReplicas: seed % 2,
        sessionTimeoutMs: 1_000,
        transactionTimeoutMs: 5_000,
      })
      copies[slot] = app
      app.start().catch((error: unknown) => log.push(`copy ${slot}: ${String(error)}`))
    }
    const fault = () => {
      const api = pick(apis)
      const luck = next()
      const names = refusals[api]
      const refusal = names.length === 0 ? undefined : pick<string>(names)
      const reaction =
        luck < 0.25
          ? 'lose'
          : luck < 0.45
            ? 'drop'
            : luck < 0.6 || refusal === undefined
              ? { delayMs: 50 + below(400) }
              : { error: refusal }
      let left = 1 + below(3)
      log.push(`${api} ${JSON.stringify(reaction)} ${left} times`)
      world.kafka.intercept(api, ({ clientId }) =>
        clientId.startsWith('copy-') && left-- > 0 ? (reaction as Reaction<typeof api>) : undefined,
      )
    }
    try {
      await world.input(50, 'events', 4)
      start(0)
      const end = Date.now() + lastsMs
      while (Date.now() < end) {
        const what = next()
        const slot = below(slots)
        const copy = copies[slot] ?? null
        if (what < 0.35) await world.input(5 + below(40), 'events', 4)
        else if (what < 0.7) fault()
        else if (copy === null) {
          log.push(`copy ${slot} starts`)
          // The folder is its own once the one before it has closed.
          await Promise.all(ends)
          start(slot)
        } else if (what < 0.8) {
          log.push(`copy ${slot} stops`)
          copies[slot] = null
          ends.push(copy.close({ timeoutMs: 8_000 }))
        } else if (copy.isPaused) copy.resume()
        else copy.pause()
        await new Promise((resolve) => setTimeout(resolve, 10 + below(60)))
      }
      await Promise.all(ends)
      for (const copy of copies) copy?.resume()
      if (copies.every((copy) => copy === null)) start(0)
      await world.settled(kind, 15_000)
      await until(() => copies.every((copy) => copy === null || copy.state === 'running'))
      expect(log.filter((line) => line.includes('Error'))).toEqual([])
    } catch (error) {
      console.log(`seed ${seed}, ${kind}:\n${log.join('\n')}`)
      throw error
    }
  }, 60_000)
}
