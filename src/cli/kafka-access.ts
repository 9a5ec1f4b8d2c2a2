/** How commands that need no application reach Kafka: `brokers` and `kafka` from the same places as everything else. */

import { silentLogger } from '../base/logger.ts'
import { resolveOptions } from '../base/options.ts'
import { connect, type KafkaClient } from '../kafka/index.ts'
import { options } from '../runtime/options.ts'
import type { Io } from './io.ts'
import { settingLayers } from './settings.ts'

export async function connectFor(io: Io, given: Readonly<Record<string, unknown>>): Promise<KafkaClient> {
  const { layers } = await settingLayers(io, {
    configFile: given['config'] as string | undefined,
    flags: given,
    defaults: { applicationId: 'millrace', brokers: ['127.0.0.1:9092'] },
  })
  const { values } = resolveOptions(options, layers)
  return connect({
    brokers: values.brokers,
    clientId: 'millrace-cli',
    logger: silentLogger,
    kafka: values.kafka,
  })
}
