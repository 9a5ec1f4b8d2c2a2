/**
 * Keys in their three shapes: the user's value, its bytes, and its id in an index. The id is the value itself where the
 * serde is primitive, else the text of the bytes (latin1: one character a byte, so texts sort as the bytes do). Bytes
 * are made from the id, so that a key is serialised once.
 */
import { assert } from '../base/assert.ts'
import { ByteWriter } from '../base/bytes.ts'
import { noHeaders } from '../base/headers.ts'
import { chain, isPromise, type MaybePromise } from '../base/maybe-promise.ts'
import type { Serde } from '../serde/serde.ts'

export class KeyCodec {
  readonly primitive: boolean
  readonly #serde: Serde<unknown>
  readonly #topic: string
  readonly #scratch = new ByteWriter(256)

  constructor(serde: Serde<unknown>, topic: string) {
    this.#serde = serde
    this.#topic = topic
    this.primitive = serde.primitive === true
  }

  id(key: unknown): unknown {
    if (this.primitive) return key
    return this.#text(key)
  }

  /** Appends the key's bytes. */
  write(id: unknown, to: ByteWriter): void {
    if (this.primitive) {
      const waiting = this.#serde.write(id, to, this.#topic, noHeaders)
      assert(!isPromise(waiting), `the primitive serde ${this.#serde.name} writes at once`)
      return
    }
    const text = id as string
    to.ensure(text.length)
    to.buffer.write(text, to.position, 'latin1')
    to.position += text.length
  }

  /** Text that sorts as the key's bytes. */
  order(id: unknown): string {
    if (!this.primitive) return id as string
    const scratch = this.#scratch
    scratch.reset()
    this.write(id, scratch)
    return scratch.buffer.toString('latin1', 0, scratch.position)
  }

  read(from: Buffer, start: number, end: number): MaybePromise<unknown> {
    return this.#serde.read(from, start, end, this.#topic, noHeaders)
  }

  /** The id of a key that was read from these bytes. */
  idAt(key: unknown, from: Buffer, start: number, end: number): unknown {
    return this.primitive ? key : from.toString('latin1', start, end)
  }

  #text(key: unknown): MaybePromise<string> {
    const scratch = this.#scratch
    scratch.reset()
    const waiting = this.#serde.write(key, scratch, this.#topic, noHeaders)
    if (isPromise(waiting)) return waiting.then(() => this.#text(key))
    return scratch.buffer.toString('latin1', 0, scratch.position)
  }
}

/** `order` of a key that is not in any index yet. */
export function orderOf(codec: KeyCodec, key: unknown): MaybePromise<string> {
  return chain(codec.id(key) as MaybePromise<unknown>, (id) => codec.order(id))
}
