import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AssignorOptions,
  assignTasks,
  planRebalance,
  sharesOf,
  shareToSay,
  tasksOf,
} from '../../src/runtime/assignor.ts'
import { SimulatedGroup, specs } from './simulated-group.ts'

const defaults: AssignorOptions = {
  standbyReplicas: 0,
  warmupReplicasMax: 2,
  acceptableRecoveryLag: 10_000,
  rackTags: [],
}

const subtopologies = fc.array(
  fc.record({ partitions: fc.integer({ min: 1, max: 24 }), stateful: fc.boolean() }),
  { minLength: 1, maxLength: 5 },
)
const capacities = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 9 })
const options = fc.record({
  standbyReplicas: fc.integer({ min: 0, max: 2 }),
  warmupReplicasMax: fc.integer({ min: 1, max: 6 }),
  acceptableRecoveryLag: fc.constantFrom(0, 100, 10_000),
  rackTags: fc.constant([]),
})

/** Each round moves at least one warm-up's task on, and each task moves at most a few times. */
const roundsMax = 400

/** No task could move from one member to another and even them out. */
function expectBalanced(group: SimulatedGroup): void {
  const members = [...group.members.values()]
  for (const left of members) {
    for (const right of members) {
      const here = left.active.length / left.capacity
      const there = (right.active.length + 1) / right.capacity
      expect(
        here,
        `${left.active.length}/${left.capacity} beside ${right.active.length}/${right.capacity}`,
      ).toBeLessThanOrEqual(there + 1e-9)
    }
  }
}

function expectSound(group: SimulatedGroup): void {
  const active = new Map<string, string>()
  for (const member of group.members.values()) {
    for (const task of member.active) {
      expect(active.get(task), `${task} runs twice`).toBeUndefined()
      active.set(task, member.memberId)
    }
    const copies = [...member.active, ...member.standby, ...member.warmup]
    expect(new Set(copies).size, 'a member has one copy of a task').toBe(copies.length)
    const stateful = new Set(group.tasks.filter((task) => task.stateful).map((task) => task.id))
    for (const task of [...member.standby, ...member.warmup]) expect(stateful.has(task)).toBe(true)
  }
}

function groupOf(
  shape: readonly { partitions: number; stateful: boolean }[],
  sizes: readonly number[],
  chosen: AssignorOptions,
): SimulatedGroup {
  const group = new SimulatedGroup(specs(shape), chosen)
  for (const capacity of sizes) group.join(capacity)
  return group
}

