/**
 * Who gets which task: pure functions over what the members said of themselves. The same input gives the same answer
 * on whichever member leads.
 *
 * `assignTasks` decides in two layers. The target is where each task should be in the end: every member has its quota
 * (its capacity's part of all tasks: no task could move to another member and even them out), a task stays where it is
 * unless its member has more than its quota. The answer is where each task is now: a stateful task runs on its target
 * only where the state has caught up there; until then it stays with whoever has it, and the target warms up, at most
 * `warmupReplicasMax` at a time. So nothing stops that need not move, and each round ends nearer to the target.
 *
 * `planRebalance` makes of it what Kafka's cooperative protocol allows in one round: a partition that another member
 * still owns is first only taken from it; it rejoins without it, and the next round hands it out.
 */
import { assert } from '../base/assert.ts'
import type { TopicPartition } from '../kafka/client.ts'
import { runningLag, unknownLag } from './group-protocol.ts'
import { partitionKey } from './partition-key.ts'
import { compareTaskIds, formatTaskId } from './task-id.ts'

export type TaskSpec = {
  readonly id: string
  readonly subtopology: number
  readonly partition: number
  /** It has a changelog: there is something to restore, to stand by for, to warm up. */
  readonly stateful: boolean
  /** Records in its changelogs: how far a member without any state is behind. null: not known. */
  readonly stateRecords: number | null
  readonly partitions: readonly TopicPartition[]
}

export type AssignorMember = {
  readonly memberId: string
  /** The same after a restart: it orders the members. */
  readonly processId: string
  readonly capacity: number
  /** The part of its capacity to count with, above 0 and at most 1: see `sharesOf`. */
  readonly share: number
  readonly tags: ReadonlyMap<string, string>
  /** Tasks of which it owns partitions. */
  readonly owned: readonly string[]
  readonly lags: ReadonlyMap<string, number>
  /** As it was last assigned. */
  readonly standby: readonly string[]
  readonly warmup: readonly string[]
}

export type AssignorOptions = {
  readonly standbyReplicas: number
  readonly warmupReplicasMax: number
  /** State that is behind by at most so many records has caught up. */
  readonly acceptableRecoveryLag: number
  /** A task's copies go to members that differ in these tags, where they can. */
  readonly rackTags: readonly string[]
}

export type MemberTasks = {
  readonly active: readonly string[]
  readonly standby: readonly string[]
  readonly warmup: readonly string[]
}

export type TaskAssignments = {
  readonly members: ReadonlyMap<string, MemberTasks>
  /** Not every task is at its target: another round is wanted when a warm-up has caught up. */
  readonly probing: boolean
  /** Tasks whose active member is not the one they belong to. */
  readonly misplaced: number
  /** Standbys that no member is left for. */
  readonly standbysMissing: number
}

type Task = {
  readonly spec: TaskSpec
  owner: Member | null
  target: Member | null
  active: Member | null
  /** Members that have state of it, least behind first. */
  readonly holders: { readonly member: Member; readonly lag: number }[]
  readonly copies: Member[]
  /** Who stands by, who warms up, by the last assignment. */
  readonly standbyBefore: Member[]
  readonly warmupBefore: Member[]
  standbysMissing: number
  /** The stateful task that it was exchanged for: neither moves before both can. */
  partner: Task | null
}

/** Members that are alike in all rack tags. */
type Rack = {
  readonly values: readonly (string | undefined)[]
  readonly members: Member[]
  /** In how many tags it is unlike every copy of the task in hand. */
  apart: number
}

type Member = {
  readonly index: number
  readonly id: string
  readonly weight: number
  readonly tags: ReadonlyMap<string, string>
  readonly lags: ReadonlyMap<string, number>
  readonly tasks: Set<Task>
  readonly ofSubtopology: Map<number, number>
  stateful: number
  quota: number
  /** Orphans that this member is the nearest to. */
  near: number
  running: number
  standbyQuota: number
  standbys: number
  standbysBefore: number
  readonly active: string[]
  readonly standby: string[]
  readonly warmup: string[]
}

