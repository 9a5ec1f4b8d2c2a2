/**
 * All state of one task: its stores, their generations, and the one engine behind them. What the engine holds is always
 * what some commit left: rows, and in the same atomic batch where each changelog went on and what the stores knew of
 * time. `openTaskState` is for tasks with a folder, `openMemoryState` for those without.
 *
 * engine, reserved rows (store number 0):
 *   'format'       -> { format, application, engine }
 *   'store/' name  -> { number, shape }: the prefix of its rows; where the shape changes, it starts over
 *   'at/' name     -> { offset, topicId, persistedAt, observedTime, sequence, count, inputs? }
 */
import { assert, unreachable } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { type Clock, systemClock } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { StoreSpec } from '../topology/store-spec.ts'
import { BufferStore } from './buffer-store.ts'
import type { CacheBudget } from './cache-budget.ts'
import type {
  ChangelogRecord,
  ChangelogWriter,
  CommittedState,
  Store,
  StoreContext,
  StorePosition,
  TaskState,
} from './contract.ts'
import { DuplicateEntries } from './duplicates-store.ts'
import type { Engine, EngineBatch, EngineName } from './engine.ts'
import { openFolder, type TaskFolder } from './folder.ts'
import { JoinBufferEntries } from './join-buffer.ts'
import { successor } from './key-scan.ts'
import { KeyValueEntries } from './key-value-store.ts'
import { KeyedStore } from './keyed-store.ts'
import { storePrefix } from './layered-store.ts'
import { MemoryDisk, openMemoryEngine } from './memory-engine.ts'
import { OuterJoinEntries } from './outer-join-store.ts'
import { type Overlay, overlayBatch, overlayEngine } from './overlay-engine.ts'
import { RowKeyValues } from './row-key-values.ts'
import { isInRows, RowStore } from './row-store.ts'
import { isOfRowWindows, RowWindows } from './row-windows.ts'
import { SessionEntries } from './session-store.ts'
import {
  emptyNotes,
  LookAheads,
  type StateStore,
  type StoreNotes,
  type StoreServices,
  Tally,
} from './state-store.ts'
import { isInStrips, StripEntries } from './strip-store.ts'
import { SubscriptionEntries } from './subscription-store.ts'
import { SuppressEntries } from './suppress-buffer.ts'
import { TimedStore } from './timed-store.ts'
import { VersionedEntries } from './versioned-store.ts'
import { WindowEntries } from './window-store.ts'

/** Of the rows and files of a task's folder. A newer one is refused. */
export const stateFormat = 1

/** What a view of committed state may keep of what it read before it is made anew. */
const viewBytesMax = 16 * 1024 * 1024

type AnyStore =
  | KeyValueEntries
  | RowKeyValues
  | WindowEntries
  | RowWindows
  | StripEntries
  | DuplicateEntries
  | SessionEntries
  | VersionedEntries
  | SuppressEntries
  | JoinBufferEntries
  | OuterJoinEntries
  | SubscriptionEntries

export type MemoryStateOptions = {
  /** In the order in which caches are flushed: parents before children. */
  readonly stores: readonly StoreSpec[]
  readonly context: StoreContext
  /** Of results not yet forwarded by cached stores; 0: every update goes on at once. */
  readonly cacheBytesMax: number
  /** Of this and the thread's other tasks; the task then holds back its share of it. */
  readonly cacheBudget?: CacheBudget
  readonly clock?: Clock
  readonly logger?: Logger
}

export type TaskStateOptions = MemoryStateOptions & {
  readonly application: string
  readonly taskId: string
  /** The application's tasks have their folders in `<stateDir>/<application>/<taskId>`. */
  readonly stateDir: string
  /** Default: RocksDB where its binary loads, else classic-level. */
  readonly engine?: Exclude<EngineName, 'memory'>
  /** What the engine may take of memory for its caches and write buffers. */
  readonly engineBytesMax?: number
}

type Position = StoreNotes & {
  readonly offset: number | null
  readonly topicId: string | null
  readonly persistedAt: number | null
  /** Of a global store: where each partition of its topic goes on. */
  readonly inputs?: readonly number[]
}

const nothing: Position = { ...emptyNotes, offset: null, topicId: null, persistedAt: null }

