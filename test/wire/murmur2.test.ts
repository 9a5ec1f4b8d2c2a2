/** Hashes and partitions that the Java client 4.3 gives, for keys as its serializers write them. */
import { expect, test } from 'vitest'
import { murmur2, partitionFor } from '../../src/wire/murmur2.ts'

// kind of key, what it is, its bytes, the hash, the partition of 7 and of 64
const vectors = [
  ['string', '', '', 275646681, 2, 25],
  ['string', 'a', '61', -1563381124, 5, 60],
  ['string', 'ab', '6162', 316155434, 0, 42],
  ['string', 'abc', '616263', 479470107, 4, 27],
  ['string', 'abcd', '61626364', -1323649548, 5, 52],
  ['string', 'hello', '68656c6c6f', 2132663229, 4, 61],
  ['string', 'order-4711', '6f726465722d34373131', 1584983611, 1, 59],
  ['string', 'Grüße', '4772c3bcc39f65', 1190824359, 4, 39],
  ['string', 'ключ', 'd0bad0bbd18ed187', 2122343024, 4, 48],
  ['string', '😀', 'f09f9880', 131881617, 0, 17],
  ['int', '0', '00000000', 850957120, 6, 0],
  ['int', '1', '00000001', -173113808, 2, 48],
  ['int', '-1', 'ffffffff', 644171429, 6, 37],
  ['int', '42', '0000002a', 1606757304, 5, 56],
  ['int', '2147483647', '7fffffff', -1009756325, 5, 27],
  ['int', '-2147483648', '80000000', -65415266, 2, 30],
  ['long', '0', '0000000000000000', -522759933, 6, 3],
  ['long', '1', '0000000000000001', 2100486060, 1, 44],
  ['long', '-1', 'ffffffffffffffff', 185950397, 3, 61],
  ['long', '1700000000000', '0000018bcfe56800', -1823250289, 2, 15],
  ['long', '9223372036854775807', '7fffffffffffffff', -1236687672, 6, 8],
  ['long', '-9223372036854775808', '8000000000000000', 1290709624, 1, 56],
  ['double', '0.0', '0000000000000000', -522759933, 6, 3],
  ['double', '1.5', '3ff8000000000000', 922176471, 6, 23],
  ['double', '-2.25', 'c002000000000000', -1040104674, 2, 30],
  ['double', '1.7976931348623157E308', '7fefffffffffffff', 1061520805, 2, 37],
  ['double', 'NaN', '7ff8000000000000', 433329787, 2, 59],
  [
    'uuid',
    '00000000-0000-0000-0000-000000000000',
    '30303030303030302d303030302d303030302d303030302d303030303030303030303030',
    713427837,
    3,
    61,
  ],
  [
    'uuid',
    'f81d4fae-7dec-11d0-a765-00a0c91e6bf6',
    '66383164346661652d376465632d313164302d613736352d303061306339316536626636',
    -1295985492,
    5,
    44,
  ],
  ['bytes', '[]', '', 275646681, 2, 25],
  ['bytes', '[0]', '00', 375494588, 0, 60],
  ['bytes', '[-1]', 'ff', -311467685, 5, 27],
  ['bytes', '[1, 2, 3, 4, 5, 6, 7]', '01020304050607', -528389943, 5, 9],
  ['bytes', '[-128, -127, -6, -1, 0]', '8081faff00', 1932527569, 0, 17],
  ['time-windowed', 'user@0', '757365720000000000000000', -1405801889, 0, 31],
  ['time-windowed', 'user@1700000000000', '757365720000018bcfe56800', -1498133022, 1, 34],
  ['session-windowed', 'user@5-9', '7573657200000000000000090000000000000005', 1416198738, 3, 18],
] as const

test.each(vectors)(
  'murmur2: the key %s %s has the partition Java gives it',
  (_kind, _what, hex, hash, of7, of64) => {
    const key = Buffer.from(hex, 'hex')
    expect(murmur2(key)).toBe(hash)
    const within = Buffer.concat([Buffer.alloc(3, 0xaa), key, Buffer.alloc(5, 0xbb)])
    expect(partitionFor(within, 3, 3 + key.length, 7)).toBe(of7)
    expect(partitionFor(within, 3, 3 + key.length, 64)).toBe(of64)
  },
)
