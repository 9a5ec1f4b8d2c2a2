/**
 * A copy that gets a tenth of the time it had, as a process under pulses of SIGSTOP: its lag says so, and within a
 * minute its tasks are warmed up elsewhere and move there. What was measured is printed.
 */
import { expect, test } from 'vitest'
import { CountingCopies, until } from './counting-copies.ts'

const partitions = 9
const pulseMs = 1_000
const runMs = 100

test('slow copy: a tenth of its speed shows in its lag, and warm-ups move tasks off it within a minute', {
  timeout: 170_000,
}, async () => {
  await using copies = await CountingCopies.open({
    name: 'slow',
    partitions,
    keys: 200,
    recordMs: 2,
    config: {
      sessionTimeoutMs: 10_000,
      heartbeatIntervalMs: 1_000,
      // So that a task moves only once its state is there.
      acceptableRecoveryLag: 100,
      warmupReplicasMax: 4,
    },
  })
  const names = ['one', 'two', 'three']
  // Some state, so that there is something to warm up.
  await copies.write(400)
  await Promise.all(names.map((name) => copies.start(name)))
  await until('each has its part', () => names.every((name) => copies.running(name).length === 3), 60_000)
  const lagOf = (name: string) => copies.tasks(name).reduce((sum, { lag }) => sum + lag, 0)
  await until(
    'all have caught up',
    () =>
      names.every((name) => copies.tasks(name).every(({ role, read }) => role === 'standby' || read >= 400)),
    60_000,
  )
  copies.feed(10, 200)

  const slow = 'two'
  const others = names.filter((name) => name !== slow)
  const had = copies.running(slow)
  let most = 0
  const slowedAt = Date.now()
  const warmed = new Set<string>()
  const watch = setInterval(() => {
    most = Math.max(most, lagOf(slow))
    for (const name of others)
      for (const { task, role } of copies.tasks(name))
        if (role === 'standby' && had.includes(task)) warmed.add(task)
  }, 50)
  let run: ReturnType<typeof setTimeout> | undefined
  const pulse = () => {
    copies.signal(slow, 'SIGCONT')
    run = setTimeout(() => copies.signal(slow, 'SIGSTOP'), runMs)
  }
  const pulses = setInterval(pulse, pulseMs)
  try {
    const lagMs = await until('its lag shows', () => lagOf(slow) > 200, 60_000)
    const least = () =>
      had.filter((task) => others.some((name) => copies.running(name).includes(task))).length
    await until('most of its tasks have moved', () => least() >= had.length - 1, 60_000)
    const movedMs = Date.now() - slowedAt
    // What has moved is no longer behind.
    await until('the others keep up', () => others.every((name) => lagOf(name) < 300), 60_000)
    console.log(
      `slow copy: its lag was over 200 records after ${lagMs} ms, ${most} at most; ` +
        `${least()} of its ${had.length} tasks had moved after ${movedMs} ms, ${warmed.size} of them warmed up`,
    )
    expect(movedMs).toBeLessThan(60_000)
    expect(warmed.size).toBeGreaterThan(0)
  } finally {
    clearInterval(pulses)
    clearInterval(watch)
    clearTimeout(run)
    copies.signal(slow, 'SIGCONT')
  }
})
