/**
 * This process in its consumer group: what it says of itself, what it decides when it leads, and what an assignment
 * makes its threads do. Nothing stops that stays: threads process and commit on through a rebalance. A commit that
 * meets the moment between two generations waits for the new one and is resent with it, in the same transaction; tasks
 * that leave are given on only after their thread has let go.
 */

import type { Clock, Timer } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type {
  GroupIdentity,
  GroupMember,
  KafkaClient,
  MemberAssignment,
  MemberSubscription,
  TopicPartition,
} from '../kafka/client.ts'
import type { TopologyGraph } from '../topology/topology.ts'
import { assignTasks, planRebalance, sharesOf, type TaskSpec, tasksByPartition, tasksOf } from './assignor.ts'
import {
  type Assignment,
  type Directive,
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
  type Peer,
  protocolName,
  type RosterEntry,
  runningLag,
  shareOut,
  unknownLag,
} from './group-protocol.ts'
import type { Hooks } from './hooks.ts'
import { ensureInternalTopics } from './internal-topics.ts'
import type { EngineOptions } from './options.ts'
import { type PartitionCounts, partitionCounts, sourcesOf, taskSources, topicsOf } from './source-topics.ts'
import type { TaskAssignment } from './stream-thread.ts'
import type { ThreadPool } from './thread-pool.ts'

export type GroupOptions = {
  readonly client: KafkaClient
  readonly graph: TopologyGraph
  readonly topologyHash: string
  readonly settings: EngineOptions
  readonly processId: string
  readonly libraryVersion: string
  readonly transactionalIds: () => readonly string[]
  readonly endpoint: () => string | null
  readonly pool: ThreadPool
  /** Tasks of which state lies in the state folder. */
  readonly storedTasks: () => Promise<ReadonlyMap<string, number>>
  readonly assigned: (assignment: Assignment, active: readonly TaskAssignment[]) => void
  /** Every task is gone, until a new assignment. */
  readonly lost: () => void
  readonly fatal: (error: StreamsError) => void
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: Hooks
}

const patternIntervalMs = 10_000
/** How often a warm-up is asked whether it has caught up. */
const warmupIntervalMs = 200

export class Group {
  readonly #options: GroupOptions
  readonly #member: GroupMember
  #counts: PartitionCounts = new Map()
  #stored: ReadonlyMap<string, number> = new Map()
  /** Partitions of the active tasks, as the last assignment gave them. */
  #owned: readonly TopicPartition[] = []
  #roster: readonly RosterEntry[] = []
  #standby: readonly string[] = []
  #warmup: readonly string[] = []
  #share = 1
  #shutdown = false
  #probe: Timer | null = null
  #warm: Timer | null = null
  #patterns: Timer | null = null
  #rebalanceStartedAt = 0

