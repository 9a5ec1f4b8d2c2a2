import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Assignment,
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
  runningLag,
  type Subscription,
  shareOut,
  unknownLag,
} from '../../src/runtime/group-protocol.ts'
import { compareTaskIds } from '../../src/runtime/task-id.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 40 })
const task = fc
  .tuple(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 5000 }))
  .map(([subtopology, partition]) => `${subtopology}_${partition}`)
const tasks = fc.uniqueArray(task, { maxLength: 30 }).map((list) => list.sort(compareTaskIds))
const roster = fc.array(
  fc.record({ memberId: text, transactionalIds: fc.array(text, { maxLength: 4 }), tasks }),
  { maxLength: 4 },
)
const share = fc.constantFrom(1, 0.5, 0.25, 0.125)

const subscriptions: fc.Arbitrary<Subscription> = fc.record({
  processId: fc.uuid(),
  capacity: fc.integer({ min: 1, max: 64 }),
  topologyHash: text,
  applicationVersion: text,
  libraryVersion: text,
  transactionalIds: fc.array(text, { maxLength: 5 }),
  lags: fc
    .dictionary(
      task,
      fc.oneof(fc.constant(runningLag), fc.constant(unknownLag), fc.integer({ min: 0, max: 1e9 })),
    )
    .map((lags) => new Map(Object.entries(lags).sort(([left], [right]) => compareTaskIds(left, right)))),
  standby: tasks,
  warmup: tasks,
  tags: fc.dictionary(text, text, { maxKeys: 5 }).map((tags) => new Map(Object.entries(tags))),
  endpoint: fc.option(fc.webUrl()),
  behindMs: fc.nat({ max: 1e9 }),
  speed: fc.nat({ max: 1e9 }),
  share,
  shutdown: fc.boolean(),
  roster,
  leaving: fc.boolean(),
})

const assignments: fc.Arbitrary<Assignment> = fc.record({
  directive: fc.constantFrom('run', 'idle', 'shutdown', 'failed'),
  code: text,
  message: text,
  active: tasks,
  standby: tasks,
  warmup: tasks,
  fence: fc.array(text, { maxLength: 5 }),
  changelogs: fc.dictionary(text, text, { maxKeys: 3 }).map((names) => new Map(Object.entries(names))),
  share,
  probing: fc.boolean(),
  peers: fc.option(
    fc.array(fc.record({ endpoint: fc.webUrl(), active: tasks, standby: tasks }), { maxLength: 5 }),
  ),
  leaderEndpoint: fc.option(fc.webUrl()),
  roster,
  revoking: fc.boolean(),
})

const typed = expect.objectContaining({ code: expect.stringMatching(/^GROUP_DATA_/) })

test('subscription: written and read, the same', () => {
  fc.assert(
    fc.property(subscriptions, (subscription) => {
      expect(decodeSubscription(encodeSubscription(subscription))).toEqual(subscription)
    }),
  )
})

test('assignment: written and read, the same', () => {
  fc.assert(
    fc.property(assignments, (assignment) => {
      expect(decodeAssignment(encodeAssignment(assignment))).toEqual(assignment)
    }),
  )
})

test('subscription: cut at each byte, a typed error', () => {
  fc.assert(
    fc.property(subscriptions, (subscription) => {
      const bytes = encodeSubscription(subscription)
      for (let length = 0; length < bytes.length; length++) {
        expect(() => decodeSubscription(bytes.subarray(0, length))).toThrow(typed)
      }
    }),
    { numRuns: 10 },
  )
})

test('group data: any bytes, a value or a typed error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (body) => {
      const bytes = Buffer.from([1, 1, ...body])
      for (const decode of [decodeSubscription, decodeAssignment]) {
        try {
          decode(bytes)
        } catch (error) {
          expect(error).toEqual(typed)
        }
      }
    }),
    { numRuns: 2000 },
  )
})

test('group data: a changed byte, a value or a typed error', () => {
  fc.assert(
    fc.property(assignments, fc.nat(), fc.integer({ min: 0, max: 255 }), (assignment, at, byte) => {
      const bytes = encodeAssignment(assignment)
      bytes[at % bytes.length] = byte
      try {
        decodeAssignment(bytes)
      } catch (error) {
        expect(error).toEqual(typed)
      }
    }),
    { numRuns: 500 },
  )
})

