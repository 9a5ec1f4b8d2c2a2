/**
 * What the runtime tells whoever watches: metrics, logs, the terminal view. Called per batch, per commit, per event;
 * never per record, but for a record that was dropped. Every method may be missing, and none may throw.
 */
import type { DropReason } from '../base/drop.ts'

export type Dropped = {
  readonly reason: DropReason
  readonly task: string
  readonly node: string
  readonly topic: string | null
  readonly partition: number
  readonly offset: number
}

export type BatchProcessed = {
  readonly task: string
  readonly records: number
  readonly bytes: number
  readonly durationMs: number
  /** Stream time of the task after it; -1 before any record. */
  readonly streamTime: number
  /** Of the last record of the batch. */
  readonly recordTimestamp: number
}

export type CommitDone = {
  readonly thread: string
  readonly tasks: number
  readonly inputRecords: number
  readonly outputRecords: number
  readonly changelogRecords: number
  readonly bytes: number
  /** From the cut to the decision. */
  readonly durationMs: number
  /** Of the part that stops processing: flush and encode. */
  readonly cutMs: number
  readonly reason: 'interval' | 'drained' | 'full' | 'requested' | 'revoked' | 'closing'
}

export type LagSeen = {
  readonly task: string
  readonly topic: string
  readonly partition: number
  /** Records up to the last stable offset that are not processed. */
  readonly records: number
  readonly position: number
  readonly endOffset: number
}

export type HeldBack = {
  readonly task: string
  readonly topic: string
  readonly partition: number
  /** Offsets from the last stable offset to the high watermark: behind a transaction that is open. */
  readonly records: number
}

export type RestoreProgress = {
  readonly task: string
  readonly store: string
  readonly topic: string
  readonly partition: number
  readonly phase: 'start' | 'batch' | 'end' | 'suspended'
  readonly startOffset: number
  readonly offset: number
  readonly endOffset: number
  /** Applied since this restore began. */
  readonly records: number
}

export type Hooks = {
  state?(state: string, before: string): void
  threadState?(thread: string, state: string, before: string): void
  taskCreated?(thread: string, task: string): void
  taskClosed?(thread: string, task: string, how: 'clean' | 'dirty'): void
  batch?(batch: BatchProcessed): void
  dropped?(dropped: Dropped): void
  /** Age of a record, wall clock minus its timestamp, sampled at the end of each batch per task. */
  latency?(task: string, ageMs: number): void
  punctuated?(task: string, node: string, type: 'stream-time' | 'wall-clock', durationMs: number): void
  committed?(commit: CommitDone): void
  commitFailed?(thread: string, code: string): void
  persisted?(task: string, bytes: number, durationMs: number): void
  lag?(lag: LagSeen): void
  /** Under exactly once, whenever it changes. */
  held?(held: HeldBack): void
  restore?(progress: RestoreProgress): void
  rebalanced?(generation: number, active: number, standby: number, durationMs: number): void
  /** Bytes of deserialised state in memory. */
  cache?(task: string, bytes: number): void
  /** What the engine of the task's stores says of itself, after a write; by its own names. */
  engine?(task: string, figures: Readonly<Record<string, number>>): void
}

/** Several watchers as one; one that throws is left out of the call, never of the work. */
export function allHooks(list: readonly Hooks[]): Hooks {
  const names = new Set(list.flatMap((hooks) => Object.keys(hooks)))
  const all: Record<string, (...args: unknown[]) => void> = {}
  for (const name of names) {
    const calls = list
      .filter((hooks) => name in hooks)
      .map((hooks) => (hooks as Record<string, (...args: unknown[]) => void>)[name]?.bind(hooks))
    all[name] = (...args) => {
      for (const call of calls) {
        try {
          call?.(...args)
        } catch {
          // A watcher's mistake must not stop the stream.
        }
      }
    }
  }
  return all as Hooks
}
