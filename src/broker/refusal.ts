/** A request, or a part of one, that is answered with an error code. Thrown inside a handler, never seen outside. */
import { type KafkaErrorName, kafkaCode } from '../wire/error-codes.ts'

export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly error: KafkaErrorName

  constructor(error: KafkaErrorName, message: string = error) {
    super(message)
    this.error = error
  }

  get code(): number {
    return kafkaCode(this.error)
  }
}

/** The error code of what was thrown: a refusal's own, else the one for "the broker is broken". */
export function codeOf(error: unknown): number {
  return error instanceof Refusal ? error.code : kafkaCode('UNKNOWN_SERVER_ERROR')
}
