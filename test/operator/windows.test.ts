import { expect, test } from 'vitest'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { hopping, sliding, tumbling } from '../../src/dsl/windows.ts'
import { long, string } from '../../src/serde/primitives.ts'
import type { Windowed } from '../../src/serde/windowed.ts'
import { TopologyTestDriver } from '../../src/testing/topology-test-driver.ts'
import type { TimeWindowsSpec } from '../../src/topology/windows.ts'

const minute = 60_000

/** The windows, as `start-end` in minutes, that hold a record of each time. */
async function windowsOf(windows: TimeWindowsSpec, ...times: number[]): Promise<string[][]> {
  const builder = new StreamsBuilder()
  const seen: string[] = []
  builder
    .stream('in', { keySerde: string(), valueSerde: string() })
    .groupByKey()
    .windowedBy(windows)
    .count()
    .toStream()
    .foreach((_count, key: Windowed<string>) => {
      seen.push(`${key.start / minute}-${key.end / minute}`)
    })
  await using driver = await TopologyTestDriver.start(builder.build())
  const input = driver.input<string, string>('in')
  const all: string[][] = []
  for (const time of times) {
    await input.pipe('k', 'v', { timestamp: time * minute })
    all.push(seen.splice(0))
  }
  return all
}

test('windows of size 4: 00:05 falls into [00:04, 00:08)', async () => {
  expect(await windowsOf(tumbling('4m'), 5, 3, 4, 8)).toEqual([['4-8'], [], ['4-8'], ['8-12']])
})

test('windows of size 4 sliding by 2: 00:05 falls also into [00:02, 00:06)', async () => {
  expect(await windowsOf(hopping('4m', { advance: '2m', grace: '10m' }), 5, 0, 7)).toEqual([
    ['2-6', '4-8'],
    ['0-4'],
    ['4-8', '6-10'],
  ])
})

test('windows of length 3 sliding by 2: even times fall into two, odd ones into one', async () => {
  expect(await windowsOf(hopping('3m', { advance: '2m', grace: '10m' }), 2, 3, 4, 5)).toEqual([
    ['0-3', '2-5'],
    ['2-5'],
    ['2-5', '4-7'],
    ['4-7'],
  ])
})

test('windows of 60 by 5: each record falls into twelve', async () => {
  const [first, second] = await windowsOf(hopping('60m', { advance: '5m', grace: '60m' }), 62, 61)
  expect(first).toEqual(Array.from({ length: 12 }, (_, index) => `${5 + 5 * index}-${65 + 5 * index}`))
  expect(second).toEqual(first)
})

test('sliding windows of 10: two records make [10,20], [21,31] and [15,25] in that order', async () => {
  const builder = new StreamsBuilder()
  builder
    .stream('in', { keySerde: string(), valueSerde: string() })
    .groupByKey()
    .windowedBy(sliding(10))
    .count()
    .toStream((_count, key) => `${key.key}@${key.start}/${key.end}`)
    .to('out', { keySerde: string(), valueSerde: long() })
  await using driver = await TopologyTestDriver.start(builder.build())
  const input = driver.input<string, string>('in')
  const output = driver.output<string, number>('out')
  await input.pipe('k', 'a', { timestamp: 20 })
  await input.pipe('k', 'b', { timestamp: 25 })
  expect(await output.readKeyValues()).toEqual([
    ['k@10/20', 1],
    ['k@21/31', 1],
    ['k@15/25', 2],
  ])
})
