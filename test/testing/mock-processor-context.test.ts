import { expect, test } from 'vitest'
import { noHeaders } from '../../src/base/headers.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { MockProcessorContext } from '../../src/testing/mock-processor-context.ts'
import type {
  KeyValueStore,
  Processor,
  ProcessorContext,
  StreamRecord,
} from '../../src/topology/processor.ts'
import { stores } from '../../src/topology/stores.ts'

/** Counts per key; every ten seconds of stream time it sends what it has, and stops at the third time. */
class Counter implements Processor<string, string, string, number> {
  #context!: ProcessorContext<string, number>
  #counts!: KeyValueStore<string, number>
  #times = 0

  init(context: ProcessorContext<string, number>): void {
    this.#context = context
    this.#counts = context.store<KeyValueStore<string, number>>('counts')
    const ticks = context.schedule('10s', 'stream-time', async (timestamp) => {
      for await (const [key, value] of this.#counts.all()) context.forward({ key, value, timestamp }, 'out')
      if (++this.#times === 3) ticks.cancel()
    })
  }

  async process({ key, value }: StreamRecord<string, string>): Promise<void> {
    await this.#counts.put(key, ((await this.#counts.get(key)) ?? 0) + 1)
    if (value === 'now') {
      this.#context.forward({ key, value: -1 })
      this.#context.commit()
    }
  }
}

const counts = () => stores.keyValue('counts', { keySerde: serdes.string(), valueSerde: serdes.int() })
const record = (key: string, value: string): StreamRecord<string, string> => ({
  key,
  value,
  timestamp: 7,
  headers: noHeaders,
})

test('mock context: what a processor forwards, schedules and asks for is kept', async () => {
  const context = new MockProcessorContext<string, number>({ stores: [counts()] })
  const counter = new Counter()
  counter.init(context)
  context.setRecord({ timestamp: 7 })
  await counter.process(record('a', 'x'))
  await counter.process(record('a', 'now'))
  expect(context.forwarded).toEqual([
    { record: { key: 'a', value: -1, timestamp: 7, headers: [] }, child: null },
  ])
  expect(context.committed).toBe(true)
  context.resetForwarded()
  context.resetCommitted()

  const [ticks] = context.punctuators
  expect(ticks).toMatchObject({ intervalMs: 10_000, type: 'stream-time', startMs: null, cancelled: false })
  for (const at of [10_000, 20_000, 30_000]) await ticks?.run(at)
  expect(context.forwarded).toHaveLength(3)
  expect(context.forwarded[0]).toEqual({
    record: { key: 'a', value: 2, timestamp: 10_000, headers: [] },
    child: 'out',
  })
  expect(ticks?.cancelled).toBe(true)
  expect(context.committed).toBe(false)
  expect(await context.store<KeyValueStore<string, number>>('counts').get('a')).toBe(2)
})

test('mock context: time, metadata and task are what the test says', () => {
  const context = new MockProcessorContext({ taskId: '1_3', wallClockMs: 5, configs: { answer: 42 } })
  expect([context.partition, context.configs['answer'], context.recordMetadata()]).toEqual([3, 42, null])
  context.setRecordMetadata({ topic: 'in', partition: 3, offset: 9 })
  context.setRecord({ timestamp: 100 })
  context.setRecord({ timestamp: 50 })
  context.advanceWallClock('1s')
  expect(context.recordMetadata()).toEqual({ topic: 'in', partition: 3, offset: 9 })
  expect([context.streamTime(), context.wallClock()]).toEqual([100, 1005])
})

test('mock context: an unknown store, the error names those that there are', () => {
  const context = new MockProcessorContext({ stores: [counts()] })
  expect(() => context.store('others')).toThrow('the context has no store others; it has counts')
})