const [some] = fc.sample(subscriptions, { seed: 7, numRuns: 1 }) as [Subscription]

test('subscription: fields appended by a newer version, what is known is read', () => {
  const bytes = Buffer.concat([encodeSubscription(some), Buffer.from('something new')])
  bytes[0] = 3
  expect(decodeSubscription(bytes)).toEqual(some)
})

test('subscription and assignment: of version 1, nobody leaves and nothing is revoked', () => {
  const oldOf = (bytes: Buffer): Buffer => {
    const old = Buffer.from(bytes.subarray(0, -1))
    old[0] = 1
    return old
  }
  const [given] = fc.sample(assignments, { seed: 7, numRuns: 1 }) as [Assignment]
  expect(decodeSubscription(oldOf(encodeSubscription({ ...some, leaving: true })))).toEqual({
    ...some,
    leaving: false,
  })
  expect(decodeAssignment(oldOf(encodeAssignment({ ...given, revoking: true })))).toEqual({
    ...given,
    revoking: false,
  })
})

test('subscription: of a version that can not be read here, an error that says so', () => {
  const bytes = encodeSubscription(some)
  bytes[0] = 9
  bytes[1] = 8
  expect(() => decodeSubscription(bytes)).toThrow(
    expect.objectContaining({ code: 'GROUP_DATA_VERSION', message: expect.stringContaining('version 9') }),
  )
})

test('subscription: of ten tasks and four threads, under 400 bytes', () => {
  const lags = new Map(Array.from({ length: 10 }, (_, index) => [`0_${index * 97}`, runningLag]))
  const processId = '6e0b9d3c-6f3a-4f7e-9d52-0b7f8f1f1c11'
  const transactionalIds = [0, 1, 2, 3].map((thread) => `orders-${processId}-${thread}`)
  const bytes = encodeSubscription({
    ...some,
    processId,
    transactionalIds,
    lags,
    standby: [],
    warmup: [],
    tags: new Map(),
    endpoint: 'http://10.0.12.31:8080',
    roster: [],
  })
  expect(bytes.length).toBeLessThan(400)
})

test('subscription: a tag longer than the group may be told, an error with the remedy', () => {
  expect(() => encodeSubscription({ ...some, tags: new Map([['zone', 'x'.repeat(5000)]]) })).toThrow(
    expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining('shorten') }),
  )
})

describe('group data: how much of the group each member is told', () => {
  const group = (members: number, tasksEach: number) => {
    const ids = Array.from(
      { length: members },
      (_, index) => `millrace-${index}-6e0b9d3c-6f3a-4f7e-9d52-0b7f8f1f1c11`,
    )
    const had = ids.map((_, index) =>
      Array.from({ length: tasksEach }, (_, task) => `0_${index * tasksEach + task}`),
    )
    const told = shareOut(
      ids.map((_, index) => ({
        endpoint: `http://10.0.${index % 256}.7:8080`,
        active: had[index] ?? [],
        standby: [],
      })),
      ids.map((memberId, index) => ({
        memberId,
        transactionalIds: [0, 1, 2, 3].map((thread) => `orders-6e0b9d3c-${index}-${thread}`),
        tasks: had[index] ?? [],
      })),
      ids,
    )
    return ids.map((memberId) => told(memberId))
  }
  const bytesOf = (told: ReturnType<typeof group>[number]) =>
    encodeAssignment({ ...assignment, peers: told.peers, roster: told.roster }).length
  const [assignment] = fc.sample(assignments, { seed: 7, numRuns: 1 }) as [Assignment]

  test('three members, all is told to all', () => {
    for (const { peers, roster } of group(3, 10)) expect([peers?.length, roster.length]).toEqual([3, 3])
  })

  test('a thousand members of ten tasks, all they are told fits the record that Kafka keeps', () => {
    const told = group(1_000, 10)
    expect(told[0]?.peers).toBeNull()
    expect(told.filter(({ roster }) => roster.length === 1_000).length).toBe(2)
    const bare = bytesOf({ peers: null, roster: [] })
    const sum = told.reduce((bytes, each) => bytes + bytesOf(each) - bare + 60, 0)
    // The roster comes back in the subscriptions, which are in the same record.
    expect(sum * 2).toBeLessThan(600_000)
  })
})
