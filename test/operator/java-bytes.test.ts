/** Bytes that Kafka Streams 4.3.0's own classes wrote. */
import { expect, test } from 'vitest'
import { ByteWriter } from '../../src/base/bytes.ts'
import { noHeaders } from '../../src/base/headers.ts'
import { changeSerde } from '../../src/operator/change-serde.ts'
import { answerSerde, subscriptionSerde } from '../../src/operator/foreign-key-serde.ts'
import { murmur3 } from '../../src/operator/murmur3.ts'
import type { Change } from '../../src/operator/run.ts'
import { string } from '../../src/serde/primitives.ts'
import type { Serde } from '../../src/serde/serde.ts'

function write<T>(serde: Serde<T>, value: T): string {
  const writer = new ByteWriter(8)
  // Whatever is before it stays as it is.
  writer.utf8('before')
  serde.write(value, writer, 't', noHeaders)
  return writer.view(6).toString('hex')
}

function read<T>(serde: Serde<T>, hex: string): unknown {
  const bytes = Buffer.from(`ff${hex}ff`, 'hex')
  return serde.read(bytes, 1, bytes.length - 1, 't', noHeaders)
}

test.each([
  [0, '9d2764a018e329428c3cf3b035938518'],
  [1, 'a04116a8ea130c2064af89d3eb9703d1'],
  [7, '4f66129d018da90b04dc0e45427cba9c'],
  [8, '489e80bb663f0ff950d3bfa977f3e227'],
  [9, '0e6d06218fba4aedeb28629e17ef4069'],
  [15, 'ff192b883fe0a26daf58dabb5ab39f43'],
  [16, '47ac0c84dbdee98c95e813d263dc43e8'],
  [17, '7239c265ac81f716370f845a779bc4b7'],
  [31, '7c8436049eda7a38a6f4c5ca944501a3'],
  [33, '2eccf31fe49dcc9debcdb6b306d5b0fa'],
  [100, '9c75de43635b79171510b327538a6754'],
])('murmur3: %i bytes, as in Java', (length, hash) => {
  const bytes = Buffer.from(Array.from({ length }, (_, index) => (index * 37 + length) & 255))
  expect(murmur3(bytes).toString('hex')).toBe(hash)
  expect(
    murmur3(Buffer.concat([Buffer.from('x'), bytes, Buffer.from('y')]), 1, length + 1).toString('hex'),
  ).toBe(hash)
})

const long = 'n'.repeat(70)

test.each<[string, Change<string>, string]>([
  ['new', { value: 'neu', old: null, latest: true }, '6e657501'],
  ['old', { value: null, old: 'alt', latest: true }, '616c7400'],
  ['both', { value: long, old: 'alt', latest: true }, `8c01${'6e'.repeat(70)}616c7402`],
])('change: %s, as in Java', (_what, change, hex) => {
  const serde = changeSerde(string() as Serde<unknown>)
  expect(write(serde, change)).toBe(hex)
  expect(read(serde, hex)).toEqual(change)
})

test.each(['', '7803', '02', '8c0102'])('change: malformed bytes (%s), an error', (hex) => {
  expect(() => read(changeSerde(string() as Serde<unknown>), hex)).toThrow(/change: a value of t/)
})

const hash = murmur3(Buffer.from('value'))

test.each([
  [
    'with a hash',
    { hash, instruction: 3, version: 1, primaryKey: 'key', primaryPartition: 3 },
    '01032e7425dec1f8bcdf51e014f04aa415686b657900000003',
  ],
  [
    'without',
    { hash: null, instruction: 1, version: 1, primaryKey: 'key', primaryPartition: 0 },
    '81016b657900000000',
  ],
])('foreign-key subscription %s, as in Java', (_what, request, hex) => {
  const serde = subscriptionSerde(string() as Serde<unknown>)
  expect(write(serde, request)).toBe(hex)
  expect(read(serde, hex)).toEqual(request)
})

test.each([
  [
    'with a value',
    { hash, value: 'right', primaryPartition: null },
    '002e7425dec1f8bcdf51e014f04aa415687269676874',
  ],
  ['without', { hash: null, value: null, primaryPartition: null }, '80'],
])('foreign-key answer %s, as in Java', (_what, answer, hex) => {
  const serde = answerSerde(string() as Serde<unknown>)
  expect(write(serde, answer)).toBe(hex)
  expect(read(serde, hex)).toEqual(answer)
})

test('foreign-key topics: malformed bytes, errors', () => {
  expect(() => read(subscriptionSerde(string() as Serde<unknown>), '0107')).toThrow(/malformed bytes in t/)
  expect(() => read(answerSerde(string() as Serde<unknown>), '0011')).toThrow(/malformed bytes in t/)
})
