/**
 * Writes a response without copying the record batches in it: a long range is left where it lies, and the response
 * is sent as a row of buffers. Ranges must not change until they are sent.
 */
import { ByteWriter } from '../base/bytes.ts'

const copyBytesMax = 4096

type Splice = { readonly at: number; readonly bytes: Uint8Array }

export class GatherWriter extends ByteWriter {
  readonly #splices: Splice[] = []
  #splicedBytes = 0

  override range(source: Uint8Array, start: number, end: number): void {
    if (end - start <= copyBytesMax) {
      super.range(source, start, end)
      return
    }
    this.#splices.push({ at: this.position, bytes: source.subarray(start, end) })
    this.#splicedBytes += end - start
  }

  /** All bytes, those left in place included. */
  get length(): number {
    return this.position + this.#splicedBytes
  }

  /** The response in order. */
  parts(): Uint8Array[] {
    const parts: Uint8Array[] = []
    let from = 0
    for (const { at, bytes } of this.#splices) {
      if (at > from) parts.push(this.buffer.subarray(from, at))
      parts.push(bytes)
      from = at
    }
    if (this.position > from) parts.push(this.buffer.subarray(from, this.position))
    return parts
  }
}
