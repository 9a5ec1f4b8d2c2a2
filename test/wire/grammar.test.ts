/** The words of the grammar, and messages as Apache Kafka's own client writes them. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ByteWriter } from '../../src/base/bytes.ts'
import { StreamsError } from '../../src/base/errors.ts'
import { fetch } from '../../src/wire/01-fetch.ts'
import { offsetCommit } from '../../src/wire/08-offset-commit.ts'
import { joinGroup } from '../../src/wire/11-join-group.ts'
import { apiVersions } from '../../src/wire/18-api-versions.ts'
import type { AnyApi } from '../../src/wire/api.ts'
import { apis } from '../../src/wire/apis.ts'
import { ByteReader } from '../../src/wire/byte-reader.ts'
import {
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
} from '../../src/wire/consumer-protocol.ts'
import { kafkaErrorClass, kafkaErrorName, kafkaErrors, kafkaErrorText } from '../../src/wire/error-codes.ts'
import {
  array,
  bytes,
  int16,
  int64,
  needs,
  nullable,
  string,
  struct,
  type Type,
  tagged,
  uuid,
} from '../../src/wire/grammar.ts'
import {
  readRequestHeader,
  responseBodyStart,
  writeRequestHeader,
  writeResponseHeader,
} from '../../src/wire/request-header.ts'

function encode<Out, In>(type: Type<Out, In>, value: In, flexible = false, version = 0): string {
  const to = new ByteWriter(4)
  type.bind(version, flexible).write(to, value)
  return to.copy().toString('hex')
}

function decode<Out, In>(type: Type<Out, In>, hex: string, flexible = false, version = 0): Out {
  return type.bind(version, flexible).read(new ByteReader(Buffer.from(hex, 'hex')))
}

function failure(run: () => unknown): StreamsError {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(StreamsError)
    return error as StreamsError
  }
  throw new Error('a failure was due')
}

// ------------------------------------------------------------------------------------------------ known bytes

const known = readFileSync(new URL('./fixtures/java-messages.txt', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => line.split(' ') as [string, 'request' | 'response', string, string])

describe.each([...new Set(known.map(([name]) => name))])('bytes of the Java client: %s', (name) => {
  const api = (Object.values(apis) as readonly unknown[] as readonly AnyApi[]).find(
    (each) => each.name === name,
  ) as AnyApi
  test('every version is read, and written again the same', () => {
    const lines = known.filter(([of]) => of === name)
    expect(lines.length).toBe(2 * (api.max - api.min + 1))
    for (const [, direction, version, hex] of lines) {
      const buffer = Buffer.from(hex, 'hex')
      const to = new ByteWriter()
      if (direction === 'request')
        api.encodeRequest(+version, to, api.decodeRequest(+version, buffer) as never)
      else api.encodeResponse(+version, to, api.decodeResponse(+version, buffer) as never)
      expect(to.copy().toString('hex'), `${direction} v${version}`).toBe(hex)
    }
  })
})

test('grammar: primitives, as the protocol guide gives them', () => {
  expect(encode(string, 'abc')).toBe('0003616263')
  expect(encode(string, 'abc', true)).toBe('04616263')
  expect(encode(nullable(string), null)).toBe('ffff')
  expect(encode(nullable(string), null, true)).toBe('00')
  expect(encode(bytes, Buffer.from([1, 2]))).toBe('000000020102')
  expect(encode(array(int16), [1, -1])).toBe('000000020001ffff')
  expect(encode(array(int16), [1, -1], true)).toBe('030001ffff')
  expect(encode(nullable(array(int16)), null)).toBe('ffffffff')
  expect(encode(int64, -2)).toBe('fffffffffffffffe')
  expect(encode(int64, Number.MAX_SAFE_INTEGER)).toBe('001fffffffffffff')
  expect(encode(uuid, 'AAAAAAAAAAAAAAAAAAAAAQ')).toBe('00000000000000000000000000000001')
})

test('grammar: a field is there from its version on, tagged ones only where given, unknown tags are skipped', () => {
  const type = struct({ a: int16, b: needs(2, string), c: tagged(3, 1, int16) })
  expect(encode(type, { a: 1 })).toBe('0001')
  expect(encode(type, { a: 1 }, true, 2)).toBe('00010100')
  expect(encode(type, { a: 1, b: 'x', c: 5 }, true, 2)).toBe('000102780103020005')
  expect(decode(type, '0001', false, 1)).toEqual({ a: 1, b: '', c: null })
  expect(decode(type, '0001027802020361626303020007', true, 2)).toEqual({ a: 1, b: 'x', c: 7 })
  const error = failure(() => encode(type, { a: 1, b: 'x' }))
  expect(error).toMatchObject({ code: 'WIRE_VERSION' })
  expect(error.message).toContain('b: version 0 has no such field')
})

test('grammar: what does not fit is refused by name', () => {
  const to = new ByteWriter()
  const topics = (committedOffset: number) => [
    {
      name: 't',
      partitions: [
        { partition: 0, committedOffset: 1, committedMetadata: '' },
        { partition: 1, committedOffset, committedMetadata: '' },
      ],
    },
  ]
  const commit = (committedOffset: number) => () =>
    offsetCommit.encodeRequest(8, to, { groupId: 'g', memberId: '', topics: topics(committedOffset) })
  for (const offset of [2 ** 53, 1.5, Number.NaN]) {
    const error = failure(commit(offset))
    expect(error).toMatchObject({ code: 'WIRE_UNENCODABLE', about: { api: 'OffsetCommit' } })
    expect(error.message).toContain('OffsetCommit request v8, topics[0].partitions[1].committedOffset: ')
  }
  expect(failure(() => encode(string, 'x'.repeat(32_768))).message).toContain('32767')
  expect(failure(() => encode(string, null as never)).message).toContain('null where a value is due')
})

test.each([
  ['a length beyond the end', string, '7fff61', false],
  ['a negative length', string, 'fffe', false],
  ['null where none may be', string, 'ffff', false],
  ['an array of two billion', array(int16), '7fffffff0001', false],
  ['a varint that never ends', string, 'ffffffffffffffffffff', true],
  ['a varint of 32 bits', string, 'ffffffff0f', true],
  ['a number that is not safe', int64, '7fffffffffffffff', false],
  ['half a number', int64, '00000000', false],
  ['a tag longer than it is', struct({ c: tagged(0, 0, int16) }), '0100030000ff', true],
] as const)('grammar: %s is malformed', (_what, type, hex, flexible) => {
  expect(failure(() => decode(type as Type<unknown, never>, hex, flexible))).toMatchObject({
    code: 'WIRE_MALFORMED',
  })
})

test('grammar: malformed bytes name request, version and field', () => {
  const to = new ByteWriter()
  joinGroup.encodeResponse(5, to, {
    errorCode: 0,
    protocolName: 'p',
    leader: 'l',
    memberId: 'm',
    members: [{ memberId: 'm', metadata: Buffer.alloc(3) }],
  })
  const error = failure(() => joinGroup.decodeResponse(5, to.copy().subarray(0, to.position - 1)))
  expect(error.message).toMatch(
    /^JoinGroup response v5, members\[0\]\.metadata: a length of 3 at \d+, 2 bytes are left$/,
  )
})

test('grammar: records stay where they are', () => {
  const batch = Buffer.from('some records')
  const to = new ByteWriter()
  fetch.encodeResponse(12, to, {
    topics: [
      {
        name: 't',
        partitions: [
          {
            partition: 0,
            errorCode: 0,
            highWatermark: 1,
            abortedTransactions: null,
            records: [
              { buffer: batch, start: 0, end: 5 },
              { buffer: batch, start: 5, end: 12 },
            ],
          },
        ],
      },
    ],
  })
  const buffer = to.copy()
  const records = fetch.decodeResponse(12, buffer).topics[0]?.partitions[0]?.records
  expect(records?.buffer).toBe(buffer)
  expect(buffer.toString('utf8', records?.start, records?.end)).toBe('some records')
})

// ---------------------------------------------------------------------------------------------------- headers

test('headers: version 2 has tags, version 1 none, and ApiVersions answers without', () => {
  const to = new ByteWriter()
  writeRequestHeader(to, fetch, 11, 7, 'me')
  expect(to.copy().toString('hex')).toBe('0001000b0000000700026d65')
  to.reset()
  writeRequestHeader(to, fetch, 12, 7, null)
  expect(to.copy().toString('hex')).toBe('0001000c00000007ffff00')
  expect(readRequestHeader(to.copy())).toMatchObject({
    apiKey: 1,
    apiVersion: 12,
    correlationId: 7,
    clientId: null,
    bodyStart: 11,
  })
  to.reset()
  writeResponseHeader(to, fetch, 12, 7)
  expect(to.copy().toString('hex')).toBe('0000000700')
  to.reset()
  writeResponseHeader(to, apiVersions, 3, 7)
  expect(to.copy().toString('hex')).toBe('00000007')
  expect(responseBodyStart(fetch, 12, Buffer.from('0105026162ff', 'hex'))).toBe(5)
  expect(responseBodyStart(fetch, 11, Buffer.from('01', 'hex'))).toBe(0)
})

test('headers: a request that is not spoken is told by its numbers', () => {
  const bytes = Buffer.from('03e7000000000001ffff', 'hex')
  expect(readRequestHeader(bytes)).toMatchObject({
    apiKey: 999,
    apiVersion: 0,
    correlationId: 1,
    api: undefined,
  })
  expect(failure(() => readRequestHeader(bytes.subarray(0, 9)))).toMatchObject({ code: 'WIRE_MALFORMED' })
})

// --------------------------------------------------------------------------------------------------- the rest

test('error codes: each has one name, those of a newer broker stand as unknown', () => {
  const codes = Object.values(kafkaErrors).map(({ code }) => code)
  expect(new Set(codes).size).toBe(codes.length)
  expect([...codes].sort((a, b) => a - b)).toEqual(Array.from({ length: 135 }, (_, index) => index - 1))
  expect(kafkaErrorName(27)).toBe('REBALANCE_IN_PROGRESS')
  expect(kafkaErrorName(9_999)).toBe('UNKNOWN_SERVER_ERROR')
  expect(kafkaErrorText(9_999)).toBe('unknown error code 9999')
  expect(kafkaErrorClass(6)).toBe('metadata')
})

test('consumer protocol: what members say comes back, also from older and newer ones', () => {
  const said = {
    topics: ['a', 'b'],
    userData: Buffer.from('data'),
    ownedPartitions: [{ topic: 'a', partitions: [0, 2] }],
    generationId: 5,
  }
  expect(decodeSubscription(encodeSubscription(said))).toEqual({ ...said, rackId: null })
  // Version 0 as the first Java consumers wrote it, version 9 with something behind.
  expect(decodeSubscription(Buffer.from('0000000000010001' + '61' + 'ffffffff', 'hex'))).toMatchObject({
    topics: ['a'],
    userData: null,
    ownedPartitions: [],
  })
  const newer = Buffer.from(
    '0009000000010001' + '61' + 'ffffffff' + '00000000' + '00000003' + 'ffff' + 'abcd',
    'hex',
  )
  expect(decodeSubscription(newer)).toMatchObject({ topics: ['a'], generationId: 3, rackId: null })
  const given = { assignedPartitions: [{ topic: 'a', partitions: [1] }], userData: Buffer.from('x') }
  expect(decodeAssignment(encodeAssignment(given))).toEqual(given)
  expect(decodeAssignment(Buffer.alloc(0))).toEqual({ assignedPartitions: [], userData: null })
})
