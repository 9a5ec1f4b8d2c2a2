/**
 * What the two internal topics of a foreign-key join carry, in Kafka Streams' bytes (version 1 of the subscription, 0
 * of the answer). The highest bit of the first byte says that there is no hash.
 *
 *   subscription: version (1), instruction (1), hash (16)?, primary key, partition of the primary key (4)
 *   answer:       version (1), hash (16)?, right value (empty: none)
 */
import { StreamsError } from '../base/errors.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'

export const instructions = {
  /** Unsubscribe, no answer. */
  deleteQuietly: 0,
  /** Unsubscribe, and answer without a value. */
  deleteAndAnswer: 1,
  /** Subscribe, and answer in any case. */
  answerAlways: 2,
  /** Subscribe, and answer only if the right value is there. */
  answerIfThere: 3,
} as const

export type SubscriptionRequest = {
  readonly hash: Buffer | null
  readonly instruction: number
  readonly version: number
  readonly primaryKey: unknown
  readonly primaryPartition: number | null
}

export type SubscriptionAnswer = {
  readonly hash: Buffer | null
  readonly value: unknown
  /** Where the answer must go; not part of the bytes. */
  readonly primaryPartition: number | null
}

const currentVersion = 1
const hashBytes = 16
const noHash = 0x80

export function subscriptionSerde(primaryKeySerde: Serde<unknown>): Serde<SubscriptionRequest> {
  return {
    name: 'subscription',
    write(request, to, topic, headers) {
      const { hash, instruction, version } = request
      const start = to.position
      to.int8(hash === null ? version | noHash : version)
      to.int8(instruction)
      if (hash !== null) to.bytes(hash)
      const waiting = primaryKeySerde.write(request.primaryKey, to, topic, headers)
      if (isPromise(waiting)) {
        to.position = start
        return waiting as Promise<void>
      }
      if (version > 0) to.int32(request.primaryPartition ?? 0)
      return undefined
    },
    read(from, start, end, topic, headers): MaybePromise<SubscriptionRequest> {
      const first = from[start] ?? 0
      const version = first & ~noHash
      const instruction = from[start + 1] ?? -1
      const keyStart = start + 2 + ((first & noHash) === 0 ? hashBytes : 0)
      const keyEnd = version > 0 ? end - 4 : end
      if (version > currentVersion || instruction < 0 || instruction > 3 || keyEnd < keyStart) {
        throw malformed('subscription', topic)
      }
      const hash = (first & noHash) === 0 ? Buffer.from(from.subarray(start + 2, keyStart)) : null
      const primaryPartition = version > 0 ? from.readInt32BE(keyEnd) : null
      const primaryKey = primaryKeySerde.read(from, keyStart, keyEnd, topic, headers)
      const request = (key: unknown): SubscriptionRequest => ({
        hash,
        instruction,
        version,
        primaryKey: key,
        primaryPartition,
      })
      return isPromise(primaryKey) ? primaryKey.then(request) : request(primaryKey)
    },
  }
}

export function answerSerde(valueSerde: Serde<unknown>): Serde<SubscriptionAnswer> {
  return {
    name: 'subscription-answer',
    write(answer, to, topic, headers) {
      const start = to.position
      to.int8(answer.hash === null ? noHash : 0)
      if (answer.hash !== null) to.bytes(answer.hash)
      if (answer.value === null) return undefined
      const waiting = valueSerde.write(answer.value, to, topic, headers)
      if (isPromise(waiting)) {
        to.position = start
        return waiting as Promise<void>
      }
      return undefined
    },
    read(from, start, end, topic, headers): MaybePromise<SubscriptionAnswer> {
      const first = from[start] ?? 0xff
      const valueStart = start + 1 + ((first & noHash) === 0 ? hashBytes : 0)
      if ((first & ~noHash) !== 0 || valueStart > end) throw malformed('answer', topic)
      const hash = (first & noHash) === 0 ? Buffer.from(from.subarray(start + 1, valueStart)) : null
      const answer = (value: unknown): SubscriptionAnswer => ({ hash, value, primaryPartition: null })
      if (valueStart === end) return answer(null)
      const value = valueSerde.read(from, valueStart, end, topic, headers)
      return isPromise(value) ? value.then(answer) : answer(value)
    },
  }
}

function malformed(what: string, topic: string): StreamsError {
  return new StreamsError('SERDE_FAILED', `foreign-key ${what}: malformed bytes in ${topic}`, { topic })
}