describe('assignor: properties', () => {
  test('a new group, every task runs once, evenly by capacity, after one round', () => {
    fc.assert(
      fc.property(subtopologies, capacities, options, (shape, sizes, chosen) => {
        const group = groupOf(shape, sizes, chosen)
        const { assignments } = group.round()
        expectSound(group)
        expectBalanced(group)
        const running = [...assignments.members.values()].flatMap((member) => member.active)
        expect(running.sort()).toEqual(group.tasks.map((task) => task.id).sort())
        expect(assignments.misplaced).toBe(0)
      }),
    )
  })

  test('nothing changed, nothing moves', () => {
    fc.assert(
      fc.property(subtopologies, capacities, options, (shape, sizes, chosen) => {
        const group = groupOf(shape, sizes, chosen)
        group.settle(roundsMax)
        const before = [...group.members.values()].map(({ active, standby }) => ({ active, standby }))
        group.resetMoves()
        group.round()
        expect(group.moves).toBe(0)
        expect([...group.members.values()].map(({ active, standby }) => ({ active, standby }))).toEqual(
          before,
        )
      }),
    )
  })

  test('the order of the members, does not matter', () => {
    fc.assert(
      fc.property(subtopologies, capacities, options, (shape, sizes, chosen) => {
        const group = groupOf(shape, sizes, chosen)
        group.settle(roundsMax)
        group.join(2)
        const members = group.assignorMembers()
        const one = assignTasks(group.tasks, members, chosen)
        const other = assignTasks([...group.tasks].reverse(), members.reverse(), chosen)
        for (const [memberId, tasks] of one.members) expect(other.members.get(memberId)).toEqual(tasks)
      }),
    )
  })

  test('a member leaves, only its own tasks move, in one round', () => {
    fc.assert(
      fc.property(subtopologies, capacities, options, fc.nat(), (shape, sizes, chosen, which) => {
        fc.pre(sizes.length > 1)
        const group = groupOf(shape, sizes, chosen)
        group.settle(roundsMax)
        const leaver = [...group.members.keys()][which % sizes.length] as string
        const before = new Map([...group.members.values()].map((member) => [member.memberId, member.active]))
        const gone = group.leave(leaver)
        group.resetMoves()
        group.round()
        for (const member of group.members.values()) {
          expect(member.active).toEqual(expect.arrayContaining([...(before.get(member.memberId) ?? [])]))
        }
        expect(group.moves).toBe(gone.active.length)
        expectSound(group)
        group.settle(roundsMax)
        expectBalanced(group)
      }),
    )
  })

  test('a member joins, the least that evens out moves, and only when its state has caught up', () => {
    fc.assert(
      fc.property(
        subtopologies,
        capacities,
        options,
        fc.integer({ min: 1, max: 4 }),
        (shape, sizes, chosen, capacity) => {
          const group = groupOf(shape, sizes, chosen)
          group.settle(roundsMax)
          const joiner = group.join(capacity)
          group.resetMoves()
          const { assignments } = group.round()
          const stateful = new Set(group.tasks.filter((task) => task.stateful).map((task) => task.id))
          for (const task of assignments.members.get(joiner)?.active ?? [])
            expect(stateful.has(task)).toBe(false)
          group.catchUp()
          group.settle(roundsMax)
          expectSound(group)
          expectBalanced(group)
          // Exchanges that even out state move a stateless task back for each stateful one.
          const got = group.members.get(joiner)?.active.length ?? 0
          expect(group.moves).toBeGreaterThanOrEqual(got)
          if (shape.every((part) => part.stateful === shape[0]?.stateful)) expect(group.moves).toBe(got)
        },
      ),
    )
  })

  test('members come, go and return at random, every round is sound and the group settles', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('join' as const), capacity: fc.integer({ min: 1, max: 3 }) }),
      fc.record({ kind: fc.constant('leave' as const), which: fc.nat() }),
      fc.record({ kind: fc.constant('restart' as const), which: fc.nat() }),
      fc.record({
        kind: fc.constant('slow' as const),
        which: fc.nat(),
        share: fc.constantFrom(0.25, 0.5, 1),
      }),
      fc.record({ kind: fc.constant('round' as const) }),
      fc.record({ kind: fc.constant('catch-up' as const) }),
    )
    fc.assert(
      fc.property(
        subtopologies,
        capacities,
        options,
        fc.array(step, { maxLength: 25 }),
        (shape, sizes, chosen, steps) => {
          const group = groupOf(shape, sizes, chosen)
          group.round()
          for (const each of steps) {
            const ids = [...group.members.keys()]
            const picked = 'which' in each ? (ids[each.which % ids.length] as string) : ''
            switch (each.kind) {
              case 'join':
                group.join(each.capacity)
                break
              case 'leave':
                if (ids.length > 1) group.leave(picked)
                break
              case 'restart': {
                const { capacity, tags, processId, state } = group.leave(picked)
                group.join(capacity, tags, processId, state)
                break
              }
              case 'slow': {
                const member = group.members.get(picked)
                if (member !== undefined) member.share = each.share
                break
              }
              case 'round':
                group.round()
                break
              case 'catch-up':
                group.catchUp()
            }
            expectSound(group)
          }
          for (const member of group.members.values()) member.share = 1
          group.settle(roundsMax)
          expectSound(group)
          expectBalanced(group)
        },
      ),
      { numRuns: 150 },
    )
  })

  test('standbys, as many as asked for and never beside the active one, spread evenly', () => {
    fc.assert(
      fc.property(subtopologies, fc.integer({ min: 2, max: 8 }), options, (shape, size, chosen) => {
        const group = groupOf(
          shape,
          Array.from({ length: size }, () => 1),
          chosen,
        )
        group.settle(roundsMax)
        const stateful = group.tasks.filter((task) => task.stateful)
        const wanted = Math.min(chosen.standbyReplicas, size - 1)
        for (const task of stateful) {
          const holders = [...group.members.values()].filter((member) => member.standby.includes(task.id))
          expect(holders.length).toBe(wanted)
          expect(holders.some((member) => member.active.includes(task.id))).toBe(false)
        }
      }),
    )
  })

  test('warm-ups, never more than allowed at a time', () => {
    fc.assert(
      fc.property(subtopologies, capacities, options, (shape, sizes, chosen) => {
        const group = groupOf(shape, sizes, chosen)
        group.settle(roundsMax)
        group.join(3)
        for (let round = 0; round < 10; round++) {
          const { assignments } = group.round()
          const warmups = [...assignments.members.values()].flatMap((member) => member.warmup)
          expect(warmups.length).toBeLessThanOrEqual(chosen.warmupReplicasMax)
          group.catchUp()
        }
      }),
    )
  })
})

