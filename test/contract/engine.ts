/** What every engine promises: ordered rows, scans of one moment, batches that are written whole. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Engine, Row } from '../../src/store/engine.ts'

export type EngineHome = {
  open(): Promise<Engine>
  remove(): void
}

export function engineContract(name: string, make: () => EngineHome): void {
  describe(`engine: ${name}`, () => {
    let home: EngineHome
    let engine: Engine

    beforeEach(async () => {
      home = make()
      engine = await home.open()
    })

    afterEach(async () => {
      await engine.close()
      home.remove()
    })

    const bytes = (...parts: number[]): Buffer => Buffer.from(parts)

    async function write(...rows: (readonly [key: Buffer, value: Buffer | null])[]): Promise<void> {
      const batch = engine.batch()
      for (const [key, value] of rows) {
        // One buffer for all, overwritten after each call.
        const both = Buffer.concat([Buffer.from('x'), key, value ?? Buffer.alloc(0)])
        if (value === null) batch.remove(both, 1, 1 + key.length)
        else batch.put(both, 1, 1 + key.length, 1 + key.length, both.length)
        both.fill(0xee)
      }
      expect(batch.size).toBe(rows.length)
      await batch.write()
    }

    async function scan(from: Buffer, to: Buffer, reverse = false): Promise<string[]> {
      const found: Row[] = []
      const rows = engine.scan(from, to, reverse)
      for (let chunk = await rows.next(); chunk !== null; chunk = await rows.next()) found.push(...chunk)
      await rows.close()
      return found.map(({ key, value }) => `${key.toString('hex')}=${value.toString()}`)
    }

    test('what was written is read, what was not is undefined, an empty value is a value', async () => {
      await write([bytes(1), Buffer.from('one')], [bytes(2), Buffer.alloc(0)])
      const [one, two, three] = await engine.getMany([bytes(1), bytes(2), bytes(3)])
      expect(one?.toString()).toBe('one')
      expect(two?.length).toBe(0)
      expect(three).toBe(undefined)
      expect(await engine.getMany([])).toEqual([])
    })

    test('keys and values of any length are written in one batch, each as it is', async () => {
      const keys: Buffer[] = []
      for (let length = 1; length <= 140; length++) {
        keys.push(Buffer.alloc(length, length), Buffer.alloc(length, 200))
      }
      const valueAt = (index: number): Buffer => Buffer.alloc((index * 7) % 150, index)
      await write(...keys.map((key, index) => [key, valueAt(index)] as const))
      const found = await engine.getMany(keys)
      for (let index = 0; index < keys.length; index++) expect(found[index]).toEqual(valueAt(index))
    })

    test('rows are in the order of their bytes, unsigned, in both directions', async () => {
      const keys = [
        bytes(0),
        bytes(0, 0),
        bytes(1),
        bytes(1, 255),
        bytes(2),
        bytes(127),
        bytes(128),
        bytes(255, 255),
      ]
      await write(...[...keys].reverse().map((key) => [key, Buffer.from('v')] as const))
      const all = keys.map((key) => `${key.toString('hex')}=v`)
      expect(await scan(bytes(0), bytes(255, 255, 255))).toEqual(all)
      expect(await scan(bytes(0), bytes(255, 255, 255), true)).toEqual([...all].reverse())
      expect(await scan(bytes(1), bytes(128))).toEqual(all.slice(2, 6))
      expect(await scan(bytes(1), bytes(128), true)).toEqual(all.slice(2, 6).reverse())
      expect(await scan(bytes(3), bytes(3))).toEqual([])
    })

    test('a scan sees the moment it was opened', async () => {
      await write(
        ...Array.from({ length: 1000 }, (_, n) => [bytes(n >> 8, n & 255), Buffer.from(`${n}`)] as const),
      )
      const rows = engine.scan(bytes(0), bytes(255))
      await write([bytes(0, 0), null], [bytes(3, 0), Buffer.from('new')], [bytes(4, 4), Buffer.from('new')])
      const found: string[] = []
      for (let chunk = await rows.next(); chunk !== null; chunk = await rows.next()) {
        for (const { value } of chunk) found.push(value.toString())
      }
      await rows.close()
      expect(found).toEqual(Array.from({ length: 1000 }, (_, n) => `${n}`))
      expect((await scan(bytes(3, 0), bytes(3, 1)))[0]).toBe('0300=new')
    })

    test('a scan may be closed before its end, and twice', async () => {
      await write(
        ...Array.from({ length: 1000 }, (_, n) => [bytes(n >> 8, n & 255), Buffer.from('v')] as const),
      )
      const rows = engine.scan(bytes(0), bytes(255))
      await rows.next()
      await rows.close()
      await rows.close()
    })

    test('the last of a batch counts', async () => {
      await write(
        [bytes(1), Buffer.from('a')],
        [bytes(1), null],
        [bytes(1), Buffer.from('b')],
        [bytes(2), null],
      )
      expect(await scan(bytes(0), bytes(9))).toEqual(['01=b'])
    })

    test('a range is cleared, its end stays', async () => {
      await write(...Array.from({ length: 10 }, (_, n) => [bytes(n), Buffer.from('v')] as const))
      await engine.clear(bytes(2), bytes(8))
      expect(await scan(bytes(0), bytes(255))).toEqual(['00=v', '01=v', '08=v', '09=v'])
    })

    test('rows are there after it was closed and opened', async () => {
      await write([bytes(1), Buffer.from('one')])
      await engine.close()
      engine = await home.open()
      expect(await scan(bytes(0), bytes(9))).toEqual(['01=one'])
    })
  })
}
