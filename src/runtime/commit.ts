/**
 * Read this first: the commit, and what each guarantee makes of it.
 *
 *   1. flush   cached stores hand their changed results downstream
 *   2. cut     changes, output and positions leave the tasks; they go on into the next generation
 *   3. send    changelog and output, and, in the same transaction, the positions of the input
 *   4. decide  exactly once: before this an abort undoes all of it, after it nothing does
 *   5. settle  what was in flight is committed; the local engine follows in its own time, never ahead of Kafka
 *
 * 1 and 2 stop the tasks of the thread, for as long as encoding takes; 3 to 5 happen while they process on. At most one
 * generation is in flight.
 */
import { isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { FetchedChunk, GroupIdentity, OffsetToCommit, ProducedBatch, Producer } from '../kafka/client.ts'
import type { Output, Taken } from './output.ts'
import { partitionKey } from './partition-key.ts'
import type { Task, TaskCut } from './task.ts'

export type CommitReason = 'interval' | 'drained' | 'full' | 'requested' | 'revoked' | 'closing'

/** What one commit carries. */
export type Generation = {
  readonly cuts: readonly TaskCut[]
  readonly taken: Taken
  readonly reason: CommitReason
  /** Wall clock at the cut. */
  readonly at: number
  readonly cutMs: number
}

/** Steps 1 and 2. Null: nothing was processed, so there is nothing to commit. */
export async function cutGeneration(
  tasks: readonly Task[],
  output: Output,
  changelogTopic: (task: Task, store: string) => string,
  reason: CommitReason,
  now: () => number,
): Promise<Generation | null> {
  const changed = tasks.filter((task) => task.uncommitted)
  if (changed.length === 0) return null
  const at = now()
  const started = performance.now()
  for (const task of changed) {
    const waiting: MaybePromise<void> = task.flush()
    if (waiting !== undefined) await waiting
  }
  const cuts: TaskCut[] = []
  for (const task of changed) {
    const cut = task.cut({
      builder: (store, bytes) => output.changelog(changelogTopic(task, store), task.partition, bytes),
    })
    cuts.push(isPromise(cut) ? await cut : cut)
  }
  return { cuts, taken: output.take(), reason, at, cutMs: performance.now() - started }
}

/** The string in the configuration, as the object behind it. Picked once, at the start of a thread. */
export type Guarantee = {
  readonly name: 'exactly_once' | 'at_least_once' | 'at_most_once'
  readonly transactional: boolean
  /** Sending is a commit, which costs the broker more than its records do: a drained thread rests between two. */
  readonly isPaced: boolean
  /** Input may hold open transactions of others: only exactly once must not see them. */
  readonly isolation: 'read_committed' | 'read_uncommitted'
  /** Steps 3 and 4. Resolves when the generation is committed, with where its batches went. */
  send(
    generation: Generation,
    producer: Producer,
    identity: () => GroupIdentity,
  ): Promise<readonly ProducedBatch[]>
  /** Where positions are committed ahead of the work; null: they are committed with it. */
  readonly ahead: Ahead | null
}

export type Ahead = {
  /** Called with fetched chunks before any of their records is processed. */
  admit(chunks: readonly FetchedChunk[], producer: Producer, identity: () => GroupIdentity): Promise<void>
  /** Called where tasks leave in order, all that they processed being written: the rest is another's to process. */
  giveBack(tasks: readonly Task[], producer: Producer, identity: () => GroupIdentity): Promise<void>
}

const exactlyOnce: Guarantee = {
  name: 'exactly_once',
  transactional: true,
  isPaced: true,
  isolation: 'read_committed',
  async send(generation, producer, identity) {
    // The positions travel beside the data, or right behind it; neither counts before the decision.
    const [produced] = await both(
      producer.produce(generation.taken.batches),
      producer.commitOffsets(identity, offsetsOf(generation)),
    )
    await producer.end('commit')
    return produced
  },
  ahead: null,
}

const atLeastOnce: Guarantee = {
  name: 'at_least_once',
  transactional: false,
  isPaced: true,
  isolation: 'read_uncommitted',
  async send(generation, producer, identity) {
    // Positions move only when everything before them is safe: a crash in between replays and never skips.
    const produced = await producer.produce(generation.taken.batches)
    await producer.commitOffsets(identity, offsetsOf(generation))
    return produced
  },
  ahead: null,
}

const atMostOnce: Guarantee = {
  name: 'at_most_once',
  transactional: false,
  // The positions are committed: nothing is left to wait for.
  isPaced: false,
  isolation: 'read_uncommitted',
  send: (generation, producer) => producer.produce(generation.taken.batches),
  // Positions move before the records are processed: a crash skips them and never replays.
  ahead: {
    admit(chunks, producer, identity) {
      const ends = new Map<string, OffsetToCommit>()
      for (const { topic, partition, nextOffset } of chunks)
        ends.set(partitionKey({ topic, partition }), { topic, partition, offset: nextOffset, metadata: '' })
      return producer.commitOffsets(identity, [...ends.values()])
    },
    giveBack: (tasks, producer, identity) =>
      producer.commitOffsets(
        identity,
        tasks.flatMap((task) => task.positions()),
      ),
  },
}

export const guarantees: { readonly [name in Guarantee['name']]: Guarantee } = {
  exactly_once: exactlyOnce,
  at_least_once: atLeastOnce,
  at_most_once: atMostOnce,
}

function offsetsOf(generation: Generation): OffsetToCommit[] {
  return generation.cuts.flatMap((cut) => cut.offsets)
}

/** As Promise.all, but waits for both also where one fails: an abort must not overtake a request under way. */
async function both<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  const [a, b] = await Promise.allSettled([first, second])
  if (a.status === 'rejected') throw a.reason
  if (b.status === 'rejected') throw b.reason
  return [a.value, b.value]
}
