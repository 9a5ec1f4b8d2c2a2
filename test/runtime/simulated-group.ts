/**
 * A group of members that only remember: what they own, and how far each state they have is behind. `round` runs the
 * assignor as a leader would and lets every member do as told; `catchUp` lets time pass. No Kafka, no clock.
 */
import type { TopicPartition } from '../../src/kafka/client.ts'
import {
  type AssignorMember,
  type AssignorOptions,
  assignTasks,
  type MemberTasks,
  planRebalance,
  type Round,
  type TaskAssignments,
  type TaskSpec,
  tasksByPartition,
} from '../../src/runtime/assignor.ts'
import { runningLag } from '../../src/runtime/group-protocol.ts'

export type SimulatedMember = {
  readonly memberId: string
  readonly processId: string
  readonly capacity: number
  share: number
  readonly tags: ReadonlyMap<string, string>
  owned: readonly TopicPartition[]
  active: readonly string[]
  standby: readonly string[]
  warmup: readonly string[]
  /** State that it has: the records it is behind. */
  readonly state: Map<string, number>
}

/** Records in the changelogs of a task: what a member without state is behind. */
export const changelogRecords = 1_000_000

export class SimulatedGroup {
  readonly members = new Map<string, SimulatedMember>()
  readonly tasks: readonly TaskSpec[]
  readonly options: AssignorOptions
  readonly #byId: ReadonlyMap<string, TaskSpec>
  readonly #tasksOf: (owned: readonly TopicPartition[]) => readonly string[]
  /** Processor time of the last assignment, the part of the leader only: what else runs does not count. */
  assignMs = 0
  /** Active tasks that began on another member than the one before, since the last `resetMoves`. */
  moves = 0
  readonly #ranOn = new Map<string, string>()
  #joined = 0

  constructor(tasks: readonly TaskSpec[], options: AssignorOptions) {
    this.tasks = tasks
    this.options = options
    this.#tasksOf = tasksByPartition(tasks)
    this.#byId = new Map(tasks.map((task) => [task.id, task]))
  }

  join(
    capacity = 1,
    tags: ReadonlyMap<string, string> = new Map(),
    processId?: string,
    state?: Map<string, number>,
  ): string {
    const number = this.#joined++
    const memberId = `member-${number}`
    this.members.set(memberId, {
      memberId,
      processId: processId ?? `process-${String((number * 7919) % 100_003).padStart(6, '0')}`,
      capacity,
      share: 1,
      tags,
      owned: [],
      active: [],
      standby: [],
      warmup: [],
      state: state ?? new Map(),
    })
    return memberId
  }

  /** Returns what it leaves on its disk. */
  leave(memberId: string): SimulatedMember {
    const member = this.members.get(memberId) as SimulatedMember
    this.members.delete(memberId)
    return member
  }

  assignorMembers(): AssignorMember[] {
    return [...this.members.values()].map((member) => {
      const running = new Set(member.active)
      const lags = new Map<string, number>()
      for (const [task, lag] of member.state) {
        if (running.has(task) && lag === 0) lags.set(task, runningLag)
        else lags.set(task, lag)
      }
      for (const task of member.active) if (!lags.has(task)) lags.set(task, runningLag)
      return { ...member, owned: this.#tasksOf(member.owned), lags }
    })
  }

  round(): { assignments: TaskAssignments; round: Round } {
    const members = this.assignorMembers()
    const began = process.cpuUsage()
    const assignments = assignTasks(this.tasks, members, this.options)
    const round = planRebalance(this.tasks, [...this.members.values()], assignments.members)
    const { user, system } = process.cpuUsage(began)
    this.assignMs = (user + system) / 1_000
    for (const [memberId, told] of round.members)
      this.#obey(this.members.get(memberId) as SimulatedMember, told)
    return { assignments, round }
  }

  #obey(
    member: SimulatedMember,
    told: MemberTasks & { readonly partitions: readonly TopicPartition[] },
  ): void {
    member.owned = told.partitions
    for (const task of told.active) {
      if (this.#ranOn.has(task) && this.#ranOn.get(task) !== member.memberId) this.moves++
      this.#ranOn.set(task, member.memberId)
    }
    member.active = told.active
    member.standby = told.standby
    member.warmup = told.warmup
    const held = new Set([...told.active, ...told.standby, ...told.warmup])
    for (const task of held) {
      if (this.#byId.get(task)?.stateful && !member.state.has(task)) member.state.set(task, changelogRecords)
    }
  }

  /** Every copy that a member runs catches up; state left on a disk falls behind, and is cleaned up in the end. */
  catchUp(): void {
    for (const member of this.members.values()) {
      const active = new Set(member.active)
      const held = new Set([...member.active, ...member.standby, ...member.warmup])
      for (const [task, lag] of member.state) {
        if (held.has(task)) {
          member.state.set(task, active.has(task) ? 0 : Math.min(3, this.options.acceptableRecoveryLag))
        } else if (lag > 5_000) {
          member.state.delete(task)
        } else {
          member.state.set(task, lag + 1_000)
        }
      }
    }
  }

  /** Rounds until nothing is left to do; throws if there is no end. */
  settle(roundsMax: number): number {
    for (let rounds = 1; rounds <= roundsMax; rounds++) {
      const { assignments, round } = this.round()
      this.catchUp()
      if (
        !assignments.probing &&
        !round.revoking &&
        [...round.members.values()].every((told) => told.withheld.length === 0)
      ) {
        return rounds
      }
    }
    throw new Error(`not settled after ${roundsMax} rounds`)
  }

  resetMoves(): void {
    this.moves = 0
  }

  ownerOf(task: string): string | undefined {
    for (const member of this.members.values()) if (member.active.includes(task)) return member.memberId
    return undefined
  }
}

/** Sub-topologies by their number of partitions; every third is stateless. */
export function specs(
  subtopologies: readonly { readonly partitions: number; readonly stateful: boolean }[],
): TaskSpec[] {
  return subtopologies.flatMap(({ partitions, stateful }, subtopology) =>
    Array.from({ length: partitions }, (_, partition) => ({
      id: `${subtopology}_${partition}`,
      subtopology,
      partition,
      stateful,
      stateRecords: null,
      partitions: [
        { topic: `in-${subtopology}`, partition },
        { topic: `more-${subtopology}`, partition },
      ],
    })),
  )
}