test('assignor: a member joins with nothing, tasks of little state warm up there all at once and then move', () => {
  const tasks = specs([{ partitions: 8, stateful: true }]).map((spec) => ({ ...spec, stateRecords: 500 }))
  const group = new SimulatedGroup(tasks, defaults)
  const [one, two] = [group.join(), group.join()]
  const second = group.leave(two)
  group.settle(1)
  group.members.set(two, second)
  group.round()
  expect(group.members.get(one)?.active).toHaveLength(8)
  expect(group.members.get(two)).toMatchObject({ active: [], warmup: ['0_0', '0_1', '0_2', '0_3'] })
  group.catchUp()
  group.settle(3)
  expect(group.members.get(two)?.active).toHaveLength(4)
})

describe('assignor: fail-over', () => {
  test('the owner dies, the standby that has caught up takes each task at once', () => {
    const group = groupOf([{ partitions: 12, stateful: true }], [1, 1, 1, 1], {
      ...defaults,
      standbyReplicas: 1,
    })
    group.settle(50)
    const victim = [...group.members.keys()][0] as string
    const gone = group.leave(victim)
    const standbys = new Map(
      gone.active.map((task) => [
        task,
        [...group.members.values()].find((member) => member.standby.includes(task))?.memberId,
      ]),
    )
    group.round()
    for (const task of gone.active) expect(group.ownerOf(task)).toBe(standbys.get(task))
  })

  test('nobody has the state, the task goes to the member with most room at once', () => {
    const group = groupOf([{ partitions: 4, stateful: true }], [1, 1], defaults)
    group.settle(10)
    group.leave([...group.members.keys()][0] as string)
    const { assignments } = group.round()
    expect([...group.members.values()][0]?.active.length).toBe(4)
    expect(assignments.probing).toBe(false)
  })

  test('a restarted process comes back with its state, gets its own tasks back without a warm-up', () => {
    const group = groupOf([{ partitions: 9, stateful: true }], [1, 1, 1], defaults)
    group.settle(20)
    const before = [...group.members.values()].map((member) => ({
      id: member.memberId,
      active: member.active,
    }))
    const first = before[0] as { id: string; active: readonly string[] }
    const gone = group.leave(first.id)
    group.round()
    group.catchUp()
    for (const task of gone.state.keys()) gone.state.set(task, 500)
    const back = group.join(1, new Map(), gone.processId, gone.state)
    const { assignments } = group.round()
    expect([...assignments.members.values()].flatMap((member) => member.warmup)).toEqual([])
    group.round()
    expect(group.members.get(back)?.active).toEqual(first.active)
  })

  test('the active one lost its disk, a standby that has caught up runs the task meanwhile', () => {
    const group = groupOf([{ partitions: 2, stateful: true }], [1, 1], { ...defaults, standbyReplicas: 1 })
    group.settle(10)
    const owner = group.ownerOf('0_0') as string
    group.members.get(owner)?.state.set('0_0', 900_000)
    const { assignments } = group.round()
    expect(assignments.members.get(owner)?.active).not.toContain('0_0')
  })

  test('a slow member counts with an eighth of its capacity, its tasks warm up elsewhere and leave', () => {
    const group = groupOf([{ partitions: 24, stateful: true }], [1, 1, 1], defaults)
    group.settle(20)
    const slow = [...group.members.values()][0]
    if (slow === undefined) throw new Error('there is one')
    slow.share = 0.125
    const { assignments } = group.round()
    expect(slow.active.length).toBe(8)
    expect([...assignments.members.values()].flatMap((member) => member.warmup).length).toBe(2)
    group.catchUp()
    group.settle(50)
    expect(slow.active.length).toBe(1)
  })
})

