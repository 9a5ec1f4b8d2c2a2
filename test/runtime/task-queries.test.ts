/** Queries of one thread: whoever asked is told as soon as the task is gone, whatever its store does. */
import { expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { noHeaders } from '../../src/base/headers.ts'
import type { TaskQuery } from '../../src/runtime/state-query.ts'
import { TaskQueries } from '../../src/runtime/task-queries.ts'
import type { KeyValueStore, TaskState } from '../../src/store/contract.ts'
import { MemoryDisk } from '../../src/store/memory-engine.ts'
import { openDiskState } from '../../src/store/task-state.ts'
import { Changelogs, keyValue } from '../store/fixture.ts'

/** Nothing is found by looking again. */
const still: Clock = { now: () => 0, after: () => ({ cancel() {} }) }

const request: TaskQuery = {
  task: '0_0',
  store: 's',
  query: { kind: 'key', key: Buffer.from('a') },
  isolation: 'committed',
  stale: false,
  bound: {},
  unlike: null,
  limit: 1,
  cut: false,
  waitMs: 3_600_000,
}

async function open(): Promise<{ disk: MemoryDisk; state: TaskState; queries: TaskQueries; leave(): void }> {
  const disk = new MemoryDisk()
  const logs = new Changelogs()
  const options = { stores: [keyValue('s')], context: logs.context, cacheBytesMax: 0 }
  const state = await openDiskState(options, disk)
  await (state.store('s') as KeyValueStore).put('a', { n: 1 }, 1, noHeaders)
  await logs.commitAll(state)
  await state.persist()
  state.trim(0)
  state.trim(0)
  let here: TaskState | null = state
  const queries = new TaskQueries(
    {
      task: (id) =>
        here === null
          ? undefined
          : { role: 'active', state: here, lag: null, committed: { in: { 0: Number(id === '0_0') } } },
      same: (_id, asked) => here === asked,
      globalStore: () => null,
      changelogTopic: () => 'changelog',
    },
    still,
  )
  const leave = (): void => {
    here = null
    queries.left()
  }
  return { disk, state, queries, leave }
}

test.each(['committed', 'uncommitted'] as const)(
  'queries: a store that is closed while %s state is read and never answers, the task has moved',
  async (isolation) => {
    const { disk, queries, leave } = await open()
    expect(await queries.answer({ ...request, isolation })).toMatchObject({
      role: 'active',
      rows: [{ timestamp: 1 }],
    })
    const asked = new Promise<void>((resolve) => {
      disk.wait = () => {
        resolve()
        return new Promise(() => {})
      }
    })
    const answer = queries.answer({ ...request, isolation, query: { kind: 'key', key: Buffer.from('b') } })
    await asked
    leave()
    await expect(answer).rejects.toMatchObject({ code: 'QUERY_MOVED' })
  },
)

test('queries: who waits for an offset hears at once that the task has moved', async () => {
  const { queries, leave } = await open()
  const answer = queries.answer({ ...request, bound: { in: { 0: 100 } } })
  answer.catch(() => undefined)
  await new Promise((resolve) => setImmediate(resolve))
  leave()
  await expect(answer).rejects.toMatchObject({ code: 'QUERY_MOVED' })
})
