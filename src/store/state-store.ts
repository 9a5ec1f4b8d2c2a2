/**
 * What every store has, whatever it keeps and however: its name and place, what it knows of itself as of each
 * generation, and where its changelog goes on. What a kind of store adds to a step of a commit, it adds by overriding it
 * and calling this one first.
 */
import { assert } from '../base/assert.ts'
import type { ByteWriter } from '../base/bytes.ts'
import { StreamsError } from '../base/errors.ts'
import type { Headers } from '../base/headers.ts'
import type { MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { type BatchBuilder, headersLength } from '../wire/batch-builder.ts'
import type { ChangelogRecord, ChangelogWriter, FlushListener, StoreContext } from './contract.ts'
import type { Engine, EngineBatch } from './engine.ts'
import { storedSerde } from './kept-headers.ts'

/** Bytes, of all stores of a task. */
export class Tally {
  dirty = 0
  flying = 0
  pending = 0
  cached = 0
  touched = 0
  /** What `KeyFilter`s take. */
  filters = 0
}

/** Which look-aheads are open: what they want stays in memory until the records that they looked at are through. */
export class LookAheads {
  /** Of what is wanted from now on. */
  current = 1
  readonly #open = new Set<number>()

  /** Ends the current one. The result closes it. */
  hold(): () => void {
    const held = this.current
    this.#open.add(held)
    // A small integer, whatever the uptime; 0 is of what nobody wanted.
    this.current = held === 0x3fffffff ? 1 : held + 1
    return () => this.#open.delete(held)
  }

  holds(wantedBy: number): boolean {
    return wantedBy === this.current || this.#open.has(wantedBy)
  }
}

/** What a store is given by its task. */
export type StoreServices = {
  readonly context: StoreContext
  readonly tally: Tally
  readonly lookAheads: LookAheads
  readonly scratch: ByteWriter
  readonly engine: Engine
  readonly cacheBytesMax: number
}

/** What a store knows of itself besides its slots; it commits and persists with them. */
export type StoreNotes = {
  readonly observedTime: number
  readonly sequence: number
  readonly count: number
}

export const emptyNotes: StoreNotes = { observedTime: -1, sequence: 0, count: 0 }

// From here on the changelog is asked for each record whether it takes one so large.
const largeBytes = 1024

export abstract class StateStore {
  readonly name: string
  readonly spec: StoreSpec
  readonly topic: string
  readonly cached: boolean
  /** Lives in memory only: never evicted, never persisted. */
  readonly pinned: boolean
  /** Of its local keys; 0 while pinned. */
  readonly number: number
  protected readonly services: StoreServices
  protected readonly isLogged: boolean
  protected readonly valueSerde: Serde<unknown>
  protected notes: { observedTime: number; sequence: number; count: number }
  #flyingNotes: StoreNotes = emptyNotes
  #settledNotes: StoreNotes
  /** Where the changelog goes on after what is settled. */
  #settledOffset: number | null
  #hasNews = false

  constructor(
    spec: StoreSpec,
    services: StoreServices,
    number: number,
    notes: StoreNotes,
    offset: number | null,
    valueSerde: Serde<unknown> = spec.valueSerde,
  ) {
    this.valueSerde = storedSerde(spec, valueSerde)
    this.name = spec.name
    this.spec = spec
    this.services = services
    this.number = number
    this.pinned = number === 0
    this.topic = services.context.changelogTopic(spec.name)
    this.isLogged = spec.changelog !== null && spec.changelog.sourceTopic === null
    this.cached = spec.cached && services.cacheBytesMax > 0
    this.notes = { ...notes }
    this.#settledNotes = notes
    this.#settledOffset = offset
  }

  /** Lets go what is clean until `bytes` are free, or nothing is left. */
  abstract trim(bytes: number): void
  /** Gives up what only saves looks at the engine. */
  dropFilter(): void {}
  /** Lays a changelog record into the engine, or into memory where the store is pinned. */
  abstract restoreRecord(record: ChangelogRecord, batch: EngineBatch | null): MaybePromise<void>
  /** Before records are restored: nothing in memory may hide them. */
  abstract beginRestore(): void
  /** What the engine would hold, were all that is settled persisted. */
  abstract overlayInto(batch: EngineBatch, to: ByteWriter): void
  /** Forgets all it has in memory; the engine has nothing of it. */
  protected abstract clear(): void
  abstract get hasDirty(): boolean

  /** What a cut throws where an entry could not be encoded: the store is named, whoever failed. */
  protected unwritable(error: unknown): StreamsError {
    if (error instanceof StreamsError && error.code !== 'SERDE_FAILED') return error
    const message = error instanceof Error ? error.message : String(error)
    return new StreamsError(
      'SERDE_FAILED',
      `store ${this.name}: a changed entry can't be written: ${message}`,
      {
        store: this.name,
        cause: error,
        verdict: 'stop',
      },
    )
  }

  /** Removes from the engine what expired, as of what is settled. */
  expire(_settled: StoreNotes): MaybePromise<void> {}

  get hasPending(): boolean {
    return this.#hasNews
  }

  get settledOffset(): number | null {
    return this.#settledOffset
  }

  get settledNotes(): StoreNotes {
    return this.#settledNotes
  }

  cut(_changelog: ChangelogWriter): MaybePromise<void> {
    this.#flyingNotes = { ...this.notes }
  }

  /** Writes a record to the batch in hand, or to the next; whichever it was is in hand then. */
  protected log(
    changelog: ChangelogWriter,
    inHand: BatchBuilder | null,
    timestamp: number,
    buffer: Buffer,
    keyEnd: number,
    value: Buffer | null,
    valueEnd: number,
    headers: Headers,
  ): BatchBuilder {
    if (
      inHand !== null &&
      valueEnd <= largeBytes &&
      inHand.append(timestamp, buffer, 0, keyEnd, value, keyEnd, valueEnd, headers)
    )
      return inHand
    const more = headers.length === 0 ? 0 : headersLength(headers)
    const builder = changelog.builder(this.name, valueEnd + more)
    const taken = builder.append(timestamp, buffer, 0, keyEnd, value, keyEnd, valueEnd, headers)
    assert(taken, `${this.name}: the changelog's batch has room for a record of ${valueEnd} bytes`)
    return builder
  }

  /** `offset`: where the changelog goes on; undefined where nothing of it was in the transaction. */
  settle(offset: number | undefined): void {
    if (offset !== undefined) {
      this.#settledOffset = offset
      this.#hasNews = true
    }
    this.#settledNotes = this.#flyingNotes
  }

  /** Copies what is settled into the batch. `persisted` or `notPersisted` follows. */
  persistInto(_batch: EngineBatch, _to: ByteWriter): void {
    this.#hasNews = false
  }

  persisted(): void {}

  notPersisted(): void {
    this.#hasNews = true
  }

  restored(nextOffset: number): void {
    this.#settledOffset = nextOffset
    this.#settledNotes = { ...this.notes }
  }

  /** The store is as new. */
  reset(): void {
    this.#hasNews = false
    this.#settledOffset = null
    this.#settledNotes = this.#flyingNotes = emptyNotes
    this.notes = { ...emptyNotes }
    this.clear()
  }

  // A store that holds nothing back has nothing to flush.

  onFlush(_listener: FlushListener<never, never>, _options: { readonly keepOld: boolean }): void {}

  get hasTouched(): boolean {
    return false
  }

  flush(): MaybePromise<void> {
    return undefined
  }
}