/** State in memory only: nothing is persisted, restoring reads all of a changelog. */
export function openMemoryState(options: MemoryStateOptions): TaskState {
  const state = new LayeredState(options, openMemoryEngine(new MemoryDisk()), null)
  for (const spec of options.stores) state.add(spec, 0, nothing)
  return state
}

/** State on a disk in memory: as `openTaskState` in all but the folder. */
export async function openDiskState(options: MemoryStateOptions, disk: MemoryDisk): Promise<TaskState> {
  const engine = openMemoryEngine(disk)
  const state = new LayeredState(options, engine, null)
  await state.open('memory', '')
  return state
}

export async function openTaskState(options: TaskStateOptions): Promise<TaskState> {
  const folder = await openFolder(options, stateFormat)
  const state = new LayeredState(options, folder.engine, folder)
  try {
    await state.open(options.application, options.taskId)
    return state
  } catch (error) {
    await state.close('dirty')
    throw error
  }
}

class LayeredState implements TaskState {
  readonly #options: MemoryStateOptions
  readonly #engine: Engine
  readonly #folder: TaskFolder | null
  readonly #services: StoreServices
  /** null: none of the stores is cached, or the task has all of the cache. */
  readonly #budget: CacheBudget | null
  readonly #tally = new Tally()
  readonly #stores = new Map<string, AnyStore>()
  readonly #positions = new Map<string, Position>()
  readonly #inputs = new Map<string, readonly number[]>()
  /** Stores whose row 'at/' is to be written, though none of theirs is. */
  readonly #moved = new Set<string>()
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #scratch = new ByteWriter(4096)
  #list: readonly AnyStore[] = []
  #isFlying = false
  #committed: MaybePromise<CommittedState> | null = null
  #committedTally = new Tally()
  #persisting: Promise<void> | null = null
  #trimFrom = 0
  /** Trims in a row that freed nothing, and what they had to leave, since the engine was written. */
  #fruitlessTrims = 0
  #untrimmable = 0
  #isClosed = false

