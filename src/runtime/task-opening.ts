/**
 * How a task comes to life on a thread. The order matters: first the positions of its input, which no open transaction
 * can move any more, and meanwhile the local state, opened and judged; then that is restored to the end that its
 * changelogs have after both; then the operators. A standby stops half-way and follows.
 */
import { assert } from '../base/assert.ts'
import type { Clock } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { CommittedOffset, KafkaClient } from '../kafka/client.ts'
import type { Collector, RecordContext } from '../operator/run.ts'
import type { TaskState } from '../store/contract.ts'
import type { Subtopology, TopologyGraph } from '../topology/topology.ts'
import type { Hooks } from './hooks.ts'
import type { Progress } from './progress.ts'
import { type Changelog, givenUp, type Restorer, type Wanted } from './restore.ts'
import { isUntouched, outlived } from './state-age.ts'
import type { TaskAssignment, ThreadOwner } from './stream-thread.ts'
import { Task, type TaskInput, type TaskSettings } from './task.ts'

export type OpeningOptions = {
  readonly client: KafkaClient
  readonly graph: TopologyGraph
  readonly owner: ThreadOwner
  readonly settings: TaskSettings
  readonly restorer: Restorer
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: Hooks
  readonly progress: Progress | null
  /** Of the thread, by now. */
  readonly tasks: () => number
}

export type OpenedTask = { readonly task: Task; readonly inputs: readonly TaskInput[] }

export class TaskOpening {
  readonly #options: OpeningOptions
  readonly #careful = new Set<string>()

  constructor(options: OpeningOptions) {
    this.#options = options
  }

  async open(assignment: TaskAssignment, collector: Collector, wanted: Wanted): Promise<OpenedTask> {
    const { client, graph, owner, settings, restorer, clock, logger, hooks } = this.#options
    const { id, partition } = assignment
    const subtopology = this.#subtopology(assignment)
    // Side by side: where the changelogs end is asked only after both.
    const [positions, opened] = await Promise.allSettled([
      client.committed(settings.applicationId, assignment.inputs),
      this.#openState(assignment, subtopology, this.#changelogs(assignment, subtopology, [])),
    ])
    if (opened.status === 'rejected') throw opened.reason
    const { state, record } = opened.value
    try {
      if (positions.status === 'rejected') throw positions.reason
      const committed = positions.value
      const changelogs = this.#changelogs(assignment, subtopology, committed)
      await restorer.restore(id, state, changelogs, wanted)
      if (!wanted()) throw givenUp(id)
      const inputs: TaskInput[] = []
      for (const input of assignment.inputs) {
        const known = committed.find((one) => one.topic === input.topic && one.partition === input.partition)
        const position = known?.offset ?? (await this.#firstOffset(input))
        inputs.push({ ...input, position, metadata: known?.metadata ?? '' })
      }
      const task = await Task.open({
        id,
        partition,
        graph,
        subtopology,
        inputs,
        record,
        state,
        globalStore: (name) => owner.globalStore(name),
        collector,
        clock,
        logger: logger.child(`task ${id}`),
        hooks,
        settings,
        progress: this.#options.progress,
        careful: this.#careful,
      })
      return { task, inputs }
    } catch (error) {
      await this.#discard(state, error)
      throw error
    }
  }

  /** Resolves when the standby is taken away; `following` has its state meanwhile. */
  async follow(
    assignment: TaskAssignment,
    wanted: Wanted,
    following: (state: TaskState | null) => void,
  ): Promise<void> {
    const subtopology = this.#subtopology(assignment)
    // A source topic that serves as changelog is not followed: beyond what its task has committed it is input.
    const changelogs = this.#changelogs(assignment, subtopology, []).filter(({ limit }) => limit === null)
    const { state } = await this.#openState(assignment, subtopology, changelogs)
    following(state)
    try {
      if (wanted()) await this.#options.restorer.follow(assignment.id, state, changelogs, wanted)
      await state.close('clean')
    } catch (error) {
      if (!wanted()) {
        await state.close('clean')
        return
      }
      await this.#discard(state, error)
      throw error
    } finally {
      following(null)
    }
  }

  #subtopology({ subtopology }: TaskAssignment): Subtopology {
    const found = this.#options.graph.subtopologies.find(({ index }) => index === subtopology)
    assert(found !== undefined, `no sub-topology ${subtopology}`)
    return found
  }

