/**
 * Foreign-key joins of tables, five operators long:
 *
 *   left table -> send -> (topic) -> receive -> answer -+-> (topic) -> resolve -> result
 *                         right table ---------> update -+
 *
 * The left side subscribes at its foreign key's partition; the right side answers at once and at each change. An answer
 * carries the hash of the left value it was asked for, and is dropped if that has changed meanwhile.
 */
import { ByteWriter } from '../base/bytes.ts'
import { type Headers, noHeaders } from '../base/headers.ts'
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { Subscription } from '../store/contract.ts'
import type {
  ForeignKeyReceiveNode,
  ForeignKeyResolveNode,
  ForeignKeySendNode,
  ForeignKeyUpdateNode,
} from '../topology/node.ts'
import { inOrder, settled } from './call.ts'
import { instructions, type SubscriptionAnswer, type SubscriptionRequest } from './foreign-key-serde.ts'
import { murmur3 } from './murmur3.ts'
import type { Change, Run, TableView, TaskContext, ValueAndTimestamp } from './run.ts'
import { storeOf } from './stores.ts'

const { deleteQuietly, deleteAndAnswer, answerAlways, answerIfThere } = instructions

/** The bytes of a value, as a copy. */
function bytesOf(serde: Serde<unknown>, value: unknown, headers: Headers): MaybePromise<Buffer> {
  const writer = new ByteWriter(256)
  const waiting = serde.write(value, writer, '', headers)
  if (isPromise(waiting)) return (waiting as Promise<void>).then(() => bytesOf(serde, value, headers))
  return writer.view()
}

function hashOf(serde: Serde<unknown>, value: unknown, headers: Headers): MaybePromise<Buffer | null> {
  if (value === null) return null
  const bytes = bytesOf(serde, value, headers)
  return isPromise(bytes) ? bytes.then((there) => murmur3(there)) : murmur3(bytes)
}

/** A foreign key and what is asked of the side that keeps it. */
type Request = readonly [foreignKey: unknown, instruction: number]

