import { describe, expect, test } from 'vitest'
import { ByteWriter } from '../../src/base/bytes.ts'
import { StreamsError } from '../../src/base/errors.ts'
import { noHeaders } from '../../src/base/headers.ts'
import type { Serde } from '../../src/serde/serde.ts'
import { serdes } from '../../src/serde/serdes.ts'
import { endOfTime, Windowed } from '../../src/serde/windowed.ts'

function hex<T>(serde: Serde<T>, value: T): string {
  const to = new ByteWriter(4)
  to.int8(0x7f)
  const waiting = serde.write(value, to, 't', noHeaders)
  expect(waiting).toBeUndefined()
  return to.copy(1).toString('hex')
}

/** Read from the middle of a larger buffer, as the engine does, which is then overwritten. */
function read<T>(serde: Serde<T>, bytes: string): T {
  const from = Buffer.concat([Buffer.from('ff', 'hex'), Buffer.from(bytes, 'hex'), Buffer.from('ff', 'hex')])
  const value = serde.read(from, 1, from.length - 1, 't', noHeaders) as T
  from.fill(0xee)
  return value
}

function code(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    return error instanceof StreamsError ? error.code : String(error)
  }
  return 'nothing'
}

// The bytes are those of org.apache.kafka.common.serialization and of Kafka Streams 4.3.
const same: readonly (readonly [string, Serde<never>, unknown, string])[] = [
  ['string, empty', serdes.string(), '', ''],
  ['string, ASCII', serdes.string(), 'user-1', '757365722d31'],
  ['string, two-byte characters', serdes.string(), 'é', 'c3a9'],
  ['string, an emoji after ASCII', serdes.string(), 'abcde😀', '6162636465f09f9880'],
  ['string, a byte order mark', serdes.string(), '\ufeffa', 'efbbbf61'],
  ['string, 40 characters', serdes.string(), 'x'.repeat(40), '78'.repeat(40)],
  ['bytes', serdes.bytes(), Buffer.from('00ff', 'hex'), '00ff'],
  ['short, least', serdes.short(), -32768, '8000'],
  ['short, most', serdes.short(), 32767, '7fff'],
  ['int, -1', serdes.int(), -1, 'ffffffff'],
  ['int, most', serdes.int(), 2147483647, '7fffffff'],
  ['long, 0', serdes.long(), 0, '0000000000000000'],
  ['long, -2', serdes.long(), -2, 'fffffffffffffffe'],
  ['long, 2^32', serdes.long(), 4294967296, '0000000100000000'],
  ['long, -2^32 - 1', serdes.long(), -4294967297, 'fffffffeffffffff'],
  ['long, most safe', serdes.long(), Number.MAX_SAFE_INTEGER, '001fffffffffffff'],
  ['long, least safe', serdes.long(), Number.MIN_SAFE_INTEGER, 'ffe0000000000001'],
  ['bigint, most', serdes.bigint(), 9223372036854775807n, '7fffffffffffffff'],
  ['bigint, least', serdes.bigint(), -9223372036854775808n, '8000000000000000'],
  ['float', serdes.float(), 1.5, '3fc00000'],
  ['double', serdes.double(), -0.1, 'bfb999999999999a'],
  ['double, not a number', serdes.double(), Number.NaN, '7ff8000000000000'],
  ['boolean, true', serdes.boolean(), true, '01'],
  ['boolean, false', serdes.boolean(), false, '00'],
  [
    'uuid',
    serdes.uuid(),
    '123e4567-e89b-12d3-a456-426614174000',
    Buffer.from('123e4567-e89b-12d3-a456-426614174000').toString('hex'),
  ],
  ['json', serdes.json(), { a: [1, null, 'é'] }, Buffer.from('{"a":[1,null,"é"]}').toString('hex')],
  [
    'list of int, with a null',
    serdes.list(serdes.int()),
    [1, null, 2],
    '000000000100000001000000030000000100000002',
  ],
  ['list of string, with a null', serdes.list(serdes.string()), ['a', null], '01000000020000000161ffffffff'],
  ['list, empty', serdes.list(serdes.string()), [], '0100000000'],
  [
    'timeWindowed, on a topic',
    serdes.timeWindowed(serdes.string(), 10),
    new Windowed('a', 20, 30),
    '610000000000000014',
  ],
  [
    'timeWindowed, in a changelog',
    serdes.timeWindowed(serdes.string(), 10, { changelog: true }),
    new Windowed('a', 20, 30),
    '61000000000000001400000000',
  ],
  [
    'sessionWindowed',
    serdes.sessionWindowed(serdes.int()),
    new Windowed(7, 1, 2),
    '0000000700000000000000020000000000000001',
  ],
] as never

describe('serdes: bytes, those of Java, both ways', () => {
  test.each(same)('%s', (_name, serde, value, bytes) => {
    expect(hex(serde, value as never)).toBe(bytes)
    expect(read(serde, bytes)).toEqual(value)
  })
})