  #changelogs(
    { partition }: TaskAssignment,
    { stores }: Subtopology,
    committed: readonly CommittedOffset[],
  ): Changelog[] {
    return stores.flatMap((spec) => {
      if (spec.changelog === null) return []
      const topic = this.#options.owner.changelogTopic(spec)
      const input = committed.find((one) => one.topic === topic && one.partition === partition)
      const limit = spec.changelog.sourceTopic === null ? null : (input?.offset ?? 0)
      return [{ store: spec.name, topic, partition, limit }]
    })
  }

  async #openState(
    assignment: TaskAssignment,
    { stores }: Subtopology,
    changelogs: readonly Changelog[],
  ): Promise<{ readonly state: TaskState; readonly record: RecordContext }> {
    const topicIds = await this.#topicIds(changelogs)
    const record: RecordContext = { topic: null, partition: -1, offset: -1 }
    const { owner, tasks } = this.#options
    const state = await owner.openState(assignment, stores, record, topicIds, tasks())
    try {
      await this.#judge(assignment.id, state, changelogs, topicIds)
    } catch (error) {
      await this.#discard(state, error)
      throw error
    }
    return { state, record }
  }

  /** What can't be trusted is deleted, so that the next try begins with nothing. */
  async #discard(state: TaskState, error: unknown): Promise<void> {
    const { logger } = this.#options
    if (error instanceof StreamsError && error.verdict === 'restore') {
      logger.warn(`local state is deleted and restored: ${error.message}`)
      await state.wipe()
    }
    await state
      .close('dirty')
      .catch((again) => logger.debug(`closing state that was given up: ${String(again)}`))
  }

  async #topicIds(changelogs: readonly Changelog[]): Promise<ReadonlyMap<string, string>> {
    if (changelogs.length === 0) return new Map()
    const names = [...new Set(changelogs.map(({ topic }) => topic))]
    const ids = new Map((await this.#options.client.admin.topics(names)).map(({ name, id }) => [name, id]))
    return new Map(
      changelogs.flatMap(({ store, topic }) => {
        const id = ids.get(topic)
        return id === undefined ? [] : [[store, id]]
      }),
    )
  }

  /** Local state can be of another topic, or so old that tombstones it never saw are gone: then it is worth nothing. */
  async #judge(
    task: string,
    state: TaskState,
    changelogs: readonly Changelog[],
    topicIds: ReadonlyMap<string, string>,
  ): Promise<void> {
    const { client, clock } = this.#options
    for (const { store, offset, topicId, persistedAt } of state.positions()) {
      const changelog = changelogs.find((one) => one.store === store)
      if (offset === null || changelog === undefined) continue
      const { topic, partition } = changelog
      const about = { task, store, topic, partition }
      const id = topicIds.get(store)
      if (topicId !== null && id !== undefined && id !== topicId) {
        throw new StreamsError(
          'RESTORE_FAILED',
          `task ${task}, store ${store}: the local state belongs to an earlier topic ${topic}, which was deleted and made anew`,
          about,
        )
      }
      const ageMs = persistedAt === null ? 0 : clock.now() - persistedAt
      const keptMs = await outlived(client.admin, topic, ageMs)
      if (keptMs !== null && !(await isUntouched(client, { topic, partition }, offset))) {
        throw new StreamsError(
          'RESTORE_FAILED',
          `task ${task}, store ${store}: the local state is ${Math.round(ageMs / 1000)} s old, and ${topic} keeps tombstones for ${Math.round(keptMs / 1000)} s`,
          about,
        )
      }
    }
  }

  /** Where a partition begins of which the group has no position. */
  async #firstOffset(input: TaskAssignment['inputs'][number]): Promise<number> {
    const { client, owner, clock } = this.#options
    const reset = owner.offsetReset(input.source)
    if (reset === 'none') {
      throw new StreamsError(
        'OFFSETS_MISSING',
        `the group has no committed offset for ${input.topic}-${input.partition}, and autoOffsetReset is 'none'; set it to 'earliest' or 'latest', or commit an offset first`,
        { topic: input.topic, partition: input.partition },
      )
    }
    const spec = typeof reset === 'string' ? reset : { timestamp: clock.now() - reset.byDurationMs }
    const [found] = await client.admin.offsets([input], spec, 'read_uncommitted')
    if (found !== undefined && found.offset !== null) return found.offset
    const [latest] = await client.admin.offsets([input], 'latest', 'read_uncommitted')
    return latest?.offset ?? 0
  }
}