export function assignTasks(
  specs: readonly TaskSpec[],
  members: readonly AssignorMember[],
  options: AssignorOptions,
): TaskAssignments {
  assert(members.length > 0, 'a group has at least one member')
  const list = membersOf(members)
  const tasks = tasksWith(specs, list, members)
  const isUneven = aim(tasks, list)
  const misplaced = placeActive(tasks, list, options)
  const { missing, warming } = placeCopies(tasks, list, options)
  return {
    members: new Map(
      list.map((member) => [
        member.id,
        {
          active: member.active.sort(compareTaskIds),
          standby: member.standby.sort(compareTaskIds),
          warmup: member.warmup.sort(compareTaskIds),
        },
      ]),
    ),
    probing: misplaced > 0 || warming > 0 || isUneven,
    misplaced,
    standbysMissing: missing,
  }
}

// ------------------------------------------------------------------------------------------------ input

function membersOf(members: readonly AssignorMember[]): Member[] {
  return [...members]
    .sort((left, right) => order(left.processId, right.processId) || order(left.memberId, right.memberId))
    .map((member, index) => ({
      index,
      id: member.memberId,
      weight: Math.max(1, member.capacity) * member.share,
      tags: member.tags,
      lags: member.lags,
      tasks: new Set(),
      ofSubtopology: new Map(),
      stateful: 0,
      quota: 0,
      near: 0,
      running: 0,
      standbyQuota: 0,
      standbys: 0,
      standbysBefore: 0,
      active: [],
      standby: [],
      warmup: [],
    }))
}

function tasksWith(
  specs: readonly TaskSpec[],
  list: readonly Member[],
  members: readonly AssignorMember[],
): Task[] {
  const tasks = specs.map(
    (spec): Task => ({
      spec,
      owner: null,
      target: null,
      active: null,
      holders: [],
      copies: [],
      standbyBefore: [],
      warmupBefore: [],
      standbysMissing: 0,
      partner: null,
    }),
  )
  tasks.sort((left, right) => compareSpecs(left.spec, right.spec))
  const byId = new Map(tasks.map((task) => [task.spec.id, task]))
  const told = new Map(members.map((member) => [member.memberId, member]))
  for (const member of list) {
    const { owned, standby, warmup } = told.get(member.id) as AssignorMember
    for (const id of owned) {
      const task = byId.get(id)
      // Of two that say they own it, the one that runs it counts; `planRebalance` gives it to neither before both let go.
      if (task !== undefined && (task.owner === null || member.lags.get(id) === runningLag))
        task.owner = member
    }
    for (const [id, lag] of member.lags) {
      const task = byId.get(id)
      if (task?.spec.stateful) task.holders.push({ member, lag: distance(lag) })
    }
    for (const id of standby) {
      const task = byId.get(id)
      if (task?.spec.stateful) task.standbyBefore.push(member)
    }
    for (const id of warmup) {
      const task = byId.get(id)
      if (task?.spec.stateful) task.warmupBefore.push(member)
    }
  }
  for (const task of tasks) {
    task.holders.sort((left, right) => left.lag - right.lag || left.member.index - right.member.index)
  }
  return tasks
}

function distance(lag: number): number {
  return lag === runningLag ? 0 : lag === unknownLag ? Number.MAX_SAFE_INTEGER : lag
}

function lagOn(task: Task, member: Member): number {
  const lag = member.lags.get(task.spec.id)
  return lag === undefined ? (task.spec.stateRecords ?? Number.POSITIVE_INFINITY) : distance(lag)
}

// ------------------------------------------------------------------------------------------------ target

/**
 * Gives each task its target: as few moves as quotas allow, and of those the ones that cost least. Returns whether a
 * calm round would even out more.
 */
