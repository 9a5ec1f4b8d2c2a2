/**
 * What the cached stores of a thread may hold back, divided evenly among those of its tasks that have any: however many
 * tasks come, together they stay within it. A task that may hold less than it does hands on at its next record.
 */
export class CacheBudget {
  #bytesMax: number
  #shares = 0
  #share: number

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#share = bytesMax
  }

  /** Of one task. */
  get share(): number {
    return this.#share
  }

  get bytesMax(): number {
    return this.#bytesMax
  }

  /** The thread's part of the application's cache, which other threads take from as they come. */
  resize(bytesMax: number): void {
    this.#bytesMax = bytesMax
    this.#divide()
  }

  join(): void {
    this.#shares++
    this.#divide()
  }

  leave(): void {
    this.#shares--
    this.#divide()
  }

  #divide(): void {
    this.#share = Math.floor(this.#bytesMax / Math.max(1, this.#shares))
  }
}
