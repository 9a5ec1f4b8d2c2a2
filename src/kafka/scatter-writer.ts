/**
 * A request in pieces: what is small is copied together, record batches stay where they are. The socket gets the
 * pieces in one writev, so sending a batch copies nothing.
 */
import { ByteWriter } from '../base/bytes.ts'

// Below this a copy is cheaper than one more piece.
const pieceBytesMin = 2_048

export class ScatterWriter extends ByteWriter {
  readonly #pieces: Buffer[] = []
  #pieceStart = 0
  #outside = 0

  override range(source: Uint8Array, start: number, end: number): void {
    if (end - start < pieceBytesMin) {
      super.range(source, start, end)
      return
    }
    this.#cut()
    this.#pieces.push(Buffer.from(source.buffer, source.byteOffset + start, end - start))
    this.#outside += end - start
  }

  /** Bytes of all pieces. */
  get size(): number {
    return this.position + this.#outside
  }

  /** The pieces in order. Nothing may be written any more. */
  pieces(): readonly Buffer[] {
    this.#cut()
    return this.#pieces
  }

  // The buffer may be replaced as it grows; a piece that was cut keeps the old one, whose bytes no one changes.
  #cut(): void {
    if (this.position > this.#pieceStart)
      this.#pieces.push(this.buffer.subarray(this.#pieceStart, this.position))
    this.#pieceStart = this.position
  }
}
