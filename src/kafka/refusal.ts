/** Kafka's error codes as StreamsErrors: the name is in the message, the verdict follows from the code's class. */
import { type About, type ErrorCode, StreamsError, type Verdict } from '../base/errors.ts'
import { type KafkaErrorClass, kafkaErrorClass, kafkaErrors, kafkaErrorText } from '../wire/error-codes.ts'

const byClass: { readonly [K in KafkaErrorClass]: readonly [ErrorCode, Verdict] } = {
  none: ['KAFKA_REFUSED', 'stop'],
  retry: ['KAFKA_REFUSED', 'retry'],
  metadata: ['KAFKA_REFUSED', 'retry'],
  coordinator: ['KAFKA_REFUSED', 'retry'],
  rejoin: ['KAFKA_GROUP_MOVED', 'rejoin'],
  abort: ['KAFKA_TRANSACTION_LOST', 'abort'],
  fenced: ['KAFKA_PRODUCER_FENCED', 'rejoin'],
  record: ['KAFKA_RECORD_REFUSED', 'skip'],
  offset: ['KAFKA_OFFSET_OUT_OF_RANGE', 'stop'],
  fatal: ['KAFKA_REFUSED', 'stop'],
}

const authentication: readonly number[] = [
  kafkaErrors.SASL_AUTHENTICATION_FAILED.code,
  kafkaErrors.UNSUPPORTED_SASL_MECHANISM.code,
  kafkaErrors.ILLEGAL_SASL_STATE.code,
]

/** `what` says what was asked: 'create topic orders'. */
export function refusal(
  kafkaCode: number,
  what: string,
  about: About & { readonly text?: string | null } = {},
): StreamsError {
  const { text, ...rest } = about
  const [code, verdict] = byClass[kafkaErrorClass(kafkaCode)]
  const detail = text === undefined || text === null || text === '' ? '' : ` (${text})`
  return new StreamsError(
    authentication.includes(kafkaCode) ? 'KAFKA_AUTHENTICATION' : code,
    `${what}: ${kafkaErrorText(kafkaCode)}${detail}`,
    { ...rest, verdict, kafkaCode },
  )
}

/** The class of the Kafka code that an error carries; undefined for errors that Kafka did not answer. */
export function refusalClass(error: unknown): KafkaErrorClass | undefined {
  if (!(error instanceof StreamsError) || error.about.kafkaCode === undefined) return undefined
  return kafkaErrorClass(error.about.kafkaCode)
}

export function isRefusal(error: unknown, ...names: readonly (keyof typeof kafkaErrors)[]): boolean {
  const code = error instanceof StreamsError ? error.about.kafkaCode : undefined
  return code !== undefined && names.some((name) => kafkaErrors[name].code === code)
}

export function isRetriable(error: unknown): error is StreamsError {
  return error instanceof StreamsError && error.verdict === 'retry'
}

/** Anything thrown, as a StreamsError. */
export function asStreamsError(error: unknown, what: string): StreamsError {
  if (error instanceof StreamsError) return error
  return new StreamsError(
    'KAFKA_REFUSED',
    `${what}: ${error instanceof Error ? error.message : String(error)}`,
    {
      cause: error,
    },
  )
}
