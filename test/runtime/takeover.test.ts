/** What the log says of tasks that change hands. */
import { expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { type Logger, silentLogger } from '../../src/base/logger.ts'
import { Takeover } from '../../src/runtime/takeover.ts'
import { countTopology, until, World } from './scenario.ts'

function listening(): { readonly logger: Logger; readonly lines: string[] } {
  const lines: string[] = []
  const logger: Logger = { ...silentLogger, info: (line) => void lines.push(line), child: () => logger }
  return { logger, lines }
}

test('takeover: a copy dies, the log of the other says which tasks came from it and how much was restored', async () => {
  await using world = await World.open({ events: 2, counts: 2 })
  await world.input(200)
  const first = world.app(countTopology(), { stateDir: `${world.stateDir}/first`, sessionTimeoutMs: 1_000 })
  await first.start()
  await world.settled()
  const { logger, lines } = listening()
  const second = world.app(countTopology(), {
    stateDir: `${world.stateDir}/second`,
    logger,
    acceptableRecoveryLag: 1_000_000,
  })
  await second.start()
  const tasksOf = (app: typeof first) =>
    app.status().threads.flatMap(({ tasks }) => tasks.filter(({ state }) => state === 'running'))
  await until(() => tasksOf(first).length === 1 && tasksOf(second).length === 1)
  const dead = first.status().member?.memberId
  const [left] = tasksOf(first)
  lines.length = 0
  await first.close({ leaveGroup: false })
  // The group may take a second round in which other tasks come back: what counts is what is said of this one.
  const came = new RegExp(`tasks come here: (.*, )?${left?.task} from ${dead}, which is gone`)
  const ran = new RegExp(
    `^tasks (.*, )?${left?.task}(, .*)? run \\d+ ms after .*; [1-9]\\d* records were restored$`,
  )
  await until(() => lines.some((line) => ran.test(line)))
  expect(lines.filter((line) => came.test(line)).length).toBe(1)
})

test('takeover: tasks of several, some still there, some gone, one still waits at the next assignment', () => {
  const { logger, lines } = listening()
  let now = 1_000
  const clock = { now: () => now } as Clock
  const takeover = new Takeover(clock, logger)
  const entry = (memberId: string, ...tasks: string[]) => ({ memberId, transactionalIds: [], tasks })
  const assigned = (generation: number, before: string[], active: string[], others: typeof roster) => {
    takeover.assigned({
      generation,
      memberId: 'me',
      before,
      active,
      roster: [entry('me', ...active), ...others],
    })
  }
  const roster = [entry('a', '0_1', '0_2'), entry('b', '0_3')]
  assigned(1, [], ['0_0'], roster)
  takeover.running('0_0')
  assigned(2, ['0_0'], ['0_0'], roster)
  expect(lines).toEqual([
    'generation 1 of the group: tasks come here: 0_0',
    'tasks 0_0 run 0 ms after they were assigned; nothing had to be restored',
  ])
  lines.length = 0
  assigned(3, ['0_0'], ['0_1', '0_2', '0_3', '0_4'], [entry('b'), entry('c', '0_0')])
  const restored = { store: 's', topic: 't', partition: 0, startOffset: 0, offset: 7, endOffset: 7 }
  for (const phase of ['start', 'batch', 'end'] as const)
    takeover.hooks.restore?.({ ...restored, task: '0_1', phase, records: 7 })
  takeover.hooks.restore?.({ ...restored, task: '9_9', phase: 'end', records: 100 })
  now += 50
  for (const task of ['0_1', '0_2', '0_4']) takeover.running(task)
  // The one that still waits goes on to somebody else: those that run are told of.
  assigned(4, ['0_1', '0_2', '0_3', '0_4'], ['0_1', '0_2', '0_4'], [entry('b', '0_3'), entry('c', '0_0')])
  expect(lines).toEqual([
    'generation 3 of the group: tasks come here: 0_1, 0_2 from a, which is gone; 0_3 from b; 0_4; go: 0_0',
    'generation 4 of the group: tasks go: 0_3',
    'tasks 0_1, 0_2, 0_4 run 50 ms after they were assigned; 7 records were restored',
  ])
})
