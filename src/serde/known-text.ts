/**
 * Keys come again: the text of bytes that were read not long ago is that same string, which saves making it and, its
 * hash being known, half of each look-up by it. One table for all of a thread's tasks.
 */
import { readText, string } from './primitives.ts'
import type { Serde } from './serde.ts'

const lengthMax = 32
/** A slot is 8 bytes and keeps a text of up to 32 characters alive: 4 MB at most. */
const slotsBits = 16
let texts: (string | undefined)[] | null = null

/** `readText`, for text that likely was read before. */
export function readKnownText(from: Buffer, start: number, end: number): string {
  const length = end - start
  if (length > lengthMax) return readText(from, start, end)
  let hash = length
  let bits = 0
  for (let at = start; at < end; at++) {
    const code = from[at] as number
    bits |= code
    hash = Math.imul(hash ^ code, 0x01000193)
  }
  // Only ASCII is kept: of any other text bytes and characters differ.
  if (bits > 127) return readText(from, start, end)
  texts ??= new Array<string | undefined>(1 << slotsBits)
  const slot = (hash ^ (hash >>> slotsBits)) & ((1 << slotsBits) - 1)
  const known = texts[slot]
  if (known !== undefined && isText(known, from, start, length)) return known
  // Flat and of one byte a character, which `isText` likes.
  const text = from.toString('latin1', start, end)
  texts[slot] = text
  return text
}

function isText(text: string, from: Buffer, start: number, length: number): boolean {
  if (text.length !== length) return false
  for (let index = 0; index < length; index++) {
    if (text.charCodeAt(index) !== from[start + index]) return false
  }
  return true
}

const knownString: Serde<string> = { ...string(), read: readKnownText }

/** The serde for reading keys. */
export function knowing(serde: Serde<unknown>): Serde<unknown> {
  return serde === string() ? (knownString as Serde<unknown>) : serde
}