  constructor(options: MemoryStateOptions, engine: Engine, folder: TaskFolder | null) {
    this.#options = options
    this.#engine = engine
    this.#folder = folder
    this.#clock = options.clock ?? systemClock
    this.#logger = options.logger ?? silentLogger
    const isCached = options.cacheBytesMax > 0 && options.stores.some(({ cached }) => cached)
    this.#budget = isCached ? (options.cacheBudget ?? null) : null
    this.#budget?.join()
    this.#services = {
      context: options.context,
      tally: this.#tally,
      lookAheads: new LookAheads(),
      scratch: this.#scratch,
      engine,
      cacheBytesMax: options.cacheBytesMax,
    }
  }

  // ----------------------------------------------------------------------------------------------------- opening

  add(spec: StoreSpec, number: number, position: Position): AnyStore {
    const { observedTime, sequence, count, offset } = position
    const store = makeStore(spec, this.#services, number, { observedTime, sequence, count }, offset)
    this.#stores.set(spec.name, store)
    this.#list = [...this.#stores.values()]
    this.#positions.set(spec.name, position)
    return store
  }

  async open(application: string, taskId: string): Promise<void> {
    const { stores } = this.#options
    const catalogue = await this.#readReserved()
    const format = catalogue.get('format') as { format: number; application: string } | undefined
    if (format !== undefined) checkFormat(format, application, taskId, this.#folder?.path ?? '')
    const numbers = new Map<string, { number: number; shape: string }>()
    let numberMax = 0
    for (const [key, value] of catalogue) {
      if (!key.startsWith('store/')) continue
      const known = value as { number: number; shape: string }
      numbers.set(key.slice('store/'.length), known)
      numberMax = Math.max(numberMax, known.number)
    }
    const batch = this.#engine.batch()
    if (format === undefined) {
      this.#putReserved(batch, 'format', { format: stateFormat, application, engine: this.#engine.name })
    }
    const cleared: number[] = []
    for (const spec of stores) {
      if (spec.engine === 'memory') {
        this.add(spec, 0, nothing)
        continue
      }
      const shape = shapeOf(spec)
      let known = numbers.get(spec.name)
      let position = catalogue.get(`at/${spec.name}`) as Position | undefined
      if (known !== undefined && (known.shape !== shape || position === undefined)) {
        // Rows of another shape, or without a position, are of no use: what they stand for isn't known.
        cleared.push(known.number)
        position = undefined
        if (known.shape !== shape) known = undefined
      }
      if (known === undefined) {
        known = { number: ++numberMax, shape }
        this.#putReserved(batch, `store/${spec.name}`, known)
        if (catalogue.has(`at/${spec.name}`)) this.#removeReserved(batch, `at/${spec.name}`)
      }
      assert(numberMax < 65_536, 'a task has fewer than 65,536 stores in its lifetime')
      const store = this.add(spec, known.number, position ?? nothing)
      if (store instanceof BufferStore && position !== undefined) await store.open()
    }
    for (const number of cleared) await this.#clearRows(number)
    if (batch.size > 0) await this.#guard('open', () => batch.write())
  }

  async #readReserved(): Promise<Map<string, unknown>> {
    const found = new Map<string, unknown>()
    const prefix = storePrefix(0)
    const scan = this.#engine.scan(prefix, successor(prefix))
    try {
      for (let rows = await scan.next(); rows !== null; rows = await scan.next()) {
        for (const { key, value } of rows)
          found.set(key.toString('utf8', 2), JSON.parse(value.toString('utf8')))
      }
    } finally {
      await scan.close()
    }
    return found
  }

  #putReserved(batch: EngineBatch, name: string, value: unknown): void {
    const to = this.#scratch
    to.reset()
    to.int16(0)
    to.utf8(name)
    const keyEnd = to.position
    to.utf8(JSON.stringify(value))
    batch.put(to.buffer, 0, keyEnd, keyEnd, to.position)
  }

  #removeReserved(batch: EngineBatch, name: string): void {
    const to = this.#scratch
    to.reset()
    to.int16(0)
    to.utf8(name)
    batch.remove(to.buffer, 0, to.position)
  }

  #clearRows(number: number): MaybePromise<void> {
    const prefix = storePrefix(number)
    return this.#engine.clear(prefix, successor(prefix))
  }

  // ------------------------------------------------------------------------------------------------------ stores

  get stores(): readonly Store[] {
    return this.#list
  }

  store(name: string): Store {
    const store = this.#stores.get(name)
    assert(store !== undefined, `the task has a store ${name}`)
    return store
  }

  get uncommittedBytes(): number {
    return this.#tally.dirty + this.#tally.flying
  }

  get pendingBytes(): number {
    return this.#tally.pending
  }

  get cachedBytes(): number {
    return this.#tally.cached + this.#tally.filters
  }

  figures(): Readonly<Record<string, number>> {
    return this.#engine.figures?.() ?? {}
  }

  get mayMiss(): boolean {
    for (const store of this.#list) {
      if (looksAhead(store) && store.mayMiss) return true
    }
    return false
  }

  load(): MaybePromise<void> {
    let waiting: Promise<void>[] | null = null
    for (const store of this.#list) {
      if (!looksAhead(store)) continue
      const loading = store.load()
      if (isPromise(loading)) (waiting ??= []).push(loading)
    }
    if (waiting === null) return undefined
    const all = Promise.all(waiting).then(() => {})
    // Not awaited, a failure shows when the key is asked for.
    all.catch(() => {})
    return all
  }

  hold(): () => void {
    return this.#services.lookAheads.hold()
  }

  trim(bytesMax: number): void {
    this.#trimEntries(Math.max(0, bytesMax - this.#tally.filters))
    // A filter forgets nothing: too large, it goes as a whole, and what it saved is read again.
    if (this.#tally.filters > bytesMax / 2) for (const store of this.#list) store.dropFilter()
  }

  #trimEntries(bytesMax: number): void {
    // What could not go is waiting for the engine: until that was written, only what came since can go.
    if (this.#fruitlessTrims > 1 && this.#tally.cached <= this.#untrimmable + bytesMax / 8) return
    const before = this.#tally.cached
    for (let step = 0; step < this.#list.length; step++) {
      const excess = this.#tally.cached - bytesMax
      if (excess <= 0) return
      ;(this.#list[this.#trimFrom++ % this.#list.length] as StateStore).trim(excess)
    }
    // The first time entries may only have lost their mark of use.
    this.#fruitlessTrims = this.#tally.cached < before ? 0 : this.#fruitlessTrims + 1
    this.#untrimmable = this.#tally.cached
  }

  // ------------------------------------------------------------------------------------------------------- flush

  flush(): MaybePromise<void> {
    for (const store of this.#list) {
      if (!store.hasTouched) continue
      const waiting = store.flush()
      // Flushing a store may change those before it, too: begin again until none is left.
      if (isPromise(waiting)) return waiting.then(() => this.flush())
    }
    for (const store of this.#list) if (store.hasTouched) return this.flush()
    return undefined
  }

  relieve(): MaybePromise<void> {
    const bytesMax = this.#budget === null ? this.#options.cacheBytesMax : this.#budget.share
    if (this.#tally.touched <= bytesMax) return undefined
    for (const store of this.#list) {
      if (!store.hasTouched) continue
      const waiting = store.flush()
      return isPromise(waiting) ? waiting.then(() => this.relieve()) : this.relieve()
    }
    return undefined
  }

  // ------------------------------------------------------------------------------------------------- generations

  cut(changelog: ChangelogWriter): MaybePromise<void> {
    assert(!this.#isFlying, 'at most one generation is in flight')
    this.#isFlying = true
    return this.#cutFrom(0, changelog)
  }

  #cutFrom(from: number, changelog: ChangelogWriter): MaybePromise<void> {
    for (let index = from; index < this.#list.length; index++) {
      const waiting = (this.#list[index] as StateStore).cut(changelog)
      if (isPromise(waiting)) return waiting.then(() => this.#cutFrom(index + 1, changelog))
    }
    return undefined
  }

  settle(offsets: ReadonlyMap<string, number>): void {
    this.#committed = null
    assert(this.#isFlying, 'a generation is in flight')
    this.#isFlying = false
    for (const store of this.#list) store.settle(offsets.get(store.name))
  }

  setInputs(name: string, positions: readonly number[]): void {
    assert(!this.#isFlying, 'inputs are those of settled state')
    this.#inputs.set(name, positions)
    this.#moved.add(name)
  }

  confirm(): void {
    for (const { name, spec, settledOffset } of this.#list) {
      // What others write to a source topic is not known here.
      if (spec.changelog?.sourceTopic === null && settledOffset !== null) this.#moved.add(name)
    }
  }

  #hasNews(store: AnyStore): boolean {
    return !store.pinned && (store.hasPending || this.#moved.has(store.name))
  }

  persist(): Promise<void> {
    this.#persisting ??= this.#persist().finally(() => {
      this.#persisting = null
    })
    return this.#persisting
  }

  async #persist(): Promise<void> {
    assert(!this.#isClosed, 'an open state is persisted')
    const batch = this.#engine.batch()
    const written: AnyStore[] = []
    const positions: [string, Position][] = []
    for (const store of this.#list) {
      if (!this.#hasNews(store)) continue
      this.#moved.delete(store.name)
      store.persistInto(batch, this.#scratch)
      const position = this.#positionOf(store)
      this.#putReserved(batch, `at/${store.name}`, position)
      positions.push([store.name, position])
      written.push(store)
    }
    if (written.length === 0) return
    try {
      await this.#guard('persist', () => batch.write())
    } catch (error) {
      for (const store of written) store.notPersisted()
      throw error
    }
    for (const store of written) store.persisted()
    this.#fruitlessTrims = 0
    for (const [name, position] of positions) this.#positions.set(name, position)
    for (const store of written) {
      await this.#expire(store, this.#positions.get(store.name) as Position)
    }
  }

  #expire(store: StateStore, position: Position): MaybePromise<void> {
    const expiring = store.expire(position)
    return isPromise(expiring) ? this.#guard('expire', () => expiring) : undefined
  }

  #positionOf(store: StateStore): Position {
    const inputs = this.#inputs.get(store.name) ?? this.#positions.get(store.name)?.inputs
    return {
      ...(inputs === undefined ? {} : { inputs }),
      ...store.settledNotes,
      offset: store.settledOffset ?? 0,
      topicId: this.#options.context.changelogTopicId?.(store.name) ?? null,
      persistedAt: this.#clock.now(),
    }
  }

  /** An engine that fails stops the thread: what it holds is still what was committed last. */
  async #guard(what: string, run: () => MaybePromise<void>): Promise<void> {
    try {
      await run()
    } catch (error) {
      if (error instanceof StreamsError) throw error
      const where = this.#folder?.path ?? 'memory'
      const reason = error instanceof Error ? error.message : String(error)
      throw new StreamsError(
        'STATE_FAILED',
        `state in ${where}: ${this.#engine.name} failed to ${what}: ${reason}. Check free space, permissions and the disk; what was committed is in Kafka, and what the folder holds is whole`,
        { cause: error },
      )
    }
  }

  settledOffset(name: string): number | null {
    return this.#stores.get(name)?.settledOffset ?? null
  }

  positions(): readonly StorePosition[] {
    return this.#list.map((store) => {
      const { offset, topicId, persistedAt, inputs } = this.#positions.get(store.name) as Position
      return {
        store: store.name,
        offset: store.pinned ? store.settledOffset : offset,
        topicId,
        persistedAt,
        ...(inputs === undefined ? {} : { inputs }),
      }
    })
  }

  // ------------------------------------------------------------------------------------------------------ restore

  restore(name: string, records: Iterable<ChangelogRecord>, nextOffset: number): MaybePromise<void> {
    const store = this.#stores.get(name)
    assert(store !== undefined, `the task has a store ${name}`)
    assert(!store.hasDirty && !store.hasPending, `${name}: nothing was changed before it was restored`)
    this.#committed = null
    store.beginRestore()
    const batch = store.pinned ? null : this.#engine.batch()
    const laid = this.#lay(store, records[Symbol.iterator](), batch)
    return chain(laid, () => {
      store.restored(nextOffset)
      if (batch === null) return undefined
      const position = this.#positionOf(store)
      this.#putReserved(batch, `at/${name}`, position)
      const writing = this.#write(batch)
      return chain(writing, () => {
        this.#positions.set(name, position)
        // A standby only ever restores: what expires must go here, too.
        return this.#expire(store, position)
      })
    })
  }

  /** Memory's engine writes at once. */
  #write(batch: EngineBatch): MaybePromise<void> {
    return this.#engine.name === 'memory' ? batch.write() : this.#guard('restore', () => batch.write())
  }

  #lay(store: StateStore, records: Iterator<ChangelogRecord>, batch: EngineBatch | null): MaybePromise<void> {
    for (let next = records.next(); next.done !== true; next = records.next()) {
      const waiting = store.restoreRecord(next.value, batch)
      if (isPromise(waiting)) return waiting.then(() => this.#lay(store, records, batch))
    }
    return undefined
  }

  // ----------------------------------------------------------------------------------------------------- reading

  committed(): MaybePromise<CommittedState> {
    const known = this.#committed
    if (known !== null && this.#committedTally.cached < viewBytesMax) return known
    const view = this.#viewCommitted()
    this.#committed = view
    if (isPromise(view)) {
      view.catch(() => {
        if (this.#committed === view) this.#committed = null
      })
    }
    return view
  }

  #viewCommitted(): MaybePromise<CommittedState> {
    const overlay: Overlay = new Map()
    const batch = overlayBatch(overlay)
    for (const store of this.#list) if (!store.pinned) store.overlayInto(batch, this.#scratch)
    this.#committedTally = new Tally()
    // Accounts and scratch of its own: whoever reads must not be in the way of the task.
    const services: StoreServices = {
      ...this.#services,
      tally: this.#committedTally,
      lookAheads: new LookAheads(),
      scratch: new ByteWriter(1024),
      engine: overlayEngine(this.#engine, overlay),
      cacheBytesMax: 0,
    }
    const stores = new Map<string, AnyStore>()
    let opening: Promise<void>[] | null = null
    for (const store of this.#list) {
      if (store.pinned) {
        stores.set(store.name, store)
        continue
      }
      const view = makeStore(store.spec, services, store.number, store.settledNotes, store.settledOffset ?? 0)
      stores.set(store.name, view)
      const open = view instanceof BufferStore ? view.open() : undefined
      if (isPromise(open)) (opening ??= []).push(open)
    }
    const committed: CommittedState = {
      store(name) {
        const store = stores.get(name)
        assert(store !== undefined, `the task has a store ${name}`)
        return store
      },
    }
    return opening === null ? committed : Promise.all(opening).then(() => committed)
  }

  // -------------------------------------------------------------------------------------------------------- end

  async close(how: 'clean' | 'dirty'): Promise<void> {
    if (this.#isClosed) return
    try {
      // A write under way is of committed changes; it may end.
      if (this.#persisting !== null) await this.#persisting.catch((error: unknown) => this.#tell(how, error))
      if (how === 'clean') while (this.#list.some((store) => this.#hasNews(store))) await this.persist()
    } finally {
      this.#isClosed = true
      this.#budget?.leave()
      await (this.#folder === null ? this.#engine.close() : this.#folder.close())
    }
  }

  #tell(how: 'clean' | 'dirty', error: unknown): void {
    if (how === 'clean') throw error
    this.#logger.warn('a write of local state failed while its task was closed', { error })
  }

  async wipe(name?: string): Promise<void> {
    if (this.#persisting !== null) await this.#persisting
    this.#committed = null
    const batch = this.#engine.batch()
    const wiped = name === undefined ? this.#list : [this.store(name) as AnyStore]
    for (const store of wiped) if (!store.pinned) this.#removeReserved(batch, `at/${store.name}`)
    // The position goes first: rows without one are cleared when the task is opened.
    if (batch.size > 0) await this.#guard('wipe', () => batch.write())
    for (const store of wiped) {
      if (!store.pinned) await this.#guard('wipe', () => this.#clearRows(store.number))
      store.reset()
      this.#positions.set(store.name, nothing)
      this.#inputs.delete(store.name)
      this.#moved.delete(store.name)
    }
    if (name === undefined) this.#isFlying = false
  }
}

function makeStore(
  spec: StoreSpec,
  services: StoreServices,
  number: number,
  notes: StoreNotes,
  offset: number | null,
): AnyStore {
  switch (spec.kind) {
    case 'key-value':
      return isInRows(spec, number) && spec.entriesMax === undefined
        ? new RowKeyValues(spec, services, number, notes, offset)
        : new KeyValueEntries(spec, services, number, notes, offset)
    case 'window':
      return spec.retainDuplicates
        ? new DuplicateEntries(spec, services, number, notes, offset)
        : isInStrips(spec)
          ? new StripEntries(spec, services, number, notes, offset)
          : isOfRowWindows(spec, number)
            ? new RowWindows(spec, services, number, notes, offset)
            : new WindowEntries(spec, services, number, notes, offset)
    case 'session':
      return new SessionEntries(spec, services, number, notes, offset)
    case 'versioned':
      return new VersionedEntries(spec, services, number, notes, offset)
    case 'suppress-buffer':
      return new SuppressEntries(spec, services, number, notes, offset)
    case 'join-buffer':
      return new JoinBufferEntries(spec, services, number, notes, offset)
    case 'outer-join':
      return new OuterJoinEntries(spec, services, number, notes, offset)
    case 'subscription':
      return new SubscriptionEntries(spec, services, number, notes, offset)
    default:
      return unreachable(spec)
  }
}

/** Keys can be wanted of it before they are asked for. */
function looksAhead(store: AnyStore): store is AnyStore & (KeyedStore | TimedStore | RowStore) {
  return store instanceof RowStore || store instanceof KeyedStore || store instanceof TimedStore
}

/** What the layout of a store's rows depends on. */
function shapeOf(spec: StoreSpec): string {
  const headers = spec.keepsHeaders === true ? '/headers' : ''
  switch (spec.kind) {
    case 'window':
      return `window/${spec.segmentIntervalMs}${isInStrips(spec) ? `/${spec.advanceMs}` : headers}`
    case 'session':
    case 'versioned':
      return `${spec.kind}/${spec.segmentIntervalMs}${headers}`
    default:
      return `${spec.kind}${headers}`
  }
}

function checkFormat(
  { format, application }: { readonly format: number; readonly application: string },
  expected: string,
  taskId: string,
  path: string,
): void {
  if (format > stateFormat) {
    throw new StreamsError(
      'STATE_FORMAT',
      `state folder ${path} has format ${format}; this version reads up to ${stateFormat}. Run the newer version, or delete the folder: its content is restored from Kafka`,
      { task: taskId },
    )
  }
  if (application !== expected) {
    throw new StreamsError(
      'STATE_FOREIGN',
      `state folder ${path} belongs to the application ${application}, not to ${expected}. Give this one another stateDir, or delete the folder: its content is restored from Kafka`,
      { task: taskId },
    )
  }
}
