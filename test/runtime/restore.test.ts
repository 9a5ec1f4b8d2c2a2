/** Reading changelogs into the stores of a task, where one of them fails. */
import { expect, test } from 'vitest'
import { StreamsError } from '../../src/base/errors.ts'
import type { TaskState } from '../../src/store/contract.ts'
import { outgoing, World } from './scenario.ts'

test('restore: one store fails while another is being written, nothing more is applied, and the next try gets all', async () => {
  await using world = await World.open({ good: 1, bad: 1 })
  const producer = await world.stranger()
  await producer.produce([outgoing('good', 0, [['a', '1']]), outgoing('bad', 0, [['b', '2']])])
  const restorer = world.restorer('read_uncommitted')
  const changelogs = ['good', 'bad'].map((topic) => ({ store: topic, topic, partition: 0, limit: null }))
  let isWriting: () => void = () => {}
  const writing = new Promise<void>((resolve) => {
    isWriting = resolve
  })
  let write: () => void = () => {}
  const applied: string[] = []
  /** An engine that is slow with one store, and refuses the other. */
  const first = {
    positions: () => [],
    restore: async (store: string) => {
      if (store === 'good') {
        isWriting()
        await new Promise<void>((resolve) => {
          write = resolve
        })
        applied.push('good, of the first try')
        return
      }
      await writing
      throw new StreamsError('RESTORE_FAILED', 'refused')
    },
  } as unknown as TaskState
  let isOver = false
  const failed = restorer.restore('0_0', first, changelogs).catch((error: unknown) => {
    isOver = true
    return error
  })
  await writing
  await new Promise((resolve) => setTimeout(resolve, 50))
  // The state may be closed only once nobody writes to it any more.
  expect(isOver).toBe(false)
  write()
  expect(await failed).toMatchObject({ message: 'refused' })
  expect(applied).toEqual(['good, of the first try'])
  const second = {
    positions: () => [],
    restore: (store: string) => void applied.push(`${store}, of the second try`),
  } as unknown as TaskState
  await restorer.restore('0_0', second, changelogs)
  expect(applied.slice(1).sort()).toEqual(['bad, of the second try', 'good, of the second try'])
  await restorer.close()
  await producer.close()
})

test('restore: a task is stopped while it is asked where its changelogs begin, neither a standby nor a restore goes on', async () => {
  await using world = await World.open({ log: 1 })
  const producer = await world.stranger()
  await producer.produce([outgoing('log', 0, [['a', '1']])])
  const restorer = world.restorer('read_uncommitted')
  const state = { positions: () => [], restore: () => undefined } as unknown as TaskState
  for (const kind of ['follow', 'restore'] as const) {
    let isWanted = true
    using _asked = world.kafka.intercept('listOffsets', async () => {
      isWanted = false
      await restorer.stop('0_0')
      return undefined
    })
    const changelogs = [{ store: 'log', topic: 'log', partition: 0, limit: null }]
    await expect(restorer[kind]('0_0', state, changelogs, () => isWanted)).rejects.toMatchObject({
      code: 'TASK_GIVEN_UP',
    })
  }
  await restorer.close()
  await producer.close()
})
