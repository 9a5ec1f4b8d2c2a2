/** The end of a way: key and value become bytes and go to a partition of the topic. */
import { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import type { Headers } from '../base/headers.ts'
import { isPromise } from '../base/maybe-promise.ts'
import { Unread } from '../base/unread.ts'
import type { Serde } from '../serde/serde.ts'
import type { SinkNode, StreamPartitioner } from '../topology/node.ts'
import { partitionFor } from '../wire/murmur2.ts'
import { settled } from './call.ts'
import type { Run, TaskContext } from './run.ts'

// Records without a key stay with one partition for so long: full batches, evenly spread.
const recordsPerPartition = 256

export function sink(
  node: SinkNode,
  context: TaskContext,
  keySerde: Serde<unknown>,
  valueSerde: Serde<unknown>,
  partitioner: StreamPartitioner | null,
): Run {
  const { name } = node
  const { collector } = context
  const fixedTopic = typeof node.topic === 'string' ? context.topicName(node.topic, node.internal) : null
  const extract = typeof node.topic === 'string' ? null : node.topic
  const windowBytes = keySerde.windowBytes ?? 0
  const scratch = new ByteWriter(4096)
  let keyless = context.partition * recordsPerPartition

  /** A record over the size limit is its handler's affair, here and not when the batch is refused. */
  const refused = (
    error: unknown,
    topic: string,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void => {
    if (!(error instanceof StreamsError) || error.code !== 'RECORD_TOO_LARGE') throw error
    unwritable(error, topic, 'value', key, value, timestamp, headers)
  }

  const send = (
    topic: string,
    partitions: number,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    scratch.reset()
    let part: 'key' | 'value' = 'key'
    let keyBytes: Uint8Array | null = null
    let keyStart = 0
    let keyEnd = 0
    let valueBytes: Uint8Array | null = null
    let valueStart = 0
    let valueEnd = 0
    try {
      if (key instanceof Unread) {
        keyBytes = key.buffer
        keyStart = key.start
        keyEnd = key.end
      } else if (key !== null) {
        const waiting = keySerde.write(key, scratch, topic, headers)
        if (isPromise(waiting)) return again(waiting, part, topic, partitions, key, value, timestamp, headers)
        keyBytes = scratch.buffer
        keyEnd = scratch.position
      }
      part = 'value'
      if (value instanceof Unread) {
        valueBytes = value.buffer
        valueStart = value.start
        valueEnd = value.end
      } else if (value !== null) {
        valueStart = scratch.position
        const waiting = valueSerde.write(value, scratch, topic, headers)
        if (isPromise(waiting)) return again(waiting, part, topic, partitions, key, value, timestamp, headers)
        valueBytes = scratch.buffer
        valueEnd = scratch.position
        // It may have grown beneath the key.
        if (keyBytes !== null && !(key instanceof Unread)) keyBytes = valueBytes
      }
    } catch (error) {
      return unwritable(error, topic, part, key, value, timestamp, headers)
    }
    if (partitioner === null) {
      const partition =
        keyBytes === null
          ? Math.floor(keyless++ / recordsPerPartition) % partitions
          : partitions === 1
            ? 0
            : partitionFor(keyBytes, keyStart, keyEnd - windowBytes, partitions)
      try {
        collector.append(
          topic,
          partition,
          timestamp,
          keyBytes,
          keyStart,
          keyEnd,
          valueBytes,
          valueStart,
          valueEnd,
          headers,
        )
      } catch (error) {
        refused(error, topic, key, value, timestamp, headers)
      }
      return
    }
    let chosen: unknown
    try {
      chosen = partitioner(topic, key, value, partitions)
    } catch (error) {
      return context.failed(error, name, 'partitioner', key, value, timestamp, headers)
    }
    settled(chosen, name, 'partitioner')
    if (Array.isArray(chosen) && chosen.length === 0) return context.drop('empty-partitioner', name)
    const fallback =
      keyBytes === null
        ? Math.floor(keyless / recordsPerPartition) % partitions
        : partitionFor(keyBytes, keyStart, keyEnd - windowBytes, partitions)
    const list: readonly unknown[] = Array.isArray(chosen) ? chosen : [chosen ?? fallback]
    for (const partition of list) {
      if (
        typeof partition !== 'number' ||
        !Number.isInteger(partition) ||
        partition < 0 ||
        partition >= partitions
      ) {
        return context.failed(
          new RangeError(`partition ${String(partition)} of ${topic}, which has ${partitions}`),
          name,
          'partitioner',
          key,
          value,
          timestamp,
          headers,
        )
      }
    }
    try {
      for (const partition of list as readonly number[]) {
        collector.append(
          topic,
          partition,
          timestamp,
          keyBytes,
          keyStart,
          keyEnd,
          valueBytes,
          valueStart,
          valueEnd,
          headers,
        )
      }
    } catch (error) {
      refused(error, topic, key, value, timestamp, headers)
    }
  }

  /** The handler sees what was meant, also of a part that went by unread. */
  const unwritable = (
    error: unknown,
    topic: string,
    part: 'key' | 'value',
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void => {
    const shown = (one: unknown, serde: Serde<unknown>): unknown =>
      one instanceof Unread ? serde.read(one.buffer, one.start, one.end, topic, headers) : one
    context.unwritable(
      error,
      name,
      topic,
      part,
      shown(key, keySerde),
      shown(value, valueSerde),
      timestamp,
      headers,
    )
  }

  const again = async (
    waiting: Promise<unknown>,
    part: 'key' | 'value',
    topic: string,
    partitions: number,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): Promise<void> => {
    try {
      await waiting
    } catch (error) {
      unwritable(error, topic, part, key, value, timestamp, headers)
      return
    }
    await send(topic, partitions, key, value, timestamp, headers)
  }

  const sendTo = (
    topic: string,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const partitions = collector.partitionCount(topic)
    if (partitions !== null) return send(topic, partitions, key, value, timestamp, headers)
    return load(topic, key, value, timestamp, headers)
  }

  const load = async (
    topic: string,
    key: unknown,
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): Promise<void> => {
    await collector.load(topic)
    const partitions = collector.partitionCount(topic)
    if (partitions === null) {
      throw new StreamsError('TOPIC_MISSING', `${name}: topic ${topic} does not exist; create it`, {
        node: name,
        topic,
      })
    }
    await send(topic, partitions, key, value, timestamp, headers)
  }

  if (fixedTopic !== null) {
    return (key, value, timestamp, headers) => sendTo(fixedTopic, key, value, timestamp, headers)
  }
  return (key, value, timestamp, headers) => {
    const { topic, partition, offset } = context.record
    let chosen: unknown
    try {
      chosen = extract?.(key, value, { topic: topic ?? '', partition, offset, timestamp, headers })
    } catch (error) {
      return context.failed(error, name, 'topic extractor', key, value, timestamp, headers)
    }
    settled(chosen, name, 'topic extractor')
    if (typeof chosen !== 'string' || chosen === '') {
      const error = new TypeError(
        `the topic extractor must return the name of a topic, not ${String(chosen)}`,
      )
      return context.failed(error, name, 'topic extractor', key, value, timestamp, headers)
    }
    return sendTo(chosen, key, value, timestamp, headers)
  }
}
