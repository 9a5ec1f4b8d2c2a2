/**
 * This process in its consumer group: what it says of itself, what it decides when it leads, and what an assignment
 * makes its threads do. Nothing stops that stays: threads process and commit on through a rebalance. A commit that
 * meets the moment between two generations waits for the new one and is resent with it, in the same transaction; tasks
 * that leave are given on only after their thread has let go.
 */

import type { Clock, Timer } from '../base/clock.ts'
import { type ErrorCode, errorCodes, StreamsError } from '../base/errors.ts'
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
import {
  assignTasks,
  planRebalance,
  sharesOf,
  shareToSay,
  type TaskSpec,
  tasksByPartition,
  tasksOf,
} from './assignor.ts'
import { type Deployed, Deployment, isFinal } from './deployment.ts'
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
import { MemberSpeed } from './member-speed.ts'
import type { EngineOptions } from './options.ts'
import { type PartitionCounts, partitionCounts, sourcesOf, taskSources, topicsOf } from './source-topics.ts'
import type { TaskAssignment } from './stream-thread.ts'
import type { Takeover } from './takeover.ts'
import type { Given, ThreadPool } from './thread-pool.ts'

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
  /** The group gave this copy that id. */
  readonly named: (memberId: string) => void
  readonly assigned: (assignment: Assignment, active: readonly TaskAssignment[]) => void
  readonly takeover: Takeover
  /** Every task is gone, until a new assignment. */
  readonly lost: () => void
  readonly fatal: (error: StreamsError) => void
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: Hooks
}

/** Who has which tasks. `peers`: null where the group is too large for everyone to know; then the leader does. */
export type Places = { readonly peers: readonly Peer[] | null; readonly leaderEndpoint: string | null }

const speedIntervalMs = 1_000
/** Input that waits longer is a reason to ask for less work. */
const slowAfterMs = 10_000
/** A slow member asks anew this seldom: each time costs everyone a round. */
const slowAgainMs = 10_000
/** How often a warm-up is asked whether it has caught up. */
const warmupIntervalMs = 200

export class Group {
  readonly #options: GroupOptions
  readonly #member: GroupMember
  readonly #deployment: Deployment
  readonly #speed: MemberSpeed
  #counts: PartitionCounts = new Map()
  #stored: ReadonlyMap<string, number> = new Map()
  /** Partitions of the active tasks, as the last assignment gave them. */
  #owned: readonly TopicPartition[] = []
  #roster: readonly RosterEntry[] = []
  #standby: readonly string[] = []
  #warmup: readonly string[] = []
  #share = 1
  /** Of the last assignment. */
  #given: Given | null = null
  #shutdown = false
  #probe: Timer | null = null
  #warm: Timer | null = null
  #patterns: Timer | null = null
  #rebalanceStartedAt = 0
  /** What the last subscription said: the leader knows of it. */
  #said: ReadonlyMap<string, number> = new Map()
  #changelogs: ReadonlyMap<string, string> = new Map()
  #pacing: Timer | null = null
  #places: Places | null = null
  #led: { readonly generation: number; readonly peers: readonly Peer[] } | null = null
  #askedAt = Number.NEGATIVE_INFINITY
  /** This copy is about to stop, and the others take over. */
  #leaving = false
  /** Whether it has no task left, or won't be rid of them in this way. */
  #handedOver: ((isDone: boolean) => void) | null = null
  /** How often the group went on without this member. */
  #losses = 0