  constructor(options: GroupOptions) {
    this.#options = options
    const { settings, client } = options
    this.#member = client.member({
      groupId: settings.applicationId,
      ...(settings.instanceId === null ? {} : { instanceId: settings.instanceId }),
      protocolName,
      sessionTimeoutMs: settings.sessionTimeoutMs,
      rebalanceTimeoutMs: settings.rebalanceTimeoutMs,
      heartbeatIntervalMs: settings.heartbeatIntervalMs,
      subscription: () => this.#subscription(),
      assign: (members) => this.#lead(members),
      onRebalance: () => this.#onRebalance(),
      onAssigned: (assignment, identity) => this.#onAssigned(assignment, identity),
      onLost: (error) => this.#onLost(error),
      onFatal: (error) => options.fatal(error),
    })
  }

  get identity(): GroupIdentity {
    return this.#member.identity
  }

  async start(): Promise<void> {
    const { client, graph, settings } = this.#options
    this.#counts = await partitionCounts(client.admin, graph, settings.applicationId)
    this.#stored = await this.#options.storedTasks()
    this.#member.start()
    if (taskSources(graph).some((source) => source.pattern !== null)) this.#watchPatterns()
  }

  /** Asks the group anew, because something here is not as it thinks. */
  rejoin(reason: string): void {
    this.#member.rejoin(reason)
  }

  /** Every copy of the application stops. */
  shutDownAll(): void {
    this.#shutdown = true
    this.#member.rejoin('the application shuts down')
  }

  async close(leave: boolean): Promise<void> {
    this.#probe?.cancel()
    this.#patterns?.cancel()
    this.#warm?.cancel()
    if (leave) await this.#member.leave()
    await this.#member.close()
  }

  // -------------------------------------------------------------------------------------------- as a member

  #subscription(): { topics: readonly string[]; owned: readonly TopicPartition[]; userData: Buffer } {
    const { graph, settings, pool, endpoint, processId, topologyHash, libraryVersion, transactionalIds } =
      this.#options
    const topics = new Set(
      taskSources(graph).flatMap((source) => topicsOf(source, settings.applicationId, this.#counts.keys())),
    )
    const lags = new Map(this.#stored)
    for (const { tasks } of pool.threads.map((thread) => thread.status())) {
      for (const { task, lag } of tasks) lags.set(task, lag ?? unknownLag)
    }
    for (const task of pool.tasks('active')) lags.set(task, runningLag)
    const userData = encodeSubscription({
      processId,
      capacity: Math.max(1, pool.threads.length),
      topologyHash,
      applicationVersion: '',
      libraryVersion,
      transactionalIds: transactionalIds(),
      lags,
      standby: this.#standby,
      warmup: this.#warmup,
      tags: new Map(Object.entries(settings.clientTags)),
      endpoint: endpoint(),
      behindMs: 0,
      speed: 0,
      share: this.#share,
      shutdown: this.#shutdown,
      roster: this.#roster,
    })
    return { topics: [...topics], owned: this.#owned, userData }
  }

  async #onRebalance(): Promise<void> {
    this.#rebalanceStartedAt = this.#options.clock.now()
    this.#probe?.cancel()
  }

  async #onAssigned(given: MemberAssignment, identity: GroupIdentity): Promise<void> {
    const { pool, settings, clock, hooks, graph, client } = this.#options
    const assignment = decodeAssignment(given.userData)
    this.#share = assignment.share
    this.#roster = assignment.roster
    if (assignment.directive === 'failed') {
      this.#options.fatal(new StreamsError('TOPOLOGY_INVALID', assignment.message, { verdict: 'stop' }))
      return
    }
    if (assignment.directive === 'idle')
      this.#options.logger.warn(`no tasks for this copy: ${assignment.message}`)
    this.#counts = await partitionCounts(client.admin, graph, settings.applicationId)
    const specs = this.#specs(this.#counts)
    const byId = new Map(specs.map((spec) => [spec.id, spec]))
    const tasksOfRole = (ids: readonly string[], role: TaskAssignment['role']) =>
      ids.flatMap((id) => {
        const spec = byId.get(id)
        return spec === undefined ? [] : [this.#taskAssignment(spec, role)]
      })
    const active = tasksOfRole(assignment.active, 'active')
    this.#standby = assignment.standby
    this.#warmup = assignment.warmup
    const replicas = tasksOfRole([...new Set([...assignment.standby, ...assignment.warmup])], 'standby')
    this.#owned = given.partitions
    const before = new Set(pool.tasks('active'))
    const { revoked } = await pool.apply([...active, ...replicas], identity, assignment.fence)
    hooks.rebalanced?.(
      identity.generation,
      active.length,
      assignment.standby.length + assignment.warmup.length,
      this.#rebalanceStartedAt === 0 ? 0 : clock.now() - this.#rebalanceStartedAt,
    )
    this.#options.assigned(assignment, active)
    // The cooperative protocol's second half: who gave something up joins again, so that it can be given on.
    const gaveUp = revoked.filter((task) => before.has(task))
    if (gaveUp.length > 0) this.#member.rejoin(`gave up ${gaveUp.length} tasks`)
    this.#watchWarmups(assignment.warmup)
    if (assignment.probing) {
      this.#probe = clock.after(settings.probingRebalanceIntervalMs, () => this.#member.rejoin('probing'))
    }
  }

  async #onLost(error: StreamsError): Promise<void> {
    this.#options.logger.warn(`the group goes on without this member: ${error.message}`)
    this.#owned = []
    this.#options.lost()
    await this.#options.pool.lose()
  }

  /** Says so when what is prepared here has caught up: then its task can move. */
  #watchWarmups(warmup: readonly string[]): void {
    this.#warm?.cancel()
    this.#warm = null
    if (warmup.length === 0) return
    const { pool, clock, settings } = this.#options
    this.#warm = clock.after(warmupIntervalMs, () => {
      const lags = new Map(
        pool.threads.flatMap((thread) => thread.status().tasks.map(({ task, lag }) => [task, lag])),
      )
      const ready = warmup.filter(
        (task) => (lags.get(task) ?? Number.POSITIVE_INFINITY) <= settings.acceptableRecoveryLag,
      )
      if (ready.length > 0) this.#member.rejoin(`${ready.join(', ')} caught up`)
      else this.#watchWarmups(warmup)
    })
  }

  #taskAssignment(spec: TaskSpec, role: TaskAssignment['role']): TaskAssignment {
    const { graph, settings } = this.#options
    const subtopology = graph.subtopologies.find(({ index }) => index === spec.subtopology)
    const inputs = (subtopology === undefined ? [] : sourcesOf(graph, subtopology)).flatMap((source) =>
      topicsOf(source, settings.applicationId, this.#counts.keys())
        .filter((topic) => spec.partition < (this.#counts.get(topic) ?? 0))
        .map((topic) => ({ topic, partition: spec.partition, source: source.name })),
    )
    return { id: spec.id, role, subtopology: spec.subtopology, partition: spec.partition, inputs }
  }

  #specs(counts: PartitionCounts): TaskSpec[] {
    const { graph, settings } = this.#options
    return tasksOf(
      graph.subtopologies.map((subtopology) => ({
        index: subtopology.index,
        stateful: subtopology.stores.some(({ changelog }) => changelog !== null),
        sources: sourcesOf(graph, subtopology).flatMap((source) =>
          topicsOf(source, settings.applicationId, counts.keys()).map((topic) => ({
            topic,
            partitions: counts.get(topic) ?? 0,
          })),
        ),
      })),
    )
  }

  /** Topics that match a pattern come and go: when they do, the group is asked anew. */
  #watchPatterns(): void {
    const { client, graph, settings, clock, logger } = this.#options
    this.#patterns = clock.after(patternIntervalMs, () => {
      partitionCounts(client.admin, graph, settings.applicationId)
        .then((counts) => {
          const before = this.#patternTopics(this.#counts)
          this.#counts = counts
          if (this.#patternTopics(counts) !== before)
            this.#member.rejoin('topics that match a pattern have changed')
        })
        .catch((error) => logger.warn(`topics can not be listed: ${String(error)}`))
        .finally(() => this.#watchPatterns())
    })
  }

  #patternTopics(counts: PartitionCounts): string {
    const { graph, settings } = this.#options
    return taskSources(graph)
      .filter((source) => source.pattern !== null)
      .flatMap((source) => topicsOf(source, settings.applicationId, counts.keys()))
      .join(' ')
  }

  // -------------------------------------------------------------------------------------------- as the leader

  async #lead(members: readonly MemberSubscription[]): Promise<ReadonlyMap<string, MemberAssignment>> {
    const { graph, settings, client, topologyHash, logger } = this.#options
    const said = members.map((member) => ({ ...member, says: decodeSubscription(member.userData) }))
    if (said.some(({ says }) => says.shutdown)) {
      return directiveToAll(members, 'shutdown', '', 'the application shuts down')
    }
    let counts: PartitionCounts
    try {
      counts = await ensureInternalTopics(client.admin, graph, settings)
    } catch (error) {
      if (!(error instanceof StreamsError) || error.verdict !== 'stop') throw error
      logger.error(error.message)
      return directiveToAll(members, 'failed', error.code, error.message)
    }
    this.#counts = counts
    const specs = this.#specs(counts)

    // One topology at a time: members with another one wait until those with this one are gone.
    const able = said.filter(({ says }) => says.topologyHash === topologyHash)
    const shares = sharesOf(
      able.map(({ memberId, says }) => ({
        memberId,
        behindMs: says.behindMs,
        speed: says.speed,
        share: says.share,
      })),
      { slowAfterMs: 10_000 },
    )
    const tasksAt = tasksByPartition(specs)
    const decided = assignTasks(
      specs,
      able.map(({ memberId, owned, says }) => ({
        memberId,
        processId: says.processId,
        capacity: says.capacity,
        share: shares.get(memberId) ?? 1,
        tags: says.tags,
        owned: tasksAt(owned),
        standby: says.standby,
        warmup: says.warmup,
        lags: says.lags,
      })),
      {
        standbyReplicas: settings.standbyReplicas,
        warmupReplicasMax: settings.warmupReplicasMax,
        acceptableRecoveryLag: settings.acceptableRecoveryLag,
        rackTags: settings.rackAwareTags,
      },
    )
    const round = planRebalance(specs, members, decided.members)
    const gone = goneMembers(said)
    const peers: Peer[] = said.flatMap(({ memberId, says }) => {
      const tasks = round.members.get(memberId)
      return says.endpoint === null
        ? []
        : [{ endpoint: says.endpoint, active: tasks?.active ?? [], standby: tasks?.standby ?? [] }]
    })
    const roster: RosterEntry[] = said.map(({ memberId, says }) => ({
      memberId,
      transactionalIds: says.transactionalIds,
      tasks: round.members.get(memberId)?.active ?? [],
    }))
    const shared = shareOut(
      peers,
      roster,
      said.map(({ memberId }) => memberId),
    )
    const assignments = new Map<string, MemberAssignment>()
    for (const { memberId, says } of said) {
      const tasks = round.members.get(memberId)
      const ableHere = says.topologyHash === topologyHash
      const mine = new Set(tasks?.active ?? [])
      const assignment: Assignment = {
        directive: ableHere ? 'run' : 'idle',
        code: '',
        message: ableHere
          ? ''
          : 'another version of the topology is running; this one waits until it is gone',
        active: tasks?.active ?? [],
        standby: tasks?.standby ?? [],
        warmup: tasks?.warmup ?? [],
        // Whoever gets a task of a member that is gone fences it first, in milliseconds, instead of waiting for its
        // transaction to expire.
        fence: [
          ...new Set(
            gone
              .filter(({ tasks: had }) => had.some((task) => mine.has(task)))
              .flatMap((one) => one.transactionalIds),
          ),
        ],
        share: shares.get(memberId) ?? 1,
        probing: decided.probing,
        leaderEndpoint: this.#options.endpoint(),
        ...shared(memberId),
      }
      assignments.set(memberId, {
        partitions: tasks?.partitions ?? [],
        userData: encodeAssignment(assignment),
      })
    }
    return assignments
  }
}