function aim(tasks: readonly Task[], list: readonly Member[]): boolean {
  const orphans = tasks.filter((task) => task.owner === null)
  for (const task of tasks) {
    if (task.owner !== null) take(task, task.owner)
    else {
      const near = task.warmupBefore[0] ?? task.holders[0]?.member
      if (near !== undefined) near.near++
    }
  }
  setQuotas(
    list,
    tasks.length,
    (member, quota) => {
      member.quota = quota
    },
    // Between equals, who has it keeps it.
    (member) => member.tasks.size + member.near,
  )
  placeOrphans(orphans, list)
  moveExcess(list)
  // After a loss only what must move moves; what else would be more even waits for a calm round.
  if (orphans.length > 0) return unevenPair(list) !== null
  evenState(list)
  return false
}

/** D'Hondt: one task after the other goes to the member that has fewest for its weight. Ties by what a member would keep. */
function setQuotas(
  list: readonly Member[],
  count: number,
  set: (member: Member, quota: number) => void,
  keeps: (member: Member) => number,
): void {
  const weights = list.reduce((sum, member) => sum + member.weight, 0)
  const quotas = list.map((member) => Math.floor((count * member.weight) / weights))
  // No quota is below the rounded-down share, so only the rest is dealt one by one.
  let left = count - quotas.reduce((sum, quota) => sum + quota, 0)
  const kept = list.map(keeps)
  const heap = new Heap((left, right) => {
    const [quota, other] = [quotas[left] as number, quotas[right] as number]
    const [weight, otherWeight] = [(list[left] as Member).weight, (list[right] as Member).weight]
    return (
      (quota + 1) / weight - (other + 1) / otherWeight ||
      (kept[right] as number) - other - ((kept[left] as number) - quota) ||
      left - right
    )
  })
  for (let index = 0; index < list.length; index++) heap.push(index)
  for (; left > 0; left--) {
    const index = heap.pop()
    quotas[index] = (quotas[index] as number) + 1
    heap.push(index)
  }
  for (const [index, member] of list.entries()) set(member, quotas[index] as number)
}

function placeOrphans(orphans: readonly Task[], list: readonly Member[]): void {
  const rest: Task[] = []
  for (const task of orphans) {
    const hasRoom = (member: Member): boolean => member.tasks.size < member.quota
    // Who warmed up is who it was moved to; then whoever is least behind.
    const next = task.warmupBefore.find(hasRoom) ?? task.holders.find(({ member }) => hasRoom(member))?.member
    if (next === undefined) rest.push(task)
    else take(task, next)
  }
  // State first, so that it is spread before the rest fills up what is left.
  rest.sort((left, right) => Number(right.spec.stateful) - Number(left.spec.stateful))
  for (const task of rest) {
    const { stateful, subtopology } = task.spec
    let best: Member | null = null
    let bestLoad = Number.POSITIVE_INFINITY
    let bestAlike = Number.POSITIVE_INFINITY
    let bestAll = Number.POSITIVE_INFINITY
    for (const member of list) {
      const { tasks, weight } = member
      if (tasks.size >= member.quota) continue
      const all = (tasks.size + 1) / weight
      const load = stateful ? (member.stateful + 1) / weight : all
      if (load > bestLoad) continue
      const alike = (member.ofSubtopology.get(subtopology) ?? 0) / weight
      if (load === bestLoad && (alike > bestAlike || (alike === bestAlike && all >= bestAll))) continue
      best = member
      bestLoad = load
      bestAlike = alike
      bestAll = all
    }
    assert(best !== null, 'quotas add up to the number of tasks')
    take(task, best)
  }
}

/** From members above their quota to members below it. */
function moveExcess(list: readonly Member[]): void {
  const givers = list.filter((member) => member.tasks.size > member.quota)
  const takers = list.filter((member) => member.tasks.size < member.quota)
  if (givers.length === 0) return
  // What a taker has state of costs it least: those that are already warming up above all.
  const known: { readonly task: Task; readonly member: Member; readonly lag: number }[] = []
  for (const giver of givers) {
    for (const task of giver.tasks) {
      for (const { member, lag } of task.holders) {
        if (member.tasks.size < member.quota) known.push({ task, member, lag })
      }
    }
  }
  known.sort(
    (left, right) =>
      left.lag - right.lag ||
      left.member.index - right.member.index ||
      compareSpecs(left.task.spec, right.task.spec),
  )
  for (const { task, member } of known) {
    const giver = task.target as Member
    if (giver.tasks.size > giver.quota && member.tasks.size < member.quota) move(task, member)
  }
  for (const taker of takers) {
    while (taker.tasks.size < taker.quota) {
      let giver: Member | null = null
      for (const member of givers) {
        if (member.tasks.size <= member.quota) continue
        if (giver === null || member.tasks.size - member.quota > giver.tasks.size - giver.quota)
          giver = member
      }
      assert(giver !== null, 'what one member lacks another has too much')
      move(bestToMove(giver, taker), taker)
    }
  }
}