describe('assignor: racks', () => {
  const rack = (zone: string) => new Map([['zone', zone]])

  test('standbys by zone, in another zone than the active one where there is one', () => {
    const group = new SimulatedGroup(specs([{ partitions: 12, stateful: true }]), {
      ...defaults,
      standbyReplicas: 2,
      rackTags: ['zone'],
    })
    for (const zone of ['a', 'a', 'b', 'b', 'c', 'c']) group.join(1, rack(zone))
    group.settle(50)
    for (const task of group.tasks) {
      const zones = [...group.members.values()]
        .filter((member) => [...member.active, ...member.standby].includes(task.id))
        .map((member) => member.tags.get('zone'))
      expect(new Set(zones).size).toBe(3)
    }
  })

  test('one zone only, the standby is there none the less', () => {
    const group = new SimulatedGroup(specs([{ partitions: 3, stateful: true }]), {
      ...defaults,
      standbyReplicas: 1,
      rackTags: ['zone'],
    })
    for (let index = 0; index < 3; index++) group.join(1, rack('a'))
    const { assignments } = group.round()
    expect(assignments.standbysMissing).toBe(0)
    expect([...group.members.values()].flatMap((member) => member.standby).length).toBe(3)
  })

  test('more standbys than members, those that can not be are counted', () => {
    const group = groupOf([{ partitions: 4, stateful: true }], [1, 1], { ...defaults, standbyReplicas: 3 })
    expect(group.round().assignments.standbysMissing).toBe(8)
  })
})

describe('assignor: one round', () => {
  const tasks = tasksOf([
    {
      index: 0,
      sources: [
        { topic: 'orders', partitions: 2 },
        { topic: 'users', partitions: 1 },
      ],
      stateful: true,
    },
  ])
  const owned = [
    { topic: 'orders', partition: 0 },
    { topic: 'users', partition: 0 },
    { topic: 'orders', partition: 1 },
  ]

  test('tasks of topics of different width, the narrow one is in the first tasks only', () => {
    expect(tasks.map(({ id, partitions }) => [id, partitions.map(({ topic }) => topic)])).toEqual([
      ['0_0', ['orders', 'users']],
      ['0_1', ['orders']],
    ])
  })

  test('a task goes to another member, taken first and handed out in the next round', () => {
    const assignments = new Map([
      ['a', { active: ['0_0'], standby: [], warmup: [] }],
      ['b', { active: ['0_1'], standby: [], warmup: [] }],
    ])
    const first = planRebalance(
      tasks,
      [
        { memberId: 'a', owned },
        { memberId: 'b', owned: [] },
      ],
      assignments,
    )
    expect(first.revoking).toBe(true)
    expect(first.members.get('a')?.partitions).toEqual(owned.slice(0, 2))
    expect(first.members.get('b')).toEqual({
      active: [],
      standby: [],
      warmup: ['0_1'],
      partitions: [],
      withheld: ['0_1'],
    })
    const second = planRebalance(
      tasks,
      [
        { memberId: 'a', owned: owned.slice(0, 2) },
        { memberId: 'b', owned: [] },
      ],
      assignments,
    )
    expect(second.revoking).toBe(false)
    expect(second.members.get('b')?.active).toEqual(['0_1'])
  })

  test('two members say that they own a partition, neither gets it before both let go', () => {
    const assignments = new Map([
      ['a', { active: ['0_0', '0_1'], standby: [], warmup: [] }],
      ['b', { active: [], standby: [], warmup: [] }],
    ])
    const claims = [
      { memberId: 'a', owned },
      { memberId: 'b', owned: owned.slice(2) },
    ]
    const round = planRebalance(tasks, claims, assignments)
    expect(round.members.get('a')?.active).toEqual(['0_0'])
    expect(round.revoking).toBe(true)
  })

  test('a task got one more topic, its owner keeps it and gets the new partition', () => {
    const assignments = new Map([['a', { active: ['0_0'], standby: [], warmup: [] }]])
    const round = planRebalance(
      tasks,
      [{ memberId: 'a', owned: [{ topic: 'orders', partition: 0 }] }],
      assignments,
    )
    expect(round.members.get('a')?.partitions.length).toBe(2)
    expect(round.revoking).toBe(false)
  })
})