export function foreignKeySend(
  node: ForeignKeySendNode,
  next: Run,
  context: TaskContext,
  foreignKeySerde: Serde<unknown>,
  valueSerde: Serde<unknown>,
  versioned: boolean,
): Run {
  const { name, foreignKey } = node
  const extract = (key: unknown, value: unknown): unknown =>
    value === null ? null : settled(foreignKey(value, key), name, 'foreign-key extractor')

  const requests = (
    before: unknown,
    after: unknown,
    changed: boolean,
    change: Change,
  ): readonly Request[] => {
    if (node.join === 'left') {
      if (change.old === null && change.value === null) return []
      const ask: Request = [after, answerAlways]
      return before !== null && changed ? [[before, deleteQuietly], ask] : [ask]
    }
    if (change.value === null) return before === null ? [] : [[before, deleteAndAnswer]]
    if (after === null) {
      context.drop('null-foreign-key', name)
      return before === null ? [] : [[before, deleteAndAnswer]]
    }
    if (before === null || !changed) return [[after, answerIfThere]]
    return [
      [before, deleteQuietly],
      [after, answerAlways],
    ]
  }

  const send = (
    list: readonly Request[],
    hash: Buffer | null,
    key: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> =>
    inOrder(list.length, (index) => {
      const [to, instruction] = list[index] as Request
      const request: SubscriptionRequest = {
        hash,
        instruction,
        version: 1,
        primaryKey: key,
        primaryPartition: context.partition,
      }
      return next(to, request, timestamp, headers)
    })

  const slowly = async (
    before: unknown,
    after: unknown,
    key: unknown,
    change: Change,
    timestamp: number,
    headers: Headers,
  ): Promise<void> => {
    const changed = await differ(foreignKeySerde, before, after, headers)
    const list = requests(before, after, changed, change)
    if (list.length > 0)
      await send(list, await hashOf(valueSerde, change.value, headers), key, timestamp, headers)
  }

  return (key, value, timestamp, headers) => {
    const change = value as Change
    if (versioned && !change.latest) return context.drop('out-of-order-version', name)
    let before: unknown
    let after: unknown
    try {
      before = extract(key, change.old)
      after = extract(key, change.value)
    } catch (error) {
      return context.failed(error, name, 'foreign-key extractor', key, change.value, timestamp, headers)
    }
    const changed = differ(foreignKeySerde, before, after, headers)
    if (isPromise(changed)) return slowly(before, after, key, change, timestamp, headers)
    const list = requests(before, after, changed, change)
    if (list.length === 0) return
    const hash = hashOf(valueSerde, change.value, headers)
    if (isPromise(hash)) return hash.then((there) => send(list, there, key, timestamp, headers))
    return send(list, hash, key, timestamp, headers)
  }
}

/** By their bytes, as a null one differs from any. */
function differ(
  serde: Serde<unknown>,
  one: unknown,
  other: unknown,
  headers: Headers,
): MaybePromise<boolean> {
  if (one === null || other === null || typeof one !== 'object') return one !== other
  const first = bytesOf(serde, one, headers)
  const second = bytesOf(serde, other, headers)
  if (isPromise(first) || isPromise(second)) {
    return Promise.all([first, second]).then(([a, b]) => !a.equals(b))
  }
  return !first.equals(second)
}

/** Keeps the subscription, and hands it on with its foreign key as the key. */
export function foreignKeyReceive(node: ForeignKeyReceiveNode, next: Run, context: TaskContext): Run {
  const store = storeOf(context, node, node.store, 'subscription')
  return (foreignKey, value, timestamp, headers) => {
    const request = value as SubscriptionRequest
    const { instruction, primaryKey } = request
    let kept: unknown = null
    if (foreignKey === null) {
      if (instruction !== answerAlways) return context.drop('null-foreign-key', node.name)
    } else if (instruction === deleteAndAnswer || instruction === deleteQuietly) {
      kept = store.remove(foreignKey, primaryKey)
    } else {
      kept = store.put({ foreignKey, primaryKey, wrapper: request, timestamp })
    }
    if (isPromise(kept)) return kept.then(() => next(foreignKey, request, timestamp, headers))
    return next(foreignKey, request, timestamp, headers)
  }
}

export function foreignKeyAnswer(next: Run, table: TableView): Run {
  const answer = (
    row: ValueAndTimestamp | null,
    request: SubscriptionRequest,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const { hash, instruction, primaryKey, primaryPartition } = request
    if (instruction === deleteQuietly || (instruction === answerIfThere && row === null)) return
    const value = instruction === deleteAndAnswer || row === null ? null : row.value
    const time = row === null ? timestamp : Math.max(timestamp, row.timestamp)
    const response: SubscriptionAnswer = { hash, value, primaryPartition }
    return next(primaryKey, response, time, headers)
  }
  return (foreignKey, value, timestamp, headers) => {
    const request = value as SubscriptionRequest
    if (foreignKey === null) return answer(null, request, timestamp, headers)
    const row = table.get(foreignKey)
    if (isPromise(row)) return row.then((there) => answer(there, request, timestamp, headers))
    return answer(row, request, timestamp, headers)
  }
}

export function foreignKeyUpdate(
  node: ForeignKeyUpdateNode,
  next: Run,
  context: TaskContext,
  versioned: boolean,
): Run {
  const store = storeOf(context, node, node.store, 'subscription')
  const tell = (
    subscriptions: readonly Subscription[],
    value: unknown,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> =>
    inOrder(subscriptions.length, (index) => {
      const { primaryKey, wrapper } = subscriptions[index] as Subscription
      const answer: SubscriptionAnswer = {
        hash: wrapper.hash,
        value,
        primaryPartition: wrapper.primaryPartition,
      }
      return next(primaryKey, answer, timestamp, headers)
    })
  return (key, changed, timestamp, headers) => {
    if (key === null) return context.drop('null-key', node.name)
    const { value, latest } = changed as Change
    if (versioned && !latest) return context.drop('out-of-order-version', node.name)
    const subscriptions = store.of(key)
    if (isPromise(subscriptions)) return subscriptions.then((list) => tell(list, value, timestamp, headers))
    return tell(subscriptions, value, timestamp, headers)
  }
}

export function foreignKeyResolve(
  node: ForeignKeyResolveNode,
  next: Run,
  context: TaskContext,
  table: TableView,
  valueSerde: Serde<unknown>,
): Run {
  const { name, joiner } = node
  const leftJoin = node.join === 'left'

  const resolve = (
    row: ValueAndTimestamp | null,
    hash: Buffer | null,
    key: unknown,
    answer: SubscriptionAnswer,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const current = hash === null ? answer.hash === null : answer.hash !== null && hash.equals(answer.hash)
    if (!current) return context.drop('foreign-key-hash-mismatch', name)
    let joined: unknown = null
    if (answer.value !== null || (leftJoin && row !== null)) {
      try {
        joined = settled(joiner(row === null ? null : row.value, answer.value, null), name, 'joiner')
      } catch (error) {
        return context.failed(error, name, 'joiner', key, answer.value, timestamp, headers)
      }
    }
    return next(key, joined, timestamp, headers)
  }

  const look = (
    row: ValueAndTimestamp | null,
    key: unknown,
    answer: SubscriptionAnswer,
    timestamp: number,
    headers: Headers,
  ): void | Promise<void> => {
    const hash = hashOf(valueSerde, row === null ? null : row.value, noHeaders)
    if (isPromise(hash)) return hash.then((there) => resolve(row, there, key, answer, timestamp, headers))
    return resolve(row, hash, key, answer, timestamp, headers)
  }

  return (key, value, timestamp, headers) => {
    const answer = value as SubscriptionAnswer
    const row = table.get(key)
    if (isPromise(row)) return row.then((there) => look(there, key, answer, timestamp, headers))
    return look(row, key, answer, timestamp, headers)
  }
}