const unwritable: readonly (readonly [string, Serde<never>, unknown])[] = [
  ['string from a number', serdes.string(), 1],
  ['short out of range', serdes.short(), 32768],
  ['int with a fraction', serdes.int(), 1.5],
  ['int out of range', serdes.int(), 2147483648],
  ['long that is not safe', serdes.long(), 2 ** 53],
  ['long from a bigint', serdes.long(), 1n],
  ['bigint of 65 bits', serdes.bigint(), 2n ** 63n],
  ['double from text', serdes.double(), '1'],
  ['float from null', serdes.float(), null],
  ['boolean from a number', serdes.boolean(), 1],
  ['bytes from text', serdes.bytes(), 'a'],
  ['uuid in upper case', serdes.uuid(), '123E4567-E89B-12D3-A456-426614174000'],
  ['void from anything', serdes.void(), 'a'],
  ['json from undefined', serdes.json(), undefined],
  ['json from a bigint', serdes.json(), 1n],
  ['list from an object', serdes.list(serdes.int()), {}],
  ['list with a wrong item', serdes.list(serdes.int()), ['a']],
  ['a windowed key that is none', serdes.timeWindowed(serdes.string(), 1), 'a'],
] as never

describe('serdes: a value that does not fit, an error that says so', () => {
  test.each(unwritable)('%s', (_name, serde, value) => {
    expect(code(() => hex(serde, value as never))).toBe('SERDE_FAILED')
  })
})

const unreadable: readonly (readonly [string, Serde<never>, string])[] = [
  ['short of 3 bytes', serdes.short(), '000000'],
  ['int of 8 bytes', serdes.int(), '0000000000000000'],
  ['long of 4 bytes', serdes.long(), '00000000'],
  ['long that is not safe', serdes.long(), '0020000000000000'],
  ['long that is too negative', serdes.long(), 'ffdfffffffffffff'],
  ['boolean 2', serdes.boolean(), '02'],
  ['uuid of rubbish', serdes.uuid(), '6161'],
  ['void with bytes', serdes.void(), ''],
  ['json, cut', serdes.json(), '7b'],
  ['json, empty', serdes.json(), ''],
  ['list, cut', serdes.list(serdes.string()), '010000000200000001'],
  ['list with a huge count', serdes.list(serdes.string()), '017fffffff'],
  ['list of another layout', serdes.list(serdes.string()), '000000000000000000'],
  ['a windowed key without its window', serdes.timeWindowed(serdes.string(), 1), '6161'],
] as never

describe('serdes: bytes that are not a value, an error that says so', () => {
  test.each(unreadable)('%s', (_name, serde, bytes) => {
    expect(code(() => read(serde, bytes))).toBe('SERDE_FAILED')
  })
})

test('long: -2^53, one past the safe integers, is refused both ways', () => {
  expect(code(() => hex(serdes.long(), -(2 ** 53)))).toBe('SERDE_FAILED')
  expect(code(() => read(serdes.long(), 'ffe0000000000000'))).toBe('SERDE_FAILED')
})

test('timeWindowed: a window that never ends, it ends at the end of time', () => {
  expect(read(serdes.timeWindowed(serdes.string(), endOfTime), '610000000000000014')).toEqual(
    new Windowed('a', 20, endOfTime),
  )
})

test('windowed: the bytes of the window, they are told apart for the partitioner', () => {
  expect(serdes.timeWindowed(serdes.string(), 1).windowBytes).toBe(8)
  expect(serdes.sessionWindowed(serdes.string()).windowBytes).toBe(16)
  expect(serdes.string().windowBytes).toBeUndefined()
})

describe('json with a schema', () => {
  const positive = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value: unknown) =>
        typeof value === 'number' && value > 0
          ? { value }
          : { issues: [{ message: 'not positive', path: ['a', { key: 'b' }] }] },
    },
  } as const

  test('accepts: the schema’s value comes out', () => {
    expect(read(serdes.json(positive), Buffer.from('5').toString('hex'))).toBe(5)
  })

  test('refuses: SERDE_FAILED with the path and the message', () => {
    expect(() => read(serdes.json(positive), Buffer.from('-5').toString('hex'))).toThrow(
      /test schema: a\.b: not positive/,
    )
  })

  test('asynchronous: a promise, resolved or refused', async () => {
    const later = {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: async (value: unknown) => positive['~standard'].validate(value),
      },
    } as const
    await expect(read(serdes.json(later), Buffer.from('5').toString('hex'))).resolves.toBe(5)
    await expect(read(serdes.json(later), Buffer.from('0').toString('hex'))).rejects.toThrow(/not positive/)
  })
})

test('serde of two functions: what it gives may be kept', () => {
  const raw = serdes.of({ name: 'raw', serialize: (value: Buffer) => value, deserialize: (bytes) => bytes })
  expect(hex(raw, Buffer.from('ab', 'hex'))).toBe('ab')
  expect(read(raw, 'abcd')).toEqual(Buffer.from('abcd', 'hex'))
})

test('a serde that waits: windowed keys and lists wait or refuse', async () => {
  let loaded = false
  const slow: Serde<string> = {
    name: 'slow',
    write(value, to) {
      if (!loaded) return Promise.resolve().then(() => void (loaded = true))
      to.utf8(value)
      return undefined
    },
    read: async (from, start, end) => from.toString('utf8', start, end),
  }
  const windowed = serdes.timeWindowed(slow, 10)
  const to = new ByteWriter(16)
  await windowed.write(new Windowed('a', 1, 11), to, 't', noHeaders)
  expect(to.position).toBe(0)
  expect(hex(windowed, new Windowed('a', 1, 11))).toBe('610000000000000001')
  await expect(read(windowed, '610000000000000001')).resolves.toEqual(new Windowed('a', 1, 11))
  expect(code(() => read(serdes.list(slow), '01000000010000000161'))).toBe('SERDE_FAILED')
})
