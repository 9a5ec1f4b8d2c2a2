/** Two minutes of chaos on a Kafka of its own, which is killed, too. `npm run chaos` runs longer, with other seeds. */
import { expect, test } from 'vitest'
import { runChaos } from '../chaos/chaos.ts'
import { startKafka } from './launcher.ts'

const minutes = 2
const seed = 11

test('chaos: copies come, go and are killed, and so is the broker, every result is there exactly once', async () => {
  const kafka = await startKafka({ brokers: 1 })
  try {
    const result = await runChaos({
      minutes,
      seed,
      brokers: kafka.address,
      restartBroker: async () => {
        await kafka.kill(1)
        await kafka.restart(1)
      },
      say: (line) => console.log(line),
    })
    console.log(JSON.stringify(result))
    expect(result).toMatchObject({ seed, duplicates: 0, losses: 0 })
    expect(result.kills).toBeGreaterThan(5)
    expect(result.brokerRestarts).toBeGreaterThan(0)
    expect(result).toMatchObject({ standbys: 1, staticMembers: false })
    for (const times of [result.starts, result.stops, result.threadChanges]) expect(times).toBeGreaterThan(0)
  } finally {
    await kafka.stop()
  }
}, 400_000)
