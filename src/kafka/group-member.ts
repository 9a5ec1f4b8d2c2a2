/**
 * One member of a consumer group, classic protocol: join, sync, heartbeat, leave. It knows nothing of assignment:
 * what a member says of itself and what the leader gives out go through it as they are, so a cooperative protocol is
 * the business of those who speak it.
 *
 * One loop holds the life of the member: rebalance → join → sync → assigned → wait for a reason to join again.
 * Heartbeats run beside it, on a connection of their own, from the answer to JoinGroup until the next JoinGroup.
 * `onRebalance` is awaited before each join of a member that holds an assignment, whoever wanted it.
 */
import { type Clock, sleep, type Timer } from '../base/clock.ts'
import { StreamsError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { joinGroup } from '../wire/11-join-group.ts'
import { heartbeat } from '../wire/12-heartbeat.ts'
import { leaveGroup } from '../wire/13-leave-group.ts'
import { syncGroup } from '../wire/14-sync-group.ts'
import type { ResponseOf } from '../wire/api.ts'
import {
  consumerProtocolType,
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
} from '../wire/consumer-protocol.ts'
import { kafkaErrors } from '../wire/error-codes.ts'
import { backoffMs } from './backoff.ts'
import type {
  GroupIdentity,
  GroupMember,
  MemberAssignment,
  MemberOptions,
  MemberSubscription,
  TopicPartition,
} from './client.ts'
import type { Cluster } from './cluster.ts'
import { byTopic } from './leaders.ts'
import { asStreamsError, isRefusal, refusal } from './refusal.ts'

const leaveWaitMs = 5_000
const retryMs = 20

/** Why the member does not stay as it is; the later in this list, the more it matters. */
type Reason =
  | { readonly kind: 'rejoin'; readonly text: string }
  | { readonly kind: 'lost'; readonly error: StreamsError }
  | { readonly kind: 'fatal'; readonly error: StreamsError }
  | { readonly kind: 'closed' }

const weight: { readonly [K in Reason['kind']]: number } = { rejoin: 0, lost: 1, fatal: 2, closed: 3 }

type Joined = ResponseOf<typeof joinGroup>

export function createGroupMember(cluster: Cluster, options: MemberOptions, logger: Logger): GroupMember {
  return new KafkaGroupMember(cluster, options, logger)
}

class KafkaGroupMember implements GroupMember {
  readonly #cluster: Cluster
  readonly #clock: Clock
  readonly #options: MemberOptions
  readonly #logger: Logger
  #memberId = ''
  #generation = -1
  #reason: Reason | null = null
  #wake: (() => void) | null = null
  #run: Promise<void> | null = null
  #isClosed = false
  /** The beat of the current generation; null while joining. */
  #beat: { timer: Timer | null } | null = null
  #heardAt = 0
  /** That it was not heard for a session was said. */
  #isUnheard = false
  /** The group's session of this member began then, or later: when the last request that was answered was sent. */
  #sureAt = Number.NEGATIVE_INFINITY
  /** While JoinGroup waits for the others the group takes no member for dead: since when, and when this one last ran. */
  #waiting: { readonly since: number; aliveAt: number; timer: Timer } | null = null
  /** The owner is being called, and may itself be waiting for `close`. */
  #isCalling = false

  constructor(cluster: Cluster, options: MemberOptions, logger: Logger) {
    this.#cluster = cluster
    this.#clock = cluster.clock
    this.#options = options
    this.#logger = logger
  }

  get identity(): GroupIdentity {
    const { groupId, instanceId } = this.#options
    return { groupId, generation: this.#generation, memberId: this.#memberId, instanceId: instanceId ?? null }
  }

  get isCurrent(): boolean {
    if (this.#generation < 0 || this.#isClosed) return false
    const { sessionTimeoutMs, rebalanceTimeoutMs } = this.#options
    const now = this.#clock.now()
    if (now - this.#sureAt < sessionTimeoutMs) return true
    const waiting = this.#waiting
    return (
      waiting !== null && now - waiting.aliveAt < sessionTimeoutMs && now - waiting.since < rebalanceTimeoutMs
    )
  }

  start(): void {
    this.#run ??= this.#live()
  }

  rejoin(reason: string): void {
    this.#logger.debug(`group ${this.#options.groupId}: asks for a new round: ${reason}`)
    this.#because({ kind: 'rejoin', text: reason })
  }

  async leave(): Promise<void> {
    if (this.#isClosed) return
    const { groupId, instanceId } = this.#options
    const memberId = this.#memberId
    this.#stop()
    if (memberId !== '') {
      try {
        await this.#cluster.atCoordinator(
          'group',
          groupId,
          async (connection) => {
            const { errorCode } = await connection.send(
              leaveGroup,
              {
                groupId,
                members: [{ memberId, groupInstanceId: instanceId ?? null, reason: 'the application stops' }],
              },
              { least: 3 },
            )
            if (errorCode !== 0) throw refusal(errorCode, `leave group ${groupId}`)
          },
          { waitMs: leaveWaitMs, lane: 'second' },
        )
      } catch (error) {
        // Without its heartbeats the group will notice.
        this.#logger.debug(`leave group ${groupId}: ${asStreamsError(error, 'leave').message}`)
      }
    }
    await this.close()
  }

  async close(): Promise<void> {
    this.#stop()
    await this.#cluster.close()
    if (!this.#isCalling) await this.#run
  }

  async #call<T>(callback: () => Promise<T>): Promise<T> {
    this.#isCalling = true
    try {
      return await callback()
    } finally {
      this.#isCalling = false
    }
  }

  #stop(): void {
    this.#isClosed = true
    this.#stopHeartbeats()
    this.#because({ kind: 'closed' })
  }

  #because(reason: Reason): void {
    if (this.#reason === null || weight[reason.kind] > weight[this.#reason.kind]) this.#reason = reason
    this.#wake?.()
  }

  // ------------------------------------------------------------------------------------------------ the loop

  async #live(): Promise<void> {
    let failures = 0
    while (!this.#isClosed) {
      try {
        await this.#oneGeneration()
        failures = 0
      } catch (error) {
        if (this.#isClosed) return
        failures++
        const failure = asStreamsError(error, `member of group ${this.#options.groupId}`)
        if (failure.verdict !== 'retry' && failure.verdict !== 'rejoin') {
          this.#fatal(failure)
          return
        }
        if (failures === 1)
          this.#logger.debug(`group ${this.#options.groupId}: ${failure.message}; trying again`)
        await sleep(this.#clock, backoffMs(failures, retryMs))
      }
    }
  }

  async #oneGeneration(): Promise<void> {
    const { groupId } = this.#options
    if (this.#generation >= 0) await this.#call(() => this.#options.onRebalance())
    const reason = this.#reason
    if (reason?.kind === 'lost') return this.#lost(reason.error)
    if (reason?.kind === 'fatal') throw reason.error
    if (this.#isClosed) return
    this.#reason = null
    let joined: Joined
    let assigned: MemberAssignment
    try {
      joined = await this.#join(reason?.kind === 'rejoin' ? reason.text : 'a rebalance')
      this.#memberId = joined.memberId
      this.#generation = joined.generationId
      this.#startHeartbeats()
      assigned = await this.#sync(joined)
    } catch (error) {
      if (this.#isClosed) return
      if (isRefusal(error, 'REBALANCE_IN_PROGRESS')) return
      if (isRefusal(error, 'UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION')) {
        return this.#lost(asStreamsError(error, `join group ${groupId}`))
      }
      throw error
    }
    if (this.#isClosed) return
    await this.#call(() => this.#options.onAssigned(assigned, this.identity))
    while (this.#reason === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#wake = null
    const after = this.#reason as Reason
    if (after.kind === 'lost') await this.#lost(after.error)
    else if (after.kind === 'fatal') throw after.error
  }

  /** What it had belongs to others by now. With an instance id it comes back under that, else as a new member. */
  async #lost(error: StreamsError): Promise<void> {
    this.#stopHeartbeats()
    const held = this.#generation >= 0
    this.#generation = -1
    this.#memberId = ''
    this.#reason = this.#isClosed ? { kind: 'closed' } : null
    if (held && !this.#isClosed) await this.#call(() => this.#options.onLost(error))
  }

  #fatal(error: StreamsError): void {
    this.#stopHeartbeats()
    this.#generation = -1
    this.#options.onFatal(error)
  }

  // ------------------------------------------------------------------------------------------- join and sync

  async #join(text: string): Promise<Joined> {
    const { groupId, instanceId, protocolName, sessionTimeoutMs, rebalanceTimeoutMs } = this.#options
    for (;;) {
      const { topics, owned, userData } = this.#options.subscription()
      const metadata = encodeSubscription({
        topics,
        userData,
        ownedPartitions: byTopic(owned, ({ partition }) => partition).map(({ name, partitions }) => ({
          topic: name,
          partitions,
        })),
        generationId: this.#generation,
      })
      try {
        const connection = await this.#cluster.coordinator('group', groupId)
        this.#stopHeartbeats()
        this.#waitsForOthers()
        const response = await connection.send(
          joinGroup,
          {
            groupId,
            sessionTimeoutMs,
            rebalanceTimeoutMs,
            memberId: this.#memberId,
            groupInstanceId: instanceId ?? null,
            protocolType: consumerProtocolType,
            protocols: [{ name: protocolName, metadata }],
            reason: text,
          },
          { least: 5, waitMs: rebalanceTimeoutMs },
        )
        // Who was not running for a whole session can not tell how old the answer is.
        if (response.errorCode === 0) this.#sureAt = Math.max(this.#sureAt, this.#waiting?.aliveAt ?? 0)
        if (response.errorCode === 0) return response
        if (response.errorCode !== kafkaErrors.MEMBER_ID_REQUIRED.code) {
          throw this.#groupRefusal(response.errorCode, `join group ${groupId}`)
        }
        this.#memberId = response.memberId
        this.#options.onNamed?.(response.memberId)
      } catch (error) {
        this.#cluster.coordinatorFailed('group', groupId, error)
        throw error
      } finally {
        this.#waiting?.timer.cancel()
        this.#waiting = null
      }
    }
  }

  #waitsForOthers(): void {
    const { heartbeatIntervalMs, sessionTimeoutMs } = this.#options
    const since = this.#clock.now()
    const tick = (): Timer =>
      this.#clock.after(heartbeatIntervalMs, () => {
        const now = this.#clock.now()
        if (this.#waiting === null || now - this.#waiting.aliveAt >= sessionTimeoutMs) return
        this.#waiting.aliveAt = now
        this.#waiting.timer = tick()
      })
    // Sent by one that may have lost its place already, it says nothing.
    if (this.isCurrent) this.#waiting = { since, aliveAt: since, timer: tick() }
  }

  async #sync(joined: Joined): Promise<MemberAssignment> {
    const { groupId, instanceId, protocolName, rebalanceTimeoutMs } = this.#options
    const isLeader = joined.leader === joined.memberId && !joined.skipAssignment
    const given = isLeader
      ? await this.#call(() => this.#options.assign(this.#subscriptions(joined)))
      : new Map<string, MemberAssignment>()
    try {
      const connection = await this.#cluster.coordinator('group', groupId)
      const sentAt = this.#clock.now()
      const response = await connection.send(
        syncGroup,
        {
          groupId,
          generationId: joined.generationId,
          memberId: joined.memberId,
          groupInstanceId: instanceId ?? null,
          protocolType: consumerProtocolType,
          protocolName,
          assignments: Array.from(given, ([memberId, { partitions, userData }]) => ({
            memberId,
            assignment: encodeAssignment({
              assignedPartitions: byTopic(partitions, ({ partition }) => partition).map(
                ({ name, partitions: list }) => ({
                  topic: name,
                  partitions: list,
                }),
              ),
              userData,
            }),
          })),
        },
        { least: 3, waitMs: rebalanceTimeoutMs },
      )
      if (response.errorCode !== 0) throw this.#groupRefusal(response.errorCode, `sync with group ${groupId}`)
      this.#sureAt = sentAt
      const { assignedPartitions, userData } = decodeAssignment(response.assignment)
      return {
        partitions: assignedPartitions.flatMap(({ topic, partitions }) =>
          partitions.map((partition) => ({ topic, partition })),
        ),
        userData: Buffer.from(userData ?? []),
      }
    } catch (error) {
      this.#cluster.coordinatorFailed('group', groupId, error)
      throw error
    }
  }

  /** What the members say. A partition that two say they own belongs to the one of the later generation (KIP-792). */
  #subscriptions({ members }: Joined): MemberSubscription[] {
    const decoded = members.map(({ memberId, groupInstanceId, metadata }) => ({
      memberId,
      groupInstanceId,
      ...decodeSubscription(metadata),
    }))
    const owners = new Map<string, { readonly memberId: string; readonly generation: number }>()
    for (const { memberId, generationId, ownedPartitions } of decoded) {
      for (const { topic, partitions } of ownedPartitions) {
        for (const partition of partitions) {
          const known = owners.get(`${topic}-${partition}`)
          if (known !== undefined && known.generation >= generationId) continue
          owners.set(`${topic}-${partition}`, { memberId, generation: generationId })
        }
      }
    }
    return decoded.map(({ memberId, groupInstanceId, topics, ownedPartitions, userData }) => ({
      memberId,
      instanceId: groupInstanceId,
      topics,
      owned: ownedPartitions
        .flatMap(({ topic, partitions }): TopicPartition[] =>
          partitions.map((partition) => ({ topic, partition })),
        )
        .filter(({ topic, partition }) => owners.get(`${topic}-${partition}`)?.memberId === memberId),
      userData: Buffer.from(userData ?? []),
    }))
  }

  #groupRefusal(code: number, what: string): StreamsError {
    const { instanceId, protocolName } = this.#options
    const error = refusal(code, what)
    if (isRefusal(error, 'FENCED_INSTANCE_ID')) {
      return new StreamsError(
        'KAFKA_MEMBER_FENCED',
        `${what}: another member runs as instance ${instanceId ?? ''}; give each its own instance id`,
        error.about,
      )
    }
    if (isRefusal(error, 'INCONSISTENT_GROUP_PROTOCOL')) {
      return refusal(code, what, {
        text:
          `its members do not speak ${protocolName}: another kind of application uses this group id. If that is Kafka ` +
          'Streams, stop it first; closed without leaving, it stays a member until its session.timeout.ms has passed',
      })
    }
    return error
  }

  // ---------------------------------------------------------------------------------------------- heartbeats

  #startHeartbeats(): void {
    this.#stopHeartbeats()
    const beat = { timer: null as Timer | null }
    this.#beat = beat
    this.#heard()
    this.#nextHeartbeat(beat, this.#options.heartbeatIntervalMs)
  }

  #stopHeartbeats(): void {
    this.#beat?.timer?.cancel()
    this.#beat = null
  }

  #nextHeartbeat(beat: { timer: Timer | null }, delayMs: number): void {
    if (this.#beat !== beat) return
    beat.timer = this.#clock.after(delayMs, () => void this.#heartbeat(beat))
  }

  async #heartbeat(beat: { timer: Timer | null }): Promise<void> {
    const { groupId, instanceId, heartbeatIntervalMs, sessionTimeoutMs } = this.#options
    try {
      const connection = await this.#cluster.coordinator('group', groupId, 'second')
      const sentAt = this.#clock.now()
      const { errorCode } = await connection.send(
        heartbeat,
        {
          groupId,
          generationId: this.#generation,
          memberId: this.#memberId,
          groupInstanceId: instanceId ?? null,
        },
        // A broker that hangs is noticed while there is time to find another.
        { least: 3, timeoutMs: Math.ceil(sessionTimeoutMs / 3) },
      )
      if (this.#beat !== beat) return
      if (errorCode === 0 || errorCode === kafkaErrors.REBALANCE_IN_PROGRESS.code) this.#sureAt = sentAt
      if (errorCode !== 0) throw this.#groupRefusal(errorCode, `heartbeat to group ${groupId}`)
      this.#heard()
      this.#nextHeartbeat(beat, heartbeatIntervalMs)
    } catch (error) {
      if (this.#beat !== beat || this.#isClosed) return
      this.#cluster.coordinatorFailed('group', groupId, error)
      this.#heartbeatFailed(beat, asStreamsError(error, `heartbeat to group ${groupId}`))
    }
  }

  #sayUnheard(error: StreamsError): void {
    const { groupId, sessionTimeoutMs } = this.#options
    if (this.#isUnheard || this.#clock.now() - this.#heardAt <= sessionTimeoutMs) return
    this.#isUnheard = true
    this.#logger.warn(
      `group ${groupId} has not answered for a session, ${sessionTimeoutMs} ms; nothing is committed until it does: ${error.message}`,
    )
  }

  #heard(): void {
    this.#heardAt = this.#clock.now()
    this.#isUnheard = false
  }

  #heartbeatFailed(beat: { timer: Timer | null }, error: StreamsError): void {
    const { heartbeatIntervalMs } = this.#options
    if (isRefusal(error, 'REBALANCE_IN_PROGRESS')) {
      // The group hears us; it goes on hearing us until we join.
      this.#heard()
      this.#because({ kind: 'rejoin', text: 'the group rebalances' })
      this.#nextHeartbeat(beat, heartbeatIntervalMs)
    } else if (error.verdict === 'retry') {
      // However long it takes: whether its session is over is the group's to say. A broker that was away begins each
      // session anew, and one who had given up its place would wait there for itself.
      this.#sayUnheard(error)
      this.#nextHeartbeat(beat, Math.min(heartbeatIntervalMs, 10 * retryMs))
    } else {
      this.#because({ kind: error.verdict === 'rejoin' ? 'lost' : 'fatal', error })
    }
  }
}
