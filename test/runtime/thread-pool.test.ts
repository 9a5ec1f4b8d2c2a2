/** Who owns which task while assignments, threads that come and threads that go meet. */
import { expect, test } from 'vitest'
import type { TaskAssignment } from '../../src/runtime/stream-thread.ts'
import { type Given, type ThreadHandle, ThreadPool } from '../../src/runtime/thread-pool.ts'

/** Its promises are kept when the test says so. */
class SlowThread implements ThreadHandle {
  readonly name: string
  readonly transactionalId: string
  readonly said: string[]
  readonly #gates: (() => void)[] = []

  constructor(name: string, said: string[]) {
    this.name = name
    this.transactionalId = name
    this.said = said
  }

  open(): void {
    for (const gate of this.#gates.splice(0)) gate()
  }

  #wait(what: string): Promise<void> {
    this.said.push(`${this.name} ${what}`)
    return new Promise((resolve) => {
      this.#gates.push(() => {
        this.said.push(`${this.name} ${what}: done`)
        resolve()
      })
    })
  }

  async start(): Promise<void> {}
  assign(tasks: readonly TaskAssignment[]): void {
    for (const { id, role } of tasks) this.said.push(`${this.name} gets ${id} ${role}`)
  }
  revoke(tasks: readonly string[]): Promise<void> {
    return this.#wait(`revokes ${tasks.join(' ')}`)
  }
  lose(): Promise<void> {
    return this.#wait('loses')
  }
  setIdentity({ generation }: { readonly generation: number }): void {
    this.said.push(`${this.name} hears of ${generation}`)
  }
  setCacheBytesMax(): void {}
  pause(): void {}
  resume(): void {}
  stop(): Promise<void> {
    return this.#wait('stops')
  }
  status(): never {
    throw new Error('nobody asks')
  }
  query(): never {
    throw new Error('nobody asks')
  }
}

const given = (generation: number, ...tasks: readonly string[]): Given => ({
  identity: { groupId: 'g', memberId: 'm', instanceId: null, generation },
  tasks: tasks.map((task) => {
    const [id, role] = task.split(' ') as [string, 'active' | 'standby']
    return { id, role, subtopology: 0, partition: 0, inputs: [] }
  }),
})

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('thread pool: a second assignment while a task is let go, it is given out once, as the second one says', async () => {
  const said: string[] = []
  const pool = new ThreadPool()
  const thread = new SlowThread('a', said)
  pool.add(thread)
  await pool.apply(() => given(1, '0_0 standby'), [])
  let last = given(2, '0_0 active')
  const first = pool.apply(() => last, [])
  await turn()
  last = given(3, '0_0 active')
  const second = pool.apply(() => last, [])
  await turn()
  thread.open()
  await Promise.all([first, second])
  expect(said).toEqual([
    'a hears of 1',
    'a gets 0_0 standby',
    'a hears of 2',
    'a revokes 0_0',
    'a hears of 3',
    'a revokes 0_0: done',
    'a gets 0_0 active',
  ])
})

test('thread pool: a thread that is taken away hears of generations, and keeps its tasks until it has stopped', async () => {
  const said: string[] = []
  const pool = new ThreadPool()
  const [staying, leaving] = [new SlowThread('a', said), new SlowThread('b', said)]
  pool.add(staying)
  pool.add(leaving)
  await pool.apply(() => given(1, '0_0 active', '0_1 active'), [])
  said.length = 0
  const removed = pool.remove(leaving, 'stop')
  const applied = pool.apply(() => given(2, '0_0 active', '0_1 active'), [])
  await turn()
  expect(said).toEqual(['a hears of 2', 'b hears of 2', 'b stops'])
  leaving.open()
  expect((await removed).map(({ id }) => id)).toEqual(['0_1'])
  await applied
  expect(said.slice(3)).toEqual(['b stops: done', 'a gets 0_1 active'])
  expect(pool.ownerOf('0_1')).toBe(staying)
})

test('thread pool: without any thread tasks wait for the next one', async () => {
  const said: string[] = []
  const pool = new ThreadPool()
  expect(await pool.apply(() => given(1, '0_0 active'), [])).toEqual({ revoked: [], added: [] })
  pool.add(new SlowThread('a', said))
  await pool.apply(() => given(1, '0_0 active'), [])
  expect(said).toEqual(['a hears of 1', 'a gets 0_0 active'])
})

test('thread pool: a thread loses tasks while others come to it, those stay its own', async () => {
  const said: string[] = []
  const pool = new ThreadPool()
  const thread = new SlowThread('a', said)
  pool.add(thread)
  await pool.apply(() => given(1, '0_0 active'), [])
  await pool.apply(() => given(2, '0_0 active', '0_1 active'), [])
  // What it says of generation 1 arrives after it was given more.
  expect(pool.forget(thread, ['0_0'])).toEqual(['0_0'])
  said.length = 0
  await pool.apply(() => given(3, '0_0 active', '0_1 active'), [])
  expect(said).toEqual(['a hears of 3', 'a gets 0_0 active'])
})
