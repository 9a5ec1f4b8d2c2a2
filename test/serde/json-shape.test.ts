/** Documents read by their shape are what JSON.parse makes of them, errors included. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { JsonShapes } from '../../src/serde/json-shape.ts'
import { serdes } from '../../src/serde/serdes.ts'

const json = serdes.json<unknown>()
let topics = 0

/** Reads a text between bytes that belong to others. */
function read(text: string | Buffer, topic: string): unknown {
  const bytes = Buffer.from(text)
  const from = Buffer.concat([Buffer.from('12"}'), bytes, Buffer.from('5}"}')])
  return json.read(from, 4, 4 + bytes.length, topic, [])
}

function parsed(text: string | Buffer): { value: unknown } | 'error' {
  try {
    return { value: JSON.parse(text.toString()) }
  } catch {
    return 'error'
  }
}

function readOrError(text: string | Buffer, topic: string): { value: unknown } | 'error' {
  try {
    return { value: read(text, topic) }
  } catch (error) {
    expect((error as { code: string }).code).toBe('SERDE_FAILED')
    return 'error'
  }
}

/** Text of the JSON, so that the order of names and -0 count. */
function shown(result: { value: unknown } | 'error'): string {
  return JSON.stringify(result, (_name, value) => (Object.is(value, -0) ? '-0' : value))
}

/** Each text after the first was read, which gave the shape. */
function agree(first: string, ...texts: (string | Buffer)[]): void {
  const topic = `agree-${topics++}`
  for (const text of [first, ...texts, first])
    expect(shown(readOrError(text, topic))).toBe(shown(parsed(text)))
}

describe('json by shape', () => {
  test('documents of one shape, whatever their values', () => {
    agree(
      '{"a":1,"b":"x","c":{"d":true,"e":null}}',
      '{"a":-0,"b":"","c":{"d":false,"e":1.5}}',
      '{"a":0.1,"b":"é漢\\n\\u0041\\"","c":{"d":null,"e":"y"}}',
      '{"a":123456789012345,"b":"\\\\","c":{"d":1e3,"e":-12.25}}',
      '{"a":12345678901234567890,"b":"","c":{"d":51.055009999999996,"e":0.000000000000000000001}}',
      '{"a":5e-324,"b":"x","c":{"d":1,"e":1}}',
    )
    agree(
      '{ "a" : 1 , "b" : { } }\n',
      '{ "a" : 22 , "b" : { } }\n',
      '{ "a" : 22 , "b" : { } }',
      '{"a":1,"b":{}}',
    )
    agree('{}', '{}', ' { } ', '{"a":1}')
  })

  test('the second document of a shape needs no JSON.parse', () => {
    const shapes = new JsonShapes()
    const [first, second] = ['{"a":1,"b":{"c":"x"}}', '{"a":2,"b":{"c":"é"}}'].map((text) =>
      Buffer.from(text),
    ) as [Buffer, Buffer]
    expect(shapes.read(first, 0, first.length)).toBe(undefined)
    shapes.missed(first, 0, first.length)
    expect(shapes.read(second, 0, second.length)).toEqual({ a: 2, b: { c: 'é' } })
  })

  test('another shape, arrays, other values than objects', () => {
    agree(
      '{"a":1}',
      '{"a":{"b":1}}',
      '{"a":[1,2]}',
      '{"b":1}',
      '{"a":1,"b":2}',
      '[{"a":1}]',
      '7',
      '"a"',
      'null',
    )
  })

  test('a name twice, names like numbers, __proto__: as JSON.parse has them', () => {
    agree('{"a":2,"a":2}', '{"a":7,"a":2}')
    agree('{"2":5,"1":5}', '{"2":1,"1":2}', '{"1":1,"2":2}')
    agree('{"__proto__":1,"a":2}', '{"__proto__":{"x":1},"a":3}')
    const topic = `proto-${topics++}`
    for (let round = 0; round < 2; round++) {
      const value = read('{"__proto__":{"x":1},"a":3}', topic) as object
      expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
    }
  })

  test('what is no JSON is refused, also where it nearly fits a shape', () => {
    agree(
      '{"a":12,"b":"x"}',
      '{"a":012,"b":"x"}',
      '{"a":1.,"b":"x"}',
      '{"a":-,"b":"x"}',
      '{"a":.5,"b":"x"}',
      '{"a":12,"b":"x"',
      '{"a":12,"b":"x"}}',
      '{"a":12,"b":"x"}x',
      '{"a":12,"b":"x',
      '{"a":12,"b":"\n"}',
      '{"a":12,"b":"\\x"}',
      '{"a":tru,"b":"x"}',
      '{"a":12,"b":"x\\"}',
      '{"a":12',
      '',
    )
    agree('{"a":12,"b":"x"}', Buffer.from([...Buffer.from('{"a":1,"b":"'), 0xc3, 0x22, 0x7d]))
    agree('{"a":12,"b":"x"}', Buffer.from([...Buffer.from('{"a":1,"b":"'), 0xff, 0x80, 0x22, 0x7d]))
  })

  test('each read is an object of its own, and what its reader does to it is not seen by the next', () => {
    const topic = `own-${topics++}`
    const objects = [1, 2, 3].map(() => {
      const value = read('{"a":1,"b":{"c":2}}', topic) as { a: number; b: { c: number }; x?: number }
      expect(value).toEqual({ a: 1, b: { c: 2 } })
      value.x = 1
      value.b.c = 9
      return value
    })
    expect(new Set([...objects, ...objects.map(({ b }) => b)]).size).toBe(6)
  })

  test('a topic of documents without a common shape is read all the same', () => {
    const topic = `many-${topics++}`
    for (let index = 0; index < 20_000; index++) {
      const text = `{"k${index % 5_000}":${index}}`
      expect(read(text, topic)).toEqual(JSON.parse(text))
    }
  })

  test('random documents, their values changed and their bytes mutated', () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
    console.log(`json by shape: seed ${seed}`)
    fc.assert(
      fc.property(
        fc.array(fc.json({ maxDepth: 3 }), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        fc.nat(255),
        (texts, where, byte) => {
          const all: (string | Buffer)[] = []
          for (const text of texts) {
            all.push(text, text.replace(/\d/g, '7'), text.replace(/true/g, 'null'))
            const bytes = Buffer.from(text)
            bytes[where % bytes.length] = byte
            all.push(bytes)
          }
          agree(texts[0] as string, ...all)
        },
      ),
      { numRuns: 2_000, seed },
    )
  })

  test('random documents of one shape', () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)
    console.log(`json of one shape: seed ${seed}`)
    const value = fc.oneof(
      fc.double(),
      fc.integer(),
      fc.string({ unit: 'grapheme' }),
      fc.boolean(),
      fc.constant(null),
    )
    const document = fc.record({
      id: value,
      at: value,
      inner: fc.record({ x: value, y: fc.double() }),
      last: fc.maxSafeInteger(),
    })
    fc.assert(
      fc.property(
        fc.array(document, { minLength: 2, maxLength: 20 }),
        fc.constantFrom(undefined, 1, '\t'),
        (documents, space) => {
          const texts = documents.map((one) => JSON.stringify(one, null, space))
          agree(texts[0] as string, ...texts)
        },
      ),
      { numRuns: 500, seed },
    )
  })
})