/** The one that evens out state and sub-topologies most. */
function bestToMove(giver: Member, taker: Member): Task {
  const wantState = giver.stateful / giver.weight > (taker.stateful + 1) / taker.weight
  let best: Task | null = null
  let bestScore = Number.NEGATIVE_INFINITY
  for (const task of giver.tasks) {
    const { stateful, subtopology } = task.spec
    const surplus =
      (giver.ofSubtopology.get(subtopology) ?? 0) / giver.weight -
      (taker.ofSubtopology.get(subtopology) ?? 0) / taker.weight
    const score = (stateful === wantState ? 1e9 : 0) + surplus
    if (score > bestScore || (score === bestScore && compareSpecs(task.spec, (best as Task).spec) < 0)) {
      best = task
      bestScore = score
    }
  }
  return best as Task
}

/** Exchanges a stateful task for a stateless one while that evens out state. The number of tasks stays. */
function evenState(list: readonly Member[]): void {
  for (let pair = unevenPair(list); pair !== null; pair = unevenPair(list)) {
    const { giver, taker } = pair
    let forth: Task | null = null
    for (const task of giver.tasks) {
      if (!task.spec.stateful) continue
      if (forth === null || nearer(task, forth, taker)) forth = task
    }
    let back: Task | null = null
    for (const task of taker.tasks) {
      if (!task.spec.stateful && (back === null || compareSpecs(task.spec, back.spec) < 0)) back = task
    }
    const exchanged = back as Task
    move(forth as Task, taker)
    move(exchanged, giver)
    exchanged.partner = forth
  }
}

/** Two members between which an exchange would even out state. */
function unevenPair(list: readonly Member[]): { readonly giver: Member; readonly taker: Member } | null {
  let giver: Member | null = null
  let taker: Member | null = null
  for (const member of list) {
    const hasOther = member.stateful < member.tasks.size
    if (giver === null || member.stateful / member.weight > giver.stateful / giver.weight) giver = member
    if (
      hasOther &&
      (taker === null || (member.stateful + 1) / member.weight < (taker.stateful + 1) / taker.weight)
    ) {
      taker = member
    }
  }
  if (giver === null || taker === null || giver === taker) return null
  return giver.stateful / giver.weight > (taker.stateful + 1) / taker.weight ? { giver, taker } : null
}

function nearer(task: Task, than: Task, taker: Member): boolean {
  const lag = lagOn(task, taker)
  const other = lagOn(than, taker)
  return lag === other ? compareSpecs(task.spec, than.spec) < 0 : lag < other
}

function take(task: Task, member: Member): void {
  task.target = member
  member.tasks.add(task)
  if (task.spec.stateful) member.stateful++
  const { subtopology } = task.spec
  member.ofSubtopology.set(subtopology, (member.ofSubtopology.get(subtopology) ?? 0) + 1)
}

function move(task: Task, member: Member): void {
  const from = task.target as Member
  from.tasks.delete(task)
  if (task.spec.stateful) from.stateful--
  const { subtopology } = task.spec
  from.ofSubtopology.set(subtopology, (from.ofSubtopology.get(subtopology) ?? 0) - 1)
  take(task, member)
}

// ------------------------------------------------------------------------------------------------ now

