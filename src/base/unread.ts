/**
 * A key or value that goes by unread, as a range of the bytes that were fetched. One object for each queue, right only
 * while its record is in hand.
 */
export class Unread {
  buffer: Buffer = Buffer.alloc(0)
  start = 0
  end = 0

  of(buffer: Buffer, start: number, end: number): this {
    this.buffer = buffer
    this.start = start
    this.end = end
    return this
  }
}