  constructor(options: GroupOptions) {
    this.#options = options
    const { settings, client, graph, logger } = options
    this.#deployment = new Deployment(
      client,
      graph,
      settings,
      settings.allowStateLoss.includes('all') ? 'all' : new Set(settings.allowStateLoss),
      logger,
    )
    this.#speed = new MemberSpeed()
    this.#member = client.member({
      groupId: settings.applicationId,
      ...(settings.instanceId === null ? {} : { instanceId: settings.instanceId }),
      protocolName,
      sessionTimeoutMs: settings.sessionTimeoutMs,
      rebalanceTimeoutMs: settings.rebalanceTimeoutMs,
      heartbeatIntervalMs: settings.heartbeatIntervalMs,
      onNamed: options.named,
      subscription: () => this.#subscription(),
      assign: (members) => this.#lead(members),
      onRebalance: () => this.#onRebalance(),
      onAssigned: (assignment, identity) => this.#onAssigned(assignment, identity),
      onLost: (error) => this.#onLost(error),
      onFatal: (error) => {
        this.#handedOver?.(false)
        options.fatal(error)
      },
    })
  }

  /** Where tasks are, as the last assignment said; null before it, and after the group was lost. */
  get places(): Places | null {
    return this.#places
  }

  /** Of the topics that are read. */
  get counts(): PartitionCounts {
    return this.#counts
  }

  get identity(): GroupIdentity {
    return this.#member.identity
  }

  get losses(): number {
    return this.#losses
  }

  /** False: another may have the tasks of this copy by now. */
  get isCurrent(): boolean {
    return this.#member.isCurrent
  }

  async start(): Promise<void> {
    const { client, graph, settings } = this.#options
    this.#counts = await partitionCounts(client.admin, graph, settings.applicationId)
    this.#stored = await this.#options.storedTasks()
    this.#member.start()
    this.#watchSpeed()
    for (const source of taskSources(graph)) {
      if (source.pattern === null || topicsOf(source, settings.applicationId, this.#counts.keys()).length > 0)
        continue
      this.#options.logger.warn(
        `source ${source.name}: no topic matches ${source.pattern} from its first character to its last; it waits for one`,
      )
    }
    if (taskSources(graph).some((source) => source.pattern !== null)) this.#watchPatterns()
  }

  /** Asks the group anew, because something here is not as it thinks. */
  rejoin(reason: string): void {
    this.#member.rejoin(reason)
  }

  /** Gives the tasks of the last assignment out again, after a thread came or went. */
  async handOut(fence: readonly string[]): Promise<void> {
    // Not the member's own identity: that may be of a generation of which the assignment is still to come, or of none.
    if (this.#given !== null) await this.#options.pool.apply(() => this.#given as Given, fence)
  }

  /** Every copy of the application stops. */
  shutDownAll(): void {
    this.#shutdown = true
    this.#member.rejoin('the application shuts down')
  }

  /**
   * Before this copy stops in order, the others are told: they take its tasks over while it processes on, and it gives
   * up what is asked of it and leaves. Told by its leaving alone they would hear of it only at their next heartbeats,
   * and its tasks would stand still until then. Ends early where nobody takes over within `waitMs`.
   */
  async handOver(waitMs: number): Promise<void> {
    const isAlone = this.#roster.length === 1
    if (isAlone || this.#given === null || this.#owned.length === 0 || !this.#member.isCurrent) return
    const { clock, logger } = this.#options
    this.#leaving = true
    const handedOver = new Promise<boolean>((resolve) => {
      this.#handedOver = resolve
    })
    const timer = clock.after(waitMs, () => {
      logger.info(`the other copies have not taken over within ${waitMs} ms; this one stops all the same`)
      this.#handedOver?.(false)
    })
    this.#member.rejoin('this copy stops')
    const isDone = await handedOver
    timer.cancel()
    this.#handedOver = null
    // The others wait for just this; what else there is to close comes after.
    if (isDone) await this.#member.leave()
  }

  async close(leave: boolean): Promise<void> {
    this.#probe?.cancel()
    this.#patterns?.cancel()
    this.#warm?.cancel()
    this.#pacing?.cancel()
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
      for (const { task, role, state, lag } of tasks) {
        lags.set(task, role === 'active' && state === 'running' ? runningLag : (lag ?? unknownLag))
      }
    }
    this.#said = lags
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
      behindMs: this.#speed.saidBehindMs,
      speed: this.#speed.perSecond,
      share: this.#share,
      shutdown: this.#shutdown,
      roster: this.#roster,
      leaving: this.#leaving,
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
    this.#speed.answered()
    this.#roster = assignment.roster
    this.#changelogs = assignment.changelogs
    this.#places = {
      // Who led knows all, also where that is too much to tell everyone.
      peers: assignment.peers ?? (this.#led?.generation === identity.generation ? this.#led.peers : null),
      leaderEndpoint: assignment.leaderEndpoint,
    }
    if (assignment.directive === 'failed') {
      this.#options.fatal(failedWith(assignment))
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
    const now: Given = { tasks: [...active, ...replicas], identity }
    this.#options.takeover.assigned({
      generation: identity.generation,
      memberId: identity.memberId,
      before: [...before],
      active: active.map(({ id }) => id),
      roster: assignment.roster,
    })
    this.#given = now
    const { revoked } = await pool.apply(() => now, assignment.fence)
    hooks.rebalanced?.(
      identity.generation,
      active.length,
      assignment.standby.length + assignment.warmup.length,
      this.#rebalanceStartedAt === 0 ? 0 : clock.now() - this.#rebalanceStartedAt,
    )
    this.#options.assigned(assignment, active)
    // The cooperative protocol's second half: who gave something up joins again, so that it can be given on.
    const kept = new Set(assignment.active)
    const gaveUp = revoked.filter((task) => before.has(task) && !kept.has(task))
    if (this.#leaving && active.length === 0) this.#handedOver?.(true)
    else if (gaveUp.length > 0) this.#member.rejoin(`gave up ${gaveUp.length} tasks`)
    // Everyone else waits for that in the next round already: at a heartbeat they would hear of it too late.
    else if (assignment.revoking) this.#member.rejoin('others give up tasks')
    // What it stands by for may be meant to run here, too.
    this.#watchWarmups(assignment.probing ? replicas.map(({ id }) => id) : assignment.warmup)
    if (assignment.probing) {
      this.#probe = clock.after(settings.probingRebalanceIntervalMs, () => this.#member.rejoin('probing'))
    }
  }

  async #onLost(error: StreamsError): Promise<void> {
    this.#options.logger.warn(`the group goes on without this member: ${error.message}`)
    this.#losses++
    this.#owned = []
    this.#handedOver?.(false)
    if (this.#given !== null) this.#given = { ...this.#given, tasks: [] }
    this.#places = null
    this.#options.lost()
    await this.#options.pool
      .lose()
      .catch((again) => this.#options.logger.warn(`letting go of tasks: ${String(again)}`))
  }

  /** Says so when what is prepared here has caught up: then its task can move. */
  #watchWarmups(warmup: readonly string[]): void {
    this.#warm?.cancel()
    this.#warm = null
    // One that had caught up when the leader was last told waits for something else: for its owner to let go.
    const { acceptableRecoveryLag } = this.#options.settings
    const caughtUp = (lag: number | null | undefined) =>
      lag !== null && lag !== undefined && lag >= 0 && lag <= acceptableRecoveryLag
    const waiting = warmup.filter((task) => !caughtUp(this.#said.get(task)))
    if (waiting.length === 0) return
    const { pool, clock } = this.#options
    this.#warm = clock.after(warmupIntervalMs, () => {
      const lags = new Map(
        pool.threads.flatMap((thread) => thread.status().tasks.map(({ task, lag }) => [task, lag])),
      )
      const ready = waiting.filter((task) => caughtUp(lags.get(task)))
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
    const { id, partition } = spec
    const changelogs = this.#changelogs
    return { id, role, subtopology: spec.subtopology, partition, inputs, changelogs }
  }

  #specs(counts: PartitionCounts, stateRecords?: ReadonlyMap<string, number>): TaskSpec[] {
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
      (task) => stateRecords?.get(task) ?? null,
    )
  }

  /** A member that falls behind says so, and is counted with less of its capacity; once it is back, it says that, too. */
  #watchSpeed(): void {
    const { pool, clock } = this.#options
    this.#pacing = clock.after(speedIntervalMs, () => {
      const now = clock.now()
      this.#speed.sample(pool.threads.map((thread) => thread.status()))
      const isSlow = this.#speed.behindMs > slowAfterMs
      const mayBeBack = this.#share < 1 && !isSlow && this.#speed.perSecond > 0
      const afterMs = isSlow ? slowAgainMs : 6 * slowAgainMs
      if ((isSlow || mayBeBack) && now - this.#askedAt > afterMs) {
        this.#askedAt = now
        this.#speed.asked()
        // Tasks that warm up here are on their way.
        if (mayBeBack) this.#share = shareToSay(this.#share, this.#owned.length + this.#warmup.length > 0)
        this.#member.rejoin(
          isSlow
            ? `its input waits for ${Math.round(this.#speed.behindMs / 1_000)} s`
            : 'input does not wait any more',
        )
      }
      this.#watchSpeed()
    })
  }

  /** Topics that match a pattern come and go: when they do, the group is asked anew. */
  #watchPatterns(): void {
    const { client, graph, settings, clock, logger } = this.#options
    this.#patterns = clock.after(settings.patternIntervalMs, () => {
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
    const { settings, topologyHash, logger } = this.#options
    const said = members.map((member) => ({ ...member, says: decodeSubscription(member.userData) }))
    if (said.some(({ says }) => says.shutdown)) {
      return directiveToAll(members, 'shutdown', '', 'the application shuts down')
    }
    let deployed: Deployed
    try {
      deployed = await this.#deployment.prepare(this.#member.identity.generation)
    } catch (error) {
      if (!isFinal(error)) throw error
      logger.error(error.message)
      // Members with another topology are not concerned: they go on when those with this one have left.
      return new Map([
        ...directiveToAll(members, 'idle', error.code, 'a copy with another topology could not start'),
        ...directiveToAll(
          said.filter(({ says }) => says.topologyHash === topologyHash),
          'failed',
          error.code,
          error.message,
        ),
      ])
    }
    const { counts, changelogs } = deployed
    this.#counts = counts
    const specs = this.#specs(counts, await this.#deployment.stateRecords(deployed))

    // One topology at a time: members with another one wait until those with this one are gone.
    // Who is about to leave gets nothing.
    const able = said.filter(({ says }) => says.topologyHash === topologyHash && !says.leaving)
    const shares = sharesOf(
      able.map(({ memberId, says }) => ({
        memberId,
        behindMs: says.behindMs,
        speed: says.speed,
        share: says.share,
      })),
      { slowAfterMs },
    )
    const tasksAt = tasksByPartition(specs)
    const takers = able.map(({ memberId, owned, says }) => ({
      memberId,
      processId: says.processId,
      capacity: says.capacity,
      share: shares.get(memberId) ?? 1,
      tags: says.tags,
      owned: tasksAt(owned),
      standby: says.standby,
      warmup: says.warmup,
      lags: says.lags,
    }))
    const decided =
      takers.length === 0
        ? null
        : assignTasks(specs, takers, {
            standbyReplicas: settings.standbyReplicas,
            warmupReplicasMax: settings.warmupReplicasMax,
            acceptableRecoveryLag: settings.acceptableRecoveryLag,
            rackTags: settings.rackAwareTags,
          })
    const round = planRebalance(specs, members, decided?.members ?? new Map())
    const gone = goneMembers(said)
    const peers = said.flatMap(({ memberId, says }) => {
      const tasks = round.members.get(memberId)
      return says.endpoint === null
        ? []
        : [{ endpoint: says.endpoint, active: tasks?.active ?? [], standby: tasks?.standby ?? [] }]
    })
    this.#led = { generation: this.#member.identity.generation, peers }
    const roster: RosterEntry[] = said.map(({ memberId, owned, says }) => ({
      memberId,
      transactionalIds: says.transactionalIds,
      // Who dies while it gives a task up may leave a transaction behind: its next owner must know.
      tasks: [...new Set([...(round.members.get(memberId)?.active ?? []), ...tasksAt(owned)])],
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
        changelogs,
        share: shares.get(memberId) ?? 1,
        probing: decided?.probing ?? false,
        revoking: round.revoking,
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

/** What the leader found, as the error that it was there. */
function failedWith({ code, message }: Assignment): StreamsError {
  const known = Object.hasOwn(errorCodes, code) ? (code as ErrorCode) : 'TOPOLOGY_INVALID'
  return new StreamsError(known, message, { verdict: 'stop' })
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
    changelogs: new Map(),
    share: 1,
    probing: false,
    peers: [],
    leaderEndpoint: null,
    roster: [],
    revoking: false,
  })
  return new Map(members.map(({ memberId }) => [memberId, { partitions: [], userData }]))
}