/** Where each task runs until its target can take it. Returns how many don't run on their target. */
function placeActive(tasks: readonly Task[], list: readonly Member[], options: AssignorOptions): number {
  let misplaced = 0
  const detained: Task[] = []
  for (const task of tasks) {
    const target = task.target as Member
    if (task.partner !== null) continue
    if (!task.spec.stateful || task.holders.length === 0) {
      run(task, target)
      continue
    }
    const nearest = (task.holders[0] as { lag: number }).lag
    // As good as the best there is: no use to wait, or to run it elsewhere first. Who has nothing of it at all restores
    // even a little better while another still runs it.
    const hasSome = target.lags.has(task.spec.id) || task.spec.stateRecords === 0
    if (hasSome && lagOn(task, target) <= nearest + options.acceptableRecoveryLag) run(task, target)
    else detained.push(task)
  }
  for (const task of detained) {
    const nearest = (task.holders[0] as { lag: number }).lag
    const near = task.holders.filter(({ lag }) => lag <= nearest + options.acceptableRecoveryLag)
    const stays = near.find(({ member }) => member === task.owner)
    let best = stays ?? (near[0] as { member: Member; lag: number })
    if (stays === undefined) {
      for (const candidate of near) {
        if (candidate.member.running / candidate.member.weight < best.member.running / best.member.weight)
          best = candidate
      }
    }
    run(task, best.member)
    if (task.active !== task.target) misplaced++
  }
  for (const task of tasks) {
    const { partner } = task
    if (partner === null) continue
    run(task, (partner.active === partner.target ? task.target : task.owner) as Member)
    if (task.active !== task.target) misplaced++
  }
  assert(list.reduce((sum, member) => sum + member.running, 0) === tasks.length, 'every task runs once')
  return misplaced
}

function run(task: Task, member: Member): void {
  task.active = member
  task.copies.push(member)
  member.running++
  member.active.push(task.spec.id)
}

/** Standbys and warm-ups. */
function placeCopies(
  tasks: readonly Task[],
  list: readonly Member[],
  options: AssignorOptions,
): { missing: number; warming: number } {
  const stateful = tasks.filter((task) => task.spec.stateful)
  const { standbyReplicas, rackTags } = options
  const waiting: { readonly task: Task; readonly member: Member }[] = []
  for (const task of stateful) {
    if (task.active !== task.target) waiting.push({ task, member: task.target as Member })
    task.standbysMissing = standbyReplicas
    for (const member of task.standbyBefore) member.standbysBefore++
  }
  let missing = 0
  if (standbyReplicas > 0) {
    setQuotas(
      list,
      stateful.length * Math.min(standbyReplicas, list.length - 1),
      (member, quota) => {
        member.standbyQuota = quota
      },
      (member) => member.standbysBefore,
    )
    const racks = racksOf(list, rackTags)
    for (const task of stateful) keepStandbys(task, racks)
    for (const task of stateful) {
      for (; task.standbysMissing > 0; task.standbysMissing--) {
        const best = bestStandby(task, racks, options) ?? targetToStandBy(task)
        if (best === null) break
        best.standbys++
        const keeper = keeperFor(task, best, options)
        // A caught-up copy is not given up before the one that takes its place has caught up.
        if (keeper !== null) waiting.push({ task, member: best })
        standBy(task, keeper ?? best)
      }
      missing += task.standbysMissing
    }
  }
  waiting.sort(
    (left, right) =>
      Number(right.member === right.task.target) - Number(left.member === left.task.target) ||
      order(lagOn(left.task, left.member), lagOn(right.task, right.member)) ||
      compareSpecs(left.task.spec, right.task.spec),
  )
  let warmups = 0
  for (const { task, member } of waiting) {
    // As a standby it catches up anyway.
    if (task.copies.includes(member)) continue
    // What is soon restored burdens nobody.
    const isSmall = (task.spec.stateRecords ?? Number.POSITIVE_INFINITY) <= options.acceptableRecoveryLag
    if (!isSmall) {
      if (warmups === options.warmupReplicasMax) continue
      warmups++
    }
    task.copies.push(member)
    member.warmup.push(task.spec.id)
  }
  return { missing, warming: waiting.length }
}

function standBy(task: Task, member: Member): void {
  task.copies.push(member)
  member.standby.push(task.spec.id)
}

