/** A source that reads every topic that matches a pattern, also those that are made while it runs. */
import { expect, test } from 'vitest'
import { silentLogger } from '../../src/base/logger.ts'
import { StreamsBuilder } from '../../src/dsl/streams-builder.ts'
import { tumbling } from '../../src/dsl/windows.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { World } from './scenario.ts'

function countMatching(pattern: RegExp) {
  const text = serdes.string()
  const builder = new StreamsBuilder()
  builder
    .stream(pattern, { keySerde: text, valueSerde: text })
    .groupByKey()
    .windowedBy(tumbling('10s', { grace: '1d' }))
    .count({ as: 'counts' })
    .toStream((_count, windowed) => `${windowed.key}@${windowed.start}`, { keySerde: text })
    .to('counts', { valueSerde: serdes.long() })
  return builder.build()
}

test('pattern: topics that come while two copies run are read; one with more partitions than the state has is refused', async () => {
  await using world = await World.open({ 'in-one': 2, other: 2, counts: 2 })
  const copies = ['one', 'two'].map((name) =>
    world.app(countMatching(/in-.*/), { stateDir: `${world.stateDir}/${name}`, patternIntervalMs: 100 }),
  )
  for (const copy of copies) await copy.start()
  await world.input(70, 'in-one')
  await world.settled()
  // Of as many partitions: tasks that run get a second input.
  world.kafka.createTopic('in-two', 2)
  await world.input(70, 'in-two')
  await world.settled()
  // What does not match is nobody's.
  const position = world.kafka.committedOffset('app', 'other', 0)
  expect(position).toBe(null)
  for (const partition of [0, 1])
    for (const topic of ['in-one', 'in-two'])
      expect(world.kafka.committedOffset('app', topic, partition)).toBe(
        world.kafka.records(topic).filter((record) => record.partition === partition).length,
      )
  const ended = Promise.all(
    copies.map(
      (copy) => new Promise<void>((resolve) => copy.onState((state) => state === 'error' && resolve())),
    ),
  )
  world.kafka.createTopic('in-three', 3)
  await ended
  for (const copy of copies) expect(copy.error?.message).toContain('store counts has state in 2 partitions')
})

test('pattern: that matches no topic yet, it is said, and the first one is read when it is there', async () => {
  await using world = await World.open({ counts: 2 })
  const said: string[] = []
  const warn = (message: string) => void said.push(message)
  const app = world.app(countMatching(/in-.*/), {
    patternIntervalMs: 100,
    logger: { debug() {}, info() {}, warn, error() {}, child: () => ({ ...silentLogger, warn }) },
  })
  await app.start()
  expect(said.join('\n')).toContain('no topic matches /in-.*/')
  world.kafka.createTopic('in-one', 2)
  await world.input(70, 'in-one')
  await world.settled()
})
