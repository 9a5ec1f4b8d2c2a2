/**
 * Where a stream thread is, written by it and read by the main thread even while it is stuck in somebody's endless
 * loop: memory that both share. One write per record, no call across.
 *
 *   float64: turns of the loop, partition, offset; then the task and topic as text, its length first
 */
export type ProgressAt = {
  readonly turns: number
  readonly task: string
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

const numbers = 3
const textBytesMax = 600

export class Progress {
  readonly shared: SharedArrayBuffer
  readonly #numbers: Float64Array
  readonly #text: Uint8Array
  #task = ''
  #topic = ''

  constructor(shared = new SharedArrayBuffer(numbers * 8 + 2 + textBytesMax)) {
    this.shared = shared
    this.#numbers = new Float64Array(shared, 0, numbers)
    this.#text = new Uint8Array(shared, numbers * 8)
  }

  turn(): void {
    this.#numbers[0] = (this.#numbers[0] as number) + 1
  }

  record(task: string, topic: string, partition: number, offset: number): void {
    if (this.#topic !== topic || this.#task !== task) this.#rename(task, topic)
    this.#numbers[1] = partition
    this.#numbers[2] = offset
  }

  read(): ProgressAt {
    const [turns = 0, partition = -1, offset = -1] = this.#numbers
    const length = ((this.#text[0] as number) << 8) | (this.#text[1] as number)
    const [task = '', topic = ''] = Buffer.from(this.#text.slice(2, 2 + length))
      .toString()
      .split('\n')
    return { turns, task, topic, partition, offset }
  }

  #rename(task: string, topic: string): void {
    this.#task = task
    this.#topic = topic
    const bytes = Buffer.from(`${task}\n${topic}`).subarray(0, textBytesMax)
    this.#text.set(bytes, 2)
    this.#text[0] = bytes.length >> 8
    this.#text[1] = bytes.length & 255
  }
}