describe('assignor: shares', () => {
  const healthy = { behindMs: 100, speed: 50_000, share: 1 }
  const shares = (members: readonly { behindMs: number; speed: number; share: number }[]) => [
    ...sharesOf(
      members.map((member, index) => ({ memberId: `m${index}`, ...member })),
      { slowAfterMs: 10_000 },
    ).values(),
  ]

  test('a member at a tenth of the speed and behind, counts with an eighth', () => {
    expect(shares([healthy, healthy, { behindMs: 30_000, speed: 5_000, share: 1 }])).toEqual([1, 1, 0.125])
    expect(shares([healthy, { behindMs: 30_000, speed: 5_000, share: 1 }])).toEqual([1, 0.125])
  })

  test('it has caught up but is still slow, stays where it is', () => {
    expect(shares([healthy, healthy, { behindMs: 0, speed: 5_000, share: 0.125 }])).toEqual([1, 1, 0.125])
  })

  test('its speed is back, counts whole again', () => {
    expect(shares([healthy, healthy, { behindMs: 0, speed: 45_000, share: 0.125 }])).toEqual([1, 1, 1])
  })

  test('it was given no task to show its speed with, asks for double until it has one', () => {
    const tasks = specs([{ partitions: 6, stateful: false }])
    let share = 0.125
    const rounds: [number, number][] = []
    while (rounds.length < 5 && (rounds.at(-1)?.[1] ?? 0) === 0) {
      const counted = shares([healthy, healthy, { behindMs: 0, speed: 5_000, share }])
      const group = counted.map((each, index) => ({
        ...{ memberId: `m${index}`, processId: `m${index}`, capacity: 1, share: each, tags: new Map() },
        ...{ owned: [], lags: new Map(), standby: [], warmup: [] },
      }))
      share = counted[2] as number
      const count = assignTasks(tasks, group, defaults).members.get('m2')?.active.length ?? 0
      rounds.push([share, count])
      share = shareToSay(share, count > 0)
    }
    expect(rounds).toEqual([
      [0.125, 0],
      [0.25, 0],
      [0.5, 1],
    ])
  })

  test('all are behind, nobody counts less', () => {
    const late = { behindMs: 60_000, speed: 50_000, share: 1 }
    expect(shares([late, late, { ...late, speed: 10_000 }])).toEqual([1, 1, 1])
  })

  test('slow but not behind, or of unknown speed, counts whole', () => {
    expect(shares([healthy, healthy, { behindMs: 0, speed: 5_000, share: 1 }])).toEqual([1, 1, 1])
    expect(shares([healthy, healthy, { behindMs: 30_000, speed: 0, share: 1 }])).toEqual([1, 1, 1])
  })
})