/** Members that somebody remembers and that are no longer there. */
function goneMembers(
  said: readonly {
    readonly memberId: string
    readonly says: { readonly roster: readonly RosterEntry[]; readonly transactionalIds: readonly string[] }
  }[],
): RosterEntry[] {
  const here = new Set(said.map(({ memberId }) => memberId))
  const alive = new Set(said.flatMap(({ says }) => says.transactionalIds))
  const gone = new Map<string, RosterEntry>()
  for (const { says } of said) {
    for (const entry of says.roster) {
      if (here.has(entry.memberId)) continue
      // A process that came back under the same ids has fenced itself already.
      const transactionalIds = entry.transactionalIds.filter((id) => !alive.has(id))
      if (transactionalIds.length > 0) gone.set(entry.memberId, { ...entry, transactionalIds })
    }
  }
  return [...gone.values()]
}

function directiveToAll(
  members: readonly MemberSubscription[],
  directive: Directive,
  code: string,
  message: string,
): ReadonlyMap<string, MemberAssignment> {
  const userData = encodeAssignment({
    directive,
    code,
    message,
    active: [],
    standby: [],
    warmup: [],
    fence: [],
    share: 1,
    probing: false,
    peers: [],
    leaderEndpoint: null,
    roster: [],
  })
  return new Map(members.map(({ memberId }) => [memberId, { partitions: [], userData }]))
}
