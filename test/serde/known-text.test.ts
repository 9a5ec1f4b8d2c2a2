/** Keys that come again: the same text as ever, whatever was read before. */
import { expect, test } from 'vitest'
import { knowing, readKnownText } from '../../src/serde/known-text.ts'
import { serdes } from '../../src/serde/serdes.ts'

const read = (bytes: Buffer) => readKnownText(Buffer.concat([Buffer.from('ab'), bytes]), 2, 2 + bytes.length)

test('known text: 300,000 keys that drive each other out of the table, each read as its own text', () => {
  for (let round = 0; round < 2; round++) {
    for (let index = 0; index < 150_000; index++) {
      const text = `key-${(index * 7919) % 150_000}`
      if (read(Buffer.from(text)) !== text) expect(read(Buffer.from(text))).toBe(text)
    }
  }
})

test('known text: of other alphabets, of bytes that are no UTF-8, long and empty ones, as the serde reads them', () => {
  const cases = ['', 'é', 'Ã©', '漢字', '\u007f', 'x'.repeat(33), 'x'.repeat(32)].map((text) =>
    Buffer.from(text),
  )
  cases.push(Buffer.from([0xe9]), Buffer.from([0xc3, 0x28]), Buffer.from([0]), Buffer.from([0, 0]))
  for (let round = 0; round < 2; round++) {
    for (const bytes of cases) expect(read(bytes)).toBe(serdes.string().read(bytes, 0, bytes.length, 't', []))
  }
})

test('known text: only the serde of strings is replaced, and it writes what it wrote', () => {
  expect(knowing(serdes.json())).toBe(serdes.json())
  expect(knowing(serdes.string())).toEqual({ ...serdes.string(), read: readKnownText })
})
