/**
 * A consumer group under the classic protocol: members join, the leader assigns, heartbeats keep them. Written along
 * the states of Kafka's coordinator, so that clients see the same answers at the same moments:
 *
 *   empty -> preparing -> completing -> stable -> preparing …      (empty again when the last member is gone)
 *
 * Static members (with an instance id) keep their place through a restart. Which assignor runs, eager or
 * cooperative, is the clients' business: metadata and assignments are bytes here.
 */
import { randomUUID } from 'node:crypto'
import type { Clock, Timer } from '../base/clock.ts'
import { type KafkaErrorName, kafkaCode } from '../wire/error-codes.ts'
import type { JournalEvent } from './journal.ts'
import { GroupOffsets } from './offsets.ts'
import { Refusal } from './refusal.ts'

export type GroupState = 'empty' | 'preparing' | 'completing' | 'stable' | 'dead'

export type Protocol = { readonly name: string; readonly metadata: Buffer }

export type JoinRequest = {
  readonly memberId: string
  readonly instanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly protocolType: string
  readonly protocols: readonly Protocol[]
  /** From version 4 on a new member is first told its id, so that a lost answer leaves no ghost. */
  readonly needsKnownId: boolean
  /** From version 9 on a returning static leader need not assign again. */
  readonly canSkipAssignment: boolean
}

export type JoinAnswer = {
  readonly errorCode: number
  readonly generationId: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly leader: string
  readonly skipAssignment: boolean
  readonly memberId: string
  readonly members: readonly {
    readonly memberId: string
    readonly groupInstanceId: string | null
    readonly metadata: Buffer
  }[]
}

export type SyncAnswer = {
  readonly errorCode: number
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly assignment: Buffer
}

export type Member = {
  id: string
  readonly instanceId: string | null
  clientId: string
  clientHost: string
  sessionTimeoutMs: number
  rebalanceTimeoutMs: number
  protocols: readonly Protocol[]
  assignment: Buffer
  joining: ((answer: JoinAnswer) => void) | null
  syncing: ((answer: SyncAnswer) => void) | null
  session: Timer | null
}

const noBytes = Buffer.alloc(0)

export type GroupOptions = {
  readonly clock: Clock
  /** How long the first members of an empty group wait for more. */
  readonly initialRebalanceDelayMs: number
  readonly record: (event: JournalEvent) => void
}

export class Group {
  readonly id: string
  readonly offsets = new GroupOffsets()
  state: GroupState = 'empty'
  generation = 0
  protocolType: string | null = null
  protocolName: string | null = null
  leader: string | null = null
  readonly members = new Map<string, Member>()
  readonly #instances = new Map<string, string>()
  /** Members that were told an id and have not come back with it. */
  readonly #promised = new Map<string, Timer>()
  #rebalance: Timer | null = null
  /** While the first members of an empty group wait for more. */
  #isGathering = false
  #sync: Timer | null = null
  readonly #synced = new Set<string>()
  readonly #options: GroupOptions

  constructor(id: string, options: GroupOptions) {
    this.id = id
    this.#options = options
  }

  join(request: JoinRequest): Promise<JoinAnswer> | JoinAnswer {
    try {
      return this.#join(request)
    } catch (error) {
      if (error instanceof Refusal) return this.#refusedJoin(error.error, request.memberId)
      throw error
    }
  }

  #join(request: JoinRequest): Promise<JoinAnswer> | JoinAnswer {
    const { memberId, instanceId } = request
    if (this.state === 'dead') throw new Refusal('COORDINATOR_NOT_AVAILABLE')
    if (!this.#accepts(request)) throw new Refusal('INCONSISTENT_GROUP_PROTOCOL')
    if (memberId === '')
      return instanceId === null ? this.#joinNew(request) : this.#joinStatic(request, instanceId)

    if (this.#promised.has(memberId)) {
      this.#forgetPromise(memberId)
      return this.#addAndRebalance(memberId, request)
    }
    const member = this.#memberOf(memberId, instanceId)
    const current = this.#isCurrent(member, request.protocols)
    switch (this.state) {
      case 'preparing':
        return this.#updateAndRebalance(member, request)
      case 'completing':
        return current ? this.#currentAnswer(member, false) : this.#updateAndRebalance(member, request)
      case 'stable': {
        // A leader that joins again wants a new assignment; a follower with the same metadata lost an answer.
        if (member.id === this.leader || !current) return this.#updateAndRebalance(member, request)
        return this.#currentAnswer(member, false)
      }
      default:
        throw new Refusal('UNKNOWN_MEMBER_ID')
    }
  }