/** Who stands by goes on, within its quota, unless another would be further apart. */
function keepStandbys(task: Task, racks: Racks): void {
  for (const member of task.standbyBefore) {
    if (task.standbysMissing === 0) return
    if (member.standbys >= member.standbyQuota || task.copies.includes(member)) continue
    if (racks.list.length > 1) {
      compareRacks(task, racks)
      const { apart } = racks.of(member)
      if (racks.list.some((rack) => rack.apart > apart && hasRest(task, rack, racks))) continue
    }
    member.standbys++
    task.standbysMissing--
    standBy(task, member)
  }
}

/** Unlike the other copies by tags, then with room, then with state already, then with the fewest. */
function bestStandby(task: Task, racks: Racks, options: AssignorOptions): Member | null {
  compareRacks(task, racks)
  const mayStandBy = (member: Member): boolean =>
    !task.copies.includes(member) &&
    // It will have the task itself.
    (member !== task.target || task.active === member || task.standbyBefore.includes(member))
  let best: Member | null = null
  let bestApart = -1
  let bestFull = 1
  let bestLag = Number.POSITIVE_INFINITY
  let bestLoad = Number.POSITIVE_INFINITY
  const consider = (member: Member, apart: number, lag: number): void => {
    const full = member.standbys >= member.standbyQuota ? 1 : 0
    const load = (member.standbys + 1) / member.weight
    const difference = bestApart - apart || full - bestFull || order(lag, bestLag) || load - bestLoad
    if (best !== null && (difference > 0 || (difference === 0 && member.index > best.index))) return
    best = member
    bestApart = apart
    bestFull = full
    bestLag = lag
    bestLoad = load
  }
  for (const { member, lag } of task.holders) {
    if (!mayStandBy(member)) continue
    consider(member, racks.of(member).apart, lag <= options.acceptableRecoveryLag ? 0 : lag)
  }
  for (const rack of racks.list) {
    if (rack.apart < bestApart) continue
    // Of those without state only the one with the fewest standbys matters.
    let idlest: Member | null = null
    let idlestLoad = Number.POSITIVE_INFINITY
    const { members } = rack
    // Each task begins elsewhere: the tasks of one member then have their standbys on many, and its loss burdens none.
    const start = scatter(task) % members.length
    for (let step = 0; step < members.length; step++) {
      const member = members[(start + step) % members.length] as Member
      const load = (member.standbys + 1) / member.weight
      if (load >= idlestLoad || !mayStandBy(member) || member.lags.has(task.spec.id)) continue
      idlest = member
      idlestLoad = load
    }
    if (idlest !== null) consider(idlest, rack.apart, Number.POSITIVE_INFINITY)
  }
  return best
}

function scatter(task: Task): number {
  return (Math.imul(task.spec.partition * 31 + task.spec.subtopology, 0x9e37_79b1) >>> 8) & 0xff_ffff
}

type Racks = { readonly list: readonly Rack[]; of(member: Member): Rack }

function racksOf(list: readonly Member[], rackTags: readonly string[]): Racks {
  const byValues = new Map<string, Rack>()
  const ofMember: Rack[] = []
  for (const member of list) {
    const values = rackTags.map((tag) => member.tags.get(tag))
    const key = JSON.stringify(values.map((value) => value ?? null))
    let rack = byValues.get(key)
    if (rack === undefined) {
      rack = { values, members: [], apart: 0 }
      byValues.set(key, rack)
    }
    rack.members.push(member)
    ofMember.push(rack)
  }
  return { list: [...byValues.values()], of: (member) => ofMember[member.index] as Rack }
}

function compareRacks(task: Task, racks: Racks): void {
  for (const rack of racks.list) {
    let apart = 0
    for (const [index, value] of rack.values.entries()) {
      if (value !== undefined && task.copies.every((copy) => racks.of(copy).values[index] !== value)) apart++
    }
    rack.apart = apart
  }
}

