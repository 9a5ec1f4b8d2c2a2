/**
 * Hostile input, drawn from a seed: valid batches, requests and responses with bits flipped, bytes changed, lengths
 * stretched, ends cut off. Each target takes one draw and throws where a promise is broken: anything but a named
 * error, a range outside its buffer, a record that was never written, work without end.
 */
import { crc32c } from '@node-rs/crc32'
import { ByteWriter } from '../../src/base/bytes.ts'
import type { Clock } from '../../src/base/clock.ts'
import { StreamsError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/logger.ts'
import { Broker } from '../../src/broker/broker.ts'
import type { ApiName } from '../../src/broker/faults.ts'
import type { Handler } from '../../src/broker/handlers/handler.ts'
import { handlers } from '../../src/broker/handlers/index.ts'
import { Refusal } from '../../src/broker/refusal.ts'
import type { AnyApi } from '../../src/wire/api.ts'
import { apis } from '../../src/wire/apis.ts'
import { BatchBuilder, writeInt64 } from '../../src/wire/batch-builder.ts'
import { codecs } from '../../src/wire/compression.ts'
import { BatchCursor, batchFlags, batchLayout } from '../../src/wire/record-batch.ts'
import { readRequestHeader, writeRequestHeader } from '../../src/wire/request-header.ts'
import { type Draw, drawValue, pick } from '../wire/draw.ts'

export type Target = (draw: Draw) => void

const below = (draw: Draw, limit: number) => Math.floor(draw() * limit)

/** Bytes of a value between these, at random places. */
const telling = [0, 1, 0x7f, 0x80, 0xff, 0xfe] as const

export function mutate(draw: Draw, bytes: Buffer): Buffer {
  let mutant = Buffer.from(bytes)
  for (let count = 1 + below(draw, 3); count > 0 && mutant.length > 0; count--) {
    const at = below(draw, mutant.length)
    switch (below(draw, 7)) {
      case 0:
        mutant[at] = (mutant[at] as number) ^ (1 << below(draw, 8))
        break
      case 1:
        mutant[at] = pick(draw, telling)
        break
      case 2:
        mutant[at] = below(draw, 256)
        break
      case 3:
        mutant = mutant.subarray(0, at)
        break
      case 4:
        mutant = Buffer.concat([
          mutant.subarray(0, at),
          Buffer.alloc(1 + below(draw, 8), pick(draw, telling)),
          mutant.subarray(at),
        ])
        break
      case 5:
        mutant = Buffer.concat([mutant.subarray(0, at), mutant.subarray(at + 1 + below(draw, 8))])
        break
      default:
        if (at + 4 <= mutant.length)
          mutant.writeInt32BE(pick(draw, [-1, -2, 0, 0x7fffffff, -0x80000000, mutant.length]), at)
    }
  }
  return mutant
}

function drawBatch(draw: Draw): { bytes: Buffer; count: number } {
  const builder = new BatchBuilder(1 << 20, 256)
  const count = 1 + below(draw, 5)
  for (let index = 0; index < count; index++) {
    const key = draw() < 0.2 ? null : Buffer.alloc(below(draw, 30), 65 + index)
    const value = draw() < 0.2 ? null : Buffer.alloc(below(draw, 60), 97 + index)
    const headers = Array.from({ length: draw() < 0.7 ? 0 : below(draw, 3) }, () => ({
      key: 'h',
      value: draw() < 0.5 ? null : Buffer.from('x'),
    }))
    builder.append(
      1_700_000_000_000 + below(draw, 1e6),
      key,
      0,
      key?.length ?? 0,
      value,
      0,
      value?.length ?? 0,
      headers,
    )
  }
  const isTransactional = draw() < 0.3
  return {
    bytes: builder.seal(isTransactional ? below(draw, 3) : -1, 0, 0, isTransactional, pick(draw, codecs)),
    count,
  }
}

/** One to three batches, of which one is mutated; half of the time its checksum is made right again. */
export const batches: Target = (draw) => {
  const parts = Array.from({ length: 1 + below(draw, 3) }, () => drawBatch(draw))
  const victim = below(draw, parts.length)
  let isDeep = draw() < 0.5
  let offset = 0
  const buffers = parts.map(({ bytes, count }, index) => {
    writeInt64(bytes, batchLayout.baseOffset, offset)
    offset += count
    if (index !== victim) return bytes
    if (isDeep) {
      const body = mutate(draw, bytes.subarray(batchLayout.attributes))
      if (body.length < batchLayout.records - batchLayout.attributes) isDeep = false
      else return resealed(Buffer.concat([bytes.subarray(0, batchLayout.attributes), body]), draw() < 0.9)
    }
    return mutate(draw, bytes)
  })
  const records = Buffer.concat(buffers)
  const buffer = Buffer.concat([Buffer.alloc(3, 0xff), records, Buffer.alloc(below(draw, 20), 0xff)])
  const aborted =
    draw() < 0.5
      ? null
      : Array.from({ length: below(draw, 3) }, () => ({
          producerId: below(draw, 3),
          firstOffset: below(draw, 10),
        }))
  const fromOffset = draw() < 0.7 ? 0 : below(draw, offset)
  const cursor = new BatchCursor({
    topic: 'fuzzed',
    partition: 1,
    buffer,
    start: 3,
    end: 3 + records.length,
    fromOffset,
    aborted,
    batchBytesMax: 1 << 16,
  })
  let last = fromOffset - 1
  try {
    for (let read = 0; cursor.next(); read++) {
      // A record takes at least seven bytes, compressed ones of at most 64 KiB in all.
      if (read > buffer.length + (3 << 16)) throw new Error('more records than there can be')
      checkRange(cursor, cursor.keyStart, cursor.keyEnd)
      checkRange(cursor, cursor.valueStart, cursor.valueEnd)
      if (!Number.isSafeInteger(cursor.offset) || cursor.offset <= last)
        throw new Error(`offset ${cursor.offset}`)
      if (cursor.nextOffset <= cursor.offset)
        throw new Error(`position ${cursor.nextOffset} at record ${cursor.offset}`)
      last = cursor.offset
      cursor.headers()
    }
  } catch (error) {
    const isNamed =
      error instanceof StreamsError &&
      error.code.startsWith('BATCH_') &&
      error.about.topic === 'fuzzed' &&
      error.about.partition === 1 &&
      error.about.offset !== undefined
    if (!isNamed) throw error
  }
}

function resealed(batch: Buffer, fixesLength: boolean): Buffer {
  if (fixesLength) batch.writeInt32BE(batch.length - batchLayout.afterLength, batchLayout.length)
  batch.writeUInt32BE(crc32c(batch.subarray(batchLayout.attributes)), batchLayout.crc)
  return batch
}

function checkRange({ buffer }: BatchCursor, start: number, end: number): void {
  const isNull = start === -1 && end === -1
  if (!isNull && !(start >= 0 && start <= end && end <= buffer.length))
    throw new Error(`a range from ${start} to ${end} of ${buffer.length}`)
}

const all = Object.entries(apis) as unknown as [ApiName, AnyApi][]

/** What is no response is an error that names its API. */
export const responses: Target = (draw) => {
  const [, api] = pick(draw, all)
  const version = api.min + below(draw, api.max - api.min + 1)
  const writer = new ByteWriter(64)
  api.encodeResponse(version, writer, drawValue(draw, api.response.shape, version) as never)
  const mutant = mutate(draw, writer.copy())
  try {
    api.decodeResponse(version, mutant)
  } catch (error) {
    if (
      !(
        error instanceof StreamsError &&
        error.code === 'WIRE_MALFORMED' &&
        error.message.startsWith(`${api.name} `)
      )
    )
      throw error
  }
}

/** Time stands, and no timer fires. */
const still: Clock = { now: () => 1_700_000_000_000, after: () => ({ cancel() {} }) }

function newBroker(): Broker {
  const broker = new Broker({
    clock: still,
    logger: silentLogger,
    dir: null,
    nodeId: 1,
    clusterId: null,
    autoCreateTopics: true,
    defaultPartitions: 1,
    initialRebalanceDelayMs: 0,
    sessionTimeoutMinMs: 1,
    sessionTimeoutMaxMs: 2 ** 31 - 1,
    transactionMarkerDelayMs: 0,
    housekeepingIntervalMs: 1000,
    users: {},
  })
  broker.host = '127.0.0.1'
  broker.topics.create('orders', 2, {})
  broker.topics.create('a', 1, { 'cleanup.policy': 'compact' })
  return broker
}

let broker = newBroker()
let uses = 0
const usesMax = 500

/** Whatever a client sends, the broker answers with a response that can be encoded, or refuses; it never breaks. */
export const requests: Target = (draw) => {
  if (++uses % usesMax === 0) {
    broker.close()
    broker = newBroker()
  }
  const [name, api] = pick(draw, all)
  const version = api.min + below(draw, api.max - api.min + 1)
  const writer = new ByteWriter(64)
  writeRequestHeader(writer, api, version, 1, 'fuzz')
  const value = drawValue(draw, api.request.shape, version)
  api.encodeRequest(version, writer, (name === 'produce' ? withBatches(draw, value) : value) as never)
  const frame = draw() < 0.3 ? writer.copy() : mutate(draw, writer.copy())
  try {
    const header = readRequestHeader(frame)
    if (header.api === undefined || header.apiVersion < header.api.min || header.apiVersion > header.api.max)
      return
    const request = header.api.decodeRequest(header.apiVersion, frame, header.bodyStart)
    const named = all.find(([, each]) => each === header.api)?.[0]
    if (named === undefined || named === 'saslHandshake' || named === 'saslAuthenticate') return
    const handler = handlers[named] as unknown as Handler<'metadata'>
    let cancel = () => {}
    const context = {
      version: header.apiVersion,
      clientId: header.clientId ?? '',
      clientHost: '127.0.0.1',
      onClose: (run: () => void) => {
        cancel = run
      },
    }
    const response = handler(broker, request as never, context)
    if (response instanceof Promise) {
      cancel()
      return
    }
    if (response === null) return
    const answer = new ByteWriter(64)
    header.api.encodeResponse(header.apiVersion, answer, response as never)
    header.api.decodeResponse(header.apiVersion, answer.copy())
  } catch (error) {
    if (error instanceof Refusal) return
    if (!(error instanceof StreamsError && error.code === 'WIRE_MALFORMED')) throw error
  }
}

type DrawnProduce = { topics: { name: string; partitions: { partition: number; records: unknown }[] }[] }

/** Produce requests reach further with topics that exist and batches that are nearly right. */
function withBatches(draw: Draw, value: unknown): unknown {
  const request = value as DrawnProduce
  for (const topic of request.topics) {
    topic.name = pick(draw, ['orders', 'a'])
    for (const partition of topic.partitions) {
      const { bytes } = drawBatch(draw)
      const buffer = draw() < 0.5 ? bytes : resealedOrNot(draw, mutate(draw, bytes))
      partition.partition = 0
      partition.records = { buffer, start: 0, end: buffer.length }
    }
  }
  return request
}

function resealedOrNot(draw: Draw, bytes: Buffer): Buffer {
  if (bytes.length < batchLayout.records || draw() < 0.5) return bytes
  bytes[batchLayout.magic] = 2
  if (draw() < 0.5) bytes.writeInt16BE(batchFlags.transactional, batchLayout.attributes)
  return resealed(bytes, true)
}

export const targets: { readonly [name: string]: Target } = { batches, responses, requests }