  #joinNew(request: JoinRequest): Promise<JoinAnswer> | JoinAnswer {
    const memberId = `${request.clientId}-${randomUUID()}`
    if (!request.needsKnownId) return this.#addAndRebalance(memberId, request)
    const { clock } = this.#options
    this.#promised.set(
      memberId,
      clock.after(request.sessionTimeoutMs, () => {
        this.#promised.delete(memberId)
        this.#completeJoinIfAll()
      }),
    )
    return this.#refusedJoin('MEMBER_ID_REQUIRED', memberId)
  }

  #joinStatic(request: JoinRequest, instanceId: string): Promise<JoinAnswer> | JoinAnswer {
    const memberId = `${instanceId}-${randomUUID()}`
    const oldId = this.#instances.get(instanceId)
    const member = oldId === undefined ? undefined : this.members.get(oldId)
    if (member === undefined) return this.#addAndRebalance(memberId, request)

    const wasLeader = this.leader === member.id
    const oldLeader = this.leader
    this.#answerJoin(member, this.#refusedJoin('FENCED_INSTANCE_ID', member.id))
    this.#answerSync(member, 'FENCED_INSTANCE_ID')
    this.members.delete(member.id)
    const isSynced = this.#synced.delete(member.id)
    member.id = memberId
    this.members.set(memberId, member)
    this.#instances.set(instanceId, memberId)
    if (wasLeader) this.leader = memberId
    if (isSynced) this.#synced.add(memberId)
    this.#update(member, request)
    this.#touch(member)
    switch (this.state) {
      case 'stable': {
        if (this.#chooseProtocol() !== this.protocolName) return this.#updateAndRebalance(member, request)
        this.#store()
        if (request.canSkipAssignment) return this.#currentAnswer(member, wasLeader)
        // An old client would assign again as leader: it is told that another leads.
        return { ...this.#currentAnswer(member, false), leader: oldLeader ?? '', members: [] }
      }
      case 'preparing':
      case 'completing':
        return this.#updateAndRebalance(member, request)
      default:
        throw new Refusal('UNKNOWN_MEMBER_ID')
    }
  }

  #accepts({ protocolType, protocols }: JoinRequest): boolean {
    if (protocolType === '' || protocols.length === 0) return false
    if (this.members.size === 0) return true
    if (this.protocolType !== null && this.protocolType !== protocolType) return false
    return protocols.some(({ name }) =>
      [...this.members.values()].every((member) => metadataOf(member, name) !== undefined),
    )
  }

  #addAndRebalance(memberId: string, request: JoinRequest): Promise<JoinAnswer> {
    const { instanceId } = request
    const member: Member = {
      id: memberId,
      instanceId,
      clientId: request.clientId,
      clientHost: request.clientHost,
      sessionTimeoutMs: request.sessionTimeoutMs,
      rebalanceTimeoutMs: request.rebalanceTimeoutMs,
      protocols: request.protocols,
      assignment: noBytes,
      joining: null,
      syncing: null,
      session: null,
    }
    if (this.members.size === 0) this.protocolType = request.protocolType
    this.members.set(memberId, member)
    if (instanceId !== null) this.#instances.set(instanceId, memberId)
    this.leader ??= memberId
    return this.#updateAndRebalance(member, request)
  }

  #updateAndRebalance(member: Member, request: JoinRequest): Promise<JoinAnswer> {
    this.#update(member, request)
    const answer = new Promise<JoinAnswer>((resolve) => {
      this.#answerJoin(member, this.#refusedJoin('UNKNOWN_MEMBER_ID', member.id))
      member.joining = resolve
    })
    this.#touch(member)
    this.#startRebalance()
    this.#completeJoinIfAll()
    return answer
  }

  #update(member: Member, request: JoinRequest): void {
    member.protocols = request.protocols
    member.sessionTimeoutMs = request.sessionTimeoutMs
    member.rebalanceTimeoutMs = request.rebalanceTimeoutMs
    member.clientId = request.clientId
    member.clientHost = request.clientHost
  }

  #startRebalance(): void {
    if (this.state === 'preparing') return
    if (this.state === 'completing') {
      for (const member of this.members.values()) this.#answerSync(member, 'REBALANCE_IN_PROGRESS')
    }
    const wasEmpty = this.state === 'empty'
    this.state = 'preparing'
    this.#sync?.cancel()
    this.#synced.clear()
    this.#isGathering = wasEmpty && this.#options.initialRebalanceDelayMs > 0
    this.#waitForMembers(this.#isGathering ? this.#options.initialRebalanceDelayMs : this.#rebalanceTimeoutMs)
  }

  #waitForMembers(delayMs: number): void {
    this.#rebalance?.cancel()
    this.#rebalance = this.#options.clock.after(delayMs, () => {
      this.#isGathering = false
      this.#completeJoin()
    })
  }

  get #rebalanceTimeoutMs(): number {
    let longest = 0
    for (const { rebalanceTimeoutMs } of this.members.values())
      longest = Math.max(longest, rebalanceTimeoutMs)
    return longest
  }

  #completeJoinIfAll(): void {
    if (this.state !== 'preparing' || this.#isGathering || this.#promised.size > 0) return
    for (const member of this.members.values()) if (member.joining === null) return
    this.#completeJoin()
  }

  #completeJoin(): void {
    if (this.state !== 'preparing') return
    for (const member of [...this.members.values()]) {
      if (member.joining === null && member.instanceId === null) this.#drop(member)
    }
    const joined = [...this.members.values()].filter((member) => member.joining !== null)
    if (joined.length === 0 && this.members.size > 0) {
      // Only static members are left, and none came back yet: their sessions decide.
      this.#waitForMembers(this.#rebalanceTimeoutMs)
      return
    }
    this.#rebalance?.cancel()
    this.#rebalance = null
    this.generation++
    if (this.members.size === 0) {
      this.state = 'empty'
      this.protocolName = null
      this.leader = null
      this.#store()
      return
    }
    this.protocolName = this.#chooseProtocol()
    const leader = this.leader === null ? undefined : this.members.get(this.leader)
    if (leader?.joining == null) this.leader = (joined[0] as Member).id
    this.state = 'completing'
    this.#store()
    for (const member of joined) {
      this.#answerJoin(member, this.#currentAnswer(member, false))
      this.#touch(member)
    }
    this.#expectSync()
  }

  /** Members that don't ask for their assignment in time are out. */
  #expectSync(): void {
    const { generation } = this
    this.#synced.clear()
    this.#sync?.cancel()
    this.#sync = this.#options.clock.after(this.#rebalanceTimeoutMs, () => {
      if (this.generation !== generation || (this.state !== 'completing' && this.state !== 'stable')) return
      const missing = [...this.members.values()].filter(({ id }) => !this.#synced.has(id))
      if (missing.length === 0) return
      for (const member of missing) this.#drop(member)
      this.#startRebalance()
      this.#completeJoinIfAll()
    })
  }

  /** The protocol that all members know and most of them prefer. */
  #chooseProtocol(): string {
    const members = [...this.members.values()]
    const votes = new Map<string, number>()
    for (const { protocols } of members) {
      const preferred = protocols.find(({ name }) =>
        members.every((member) => metadataOf(member, name) !== undefined),
      )
      if (preferred !== undefined) votes.set(preferred.name, (votes.get(preferred.name) ?? 0) + 1)
    }
    let best = ''
    for (const [name, count] of votes) if (best === '' || count > (votes.get(best) as number)) best = name
    return best
  }

  sync(
    memberId: string,
    instanceId: string | null,
    generation: number,
    protocolType: string | null,
    protocolName: string | null,
    assignments: ReadonlyMap<string, Buffer>,
  ): Promise<SyncAnswer> | SyncAnswer {
    const member = this.#memberOf(memberId, instanceId)
    if (generation !== this.generation) throw new Refusal('ILLEGAL_GENERATION')
    if (protocolType !== null && protocolType !== this.protocolType)
      throw new Refusal('INCONSISTENT_GROUP_PROTOCOL')
    if (protocolName !== null && protocolName !== this.protocolName)
      throw new Refusal('INCONSISTENT_GROUP_PROTOCOL')
    switch (this.state) {
      case 'preparing':
        throw new Refusal('REBALANCE_IN_PROGRESS')
      case 'completing': {
        this.#synced.add(memberId)
        const answer = new Promise<SyncAnswer>((resolve) => {
          this.#answerSync(member, 'UNKNOWN_MEMBER_ID')
          member.syncing = resolve
        })
        this.#touch(member)
        if (memberId === this.leader) this.#assign(assignments)
        return answer
      }
      case 'stable':
        this.#synced.add(memberId)
        this.#touch(member)
        return this.#assignmentOf(member)
      default:
        throw new Refusal('UNKNOWN_MEMBER_ID')
    }
  }

  #assign(assignments: ReadonlyMap<string, Buffer>): void {
    this.state = 'stable'
    for (const member of this.members.values()) member.assignment = assignments.get(member.id) ?? noBytes
    this.#store()
    for (const member of this.members.values()) this.#answerSync(member, 'NONE')
  }

  heartbeat(memberId: string, instanceId: string | null, generation: number): void {
    if (this.state === 'dead') throw new Refusal('COORDINATOR_NOT_AVAILABLE')
    const member = this.#memberOf(memberId, instanceId)
    if (generation !== this.generation) throw new Refusal('ILLEGAL_GENERATION')
    if (this.state === 'empty') throw new Refusal('UNKNOWN_MEMBER_ID')
    this.#touch(member)
    if (this.state === 'preparing') throw new Refusal('REBALANCE_IN_PROGRESS')
  }

  /** A member goes by its id, or a static one by its instance alone. Its full id is the answer. */
  leave(memberId: string, instanceId: string | null): string {
    if (memberId === '' && instanceId !== null) {
      const id = this.#instances.get(instanceId)
      if (id === undefined) throw new Refusal('UNKNOWN_MEMBER_ID')
      this.#remove(this.members.get(id) as Member)
      return id
    }
    if (this.#promised.has(memberId)) {
      this.#forgetPromise(memberId)
      this.#completeJoinIfAll()
      return memberId
    }
    this.#remove(this.#memberOf(memberId, instanceId))
    return memberId
  }

  #remove(member: Member): void {
    this.#answerJoin(member, this.#refusedJoin('UNKNOWN_MEMBER_ID', member.id))
    this.#answerSync(member, 'UNKNOWN_MEMBER_ID')
    this.#drop(member)
    if (this.state === 'stable' || this.state === 'completing') this.#startRebalance()
    this.#completeJoinIfAll()
  }

  #drop(member: Member): void {
    member.session?.cancel()
    this.members.delete(member.id)
    this.#synced.delete(member.id)
    if (member.instanceId !== null) this.#instances.delete(member.instanceId)
    if (this.leader === member.id) {
      const waiting = [...this.members.values()].find(({ joining }) => joining !== null)
      this.leader = (waiting ?? this.members.values().next().value)?.id ?? null
    }
  }

  /** May a commit with these credentials count? A transactional one is checked by generation only where it has one. */
  checkCommit(
    memberId: string,
    instanceId: string | null,
    generation: number,
    isTransactional: boolean,
  ): void {
    if (this.state === 'dead') throw new Refusal('COORDINATOR_NOT_AVAILABLE')
    if (generation < 0 && this.state === 'empty') return
    if (generation >= 0 || memberId !== '' || instanceId !== null) {
      const member = this.#memberOf(memberId, instanceId)
      if (generation !== this.generation) throw new Refusal('ILLEGAL_GENERATION')
      if (!isTransactional) this.#touch(member)
    } else if (!isTransactional && this.state !== 'empty') {
      throw new Refusal('UNKNOWN_MEMBER_ID')
    }
    if (!isTransactional && this.state === 'completing') throw new Refusal('REBALANCE_IN_PROGRESS')
  }

  #memberOf(memberId: string, instanceId: string | null): Member {
    if (instanceId !== null) {
      const id = this.#instances.get(instanceId)
      if (id === undefined) throw new Refusal('UNKNOWN_MEMBER_ID')
      if (id !== memberId) throw new Refusal('FENCED_INSTANCE_ID')
    }
    const member = this.members.get(memberId)
    if (member === undefined) throw new Refusal('UNKNOWN_MEMBER_ID')
    return member
  }

  /** The member lives: its session begins anew. One that waits for an answer of ours is not to blame for silence. */
  #touch(member: Member): void {
    member.session?.cancel()
    member.session = this.#options.clock.after(member.sessionTimeoutMs, () => {
      if (member.joining !== null || member.syncing !== null) this.#touch(member)
      else if (this.members.get(member.id) === member) this.#remove(member)
    })
  }

  #isCurrent(member: Member, protocols: readonly Protocol[]): boolean {
    return (
      member.protocols.length === protocols.length &&
      protocols.every(({ name, metadata }, index) => {
        const known = member.protocols[index] as Protocol
        return known.name === name && known.metadata.equals(metadata)
      })
    )
  }

  #currentAnswer(member: Member, skipAssignment: boolean): JoinAnswer {
    const name = this.protocolName ?? ''
    const members =
      member.id === this.leader
        ? [...this.members.values()].map((each) => ({
            memberId: each.id,
            groupInstanceId: each.instanceId,
            metadata: metadataOf(each, name) ?? noBytes,
          }))
        : []
    return {
      errorCode: 0,
      generationId: this.generation,
      protocolType: this.protocolType,
      protocolName: this.protocolName,
      leader: this.leader ?? '',
      skipAssignment,
      memberId: member.id,
      members,
    }
  }

  #refusedJoin(error: KafkaErrorName, memberId: string): JoinAnswer {
    const errorCode = kafkaCode(error)
    return {
      errorCode,
      generationId: -1,
      protocolType: null,
      protocolName: null,
      leader: '',
      skipAssignment: false,
      memberId,
      members: [],
    }
  }

  #answerJoin(member: Member, answer: JoinAnswer): void {
    const { joining } = member
    member.joining = null
    joining?.(answer)
  }

  #answerSync(member: Member, error: KafkaErrorName): void {
    const { syncing } = member
    member.syncing = null
    syncing?.(error === 'NONE' ? this.#assignmentOf(member) : refusedSync(error))
    if (syncing !== null && error === 'NONE') this.#touch(member)
  }

  #assignmentOf({ assignment }: Member): SyncAnswer {
    return { errorCode: 0, protocolType: this.protocolType, protocolName: this.protocolName, assignment }
  }

  #forgetPromise(memberId: string): void {
    this.#promised.get(memberId)?.cancel()
    this.#promised.delete(memberId)
  }

  /** No timer of this group fires any more, and no member waits for an answer. */
  close(): void {
    this.state = 'dead'
    this.#rebalance?.cancel()
    this.#sync?.cancel()
    for (const timer of this.#promised.values()) timer.cancel()
    for (const member of this.members.values()) {
      member.session?.cancel()
      this.#answerJoin(member, this.#refusedJoin('COORDINATOR_NOT_AVAILABLE', member.id))
      this.#answerSync(member, 'COORDINATOR_NOT_AVAILABLE')
    }
  }

  #store(): void {
    this.#options.record(this.event())
  }

  event(): JournalEvent & { kind: 'group' } {
    const { id: group, generation, protocolType, protocolName, leader } = this
    const members = [...this.members.values()].map((member) => ({
      id: member.id,
      instanceId: member.instanceId,
      clientId: member.clientId,
      clientHost: member.clientHost,
      sessionTimeoutMs: member.sessionTimeoutMs,
      rebalanceTimeoutMs: member.rebalanceTimeoutMs,
      protocols: member.protocols.map(({ name, metadata }) => [name, metadata.toString('base64')] as const),
      assignment: member.assignment.toString('base64'),
    }))
    return { kind: 'group', group, generation, protocolType, protocolName, leader, members }
  }

  /** As it was when the broker stopped: its members go on, or their sessions run out. */
  restore(event: JournalEvent & { kind: 'group' }): void {
    this.close()
    this.members.clear()
    this.#instances.clear()
    this.generation = event.generation
    this.protocolType = event.protocolType
    this.protocolName = event.protocolName
    this.leader = event.leader
    for (const stored of event.members) {
      const member: Member = {
        ...stored,
        protocols: stored.protocols.map(([name, metadata]) => ({
          name,
          metadata: Buffer.from(metadata, 'base64'),
        })),
        assignment: Buffer.from(stored.assignment, 'base64'),
        joining: null,
        syncing: null,
        session: null,
      }
      this.members.set(member.id, member)
      if (member.instanceId !== null) this.#instances.set(member.instanceId, member.id)
      this.#touch(member)
    }
    this.state = this.members.size === 0 ? 'empty' : 'stable'
    // A generation without an assignment was cut off between join and sync: its members ask again.
    if (this.state === 'stable' && event.members.every(({ assignment }) => assignment === '')) {
      this.state = 'completing'
      this.#expectSync()
    }
  }
}

function metadataOf(member: Member, protocol: string): Buffer | undefined {
  return member.protocols.find(({ name }) => name === protocol)?.metadata
}

export function refusedSync(error: KafkaErrorName): SyncAnswer {
  return { errorCode: kafkaCode(error), protocolType: null, protocolName: null, assignment: noBytes }
}
