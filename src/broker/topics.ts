/** The topics of the broker: names, ids, settings, and the log of each partition. */
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import type { Clock } from '../base/clock.ts'
import type { JournalEvent } from './journal.ts'
import { PartitionLog } from './log.ts'
import { Refusal } from './refusal.ts'
import { type ConfigMap, settingsOf, type TopicSettings } from './topic-config.ts'

const nameBytesMax = 249
const partitionsMax = 10_000

export type Topic = {
  readonly name: string
  readonly id: string
  configs: ConfigMap
  settings: TopicSettings
  readonly logs: PartitionLog[]
}

export class Topics {
  readonly #byName = new Map<string, Topic>()
  readonly #clock: Clock
  readonly #dir: string | null
  readonly #record: (event: JournalEvent) => void

  constructor(clock: Clock, dir: string | null, record: (event: JournalEvent) => void) {
    this.#clock = clock
    this.#dir = dir === null ? null : path.join(dir, 'topics')
    this.#record = record
  }

  get(name: string): Topic | undefined {
    return this.#byName.get(name)
  }

  byId(id: string): Topic | undefined {
    for (const topic of this.#byName.values()) if (topic.id === id) return topic
    return undefined
  }

  all(): Topic[] {
    return [...this.#byName.values()]
  }

  log(topic: string, partition: number): PartitionLog | undefined {
    return this.#byName.get(topic)?.logs[partition]
  }

  /** Checks all that creating checks. */
  check(name: string, partitions: number, configs: ConfigMap): TopicSettings {
    checkName(name)
    if (this.#byName.has(name)) throw new Refusal('TOPIC_ALREADY_EXISTS', `Topic '${name}' already exists.`)
    checkPartitions(partitions)
    return settingsOf(configs)
  }

  create(name: string, partitions: number, configs: ConfigMap): Topic {
    this.check(name, partitions, configs)
    const topic = this.#open(name, uuid(), partitions, configs)
    this.#record({ kind: 'topic', name, id: topic.id, partitions, configs })
    return topic
  }

  grow(topic: Topic, partitions: number): void {
    for (let partition = topic.logs.length; partition < partitions; partition++)
      this.#openLog(topic, partition)
    this.#recordTopic(topic)
  }

  configure(topic: Topic, configs: ConfigMap): void {
    topic.settings = settingsOf(configs)
    topic.configs = configs
    for (const log of topic.logs) log.settings = topic.settings
    this.#recordTopic(topic)
  }

  delete(topic: Topic): void {
    this.#byName.delete(topic.name)
    this.#record({ kind: 'topicDeleted', name: topic.name })
    for (const log of topic.logs) log.delete()
  }

  deleteRecords(log: PartitionLog, offset: number): void {
    this.#record({ kind: 'logStart', topic: log.topic, partition: log.partition, offset })
    log.deleteBefore(offset)
  }

  close(): void {
    for (const topic of this.#byName.values()) for (const log of topic.logs) log.close()
  }

  restore(event: JournalEvent): void {
    switch (event.kind) {
      case 'topic': {
        const topic = this.#byName.get(event.name)
        if (topic === undefined) {
          this.#open(event.name, event.id, event.partitions, event.configs)
        } else {
          topic.configs = event.configs
          topic.settings = settingsOf(event.configs)
          for (let partition = topic.logs.length; partition < event.partitions; partition++)
            this.#openLog(topic, partition)
          for (const log of topic.logs) log.settings = topic.settings
        }
        return
      }
      case 'topicDeleted': {
        const topic = this.#byName.get(event.name)
        this.#byName.delete(event.name)
        for (const log of topic?.logs ?? []) log.delete()
        return
      }
      case 'logStart':
        this.log(event.topic, event.partition)?.deleteBefore(event.offset)
        return
      default:
        return
    }
  }

  *events(): Generator<JournalEvent> {
    for (const topic of this.#byName.values()) {
      const { name, id, configs, logs } = topic
      yield { kind: 'topic', name, id, partitions: logs.length, configs }
      for (const { partition, startOffset: offset } of logs) {
        if (offset > 0) yield { kind: 'logStart', topic: name, partition, offset }
      }
    }
  }

  #recordTopic({ name, id, logs, configs }: Topic): void {
    this.#record({ kind: 'topic', name, id, partitions: logs.length, configs })
  }

  #open(name: string, id: string, partitions: number, configs: ConfigMap): Topic {
    const topic: Topic = { name, id, configs, settings: settingsOf(configs), logs: [] }
    for (let partition = 0; partition < partitions; partition++) this.#openLog(topic, partition)
    this.#byName.set(name, topic)
    return topic
  }

  #openLog(topic: Topic, partition: number): void {
    const dir =
      this.#dir === null ? null : path.join(this.#dir, `${topic.name}-${topic.id}`, String(partition))
    topic.logs.push(new PartitionLog(topic.name, partition, topic.settings, this.#clock, dir))
  }
}

export function checkPartitions(partitions: number): void {
  if (partitions < 1) throw new Refusal('INVALID_PARTITIONS', 'Number of partitions must be larger than 0.')
  if (partitions > partitionsMax) {
    throw new Refusal(
      'INVALID_PARTITIONS',
      `The embedded broker has at most ${partitionsMax} partitions per topic.`,
    )
  }
}

export function checkName(name: string): void {
  const isValid =
    /^[a-zA-Z0-9._-]+$/.test(name) && name !== '.' && name !== '..' && name.length <= nameBytesMax
  if (!isValid) {
    throw new Refusal(
      'INVALID_TOPIC_EXCEPTION',
      `Topic name '${name}' is illegal: 1 to ${nameBytesMax} of a-z, A-Z, 0-9, '.', '_' and '-', not '.' or '..'`,
    )
  }
}

/** Sixteen random bytes as Kafka prints them. None begins with a dash, so that it can stand on a command line. */
export function uuid(): string {
  for (;;) {
    const text = randomBytes(16).toString('base64url')
    if (!text.startsWith('-')) return text
  }
}
