/**
 * Foreign-key subscriptions, by foreign key and primary key.
 * changelog key: length of the foreign key (4), the foreign key, the primary key.
 * changelog value: version (7 bits) and whether there is no hash (top bit), instruction (1), hash (16) where there is
 * one, the primary key, from version 1 on its partition (4).
 */
import { assert } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { SubscriptionStoreSpec } from '../topology/store-spec.ts'
import type { Entry, Subscription, SubscriptionStore } from './contract.ts'
import { KeyedStore } from './keyed-store.ts'
import type { StoreNotes, StoreServices } from './state-store.ts'

const hashBytes = 16
const noHash = 0x80

type CombinedKey = { readonly foreignKey: unknown; readonly primaryKey: unknown }
type Wrapper = Subscription['wrapper'] & { readonly primaryKey: unknown }

export class SubscriptionEntries extends KeyedStore implements SubscriptionStore {
  readonly kind = 'subscription'
  readonly #foreignKeySerde: Serde<unknown>

  constructor(
    spec: SubscriptionStoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
  ) {
    const keySerde = combinedKeySerde(spec.keySerde, spec.primaryKeySerde) as Serde<unknown>
    const valueSerde = wrapperSerde(spec.primaryKeySerde) as Serde<unknown>
    super(spec, services, number, notes, offset, keySerde, valueSerde)
    this.#foreignKeySerde = spec.keySerde
  }

  get(foreignKey: unknown, primaryKey: unknown): MaybePromise<Subscription | null> {
    return chain(this.entry({ foreignKey, primaryKey }), subscriptionOf)
  }

  put(subscription: Subscription): MaybePromise<void> {
    const { foreignKey, primaryKey, wrapper, timestamp } = subscription
    const value: Wrapper = { ...wrapper, primaryKey }
    return chain(this.entry({ foreignKey, primaryKey }), (entry) =>
      this.set(entry, value, timestamp, noHeaders),
    )
  }

  remove(foreignKey: unknown, primaryKey: unknown): MaybePromise<void> {
    return chain(this.entry({ foreignKey, primaryKey }), (entry) => {
      if (entry.value !== null) this.set(entry, null, entry.timestamp, noHeaders)
    })
  }

  of(foreignKey: unknown): MaybePromise<readonly Subscription[]> {
    const to = new ByteWriter(64)
    to.int32(0)
    const waiting = this.#foreignKeySerde.write(foreignKey, to, this.topic, noHeaders)
    if (isPromise(waiting)) return waiting.then(() => this.of(foreignKey))
    to.buffer.writeInt32BE(to.position - 4, 0)
    return chain(this.listPrefix(to.buffer.toString('latin1', 0, to.position)), (entries) =>
      entries.map((entry) => subscriptionOf(entry) as Subscription),
    )
  }
}

function subscriptionOf({ key, value, timestamp }: Entry): Subscription | null {
  if (value === null) return null
  const { foreignKey, primaryKey } = key as CombinedKey
  const { hash, instruction, version, primaryPartition } = value as Wrapper
  return { foreignKey, primaryKey, wrapper: { hash, instruction, version, primaryPartition }, timestamp }
}

function combinedKeySerde(
  foreignKeySerde: Serde<unknown>,
  primaryKeySerde: Serde<unknown>,
): Serde<CombinedKey> {
  return {
    name: `${foreignKeySerde.name} and ${primaryKeySerde.name}`,
    write({ foreignKey, primaryKey }, to, topic, headers) {
      const start = to.position
      // A serde that must wait has written nothing; what stands before it is taken back.
      const later = (waiting: void | Promise<void>): Promise<void> | undefined => {
        if (!isPromise(waiting)) return undefined
        to.position = start
        return waiting
      }
      to.int32(0)
      const first = later(foreignKeySerde.write(foreignKey, to, topic, headers))
      if (first !== undefined) return first
      to.buffer.writeInt32BE(to.position - start - 4, start)
      return later(primaryKeySerde.write(primaryKey, to, topic, headers))
    },
    read(from, start, end, topic, headers) {
      const middle = start + 4 + from.readInt32BE(start)
      return chain(foreignKeySerde.read(from, start + 4, middle, topic, headers), (foreignKey) =>
        chain(primaryKeySerde.read(from, middle, end, topic, headers), (primaryKey) => ({
          foreignKey,
          primaryKey,
        })),
      )
    },
  }
}

function wrapperSerde(primaryKeySerde: Serde<unknown>): Serde<Wrapper> {
  return {
    name: 'subscription',
    write({ hash, instruction, version, primaryKey, primaryPartition }, to, topic, headers) {
      const start = to.position
      assert(hash === null || hash.length === hashBytes, `a subscription's hash has ${hashBytes} bytes`)
      to.int8(hash === null ? version | noHash : version)
      to.int8(instruction)
      if (hash !== null) to.bytes(hash)
      const waiting = primaryKeySerde.write(primaryKey, to, topic, headers)
      if (isPromise(waiting)) {
        to.position = start
        return waiting
      }
      if (version > 0) to.int32(primaryPartition ?? 0)
      return undefined
    },
    read(from, start, end, topic, headers) {
      const first = from[start] as number
      const version = first & 0x7f
      const instruction = from[start + 1] as number
      const keyStart = start + 2 + ((first & noHash) === 0 ? hashBytes : 0)
      const hash = keyStart === start + 2 ? null : Buffer.from(from.subarray(start + 2, keyStart))
      const keyEnd = version > 0 ? end - 4 : end
      const primaryPartition = version > 0 ? from.readInt32BE(keyEnd) : null
      return chain(primaryKeySerde.read(from, keyStart, keyEnd, topic, headers), (primaryKey) => ({
        hash,
        instruction,
        version,
        primaryPartition,
        primaryKey,
      }))
    },
  }
}
