/** The embedded Kafka does what the contract says: in memory, and in a folder. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { EmbeddedKafka } from '../../src/testing/embedded-kafka.ts'
import { brokerContract } from '../contract/broker.ts'

brokerContract(
  'embedded, in memory',
  async () => {
    const kafka = await EmbeddedKafka.start()
    return { address: kafka.address, stop: () => kafka.stop() }
  },
  { isEmbedded: true },
)

brokerContract(
  'embedded, in a folder',
  async () => {
    const dir = await mkdtemp(path.join(tmpdir(), 'millrace-broker-'))
    const kafka = await EmbeddedKafka.start({ dir, transactionMarkerDelayMs: 5 })
    return {
      address: kafka.address,
      async stop() {
        await kafka.stop()
        await rm(dir, { recursive: true, force: true })
      },
    }
  },
  { isEmbedded: true },
)