/** It has members without a copy of the task. */
function hasRest(task: Task, rack: Rack, racks: Racks): boolean {
  let copies = 0
  for (const copy of task.copies) if (racks.of(copy) === rack) copies++
  return copies < rack.members.length
}

/** Where no other is left, whoever is to have the task stands by for it until then. */
function targetToStandBy(task: Task): Member | null {
  const target = task.target as Member
  return task.copies.includes(target) ? null : target
}

/** Another one that stands by and has caught up, where the one chosen has not. */
function keeperFor(task: Task, chosen: Member, options: AssignorOptions): Member | null {
  const { acceptableRecoveryLag } = options
  if (lagOn(task, chosen) <= acceptableRecoveryLag) return null
  return (
    task.standbyBefore.find(
      (member) => !task.copies.includes(member) && lagOn(task, member) <= acceptableRecoveryLag,
    ) ?? null
  )
}

// ------------------------------------------------------------------------------------------------ this round

export type MemberRound = MemberTasks & {
  /** Of its active tasks, all of them: what it does not get it gives up. */
  readonly partitions: readonly TopicPartition[]
  /** Active tasks it will get when their owner has given them up. Stateful ones are among its warm-ups or standbys. */
  readonly withheld: readonly string[]
}

export type Round = {
  readonly members: ReadonlyMap<string, MemberRound>
  /** Some member has to give up partitions: it rejoins when it has, and the next round follows. */
  readonly revoking: boolean
}

/** What each member gets now: nothing that another still owns. */
export function planRebalance(
  specs: readonly TaskSpec[],
  members: readonly { readonly memberId: string; readonly owned: readonly TopicPartition[] }[],
  assignments: ReadonlyMap<string, MemberTasks>,
): Round {
  const byId = new Map(specs.map((spec) => [spec.id, spec]))
  const owners = new Map<string, string | null>()
  for (const { memberId, owned } of members) {
    for (const { topic, partition } of owned) {
      const key = partitionKey({ topic, partition })
      // Two that say they own it: one of them is out of date, and both let go first.
      owners.set(key, owners.has(key) ? null : memberId)
    }
  }
  const rounds = new Map<string, MemberRound>()
  let revoking = false
  for (const { memberId, owned } of members) {
    const { active, standby, warmup } = assignments.get(memberId) ?? { active: [], standby: [], warmup: [] }
    const granted: string[] = []
    const withheld: string[] = []
    const preparing = [...warmup]
    const partitions: TopicPartition[] = []
    for (const id of active) {
      const spec = byId.get(id)
      assert(spec !== undefined, `task ${id} is one of the tasks`)
      const free = spec.partitions.every(({ topic, partition }) => {
        const owner = owners.get(partitionKey({ topic, partition }))
        return owner === undefined || owner === memberId
      })
      if (free) {
        granted.push(id)
        partitions.push(...spec.partitions)
      } else {
        withheld.push(id)
        if (spec.stateful && !standby.includes(id)) preparing.push(id)
      }
    }
    const kept = new Set(partitions.map(partitionKey))
    if (owned.some((own) => !kept.has(partitionKey(own)))) revoking = true
    rounds.set(memberId, {
      active: granted,
      standby,
      warmup: preparing.sort(compareTaskIds),
      partitions,
      withheld,
    })
  }
  return { members: rounds, revoking }
}

/** Finds the tasks that partitions belong to. */
export function tasksByPartition(
  specs: readonly TaskSpec[],
): (owned: readonly TopicPartition[]) => readonly string[] {
  const tasks = new Map<string, string>()
  for (const { id, partitions } of specs) {
    for (const partition of partitions) tasks.set(partitionKey(partition), id)
  }
  return (owned) => {
    const found = new Set<string>()
    for (const { topic, partition } of owned) {
      const task = tasks.get(partitionKey({ topic, partition }))
      if (task !== undefined) found.add(task)
    }
    return [...found]
  }
}

