/**
 * One random life of a task's state: steps of operators, and between them commits that overlap processing, aborts,
 * writes to the engine, crashes at any point, restarts, room made in the cache. After each the stores agree with plain
 * models, and after a crash with the models as they were at the last commit.
 */
import type { TaskState } from '../../src/store/contract.ts'
import { drawFrom, pick } from '../wire/draw.ts'
import type { Changelogs } from './fixture.ts'
import type { Clockwork, Model } from './models.ts'

export type Home = {
  readonly hasEngine: boolean
  /** Opens what is there; after `crash`, what a dead process left. */
  open(logs: Changelogs): Promise<TaskState>
  /** The process dies: memory is gone, the engine stays as it is. Absent where a process can't be killed in a test. */
  crash?(state: TaskState): Promise<void>
  wipe(state: TaskState): Promise<void>
}

type Models = readonly Model<unknown>[]

export async function randomLife(
  seed: number,
  steps: number,
  home: Home,
  logs: Changelogs,
  models: Models,
): Promise<void> {
  const draw = drawFrom(seed)
  const clock: Clockwork = { now: 0 }
  let state = await home.open(logs)
  let committed = models.map((model) => model.snapshot())
  let flying: unknown[] | null = null
  let persisting: Promise<void> | null = null

  const check = async (): Promise<void> => {
    for (const model of models) await model.check(model.in(state))
  }
  const forget = (): void => {
    models.forEach((model, index) => {
      model.data = structuredClone(committed[index])
    })
    flying = null
    logs.abort()
  }
  const settle = (): void => {
    state.settle(logs.commit())
    committed = flying as unknown[]
    flying = null
  }

  let letGo = (): void => {}
  for (let step = 0; step < steps; step++) {
    clock.now += draw() < 0.02 ? Math.floor(draw() * 150) : Math.floor(draw() * 3)
    const model = pick(draw, models)
    await model.step(model.in(state), draw, clock)
    const event = draw()
    if (event < 0.08) {
      if (flying === null) {
        await state.flush()
        flying = models.map((each) => each.snapshot())
        await state.cut(logs.writer)
      } else {
        settle()
      }
    } else if (event < 0.12) {
      persisting = state.persist()
      if (draw() < 0.4) state.trim(0)
      if (draw() < 0.4) await persisting
    } else if (event < 0.16) {
      state.trim(draw() < 0.5 ? 0 : Math.floor(draw() * 4000))
    } else if (event < 0.18) {
      const loading = state.load()
      letGo()
      letGo = state.hold()
      if (draw() < 0.5) await loading
    } else if (event < 0.19 && home.hasEngine) {
      // Queries see the last commit, wherever its bytes are by now.
      const view = await state.committed()
      const live = models.map((each) => each.data)
      for (const [index, each] of models.entries()) {
        each.data = structuredClone(committed[index])
        await each.check(view.store(each.name))
        each.data = live[index]
      }
    } else if (event < 0.2) {
      if (draw() < 0.3) await check()
    } else if (event < 0.22) {
      // The transaction is aborted, or the process dies: all that isn't committed is gone.
      if (home.crash !== undefined && draw() < 0.5) await home.crash(state)
      else await state.close('dirty')
      forget()
      state = await home.open(logs)
      await logs.restore(state)
      await check()
    } else if (event < 0.23) {
      await persisting
      if (flying !== null) settle()
      await logs.commitAll(state)
      committed = models.map((each) => each.snapshot())
      await state.close('clean')
      state = await home.open(logs)
      await logs.restore(state)
      await check()
    } else if (event < 0.233) {
      await persisting
      forget()
      await home.wipe(state)
      await logs.restore(state)
      await check()
    }
  }
  await check()
  await persisting
  await state.close('dirty')
}
