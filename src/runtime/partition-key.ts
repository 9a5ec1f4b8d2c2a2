/** A topic's partition as the key of a Map: a topic's name has no space. */
import type { TopicPartition } from '../kafka/client.ts'

export function partitionKey({ topic, partition }: TopicPartition): string {
  return `${topic} ${partition}`
}
