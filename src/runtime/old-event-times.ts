/**
 * Says, once for each store, that Kafka may delete a changelog behind the application: those of windows are deleted by
 * the time of their records, which is event time. Looks at batches, never at records, and asks Kafka for the topic's
 * own setting only where the one it was made with is too short.
 */
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/logger.ts'
import type { Admin, OutgoingBatch } from '../kafka/client.ts'
import type { StoreSpec } from '../topology/store-spec.ts'

export type OldEventTimesOptions = {
  readonly admin: Admin
  readonly stores: Iterable<StoreSpec>
  changelogTopic(store: StoreSpec): string
  readonly windowChangelogExtraRetentionMs: number
  readonly clock: Clock
  readonly logger: Logger
}

/** A changelog that is deleted by time; `said`: there is nothing more to say of it. */
type Kept = { readonly store: string; retentionMs: number; said: boolean }

export class OldEventTimes {
  readonly #options: OldEventTimesOptions
  readonly #topics = new Map<string, Kept | null>()

  constructor(options: OldEventTimesOptions) {
    this.#options = options
  }

  look(batches: readonly OutgoingBatch[]): void {
    const now = this.#options.clock.now()
    for (const { topic, builder } of batches) {
      let kept = this.#topics.get(topic)
      if (kept === undefined) this.#topics.set(topic, (kept = this.#find(topic)))
      if (kept === null || kept.said || builder.maxTimestamp >= now - kept.retentionMs) continue
      kept.said = true
      void this.#ask(topic, kept, builder.maxTimestamp)
    }
  }

  #find(topic: string): Kept | null {
    const { stores, changelogTopic, windowChangelogExtraRetentionMs } = this.#options
    for (const spec of stores) {
      if (spec.kind !== 'window' && spec.kind !== 'session') continue
      if (spec.changelog === null || changelogTopic(spec) !== topic) continue
      const own = spec.changelog.configs['retention.ms']
      const retentionMs =
        own === undefined ? spec.retentionMs + windowChangelogExtraRetentionMs : milliseconds(own)
      return { store: spec.name, retentionMs, said: false }
    }
    return null
  }

  async #ask(topic: string, kept: Kept, time: number): Promise<void> {
    const { admin, clock, logger } = this.#options
    try {
      const configs = await admin.configs(topic)
      const isDeleted = (configs['cleanup.policy'] ?? 'delete').includes('delete')
      const retention = configs['retention.ms']
      kept.retentionMs =
        isDeleted && retention !== undefined ? milliseconds(retention) : Number.POSITIVE_INFINITY
    } catch (error) {
      logger.debug(`settings of ${topic}: ${String(error)}`)
    }
    if (time >= clock.now() - kept.retentionMs) {
      kept.said = false
      return
    }
    logger.warn(
      `store ${kept.store}: its records of ${new Date(time).toISOString()} are older than ${topic} keeps any (retention.ms=${kept.retentionMs}), so Kafka may delete the state behind the application. Set the topic's retention.ms to -1 while old records are processed, with kafka-configs.sh or { logging: { 'retention.ms': '-1' } } where the store is made; see "Old event times" in docs/operations.md`,
      { store: kept.store, topic },
    )
  }
}

function milliseconds(text: string): number {
  const value = Number(text)
  return value < 0 ? Number.POSITIVE_INFINITY : value
}