/** The tasks of a topology: as many per sub-topology as its widest source topic has partitions. */
export function tasksOf(
  subtopologies: readonly {
    readonly index: number
    readonly sources: readonly { readonly topic: string; readonly partitions: number }[]
    /** It has stores with changelogs. */
    readonly stateful: boolean
  }[],
  stateRecords: (task: string) => number | null = () => null,
): TaskSpec[] {
  const tasks: TaskSpec[] = []
  for (const { index, sources, stateful } of subtopologies) {
    const count = sources.reduce((most, source) => Math.max(most, source.partitions), 0)
    for (let partition = 0; partition < count; partition++) {
      const id = formatTaskId(index, partition)
      tasks.push({
        id,
        subtopology: index,
        partition,
        stateful,
        stateRecords: stateful ? stateRecords(id) : null,
        partitions: sources
          .filter((source) => partition < source.partitions)
          .map(({ topic }) => ({ topic, partition })),
      })
    }
  }
  return tasks
}

// ------------------------------------------------------------------------------------------------ shares

export type ShareOptions = {
  /** A member this far behind its input is looked at. */
  readonly slowAfterMs: number
}

/**
 * The share of its capacity that each member is counted with. A member is slow when its input waits long, much longer
 * than most members' does, and it processes much slower than most; then its share falls to the eighth part at least,
 * in halves, and stays there until its speed is back: an idle slow member is not behind, and would get it all again.
 */
export function sharesOf(
  members: readonly {
    readonly memberId: string
    readonly behindMs: number
    readonly speed: number
    readonly share: number
  }[],
  options: ShareOptions,
): ReadonlyMap<string, number> {
  const speeds = members.map((member) => member.speed).filter((speed) => speed > 0)
  // Of two members the faster one is the usual one.
  const usualSpeed = sorted(speeds)[Math.floor(speeds.length / 2)] ?? 0
  const usualBehindMs =
    sorted(members.map((member) => member.behindMs))[Math.floor((members.length - 1) / 2)] ?? 0
  return new Map(
    members.map((member) => {
      const relative = member.speed > 0 && usualSpeed > 0 ? member.speed / usualSpeed : 1
      const late = member.behindMs > options.slowAfterMs && member.behindMs > 4 * usualBehindMs
      if (relative >= 0.75 || (!late && member.share === 1)) return [member.memberId, 1]
      const share = [0.5, 0.25, 0.125].find((part) => relative >= part) ?? 0.125
      return [member.memberId, late ? Math.min(share, member.share) : Math.max(share, member.share)]
    }),
  )
}

/**
 * The share that a member says it has when it asks to be counted anew. One without a task can't show that its speed is
 * back: it asks for double, until it is given one.
 */
export function shareToSay(share: number, hasTasks: boolean): number {
  return hasTasks ? share : Math.min(1, 2 * share)
}

function sorted(values: readonly number[]): number[] {
  return [...values].sort((left, right) => left - right)
}

// ------------------------------------------------------------------------------------------------ tools

function compareSpecs(left: TaskSpec, right: TaskSpec): number {
  return left.subtopology - right.subtopology || left.partition - right.partition
}

function order<T extends string | number>(left: T, right: T): number {
  return left < right ? -1 : left > right ? 1 : 0
}

/** A binary heap of numbers, the least first. */
class Heap {
  readonly #items: number[] = []
  readonly #compare: (left: number, right: number) => number

  constructor(compare: (left: number, right: number) => number) {
    this.#compare = compare
  }

  push(item: number): void {
    const items = this.#items
    let at = items.length
    items.push(item)
    while (at > 0) {
      const above = (at - 1) >> 1
      if (this.#compare(items[above] as number, item) <= 0) break
      items[at] = items[above] as number
      at = above
    }
    items[at] = item
  }

  pop(): number {
    const items = this.#items
    const top = items[0] as number
    const last = items.pop() as number
    if (items.length === 0) return top
    let at = 0
    for (;;) {
      let below = at * 2 + 1
      if (below >= items.length) break
      if (below + 1 < items.length && this.#compare(items[below + 1] as number, items[below] as number) < 0)
        below++
      if (this.#compare(last, items[below] as number) <= 0) break
      items[at] = items[below] as number
      at = below
    }
    items[at] = last
    return top
  }
}
