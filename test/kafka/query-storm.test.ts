/**
 * Three copies as processes on a real Kafka, asked over HTTP without a pause while they join, leave, are killed and
 * fall silent. Every answer is right at the position that it names, no key's count goes back, and whatever is no answer
 * says to ask again, in its time.
 */
import { expect, test } from 'vitest'
import { StreamsError } from '../../src/base/errors.ts'
import { connectStore } from '../../src/query/queries.ts'
import type { Source, StateStore } from '../../src/query/state-store.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { CountingCopies, keyOf, until } from './counting-copies.ts'

const partitions = 4
const keys = 5
const timeoutMs = 1_000
const sessionTimeoutMs = 6_000
/** A machine that is busy with other things answers later, not never. */
const slackMs = 1_500
const names = ['one', 'two', 'three']

test('query storm: copies join, leave, die and fall silent, each answer is right or says to ask again', {
  timeout: 170_000,
}, async () => {
  await using copies = await CountingCopies.open({
    name: 'storm',
    partitions,
    keys,
    recordMs: 0,
    config: { standbyReplicas: 1, sessionTimeoutMs, heartbeatIntervalMs: 500, acceptableRecoveryLag: 100 },
  })
  await Promise.all([copies.start('one'), copies.start('two')])
  copies.feed(1, 20)
  const addresses = await copies.addresses(names)
  const store = () =>
    connectStore<string, number>(addresses, 'totals', {
      keySerde: serdes.string(),
      valueSerde: serdes.long(),
    })
  const least = new Map<string, number>()
  const wrong: string[] = []
  const answers = { active: 0, standby: 0, ranges: 0 }
  const refusals = new Map<string, number>()
  let longestMs = 0
  let phase = ''
  let over = false

  const judge = (
    key: string,
    partition: number,
    index: number,
    value: number,
    known: number,
    source: Source,
    bound: number,
  ) => {
    const at = source.position[copies.input]?.[partition] ?? 0
    const from = copies.countAt(index, Math.max(at, bound))
    const to = copies.countAt(index, copies.written[partition] as number)
    const text = `${phase}: ${key} is ${value} at ${at}, where it must be ${from} to ${to}, and was ${known}`
    if (source.role === 'standby') {
      answers.standby++
      if (source.lag !== null && !(source.lag >= 0)) wrong.push(`${text}; its lag is ${source.lag}`)
      if (value > to) wrong.push(text)
      return
    }
    answers.active++
    if (value < from || value > to || value < known) wrong.push(text)
    least.set(key, Math.max(least.get(key) ?? 0, value))
  }
  const ask = async (totals: StateStore<string, number>, number: number) => {
    const partition = number % partitions
    const index = Math.floor(number / partitions) % keys
    const key = keyOf(partition, index)
    const known = new Map(least)
    const stale = number % 5 === 0
    const bound = number % 3 === 0 && !stale ? (copies.written[partition] as number) - 1 : 0
    const options = {
      partition,
      timeoutMs,
      stale,
      bound: bound === 0 ? {} : { [copies.input]: { [partition]: bound } },
    }
    const started = Date.now()
    try {
      if (number % 7 === 0) {
        const rows = await totals.all({ timeoutMs })
        const { sources } = totals
        answers.ranges++
        for (const { key: found, value } of rows) {
          const [of, its] = found.slice(1).split('-').map(Number) as [number, number]
          judge(found, of, its, Number(value), known.get(found) ?? 0, sources[of] as Source, 0)
        }
      } else {
        const value = Number(await totals.get(key, options))
        judge(key, partition, index, value, known.get(key) ?? 0, totals.sources[0] as Source, bound)
      }
    } catch (error) {
      if (!(error instanceof StreamsError) || error.verdict !== 'retry') throw error
      refusals.set(error.code, (refusals.get(error.code) ?? 0) + 1)
    }
    longestMs = Math.max(longestMs, Date.now() - started)
  }

  let asked = 0
  const storm = Array.from({ length: 6 }, async () => {
    const totals = await store()
    while (!over) {
      await ask(totals, asked++)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })
  const stormed = Promise.all(storm)
  stormed.catch(() => undefined)
  const whole = (...of: readonly string[]) =>
    until(
      `all tasks run on ${of.join(', ')}, during ${phase}`,
      () =>
        of.flatMap((name) => copies.running(name)).length === partitions &&
        of.every((name) => copies.running(name).length > 0),
      40_000,
    )
  try {
    phase = 'start'
    await whole('one', 'two')
    phase = 'join'
    await copies.start('three')
    await whole('one', 'two', 'three')
    phase = 'leave'
    await copies.stop('one')
    await whole('two', 'three')
    phase = 'kill'
    await copies.kill('two')
    await whole('three')
    phase = 'join again'
    await Promise.all([copies.start('one'), copies.start('two')])
    await whole('one', 'two', 'three')
    phase = 'silence'
    const silent = copies.running('one')
    copies.signal('one', 'SIGSTOP')
    await until(
      'others took over from the silent one',
      () => silent.every((task) => [...copies.running('two'), ...copies.running('three')].includes(task)),
      40_000,
    )
    phase = 'after the silence'
    copies.signal('one', 'SIGCONT')
    await until(
      'the silent one is back',
      () => copies.tasks('one').length > 0 && !silent.every((task) => copies.running('one').includes(task)),
      40_000,
    )
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    over = true
    await stormed
    await copies.fed()
    const totals = await store()
    for (let partition = 0; partition < partitions; partition++) {
      const end = copies.written[partition] as number
      for (let index = 0; index < keys; index++) {
        const bound = { [copies.input]: { [partition]: end } }
        const value = await totals.get(keyOf(partition, index), { partition, bound, timeoutMs: 20_000 })
        expect(Number(value)).toBe(copies.countAt(index, end))
      }
    }
  } finally {
    over = true
  }
  console.log(
    `query storm: ${asked} asked; ${answers.active} counts from owners, ${answers.standby} from standbys, ` +
      `${answers.ranges} ranges; told to ask again: ${JSON.stringify(Object.fromEntries(refusals))}; longest ${longestMs} ms`,
  )
  expect(wrong).toEqual([])
  expect(answers.active).toBeGreaterThan(200)
  // Of the silent one's tasks, by who stood by for it.
  expect(answers.standby).toBeGreaterThan(0)
  expect(answers.ranges).toBeGreaterThan(20)
  expect(longestMs).toBeLessThan(timeoutMs + slackMs)
})
